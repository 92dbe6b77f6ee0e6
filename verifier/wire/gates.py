"""Gate runs to messages and back; the same messages, as JSON, are what the store keeps."""

import datetime
from typing import Any

from google.protobuf import json_format

from verifier.gating import Decision, GateRun, ThresholdResult
from verifier.v1 import gates_pb2
from verifier.wire.enums import from_enum, to_enum
from verifier.wire.names import PROJECT, parse_name, resource_name

_PLAIN = (
    *("policy_name", "policy_digest", "policy_text", "model", "model_digest", "baseline", "baseline_digest"),
    *("dataset", "dataset_digest", "order_seed", "attempt", "delta", "alpha", "reason", "inputs", "used"),
    *("forward_passes", "forward_passes_all", "counts_digest", "seconds"),
)
"""Fields of a run that are the same in both."""

_OF_THRESHOLD = ("name", "metric", "group", "lower", "upper", "confidence", "successes", "trials", "reason")
_OPTIONAL = ("norm", "radius", "at_least", "at_most", "value", "gained", "lost", "look")


def to_run(run: GateRun) -> gates_pb2.GateRun:
    """A run as a message."""
    message = gates_pb2.GateRun(
        name=resource_name("gateRuns", run.id),
        decision=to_enum(gates_pb2.GateDecision, "GATE_DECISION", run.decision),
        thresholds=[_to_threshold(result) for result in run.thresholds],
        versions=run.versions,
        **{name: getattr(run, name) for name in _PLAIN},
    )
    message.start_time.FromDatetime(datetime.datetime.fromtimestamp(run.started, datetime.UTC))
    return message


def from_run(message: gates_pb2.GateRun) -> GateRun:
    """A run from a message."""
    return GateRun(
        id=parse_name("gateRuns", message.name),
        project=PROJECT,
        decision=_decision(message.decision),
        thresholds=tuple(_from_threshold(result) for result in message.thresholds),
        started=message.start_time.ToNanoseconds() / 1e9,
        versions=dict(message.versions),
        **{name: getattr(message, name) for name in _PLAIN},
    )


def run_to_json(run: GateRun) -> str:
    """A run as text."""
    text: str = json_format.MessageToJson(to_run(run), indent=None, sort_keys=True)
    return text


def run_from_json(text: str) -> GateRun:
    """The run of a text."""
    return from_run(json_format.Parse(text, gates_pb2.GateRun()))


def _to_threshold(result: ThresholdResult) -> gates_pb2.ThresholdResult:
    given: dict[str, Any] = {name: getattr(result, name) for name in _OPTIONAL}
    return gates_pb2.ThresholdResult(
        decision=to_enum(gates_pb2.GateDecision, "GATE_DECISION", result.decision),
        **{name: getattr(result, name) for name in _OF_THRESHOLD},
        **{name: value for name, value in given.items() if value is not None},
    )


def _from_threshold(message: gates_pb2.ThresholdResult) -> ThresholdResult:
    given: dict[str, Any] = {name: getattr(message, name) if message.HasField(name) else None for name in _OPTIONAL}
    return ThresholdResult(
        decision=_decision(message.decision), **{name: getattr(message, name) for name in _OF_THRESHOLD}, **given
    )


def _decision(number: int) -> Decision:
    return from_enum(gates_pb2.GateDecision, "GATE_DECISION", number, Decision, "decision")
