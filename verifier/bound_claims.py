"""Does a deterministic certificate say what its own margins prove?

The margins themselves are lower bounds that only another computation can confirm (`client.redraw`). In any doubt the
answer is "does not hold".
"""

import math
from collections.abc import Iterator

from verifier.certificate import SHA256, BoundEvidence, Certificate, Grade, RegionKind, RegionNote, Verdict
from verifier.methods import AlphaCrown, BoundMethod, Crown, CrownIbp, Ibp, Ladder, Rounding
from verifier.problem import Norm

_BOUNDS: dict[type[BoundMethod], tuple[str, ...]] = {
    Ibp: (Ibp.name,),
    CrownIbp: (CrownIbp.name,),
    Crown: (Crown.name,),
    AlphaCrown: (Crown.name, AlphaCrown.name),
    Ladder: (Ibp.name, CrownIbp.name, Crown.name, AlphaCrown.name),
}
"""Method -> the bounds that it may state. alpha-CROWN's ascent begins at CROWN, and answers it if nothing is better."""


def bound_claims(c: Certificate) -> tuple[str, ...]:
    """Every reason why the claim does not follow from the margins; empty where it does.

    Where it is empty, the verdict is CERTIFIED if and only if every margin is bounded, by a number > 0, over the very
    region that the certificate claims.
    """
    method, evidence = c.method, c.bounds
    assert isinstance(method, BoundMethod)
    malformed = [*_words(c, method), *_region(c, evidence), *_evidence(c, method, evidence)]
    return tuple(malformed) or tuple(_verdict(c, evidence))


# -- words: does the certificate say which statement it makes? ------------------------------------------


def _words(c: Certificate, method: BoundMethod) -> Iterator[str]:
    if not SHA256.fullmatch(c.subject.model_digest):
        yield f"model digest {c.subject.model_digest!r} is no SHA-256: it does not say which model"
    if not SHA256.fullmatch(c.input_digest):
        yield f"input digest {c.input_digest!r} is no SHA-256: it does not say which input"
    if c.index < 0:
        yield f"index {c.index} is none of an input"
    if c.subject.noise is not None or c.subject.sigma is not None:
        yield "bounds are about the network itself, not about a smoothed classifier"
    due = method.precision.value
    if c.subject.precision != due:
        yield f"semantics {method.semantics.value} is about the network in {due}, not {c.subject.precision}"
    grade = Grade.FLOAT_SOUND if method.rounding is Rounding.OUTWARD else Grade.REAL_ARITHMETIC
    if c.guarantee.grade is not grade:
        yield f"rounding {method.rounding.value} gives grade {grade.value}, not {c.guarantee.grade.value}"
    if c.guarantee.alpha is not None or c.guarantee.noise_model is not None:
        yield "a deterministic guarantee has no alpha and no noise model"
    if c.eps is not None and not (math.isfinite(c.eps) and c.eps > 0):
        yield f"eps must be finite and > 0, not {c.eps}"
    if not (math.isfinite(c.radius) and c.radius >= 0):
        yield f"radius must be finite and >= 0, not {c.radius}"


def _region(c: Certificate, evidence: BoundEvidence) -> Iterator[str]:
    note = evidence.region
    if note.kind is RegionKind.BOX:
        if c.eps is not None or evidence.eps != 0 or c.radius != 0 or c.norm is not Norm.LINF:
            yield "a box has no radius and no eps, and its norm is linf"
        if note != RegionNote(RegionKind.BOX):
            yield "a box has no domain and no weights"
    for name, digest in (("domain", note.domain_digest), ("weights", note.weights_digest)):
        if digest and not SHA256.fullmatch(digest):
            yield f"digest {digest!r} of the {name} is no SHA-256"
    if note.domain is not None and (note.domain_digest or not note.domain[0] <= note.domain[1]):
        yield f"domain {note.domain} does not say which inputs are valid"
    if note.weights_digest and c.norm is not Norm.LINF:
        yield f"weights make a ball of norm linf, not of {c.norm.value}"


# -- bounds: can they have been computed? ---------------------------------------------------------------


def _evidence(c: Certificate, method: BoundMethod, evidence: BoundEvidence) -> Iterator[str]:
    possible = _BOUNDS.get(type(method), ())
    if evidence.bound not in possible:
        yield f"method {method.name} states bounds by {' or '.join(possible)}, not by {evidence.bound!r}"
    if evidence.classes < 2:
        yield f"a classifier has at least 2 classes, {evidence.classes} are stated"
    elif len(evidence.margins) not in (0, evidence.classes - 1):
        yield f"{evidence.classes} classes have {evidence.classes - 1} margins, {len(evidence.margins)} are stated"
    if evidence.evaluations < (1 if evidence.margins else 0) or evidence.audited < 0:
        yield f"{evidence.evaluations} evaluations and {evidence.audited} audited points cannot be"
    if not c.is_box:
        yield from _where(c, evidence)


def _where(c: Certificate, evidence: BoundEvidence) -> Iterator[str]:
    """Of a ball: margins are bounded at a radius, and at the one that was asked about."""
    if not evidence.margins and evidence.eps != 0:
        yield f"eps of the bounds is {evidence.eps}, but no margins are stated"
    if evidence.margins and not 0 < evidence.eps < math.inf:
        yield f"margins over a ball have an eps that is finite and > 0, not {evidence.eps}"
    if evidence.margins and c.eps is not None and evidence.eps != c.eps:
        yield f"margins at eps {evidence.eps} answer nothing about eps {c.eps}"


# -- claims: do they follow from the margins? -----------------------------------------------------------


def _verdict(c: Certificate, evidence: BoundEvidence) -> Iterator[str]:
    due = Verdict.CERTIFIED if evidence.holds else Verdict.UNKNOWN
    if c.verdict is not due:
        yield f"verdict {c.verdict.value} does not follow from the margins ({_told(evidence)}): {due.value} would"
    if c.verdict is not Verdict.CERTIFIED:
        if c.radius != 0 or c.prediction is not None:
            yield f"verdict {c.verdict.value} proves nothing, but radius {c.radius} of class {c.prediction} is stated"
        return
    if c.prediction is None or not 0 <= c.prediction < evidence.classes:
        yield f"prediction {c.prediction} is none of {evidence.classes} classes"
    if c.radius != evidence.eps:
        yield f"margins at eps {evidence.eps} are none of radius {c.radius}"


def _told(evidence: BoundEvidence) -> str:
    if not evidence.margins:
        return "none is stated"
    positive = sum(0 < margin < math.inf for margin in evidence.margins)
    return f"{positive} of {len(evidence.margins)} have a lower bound > 0"
