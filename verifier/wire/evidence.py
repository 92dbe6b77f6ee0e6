"""What certificates rest on, to messages and back."""

from typing import Any

from verifier.certificate import (
    Attempt,
    BoundEvidence,
    Evidence,
    RadiusDecision,
    RadiusVerdict,
    RegionKind,
    RegionNote,
    SamplingEvidence,
    SequentialEvidence,
    Stopped,
    Votes,
)
from verifier.errors import InvalidProblem
from verifier.methods import AlphaCrown, Crown, CrownIbp, Ibp, Rng
from verifier.v1 import certificate_pb2
from verifier.wire.enums import from_enum, to_enum
from verifier.wire.methods import from_rng

_BOUNDS = tuple(method.name for method in (Ibp, CrownIbp, Crown, AlphaCrown))
"""Methods that state a bound of their own."""


def to_evidence(evidence: Evidence) -> dict[str, Any]:
    """The evidence as a field of `Certificate`: its name and its message."""
    if isinstance(evidence, BoundEvidence):
        return {"bounds": _to_bounds(evidence)}
    return {"sampling": _to_sampling(evidence)}


def from_evidence(message: certificate_pb2.Certificate) -> Evidence:
    """The evidence of a certificate; InvalidProblem where it is missing, or none of the certificate's method."""
    expected = "sampling" if message.method.WhichOneof("method") == "smoothing" else "bounds"
    kind = message.WhichOneof("evidence")
    if kind != expected:
        raise InvalidProblem(f"the certificate's evidence must be {expected}, got {kind or 'none'}", field="evidence")
    return _from_sampling(message.sampling) if kind == "sampling" else _from_bounds(message.bounds)


def _to_bounds(evidence: BoundEvidence) -> certificate_pb2.BoundEvidence:
    note = evidence.region
    domain = note.domain and certificate_pb2.Range(lower=note.domain[0], upper=note.domain[1])
    return certificate_pb2.BoundEvidence(
        bound=evidence.bound,
        eps=evidence.eps,
        margins=evidence.margins,
        region=certificate_pb2.Region(
            kind=to_enum(certificate_pb2.RegionKind, "REGION_KIND", note.kind),
            domain=domain,
            domain_digest=note.domain_digest,
            weights_digest=note.weights_digest,
        ),
        classes=evidence.classes,
        evaluations=evidence.evaluations,
        audited=evidence.audited,
    )


def _from_bounds(message: certificate_pb2.BoundEvidence) -> BoundEvidence:
    region = message.region
    if message.bound not in _BOUNDS:
        raise InvalidProblem(f"bound must be one of {', '.join(_BOUNDS)}, got {message.bound!r}", field="bounds.bound")
    for name in ("eps", "classes", "evaluations", "audited"):
        value = getattr(message, name)
        if not value >= 0:  # NaN is not
            raise InvalidProblem(f"{name} must be >= 0, got {value}", field=f"bounds.{name}")
    return BoundEvidence(
        bound=message.bound,
        eps=message.eps,
        margins=tuple(message.margins),
        region=RegionNote(
            kind=from_enum(certificate_pb2.RegionKind, "REGION_KIND", region.kind, RegionKind, "bounds.region.kind"),
            domain=(region.domain.lower, region.domain.upper) if region.HasField("domain") else None,
            domain_digest=region.domain_digest,
            weights_digest=region.weights_digest,
        ),
        classes=message.classes,
        evaluations=message.evaluations,
        audited=message.audited,
    )


def _to_sampling(evidence: SamplingEvidence) -> certificate_pb2.SamplingEvidence:
    return certificate_pb2.SamplingEvidence(
        selection=to_votes(evidence.selection) if evidence.selection else None,
        estimation=to_votes(evidence.estimation),
        p_a_lower=evidence.p_a_lower,
        p_b_upper=evidence.p_b_upper,
        classes=evidence.classes,
        seed=evidence.seed,
        seed_origin=to_origin(evidence.seed_origin),
        rng=evidence.rng.value,
        sequential=_to_sequential(evidence.sequential) if evidence.sequential else None,
        attempt=certificate_pb2.Attempt(**vars(evidence.attempt)) if evidence.attempt else None,
    )


def _to_sequential(evidence: SequentialEvidence) -> certificate_pb2.SequentialEvidence:
    return certificate_pb2.SequentialEvidence(
        plan=evidence.plan,
        looks=evidence.looks,
        counts=evidence.counts,
        decisions=[
            certificate_pb2.RadiusDecision(
                radius=decision.radius,
                verdict=to_enum(certificate_pb2.RadiusVerdict, "RADIUS_VERDICT", decision.verdict),
                draws=decision.draws,
            )
            for decision in evidence.decisions
        ],
        stopped=to_enum(certificate_pb2.Stopped, "STOPPED", evidence.stopped),
    )


def _from_sampling(sampling: certificate_pb2.SamplingEvidence) -> SamplingEvidence:
    return SamplingEvidence(
        selection=from_votes(sampling.selection) if sampling.HasField("selection") else None,
        estimation=from_votes(sampling.estimation),
        p_a_lower=sampling.p_a_lower,
        p_b_upper=sampling.p_b_upper if sampling.HasField("p_b_upper") else None,
        classes=sampling.classes,
        seed=sampling.seed,
        seed_origin=from_origin(sampling.seed_origin),
        rng=require_rng(sampling.rng),
        sequential=_from_sequential(sampling.sequential) if sampling.HasField("sequential") else None,
        attempt=_from_attempt(sampling.attempt) if sampling.HasField("attempt") else None,
    )


def _from_sequential(message: certificate_pb2.SequentialEvidence) -> SequentialEvidence:
    return SequentialEvidence(
        plan=message.plan,
        looks=tuple(message.looks),
        counts=tuple(message.counts),
        decisions=tuple(
            RadiusDecision(
                decision.radius,
                from_enum(
                    certificate_pb2.RadiusVerdict,
                    "RADIUS_VERDICT",
                    decision.verdict,
                    RadiusVerdict,
                    "sampling.sequential.decisions.verdict",
                ),
                decision.draws,
            )
            for decision in message.decisions
        ),
        stopped=from_enum(certificate_pb2.Stopped, "STOPPED", message.stopped, Stopped, "sampling.sequential.stopped"),
    )


def _from_attempt(message: certificate_pb2.Attempt) -> Attempt:
    if message.number < 1 or not 0 < message.alpha_spent <= 1:
        raise InvalidProblem(
            f"an attempt has a number >= 1 and has spent some alpha, got {message.number} and {message.alpha_spent}",
            field="sampling.attempt",
        )
    return Attempt(message.number, message.alpha_spent)


def to_votes(votes: Votes) -> certificate_pb2.Votes:
    """Counts as a message."""
    return certificate_pb2.Votes(
        n=votes.n,
        top=votes.top,
        top_count=votes.top_count,
        runner_up=votes.runner_up,
        runner_up_count=votes.runner_up_count,
        invalid_count=votes.invalid_count,
    )


def from_votes(message: certificate_pb2.Votes) -> Votes:
    """Counts from a message."""
    return Votes(
        n=message.n,
        top=message.top if message.HasField("top") else None,
        top_count=message.top_count,
        runner_up=message.runner_up if message.HasField("runner_up") else None,
        runner_up_count=message.runner_up_count,
        invalid_count=message.invalid_count,
    )


def to_origin(origin: str) -> Any:
    """Where a seed came from, as a number."""
    return certificate_pb2.SeedOrigin.Value(f"SEED_ORIGIN_{origin.upper()}")


def from_origin(number: int) -> str:
    """Where a seed came from: "client" or "server"."""
    if number not in certificate_pb2.SeedOrigin.values() or number == 0:
        raise InvalidProblem("seed_origin must be SEED_ORIGIN_CLIENT or SEED_ORIGIN_SERVER", field="seed_origin")
    name: str = certificate_pb2.SeedOrigin.Name(number)
    return name.removeprefix("SEED_ORIGIN_").lower()


def require_rng(name: str) -> Rng:
    """The generator that a certificate has to name."""
    rng = from_rng(name)
    if rng is None:
        raise InvalidProblem("the certificate does not name its rng", field="rng")
    return rng
