"""alpha-CROWN: where the lower lines of the last walk lie is optimised, for each neuron and each margin.

The bound holds for any place, so the ascent may be done in float32 and be stopped at any time; only the last
evaluation has to pay for its roundings.

Source: Xu et al. 2021 (arXiv:2011.13824).
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.arithmetic import FAST
from verifier.bounds.crown import Relaxation, lower_bounds
from verifier.bounds.graph import Elementwise
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, relax, walk_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region

_PATIENCE = 5
"""Steps without gain after which an ascent ends."""

_DECAY = 0.98
"""Of the learning rate, at each step."""

_LEAST_GAIN = 1e-4
"""Relative gain of the sum of the least margins that counts."""


@dataclass(frozen=True)
class Ascent:
    """How long lower lines are optimised.

    Args:
        steps: of Adam, at most.
        learning_rate: of Adam, decaying.
        stop_at: on time.perf_counter's clock, or None.
    """

    steps: int
    learning_rate: float
    stop_at: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.stop_at is not None and time.perf_counter() >= self.stop_at


def alpha_margins(
    network: Network,
    region: Region,
    rows: Tensor,
    setting: Setting,
    budget: Budget,
    ascent: Ascent,
    wanted: Tensor | None = None,
) -> Tensor:
    """Lower bounds of C f(x) over each region, [B, S]: the better of CROWN's and those with optimised lines.

    Args: as in `margin.lower_margins`, and:
        wanted: what bounds have to exceed, [B, S]: an input whose bounds all do gains nothing more; None is 0.
    """
    wanted = torch.zeros(rows.shape[:2], dtype=rows.dtype, device=rows.device) if wanted is None else wanted
    count = _inputs_at_once(network, rows.shape[1], budget)
    parts = []
    for first in range(0, len(region), count):
        chosen = slice(first, first + count)
        parts.append(
            _alpha_margins(network, region.rows(chosen), rows[chosen], setting, budget, ascent, wanted[chosen])
        )
    return torch.cat(parts)


def _alpha_margins(
    network: Network,
    region: Region,
    rows: Tensor,
    setting: Setting,
    budget: Budget,
    ascent: Ascent,
    wanted: Tensor,
) -> Tensor:
    relaxation = relax(network, region, Bound.CROWN, setting, budget)
    last = len(relaxation.graph.nodes) - 1
    margins = walk_rows(relaxation, last, rows, budget, network)
    open_inputs = (~(margins > wanted)).any(1).nonzero()[:, 0]  # the others have nothing to gain
    if len(open_inputs) == 0:
        return margins
    guide = relaxation.rows(open_inputs)
    if setting.arithmetic != FAST:
        guide = relax(network, region.rows(open_inputs).to(FAST.dtype), Bound.CROWN, Setting(FAST), budget)
    alphas = ascend(guide, rows[open_inputs].to(FAST.dtype), ascent, wanted[open_inputs].to(FAST.dtype))
    if not alphas:
        return margins
    exact = {number: alpha.to(setting.arithmetic.dtype) for number, alpha in alphas.items()}
    better = lower_bounds(relaxation.rows(open_inputs), last, rows[open_inputs], exact)
    margins[open_inputs] = torch.fmax(margins[open_inputs], better)
    return margins


def ascend(relaxation: Relaxation, rows: Tensor, ascent: Ascent, wanted: Tensor) -> dict[int, Tensor]:
    """The best places of the lower lines that were found, node -> [B, S, *shape] in [0, 1].

    Args:
        relaxation: of B regions, in float32.
        rows: C, [B, S, K].
        wanted: where every bound exceeds this, the ascent ends, [B, S].
    """
    last = len(relaxation.graph.nodes) - 1
    alphas = _first(relaxation, rows.shape[1])
    if not alphas:
        return {}
    optimiser = torch.optim.Adam(list(alphas.values()), lr=ascent.learning_rate)
    best = {number: alpha.detach().clone() for number, alpha in alphas.items()}
    highest = torch.full(rows.shape[:2], -torch.inf, device=rows.device)
    gained, waited = -torch.inf, 0
    for _ in range(ascent.steps):
        with torch.enable_grad():
            margins = lower_bounds(relaxation, last, rows, alphas)
            loss = -margins.nan_to_num(0.0, 0.0, 0.0).sum()
        margins = margins.detach()
        better = margins > highest
        highest = torch.where(better, margins, highest)
        for number, alpha in alphas.items():
            chosen = better.reshape(*better.shape, *[1] * (alpha.dim() - 2))
            best[number] = torch.where(chosen, alpha.detach(), best[number])
        total = float((highest - wanted).amin(1).nan_to_num(neginf=-1e30).sum())
        waited = 0 if total > gained + _LEAST_GAIN * abs(gained) else waited + 1
        gained = max(gained, total)
        if bool((highest > wanted).all()) or waited >= _PATIENCE or ascent.is_over:
            break
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        with torch.no_grad():
            for alpha in alphas.values():
                alpha.clamp_(0, 1)
        for group in optimiser.param_groups:
            group["lr"] *= _DECAY
    return best


def _first(relaxation: Relaxation, rows: int) -> dict[int, Tensor]:
    """Where CROWN puts the lines, node -> [B, S, *shape], for the nodes that have a choice."""
    alphas = {}
    for number, node in enumerate(relaxation.graph.nodes):
        if isinstance(node.operation, Elementwise) and node.operation.activation.adjustable:
            slope = relaxation.lines(number).lower_slope.clamp(0, 1)
            size = (len(relaxation.region), rows, *node.shape)
            alphas[number] = slope.expand(size).clone().requires_grad_()
    return alphas


def _inputs_at_once(network: Network, rows: int, budget: Budget) -> int:
    """Inputs whose walks, kept whole for their gradients, fit into half of the memory."""
    one = 4 * 12 * rows * network.total_elements
    return max(1, budget.memory_bytes // (2 * one))
