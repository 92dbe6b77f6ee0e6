"""Bounds that hold at all times at once, on the same simulated votes: which of them leaves the largest radius."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, betaln, ndtri, xlog1py, xlogy

from benchmarks.logged_votes import Votes
from verifier.chain import Reached, chain_of
from verifier.methods import Smoothing
from verifier.stats.binomial import clopper_pearson_lower

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

INPUTS = 200
_TINY = 1e-300
_GRID = np.concatenate([np.linspace(0.5, 0.9, 400, endpoint=False), 1 - np.geomspace(0.1, 1e-7, 1200)])
"""Probabilities at which the mixture is evaluated; its bound is the largest that is ruled out."""


def compare(sources: Sequence[Votes], alpha: float, seed: int) -> dict[str, Any]:
    """Mean radius in units of sigma after a tenth of the draws and at their end, of each bound and of fixed n."""
    figures: dict[str, Any] = {}
    for votes in sources:
        for n in (10_000, 100_000):
            method = Smoothing(1.0, anytime=True, n=n, alpha=alpha)
            looks = np.array(chain_of(method).looks)
            generator = np.random.default_rng(seed)
            p = generator.choice(votes.p, INPUTS, p=votes.weight)
            counts = np.cumsum(generator.binomial(np.diff(looks, prepend=0), p[:, None]), axis=1)
            tenth = int(np.searchsorted(looks, n / 10))
            bounds = {
                "chain of exact tests": _chain(counts, method),
                "union of Clopper-Pearson": _union(counts, looks, alpha),
                "beta-binomial mixture": _mixture(counts, looks, alpha),
            }
            found: dict[str, Any] = {
                name: [round(float(radii[:, at].mean()), 4) for at in (tenth, -1)] for name, radii in bounds.items()
            }
            fixed = np.maximum(0, -ndtri(clopper_pearson_lower(counts[:, -1], n, alpha).q))
            figures[f"{votes.source}, n = {n:,}"] = found | {"fixed n": [None, round(float(fixed.mean()), 4)]}
    return figures


def _chain(counts: Integers, method: Smoothing) -> Floats:
    """The radius of `Smoothing(anytime=True)`."""
    chain = chain_of(method)
    radii = np.zeros(counts.shape)
    for row, votes in enumerate(counts):
        reached = Reached()
        for look, count in enumerate(votes):
            if reached.certified < len(chain):
                reached = chain.advance(reached, int(count))
            radii[row, look] = chain.radius(reached.certified - 1) if reached.certified else 0.0
    return radii


def _union(counts: Integers, looks: Integers, alpha: float) -> Floats:
    """Half of alpha for the last look, which matters most; the rest shared."""
    shares = np.append(np.full(len(looks) - 1, 0.5 / max(1, len(looks) - 1)), 0.5)
    q = np.stack(
        [
            clopper_pearson_lower(counts[:, number], int(look), alpha * share).q
            for number, (look, share) in enumerate(zip(looks, shares, strict=True))
        ],
        axis=1,
    )
    return np.maximum.accumulate(np.maximum(0, -ndtri(q)), axis=1)


def _mixture(counts: Integers, looks: Integers, alpha: float) -> Floats:
    """The likelihood mixed uniformly over (p0, 1), over that at p0: p0 is ruled out where it passes 1/alpha."""
    radii = np.zeros(counts.shape)
    for number, look in enumerate(looks):
        k = counts[:, number, None]
        above = betainc(look - k + 1, k + 1, 1 - _GRID)
        log_mixed = betaln(k + 1, look - k + 1) + np.log(np.maximum(above, _TINY)) - np.log1p(-_GRID)
        ruled_out = log_mixed - xlogy(k, _GRID) - xlog1py(look - k, -_GRID) >= -np.log(alpha)
        most = np.cumprod(ruled_out, axis=1).sum(axis=1)
        radii[:, number] = np.where(most > 0, ndtri(_GRID[np.maximum(most - 1, 0)]), 0.0)
    return np.maximum.accumulate(np.maximum(radii, 0), axis=1)
