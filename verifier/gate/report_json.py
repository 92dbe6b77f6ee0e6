"""report.json: the decision for machines, at fixed paths; docs/gate-report.md describes the schema."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from verifier.errors import InvalidProblem
from verifier.gate.report_numbers import asked
from verifier.gating import Decision, GateRun, ThresholdResult

SCHEMA = "verifier.gate-report"
SCHEMA_VERSION = 1
"""Rises where a path changes its meaning or goes away; new paths do not raise it."""

EXIT_CODES = {Decision.PASS: 0, Decision.FAIL: 1, Decision.INCONCLUSIVE: 3}
"""2 is wrong usage."""


def safe_decision(run: GateRun) -> Decision:
    """The gate's decision, read without trust: pass only where there are thresholds and each of them passes.

    A run that says otherwise contradicts itself, which is a doubt: inconclusive, unless it says fail.
    """
    all_pass = bool(run.thresholds) and all(t.decision is Decision.PASS for t in run.thresholds)
    return run.decision if all_pass or run.decision is not Decision.PASS else Decision.INCONCLUSIVE


def exit_code(run: GateRun) -> int:
    """0 pass, 1 fail, 3 inconclusive; 0 only where `safe_decision` passes."""
    return EXIT_CODES[safe_decision(run)]


def report_json(run: GateRun, files: Mapping[str, str]) -> str:
    """The text of report.json.

    Args:
        run: what was decided.
        files: name -> SHA-256 of the files beside it.
    Raises:
        InvalidProblem: two thresholds of one name, whose metrics would share their paths.
    """
    names = [threshold.name for threshold in run.thresholds]
    if len(set(names)) < len(names):
        raise InvalidProblem(f"each threshold of a gate needs its own name, got {names}", field="thresholds")
    return json.dumps(_report(run, files), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _report(run: GateRun, files: Mapping[str, str]) -> dict[str, Any]:
    started = datetime.fromtimestamp(run.started, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {
        "schema": SCHEMA,
        "schema_version": SCHEMA_VERSION,
        "decision": safe_decision(run).value,
        "exit_code": exit_code(run),
        "reason": run.reason,
        "metrics": {threshold.name: metric(threshold) for threshold in run.thresholds},
        "policy": {"name": run.policy_name, "digest": run.policy_digest},
        "model": {"name": run.model, "digest": run.model_digest},
        "baseline": {"name": run.baseline, "digest": run.baseline_digest} if run.baseline_digest else None,
        "dataset": {"name": run.dataset, "digest": run.dataset_digest},
        "alpha": run.alpha,
        "delta": run.delta,
        "attempt": run.attempt,
        "order_seed": run.order_seed,
        "inputs": {"total": run.inputs, "used": run.used},
        "forward_passes": {"spent": run.forward_passes, "all_inputs": run.forward_passes_all},
        "counts_digest": run.counts_digest,
        "run": {"id": run.id, "project": run.project, "started": started, "seconds": run.seconds},
        "versions": dict(run.versions),
        "files": dict(files),
    }


def metric(threshold: ThresholdResult) -> dict[str, Any]:
    """What stands at metrics.<name>: flat, numbers or null."""
    comparison, number = asked(threshold)
    return {
        "value": _finite(threshold.value),
        "lower": _finite(threshold.lower),
        "upper": _finite(threshold.upper),
        "threshold": number,
        "comparison": comparison,
        "confidence": threshold.confidence,
        "decision": threshold.decision.value,
        "reason": threshold.reason,
        "metric": threshold.metric,
        "group": threshold.group,
        "norm": threshold.norm,
        "radius": threshold.radius,
        "successes": threshold.successes,
        "trials": threshold.trials,
        "gained": threshold.gained,
        "lost": threshold.lost,
        "look": threshold.look,
    }


def _finite(value: float | None) -> float | None:
    """JSON has no other numbers."""
    return value if value is not None and math.isfinite(value) else None
