"""Probability of a false certificate where draws end early: summed over all votes there can be, not sampled.

The votes are distributed by `scipy.stats.binom` from look to look, and every look is decided by the very chain that the
service uses: another way than the one by which its boundaries were made.
"""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, norm

from verifier.chain import Chain, Reached, chain_of
from verifier.methods import Smoothing, Target
from verifier.stats.binomial import clopper_pearson_lower

Floats = NDArray[np.float64]

NEGLIGIBLE = 1e-9
"""Of alpha: mass that the enumeration cuts off at the edges of a distribution, and books on the dearer side."""

ROUNDING = 1e-9
"""Relative, of an enumeration: sums of positive numbers, 1e4 terms at 1e-13 each."""

Decide = Callable[[Reached, int], Reached]


def false_probability(
    looks: tuple[int, ...], decide: Decide, p: float, first_false: int, alpha: float
) -> tuple[float, float]:
    """(least, most): bounds of P[more than `first_false` radii count as certified at some look].

    The votes at a look are binomial, with probability p.

    Args:
        decide: what votes at the next look make of what was reached.
        first_false: number of the least radius that does not hold.
    """
    cut = alpha * NEGLIGIBLE / len(looks)
    alive: dict[int, tuple[int, Floats]] = {0: (0, np.ones(1))}  # certified -> P[lowest + i votes, going on]
    false, lost, drawn = 0.0, 0.0, 0
    for number, look in enumerate(looks):
        following: dict[int, dict[int, float]] = {}
        counts = np.arange(look - drawn + 1)
        weights = binom.pmf(counts, look - drawn, p)
        first, last = np.flatnonzero(weights > cut / look**2)[[0, -1]]
        lost += 1 - weights[first : last + 1].sum() + 1e-13
        for certified, (lowest, mass) in alive.items():
            together = np.convolve(mass, weights[first : last + 1])
            for votes, probability in enumerate(together, start=lowest + int(first)):
                if probability <= cut / look**2:
                    lost += probability
                    continue
                after = decide(Reached(number, certified), votes)
                if after.certified > first_false:
                    false += probability
                elif not after.given_up:
                    cell = following.setdefault(after.certified, {})
                    cell[votes] = cell.get(votes, 0.0) + probability
        alive = {}
        for certified, cell in following.items():
            lowest, highest = min(cell), max(cell)
            mass = np.zeros(highest - lowest + 1)
            for votes, probability in cell.items():
                mass[votes - lowest] += probability
            alive[certified] = (lowest, mass)
        drawn = look
    return false * (1 - ROUNDING), false * (1 + ROUNDING) + lost


def of_chain(method: Smoothing, number: int, p: float | None = None) -> tuple[float, float]:
    """Of a method's own chain, at the largest probability at which radius `number` does not hold, or at p."""
    chain = chain_of(method)
    p = hypothesis(chain, method, number) if p is None else p
    return false_probability(chain.looks, chain.advance, p, number, method.alpha)


def hypothesis(chain: Chain, method: Smoothing, number: int) -> float:
    return float(norm.cdf(chain.radius(number) / method.radius_sigma))


def attainable(p: float, n: int, alpha: float) -> float:
    """Error of the binomial test of fixed n at the cap."""
    misses = np.arange(n + 1)
    sizes = binom.cdf(misses, n, 1 - p)
    return float(max(sizes[sizes <= alpha], default=0.0))


ALPHAS = [1e-2, 1e-3, 1e-6]


IN_REACH = [
    (alpha, n, z)
    for alpha in ALPHAS
    for n in (50, 777, 10_000)
    for z in (0.05, 0.5, 1.0, 1.5, 2.2, 2.9)
    if norm.cdf(z) ** n < alpha
]


@pytest.mark.parametrize(("alpha", "n", "z"), IN_REACH)
def test_deciding_one_radius(alpha: float, n: int, z: float) -> None:
    for method in (
        Smoothing(1.0, decide=(z,), n=n, alpha=alpha),
        Smoothing(1.0, decide=(z,), n=n, alpha=alpha, futility=0),
    ):
        least, most = of_chain(method, 0)
        assert most <= alpha
        p = hypothesis(chain_of(method), method, 0)
        if attainable(p, n, alpha) >= 0.5 * alpha:
            assert least >= 0.5 * alpha


@pytest.mark.parametrize("share", [0.5, 0.8, 0.95, 0.99])
def test_below_the_hypothesis_it_errs_less(share: float) -> None:
    method = Smoothing(1.0, decide=(1.0,), n=2000)
    p = hypothesis(chain_of(method), method, 0)
    assert of_chain(method, 0, share * p)[1] < of_chain(method, 0)[0]


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("number", [0, 1, 2, 3])
def test_several_radii_share_one_alpha_whole(alpha: float, number: int) -> None:
    """At the hypothesis of each radius in turn: the smaller ones hold, it and the larger ones do not."""
    method = Smoothing(1.0, decide=(0.3, 0.32, 0.9, 1.6), n=3000, alpha=alpha)
    least, most = of_chain(method, number)
    assert most <= alpha
    assert least >= 0.5 * alpha


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize("number", [0, 4, 8])
def test_a_grid(alpha: float, number: int) -> None:
    least, most = of_chain(Smoothing(1.0, grid=0.2, n=2000, alpha=alpha), number)
    assert 0.5 * alpha <= least <= most <= alpha


@pytest.mark.parametrize(
    ("n", "alpha", "number"),
    [
        (400, 1e-2, 5),
        (400, 1e-3, 40),
        (400, 1e-6, 20),
        (2000, 1e-3, 60),
        (10_000, 1e-2, 100),
        (10_000, 1e-3, 20),
        (10_000, 1e-6, 200),
    ],
)
def test_a_radius_at_any_time(n: int, alpha: float, number: int) -> None:
    least, most = of_chain(Smoothing(1.0, anytime=True, n=n, alpha=alpha), number)
    assert 0.5 * alpha <= least <= most <= alpha


def test_between_its_steps_a_radius_at_any_time_errs_less() -> None:
    method = Smoothing(1.0, anytime=True, n=400, alpha=1e-2)
    chain = chain_of(method)
    between = float(norm.cdf((chain.radius(19) + chain.radius(20)) / 2))
    assert of_chain(method, 20, between)[1] <= method.alpha


@pytest.mark.parametrize("target", [Target.LABEL, Target.TOP])
def test_the_target_changes_no_boundary(target: Target) -> None:
    """A label is fixed before the draws, a selected class by other draws: the votes for it are binomial either way."""
    least, most = of_chain(Smoothing(1.0, decide=(0.5,), n=500, target=target), 0)
    assert (least, most) == of_chain(Smoothing(1.0, decide=(0.5,), n=500), 0)


@pytest.mark.parametrize("alpha", ALPHAS)
def test_a_canary_that_peeks_is_caught(alpha: float) -> None:
    """Who takes the bound of a fixed number of draws at every look, and stops when it suffices, errs far too often."""
    method = Smoothing(1.0, decide=(0.5,), n=3000, alpha=alpha)
    chain = chain_of(method)
    p = hypothesis(chain, method, 0)
    enough = {
        look: int(np.argmax(clopper_pearson_lower(np.arange(look + 1), look, alpha).p > p))
        if clopper_pearson_lower(np.array([look]), look, alpha).p[0] > p
        else look + 1
        for look in chain.looks
    }

    def peek(reached: Reached, votes: int) -> Reached:
        return Reached(reached.looks + 1, int(votes >= enough[chain.looks[reached.looks]]))

    least, _ = false_probability(chain.looks, peek, p, 0, alpha)
    assert least > 3 * alpha


def test_what_is_given_up_held_with_at_most_the_futility_level() -> None:
    for futility in (0.2, 0.05, 0.001):
        method = Smoothing(1.0, decide=(0.7,), n=4000, futility=futility)
        chain = chain_of(method)

        def given_up(reached: Reached, votes: int, chain: Chain = chain) -> Reached:
            return Reached(reached.looks + 1, int(chain.advance(reached, votes).given_up))

        p = hypothesis(chain, method, 0)  # the least probability at which the radius holds
        least, most = false_probability(chain.looks, given_up, p, 0, futility)
        assert 0.5 * futility <= least <= most <= futility
