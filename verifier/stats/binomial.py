"""Exact confidence bounds on a binomial proportion, rounded so that they stay bounds in float64.

Near p = 1 the complement 1 - p is what matters (a normal quantile is taken from it), and float64 cannot recover it
from p: for 10^9 agreeing draws one ulp of p is 1.6e-8 of 1 - p. So a bound here is always a pair.

Two kinds of functions of SciPy do the work. The *inversion* (betaincinv, betainccinv) proposes a bound. It is mostly
right to 1e-15, but up to 2e-11 wrong in p at n = 10^9 and 5e-9 wrong in 1 - p for 1 to 30 misses there, on either
side of the truth. The *forward* function (betainc, betaincc: the binomial tail itself) then has to confirm the
proposal after a guard took something off it, or the guard grows.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from verifier.errors import InvalidProblem
from verifier.methods import MAX_DRAWS
from verifier.rounding import down

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]

_GUARD_P, _GUARD_Q = 1e-12, 2e-14
"""Smallest relative retreats from the inversion's answer. In 1 - p the forward function errs by 6e-17 (more only where
few misses are seen in many draws), in p by 2e-15, in units of what it is evaluated at."""

_LARGEST_GUARD = 1e-3
"""Where a retreat of this size is not confirmed either, there is no bound."""

_FORWARD_ERROR = 2.0**-61
"""Relative error, per trial, granted to the forward function on top of the guard: 16 times what 50 digits show for few
misses in up to 10^9 draws (2.7e-20 n)."""

_UNDERFLOW = 1e-300
"""Absolute error granted to the forward function, whose answers lose their digits below."""


@dataclass(frozen=True, eq=False)
class LowerBound:
    """A lower confidence bound on a proportion, and the upper bound on the complement that it is.

    Args:
        p: at most the exact bound, [B], in [0, 1).
        q: at least one minus the exact bound, [B], in (0, 1]; q < 1/2 exactly where p > 1/2.
    """

    p: Floats
    q: Floats


@dataclass(frozen=True, eq=False)
class UpperBound:
    """An upper confidence bound on a proportion, and the lower bound on the complement that it is.

    Args:
        p: at least the exact bound, [B], in (0, 1].
        q: at most one minus the exact bound, [B], in [0, 1); q > 1/2 exactly where p < 1/2.
    """

    p: Floats
    q: Floats


def clopper_pearson_lower(k: ArrayLike, n: int, alpha: float) -> LowerBound:
    """Exact lower confidence bound on a binomial proportion.

    For every p: P[bound(K) <= p] >= 1 - alpha when K ~ Binomial(n, p).

    Args:
        k: successes, integers [B], 0 <= k <= n.
        n: trials, 1..2^40.
        alpha: one-sided failure probability, in (0, 1).
    Returns:
        The bound, rounded to the safe side; exactly p = 0, q = 1 where k == 0, and wherever the inversion's answer
        cannot be confirmed.
    Raises:
        InvalidProblem: a value outside its range.
    Source: Clopper & Pearson 1934; LowerConfBound in Cohen et al. 2019 (arXiv:1902.02918), section 3.2.2.
    """
    k = _checked(k, n, alpha)
    some = np.maximum(k, 1)  # at k = 0 there is no beta distribution
    q_exact = np.where(k > 0, special.betainccinv(n - some + 1, some, alpha), 1.0)
    p_exact = np.where(k > 0, special.betaincinv(some, n - some + 1, alpha), 0.0)
    # Half the guard and half the margin are left over for whoever checks the bound with `holds` under another SciPy.
    q = _retreat(q_exact, 1.0, _GUARD_Q, lambda q: _fits(_tail_from_complement(k, n, q), n, alpha, margins=2))
    p = _retreat(p_exact, 0.0, _GUARD_P, lambda p: _fits(_tail(k, n, p), n, alpha, margins=2))
    p = np.where(q < 0.5, down(1 - q), np.minimum(p, 0.5))
    return LowerBound(p, np.where(p > 0.5, q, np.maximum(q, 0.5)))


def clopper_pearson_upper(k: ArrayLike, n: int, alpha: float) -> UpperBound:
    """Exact upper confidence bound on a binomial proportion: one minus the lower bound on the n - k failures.

    For every p: P[bound(K) >= p] >= 1 - alpha when K ~ Binomial(n, p).

    Arguments and errors as in `clopper_pearson_lower`; exactly p = 1, q = 0 where k == n.
    """
    failures = clopper_pearson_lower(n - _checked(k, n, alpha), n, alpha)
    return UpperBound(p=failures.q, q=failures.p)


def largest_bound(n: int, alpha: float) -> LowerBound:
    """The lower bound that n agreeing draws give, alpha^(1/n), as a batch of one."""
    return clopper_pearson_lower(np.array([n]), n, alpha)


def holds(k: ArrayLike, n: int, alpha: float, p_lower: ArrayLike) -> Booleans:
    """Whether stated values are lower confidence bounds: P[Bin(n, p_lower) >= k] <= alpha.

    The forward function alone, at the stated value, without the inversion that may have proposed it. True for all
    that `clopper_pearson_lower` returned, under whatever SciPy: there the tail was at most alpha (1 - 2 n 2^-61)
    before the second half of the guard lowered it further, and here alpha (1 - n 2^-61) is enough. False in any doubt.

    Args:
        k, n, alpha: as in `clopper_pearson_lower`.
        p_lower: stated bounds, [B]; outside [0, 1) and NaN are never bounds, 0 always is one.
    """
    k, p = _checked(k, n, alpha), np.asarray(p_lower, dtype=np.float64)
    inside = (p > 0) & (p < 1)
    tail = _tail(k, n, np.where(inside, p, 0.5))
    return np.where(inside, _fits(tail, n, alpha, margins=1), p == 0)


def complement_holds(k: ArrayLike, n: int, alpha: float, q_upper: ArrayLike) -> Booleans:
    """`holds` for a bound stated by its complement: P[Bin(n, 1 - q_upper) >= k] <= alpha, without rounding 1 - q.

    Args:
        k, n, alpha: as in `clopper_pearson_lower`.
        q_upper: stated upper bounds on the complement, [B]; outside (0, 1] and NaN are never bounds, 1 always is one.
    """
    k, q = _checked(k, n, alpha), np.asarray(q_upper, dtype=np.float64)
    inside = (q > 0) & (q < 1)
    tail = _tail_from_complement(k, n, np.where(inside, q, 0.5))
    return np.where(inside, _fits(tail, n, alpha, margins=1), q == 1)


def upper_holds(k: ArrayLike, n: int, alpha: float, p_upper: ArrayLike) -> Booleans:
    """`holds` for upper bounds: P[Bin(n, p_upper) <= k] <= alpha."""
    return complement_holds(n - _checked(k, n, alpha), n, alpha, p_upper)


def two_sided_p_value(k_top: ArrayLike, k_runner_up: ArrayLike) -> Floats:
    """P-value of the two-sided binomial test that the two most voted classes are equally probable.

    For any class probabilities: P[the p-value is <= alpha and the most voted class is not the most probable] <= alpha.

    Args:
        k_top: votes of the most voted class, [B], >= 0.
        k_runner_up: votes of the next, [B], 0 <= k_runner_up <= k_top.
    Returns:
        P-values, [B], in [1e-300, 1], rounded up; exactly 1 on a tie, and wherever SciPy gives none.
    Raises:
        InvalidProblem: counts that are not so.
    Source: PREDICT in Cohen et al. 2019 (arXiv:1902.02918), section 3.2.1; Hung & Fithian 2019.
    """
    top, runner_up = _integers("k_top", k_top), _integers("k_runner_up", k_runner_up)
    if ((runner_up < 0) | (runner_up > top)).any():
        raise InvalidProblem("counts must satisfy 0 <= k_runner_up <= k_top")
    n = top + runner_up
    p_value = 2 * _tail(top, n, 0.5) * (1 + n * _FORWARD_ERROR + _GUARD_P) + _UNDERFLOW
    return np.where((runner_up < top) & (p_value < 1), p_value, 1.0)


def _tail(k: Integers, n: int | Integers, p: Floats | float) -> Floats:
    """P[Bin(n, p) >= k]."""
    some = np.maximum(k, 1)
    return np.where(k > 0, special.betainc(some, n - some + 1, p), 1.0)


def _tail_from_complement(k: Integers, n: int, q: Floats) -> Floats:
    """P[Bin(n, 1 - q) >= k], accurate where q is small."""
    some = np.maximum(k, 1)
    return np.where(k > 0, special.betaincc(n - some + 1, some, q), 1.0)


def _fits(tail: Floats, n: int, alpha: float, margins: int) -> Booleans:
    """Whether a computed tail is at most alpha, with that many margins for its error to spare. NaN never is."""
    return tail + _UNDERFLOW <= alpha * (1 - margins * n * _FORWARD_ERROR)


def _retreat(proposed: Floats, worst: float, guard: float, fits: Callable[[Floats], Booleans]) -> Floats:
    """Each proposal moved towards `worst` by a guard of which half already fits; `worst` where none is found."""
    direction = 1.0 if worst > 0.5 else -1.0
    bound = np.full(proposed.shape, worst)
    pending = proposed != worst
    while pending.any() and guard < _LARGEST_GUARD:
        fine = pending & fits(np.minimum(proposed * (1 + direction * guard / 2), 1.0))
        bound = np.where(fine, np.minimum(proposed * (1 + direction * guard), 1.0), bound)
        pending &= ~fine
        guard *= 10
    return bound


def _checked(k: ArrayLike, n: int, alpha: float) -> Integers:
    """The counts as int64, after refusing what is no binomial observation or no failure probability."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or not 1 <= n <= MAX_DRAWS:
        raise InvalidProblem(f"n must be an integer in 1..2^40, got {n}")
    if not 0 < alpha < 1:
        raise InvalidProblem(f"alpha must be in (0, 1), got {alpha}")
    counts = _integers("k", k)
    if ((counts < 0) | (counts > n)).any():
        raise InvalidProblem(f"k must be in 0..n = {n}, got {counts.min()}..{counts.max()}")
    return counts


def _integers(name: str, counts: ArrayLike) -> Integers:
    array = np.asarray(counts)
    if not np.issubdtype(array.dtype, np.integer):
        raise InvalidProblem(f"{name} must be integers, got {array.dtype}")
    return array.astype(np.int64)
