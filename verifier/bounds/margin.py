"""Lower bounds of margins C f(x) over regions, by one of the methods; the specification C is merged into the network.

Certified iff every lower bound is > 0. NaN is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor

from verifier.bounds.crown import Relaxation, element_bounds, lower_bounds
from verifier.bounds.graph import Elementwise
from verifier.bounds.interval import Interval, Setting, propagate, step
from verifier.bounds.network import Network, refinable
from verifier.bounds.patches import coefficients_of_an_element
from verifier.bounds.region import Region
from verifier.errors import InvalidProblem, Unsound


class Bound(Enum):
    """How margins are bounded, in order of cost."""

    IBP = "ibp"
    CROWN_IBP = "crown-ibp"
    CROWN = "crown"


_COPIES = 8
"""Tensors of a walk's size that live at once: coefficients before and after, their parts, workspace of kernels."""
_KEPT = 14
"""Numbers kept for each element of an input's values: intervals, lines, losses, workspace."""
_BLOCK = 2**22
"""Bytes of one tensor of a walk on a CPU: larger ones leave the caches, and cost twice the time."""
_WASTE = 0.25
"""Of the rows of a packed group, what may be padding."""


@dataclass(frozen=True)
class Budget:
    """Memory that bounds may take.

    Args:
        memory_bytes: of all temporary tensors together.
    """

    memory_bytes: int

    def inputs(self, network: Network, setting: Setting, rows: int) -> int:
        """How many inputs may be bounded at once, with so many rows each.

        Raises:
            InvalidProblem: not even one.
        """
        size = torch.finfo(setting.arithmetic.dtype).bits // 8
        one = size * (_KEPT * network.total_elements + _COPIES * network.elements * min(rows, 2))
        if one > self.memory_bytes:
            raise InvalidProblem(
                f"one input of this network needs about {one:,} bytes of memory for its bounds, the budget is "
                f"{self.memory_bytes:,}: allow more (memory_bytes)",
                field="bounds.memory_bytes",
                reason="OUT_OF_MEMORY",
            )
        return max(1, self.memory_bytes // (2 * size * _KEPT * network.total_elements))

    def rows(self, network: Network, setting: Setting, coefficients: int) -> int:
        """How many rows of so many coefficients may walk backwards at once."""
        size = torch.finfo(setting.arithmetic.dtype).bits // 8
        most = self.memory_bytes // (2 * _COPIES)
        if network.device.type == "cpu":
            most = min(most, _BLOCK)
        return max(2, most // (size * coefficients))


def margin_rows(labels: Tensor, classes: int, dtype: torch.dtype) -> Tensor:
    """C [B, K - 1, K]: rows e_y - e_j for every class j != y, ascending.

    Args:
        labels: y, [B] int64.
    """
    rivals = torch.arange(classes - 1, device=labels.device).expand(len(labels), -1)
    rivals = rivals + (rivals >= labels[:, None])
    rows = torch.zeros(len(labels), classes - 1, classes, dtype=dtype, device=labels.device)
    rows.scatter_(2, rivals.unsqueeze(2), -1.0)
    rows[torch.arange(len(labels)), :, labels] = 1.0
    return rows


def lower_margins(
    network: Network, region: Region, rows: Tensor, bound: Bound, setting: Setting, budget: Budget
) -> Tensor:
    """Lower bounds of C f(x) over each region, [B, S].

    With outward arithmetic: for every x of region b, C[b, s] f(x) >= bound[b, s] over the reals.

    Args:
        region: of B inputs, in the arithmetic of the setting.
        rows: C, [B, S, K], small integers (products with them are exact).
    """
    count = budget.inputs(network, setting, rows.shape[1])
    parts = []
    for first in range(0, len(region), count):
        chosen = slice(first, first + count)
        relaxation = relax(network, region.rows(chosen), bound, setting, budget)
        parts.append(walk_rows(relaxation, len(relaxation.graph.nodes) - 1, rows[chosen], budget, network))
    return torch.cat(parts)


def walk_rows(relaxation: Relaxation, start: int, rows: Tensor, budget: Budget, network: Network) -> Tensor:
    """`lower_bounds`, as many inputs at a time as the budget allows."""
    count = max(1, budget.rows(network, relaxation.setting, network.elements) // max(1, rows.shape[1]))
    if count >= len(rows):
        return lower_bounds(relaxation, start, rows)
    numbers = torch.arange(len(rows), device=rows.device)
    return torch.cat([lower_bounds(relaxation.rows(chosen), start, rows[chosen]) for chosen in numbers.split(count)])


def relax(network: Network, region: Region, bound: Bound, setting: Setting, budget: Budget) -> Relaxation:
    """Intervals of all nodes by the method, ready for the last walk."""
    graph = network.on(setting.arithmetic)
    if bound is not Bound.CROWN:
        return Relaxation(graph, region, setting, propagate(graph, region, setting), bound is not Bound.IBP)
    relaxation = Relaxation(graph, region, setting, [])
    refined = set(refinable(graph))
    for number, node in enumerate(graph.nodes):
        interval = step(graph, node, relaxation.intervals, region, setting)
        relaxation.intervals.append(interval)
        if number in refined:
            relaxation.intervals[number] = tighten(relaxation, number, _curved(relaxation, number), budget, network)
    return relaxation


def _curved(relaxation: Relaxation, number: int) -> Tensor:
    """[B, n]: the elements of a node whose consumers are not linear on their interval."""
    interval = relaxation.intervals[number]
    curved = torch.zeros_like(interval.lower, dtype=torch.bool)
    for node in relaxation.graph.nodes:
        if number in node.inputs:
            operation = node.operation
            if isinstance(operation, Elementwise):
                curved |= operation.activation.is_curved(interval.lower, interval.upper)
            else:
                curved |= interval.lower < interval.upper
    return curved.flatten(1)


def tighten(relaxation: Relaxation, number: int, wanted: Tensor, budget: Budget, network: Network) -> Interval:
    """A node's interval, its wanted elements [B, n] bounded by CROWN too.

    Where lower lines of the next walks lie is decided by CROWN's own interval (slope 1 where it reaches further up than
    down): the meet with another one is narrower, but would turn slopes, and often for the worse.

    Rows are packed: one pair of rows for each (input, wanted element), inputs of about as many elements together.
    """
    interval = relaxation.intervals[number]
    lower, upper = interval.lower.flatten(1).clone(), interval.upper.flatten(1).clone()
    place = (upper > -lower).to(lower.dtype)
    coefficients = coefficients_of_an_element(relaxation.graph, number)
    for inputs, elements, real in packed(wanted, budget.rows(network, relaxation.setting, coefficients) // 2):
        bounds = element_bounds(relaxation.rows(inputs), number, elements)
        into = inputs.unsqueeze(1).expand_as(elements)[real], elements[real]
        lower[into] = torch.maximum(lower[into], bounds.lower[real])
        upper[into] = torch.minimum(upper[into], bounds.upper[real])
        place[into] = (bounds.upper[real] > -bounds.lower[real]).to(lower.dtype)
    relaxation.places[number] = place.reshape_as(interval.lower).unsqueeze(1)
    return _checked(Interval(lower.reshape_as(interval.lower), upper.reshape_as(interval.upper)), relaxation, number)


def packed(wanted: Tensor, rows: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Groups of (input, element) pairs as dense blocks.

    Args:
        wanted: [B, n] bool.
        rows: of a block, at most.
    Yields:
        (inputs [G], elements [G, R], real [G, R]): padding repeats an element, and is not real.
    """
    counts = wanted.sum(1)
    order = counts.argsort(descending=True, stable=True)
    sizes: list[int] = counts[order].tolist()
    element = wanted.nonzero()[:, 1]
    start = counts.cumsum(0) - counts
    first = 0
    while first < len(sizes) and sizes[first] > 0:
        last, filled = first, 0
        while last < len(sizes) and sizes[last] > 0:
            block = (last + 1 - first) * sizes[first]
            if last > first and (block > rows or filled + sizes[last] < (1 - _WASTE) * block):
                break
            filled += sizes[last]
            last += 1
        inputs = order[first:last]
        for offset in range(0, sizes[first], rows):
            width = min(rows, sizes[first] - offset)
            column = torch.arange(offset, offset + width, device=wanted.device)
            real = column < counts[inputs].unsqueeze(1)
            yield inputs, element[start[inputs].unsqueeze(1) + torch.where(real, column, 0)], real
        first = last


def _checked(interval: Interval, relaxation: Relaxation, number: int) -> Interval:
    """Refuse an empty interval where all errors are paid for; mend it where they are not."""
    crossed = interval.lower > interval.upper
    if relaxation.setting.arithmetic.outward:
        if bool(crossed.any()):
            layer = relaxation.graph.nodes[number].layer
            raise Unsound(f"layer {layer}: a lower bound lies above an upper bound; nothing of this is certified")
        return interval
    middle = (interval.lower + interval.upper) * 0.5
    return Interval(torch.where(crossed, middle, interval.lower), torch.where(crossed, middle, interval.upper))
