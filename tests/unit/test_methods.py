"""Parameters refuse nonsense, and say what radii may be computed with."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.errors import InvalidProblem
from verifier.methods import LARGEST_SIGMA, SMALLEST_SIGMA, Prediction, Smoothing, minimum_draws


@given(st.floats(SMALLEST_SIGMA, LARGEST_SIGMA))
def test_radii_never_use_more_noise_than_was_drawn(sigma: float) -> None:
    """Found by review: noise is scaled in float32, where 0.7 is 0.69999999."""
    method = Smoothing(sigma)
    assert method.radius_sigma <= method.sigma
    assert method.radius_sigma <= float(np.float32(sigma))
    assert method.radius_sigma in (sigma, float(np.float32(sigma)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan, math.inf, 1e-31, 1e31, True, "0.5"])
def test_sigma_out_of_range(sigma: float) -> None:
    with pytest.raises(InvalidProblem, match="sigma must"):
        Smoothing(sigma)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.51, math.nan, 5e-324])
def test_alpha_out_of_range(alpha: float) -> None:
    for make in (lambda: Smoothing(0.5, alpha=alpha, runner_up=True), lambda: Prediction(0.5, alpha=alpha)):
        with pytest.raises(InvalidProblem, match="alpha must"):
            make()


@pytest.mark.parametrize("n", [0, -1, 2**40 + 1, 10.0, True])
def test_draws_out_of_range(n: int) -> None:
    for make in (lambda: Smoothing(0.5, n=n), lambda: Smoothing(0.5, n0=n), lambda: Prediction(0.5, n=n)):
        with pytest.raises(InvalidProblem, match="must be an integer"):
            make()


def test_what_is_not_proved_is_refused() -> None:
    with pytest.raises(InvalidProblem, match="single_stage"):
        Smoothing(0.5, selection="single_stage", runner_up=True)  # type: ignore[arg-type]
    assert Smoothing(0.5, selection="single_stage", n0=0).draws == 10_000  # type: ignore[arg-type]


@given(st.floats(1e-100, 0.5))
def test_the_least_draws_are_the_least(alpha: float) -> None:
    """alpha^(1/n) > 1/2, in exact arithmetic: alpha > 2^-n."""
    least = minimum_draws(alpha)
    assert Fraction(alpha) > Fraction(1, 2**least)
    assert least == 1 or Fraction(alpha) <= Fraction(1, 2 ** (least - 1))


def test_too_few_draws_say_how_many() -> None:
    with pytest.raises(InvalidProblem, match="at least n = 10 are needed") as caught:
        Smoothing(0.5, n=9)
    assert caught.value.reason == "INFEASIBLE"
    assert Smoothing(0.5, n=10).n == 10
