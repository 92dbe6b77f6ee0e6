"""The radii that can be: one for each number of votes k out of n.

Everything goes through the forward check `guarantee.radius_holds`: the least k that proves a radius is found by
bisection, so that no n is too large to be looked at.
"""

from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verifier import guarantee
from verifier.audit.digits import Direction, PrintedRadii
from verifier.smoothing.radius import l2_radius
from verifier.stats.binomial import clopper_pearson_lower

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

RELATIVE_SLACK = 1e-7
"""How far from the lattice a radius may be computed: sigma rounded to float32 (6e-8), and our own guards (5.1e-8)."""
SLACK_PER_DRAW = 2.0**-57
"""More of it, for what our guards take off where draws are very many: 7e-9 at n = 10^9."""
ABSOLUTE_SLACK = 1e-12
"""The same near radius 0, in units of sigma: errors of a probability near 1/2."""


class Place(IntEnum):
    """Where a printed radius lies, whichever way it was rounded."""

    ON = 0
    """Some k gives a radius that prints so without rounding up."""
    ROUNDED_UP = 1
    """Only radii below it print so."""
    OFF = 2
    """No k gives a radius that prints so."""
    ABOVE = 3
    """It is larger than what n agreeing votes give, rounded up."""


@dataclass(frozen=True)
class Lattice:
    """The radii sigma Phi^-1(L(k, n, alpha)) for k = 0..n that are > 0.

    Args:
        sigma, n, alpha: valid as `methods.check_sampling` tells.
    """

    sigma: float
    n: int
    alpha: float

    @cached_property
    def largest(self) -> float:
        """The radius of n agreeing votes; 0 where even they prove none."""
        return guarantee.largest_radius(self.sigma, self.n, self.alpha)

    def radii(self, k: Integers) -> Floats:
        """The radius that each number of votes proves, rounded down, [B]; 0 where it proves none."""
        return l2_radius(self.sigma, clopper_pearson_lower(k, self.n, self.alpha).q)

    def least_votes(self, radii: Floats) -> Integers:
        """The least k that proves each radius (any radius at all, where it is <= 0), [B]; n + 1 where none does."""
        stated = np.maximum(radii, 0.0)
        too_few, enough = np.zeros(stated.shape, np.int64), np.full(stated.shape, self.n + 1)
        while (enough - too_few > 1).any():
            middle = np.minimum((too_few + enough) // 2, self.n)
            proved = guarantee.radius_holds(self.sigma, stated, middle, self.n, self.alpha)
            open_ = enough - too_few > 1
            enough, too_few = np.where(open_ & proved, middle, enough), np.where(open_ & ~proved, middle, too_few)
        return enough

    def slack(self, radii: Floats) -> Floats:
        """How far below and above a radius its computation may have been, [B]."""
        return np.abs(radii) * (RELATIVE_SLACK + SLACK_PER_DRAW * self.n) + ABSOLUTE_SLACK * self.sigma

    def least_votes_from(self, radii: Floats) -> Integers:
        """`least_votes`, where the radii were computed too large by at most the slack."""
        return self.least_votes(radii - self.slack(radii))

    def hits(self, printed: PrintedRadii, direction: Direction) -> NDArray[np.bool_]:
        """Whether some k gives a radius that is printed so, [D]."""
        low, high = printed.between(direction)
        return self.least_votes_from(low) < self.least_votes(high + self.slack(high))

    def places(self, printed: PrintedRadii) -> NDArray[np.int64]:
        """Where each radius lies, as a `Place`, [D]."""
        low, high = printed.values - printed.units, printed.values + printed.units
        lowest, at, highest = (
            self.least_votes_from(low),
            self.least_votes_from(printed.values),
            self.least_votes(high + self.slack(high)),
        )
        places = [at < highest, lowest < at, lowest <= self.n]
        return np.select(places, [Place.ON, Place.ROUNDED_UP, Place.OFF], Place.ABOVE)

    def coverage(self, printed: PrintedRadii) -> Floats:
        """About which share of numbers near each radius is printed like some radius of the lattice, [D], in (0, 1]."""
        above = np.clip(self.least_votes(printed.values), 1, self.n)
        gap = self.radii(above) - self.radii(above - 1)
        width = np.maximum(printed.units, 2 * self.slack(printed.values))
        return np.minimum(1.0, width / np.maximum(gap, width))
