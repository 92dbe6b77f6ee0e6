"""The record of a gate is enough to decide again, and any change of it is seen."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest
from gates import ABSTENTION, BASELINE, census, outcome, policy
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import InvalidProblem
from verifier.gate.course import GateCourse
from verifier.gate.outcomes import Record, counts_digest, recompute
from verifier.gating import Decision, Outcome

GATE = policy(BASELINE + ABSTENTION)


def ran(hits: list[bool]) -> tuple[GateCourse, Record]:
    """A gate over these hits, ended where it decides, and its record."""
    course = GateCourse(GATE, census(len(hits)), 0.05)
    consumed: list[Outcome] = []
    for position, hit in enumerate(hits):
        if course.decision is None:
            consumed.append(outcome(position, hit, radius=0.1 + position, index=3 * position))
            course.feed(consumed[-1])
    return course, Record(course.census, tuple(consumed))


@given(st.lists(st.booleans() | st.just(True), min_size=1, max_size=80))
def test_a_record_is_read_and_decided_again(hits: list[bool]) -> None:
    course, record = ran(hits)
    text = record.to_text()
    assert Record.of_text(text) == record
    again = recompute(GATE.text, text, 0.05)
    assert (again.decision, again.thresholds) == (course.decision, course.results())
    assert (again.used, again.forward_passes) == (course.used, course.forward_passes)
    assert again.counts_digest == counts_digest(course.census, record.outcomes)
    assert again.counts_digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_record_that_stops_early_is_inconclusive() -> None:
    _, record = ran([True] * 100)
    lines = record.to_text().splitlines(keepends=True)
    assert recompute(GATE.text, "".join(lines), 0.05).decision is Decision.PASS
    assert recompute(GATE.text, "".join(lines[:-1]), 0.05).decision is Decision.INCONCLUSIVE
    # A smaller delta takes more inputs: at that of a second attempt, these do not suffice.
    assert recompute(GATE.text, "".join(lines), 0.05 / 6).decision is Decision.INCONCLUSIVE


def line_of(text: str, number: int, **changes: object) -> str:
    """The text with fields of one line changed, in the canonical form."""
    lines = text.splitlines(keepends=True)
    values = json.loads(lines[number]) | changes
    lines[number] = json.dumps(values, sort_keys=True, separators=(",", ":")) + "\n"
    return "".join(lines)


TEXT = ran([True] * 100)[1].to_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 of the outcomes is no JSON object"),
        ("[]\n", "line 1 of the outcomes is no JSON object"),
        ("{}\n", "line 1 must name the schema"),
        (TEXT.replace("outcomes.1", "outcomes.2"), "line 1 must name the schema"),
        (line_of(TEXT, 0, inputs=99), "cannot be"),
        (line_of(TEXT, 0, inputs="100"), "line 1 of the outcomes: inputs cannot be '100'"),
        (line_of(TEXT, 0, labels=[1.5]), r"line 1 of the outcomes: labels cannot be \[1.5\]"),
        (line_of(TEXT, 0, slices=[7]), "other slices than the policy"),
        (TEXT.replace(":", ": ", 1), "line 1 of the outcomes is not in the canonical form"),
        (TEXT.rstrip("\n"), "is not in the canonical form"),
        (TEXT + "\n", "is no JSON object"),
        (line_of(TEXT, 2, position=7), "line 3 of the outcomes: .*expected 1, got 7"),
        (line_of(TEXT, 2, index=0), "line 3 of the outcomes: .*was consumed before"),
        (line_of(TEXT, 2, label=True), "line 3 of the outcomes: label cannot be True"),
        (line_of(TEXT, 2, radius=1), "line 3 of the outcomes: radius cannot be 1"),
        (line_of(TEXT, 2, radius=None), "line 3 of the outcomes: radius cannot be None"),
        (line_of(TEXT, 2, failed=0), "line 3 of the outcomes: failed cannot be 0"),
        (line_of(TEXT, 2, more=0), "line 3 of the outcomes must have abstained, "),
        (TEXT.replace(":1.1}", ":NaN}"), "line 3 of the outcomes is no JSON object"),
        (TEXT + line_of(TEXT, 2).splitlines(keepends=True)[2], "has ended"),
    ],
    ids=lambda value: repr(value[-40:]),
)
def test_what_is_no_record_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        recompute(GATE.text, text, 0.05)


def test_numpy_numbers_are_written_as_plain_ones() -> None:
    odd = replace(outcome(0), index=np.int64(0), label=np.int64(0), radius=np.float64(1), failed=np.bool_(False))  # type: ignore[arg-type]
    assert Record(census(1), (odd,)).digest == Record(census(1), (outcome(0),)).digest


def test_a_record_follows_one_order_only() -> None:
    _, record = ran([True, False, True])
    assert record.follows([0, 3, 6])
    assert not record.follows([0, 6, 3])
    assert not record.follows([0, 3, 6, 9])
    early = Record(record.census, record.outcomes[:2])
    assert early.follows([0, 3, 8])
