"""What is true of every bound and every radius, for draws, counts and levels at random."""

import decimal
from decimal import Decimal
from typing import Any

import mpmath
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtri

from verifier import guarantee
from verifier.rounding import format_down
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    complement_holds,
    holds,
    two_sided_p_value,
    upper_holds,
)

bounds_settings = settings(deadline=None, max_examples=150)

levels = st.floats(-30, -1).map(lambda exponent: 2.0**exponent)
sigmas = st.floats(0.01, 10)


@st.composite
def votes(draw: st.DrawFn) -> tuple[int, int]:
    """(k, n) with 1 <= k <= n <= 10^6; few and many misses as likely as a middling number."""
    n = draw(st.one_of(st.integers(1, 100), st.integers(1, 10**6)))
    few = draw(st.integers(0, min(n - 1, 20)))
    return draw(st.sampled_from([n - few, few + 1, draw(st.integers(1, n))])), n


def exact_tail(k: int, n: int, p: Any) -> Any:
    """P[Bin(n, p) >= k] to 40 digits, for k > n p: continued fraction of the incomplete beta function, DLMF 8.17.22."""
    with mpmath.workdps(50):
        a, b, x = mpmath.mpf(k), mpmath.mpf(n - k + 1), mpmath.mpf(p)
        c, d = mpmath.mpf(1), 1 / (1 - (a + b) * x / (a + 1))
        fraction, m, change = d, 1, mpmath.mpf(0)
        while abs(change - 1) > mpmath.mpf(10) ** -42:
            even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
            odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
            d, c = 1 / (1 + even * d), 1 + even / c
            fraction *= d * c
            d, c = 1 / (1 + odd * d), 1 + odd / c
            change = d * c
            fraction, m = fraction * change, m + 1
        log_power = a * mpmath.log(x) + b * mpmath.log1p(-x) - mpmath.log(a)
        log_beta = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
        return mpmath.exp(log_power - log_beta) * fraction


def one(k: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([k])


def exact_quantile(p: Any) -> Any:
    """Phi^-1(p) to 40 digits, by Newton's method."""
    z = mpmath.mpf(float(ndtri(float(p))))
    for _ in range(5):
        z -= (mpmath.ncdf(z) - p) / mpmath.npdf(z)
    return z


@bounds_settings
@given(votes(), levels)
def test_the_tail_at_the_bound_is_at_most_alpha(counts: tuple[int, int], alpha: float) -> None:
    k, n = counts
    bound = clopper_pearson_lower(one(k), n, alpha)
    with mpmath.workdps(50):
        p, q = mpmath.mpf(bound.p[0]), mpmath.mpf(bound.q[0])
        assert exact_tail(k, n, p) <= alpha
        assert q == 1 or exact_tail(k, n, 1 - q) <= alpha
        # Useful as well as true: where p is small the forward function's granted error, 2 n 2^-61 <= 8.7e-13 of the
        # tail, may widen the guard of 1e-12 once or twice; an ulp of p, and of q where that is large, adds 2.3e-16.
        assert exact_tail(k, n, p * (1 + 1.1e-10) + 2.3e-16) > alpha
        assert exact_tail(k, n, 1 - q * (1 - 1.1e-10) + 2.3e-16) > alpha


@bounds_settings
@given(st.integers(1, 5_000), levels)
def test_more_votes_and_more_risk_raise_the_bound(n: int, alpha: float) -> None:
    k = np.arange(n + 1)
    bound, bolder = clopper_pearson_lower(k, n, alpha), clopper_pearson_lower(k, n, 1.5 * alpha)
    upper = clopper_pearson_upper(k, n, alpha)
    assert (np.diff(bound.p) > 0).all()
    assert (np.diff(upper.p) > 0).all()
    assert (bound.p <= bolder.p).all()
    assert (bound.p < upper.p).all()
    assert ((bound.p > 0.5) == (bound.q < 0.5)).all()


@bounds_settings
@given(st.integers(1, 10**6), st.lists(st.floats(0, 1), min_size=1, max_size=8), levels)
def test_batch_mates_change_nothing(n: int, fractions: list[float], alpha: float) -> None:
    k = np.array([round(fraction * n) for fraction in fractions])
    together = clopper_pearson_lower(k, n, alpha)
    alone = [clopper_pearson_lower(k[i : i + 1], n, alpha) for i in range(len(k))]
    assert together.p.tolist() == [bound.p[0] for bound in alone]
    assert together.q.tolist() == [bound.q[0] for bound in alone]


@bounds_settings
@given(votes(), levels, sigmas)
def test_what_is_computed_passes_the_check(counts: tuple[int, int], alpha: float, sigma: float) -> None:
    k, n = counts
    bound = clopper_pearson_lower(one(k), n, alpha)
    radius = l2_radius(sigma, bound.q)
    assert holds(one(k), n, alpha, bound.p)
    assert complement_holds(one(k), n, alpha, bound.q)
    assert upper_holds(one(n - k), n, alpha, clopper_pearson_upper(one(n - k), n, alpha).p)
    if radius[0] > 0:
        assert guarantee.radius_holds(sigma, radius, one(k), n, alpha)


@bounds_settings
@given(votes(), st.floats(0, 1), levels, sigmas)
def test_what_is_computed_from_two_bounds_passes_the_check(
    counts: tuple[int, int], share: float, alpha: float, sigma: float
) -> None:
    k_a, n = counts
    k_b = int(share * (n - k_a))
    p_a = clopper_pearson_lower(one(k_a), n, alpha).p
    p_b = clopper_pearson_upper(one(k_b), n, alpha).p
    radius = l2_radius_two_sided(sigma, p_a, p_b)
    if radius[0] > 0:
        assert guarantee.two_sided_radius_holds(sigma, radius, one(k_a), one(k_b), n, alpha, p_a, p_b)


@bounds_settings
@given(st.floats(0, 1), sigmas)
def test_the_radius_is_never_above_the_exact_one(q: float, sigma: float) -> None:
    radius = l2_radius(sigma, np.array([q]))[0]
    assert radius >= 0
    if radius > 0:
        with mpmath.workdps(50):
            assert radius <= -sigma * exact_quantile(mpmath.mpf(q))


@bounds_settings
@given(st.floats(0, 1), st.floats(0, 1), sigmas)
def test_the_two_sided_radius_is_never_above_the_exact_one(p_a: float, p_b: float, sigma: float) -> None:
    radius = l2_radius_two_sided(sigma, np.array([p_a]), np.array([p_b]))[0]
    assert radius >= 0
    if radius > 0:
        with mpmath.workdps(50):
            capped = min(mpmath.mpf(p_b), 1 - mpmath.mpf(p_a))
            assert radius <= mpmath.mpf(sigma) / 2 * (exact_quantile(mpmath.mpf(p_a)) - exact_quantile(capped))


@bounds_settings
@given(st.floats(1e-6, 7), levels, sigmas)
def test_the_draws_for_a_radius_are_the_least(ratio: float, alpha: float, sigma: float) -> None:
    eps = ratio * sigma
    n = guarantee.draws_for_radius(sigma, eps, alpha)
    if n is None:
        assert guarantee.largest_radius(sigma, 2**40, alpha) < eps
    else:
        assert guarantee.largest_radius(sigma, n, alpha) >= eps
        assert n == 1 or guarantee.largest_radius(sigma, n - 1, alpha) < eps


@bounds_settings
@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_p_value_is_at_least_the_exact_one(first: int, second: int) -> None:
    top, runner_up = max(first, second), min(first, second)
    p_value = two_sided_p_value(one(top), one(runner_up))[0]
    assert 0 < p_value <= 1
    if top == runner_up:
        assert p_value == 1
    else:
        assert p_value == 1 or p_value >= 2 * exact_tail(top, top + runner_up, 0.5)


@bounds_settings
@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 20))
def test_text_is_never_above_the_number(value: float, digits: int) -> None:
    text = format_down(value, digits)
    with decimal.localcontext(prec=1_200):  # more digits than any float64 has
        assert 0 <= Decimal(value) - Decimal(text) < Decimal(1).scaleb(-digits)
