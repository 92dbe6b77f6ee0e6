"""What certificates say, as tables for a terminal. Radii, bounds and shares are rounded down, upper ends up."""

import decimal
import itertools
import math
from collections.abc import Sequence

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from verifier.certificate import Certificate, SamplingEvidence, Verdict
from verifier.methods import Smoothing, Stopping
from verifier.report import P_A_EDGES, Summary
from verifier.rounding import format_down

_STYLES = {Verdict.CERTIFIED: "green", Verdict.ABSTAINED: "yellow", Verdict.UNKNOWN: "yellow", Verdict.FALSIFIED: "red"}
_MARKS = {True: Text("right", style="green"), False: Text("wrong", style="red"), None: Text("")}
_BAR = 10
"""Characters of the longest bar."""
_LONGEST_EPS = 8
"""Characters of an eps that is shown as it is."""


def render(summary: Summary) -> RenderableType:
    """A summary for a terminal of 80 columns. Radii and shares are rounded down, upper ends of intervals up."""
    figures = Table.grid(padding=(0, 4))
    figures.add_row(_curve_table(summary), *([_histogram_table(summary)] if summary.p_a_histogram else []))
    warnings = [Text(f"warning: {warning}", style="yellow") for warning in summary.warnings]
    return Group(Text(str(summary.subject), style="bold"), _totals(summary), Text(), figures, *warnings)


def certificates_table(certificates: Sequence[Certificate], limit: int | None = None) -> Table:
    """One row a certificate, at most `limit`; radii and bounds rounded down."""
    shown = certificates[:limit]
    evidence = (">p_A lower", ">votes") if all(isinstance(c.evidence, SamplingEvidence) for c in shown) else _BY_BOUNDS
    table = _table(">index", ">label", "verdict", ">prediction", ">radius", *evidence, "")
    for c in shown:
        table.add_row(
            str(c.index),
            _or_dash(c.label),
            Text(_told_verdict(c), style=_STYLES[c.verdict]),
            _or_dash(c.prediction),
            _told_radius(c),
            *_told_evidence(c),
            _MARKS[None if c.prediction is None else c.correct],
        )
    if len(shown) < len(certificates):
        table.caption = f"and {len(certificates) - len(shown)} more"
    return table


def _told_verdict(c: Certificate) -> str:
    """Who asks about radii is told of them: an input that is given up was not too divided for every radius."""
    asked_radii = isinstance(c.method, Smoothing) and c.method.stopping in (Stopping.DECIDE, Stopping.GRID)
    return "not certified" if asked_radii and c.verdict is Verdict.ABSTAINED else c.verdict.value


def _told_radius(c: Certificate) -> str:
    """Rounded down; but the eps that was asked about, where it is the radius and short, as it was asked."""
    if c.is_box:
        return "box"
    asked = _shortest(c.radius) if c.radius == c.eps else ""
    return asked if 0 < len(asked) <= _LONGEST_EPS else _down(c.radius)


_BY_BOUNDS = (">least margin", "bound")


def _told_evidence(c: Certificate) -> tuple[str, str]:
    """(p_A lower, votes), or (least margin, bound)."""
    if isinstance(c.evidence, SamplingEvidence):
        return format_down(c.evidence.p_a_lower, 4), f"{c.evidence.estimation.top_count}/{c.evidence.estimation.n}"
    if not c.evidence.margins:
        return "-", "-"
    undefined = any(map(math.isnan, c.evidence.margins))
    return "nan" if undefined else _down(min(c.evidence.margins)), c.evidence.bound


def _told_method(summary: Summary) -> str:
    if summary.largest_possible_radius is None:
        region = "boxes" if summary.boxes == summary.inputs else f"norm {summary.norm or 'several'}"
        return f"{summary.method or 'several'}, {region}, {summary.grade or 'several grades'}"
    n = "several n" if summary.n is None else f"n {summary.n:,}"
    alpha = "several alpha" if summary.alpha is None else f"alpha {summary.alpha:g}"
    if summary.stopping == Stopping.FIXED:
        return f"{n}, {alpha}"
    return f"{summary.stopping or 'several'}, {n} at most, {alpha}"


def _totals(summary: Summary) -> Table:
    sampled = summary.largest_possible_radius is not None
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_row("method", _told_method(summary))
    if summary.bounds:
        table.add_row("proved by", ", ".join(f"{bound} {count}" for bound, count in summary.bounds.items()))
    table.add_row("inputs", f"{summary.inputs:,}: {_verdicts(summary)}")
    if summary.correct is not None:
        clean = summary.clean_accuracy is not None
        accuracy = "clean accuracy" if clean else "certified and right"
        remark = " (smoothed, abstaining is wrong)" if clean else ""
        table.add_row(accuracy, f"{_share(summary.correct, summary.inputs)}{remark}")
    if sampled:
        given_up = "abstention rate" if summary.clean_accuracy is not None or summary.correct is None else "given up"
        table.add_row(given_up, _share(summary.abstained, summary.inputs))
    if summary.boxes < summary.inputs:
        table.add_row("radius", _told_radii(summary))
    rate = "" if summary.draws_per_second is None else f", {summary.draws_per_second:,.0f} a second"
    table.add_row("draws" if sampled else "bounds computed", f"{summary.draws:,}{rate}")
    return table


def _told_radii(summary: Summary) -> str:
    radius = f"{_down(summary.average_radius)} on average, {_down(summary.median_radius)} in the median"
    if summary.largest_possible_radius is not None:
        radius += f", {_down(summary.largest_possible_radius)} possible"
    return radius


def _verdicts(summary: Summary) -> str:
    counts = {verdict.value: getattr(summary, verdict.value) for verdict in Verdict}
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)


def _curve_table(summary: Summary) -> Table:
    table = _table(">radius", ">accuracy" if summary.labelled else ">certified", "95 % interval", ">inputs")
    digits = max((len(_shortest(point.radius).partition(".")[2]) for point in summary.curve), default=0)
    for point in summary.curve:
        upper = format_down(-point.upper, 3).removeprefix("-")  # down in the negative is up
        radius = np.format_float_positional(point.radius, min_digits=digits).removesuffix(".")
        table.add_row(
            "box" if summary.boxes == summary.inputs else radius,
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


def _down(value: float) -> str:
    """Rounded down: to four digits, or, of small numbers, three significant ones, so that none looks like 0."""
    if not math.isfinite(value):
        return str(value)
    exponent = math.floor(math.log10(abs(value))) if value else 0
    if exponent >= -4:
        return format_down(value, max(4, 2 - exponent))
    return f"{decimal.Context(prec=3, rounding=decimal.ROUND_FLOOR).create_decimal(decimal.Decimal(value)):.2e}"


def _or_dash(value: int | None) -> str:
    return "-" if value is None else str(value)
