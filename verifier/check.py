"""Does a certificate say what its own evidence proves? An audit that needs no model, no device and no server.

Votes are checked in `sampling_claims`, margins in `bound_claims`. In any doubt the answer is "does not hold".

What arithmetic cannot see: whether the model votes like that, or has these margins, and how often somebody tried. The
first takes a rerun; of the second, only attempts that stand in the same file are noticed.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from verifier.bound_claims import bound_claims
from verifier.certificate import BoundEvidence, Certificate, SamplingEvidence, Subject
from verifier.methods import Smoothing
from verifier.sampling_claims import sampling_claims

SCOPE = (
    "arithmetic only: each claim against its own votes or margins; whether the model gives these shows only when they "
    "are computed again, with --model and --inputs"
)


@dataclass(frozen=True)
class Finding:
    """One certificate that does not hold.

    Args:
        position: in the sequence that was checked, from 0.
        index: of the input, as the certificate states it.
        reasons: why, each by itself enough; at least one.
    """

    position: int
    index: int
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class CheckReport:
    """What an audit of several certificates found.

    Args:
        checked: how many were looked at.
        failures: those that do not hold, in their order.
        warnings: what is no error of a single certificate, but weakens the guarantee of all.
        scope: what was checked, and what was not.
    """

    checked: int
    failures: tuple[Finding, ...]
    warnings: tuple[str, ...]
    scope: str = SCOPE

    @property
    def holds(self) -> bool:
        """Whether nothing was found against any certificate."""
        return not self.failures


def check_certificate(certificate: Certificate) -> tuple[str, ...]:
    """Every reason why a certificate's claim does not follow from its evidence; empty where it holds.

    Empty for every certificate that this version makes, under whatever SciPy it was made. Where it is empty and a
    sampling certificate states a radius > 0, P[this many votes or more] <= the alpha that the method grants to each
    bound, if the class were only as probable as the radius needs; for `runner_up`, the same of both bounds. Where it
    is empty and a deterministic certificate is certified, its stated margins are all > 0, at the very radius or box
    that it claims. Never raises.
    """
    by_bounds = isinstance(certificate.evidence, BoundEvidence)
    if by_bounds == isinstance(certificate.method, Smoothing):
        return (f"the evidence is none of the method {certificate.method.name}",)
    return bound_claims(certificate) if by_bounds else sampling_claims(certificate)


def check_all(certificates: Sequence[Certificate]) -> CheckReport:
    """Check each certificate alone, and all against each other.

    Repeated certificates, and certificates of different predictions for one input and subject, are failures. Several
    attempts on one input are a warning: each holds by itself, but the best of k fails with probability k alpha.
    """
    others, warnings = _against_each_other(certificates)
    failures = []
    for position, certificate in enumerate(certificates):
        reasons = (*check_certificate(certificate), *others[position])
        if reasons:
            failures.append(Finding(position, certificate.index, reasons))
    return CheckReport(len(certificates), tuple(failures), warnings)


# -- certificates against each other --------------------------------------------------------------------


def _against_each_other(certificates: Sequence[Certificate]) -> tuple[list[list[str]], tuple[str, ...]]:
    """(reasons for each certificate, warnings for all)."""
    reasons: list[list[str]] = [[] for _ in certificates]
    attempts: dict[tuple[str, Subject], int] = {}
    for same, positions in _by_input_and_subject(certificates).items():
        first: dict[tuple[Any, ...], int] = {}
        claims = {c.prediction: p for p in reversed(positions) if _claims(c := certificates[p])}
        for position in positions:
            certificate = certificates[position]
            original = first.setdefault(_statement(certificate), position)
            if original != position:
                reasons[position].append(f"repeats the certificate at position {original}: it counts once")
            against = [p for prediction, p in claims.items() if prediction != certificate.prediction]
            if _claims(certificate) and against:
                reasons[position].append(f"contradicts the certificate at position {min(against)}: not both can hold")
        attempts[same] = sum(isinstance(certificates[p].evidence, SamplingEvidence) for p in first.values())
    return reasons, (*_several_attempts(list(attempts.values())), *_spent_alpha(certificates))


def _claims(c: Certificate) -> bool:
    """Whether it states a class for a region."""
    return c.prediction is not None and (c.radius > 0 or c.is_box)


def _by_input_and_subject(certificates: Sequence[Certificate]) -> dict[tuple[str, Subject], list[int]]:
    positions = defaultdict(list)
    for position, certificate in enumerate(certificates):
        positions[certificate.input_digest, certificate.subject].append(position)
    return positions


def _statement(c: Certificate) -> tuple[Any, ...]:
    """All that a certificate states; a rerun that reached the same differs in its execution only."""
    return tuple(getattr(c, field.name) for field in fields(c) if field.name != "execution")


def _spent_alpha(certificates: Sequence[Certificate]) -> Iterator[str]:
    """What the ledgers of those who made them say."""
    spent = [
        c.evidence.attempt.alpha_spent
        for c in certificates
        if isinstance(c.evidence, SamplingEvidence) and c.evidence.attempt and c.evidence.attempt.number > 1
    ]
    if spent:
        yield (
            f"{len(spent)} certificates come from repeated attempts on their inputs: the best of an input's attempts "
            f"is wrong with probability up to {max(spent):.3g}"
        )


def _several_attempts(attempts: Sequence[int]) -> Iterator[str]:
    repeated = [count for count in attempts if count > 1]
    if repeated:
        yield (
            f"several attempts on one input: {len(repeated)} inputs have up to {max(repeated)} certificates for the "
            f"same subject; keeping the best of them multiplies alpha by as much"
        )
