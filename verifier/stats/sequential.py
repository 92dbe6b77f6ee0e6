"""A binomial test that looks at the count again and again, and still errs with probability at most alpha.

A plan fixes, before any draw, at which numbers of draws the count is looked at, and which part of alpha may be spent by
each look. The boundary at a look is then the least count with which the error spent so far stays within that part,
computed exactly: the distribution of the count among the paths that have not stopped is carried from look to look.
Stopping when a fixed-n bound passes, without such a plan, multiplies alpha by 17.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from verifier.errors import InvalidProblem
from verifier.methods import LOOK_STEP, MAX_DRAWS

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

LOOK_RATIO = 1.15
"""Of the draws at one look to those at the look before, about."""

EARLY_SHARE, _EARLY_POWER = 0.6, 1.3
"""Before the last look of M, share (i/M)^power of alpha may be spent by look i. The smaller the share, the closer the
last look comes to a test of fixed n, and the later the others stop."""

_DROPPED = 1e-9
"""Of alpha, what all paths together may carry that are cut off at the edges of a distribution. It counts as spent."""

_UNIT = 2.0**-53


@dataclass(frozen=True)
class SpendingPlan:
    """When to look, and how much may be spent by then.

    Args:
        looks: numbers of draws, rising, [M], M >= 1.
        spend: cumulative shares of alpha, not falling, in [0, 1], [M].
    Raises:
        InvalidProblem: looks that do not rise, or shares that fall or leave [0, 1].
    """

    looks: tuple[int, ...]
    spend: tuple[float, ...]

    def __post_init__(self) -> None:
        rising = all(before < after for before, after in pairwise((0, *self.looks)))
        if not self.looks or not rising or self.looks[-1] > MAX_DRAWS:
            raise InvalidProblem(f"looks must rise within 1..2^40, got {self.looks}")
        not_falling = all(before <= after for before, after in pairwise((0.0, *self.spend, 1.0)))
        if not not_falling or len(self.spend) != len(self.looks):
            raise InvalidProblem(f"one share of alpha a look, not falling, in [0, 1]: got {self.spend}")

    @property
    def n(self) -> int:
        """Draws at the last look."""
        return self.looks[-1]


@lru_cache(maxsize=256)
def geometric_plan(n: int, step: int = LOOK_STEP, early_share: float = EARLY_SHARE) -> SpendingPlan:
    """Looks at multiples of the step, about `LOOK_RATIO` apart, the last at n.

    Args:
        n: most draws, 1..2^40; where it is no multiple of the step, the last look is no multiple either.
        step: >= 1.
        early_share: what may be spent before the last look, in [0, 1].
    """
    looks, look = [], step
    while look < n:
        looks.append(look)
        look = max(look + step, round(look * LOOK_RATIO / step) * step)
    looks.append(n)
    early = [early_share * (number / len(looks)) ** _EARLY_POWER for number in range(1, len(looks))]
    return SpendingPlan(tuple(looks), (*early, 1.0))


class SequentialTest:
    """The counts that end a test at each look of a plan: for every success probability p <= 1 - q,

        P[K_i >= boundary(i) at some look i] <= alpha, and <= alpha spend_i up to look i, K_i ~ Binomial(looks_i, p).

    Thread-safe. Looks are worked out when they are first asked for.

    Args:
        q: probability of a failure under the hypothesis, in [0, 1]; rounded down, if it is rounded.
        alpha: error of the whole test, in (0, 1).
        plan: when to look.
    Raises:
        InvalidProblem: a value outside its range.
    Source: Lan & DeMets 1983 (spending functions), with the exact binomial distribution instead of a normal one.
    """

    def __init__(self, q: float, alpha: float, plan: SpendingPlan) -> None:
        if not 0 <= q <= 1:
            raise InvalidProblem(f"q must be in [0, 1], got {q}")
        if not 0 < alpha < 1:
            raise InvalidProblem(f"alpha must be in (0, 1), got {alpha}")
        self._q, self._alpha, self._plan = q, alpha, plan
        self._cut = alpha * _DROPPED / (3 * len(plan.looks))
        self._found: list[int] = []
        self._lock = Lock()
        self._counts = np.ones(1)  # P[count = lowest + index, not ended yet]
        self._lowest = 0
        self._spent = 0.0
        self._lost = 0.0
        self._error = 4 * _UNIT

    def boundary(self, look: int) -> int:
        """The least count that ends the test at a look, from 0 on; more than all draws where none does."""
        with self._lock:
            while len(self._found) <= look:
                self._found.append(self._next())
        return self._found[look]

    def boundaries(self) -> Integers:
        """Those of all looks, [M]."""
        return np.array([self.boundary(look) for look in range(len(self._plan.looks))], dtype=np.int64)

    def _next(self) -> int:
        """The next look's boundary.

        All numbers are sums of products of positive ones, so relative errors only add up. The error made so far is at
        most its computed value, `_spent`, with its rounding, and all mass that was cut off anywhere, `_lost`.
        """
        number = len(self._found)
        look, share = self._plan.looks[number], self._plan.spend[number]
        if self._q in (0.0, 1.0):  # the count is certain; with q = 1 it is 0, with q = 0 nothing is ever ruled out
            return 1 if self._q else look + 1
        drawn = self._plan.looks[number - 1] if number else 0
        weights, first, error = _binomial(look - drawn, self._q, self._cut)
        terms = min(len(self._counts), len(weights))
        counts, lowest = np.convolve(self._counts, weights), self._lowest + first
        above = np.cumsum(counts[::-1])  # above[i]: in the i + 1 largest counts
        self._error += error + (terms + len(counts)) * _UNIT
        self._lost += 2 * self._cut
        fits = (self._spent + above) * (1 + 2 * self._error) + self._lost <= self._alpha * share
        ending = int(fits.sum())  # `above` does not fall, so those that fit come first
        kept = len(counts) - ending
        if ending:
            self._spent += float(above[ending - 1])
        below = np.cumsum(counts[:kept])
        dropped = int((below <= self._cut).sum())
        if dropped:
            self._lost += float(below[dropped - 1]) * (1 + self._error)
        self._counts, self._lowest = counts[dropped:kept], lowest + dropped
        return lowest + kept if ending else look + 1


@lru_cache(maxsize=1024)
def sequential_test(q: float, alpha: float, plan: SpendingPlan) -> SequentialTest:
    """The test, kept from one use to the next."""
    return SequentialTest(q, alpha, plan)


def boundaries(q: float, alpha: float, plan: SpendingPlan) -> Integers:
    """All boundaries of a test, [M]; see `SequentialTest`."""
    return sequential_test(q, alpha, plan).boundaries()


def _binomial(n: int, q: float, cut: float) -> tuple[Floats, int, float]:
    """(probabilities of consecutive counts of Binomial(n, 1 - q), the first of these counts, their relative error).

    Computed from the most probable count outwards by the ratio of neighbours, and normalised over what is kept, which
    makes them too large if anything. By Bernstein's inequality at most `cut` lies beyond either end.
    """
    p = 1.0 - q
    exponent = -math.log(cut)
    width = math.ceil(math.sqrt(2 * n * p * q * exponent) + exponent) + 2
    mode = min(n, math.floor((n + 1) * p))
    first, last = max(0, mode - width), min(n, mode + width)
    odds = p / q
    upwards = np.arange(mode, last, dtype=np.float64)
    downwards = np.arange(mode, first, -1, dtype=np.float64)
    rising = np.cumprod((n - upwards) / (upwards + 1) * odds)
    falling = np.cumprod(downwards / (n - downwards + 1) / odds)
    weights = np.concatenate([falling[::-1], [1.0], rising])
    return weights / weights.sum(), first, (8 * (width + 2) + 2 * len(weights)) * _UNIT
