"""Evaluating the network inside certified regions: a proof that a single point refutes was none.

Finds mistakes of ours, not attacks: random points and corners, the same pattern for every input, cheap in float32.
"""

import hashlib
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.arithmetic import FAST, RIGOROUS
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, lower_margins
from verifier.bounds.network import Network
from verifier.bounds.region import Region
from verifier.problem import Norm

_CLOSE = 1e-3
"""Relative to the logits: float32 margins so near to the stated bound are evaluated again with intervals."""

_INSIDE = 1 - 1e-6
"""Of a ball's radius: where points of its surface are taken."""


@dataclass(frozen=True, eq=False)
class Audit:
    """What points inside the regions showed.

    Args:
        doubtful: [B] bool, whether at some point the margins are not surely > 0, or the bounds not surely below them.
        refuted: (input, point) pairs at which a margin lies below its stated lower bound for certain, [N, 2] int64.
        points: evaluated for each input.
    """

    doubtful: Tensor
    refuted: Tensor
    points: int


def pattern(count: int, shape: tuple[int, ...], norm: Norm, seed: int, *, ball: bool) -> Tensor:
    """Where points lie, [count, *shape] float64: the same for the same seed.

    Within a box: a share of the way from its lower to its upper end, every other point a corner. Within a ball:
    a vector of norm 1, every other one along a single axis.
    """
    key = hashlib.sha256(f"verifier.audit.1\0{seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(key[:8], "big") >> 1)
    size = math.prod(shape)
    if not ball:
        shares = torch.rand(count, size, generator=generator, dtype=torch.float64)
        shares[::2] = shares[::2].round()
        return shares.reshape(count, *shape)
    directions = torch.randn(count, size, generator=generator, dtype=torch.float64)
    axes = torch.randint(size, (count,), generator=generator)
    along = torch.zeros_like(directions).scatter_(1, axes[:, None], directions.gather(1, axes[:, None]))
    directions[::2] = along[::2]
    length = torch.linalg.vector_norm(directions, 1.0 if norm is Norm.L1 else 2.0, dim=1, keepdim=True)
    places: Tensor = (directions / length).reshape(count, *shape)
    return places


def points_of(region: Region, places: Tensor) -> Tensor:
    """The points [B, n, *shape] of a pattern [n, *shape] in each region."""
    lower, upper = region.lower.unsqueeze(1), region.upper.unsqueeze(1)
    places = places.to(lower)
    if region.ball is None:
        return torch.minimum(lower + places * (upper - lower), upper)
    radius = region.ball.eps.reshape(-1, 1, *[1] * (places.dim() - 1)) * _INSIDE
    return torch.minimum(torch.maximum(region.ball.centre.unsqueeze(1) + radius * places, lower), upper)


def audit(
    network: Network,
    region: Region,
    rows: Tensor,
    margins: Tensor,
    places: Tensor,
    setting: Setting,
    budget: Budget,
) -> Audit:
    """Evaluate the network at points of every region.

    Args:
        region: of B inputs, in float64.
        rows: C, [B, S, K], float64.
        margins: stated lower bounds of C f over the regions, [B, S].
        places: see `pattern`.
        setting: in which sense the bounds hold.
    """
    close = _close_points(network, region.to(FAST.dtype), rows, margins, places, budget)
    doubtful = torch.zeros(len(region), dtype=torch.bool, device=rows.device)
    refuted = []
    for number, point in close.nonzero().tolist():
        chosen = slice(number, number + 1)
        exact = points_of(region.rows(chosen), places[point : point + 1])[:, 0]
        here = Region(exact, exact)
        sense = Setting(RIGOROUS, setting.float32_execution)
        low = lower_margins(network, here, rows[chosen], Bound.IBP, sense, budget)
        high = -lower_margins(network, here, -rows[chosen], Bound.IBP, sense, budget)
        doubtful[number] |= not bool((low > 0).all())
        below = high < margins[chosen] if setting.arithmetic.outward else high <= 0
        if bool(below.any()) and _is_inside(region.rows(chosen), exact):
            refuted.append((number, point))
    return Audit(doubtful, torch.tensor(refuted, dtype=torch.int64).reshape(-1, 2), len(places))


def _close_points(
    network: Network, region: Region, rows: Tensor, margins: Tensor, places: Tensor, budget: Budget
) -> Tensor:
    """Where float32 alone cannot tell that all is well, [B, n] bool. NaN cannot."""
    graph = network.on(FAST)
    count = max(1, budget.inputs(network, Setting(FAST), 2) // len(places))
    close = []
    for first in range(0, len(region), count):
        chosen = slice(first, first + count)
        points = points_of(region.rows(chosen), places)
        logits = graph.evaluate(points.flatten(0, 1)).unflatten(0, points.shape[:2])
        found = torch.einsum("bnk,bsk->bns", logits, rows[chosen].to(logits))
        slack = logits.abs().amax(2, keepdim=True) * _CLOSE
        close.append(~(found > margins[chosen].to(found).clamp(min=0).unsqueeze(1) + slack).all(2))
    return torch.cat(close)


def _is_inside(region: Region, point: Tensor) -> bool:
    """Whether a point [1, *shape] is within the ball for certain; boxes contain their points by construction."""
    if region.ball is None:
        return True
    order = 1.0 if region.ball.norm is Norm.L1 else 2.0
    distance = torch.linalg.vector_norm((point - region.ball.centre).flatten(1), order, dim=1)
    return bool((distance * (1 + point.numel() * 1e-15) <= region.ball.eps).all())
