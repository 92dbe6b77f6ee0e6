"""report.html: one page for people, whole in itself; nothing is fetched, nothing runs."""

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from verifier.certificate import Certificate, SamplingEvidence
from verifier.errors import Unsupported
from verifier.gate.report_curve import BAND_LEVEL, counting, curve, time_uniform_interval
from verifier.gate.report_images import ShownInput, numbers, picture
from verifier.gate.report_json import SCHEMA_VERSION, safe_decision
from verifier.gate.report_numbers import (
    asked,
    told_comparison,
    told_confidence,
    told_counts,
    told_down,
    told_interval,
    told_metric,
    told_norm,
    told_saving,
    told_up,
    told_value,
)
from verifier.gate.report_picture import Picture, draw
from verifier.gating import Decision, GateRun, Outcome, ThresholdResult
from verifier.report import P_A_EDGES, p_a_histogram

TEMPLATE = "report.html.j2"

MOST_SHOWN = 48
"""Inputs shown as pictures."""

MOST_CLASSES = 100
"""Rows of the table of classes; where there are more, those with the least certified accuracy."""

MARKS = {Decision.PASS: "\N{CHECK MARK}", Decision.FAIL: "\N{BALLOT X}", Decision.INCONCLUSIVE: "?"}

_WIDE, _NARROW = (880, 400), (328, 290)
"""Sizes of the curves' picture, in pixels, for a screen and for a phone."""


@dataclass(frozen=True)
class Gauge:
    """An interval beside its threshold, on a scale of 0 to 100."""

    start: float
    end: float
    value: float | None
    threshold: float
    left: str
    right: str


@dataclass(frozen=True)
class Row:
    """One threshold as the page tells it."""

    decision: str
    mark: str
    metric: str
    comparison: str
    interval: str
    value: str
    counts: str
    confidence: str
    reason: str
    gauge: Gauge


@dataclass(frozen=True)
class ClassRow:
    """One class: how many inputs, and how they came out."""

    label: int
    inputs: int
    right: int
    share: float
    interval: str
    abstained: int
    failed: int
    radius: str


@dataclass(frozen=True)
class Bar:
    """One bucket of the histogram; `width` in percent of the longest."""

    text: str
    count: int
    width: float


@dataclass(frozen=True)
class Card:
    """One input with its picture, or with its numbers where it is none."""

    index: int
    picture: str | None
    numbers: str
    label: str
    prediction: str
    verdict: str
    right: bool
    radius: str


def report_html(
    run: GateRun, certificates: Sequence[Certificate], shown: Sequence[ShownInput], outcomes: Sequence[Outcome]
) -> str:
    """The page's text.

    Arguments as in `reports.write_reports`; the curves and the table of classes are of the outcomes, so that exactly
    the inputs are in them on which the decision rests.

    Raises:
        Unsupported: Jinja2 or Pillow is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined  # an optional dependency
    except ImportError:
        raise Unsupported("gate reports need Jinja2, which is not installed: pip install 'verifier[gate]'") from None
    environment = Environment(
        loader=PackageLoader("verifier.gate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(TEMPLATE).render(_words(run, certificates, shown, outcomes))


def _words(
    run: GateRun, certificates: Sequence[Certificate], shown: Sequence[ShownInput], outcomes: Sequence[Outcome]
) -> dict[str, Any]:
    """What the template says; every name that it uses."""
    decision = safe_decision(run)
    names = ["model", "baseline"] if any(o.baseline_radius is not None for o in outcomes) else ["model"]
    norms = dict.fromkeys([*(c.norm.value for c in certificates), *(t.norm for t in run.thresholds if t.norm)])
    return {
        "run": run,
        "decision": decision.value,
        "mark": MARKS[decision],
        "started": datetime.fromtimestamp(run.started, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "saving": told_saving(run),
        "rows": [_row(threshold) for threshold in run.thresholds],
        "pictures": {"wide": _picture(names, run, outcomes, _WIDE), "narrow": _picture(names, run, outcomes, _NARROW)},
        "names": names,
        "norms": " and ".join(told_norm(norm) for norm in norms) or "certified",
        "band": told_confidence(BAND_LEVEL),
        "bars": _bars(certificates),
        "classes": _class_rows(outcomes)[:MOST_CLASSES],
        "all_classes": len({o.label for o in outcomes}),
        "cards": [_card(s) for s in sorted(shown, key=_smallest_first)[:MOST_SHOWN]],
        "procedure": _procedure(certificates),
        "schema_version": SCHEMA_VERSION,
    }


# -- thresholds ------------------------------------------------------------------------------------------


def _row(t: ThresholdResult) -> Row:
    return Row(
        decision=t.decision.value,
        mark=MARKS[t.decision],
        metric=told_metric(t),
        comparison=told_comparison(t),
        interval=told_interval(t),
        value=told_value(t),
        counts=told_counts(t),
        confidence=told_confidence(t.confidence),
        reason=t.reason,
        gauge=_gauge(t),
    )


def _gauge(t: ThresholdResult) -> Gauge:
    """On 0 to 1; of differences, on a symmetric range that shows all of them."""
    _, threshold = asked(t)
    low, high = 0.0, 1.0
    if t.metric == "regression":
        high = min(1.0, 1.2 * max([abs(v) for v in (t.lower, t.upper, threshold) if math.isfinite(v)] + [0.01]))
        low = -high

    def place(value: float) -> float:
        return round(100 * (min(max(value, low), high) - low) / (high - low), 2) if not math.isnan(value) else 0.0

    return Gauge(
        start=place(t.lower),
        end=place(t.upper),
        value=None if t.value is None else place(t.value),
        threshold=place(threshold),
        left=f"{low:.2g}",
        right=f"{high:.2g}" if low == 0 else f"+{high:.2g}",
    )


# -- curves ----------------------------------------------------------------------------------------------


def _picture(names: Sequence[str], run: GateRun, outcomes: Sequence[Outcome], size: tuple[int, int]) -> Picture | None:
    if not outcomes:
        return None
    curves = [curve(name, counting(outcomes, baseline=name == "baseline")) for name in names]
    marks = [
        (t.radius, t.at_least, f"{told_metric(t)}: {told_comparison(t)}", t.decision.value)
        for t in run.thresholds
        if t.metric == "certified_accuracy" and not t.group and t.radius is not None and t.at_least is not None
    ]
    return draw(curves, marks, *size)


# -- histogram, classes, inputs --------------------------------------------------------------------------


def _bars(certificates: Sequence[Certificate]) -> list[Bar]:
    sampled = [c for c in certificates if isinstance(c.evidence, SamplingEvidence)]
    if not sampled:
        return []
    counts = p_a_histogram(sampled)
    buckets = [f"{low:g} \N{EN DASH} {high:g}" for low, high in itertools.pairwise(P_A_EDGES)]
    return [
        Bar(text, count, round(100 * count / max(1, *counts), 2)) for text, count in zip(buckets, counts, strict=True)
    ]


def _class_rows(outcomes: Sequence[Outcome]) -> list[ClassRow]:
    """In the order of the labels; those of the least certified accuracy first, where not all can be shown."""
    by_label = defaultdict[int, list[Outcome]](list)
    for outcome in outcomes:
        by_label[outcome.label].append(outcome)
    rows = [_class_row(label, members) for label, members in sorted(by_label.items())]
    return sorted(rows, key=lambda row: row.share) if len(rows) > MOST_CLASSES else rows


def _class_row(label: int, members: Sequence[Outcome]) -> ClassRow:
    radii = counting(members)
    right = int((radii >= 0).sum())
    lower, upper = time_uniform_interval(np.array([right]), len(members), 1 - BAND_LEVEL)
    return ClassRow(
        label=label,
        inputs=len(members),
        right=right,
        share=right / len(members),
        interval=f"{told_down(float(lower[0]))} to {told_up(float(upper[0]))}",
        abstained=sum(o.abstained for o in members),
        failed=sum(o.failed for o in members),
        radius=told_down(math.fsum(np.maximum(radii, 0)) / len(members)),
    )


def _smallest_first(s: ShownInput) -> tuple[float, int]:
    return (-1.0 if s.certificate is None else s.certificate.radius, s.index)


def _card(s: ShownInput) -> Card:
    prediction = None if s.certificate is None else s.certificate.prediction
    return Card(
        index=s.index,
        picture=picture(s.x),
        numbers=numbers(s.x),
        label="no label" if s.label is None else f"label {s.label}",
        prediction="no prediction" if prediction is None else f"predicted {prediction}",
        verdict="failed" if s.certificate is None else s.certificate.verdict.value,
        right=prediction is not None and prediction == s.label,
        radius="0" if s.certificate is None else told_down(s.certificate.radius),
    )


def _procedure(certificates: Sequence[Certificate]) -> list[str]:
    """How the certificates were made, one line for each way."""
    lines: dict[str, None] = {}
    for c in certificates:
        method = c.method
        parameters = ""
        if isinstance(c.evidence, SamplingEvidence):
            parameters = f", n {c.smoothing.n:,}, alpha {c.smoothing.alpha:g}"
        lines[f"{method.name}: {c.subject}{parameters}; grade {c.guarantee.grade.value}"] = None
    return list(lines)
