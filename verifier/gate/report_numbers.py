"""A gate's numbers as text. Lower bounds and fractions are rounded down, upper bounds up: none looks better."""

import math

from verifier.errors import InvalidProblem
from verifier.gating import GateRun, ThresholdResult
from verifier.rounding import format_down

DIGITS = 4

NORMS = {"l1": "L1", "l2": "L2", "linf": "L\N{INFINITY}"}

_METRICS = {
    "certified_accuracy": "certified accuracy",
    "clean_accuracy": "clean accuracy",
    "abstention_rate": "abstention",
    "regression": "change against the baseline",
}


def told_down(value: float | None) -> str:
    """A number rounded down; a dash where there is none."""
    return "-" if value is None or not math.isfinite(value) else format_down(value, DIGITS)


def told_up(value: float | None) -> str:
    """A number rounded up."""
    if value is None or not math.isfinite(value):
        return "-"
    text = format_down(-value, DIGITS)  # down in the negative is up
    return text.removeprefix("-") if text.startswith("-") or not float(text) else f"-{text}"


def told_interval(threshold: ThresholdResult) -> str:
    """Both bounds."""
    return f"{told_down(threshold.lower)} to {told_up(threshold.upper)}"


def told_value(threshold: ThresholdResult) -> str:
    """The plain fraction, rounded down from its counts: 12 of 100 is 0.1200, though no float is."""
    if threshold.value is None or threshold.trials < 1:
        return "-"
    if threshold.metric != "regression":
        return told_down_share(threshold.successes, threshold.trials)
    net = (threshold.gained or 0) - (threshold.lost or 0)
    sign = "+" if net > 0 else "-" if net < 0 else ""
    return sign + told_down_share(abs(net), threshold.trials)


def told_down_share(count: int, total: int) -> str:
    """count/total rounded down."""
    whole, rest = divmod(10**DIGITS * count // total, 10**DIGITS)
    return f"{whole}.{rest:0{DIGITS}d}"


def told_metric(threshold: ThresholdResult) -> str:
    """What is measured: "certified accuracy at L2 radius 0.5, class 3"."""
    words = _METRICS.get(threshold.metric, threshold.metric)
    if threshold.radius is not None:
        words += f" at {told_norm(threshold.norm)} radius {threshold.radius:.6g}"
    return f"{words}, {threshold.group}" if threshold.group else words


def told_norm(norm: str | None) -> str:
    """The norm as people write it."""
    return NORMS.get((norm or "").lower(), norm or "")


def asked(threshold: ThresholdResult) -> tuple[str, float]:
    """("at_least" or "at_most", the number) that `value`, `lower` and `upper` are compared with.

    A regression's policy says how large a loss it allows; the value is model minus baseline: at least minus that.
    """
    if threshold.metric == "regression" and threshold.at_most is not None:
        return "at_least", -threshold.at_most + 0.0  # no minus zero
    if threshold.at_least is not None:
        return "at_least", threshold.at_least
    if threshold.at_most is None:
        raise InvalidProblem(f"{threshold.name} has neither at_least nor at_most", field="thresholds")
    return "at_most", threshold.at_most


def told_comparison(threshold: ThresholdResult) -> str:
    """What is asked: "at least 0.6"."""
    comparison, number = asked(threshold)
    return f"{comparison.replace('_', ' ')} {number:.12g}"


def told_confidence(confidence: float) -> str:
    """0.95 -> 95 %; rounded down."""
    if not math.isfinite(confidence):
        return "-"
    text = format_down(100 * confidence + 1e-9, 4).rstrip("0").rstrip(".")  # 100 * 0.57 is no 57
    return f"{text} %"


def told_counts(threshold: ThresholdResult) -> str:
    """The counts behind the fraction."""
    if threshold.gained is not None or threshold.lost is not None:
        return f"+{threshold.gained or 0:,} \N{MINUS SIGN}{threshold.lost or 0:,} of {threshold.trials:,}"
    return f"{threshold.successes:,} of {threshold.trials:,}"


def told_saving(run: GateRun) -> str:
    """How much of the work was not needed: "61 %"; "" where all inputs were used."""
    if run.used >= run.inputs or run.forward_passes_all <= 0:
        return ""
    return f"{max(0, 100 - math.ceil(100 * run.forward_passes / run.forward_passes_all))} %"
