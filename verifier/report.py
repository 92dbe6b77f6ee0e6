"""What many certificates say together: certified accuracy at radii, abstentions, average radius, work spent.

A certificate *counts at radius r* where it proves its prediction within a radius >= r and, where there are labels,
the prediction is the label. Everything else, abstentions included, counts at no radius. That a radius is proved does
not depend on the `eps` that was asked about, so a verdict UNKNOWN with a radius counts.

Nothing is audited here: run `check.check_all` on certificates from elsewhere first.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verifier import guarantee
from verifier.certificate import Certificate, Subject, Verdict
from verifier.errors import InvalidProblem
from verifier.rounding import format_down

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INTERVAL_LEVEL = 0.95
"""Confidence of the intervals; two-sided."""

P_A_EDGES = (0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 1.0)
"""Edges of the buckets of p_a_lower, closed below and open above: the bound is never 1."""

_SATURATED_SHARE = 0.1
"""Share of inputs with every draw for one class from which on more draws are worth a warning."""


@dataclass(frozen=True)
class CurvePoint:
    """Certified accuracy (without labels: the certified fraction) at one radius.

    Args:
        radius: r, in the units of the input.
        count: certificates that count at r.
        fraction: count over all inputs.
        lower, upper: two-sided 95 % Clopper-Pearson interval of that fraction in the population of which the inputs
            are an independent sample. It is a property of the procedure; to speak of the robust accuracy of the
            smoothed classifier itself, take another alpha off `lower`.
    """

    radius: float
    count: int
    fraction: float
    lower: float
    upper: float


@dataclass(frozen=True)
class Summary:
    """Figures over all certificates of one subject.

    Args:
        subject: what all of them speak about.
        n, alpha: draws for the bound and failure probability per input; None where the certificates differ.
        inputs: how many certificates there are. All rates are over all of them.
        certified, abstained, unknown, falsified: verdicts; they sum to `inputs`.
        labelled: whether all inputs have labels; otherwise labels are ignored.
        correct: inputs with the right prediction and any radius > 0; None without labels.
        average_radius: mean over all inputs, 0 for those that count nowhere (ACR).
        median_radius: median over the same numbers.
        largest_possible_radius: what the most generous of the methods could have proved, had all draws agreed.
        draws: forward passes spent.
        draws_per_second: over the time in which any of the requests ran; None where none was measured.
        curve: certified accuracy at rising radii.
        p_a_histogram: certificates by p_a_lower, in the buckets of P_A_EDGES.
        warnings: what a reader of these figures should know.
    """

    subject: Subject
    n: int | None
    alpha: float | None
    inputs: int
    certified: int
    abstained: int
    unknown: int
    falsified: int
    labelled: bool
    correct: int | None
    average_radius: float
    median_radius: float
    largest_possible_radius: float
    draws: int
    draws_per_second: float | None
    curve: tuple[CurvePoint, ...]
    p_a_histogram: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def clean_accuracy(self) -> float | None:
        """Accuracy of the smoothed classifier, abstentions counted as wrong; None without labels."""
        return None if self.correct is None else self.correct / self.inputs

    @property
    def abstention_rate(self) -> float:
        """Share of inputs whose votes were too divided."""
        return self.abstained / self.inputs

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values at fixed names; the curve as lists of equal length, one entry a radius."""
        own = {name: value for name, value in vars(self).items() if name not in ("subject", "curve")}
        return {
            "model": self.subject.model_digest,
            "precision": self.subject.precision,
            "noise": self.subject.noise,
            "sigma": self.subject.sigma,
            **own,
            "clean_accuracy": self.clean_accuracy,
            "abstention_rate": self.abstention_rate,
            "radii": [point.radius for point in self.curve],
            "certified_counts": [point.count for point in self.curve],
            "certified_fractions": [point.fraction for point in self.curve],
            "certified_fractions_lower": [point.lower for point in self.curve],
            "certified_fractions_upper": [point.upper for point in self.curve],
            "p_a_histogram": list(self.p_a_histogram),
            "p_a_histogram_edges": list(P_A_EDGES),
            "warnings": list(self.warnings),
        }


def summarise(certificates: Sequence[Certificate], radii: Sequence[float] | None = None) -> Summary:
    """The figures of certificates of one subject.

    Args:
        certificates: at least one.
        radii: at which to count, each finite and >= 0; None takes multiples of sigma/2 up to the largest possible.
    Raises:
        InvalidProblem: none at all, certificates of several subjects, or a radius out of range.
    """
    subject = common_subject(certificates)
    largest = largest_possible_radius(certificates)
    labelled = all(c.label is not None for c in certificates)
    counting = counting_radii(certificates, labelled=labelled)
    verdicts = [c.verdict for c in certificates]
    draws = sum(_drawn(c) for c in certificates)
    seconds = _busy_seconds(certificates)
    return Summary(
        subject=subject,
        n=_common([c.method.n for c in certificates]),
        alpha=_common([c.method.alpha for c in certificates]),
        inputs=len(certificates),
        certified=verdicts.count(Verdict.CERTIFIED),
        abstained=verdicts.count(Verdict.ABSTAINED),
        unknown=verdicts.count(Verdict.UNKNOWN),
        falsified=verdicts.count(Verdict.FALSIFIED),
        labelled=labelled,
        correct=int((counting >= 0).sum()) if labelled else None,
        average_radius=average_radius(counting),
        median_radius=float(np.median(np.maximum(counting, 0))),
        largest_possible_radius=largest,
        draws=draws,
        draws_per_second=draws / seconds if seconds else None,
        curve=curve(counting, _grid(certificates, largest) if radii is None else radii),
        p_a_histogram=p_a_histogram(certificates),
        warnings=tuple(_warnings(certificates, labelled)),
    )


# -- figures -------------------------------------------------------------------------------------------


def common_subject(certificates: Sequence[Certificate]) -> Subject:
    """The one subject that all certificates speak about.

    Raises:
        InvalidProblem: there are no certificates, or they speak about several; the message names them.
    """
    subjects = list(dict.fromkeys(c.subject for c in certificates))
    if not subjects:
        raise InvalidProblem("there are no certificates to summarise")
    if len(subjects) > 1:
        named = "; ".join(str(subject) for subject in subjects)
        raise InvalidProblem(f"certificates of {len(subjects)} subjects have no common accuracy, split them: {named}")
    return subjects[0]


def counting_radii(certificates: Sequence[Certificate], *, labelled: bool) -> Floats:
    """The radius up to which each certificate counts, [B]; -1 where it counts at no radius.

    Args:
        labelled: whether only right predictions count.
    """
    return np.array([c.radius if _counts(c, labelled) else -1.0 for c in certificates])


def counts_at(counting: Floats, radii: ArrayLike) -> Integers:
    """How many certificates count at each radius: #(counting >= r).

    Args:
        counting: from `counting_radii`, [B].
        radii: r >= 0, [R].
    """
    return len(counting) - np.searchsorted(np.sort(counting), np.asarray(radii), side="left")


def curve(counting: Floats, radii: Sequence[float]) -> tuple[CurvePoint, ...]:
    """Certified accuracy at radii, with its interval.

    Args:
        counting: from `counting_radii`, [B], B >= 1.
        radii: each finite and >= 0.
    Raises:
        InvalidProblem: a radius outside its range.
    """
    for r in radii:
        if not (math.isfinite(r) and r >= 0):
            raise InvalidProblem(f"radii must be finite and >= 0, got {r}", field="radii")
    counts = counts_at(counting, radii)
    lower, upper = interval(counts, len(counting))
    return tuple(
        CurvePoint(float(r), int(k), int(k) / len(counting), float(low), float(high))
        for r, k, low, high in zip(radii, counts, lower, upper, strict=True)
    )


def interval(counts: Integers, total: int) -> tuple[Floats, Floats]:
    """Two-sided 95 % Clopper-Pearson intervals of proportions, [R] each."""
    from statsmodels.stats.proportion import proportion_confint  # here, because importing it takes a second

    lower, upper = proportion_confint(counts, total, 1 - INTERVAL_LEVEL, "beta")
    return np.asarray(lower), np.asarray(upper)


def average_radius(counting: Floats) -> float:
    """Mean radius over all inputs, 0 for those that count at no radius (ACR)."""
    return math.fsum(np.maximum(counting, 0)) / len(counting)


def largest_possible_radius(certificates: Sequence[Certificate]) -> float:
    """The radius that n agreeing draws would have proved, under the most generous of the methods."""
    methods = {(c.method.radius_sigma, c.method.n, c.method.bound_alpha) for c in certificates}
    return max(guarantee.largest_radius(sigma, n, alpha) for sigma, n, alpha in methods)


def p_a_histogram(certificates: Sequence[Certificate]) -> tuple[int, ...]:
    """How many certificates have their p_a_lower in each bucket of P_A_EDGES."""
    counts, _ = np.histogram([c.evidence.p_a_lower for c in certificates], bins=P_A_EDGES)
    return tuple(int(count) for count in counts)


def _counts(c: Certificate, labelled: bool) -> bool:
    claims = c.prediction is not None and c.radius > 0 and c.verdict in (Verdict.CERTIFIED, Verdict.UNKNOWN)
    return claims and (c.correct is True or not labelled)


def _grid(certificates: Sequence[Certificate], largest: float) -> list[float]:
    """0 and the multiples of sigma/2 up to a radius, as numbers of at most six digits: a table shows them whole."""
    sigma = max(c.method.sigma for c in certificates)
    return [float(f"{step * sigma / 2:.6g}") for step in range(math.floor(2 * largest / sigma) + 1)]


def _drawn(c: Certificate) -> int:
    return c.evidence.estimation.n + (0 if c.evidence.selection is None else c.evidence.selection.n)


def _busy_seconds(certificates: Sequence[Certificate]) -> float:
    """Length of the union of [started, verdict] over all certificates."""
    busy, until = 0.0, -math.inf
    for started, seconds in sorted({(c.execution.started, c.execution.seconds) for c in certificates}):
        busy += max(0.0, started + seconds - max(started, until))
        until = max(until, started + seconds)
    return busy


def _common(values: Sequence[Any]) -> Any:
    """The value that all have, or None."""
    return values[0] if len(set(values)) == 1 else None


def _warnings(certificates: Sequence[Certificate], labelled: bool) -> Iterator[str]:
    total = len(certificates)
    with_label = sum(c.label is not None for c in certificates)
    if with_label and not labelled:
        yield f"only {with_label} of {total} inputs have labels: these figures ignore them, and are no accuracy"
    if len({c.method for c in certificates}) > 1:
        yield "the certificates were made with different parameters: their radii are not comparable one to one"
    repeated = total - len({c.input_digest for c in certificates})
    if repeated:
        yield f"{repeated} of {total} inputs repeat earlier ones: the intervals take inputs for independent"
    unfinished = sum(c.evidence.estimation.n < c.method.n for c in certificates)
    if unfinished:
        yield f"{unfinished} of {total} inputs stopped before their last draw: they count at no radius"
    saturated = sum(c.evidence.estimation.top_count == c.method.n for c in certificates)
    if saturated >= _SATURATED_SHARE * total:
        yield f"{saturated} of {total} inputs have the largest radius that n draws can prove: more would prove more"


# -- tables --------------------------------------------------------------------------------------------

_STYLES = {Verdict.CERTIFIED: "green", Verdict.ABSTAINED: "yellow", Verdict.UNKNOWN: "yellow", Verdict.FALSIFIED: "red"}
_MARKS = {True: Text("right", style="green"), False: Text("wrong", style="red"), None: Text("")}
_BAR = 10
"""Characters of the longest bar."""


def render(summary: Summary) -> RenderableType:
    """A summary for a terminal of 80 columns. Radii and shares are rounded down, upper ends of intervals up."""
    figures = Table.grid(padding=(0, 4))
    figures.add_row(_curve_table(summary), _histogram_table(summary))
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in summary.warnings]
    return Group(Text(str(summary.subject), style="bold"), _totals(summary), Text(), figures, *warnings)


def certificates_table(certificates: Sequence[Certificate], limit: int | None = None) -> Table:
    """One row a certificate, at most `limit`; radii and bounds rounded down."""
    shown = certificates[:limit]
    table = _table(">index", ">label", "verdict", ">prediction", ">radius", ">p_A lower", ">votes", "")
    for c in shown:
        votes = c.evidence.estimation
        table.add_row(
            str(c.index),
            _or_dash(c.label),
            Text(c.verdict.value, style=_STYLES[c.verdict]),
            _or_dash(c.prediction),
            format_down(c.radius, 4),
            format_down(c.evidence.p_a_lower, 4),
            f"{votes.top_count}/{votes.n}",
            _MARKS[None if c.prediction is None else c.correct],
        )
    if len(shown) < len(certificates):
        table.caption = f"and {len(certificates) - len(shown)} more"
    return table


def _totals(summary: Summary) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    n = "several n" if summary.n is None else f"n {summary.n:,}"
    alpha = "several alpha" if summary.alpha is None else f"alpha {summary.alpha:g}"
    table.add_row("method", f"{n}, {alpha}")
    table.add_row("inputs", f"{summary.inputs:,}: {_verdicts(summary)}")
    if summary.correct is not None:
        table.add_row("clean accuracy", f"{_share(summary.correct, summary.inputs)} (smoothed, abstaining is wrong)")
    table.add_row("abstention rate", _share(summary.abstained, summary.inputs))
    average, median, largest = (
        format_down(r, 4) for r in (summary.average_radius, summary.median_radius, summary.largest_possible_radius)
    )
    table.add_row("radius", f"{average} on average, {median} in the median, {largest} possible")
    rate = "" if summary.draws_per_second is None else f", {summary.draws_per_second:,.0f} a second"
    table.add_row("draws", f"{summary.draws:,}{rate}")
    return table


def _verdicts(summary: Summary) -> str:
    counts = {verdict.value: getattr(summary, verdict.value) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _curve_table(summary: Summary) -> Table:
    table = _table(">radius", ">accuracy" if summary.labelled else ">certified", "95 % interval", ">inputs")
    digits = max((len(_shortest(point.radius).partition(".")[2]) for point in summary.curve), default=0)
    for point in summary.curve:
        upper = format_down(-point.upper, 3).removeprefix("-")  # down in the negative is up
        table.add_row(
            np.format_float_positional(point.radius, min_digits=digits).removesuffix("."),
            _share(point.count, summary.inputs),
            f"{format_down(point.lower, 3)} - {upper}",
            str(point.count),
        )
    return table


def _histogram_table(summary: Summary) -> Table:
    table = _table("p_A lower", ">inputs", "")
    most = max(summary.p_a_histogram)
    for (low, high), count in zip(itertools.pairwise(P_A_EDGES), summary.p_a_histogram, strict=True):
        table.add_row(f"{low:g} - {high:g}", str(count), Text("\u2588" * round(_BAR * count / most), style="cyan"))
    return table


def _shortest(radius: float) -> str:
    """The radius itself: a radius at which accuracy is counted is never rounded."""
    return np.format_float_positional(radius, trim="-")


def _table(*columns: str) -> Table:
    """An empty table; columns whose name starts with > are aligned to the right."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)
    return table


def _share(count: int, total: int) -> str:
    """count/total with four digits, rounded down."""
    return f"{10_000 * count // total / 10_000:.4f}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
