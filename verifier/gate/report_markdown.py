"""summary.md: what a CI job's page shows; the decision first."""

import re

from verifier.gate.report_json import safe_decision
from verifier.gate.report_numbers import (
    told_comparison,
    told_confidence,
    told_interval,
    told_metric,
    told_saving,
    told_value,
)
from verifier.gating import Decision, GateRun, ThresholdResult

MARKS = {Decision.PASS: "\N{WHITE HEAVY CHECK MARK}", Decision.FAIL: "\N{CROSS MARK}", Decision.INCONCLUSIVE: "\u2753"}

_ACTIVE = re.compile(r"([\\`*_{}\[\]()#+!|~@:])")
"""Characters that Markdown may act upon; @ and : would name people and make links."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def report_markdown(run: GateRun) -> str:
    """The file's text; names and reasons are shown as they are, whatever they hold."""
    decision = safe_decision(run)
    return "\n".join(
        [
            f"## {MARKS[decision]} {decision.value.upper()}: gate {plain(run.policy_name)}",
            "",
            plain(run.reason),
            "",
            "| | threshold | asked | bounds | measured | confidence |",
            "|---|---|---|---|---|---|",
            *(_row(threshold) for threshold in run.thresholds),
            "",
            f"Model {_named(run.model, run.model_digest)}, data set {_named(run.dataset, run.dataset_digest)}"
            + (f", baseline {_named(run.baseline, run.baseline_digest)}" if run.baseline_digest else "")
            + f", policy `{run.policy_digest[:12]}`.",
            _spent(run),
            "",
        ]
    )


def plain(text: str) -> str:
    """A text that Markdown and HTML show and do not act upon, on one line."""
    text = _CONTROL.sub(" ", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTIVE.sub(r"\\\1", text)


def _row(t: ThresholdResult) -> str:
    cells = [told_metric(t), told_comparison(t), told_interval(t), told_value(t), told_confidence(t.confidence)]
    return f"| {MARKS[t.decision]} {t.decision.value} | {' | '.join(map(plain, cells))} |"


def _named(name: str, digest: str) -> str:
    return f"{plain(name)} (`{digest[:12]}`)" if name and name != digest else f"`{digest[:12]}`"


def _spent(run: GateRun) -> str:
    saving = told_saving(run)
    saved = f" ({saving} fewer than all inputs would have cost)" if saving else ""
    again = f" Attempt {run.attempt}: delta is {run.delta:g} of it." if run.attempt > 1 else ""
    return f"Used {run.used:,} of {run.inputs:,} inputs and {run.forward_passes:,} forward passes{saved}.{again}"
