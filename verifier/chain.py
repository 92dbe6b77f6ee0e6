"""Radii decided one after another while the draws come: what the votes at the looks of a plan prove.

The radii rise, and a radius counts as certified only once every smaller one of the chain is. A false claim therefore
contains one about the least radius that does not hold, whose own test errs with probability at most alpha: all radii
share the draws and one alpha, whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from verifier import guarantee
from verifier.certificate import RadiusDecision, RadiusVerdict
from verifier.errors import InvalidProblem
from verifier.methods import Smoothing, Stopping
from verifier.rounding import down
from verifier.stats.sequential import SequentialTest, geometric_plan, sequential_test

PLAN = "geometric-1"
"""Name of the looks, the spending and the tests below; certificates state it. Another one needs another name."""

FINEST_GRID = 1000
"""Largest number of steps of a grid."""

_FEWEST_STEPS, _MOST_STEPS = 50, 400
"""In each sigma: how finely a radius grows that is proved at any time. In between, sqrt(n): what n draws can tell."""


@dataclass(frozen=True)
class Reached:
    """How far an input has come.

    Args:
        looks: that were taken.
        certified: how many radii of the chain, from the least on.
        given_up: whether the next one was.
    """

    looks: int = 0
    certified: int = 0
    given_up: bool = False


class Chain:
    """The radii of a method, and the tests that decide them.

    Guarantee: for every class probability, P[some radius r counts as certified at some look although the probability
    is at most Phi(r / sigma)] <= alpha. Whether the draws end earlier, and why, does not matter.

    Args:
        method: one that stops early.
    """

    def __init__(self, method: Smoothing) -> None:
        self._method = method
        self._plan = geometric_plan(method.n)
        self._futility_plan = geometric_plan(method.n, early_share=1.0)
        self._most = method.draws - method.selection_draws
        self._length = self._count_radii()
        self._certify: dict[int, SequentialTest] = {}
        self._give_up: dict[int, SequentialTest] = {}

    def __len__(self) -> int:
        """How many radii there are."""
        return self._length

    @property
    def looks(self) -> tuple[int, ...]:
        """Numbers of draws after which the votes are looked at."""
        return self._plan.looks

    def radius(self, number: int) -> float:
        """The number-th radius, from 0 on."""
        method = self._method
        if method.stopping is Stopping.DECIDE:
            return method.decide[number]
        if method.stopping is Stopping.GRID:
            assert method.grid is not None
            return float(f"{(number + 1) * method.grid:.12g}")
        return float(down(method.radius_sigma * ((number + 1) / _steps_per_sigma(method.n))))

    def next_look(self, reached: Reached) -> int | None:
        """The draws at which to look next; None once more of them would decide nothing, or are not allowed."""
        if reached.given_up or reached.certified == len(self) or reached.looks == len(self.looks):
            return None
        look = self.looks[reached.looks]
        return look if look <= self._most else None

    def advance(self, reached: Reached, votes: int) -> Reached:
        """What the votes at the next look add. Only at that very number of draws does anything follow from them."""
        look = reached.looks
        certified = reached.certified
        while certified < len(self) and votes >= self._certifying(certified).boundary(look):
            certified += 1
        misses = self.looks[look] - votes
        hopeless = certified < len(self) and misses >= self._giving_up(certified).boundary(look)
        return Reached(look + 1, certified, hopeless)

    def replay(self, votes: Sequence[int]) -> Reached:
        """How far the votes at the first looks lead.

        Raises:
            InvalidProblem: there are votes at a look that was not taken, or the draws ended before they had to.
        """
        reached = Reached()
        for count in votes:
            if self.next_look(reached) is None:
                raise InvalidProblem(f"the draws ended at look {reached.looks}, and {len(votes)} looks are stated")
            reached = self.advance(reached, count)
        return reached

    def decisions(self, votes: Sequence[int]) -> tuple[RadiusDecision, ...]:
        """What the votes at the looks say of the radii: of all that were asked about, or of the largest certified one
        of a grid and the next."""
        steps = [Reached()]
        for count in votes:
            steps.append(self.advance(steps[-1], count))
        last = steps[-1]
        everything = self._method.stopping is Stopping.DECIDE
        first = 0 if everything else max(0, last.certified - 1)
        end = len(self) if everything else min(len(self), last.certified + 1)
        return tuple(self._decision(number, steps) for number in range(first, end))

    def _decision(self, number: int, steps: Sequence[Reached]) -> RadiusDecision:
        last = steps[-1]
        if number < last.certified:
            passed, verdict = next(step.looks for step in steps if step.certified > number), RadiusVerdict.CERTIFIED
        else:
            passed = last.looks
            verdict = RadiusVerdict.NOT_CERTIFIED if last.given_up else RadiusVerdict.UNDECIDED
        return RadiusDecision(self.radius(number), verdict, self.looks[passed - 1] if passed else 0)

    def _certifying(self, number: int) -> SequentialTest:
        """Of votes: it ends where a radius is certified."""
        if number not in self._certify:
            missed = guarantee.miss_probability(self._method.radius_sigma, self.radius(number))
            self._certify[number] = sequential_test(missed, self._method.alpha, self._plan)
        return self._certify[number]

    def _giving_up(self, number: int) -> SequentialTest:
        """Of misses: it ends where a radius is given up. Were it true, that has probability <= futility."""
        if number not in self._give_up:
            futility, held = self._method.futility, 0.0  # a test that never ends
            if futility and self._method.stopping is not Stopping.ANYTIME:
                held = guarantee.class_probability(self._method.radius_sigma, self.radius(number))
            self._give_up[number] = sequential_test(held, futility or 0.5, self._futility_plan)
        return self._give_up[number]

    def _count_radii(self) -> int:
        method = self._method
        if method.stopping is Stopping.DECIDE:
            return len(method.decide)
        reach = guarantee.largest_radius(method.radius_sigma, method.n, method.alpha)
        if method.stopping is Stopping.ANYTIME:
            return math.floor(reach / method.radius_sigma * _steps_per_sigma(method.n))
        assert method.grid is not None
        return min(math.floor(reach / method.grid * (1 + 1e-9)), FINEST_GRID + 1)


def _steps_per_sigma(n: int) -> int:
    return min(_MOST_STEPS, max(_FEWEST_STEPS, math.isqrt(n)))


@lru_cache(maxsize=64)
def chain_of(method: Smoothing) -> Chain:
    """The chain of a method, its tests kept from one use to the next."""
    return Chain(method)
