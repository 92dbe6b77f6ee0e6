"""The record of what a gate consumed, and the gate's decision computed again from it.

A record is text: one JSON object a line, in one canonical form. The first line says how many inputs of each kind could
have come, each further line is one outcome, in the committed order. Its SHA-256 is the `counts_digest` of a run.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from verifier.errors import InvalidProblem
from verifier.gate.course import GateCourse
from verifier.gate.order import Census
from verifier.gate.policy import parse_policy
from verifier.gating import Decision, Outcome, ThresholdResult

SCHEMA = "verifier.gate.outcomes.1"


@dataclass(frozen=True)
class Record:
    """What a gate consumed.

    Args:
        census: of the inputs that could have come.
        outcomes: those that were consumed, in their order.
    """

    census: Census
    outcomes: tuple[Outcome, ...]

    def to_text(self) -> str:
        """The canonical lines, each with its end."""
        return record_head(self.census) + "".join(outcome_line(outcome) for outcome in self.outcomes)

    @property
    def digest(self) -> str:
        """SHA-256 of the canonical text's bytes, hex."""
        return hashlib.sha256(self.to_text().encode()).hexdigest()

    def follows(self, order: Sequence[int]) -> bool:
        """Whether its inputs are those of the committed order, from its beginning on."""
        consumed = [outcome.index for outcome in self.outcomes]
        return len(order) == self.census.inputs and consumed == [int(index) for index in order[: len(consumed)]]

    @classmethod
    def of_text(cls, text: str) -> "Record":
        """The record that a text is.

        Raises:
            InvalidProblem: naming the line that is no record, or not in the canonical form.
        """
        head, *lines = text.splitlines(keepends=True) or [""]
        values = _object(head, 1)
        if values.pop("schema", None) != SCHEMA:
            raise InvalidProblem(f"line 1 must name the schema {SCHEMA}", field="outcomes")
        census = _built(Census, values, 1, head)
        return cls(census, tuple(_built(Outcome, _object(line, n), n, line) for n, line in enumerate(lines, 2)))


@dataclass(frozen=True)
class Recomputed:
    """What follows from a policy and a record.

    Args:
        decision: of the gate. A record that ends before a decision is inconclusive.
        thresholds: as in `GateRun`.
        used: outcomes. forward_passes: of these.
        counts_digest: of the record.
    """

    decision: Decision
    thresholds: tuple[ThresholdResult, ...]
    used: int
    forward_passes: int
    counts_digest: str


def record_head(census: Census) -> str:
    """The first line of a record."""
    return _canonical({"schema": SCHEMA} | asdict(census))


def outcome_line(outcome: Outcome) -> str:
    """An outcome's line of a record."""
    values = asdict(outcome)
    radii = {name: float(values[name]) for name in ("radius", "baseline_radius") if values[name] is not None}
    return _canonical(values | radii)


def counts_digest(census: Census, outcomes: Iterable[Outcome]) -> str:
    """SHA-256 (hex) of the record of these outcomes."""
    return Record(census, tuple(outcomes)).digest


def recompute(policy_text: str, record_text: str, delta: float) -> Recomputed:
    """Every bound and the decision again, offline, from the policy and the record alone.

    Args:
        policy_text: of the gate. record_text: of the run. delta: of the attempt.
    Raises:
        InvalidProblem: the policy, the record or its order is wrong, or outcomes come after the decision.
    """
    record = Record.of_text(record_text)
    policy = parse_policy(policy_text, "policy")
    if len(record.census.slices) != len(policy.slices):
        raise InvalidProblem("the record counts other slices than the policy has", field="outcomes")
    course = GateCourse(policy, record.census, delta)
    for number, outcome in enumerate(record.outcomes, 2):
        try:
            course.feed(outcome)
        except ValueError as error:
            raise InvalidProblem(f"line {number} of the outcomes: {error}", field="outcomes") from None
    course.finish("the record ends here")
    assert course.decision is not None
    return Recomputed(course.decision, course.results(), course.used, course.forward_passes, record.digest)


def _canonical(values: dict[str, Any]) -> str:
    return json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False, default=_plain) + "\n"


def _plain(value: Any) -> Any:
    """numpy's numbers become Python's; nothing else is let in."""
    return value.item()


def _no_number(constant: str) -> float:
    raise ValueError(constant)


def _object(line: str, number: int) -> dict[str, Any]:
    try:
        values = json.loads(line, parse_constant=_no_number)
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise InvalidProblem(f"line {number} of the outcomes is no JSON object", field="outcomes")
    return values


def _built(kind: type[Any], values: dict[str, Any], number: int, line: str) -> Any:
    """The dataclass of these values, if it is written exactly as it would be written again."""
    names = {field.name for field in fields(kind)}
    if set(values) != names:
        raise InvalidProblem(f"line {number} of the outcomes must have {', '.join(sorted(names))}", field="outcomes")
    for name, value in values.items():
        _check(kind, name, value, number)
    lists = {name: tuple(value) for name, value in values.items() if isinstance(value, list)}
    built = kind(**(values | lists))
    if (record_head(built) if kind is Census else outcome_line(built)) != line:
        raise InvalidProblem(f"line {number} of the outcomes is not in the canonical form", field="outcomes")
    return built


def _check(kind: type[Any], name: str, value: Any, number: int) -> None:
    """Refuse a value of another type than its field's."""
    annotation = str({field.name: field.type for field in fields(kind)}[name])
    optional = "None" in annotation and value is None
    if "tuple" in annotation:
        right = isinstance(value, list) and all(type(entry) is int for entry in value)
    else:
        right = type(value).__name__ in annotation
    if not (right or optional):
        raise InvalidProblem(f"line {number} of the outcomes: {name} cannot be {value!r}", field="outcomes")
