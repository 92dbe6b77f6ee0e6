"""A plan loses and doubles nothing, gives no more than is welcome, and shares fairly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.engine.plan import NEWCOMER_STEPS, Demand, plan

requests = st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=8)
large_requests = st.lists(st.lists(st.integers(0, 2**40), max_size=4), max_size=5)


@st.composite
def demands(draw: st.DrawFn) -> list[Demand]:
    """Of requests young and old, of several priorities, that may draw ahead."""
    made = []
    for wanted in draw(requests):
        ahead = draw(st.lists(st.integers(0, 80), min_size=len(wanted), max_size=len(wanted)))
        welcome = [rows and rows + more for rows, more in zip(wanted, ahead, strict=True)]
        made.append(Demand(wanted, welcome, draw(st.integers(0, 10_000)), draw(st.integers(-1, 1))))
    return made


def plainly(wanted: list[list[int]], budget: int) -> list[list[int]]:
    """A plan for requests that do not draw ahead."""
    return plan([Demand(inputs, inputs) for inputs in wanted], budget)


@given(demands(), st.integers(0, 400), st.integers(1, 64))
def test_gives_no_more_than_is_welcome_and_all_of_the_budget(asked: list[Demand], budget: int, round_rows: int) -> None:
    given_rows = plan(asked, budget, round_rows)
    assert [len(inputs) for inputs in given_rows] == [len(demand.wanted) for demand in asked]
    for ours, demand in zip(given_rows, asked, strict=True):
        assert all(0 <= rows <= most for rows, most in zip(ours, demand.welcome, strict=True))
    total, wanted = sum(map(sum, given_rows)), sum(sum(demand.wanted) for demand in asked)
    assert min(budget, wanted) <= total <= budget
    assert total < wanted + round_rows  # nothing is drawn ahead but what would be padding


@given(st.one_of(requests, large_requests), st.one_of(st.integers(0, 400), st.integers(0, 2**42)))
def test_without_drawing_ahead_it_gives_what_is_wanted(wanted: list[list[int]], budget: int) -> None:
    assert sum(map(sum, plainly(wanted, budget))) == min(budget, sum(map(sum, wanted)))


@given(demands(), st.integers(0, 400))
def test_lower_priorities_get_what_is_left(asked: list[Demand], budget: int) -> None:
    given_rows = plan(asked, budget)
    for ours, demand in zip(given_rows, asked, strict=True):
        below = sum(
            sum(rows) for rows, other in zip(given_rows, asked, strict=True) if other.priority < demand.priority
        )
        if below:
            assert sum(ours) >= sum(demand.wanted)


@given(requests, st.integers(0, 400))
def test_shares_are_max_min_fair(wanted: list[list[int]], budget: int) -> None:
    """Nobody has more than one row more than somebody who wants more: max-min fairness in whole rows."""
    shares = [sum(inputs) for inputs in plainly(wanted, budget)]
    unmet = [share for share, inputs in zip(shares, wanted, strict=True) if share < sum(inputs)]
    if unmet:
        assert max(shares) <= min(unmet) + 1


@given(requests, st.integers(0, 400))
def test_the_first_inputs_are_served_first(wanted: list[list[int]], budget: int) -> None:
    for ours, theirs in zip(plainly(wanted, budget), wanted, strict=True):
        short = [number for number, (rows, most) in enumerate(zip(ours, theirs, strict=True)) if rows < most]
        if short:
            assert not any(ours[short[0] + 1 :])


@given(requests, st.integers(0, 400), st.randoms(use_true_random=False))
def test_the_order_of_requests_matters_by_a_row_at_most(wanted: list[list[int]], budget: int, random: object) -> None:
    order = list(range(len(wanted)))
    random.shuffle(order)  # type: ignore[attr-defined]
    straight = [sum(inputs) for inputs in plainly(wanted, budget)]
    shuffled = [sum(inputs) for inputs in plainly([wanted[number] for number in order], budget)]
    for place, number in enumerate(order):
        assert abs(shuffled[place] - straight[number]) <= 1


@pytest.mark.parametrize(
    ("wanted", "budget", "expected"),
    [
        ([], 10, []),
        ([[]], 10, [[]]),
        ([[5, 5]], 7, [[5, 2]]),
        ([[100], [100]], 60, [[30], [30]]),
        ([[10], [100]], 60, [[10], [50]]),
        ([[100], [10], [40]], 60, [[25], [10], [25]]),
        ([[3, 3], [1000]], 100, [[3, 3], [94]]),
        ([[1000], [1000]], 0, [[0], [0]]),
        ([[0, 5], [0]], 3, [[0, 3], [0]]),
    ],
    ids=repr,
)
def test_plans_by_hand(wanted: list[list[int]], budget: int, expected: list[list[int]]) -> None:
    assert plainly(wanted, budget) == expected


OLD = NEWCOMER_STEPS * 100


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([Demand([1000], [1000], OLD), Demand([1000], [1000], 0)], [[25], [75]]),
        ([Demand([1000], [1000], OLD), Demand([10], [10], 0)], [[90], [10]]),
        ([Demand([1000], [1000], OLD), Demand([10], [40], 0)], [[60], [40]]),  # ahead, because the device is busy
        ([Demand([50], [50], OLD), Demand([10], [40], 0)], [[50], [10]]),  # not where there is no waiting
        ([Demand([10], [10], OLD), Demand([1000], [1000], 0)], [[10], [90]]),
        ([Demand([1000], [1000], 0, priority=-1), Demand([30], [60], OLD)], [[70], [30]]),
        ([Demand([1000], [1000], 0, priority=1), Demand([30], [60], 0)], [[100], [0]]),
    ],
    ids=repr,
)
def test_newcomers_and_priorities_by_hand(asked: list[Demand], expected: list[list[int]]) -> None:
    assert plan(asked, 100) == expected


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([Demand([10, 10], [10, 10])], [[10, 10]]),
        ([Demand([10, 10], [40, 40])], [[22, 10]]),  # two rounds of 16 are computed anyway
        ([Demand([10], [12]), Demand([6], [100])], [[10], [6]]),
        ([Demand([10], [12]), Demand([7], [100])], [[12], [20]]),
        ([Demand([90], [200])], [[96]]),
    ],
    ids=repr,
)
def test_rounds_are_filled_by_hand(asked: list[Demand], expected: list[list[int]]) -> None:
    assert plan(asked, 100, 16) == expected
