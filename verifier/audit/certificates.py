"""The audit of our own certificates. They state their votes, so nothing has to be inferred."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from verifier import guarantee
from verifier.audit.findings import Finding, Kind, finding, missing_rows, repeated_rows
from verifier.audit.log import ABSTAINED, Row
from verifier.audit.report import AuditReport, skip_notes, worst_of_each
from verifier.audit.scores import score, table_radii
from verifier.certificate import Certificate
from verifier.check import check_all
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Smoothing, Stopping, check_sampling
from verifier.report import common_subject, counting_radii
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper

_Number = TypeVar("_Number", int, float)

UNLABELLED = "not all certificates have labels: the scores are certified fractions, and no accuracy"


def audit_certificates(
    certificates: Sequence[Certificate],
    sigma: float | None = None,
    n: int | None = None,
    alpha: float | None = None,
) -> AuditReport:
    """Audit certificates of smoothing.

    Each is held against its own votes (`check.check_all`), against the stated parameters, and against the others.
    Nothing is found in what one run of this package made.

    Args:
        certificates: of one subject, at least one.
        sigma, n, alpha: as they are said to have been made; None takes what all of them state.
    Raises:
        InvalidProblem: there are none, of several subjects, of several parameters where none are stated, or parameters
            outside their range.
        Unsupported: certificates that do not rest on votes.
    """
    methods = _methods(certificates)
    sigma = _stated("sigma", sigma, [method.sigma for method in methods])
    n = _stated("n", n, [method.n for method in methods])
    alpha = _stated("alpha", alpha, [method.alpha for method in methods])
    check_sampling(sigma, n, alpha)
    rows = rows_of(certificates)
    once = _without_repeats(certificates)
    checked = check_all([certificates[at] for at in once])
    broken = {once[item.position]: item.reasons for item in checked.failures}
    findings = [
        *(finding(Kind.DOES_NOT_HOLD, rows[at], reason) for at, reasons in broken.items() for reason in reasons),
        *_other_parameters(rows, methods, Smoothing(sigma=sigma, n=n, alpha=alpha)),
        *repeated_rows(rows),
        *missing_rows(rows),
    ]
    labelled = all(certificate.label is not None for certificate in certificates)
    logged = counting_radii(certificates, labelled=labelled)
    proved = np.array([0.0 if at in broken else _radius_at(c, n, alpha) for at, c in enumerate(certificates)])
    rescored = worst_of_each(rows, np.where((logged >= 0) & (proved > 0), proved, -1.0))
    largest = max(guarantee.largest_radius(sigma, n, alpha), float(logged.max()))
    radii = table_radii(largest)
    return AuditReport(
        source="certificates",
        rows=len(rows),
        abstained=sum(row.abstained for row in rows),
        sigma=sigma,
        n=n,
        alpha=alpha,
        largest_radius=guarantee.largest_radius(sigma, n, alpha),
        inference=None,
        findings=tuple(sorted(findings, key=lambda item: item.line or 0)),
        notes=(*checked.warnings, *(() if labelled else (UNLABELLED,)), *skip_notes(rows)),
        logged=score(logged, radii),
        rescored=score(rescored, radii),
        rescored_at_least=score(rescored, radii),
    )


def rows_of(certificates: Sequence[Certificate]) -> tuple[Row, ...]:
    """Certificates as the rows of a log, line by line; the radius is the float64, not rounded."""
    claims = counting_radii(certificates, labelled=False)
    return tuple(_row(line, c, radius) for line, (c, radius) in enumerate(zip(certificates, claims, strict=True), 1))


def _row(line: int, c: Certificate, radius: float) -> Row:
    """What one certificate claims; what proves nothing abstains."""
    predict = ABSTAINED if radius < 0 or c.prediction is None else c.prediction
    return Row(
        line=line,
        idx=c.index,
        label=c.label,
        predict=predict,
        radius=max(float(radius), 0.0),
        printed="",
        correct=predict != ABSTAINED and predict == c.label,
        time="",
    )


def _methods(certificates: Sequence[Certificate]) -> list[Smoothing]:
    common_subject(certificates)
    methods = [c.method for c in certificates if isinstance(c.method, Smoothing)]
    if len(methods) < len(certificates):
        raise Unsupported(
            "only certificates of smoothing have votes to audit, and some of these were made by another method: "
            "`verifier check` tells whether those hold"
        )
    return methods


def _without_repeats(certificates: Sequence[Certificate]) -> list[int]:
    """Positions without those that only repeat the first certificate of their index: a repetition is no attempt."""
    first: dict[int, Certificate] = {}
    positions = []
    for position, certificate in enumerate(certificates):
        original = first.get(certificate.index)
        if original is None or replace(certificate, execution=original.execution) != original:
            positions.append(position)
            first.setdefault(certificate.index, certificate)
    return positions


def _stated(name: str, stated: _Number | None, used: Sequence[_Number]) -> _Number:
    if stated is not None:
        return stated
    if len(set(used)) > 1:
        listed = ", ".join(f"{value:g}" for value in sorted(set(used)))
        raise InvalidProblem(f"the certificates state several values of {name} ({listed}): give --{name}", field=name)
    return used[0]


def _other_parameters(rows: Sequence[Row], methods: Sequence[Smoothing], stated: Smoothing) -> Iterator[Finding]:
    for row, method in zip(rows, methods, strict=True):
        for name in ("sigma", "n", "alpha"):
            used, claimed = getattr(method, name), getattr(stated, name)
            if used != claimed:
                yield finding(Kind.OTHER_PARAMETERS, row, f"made with {name} {used:g}, not with {claimed:g}")


def _radius_at(c: Certificate, n: int, alpha: float) -> float:
    """The radius that the votes of a certificate that holds prove at an alpha; 0 for another number of draws."""
    method, votes = c.smoothing, c.sampling.estimation
    if method.stopping is not Stopping.FIXED:  # its looks spent its own alpha, and prove nothing at a smaller one
        return c.radius if method.alpha <= alpha else 0.0
    if votes.n != n or method.n != n or c.radius == 0:
        return 0.0
    if method.alpha == alpha:
        return c.radius
    spent = alpha * (method.bound_alpha / method.alpha)
    lower = clopper_pearson_lower(np.array([votes.top_count]), n, spent)
    if not method.runner_up:
        return float(l2_radius(method.radius_sigma, lower.q)[0])
    upper = clopper_pearson_upper(np.array([votes.runner_up_count]), n, spent)
    return float(l2_radius_two_sided(method.radius_sigma, lower.p, upper.p)[0])
