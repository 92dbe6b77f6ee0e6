"""Ways to decide one radius: ours, and those it is counted beside, each as boundaries of the votes at its looks."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, xlog1py, xlogy
from scipy.stats import binom

from benchmarks.logged_votes import Votes
from verifier import guarantee
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper
from verifier.stats.sequential import boundaries, geometric_plan

Floats = NDArray[np.float64]

_CUT = 1e-14
"""Probability below which a number of votes is left out. Figures are given to four digits."""


@dataclass(frozen=True)
class Rule:
    """Votes at looks that end the draws: certified from `certify` on, given up down from `give_up`."""

    looks: tuple[int, ...]
    certify: tuple[int, ...]
    give_up: tuple[int, ...]

    def on(self, votes: Votes) -> dict[str, Any]:
        """Mean and quantiles of the draws, and the fraction certified."""
        ends = np.zeros(len(self.looks))
        certified = 0.0
        for p, weight in zip(votes.p, votes.weight, strict=True):
            at, share = self._outcome(float(p))
            ends += weight * at
            certified += weight * share
        reached = np.cumsum(ends)
        quantiles = {f"p{q}": self.looks[int(np.argmax(reached >= q / 100))] for q in (50, 90, 99)}
        return {"mean": round(float(ends @ np.array(self.looks))), **quantiles, "certified": round(certified, 4)}

    def _outcome(self, p: float) -> tuple[Floats, float]:
        """(P[the draws end at each look], P[certified])."""
        mass, lowest, certified = np.ones(1), 0, 0.0
        ends = np.zeros(len(self.looks))
        for number, (drawn, look) in enumerate(itertools.pairwise((0, *self.looks))):
            weights = binom.pmf(np.arange(look - drawn + 1), look - drawn, p)
            first, last = np.flatnonzero(weights > _CUT)[[0, -1]]
            mass, lowest = np.convolve(mass, weights[first : last + 1]), lowest + int(first)
            high = max(0, min(len(mass), self.certify[number] - lowest))
            low = max(0, min(high, self.give_up[number] - lowest + 1))
            certified += float(mass[high:].sum())
            ends[number] = mass[high:].sum() + mass[:low].sum()
            mass, lowest = mass[low:high], lowest + low
            if not len(mass) or mass.sum() < _CUT:
                break
        else:
            ends[-1] += mass.sum()
        return ends / ends.sum(), certified


def spending(sigma: float, radius: float, alpha: float, cap: int, futility: float = 0.05) -> Rule:
    """The rule of `Smoothing(decide=[radius])`."""
    looks = np.array(geometric_plan(cap).looks)
    certify = boundaries(guarantee.miss_probability(sigma, radius), alpha, geometric_plan(cap))
    held = guarantee.class_probability(sigma, radius)
    misses = boundaries(held, futility, geometric_plan(cap, early_share=1.0))
    return _rule(looks, certify, looks - misses)


def fixed(sigma: float, radius: float, alpha: float, n: int) -> Rule:
    """CERTIFY: one look."""
    enough = _least_certifying(n, alpha, 1 - guarantee.miss_probability(sigma, radius))
    return Rule((n,), (enough,), (enough - 1,))


def union_bound(sigma: float, radius: float, alpha: float, cap: int) -> Rule:
    """Clopper-Pearson on both sides at every look, alpha divided by the number of looks; the other side at 5 %."""
    looks = np.array(geometric_plan(cap).looks)
    p = 1 - guarantee.miss_probability(sigma, radius)
    certify = [_least_certifying(int(look), alpha / len(looks), p) for look in looks]
    give_up = [_most_refuting(int(look), 0.05 / len(looks), p) for look in looks]
    return _rule(looks, np.array(certify), np.array(give_up))


def betting(sigma: float, radius: float, alpha: float, cap: int) -> Rule:
    """Wealth of a bet against p <= p0: the votes' likelihood, mixed uniformly over p > p0, over that at p0.

    It grows past 1/alpha with probability at most alpha (Ville 1939). The other side bets on p <= p0, at 5 %.
    """
    looks = np.array(geometric_plan(cap).looks)
    p0 = 1 - guarantee.miss_probability(sigma, radius)
    certify, give_up = [], []
    for look in looks:
        votes = np.arange(look + 1)
        at_p0 = xlogy(votes, p0) + xlog1py(look - votes, -p0)
        everything = betaln(votes + 1, look - votes + 1)
        below = betainc(votes + 1, look - votes + 1, p0)
        with np.errstate(divide="ignore"):
            above_wealth = everything + np.log1p(-below) - np.log(1 - p0) - at_p0
            below_wealth = everything + np.log(below) - np.log(p0) - at_p0
        enough = np.flatnonzero((above_wealth >= -np.log(alpha)) & (votes > look * p0))
        few = np.flatnonzero((below_wealth >= -np.log(0.05)) & (votes < look * p0))
        certify.append(int(enough[0]) if len(enough) else int(look) + 1)
        give_up.append(int(few[-1]) if len(few) else -1)
    return _rule(looks, np.array(certify), np.array(give_up))


def _rule(looks: NDArray[Any], certify: NDArray[Any], give_up: NDArray[Any]) -> Rule:
    return Rule(tuple(map(int, looks)), tuple(map(int, certify)), tuple(map(int, give_up)))


def _least_certifying(n: int, alpha: float, p: float) -> int:
    """The least votes whose lower bound exceeds p; n + 1 where none does."""
    return int(np.searchsorted(clopper_pearson_lower(np.arange(n + 1), n, alpha).p, p, side="right"))


def _most_refuting(n: int, alpha: float, p: float) -> int:
    """The most votes whose upper bound is below p; -1 where none is."""
    return int(np.searchsorted(clopper_pearson_upper(np.arange(n + 1), n, alpha).p, p, side="left")) - 1
