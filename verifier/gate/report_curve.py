"""Certified accuracy against radius over the inputs that a gate consumed, with bands that stopping does not spoil.

A gate stops when its counts look decided, so an interval made for a fixed number of inputs would cover too rarely here.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from verifier.gating import Outcome
from verifier.plot import step_curve

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

BAND_LEVEL = 0.95
"""Confidence of each band at each radius; two-sided, at all times at once."""

MOST_STEPS = 500
"""Steps of a curve that are drawn."""

_SLACK = 1e-9
"""Bounds are moved outwards by so much: the logarithms below lose some digits."""


@dataclass(frozen=True, eq=False)
class Curve:
    """A step curve: on (radii[i-1], radii[i]] it is fractions[i], after the last it is 0.

    Args:
        name: whose.
        radii: rising from 0, [R].
        fractions, lower, upper: the counts over all consumed inputs, and the band, [R].
        beyond: the band's upper end after the last radius.
    """

    name: str
    radii: Floats
    fractions: Floats
    lower: Floats
    upper: Floats
    beyond: float


def curve(name: str, counting: Floats) -> Curve:
    """The curve of inputs that count up to these radii.

    Args:
        name: whose.
        counting: from `counting`, [B], B >= 1.
    """
    radii, counts = step_curve(counting)
    if len(radii) > MOST_STEPS:  # at the radii left over nothing changes; between them the curve falls early
        chosen = np.unique(np.linspace(0, len(radii) - 1, MOST_STEPS).astype(np.int64))
        radii, counts = radii[chosen], counts[chosen]
    total = len(counting)
    lower, upper = time_uniform_interval(np.append(counts, 0), total, 1 - BAND_LEVEL)
    return Curve(name, radii, counts / total, lower[:-1], upper[:-1], float(upper[-1]))


def counting(outcomes: Sequence[Outcome], *, baseline: bool = False) -> Floats:
    """The radius up to which each input counts as certified and right, [B]; -1 where it counts at none."""
    if baseline:
        return np.array([_radius(o, o.baseline_prediction, o.baseline_radius or 0.0) for o in outcomes])
    return np.array([-1.0 if o.abstained else _radius(o, o.prediction, o.radius) for o in outcomes])


def time_uniform_interval(counts: Integers, total: int, delta: float) -> tuple[Floats, Floats]:
    """Interval of a proportion that holds at every number of trials at once, so also wherever one stopped.

    For every p: P[p is outside the interval at some number of trials] <= delta, with independent trials.

    Args:
        counts: successes, [B], 0 <= counts <= total.
        total: trials, >= 1.
        delta: in (0, 1).
    Returns:
        lower, upper, [B] each, rounded outwards.
    Source: Robbins 1970. The uniform mixture of likelihood ratios against p, B(k + 1, n - k + 1) / (p^k (1-p)^(n-k)),
    is a martingale from 1 under p; by Ville's inequality it ever reaches 1/delta with probability at most delta.
    """
    k = np.asarray(counts, dtype=np.float64)
    level = special.betaln(k + 1, total - k + 1) + math.log(delta)
    lower = _edge(k, total, level, np.zeros_like(k))
    upper = _edge(k, total, level, np.ones_like(k))
    return np.maximum(lower - _SLACK, 0.0), np.minimum(upper + _SLACK, 1.0)


def _edge(k: Floats, total: int, level: Floats, outside: Floats) -> Floats:
    """Where the log-likelihood crosses the level between an end of [0, 1] and k/n; the point on the end's side."""
    inside = k / total
    for _ in range(60):
        middle = (outside + inside) / 2
        excluded = special.xlogy(k, middle) + special.xlog1py(total - k, -middle) <= level
        outside, inside = np.where(excluded, middle, outside), np.where(excluded, inside, middle)
    return outside


def _radius(outcome: Outcome, prediction: int | None, radius: float) -> float:
    right = not outcome.failed and prediction is not None and prediction == outcome.label
    return radius if right and radius > 0 else -1.0
