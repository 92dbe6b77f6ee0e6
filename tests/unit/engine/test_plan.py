"""A plan loses and doubles nothing, gives no more than is wanted, and shares fairly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.engine.plan import plan

requests = st.lists(st.lists(st.integers(0, 50), max_size=6), max_size=8)
large_requests = st.lists(st.lists(st.integers(0, 2**40), max_size=4), max_size=5)


@given(st.one_of(requests, large_requests), st.one_of(st.integers(0, 400), st.integers(0, 2**42)))
def test_gives_what_is_wanted_and_all_of_the_budget(wanted: list[list[int]], budget: int) -> None:
    given_rows = plan(wanted, budget)
    assert [len(inputs) for inputs in given_rows] == [len(inputs) for inputs in wanted]
    for ours, theirs in zip(given_rows, wanted, strict=True):
        assert all(0 <= rows <= most for rows, most in zip(ours, theirs, strict=True))
    assert sum(map(sum, given_rows)) == min(budget, sum(map(sum, wanted)))


@given(requests, st.integers(0, 400))
def test_shares_are_max_min_fair(wanted: list[list[int]], budget: int) -> None:
    """Nobody has more than one row more than somebody who wants more: max-min fairness in whole rows."""
    shares = [sum(inputs) for inputs in plan(wanted, budget)]
    unmet = [share for share, inputs in zip(shares, wanted, strict=True) if share < sum(inputs)]
    if unmet:
        assert max(shares) <= min(unmet) + 1


@given(requests, st.integers(0, 400))
def test_the_first_inputs_are_served_first(wanted: list[list[int]], budget: int) -> None:
    for ours, theirs in zip(plan(wanted, budget), wanted, strict=True):
        short = [number for number, (rows, most) in enumerate(zip(ours, theirs, strict=True)) if rows < most]
        if short:
            assert not any(ours[short[0] + 1 :])


@given(requests, st.integers(0, 400), st.randoms(use_true_random=False))
def test_the_order_of_requests_matters_by_a_row_at_most(wanted: list[list[int]], budget: int, random: object) -> None:
    order = list(range(len(wanted)))
    random.shuffle(order)  # type: ignore[attr-defined]
    straight = [sum(inputs) for inputs in plan(wanted, budget)]
    shuffled = [sum(inputs) for inputs in plan([wanted[number] for number in order], budget)]
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
    assert plan(wanted, budget) == expected
