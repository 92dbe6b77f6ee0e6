"""What votes guarantee: the binomial bound and the radius theorem together, forwards and as a check.

The checks take a stated radius back to the probability that it needs, and that probability to the binomial tail,
with the forward functions `ndtr` and `betainc`; they never invert what they check. A radius that the forward way
produced passes, because that way gives up more than the checks ask back: 1e-12 of q and 1e-14 of its quantile.

`alpha` is always what each bound by itself may spend (`Smoothing.bound_alpha`).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

from verifier.errors import InvalidProblem
from verifier.methods import MAX_DRAWS
from verifier.rounding import down, up
from verifier.smoothing.radius import l2_radius
from verifier.stats import binomial

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_NORMAL_ERROR = 1e-15
"""Relative error granted to `ndtr` at z <= 0, times 1 + z^2: twice what 50 digits show down to z = -8.5. Nothing beyond
is ever certified: 2^40 agreeing draws at alpha = 1/2 give z = 7.1."""

_QUANTILE_ERROR = 1e-14
"""Error granted to sums of quantiles, times 2 + |z_a| + |z_b|: ten times that of `ndtri` and of the additions."""


def largest_radius(sigma: float, n: int, alpha: float) -> float:
    """The radius that n agreeing votes give: no answer with these parameters can be larger.

    Args:
        sigma: standard deviation of the Gaussian noise, finite, > 0.
        n: draws, 1..2^40.
        alpha: failure probability of the bound, in (0, 1).
    Raises:
        InvalidProblem: a value outside its range.
    """
    return float(l2_radius(sigma, binomial.largest_bound(n, alpha).q)[0])


def draws_for_radius(sigma: float, eps: float, alpha: float) -> int | None:
    """Least number of draws n whose largest radius is at least eps; None where 2^40 do not suffice.

    largest_radius(n) >= eps > largest_radius(n - 1), for the very function that `largest_radius` is.

    Args:
        sigma, alpha: as in `largest_radius`.
        eps: the radius asked about, > 0.
    Raises:
        InvalidProblem: a value outside its range.
    """
    if not eps > 0:
        raise InvalidProblem(f"eps must be > 0, got {eps}", field="eps")
    if largest_radius(sigma, MAX_DRAWS, alpha) < eps:
        return None
    too_few, enough = 0, MAX_DRAWS
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if largest_radius(sigma, middle, alpha) >= eps:
            enough = middle
        else:
            too_few = middle
    return enough


def miss_probability(sigma: float, radius: float) -> float:
    """Phi(-radius / sigma), rounded down: a class that is missed less often holds within the radius.

    Args:
        sigma: standard deviation of the Gaussian noise, finite, > 0.
        radius: finite, >= 0.
    """
    return float(_lower_tail(-up(np.float64(radius / sigma)), -1))


def class_probability(sigma: float, radius: float) -> float:
    """Phi(radius / sigma), rounded down: what is proved of a class's probability where the radius is. As before."""
    return float(down(1 - _lower_tail(-down(np.float64(radius / sigma)), +1)))


def radius_holds(sigma: float, radius: Floats, k: Integers, n: int, alpha: float) -> Booleans:
    """Whether votes prove stated radii: P[Bin(n, Phi(radius/sigma)) >= k] <= alpha.

    False in any doubt; true for every radius > 0 of `l2_radius(sigma, clopper_pearson_lower(k, n, alpha).q)`.

    Args:
        sigma: standard deviation of the Gaussian noise, finite, > 0.
        radius: stated radii, [B]; 0 states that the class holds at the input itself, < 0 and NaN state nothing true.
        k: votes for the class, [B], 0 <= k <= n.
        n: draws, 1..2^40.
        alpha: failure probability of the bound, in (0, 1).
    Raises:
        InvalidProblem: n, k or alpha outside its range.
    """
    with _quietly():
        q_needed = _lower_tail(-up(radius / sigma), -1)
        return (radius >= 0) & binomial.complement_holds(k, n, alpha, q_needed)


def two_sided_radius_holds(
    sigma: float,
    radius: Floats,
    k_a: Integers,
    k_b: Integers,
    n: int,
    alpha: float,
    p_a_lower: Floats,
    p_b_upper: Floats,
) -> Booleans:
    """Whether votes prove stated bounds on the top two classes, and these the stated radii.

    With p_b = min(p_b_upper, 1 - p_a_lower): P[Bin(n, p_a_lower) >= k_a] <= alpha, P[Bin(n, p_b) <= k_b] <= alpha
    unless p_b = 1 - p_a_lower, and Phi(2 radius/sigma + Phi^-1(p_b)) <= p_a_lower.

    False in any doubt; true for every radius > 0 of `l2_radius_two_sided` with Clopper-Pearson bounds.

    Args:
        sigma, radius, n: as in `radius_holds`.
        k_a: votes for the class, [B].
        k_b: votes of the most voted other class, [B].
        alpha: failure probability of each of the two bounds, in (0, 1).
        p_a_lower, p_b_upper: stated bounds, [B].
    Raises:
        InvalidProblem: n, alpha or a count outside its range.
    """
    with _quietly():
        p_b_cap = up(1 - p_a_lower)
        a_holds = binomial.holds(k_a, n, alpha, p_a_lower)
        b_holds = binomial.upper_holds(k_b, n, alpha, p_b_upper) | (p_b_upper >= p_b_cap)
        needed = _quantile_needed(2 * up(radius / sigma), np.minimum(p_b_upper, p_b_cap))
        return (radius >= 0) & a_holds & b_holds & _at_least(p_a_lower, needed)


def _quietly() -> np.errstate:
    """Stated values may be any nonsense: it turns into NaN or infinity, and those never hold."""
    return np.errstate(invalid="ignore", over="ignore")


def _quantile_needed(difference: Floats, p_b: Floats) -> Floats:
    """Phi^-1(p_b) + difference, rounded up."""
    z_b: Floats = ndtri(p_b)
    z_a = z_b + difference
    return z_a + _QUANTILE_ERROR * (2 + np.abs(z_a) + np.abs(z_b))


def _at_least(p: Floats, z: Floats) -> Booleans:
    """Whether p >= Phi(z) for certain, compared on the side of 1/2 where both are small."""
    return np.where(z < 0, p >= _lower_tail(z, +1), 1 - p <= _lower_tail(-z, -1))  # 1 - p is exact for p >= 1/2


def _lower_tail(z: Floats, direction: int) -> Floats:
    """Phi(z) for z <= 0, rounded up (+1) or down (-1)."""
    probability: Floats = ndtr(z)
    return probability * (1 + direction * _NORMAL_ERROR * (1 + z * z))
