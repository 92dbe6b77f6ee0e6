"""The theorem of Gaussian smoothing: from class probabilities to the radius of an L2 ball.

Everything is rounded down. NumPy's float64 and SciPy's `ndtri` only, whose relative error is at most 4.6e-16 against
50 digits (1250 probabilities between 1e-300 and 1 - 1e-15, dense around 1/2).
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from verifier.errors import InvalidProblem
from verifier.rounding import down, up

Floats = NDArray[np.float64]

_RELATIVE_GUARD = 1e-14
"""Taken off a quantile: 20 times the error of `ndtri`."""

_DIFFERENCE_GUARD = 1e-13
"""Taken off a difference of quantiles, times 2 + |z_a| + |z_b|. The 2 leaves room for a check that compares
probabilities near 1/2, where one ulp of the probability is not small compared with its quantile."""


def l2_radius(sigma: float, q_upper: Floats) -> Floats:
    """Radius of the L2 ball in which the smoothed classifier keeps its class, from one bound.

    If P[f(x + noise) != c] <= q_upper, then g(x') = c for every x' with ||x' - x|| < sigma Phi^-1(1 - q_upper).

    Args:
        sigma: standard deviation of the Gaussian noise, finite, > 0.
        q_upper: upper bounds on the probability of all other classes together, [B].
    Returns:
        Radii, [B], rounded down; exactly 0 (nothing is certified) unless 0 < q_upper < 1/2.
    Raises:
        InvalidProblem: a sigma outside its range.
    Source: Cohen et al. 2019 (arXiv:1902.02918), theorem 1 with p_B = 1 - p_A.
    """
    _check_sigma(sigma)
    certified = (q_upper > 0) & (q_upper < 0.5)
    quantile = -ndtri(np.where(certified, q_upper, 0.5)) * (1 - _RELATIVE_GUARD)
    return np.maximum(down(sigma * quantile), 0.0)


def l2_radius_two_sided(sigma: float, p_a_lower: Floats, p_b_upper: Floats) -> Floats:
    """Radius of the L2 ball in which the smoothed classifier keeps its class, from a bound on the runner-up as well.

    If P[f(x + noise) = c] >= p_a_lower and P[f(x + noise) = c'] <= p_b_upper for every other class c', then
    g(x') = c for every x' with ||x' - x|| < sigma/2 (Phi^-1(p_a_lower) - Phi^-1(min(p_b_upper, 1 - p_a_lower))).

    It is a function of the two numbers that a certificate states, so that whoever reads them can check it.

    Args:
        sigma: standard deviation of the Gaussian noise, finite, > 0.
        p_a_lower: lower bounds on the class's probability, [B]; may be below 1/2.
        p_b_upper: upper bounds on the probability of each other class, [B].
    Returns:
        Radii, [B], rounded down; exactly 0 (nothing is certified) unless both are in (0, 1) and the difference is > 0.
    Raises:
        InvalidProblem: a sigma outside its range.
    Source: Cohen et al. 2019 (arXiv:1902.02918), theorem 1.
    """
    _check_sigma(sigma)
    p_b_upper = np.minimum(p_b_upper, up(1 - p_a_lower))
    inside = (p_a_lower > 0) & (p_a_lower < 1) & (p_b_upper > 0) & (p_b_upper < 1)
    z_a, z_b = ndtri(np.where(inside, p_a_lower, 0.5)), ndtri(np.where(inside, p_b_upper, 0.5))
    difference = (z_a - z_b) - _DIFFERENCE_GUARD * (2 + np.abs(z_a) + np.abs(z_b))
    return np.maximum(down(sigma / 2 * difference), 0.0)


def _check_sigma(sigma: float) -> None:
    if not (math.isfinite(sigma) and sigma > 0):
        raise InvalidProblem(f"sigma must be finite and > 0, got {sigma}", field="smoothing.sigma")
