"""The search for the largest radius, on margins whose roots are known."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.bounds.bisection import Bracket, step_down

TOLERANCE = 1e-4


def searched(margin: Callable[[float], float], guess: float, limit: float = math.inf) -> tuple[Bracket, int]:
    bracket, evaluations = Bracket(margin(0.0), TOLERANCE, limit, guess), 0
    while not bracket.settled:
        assert evaluations < 200
        bracket = bracket.after(margin(bracket.next))
        evaluations += 1
    return bracket, evaluations


@given(
    root=st.floats(1e-9, 1e9),
    exponent=st.floats(0.5, 6),
    linear=st.floats(0, 1),
    scale=st.floats(1e-6, 1e6),
    guess=st.floats(1e-9, 1e9),
)
def test_finds_the_root_of_a_falling_margin_from_any_guess(
    root: float, exponent: float, linear: float, scale: float, guess: float
) -> None:
    def margin(eps: float) -> float:
        bent: float = (eps / root) ** exponent
        return scale * (1 - linear * (eps / root) - (1 - linear) * bent)

    bracket, _ = searched(margin, guess)
    if bracket.low is None:  # the guess was beyond all reason: given up, and nothing is claimed
        assert bracket.certified == 0
        assert guess > root * 2**70
        return
    assert margin(bracket.certified) > 0
    assert bracket.certified >= root * (1 - 2 * TOLERANCE)


def power(root: float, exponent: float) -> Callable[[float], float]:
    return lambda eps: 1 - 0.3 * eps / root - 0.7 * math.pow(eps / root, exponent)


def test_takes_few_evaluations_where_the_margin_is_about_a_power_of_eps() -> None:
    margins = [power(root, e) for root in (3e-6, 3e-4, 0.01, 0.1, 0.3, 5.0, 1000.0) for e in (1.0, 1.5, 2.0, 3.0)]
    counts = [searched(margin, 2**-7)[1] for margin in margins]
    assert sum(counts) / len(counts) <= 10  # halving a bracket of a factor 2 to 1e-4 alone takes 13
    assert max(counts) <= 16


@given(st.lists(st.floats(-1, 1), min_size=200, max_size=200))
def test_ends_on_a_certified_radius_however_the_margin_jumps(margins: list[float]) -> None:
    answers, certified = iter(margins), {0.0}
    bracket = Bracket(1.0, TOLERANCE, math.inf, 0.01)
    for _ in range(200):
        if bracket.settled:
            break
        eps, margin = bracket.next, next(answers)
        if margin > 0:
            certified.add(eps)
        bracket = bracket.after(margin)
        assert bracket.certified in certified


@pytest.mark.parametrize("nothing", [math.nan, -math.inf])
def test_a_margin_that_is_no_number_certifies_nothing(nothing: float) -> None:
    bracket, evaluations = searched(lambda eps: 1.0 if eps == 0 else nothing, 0.1)
    assert bracket.certified == 0
    assert evaluations <= 30


def test_nothing_is_tried_beyond_the_limit() -> None:
    bracket, evaluations = searched(lambda _eps: 1.0, 0.1, limit=0.75)
    assert bracket.certified == 0.75
    assert evaluations <= 4


def test_a_radius_without_limit_ends() -> None:
    bracket, evaluations = searched(lambda _eps: 1.0, 1.0)
    assert bracket.certified == bracket.ceiling
    assert evaluations <= 40


def test_steps_down_a_little_and_then_much() -> None:
    shares = [step_down(1.0, failures) for failures in range(1, 20)]
    assert shares == sorted(shares, reverse=True)
    assert 1 - 1e-6 < shares[0] < 1
    assert shares[-1] == 0.5
