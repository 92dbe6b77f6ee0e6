"""Certificates from margins, as the deterministic backend makes them."""

from dataclasses import replace
from typing import Any

import numpy as np
from builders import MODEL_DIGEST, execution

from verifier.certificate import (
    BoundEvidence,
    Certificate,
    Grade,
    Guarantee,
    RegionKind,
    RegionNote,
    Subject,
    Verdict,
)
from verifier.methods import BoundMethod, Crown, Ladder, Rounding
from verifier.problem import Norm, digest_of


def ball(radius: float = 0.25, method: BoundMethod | None = None, **changes: Any) -> Certificate:
    """Certified by CROWN, 3 classes; with radius 0: unknown, because nothing could be bounded.

    Args:
        radius: proved.
        method: default: the ladder.
        changes: other fields of the certificate, or of its evidence.
    """
    method = method or Ladder()
    proved = radius > 0
    index = changes.get("index", 0)
    grade = Grade.FLOAT_SOUND if method.rounding is Rounding.OUTWARD else Grade.REAL_ARITHMETIC
    evidence = BoundEvidence(
        bound=Crown.name if isinstance(method, Ladder) else method.name,
        eps=radius,
        margins=(0.5, 1.5) if proved else (),
        region=RegionNote(),
        classes=3,
        evaluations=12 if proved else 0,
        audited=method.audit if proved else 0,
    )
    certificate = Certificate(
        index=index,
        input_digest=digest_of(np.full(2, index, np.float32)),
        label=None,
        verdict=Verdict.CERTIFIED if proved else Verdict.UNKNOWN,
        prediction=1 if proved else None,
        norm=Norm.LINF,
        radius=radius,
        eps=None,
        subject=Subject(MODEL_DIGEST, method.precision.value),
        guarantee=Guarantee(grade),
        method=method,
        evidence=evidence,
        execution=replace(execution(), batch_rows=0, form="bounds", row_exact=False),
    )
    return changed(certificate, **changes)


def failed(eps: float = 0.25, **changes: Any) -> Certificate:
    """Unknown: asked about eps, and one margin's bound is below 0."""
    facts: dict[str, Any] = {"margins": (-0.5, 1.5), "eps": eps}
    unknown = ball(0.0, evaluations=4, region=RegionNote(), **changes)
    return replace(unknown, eps=eps, evidence=replace(unknown.bounds, **facts))


def box(**changes: Any) -> Certificate:
    """Certified over a box."""
    certificate = ball()
    evidence = replace(certificate.bounds, eps=0.0, region=RegionNote(RegionKind.BOX))
    return changed(replace(certificate, radius=0.0, evidence=evidence), **changes)


def changed(certificate: Certificate, **changes: Any) -> Certificate:
    """With other fields, of the certificate where it has such a field, else of its evidence."""
    own = {name: value for name, value in changes.items() if name in vars(certificate)}
    within = {name: value for name, value in changes.items() if name not in own}
    evidence = replace(certificate.bounds, **within)
    return replace(certificate, **{"evidence": evidence, **own})
