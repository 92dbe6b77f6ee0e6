"""From counts over inputs to bounds on the population that the inputs were drawn from.

What is counted is a hit or a miss of each input. Where a hit may be false (a certificate that does not hold, with
probability at most alpha), the hits are more than what is sought, and

    P[hit] <= alpha + (1 - alpha) P[sought],

which is solved for what is sought. Bounds for a fixed number of inputs are Clopper-Pearson's. Bounds that may be read
while the inputs come (`RunningBound`) hold at all times together. The proofs are in docs/gates.md.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier.errors import InvalidProblem
from verifier.rounding import down, up
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, complement_holds
from verifier.stats.multiplicity import rounded_down, share
from verifier.stats.sequential import Integers, SpendingPlan, boundaries

Floats = NDArray[np.float64]

POINTS_PER_ERROR = 8
"""Running bounds take values on a grid: so many to a standard error of the proportion over all inputs."""

_CONFIRMED = 1 - 1e-6
"""A fixed test at this part of what one look may spend implies that the boundary of the look is reached: the rest pays
for what `boundaries` sets aside for its own rounding, 1e-9 of alpha and 1e-10 of what was spent."""


def population_lower(hits: ArrayLike, trials: int, delta: float, alpha: float = 0.0, toll: float = 0.0) -> Floats:
    """Lower bounds of the probability of what is sought, from hits of which a share may be false.

    (1 - toll) (L - alpha) / (1 - alpha) with L the Clopper-Pearson bound. With toll = alpha that is L - alpha.
    For every population: P[bound > (1 - toll) P[sought]] <= delta, for one number of trials that was fixed before.

    Args:
        hits: integers [B], 0 <= hits <= trials.
        trials: independent inputs, >= 1.
        delta: in (0, 1).
        alpha: most P[hit | what is sought is not so], in [0, 1).
        toll: most probability, given what is sought, of losing it by an answer that is drawn again, in [0, 1).
    Returns:
        Bounds, [B], rounded down, in [0, 1).
    """
    bounds = clopper_pearson_lower(np.atleast_1d(np.asarray(hits)), trials, delta).p
    loss, paid = _fraction(alpha, "alpha"), _fraction(toll, "toll")
    exact = [(1 - paid) * (Fraction(bound) - loss) / (1 - loss) for bound in bounds.tolist()]
    return np.array([rounded_down(max(value, Fraction(0))) for value in exact])


def population_upper(hits: ArrayLike, trials: int, delta: float) -> Floats:
    """Upper bounds of P[hit], [B], rounded up; errors and arguments as in `population_lower`."""
    return clopper_pearson_upper(np.atleast_1d(np.asarray(hits)), trials, delta).p


def paired_lower(gained: int, lost: int, pairs: int, delta: float) -> float:
    """A lower bound of P[gained] - P[lost], over pairs of which each is gained, lost or neither.

    L(gained, pairs, delta/2) - U(lost, pairs, delta/2), rounded down. For every population, whatever the dependence
    within a pair: P[bound > P[gained] - P[lost]] <= delta, for one number of pairs that was fixed before.
    """
    half = share(delta, 2)
    return float(down(population_lower(gained, pairs, half) - population_upper(lost, pairs, half))[0])


def paired_upper(gained: int, lost: int, pairs: int, delta: float) -> float:
    """The upper bound that belongs to `paired_lower`: minus the lower bound of the exchanged pairs."""
    return -paired_lower(lost, gained, pairs, delta)


@dataclass(frozen=True, eq=False)
class Claims:
    """What may be claimed, from the weakest to the strongest, and how likely a miss is where a claim is false.

    Args:
        values: of the claims, [G], rising for lower bounds, falling for upper ones; the first is always true.
        misses: least probability of a miss wherever the claim is false, [G], in [0, 1], rounded down, not rising.
    """

    values: Floats
    misses: Floats

    def __post_init__(self) -> None:
        self.values.flags.writeable = self.misses.flags.writeable = False  # claims are shared

    def place(self, value: float) -> int:
        """Where this very value stands; it must be there."""
        return int(np.flatnonzero(self.values == value)[0])


@lru_cache(maxsize=1024)
def claims_from_below(total: int, special: float, alpha: float = 0.0, toll: float = 0.0) -> Claims:
    """Claims "what is sought has at least probability v", as in `population_lower`, for so many inputs at most.

    Args:
        total: of inputs; it sets how fine the grid is.
        special: a value in [0, 1] that is among the claims, as the threshold must be.
        alpha, toll: as in `population_lower`.
    """
    loss, paid = _fraction(alpha, "alpha"), _fraction(toll, "toll")
    values = sorted({0.0, special, *(1 - value for value in _grid(total))})
    misses = [rounded_down(max(Fraction(0), (1 - loss) * (1 - Fraction(value) / (1 - paid)))) for value in values]
    return Claims(np.array(values), np.array(misses))


@lru_cache(maxsize=1024)
def claims_from_above(total: int, special: float) -> Claims:
    """Claims "a hit has at most probability v"; to be fed with the misses as hits. See `claims_from_below`."""
    values = np.array(sorted({1.0, special, *_grid(total)}, reverse=True))
    return Claims(values, values)


def _grid(total: int) -> Iterable[float]:
    """Proportions in (0, 1) that lie equally many to a standard error, sin^2 of equal angles."""
    steps = math.ceil(math.pi * POINTS_PER_ERROR * math.sqrt(total))
    # Twelve digits are the same on every machine, whatever its sine.
    return [round(math.sin(number * math.pi / (2 * steps)) ** 2, 12) for number in range(1, steps)]


def _fraction(value: float, name: str) -> Fraction:
    if not 0 <= value < 1:
        raise InvalidProblem(f"{name} must be in [0, 1), got {value}")
    return Fraction(value)


class RunningBound:
    """A confidence bound that may be read at any time while trials come.

    For every probability of a hit: P[at any time `value` claims what is false] <= level, where the trials are
    independent with one probability of a hit (or, given what came before, none exceeds it).

    A claim stands once its exact spending test has crossed its boundary and those of all weaker claims have, so that
    the strongest that stands is false only if the weakest false one stands, and that is one test at the level.

    Args:
        claims: fixed before the first trial.
        plan: when to look; further trials than its last look count for nothing.
        level: in (0, 1).
    """

    def __init__(self, claims: Claims, plan: SpendingPlan, level: float) -> None:
        self.claims = claims
        self.plan = plan
        self.level = level
        self.trials = 0
        self.hits = 0
        self._seen: list[int] = []
        self._boundaries: dict[int, Integers] = {}
        self._standing = 0
        self._settled = 0

    def feed(self, hit: bool) -> bool:
        """Count one trial; whether it was one at which the plan looks."""
        self.trials += 1
        self.hits += bool(hit)
        looks = self.plan.looks
        if len(self._seen) == len(looks) or self.trials != looks[len(self._seen)]:
            return False
        self._seen.append(self.hits)
        return True

    def crossed(self, place: int) -> bool:
        """Whether the test of one claim, by itself, has crossed its boundary at a look so far."""
        if place not in self._boundaries:
            self._boundaries[place] = boundaries(float(self.claims.misses[place]), self.level, self.plan)
        return bool((np.array(self._seen, dtype=np.int64) >= self._boundaries[place][: len(self._seen)]).any())

    @property
    def value(self) -> float:
        """The strongest claim that stands."""
        if self._settled < len(self._seen):
            self._settle()
        return float(self.claims.values[self._standing])

    def best(self) -> float:
        """The claim that would stand at the end if every trial were a hit."""
        ideal = RunningBound(self.claims, self.plan, self.level)
        ideal._seen = list(self.plan.looks)
        return ideal.value

    def _settle(self) -> None:
        """Skip the claims that a fixed test at one look's own share confirms: these have crossed, there or before.

        So many hits at the look have a probability of at most the look's share, over all paths; over those that had not
        crossed before, the more so. So the boundary there is no higher, or no such path has so many hits.
        """
        spend = (0.0, *self.plan.spend)
        for look in range(self._settled, len(self._seen)):
            own = self.level * (spend[look + 1] - spend[look]) * _CONFIRMED
            if own > 0:
                sure = complement_holds(self._seen[look], self.plan.looks[look], own, self.claims.misses)
                self._standing = max(self._standing, int(np.logical_and.accumulate(sure).sum()) - 1)
        self._settled = len(self._seen)
        while self._standing + 1 < len(self.claims.values) and self.crossed(self._standing + 1):
            self._standing += 1


class RunningDifference:
    """Bounds of P[gained] - P[lost] that may be read at any time, each side at its own level.

    For every population of pairs: P[at any time `lower` exceeds the difference] <= lower_level, and likewise `upper`.
    Each side is a difference of two running bounds at half of its level: a union bound over both.

    Args:
        total: of pairs at most.
        plan: when to look.
        lower_level, upper_level: in (0, 1).
    """

    def __init__(self, total: int, plan: SpendingPlan, lower_level: float, upper_level: float) -> None:
        below, above = claims_from_below(total, 0.0), claims_from_above(total, 1.0)
        half_lower, half_upper = share(lower_level, 2), share(upper_level, 2)
        self._gained_lower = RunningBound(below, plan, half_lower)
        self._lost_upper = RunningBound(above, plan, half_lower)
        self._gained_upper = RunningBound(above, plan, half_upper)
        self._lost_lower = RunningBound(below, plan, half_upper)

    def feed(self, gained: bool, lost: bool) -> bool:
        """Count one pair, not both gained and lost; whether it was one at which the plan looks."""
        self._lost_upper.feed(not lost)
        self._gained_upper.feed(not gained)
        self._lost_lower.feed(lost)
        return self._gained_lower.feed(gained)

    @property
    def lower(self) -> float:
        """At least this is the difference."""
        return float(down(self._gained_lower.value - self._lost_upper.value))

    @property
    def upper(self) -> float:
        """At most this is the difference."""
        return float(up(self._gained_upper.value - self._lost_lower.value))

    def best(self) -> float:
        """`lower` at the end if every pair were gained."""
        return float(down(self._gained_lower.best() - self._lost_upper.best()))
