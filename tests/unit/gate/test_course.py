"""The gate's state machine: one order, every outcome once, and an end."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from gates import ABSTENTION, BASELINE, census, outcome, policy
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import InvalidProblem
from verifier.gate.course import GateCourse, InOrder
from verifier.gate.order import Census, committed_order
from verifier.gate.policy import Policy, parse_policy
from verifier.gate.trial import LOOK_STEP
from verifier.gating import Decision, Outcome

N = 200


def run(gate: Policy, outcomes: list[Outcome], inputs: int = N) -> GateCourse:
    """Until it decides, or the outcomes end."""
    course = GateCourse(gate, census(inputs), gate.delta)
    for each in outcomes:
        if course.decision is not None:
            break
        course.feed(each)
    return course


def test_a_clear_model_passes_at_an_early_look() -> None:
    course = run(policy(), [outcome(position) for position in range(N)])
    assert course.decision is Decision.PASS
    assert course.used in range(LOOK_STEP, 50, LOOK_STEP)
    assert course.reason == f"all 2 thresholds hold, after {course.used} of {N} inputs"
    certified, clean = course.results()
    assert certified.name == "certified_accuracy_l2_0.5"
    assert (certified.successes, certified.trials, certified.value) == (course.used, course.used, 1.0)
    assert certified.lower >= 0.6
    assert clean.lower >= 0.7
    assert (certified.confidence, certified.decision, certified.look) == (0.95, Decision.PASS, course.used)
    assert course.forward_passes == 1100 * course.used


def test_a_bad_model_fails_at_an_early_look() -> None:
    course = run(policy(), [outcome(position, False) for position in range(N)])
    assert (course.decision, course.reason[:9]) == (Decision.FAIL, "violated:")
    failed = [result for result in course.results() if result.decision is Decision.FAIL]
    assert failed
    for result in failed:
        assert result.at_least is not None
        assert result.upper < result.at_least
        assert result.confidence == 0.975  # shared by two thresholds
        assert result.reason.startswith("refuted: it is at most")


def test_in_between_is_inconclusive_when_the_inputs_end() -> None:
    course = run(policy(), [outcome(position, position % 10 < 6, clean=0) for position in range(N)])
    assert (course.decision, course.used) == (Decision.INCONCLUSIVE, N)
    certified = course.results()[0]
    assert certified.lower < 0.6 < certified.upper
    assert (certified.look, certified.decision) == (None, Decision.INCONCLUSIVE)
    clean = course.results()[1]
    assert (clean.decision, clean.look) == (Decision.PASS, 20)  # it waited for the other


def test_bounds_are_there_before_any_input() -> None:
    course = GateCourse(policy(BASELINE + ABSTENTION), census(N), 0.05)
    assert [(result.lower, result.upper) for result in course.results()[:2]] == [(0.0, 1.0)] * 2
    assert course.results()[2].lower < -1 < 1 < course.results()[2].upper
    assert all(result.value is None for result in course.results())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"position": 4}, "expected 3, got 4"),
        ({"position": 2}, "expected 3, got 2"),
        ({"index": 1}, "was consumed before"),
        ({"index": -1}, "is none"),
        ({"label": 1}, "a label must be in 0..0"),
        ({"radius": float("nan")}, "radii must be finite"),
        ({"radius": float("inf")}, "radii must be finite"),
        ({"radius": -1.0}, "radii must be finite"),
        ({"baseline_radius": None}, "compares with a baseline"),
        ({"forward_passes": -1}, "forward passes >= 0"),
    ],
    ids=repr,
)
def test_what_is_not_the_next_outcome_is_refused_and_changes_nothing(wrong: dict[str, Any], message: str) -> None:
    gate = policy(BASELINE)
    course = run(gate, [outcome(position) for position in range(3)])
    before = course.results()
    with pytest.raises(ValueError, match=message):
        course.feed(replace(outcome(3), **wrong))
    assert course.results() == before
    course.feed(outcome(3))
    assert course.used == 4


def test_nothing_is_added_after_the_end() -> None:
    course = run(policy(), [outcome(position) for position in range(N)])
    with pytest.raises(ValueError, match=r"has ended \(pass\)"):
        course.feed(outcome(course.used))
    course.finish("cancelled")
    assert course.decision is Decision.PASS


def test_an_end_from_outside_is_inconclusive() -> None:
    course = run(policy(), [outcome(position) for position in range(3)])
    course.finish("cancelled by its owner")
    assert (course.decision, course.reason) == (Decision.INCONCLUSIVE, "cancelled by its owner")


def test_the_budget_ends_it_after_what_it_paid_for() -> None:
    course = run(policy(max_forward_passes="5500"), [outcome(position) for position in range(N)])
    assert (course.decision, course.used) == (Decision.INCONCLUSIVE, 5)
    assert "5500 forward passes" in course.reason


def test_failed_inputs_count_against_everything() -> None:
    gate = policy(BASELINE + ABSTENTION)
    good = {"failed": True}
    course = run(gate, [outcome(position, **good) for position in range(N)])
    assert course.decision is Decision.FAIL
    certified, clean, regression, abstention = course.results()
    assert (certified.successes, clean.successes, abstention.successes) == (0, 0, course.used)
    assert (regression.gained, regression.lost) == (0, course.used)
    unknown = run(gate, [outcome(position, failed=True, baseline_radius=None) for position in range(N)])
    assert unknown.results()[2].lost == unknown.used
    both = run(gate, [outcome(position, failed=True, baseline_radius=0.0) for position in range(N)])
    assert both.results()[2].lost == 0


def test_what_counts_as_certified_and_right() -> None:
    gate = policy()
    outcomes = [
        outcome(0),
        outcome(1, radius=0.5),
        outcome(2, radius=0.4999),
        outcome(3, prediction=None),
        outcome(4, abstained=True),
        outcome(5, clean=None),
    ]
    certified, clean = run(gate, outcomes).results()
    assert (certified.successes, clean.successes) == (3, 5)
    other = GateCourse(gate, census(2, (1, 1)), 0.05)
    other.feed(outcome(0, label=1, prediction=0, clean=0))
    assert [result.successes for result in other.results()] == [0, 0]


def test_classes_and_slices_count_their_own_inputs() -> None:
    gate = policy(ABSTENTION + "per_class = true\n" + BASELINE + 'slice = "odd"\n[slices]\nodd = [1, 3, "5:7"]\n')
    labels = [position % 2 for position in range(20)]
    counted = Census.of(gate, range(20), labels, 2)
    assert (counted.labels, counted.slices) == ((10, 10), (4,))
    course = GateCourse(gate, counted, 0.05)
    for position, label in enumerate(labels[:9]):
        course.feed(outcome(position, label=label))
    assert [(result.group, result.trials) for result in course.results()[2:]] == [
        ("class 0", 5),
        ("class 1", 4),
        ("odd", 4),
    ]


def test_a_group_without_inputs_is_refused() -> None:
    gate = policy(ABSTENTION + "per_class = true\n")
    with pytest.raises(InvalidProblem, match=r"abstention_rate.class_1 is about class 1, of which none") as caught:
        GateCourse(gate, census(5, (5, 0)), 0.05)
    assert caught.value.reason == "EMPTY_GROUP"


def test_a_gate_that_cannot_pass_is_seen_before_it_runs() -> None:
    gate = policy(BASELINE + ABSTENTION)
    assert GateCourse(gate, census(300), 0.05).out_of_reach() == ()
    # 0.6^5 > 0.05, so that five hits prove nothing.
    assert GateCourse(gate, census(5), 0.05).out_of_reach()[0] == "certified_accuracy_l2_0.5"
    few = GateCourse(gate, census(10), 0.05)
    assert "abstention_rate" in few.out_of_reach()
    course = run(gate, [outcome(position) for position in range(10)], 10)
    assert course.decision is Decision.INCONCLUSIVE


@given(st.lists(st.booleans(), min_size=30, max_size=60), st.randoms(use_true_random=False), st.integers(1, 8))
def test_the_order_of_completion_changes_nothing(hits: list[bool], random: Any, workers: int) -> None:
    """Outcomes are completed in any order within a window of work in flight."""
    gate = policy(ABSTENTION)
    outcomes = [outcome(position, hit) for position, hit in enumerate(hits)]
    expected = run(gate, outcomes, len(hits))
    buffer, course = InOrder(), GateCourse(gate, census(len(hits)), gate.delta)
    waiting, consumed = list(outcomes), []
    while waiting:
        done = waiting.pop(random.randrange(min(workers, len(waiting))))
        for released in buffer.put(done):
            consumed.append(released.position)
            if course.decision is None:
                course.feed(released)
    assert consumed == list(range(len(hits)))
    assert buffer.waiting == 0
    assert (course.decision, course.used, course.results()) == (expected.decision, expected.used, expected.results())


def test_an_undecided_input_holds_up_the_later_ones() -> None:
    buffer = InOrder()
    assert buffer.put(outcome(1)) == ()
    assert buffer.put(outcome(2)) == ()
    assert buffer.waiting == 2
    assert [released.position for released in buffer.put(outcome(0))] == [0, 1, 2]
    for again in (0, 2):
        with pytest.raises(ValueError, match="already"):
            buffer.put(outcome(again))


# The committed order.


def test_the_order_is_a_random_one_of_the_selection() -> None:
    gate = policy()
    order = committed_order(gate, 400, 7)
    assert sorted(order.tolist()) == list(range(10, 400))
    assert (order == committed_order(gate, 400, 7)).all()
    assert (order != committed_order(gate, 400, 8)).any()
    assert np.corrcoef(order, np.arange(390))[0, 1] < 0.25  # |r| above 0.25 has probability 1e-6


def test_max_inputs_and_sample_cut_the_order() -> None:
    whole = committed_order(policy(), 400, 7)
    assert (committed_order(policy(max_inputs="50"), 400, 7) == whole[:50]).all()
    sampled = policy().text.replace("stop = 500", "stop = 500\nsample = 60")
    assert (committed_order(parse_policy(sampled), 400, 7) == whole[:60]).all()
    with pytest.raises(InvalidProblem, match="samples 60 of 10 inputs"):
        committed_order(parse_policy(sampled), 20, 7)


def test_a_slice_beyond_the_data_is_refused() -> None:
    gate = policy(BASELINE + 'slice = "far"\n[slices]\nfar = ["0:900"]\n')
    with pytest.raises(InvalidProblem, match="slice far reaches to index 899 of a data set of 400 inputs"):
        committed_order(gate, 400, 1)


@pytest.mark.parametrize(
    ("labels", "slices"), [((1, 1), ()), ((-1, 4), ()), ((3,), ()), ((1, 2), (4,)), ((1, 2), (-1,))], ids=repr
)
def test_a_census_must_add_up(labels: tuple[int, ...], slices: tuple[int, ...]) -> None:
    with pytest.raises(InvalidProblem):
        Census(2, 3, labels, slices)


def test_labels_are_needed() -> None:
    for labels in ([], [0, 2], [-1, 0], [0]):
        with pytest.raises(InvalidProblem, match=r"one label in 0\.\.1"):
            Census.of(policy(), [0, 1], labels, 2)
