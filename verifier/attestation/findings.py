"""What of an attestation's claims does not hold. All by arithmetic: no model, no data set, no network."""

from collections.abc import Iterator
from dataclasses import dataclass

from verifier.attestation.reading import parse
from verifier.attestation.statement import Claims, sha256
from verifier.certificate import SHA256, Certificate, Verdict
from verifier.check import check_all
from verifier.errors import InvalidProblem, VerifierError
from verifier.gate.order import committed_order
from verifier.gate.outcomes import Recomputed, recompute
from verifier.gate.policy import Policy, parse_policy
from verifier.gate.report_json import safe_decision
from verifier.gating import GateRun, Outcome, ThresholdResult
from verifier.stats.multiplicity import attempt_delta

MAX_INPUTS, MAX_CLASSES = 20_000_000, 50_000
"""Of a data set whose order is drawn again, and whose gate decides again."""


@dataclass(frozen=True)
class Finding:
    """One thing that does not hold.

    Args:
        check: of what: "key", "envelope", "signature", "statement", "model", "policy", "outcomes", "certificates",
            "order", "error" (the permitted one), "decision", "bounds".
        message: what was expected and what is there.
    """

    check: str
    message: str


def digest_findings(claims: Claims) -> Iterator[Finding]:
    """Digests that the statement holds beside what they are of."""
    run = claims.run
    named = {
        "model": run.model_digest,
        "policy": run.policy_digest,
        "outcomes": run.counts_digest,
        "certificates": claims.certificates_sha256,
        "dataset": run.dataset_digest,
    }
    for check, digest in named.items():
        if not SHA256.fullmatch(digest):
            yield Finding(check, f"its digest is no SHA-256: {digest[:80]!r}")
    if sha256(run.policy_text.encode()) != run.policy_digest:
        yield Finding("policy", "the policy's text in the statement has another digest than the policy's")
    if claims.record.digest != run.counts_digest:
        yield Finding("outcomes", f"the counts have the digest {claims.record.digest}, stated is {run.counts_digest}")
    if claims.model_manifest is not None and sha256(claims.model_manifest.encode()) != run.model_digest:
        yield Finding("model", "the manifest in the statement is not the model's: its SHA-256 is another")


def decision_findings(claims: Claims) -> Iterator[Finding]:
    """Decide again from the policy and the counts, and compare everything that was stated."""
    run = claims.run
    try:
        policy = parse_policy(run.policy_text, "policy")
    except VerifierError as error:
        yield Finding("policy", f"it cannot be read: {error.message}")
        return
    yield from _error_findings(run, policy)
    census = claims.record.census
    if census.inputs > MAX_INPUTS or census.classes > MAX_CLASSES:
        yield Finding("decision", f"{census.inputs} inputs of {census.classes} classes are too many to decide again")
        return
    yield from _order_findings(claims, policy)
    try:
        again = recompute(run.policy_text, claims.record.to_text(), run.delta)
    except VerifierError as error:
        yield Finding("outcomes", f"nothing can be decided from them: {error.message}")
        return
    yield from _compare(claims, again)


def model_file_finding(claims: Claims, weights_sha256: str) -> Iterator[Finding]:
    """Whether a file's bytes are those of the subject: by the manifest, whose digest is the subject's."""
    if claims.model_manifest is None:
        yield Finding("model", "the attestation holds no manifest, so no file can be compared: give the model's digest")
        return
    try:
        stated = parse(claims.model_manifest.encode(), "manifest").get("weights_sha256")
    except InvalidProblem as error:
        yield Finding("model", f"the manifest cannot be read: {error.message}")
        return
    if stated != weights_sha256:
        yield Finding("model", f"the file's SHA-256 is {weights_sha256}, the model's file had {stated}")


def certificate_findings(claims: Claims, certificates: list[Certificate]) -> Iterator[Finding]:
    """Each certificate against its own evidence, and no outcome may claim more than its certificate."""
    for failure in check_all(certificates).failures:
        yield Finding("certificates", f"line {failure.position + 1}: {'; '.join(failure.reasons)}")
    by_index: dict[int, Certificate] = {}
    for certificate in certificates:
        by_index.setdefault(certificate.index, certificate)
        if certificate.subject.model_digest != claims.run.model_digest:
            yield Finding("certificates", f"that of input {certificate.index} is of another model")
    for outcome in claims.record.outcomes:
        wrong = _beyond(outcome, by_index.get(outcome.index), claims.run.alpha)
        if wrong:
            yield Finding("certificates", f"input {outcome.index}: {wrong}")


def _beyond(outcome: Outcome, certificate: Certificate | None, alpha: float) -> str:
    """What an outcome claims without its certificate; "" where nothing."""
    claims = outcome.prediction is not None and outcome.radius > 0 and not outcome.failed
    if certificate is None:
        return "it counts as certified, without a certificate" if claims else ""
    if certificate.label is not None and certificate.label != outcome.label:
        return f"its label is {outcome.label} in the counts, {certificate.label} in the certificate"
    if certificate.verdict is Verdict.ABSTAINED and not (outcome.abstained or outcome.failed):
        return "its certificate abstains, its outcome does not"
    if claims and certificate.prediction != outcome.prediction:
        return f"its outcome predicts {outcome.prediction}, its certificate {certificate.prediction}"
    if claims and outcome.radius > certificate.radius:
        return f"its outcome has the radius {outcome.radius!r}, its certificate {certificate.radius!r}"
    if claims and certificate.guarantee.alpha is not None and certificate.guarantee.alpha > alpha:
        return f"its certificate may err with probability {certificate.guarantee.alpha:g}, the gate says {alpha:g}"
    return ""


def _error_findings(run: GateRun, policy: Policy) -> Iterator[Finding]:
    """The error that was permitted is the policy's, at this attempt."""
    if run.policy_name != policy.name:
        yield Finding("policy", f"its name is {policy.name!r}, stated is {run.policy_name!r}")
    if run.attempt < 1 or run.delta > attempt_delta(policy.delta, run.attempt):
        yield Finding("error", f"delta {run.delta!r} is more than attempt {run.attempt} of this policy may err")
    if run.alpha != policy.alpha:
        yield Finding("error", f"alpha is {policy.alpha!r} in the policy, {run.alpha!r} is stated")


def _order_findings(claims: Claims, policy: Policy) -> Iterator[Finding]:
    """The inputs are the first of the committed order, where the data set's size says which these are."""
    size = claims.dataset_size
    if size is None:
        return
    if size > MAX_INPUTS:
        yield Finding("order", f"the order of {size} inputs is too long to draw again")
        return
    try:
        order = committed_order(policy, size, claims.run.order_seed)
    except (VerifierError, ValueError) as error:
        yield Finding("order", f"there is none: {error}")
        return
    if not claims.record.follows(order.tolist()):
        yield Finding("order", f"the inputs are not the first of the order that seed {claims.run.order_seed} draws")


def _compare(claims: Claims, again: Recomputed) -> Iterator[Finding]:
    run = claims.run
    if safe_decision(run) is not run.decision:
        yield Finding("decision", f"{run.decision.value} is stated, but not every threshold passes")
    if again.decision is not run.decision:
        yield Finding("decision", f"from the counts follows {again.decision.value}, stated is {run.decision.value}")
    totals = {
        "used": (run.used, again.used),
        "inputs": (run.inputs, claims.record.census.inputs),
        "forward_passes": (run.forward_passes, again.forward_passes),
    }
    for name, (stated, found) in totals.items():
        if stated != found:
            yield Finding("outcomes", f"{name} is {found} by the counts, stated is {stated}")
    if [t.name for t in run.thresholds] != [t.name for t in again.thresholds]:
        names = ", ".join(t.name for t in again.thresholds)
        yield Finding("bounds", f"the policy's thresholds are {names[:500]}; others are stated")
        return
    for stated_result, found_result in zip(run.thresholds, again.thresholds, strict=True):
        yield from _compare_threshold(stated_result, found_result)


_EXACT = (
    *("metric", "group", "norm", "radius", "at_least", "at_most", "value"),
    *("successes", "trials", "gained", "lost", "look", "decision"),
)


def _compare_threshold(stated: ThresholdResult, found: ThresholdResult) -> Iterator[Finding]:
    """Counts and decision are the same; a stated bound or confidence may be weaker than the computed, not stronger."""
    for name in _EXACT:
        if getattr(stated, name) != getattr(found, name):
            check = "decision" if name == "decision" else "bounds"
            yield Finding(
                check, f"{found.name}: {name} is {getattr(found, name)!s}, stated is {getattr(stated, name)!s}"
            )
    if not stated.lower <= found.lower:
        yield Finding("bounds", f"{found.name}: the lower bound is {found.lower!r}, stated is {stated.lower!r}")
    if not stated.upper >= found.upper:
        yield Finding("bounds", f"{found.name}: the upper bound is {found.upper!r}, stated is {stated.upper!r}")
    if not stated.confidence <= found.confidence:
        yield Finding("bounds", f"{found.name}: confidence is {found.confidence!r}, stated is {stated.confidence!r}")
