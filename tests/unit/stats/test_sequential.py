"""Boundaries of the repeated binomial test: by hand, and their order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from verifier.errors import InvalidProblem
from verifier.stats.sequential import SequentialTest, SpendingPlan, boundaries, geometric_plan


def test_one_look_is_the_binomial_test() -> None:
    for q, n, alpha in [(0.5, 40, 1e-3), (0.1, 200, 0.05), (0.01, 1000, 1e-6), (0.3, 1, 0.01)]:
        (found,) = boundaries(q, alpha, SpendingPlan((n,), (1.0,)))
        fits = [k for k in range(n + 2) if binom.sf(k - 1, n, 1 - q) <= alpha]
        assert found == fits[0]


def test_two_looks_by_hand() -> None:
    """A fair coin, alpha 0.3: 3 heads of 3 have 1/8. Of the other paths 3/64 come to 5 of 6, and 12/64 to 4 of 6."""
    assert boundaries(0.5, 0.3, SpendingPlan((3, 6), (0.5, 1.0))).tolist() == [3, 5]


def test_what_a_look_leaves_the_next_may_spend() -> None:
    none_early = boundaries(0.5, 0.01, SpendingPlan((5, 40), (0.0, 1.0)))
    impossible_early = boundaries(0.5, 0.01, SpendingPlan((5, 40), (0.5, 1.0)))  # 5 of 5 is 1/32
    assert none_early.tolist() == impossible_early.tolist() == [6, *boundaries(0.5, 0.01, SpendingPlan((40,), (1.0,)))]


@pytest.mark.parametrize(("q", "expected"), [(0.0, [4, 8]), (1.0, [1, 1])])
def test_certain_counts(q: float, expected: list[int]) -> None:
    assert boundaries(q, 0.01, SpendingPlan((3, 7), (0.5, 1.0))).tolist() == expected


def test_looks_in_any_order_are_the_same() -> None:
    plan = geometric_plan(3000)
    test = SequentialTest(0.2, 1e-3, plan)
    last = test.boundary(len(plan.looks) - 1)
    assert test.boundaries().tolist() == boundaries(0.2, 1e-3, plan).tolist()
    assert last == test.boundaries()[-1]


@given(st.integers(1, 200_000), st.integers(1, 200), st.floats(0, 1))
def test_plans_rise_to_their_end(n: int, step: int, early_share: float) -> None:
    plan = geometric_plan(n, step, early_share)
    assert plan.n == n
    assert all(look % step == 0 for look in plan.looks[:-1])
    assert plan.spend[-1] == 1
    assert all(share <= early_share for share in plan.spend[:-1])


@settings(deadline=None, max_examples=30)
@given(st.floats(0.001, 0.6), st.sampled_from([0.1, 1e-3, 1e-6]), st.integers(50, 3000))
def test_a_harder_hypothesis_needs_more(q: float, alpha: float, n: int) -> None:
    plan = geometric_plan(n)
    looks = np.array(plan.looks)
    found = boundaries(q, alpha, plan)
    assert (found <= looks + 1).all()
    assert (found > looks * (1 - q)).all()  # alpha is small: what ends the test lies above the mean
    stricter = boundaries(q, alpha / 100, plan)
    assert stricter[0] >= found[0]


@pytest.mark.parametrize(
    ("looks", "spend", "message"),
    [
        ((), (), "looks must rise"),
        ((3, 3), (0.5, 1.0), "looks must rise"),
        ((0, 3), (0.5, 1.0), "looks must rise"),
        ((3, 6), (0.5,), "one share of alpha a look"),
        ((3, 6), (0.5, 0.4), "one share of alpha a look"),
        ((3, 6), (0.5, 1.1), "one share of alpha a look"),
        ((3, 6), (float("nan"), 1.0), "one share of alpha a look"),
    ],
    ids=repr,
)
def test_impossible_plans_are_refused(looks: tuple[int, ...], spend: tuple[float, ...], message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        SpendingPlan(looks, spend)


@pytest.mark.parametrize(("q", "alpha"), [(-0.1, 0.1), (1.1, 0.1), (0.5, 0.0), (0.5, 1.0), (float("nan"), 0.1)])
def test_values_out_of_range_are_refused(q: float, alpha: float) -> None:
    with pytest.raises(InvalidProblem, match="must be in"):
        SequentialTest(q, alpha, SpendingPlan((3,), (1.0,)))
