"""At which alpha was a log made? The lattice of possible radii tells, where its gaps are wider than the printed digits.

A radius *misses* alpha where no k of n gives a radius that is printed so. An honest log misses its own alpha nowhere,
and another one wherever chance does not help. The criterion:

- Candidates are 1, 2 and 5 times 1e-1..1e-6, the stated alpha, and half of it (what a single-stage procedure spends).
- The candidate that is missed least often, by m distinct radii, is taken where every other is missed by more than 3 m
  (by at least one, where m = 0), so that a few forged rows do not move it, and where a log of arbitrary radii would hit
  it as often with a probability of at most 1/100.
- In all other cases the answer is: cannot tell.

So no honest log that was made at a candidate is ever said to be made at another. That rests on how radii were rounded:
significant digits are what `{:.3}` and %g print, which round to nearest, and another direction is tried only where no
candidate fits so; a fixed number of decimals may have been rounded to nearest or down, and both have to agree.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.audit.digits import Digits, Direction, Floats, PrintedRadii
from verifier.audit.lattice import Lattice

LARGEST_LUCK = 0.01
"""With which probability radii that have nothing to do with the lattice may hit it as often."""
RIVALRY = 3
"""A candidate is refuted where more than this many times as many radii miss it as miss the best."""

_MOST_TESTED = 1000
"""Distinct radii that are looked at, those with the fewest lattice points within their digits first."""
_DENSE = 20.0
"""With as many lattice points within its digits on average, a radius hits any lattice: gaps vary by less."""


@dataclass(frozen=True)
class Fit:
    """How a log fits one alpha.

    Args:
        alpha: the candidate.
        direction: the way of rounding with which it fits best.
        misses: distinct radii that it cannot explain.
        above_largest: how many of these are larger than n agreeing votes give.
        reaches_largest: whether the radius of n agreeing votes occurs.
    """

    alpha: float
    direction: Direction
    misses: int
    above_largest: int
    reaches_largest: bool


@dataclass(frozen=True)
class Inference:
    """What the lattice says about alpha.

    Args:
        alpha: at which the log was made; None: cannot tell.
        direction: how its radii were rounded; None where alpha is.
        possible: the alphas among which it cannot tell, best first; the one alpha where it can; empty where even the
            best is missed by more than half of the radii that were looked at.
        telling: distinct radii whose digits are finer than the gaps of the best candidate's lattice.
        luck: probability that as many radii hit the best candidate by chance.
        fits: every candidate, the best first.
        reason: in words.
    """

    alpha: float | None
    direction: Direction | None
    possible: tuple[float, ...]
    telling: int
    luck: float
    fits: tuple[Fit, ...]
    reason: str


def candidates(stated: float) -> tuple[float, ...]:
    """The alphas that are tried, falling."""
    asked = (stated, stated / 2)
    usual = [float(f"{digit}e-{power}") for power in range(1, 7) for digit in (5, 2, 1)]
    others = [alpha for alpha in usual if not any(math.isclose(alpha, known) for known in asked)]
    return tuple(sorted((*asked, *others), reverse=True))


def infer(printed: PrintedRadii, sigma: float, n: int, tried: Sequence[float]) -> Inference:
    """The alpha at which radii were made, by the criterion above.

    Args:
        printed: the radii of a log.
        sigma, n: of the log, as stated.
        tried: candidates, each in (0, 1).
    """
    tested = _telling(printed, sigma, n)
    lattices = [Lattice(sigma, n, alpha) for alpha in tried]
    stages = [_decide(tested, lattices, stage) for stage in _stages(printed.digits)]
    decided = [answer for answer in stages if answer.alpha is not None or answer.fits[0].misses == 0]
    return decided[0] if decided else min(stages, key=lambda answer: answer.fits[0].misses)


def _stages(digits: Digits) -> tuple[tuple[Direction, ...], ...]:
    """Ways of rounding, those together that must agree; the next ones only where none of the former fits."""
    if digits.decimals is None and digits.significant is not None:
        return (Direction.NEAREST,), (Direction.DOWN, Direction.UP)
    return (Direction.NEAREST, Direction.DOWN), (Direction.UP,)


def _telling(printed: PrintedRadii, sigma: float, n: int) -> PrintedRadii:
    """The radii whose digits are finer than the lattice, or nearly so."""
    z = printed.values / sigma
    density = n * np.exp(-z * z / 2) / math.sqrt(2 * math.pi) / sigma  # dk/dradius, were k/n the bound itself
    points = printed.units * density
    order = np.argsort(points, kind="stable")
    return printed.take(order[points[order] < _DENSE][:_MOST_TESTED])


def _decide(tested: PrintedRadii, lattices: Sequence[Lattice], stage: Sequence[Direction]) -> Inference:
    fits = sorted((_fit(tested, lattice, stage) for lattice in lattices), key=lambda fit: (fit.misses, -fit.alpha))
    best = fits[0]
    explained = 2 * best.misses <= len(tested.values)
    rivals = [fit.alpha for fit in fits if explained and fit.misses <= RIVALRY * best.misses]
    (lattice,) = [lattice for lattice in lattices if lattice.alpha == best.alpha]
    coverage, hits = lattice.coverage(tested), lattice.hits(tested, best.direction)
    luck = _chance(coverage, int(hits.sum()))
    telling = int(((coverage < 1) | ~hits).sum())
    told = len(rivals) == 1 and luck <= LARGEST_LUCK
    return Inference(
        alpha=best.alpha if told else None,
        direction=best.direction if told else None,
        possible=tuple(rivals),
        telling=telling,
        luck=luck,
        fits=tuple(fits),
        reason=_reason(telling, fits, rivals, luck),
    )


def _chance(coverage: Floats, hits: int) -> float:
    """P[at least that many hits], each radius hitting with its own probability, independently."""
    distribution = np.ones(1)
    for probability in coverage:
        distribution = np.convolve(distribution, [1 - probability, probability])
    return min(1.0, float(distribution[hits:].sum()))


def _fit(tested: PrintedRadii, lattice: Lattice, stage: Sequence[Direction]) -> Fit:
    misses = {direction: int((~lattice.hits(tested, direction)).sum()) for direction in stage}
    best = min(stage, key=lambda direction: misses[direction])
    low, high = tested.between(best)
    largest = lattice.largest
    at_largest = (low - lattice.slack(low) <= largest) & (largest < high + lattice.slack(high))
    above = low - lattice.slack(low) > largest
    return Fit(lattice.alpha, best, misses[best], int(above.sum()), bool(at_largest.any()))


def _reason(telling: int, fits: Sequence[Fit], rivals: Sequence[float], luck: float) -> str:
    best = fits[0]
    if telling == 0:
        return "cannot tell: at every radius the lattice of possible radii is denser than the printed digits"
    if not rivals:
        return (
            f"cannot tell: at every alpha that was tried, {best.misses} of the {telling} telling radii or more are "
            "impossible; are n and sigma right?"
        )
    if len(rivals) > 1:
        listed = ", ".join(f"{alpha:g}" for alpha in rivals[:5]) + (", ..." if len(rivals) > 5 else "")
        share = f"all but {RIVALRY * best.misses} of" if best.misses else "all"
        return f"cannot tell: {len(rivals)} alphas explain {share} the {telling} telling radii: {listed}"
    if luck > LARGEST_LUCK:
        return (
            f"cannot tell: only alpha {best.alpha:g} explains the {telling} telling radii, but arbitrary radii would "
            f"fit as well with probability {luck:.2g}"
        )
    others = "".join(f"; every other candidate is missed by at least {fit.misses}" for fit in fits[1:2])
    hits = f"{telling - best.misses} of the {telling} telling radii lie on the lattice of alpha {best.alpha:g}"
    return f"{hits} (by chance: {luck:.2g}){others}"
