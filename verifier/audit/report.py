"""The audit: what a log or certificates claim, against what n draws at the stated alpha can prove."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from verifier.audit.alpha import Inference, candidates, infer
from verifier.audit.digits import Floats, PrintedRadii, printed_radii
from verifier.audit.findings import Finding, Kind, by_idx, constant_skip, missing_rows, repeated_rows, row_findings
from verifier.audit.lattice import Lattice
from verifier.audit.log import Row
from verifier.audit.radii import largest_only_findings, radius_findings, undecided_roundings, votes_behind
from verifier.audit.scores import Scores, score, table_radii
from verifier.methods import check_sampling

SCHEMA_VERSION = 1

TWO_SIDED = "the bound is two-sided: its radii form no lattice, so they were held against the largest only"


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Args:
        source: "log" or "certificates".
        rows: how many there are.
        abstained: how many of them state no class.
        sigma, n, alpha: as stated.
        largest_radius: that n agreeing draws prove at the stated alpha.
        inference: what the lattice says about alpha; None where it was not asked: certificates state their votes.
        findings: what cannot be, rows in their order, then the log as a whole.
        notes: what is no finding, but a reader should know.
        logged: scores as the log has them.
        rescored: the same with each radius turned into votes, and these into a radius at the stated alpha, rounded
            down; None where nothing says at which alpha to turn them.
        rescored_at_least: as `rescored`, with the fewest votes that print like that, at the largest possible alpha.
    """

    source: str
    rows: int
    abstained: int
    sigma: float
    n: int
    alpha: float
    largest_radius: float
    inference: Inference | None
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]
    logged: Scores
    rescored: Scores | None
    rescored_at_least: Scores | None

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def counts(self) -> dict[Kind, int]:
        """How many findings of each kind there are, in the order of `Kind`; kinds without any are left out."""
        counted = Counter(item.kind for item in self.findings)
        return {kind: counted[kind] for kind in Kind if counted[kind]}

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values at fixed names; docs/audit.md describes them."""
        return {
            "schema_version": SCHEMA_VERSION,
            **{name: value for name, value in vars(self).items() if name not in _NESTED},
            "clean": self.clean,
            "inference": None if self.inference is None else _facts(self.inference),
            "counts": {kind.value: count for kind, count in self.counts().items()},
            "findings": [{**asdict(item), "kind": item.kind.value} for item in self.findings],
            "notes": list(self.notes),
            "logged": self.logged.to_dict(),
            "rescored": self.rescored and self.rescored.to_dict(),
            "rescored_at_least": self.rescored_at_least and self.rescored_at_least.to_dict(),
        }


_NESTED = ("inference", "findings", "notes", "logged", "rescored", "rescored_at_least")


def _facts(inference: Inference) -> dict[str, Any]:
    facts = asdict(inference)
    facts["direction"] = inference.direction and inference.direction.value
    facts["possible"] = list(inference.possible)
    facts["fits"] = [{**asdict(fit), "direction": fit.direction.value} for fit in inference.fits]
    return facts


def audit_log(rows: Sequence[Row], sigma: float, n: int, alpha: float, *, runner_up: bool = False) -> AuditReport:
    """Audit a log of smoothing.

    Nothing is found in the log of an honest run with these parameters, whose radii were rounded down.

    Args:
        rows: from `read_log`, at least one.
        sigma, n, alpha: as the log is said to have been made.
        runner_up: that its radii rest on bounds of the top two classes (alpha/2 each), which form no lattice.
    Raises:
        InvalidProblem: sigma, n or alpha outside its range.
    """
    check_sampling(sigma, n, alpha)
    printed = printed_radii(rows)
    if runner_up:
        return _two_sided(rows, printed, Lattice(sigma, n, alpha / 2), alpha)
    inference = infer(printed, sigma, n, candidates(alpha))
    stated = Lattice(sigma, n, _claimed(alpha, inference))
    made = None if inference.alpha is None else Lattice(sigma, n, inference.alpha)
    findings = [*_by_rows(rows), *radius_findings(rows, printed, stated, made)]
    rescored = _rescored(rows, printed, stated, inference)
    radii = table_radii(max(stated.largest, _largest_logged(rows)))
    return AuditReport(
        source="log",
        rows=len(rows),
        abstained=sum(row.abstained for row in rows),
        sigma=sigma,
        n=n,
        alpha=alpha,
        largest_radius=stated.largest,
        inference=inference,
        findings=(*_in_order(findings), *_wrong_alpha(stated.alpha, inference)),
        notes=_notes(rows, printed, alpha, made or stated, inference),
        logged=score(logged_radii(rows), radii),
        rescored=None if rescored is None else score(rescored[0], radii),
        rescored_at_least=None if rescored is None else score(rescored[1], radii),
    )


def _two_sided(rows: Sequence[Row], printed: PrintedRadii, stated: Lattice, alpha: float) -> AuditReport:
    findings = [*_by_rows(rows), *largest_only_findings(rows, printed, stated)]
    return AuditReport(
        source="log",
        rows=len(rows),
        abstained=sum(row.abstained for row in rows),
        sigma=stated.sigma,
        n=stated.n,
        alpha=alpha,
        largest_radius=stated.largest,
        inference=None,
        findings=_in_order(findings),
        notes=(TWO_SIDED, *skip_notes(rows)),
        logged=score(logged_radii(rows), table_radii(max(stated.largest, _largest_logged(rows)))),
        rescored=None,
        rescored_at_least=None,
    )


def _claimed(alpha: float, inference: Inference) -> float:
    """What each bound was to spend: alpha, or half of it where the radii show a single-stage procedure."""
    return alpha / 2 if inference.alpha == alpha / 2 else alpha


# -- findings ----------------------------------------------------------------------------------------------


def _by_rows(rows: Sequence[Row]) -> list[Finding]:
    single = [item for row in rows for item in row_findings(row)]
    return [*single, *repeated_rows(rows), *missing_rows(rows)]


def _in_order(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    kinds = list(Kind)
    return tuple(sorted(findings, key=lambda item: (item.line or 0, kinds.index(item.kind))))


def _wrong_alpha(claimed: float, inference: Inference) -> tuple[Finding, ...]:
    if inference.alpha is None or inference.alpha == claimed:
        return ()
    message = f"the radii were made at alpha {inference.alpha:g}, not at {claimed:g}: {inference.reason}"
    return (Finding(Kind.WRONG_ALPHA, None, None, message),)


def _notes(
    rows: Sequence[Row], printed: PrintedRadii, alpha: float, lattice: Lattice, inference: Inference
) -> tuple[str, ...]:
    notes = list(skip_notes(rows))
    if inference.alpha == alpha / 2:
        notes.append(
            f"the radii were made at {alpha / 2:g}, half of the stated alpha, as by a procedure that spends the other "
            "half on choosing the class: they were held against that"
        )
    if inference.alpha is None and alpha in inference.possible:
        notes.append(f"at which alpha the radii were made cannot be told; they are judged, and rescored, at {alpha:g}")
    elif inference.alpha is None:
        notes.append(
            "at which alpha the radii were made cannot be told, and not at the stated one: nothing is rescored"
        )
    undecided = undecided_roundings(printed, lattice)
    if undecided:
        notes.append(
            f"{undecided} of {int((printed.of_row >= 0).sum())} radii have too few digits to tell whether they were "
            "rounded up"
        )
    return tuple(notes)


def skip_notes(rows: Sequence[Row]) -> tuple[str, ...]:
    """What to know about missing rows."""
    if len(rows) < 2 or constant_skip(rows) is not None:
        return ()
    return ("idx rises by no constant step: missing rows cannot be seen",)


# -- scores ------------------------------------------------------------------------------------------------


def logged_radii(rows: Sequence[Row]) -> Floats:
    """The radius up to which each row counts, as the log has it; what is no radius is 0, [B]."""
    radii = [row.radius if np.isfinite(row.radius) and row.radius > 0 else 0.0 for row in rows]
    return np.where([row.correct for row in rows], radii, -1.0)


def _largest_logged(rows: Sequence[Row]) -> float:
    return float(logged_radii(rows).max())


def _rescored(
    rows: Sequence[Row], printed: PrintedRadii, stated: Lattice, inference: Inference
) -> tuple[Floats, Floats] | None:
    """(as printed, at least): the radius at the stated alpha up to which each input counts; None where nobody knows."""
    made = inference.alpha or (stated.alpha if stated.alpha in inference.possible else None)
    if made is None:
        return None
    as_printed = votes_behind(printed, Lattice(stated.sigma, stated.n, made), at_least=False)
    largest = Lattice(stated.sigma, stated.n, max(inference.possible))
    at_least = np.where(as_printed > 0, votes_behind(printed, largest, at_least=True), 0)
    no_more = printed.values if made >= stated.alpha else np.inf  # less alpha proves no more than was logged
    return (
        _counting(rows, printed, np.minimum(stated.radii(as_printed), no_more)),
        _counting(rows, printed, np.minimum(stated.radii(at_least), no_more)),
    )


def _counting(rows: Sequence[Row], printed: PrintedRadii, radii: Floats) -> Floats:
    """The radius up to which each input counts, [inputs]: right, of a radius > 0, and in the worst of its rows."""
    own = np.where(printed.of_row >= 0, radii[printed.of_row] if len(radii) else 0.0, 0.0)
    right = np.array([row.predict == row.label for row in rows])
    counting = np.where(right & (own > 0), own, -1.0)
    return worst_of_each(rows, counting)


def worst_of_each(rows: Sequence[Row], counting: Floats) -> Floats:
    """One number an input: the least of its rows, in the order of their first, [inputs]."""
    return np.array([counting[positions].min() for positions in by_idx(rows).values()])
