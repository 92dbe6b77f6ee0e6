"""Interval bound propagation: a box around the values of every operation, forwards through the graph.

Source: Gowal et al. 2018 (arXiv:1810.12715); the rounding errors: Rump 1999, 2012.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from verifier.bounds.activations import Kinked, Ramp
from verifier.bounds.arithmetic import FLOAT32_TINY, FLOAT32_UNIT, Arithmetic
from verifier.bounds.graph import (
    Add,
    Affine,
    Concatenate,
    Elementwise,
    Graph,
    Maximum,
    Node,
    Product,
    Softmax,
    maxima,
)
from verifier.bounds.linear import Convolution, Dense, LinearMap, Scale
from verifier.bounds.moves import Permutation, View
from verifier.bounds.region import Ball, Region
from verifier.problem import Norm

_EXECUTION_LIMIT = 2.0**100
"""Sums that a float32 execution may reach without a doubt: 2^128 less room for scales that are folded away here."""

_EXECUTION_TERMS = 8
"""Roundings of a float32 kernel besides its sum: of the bias, of a batch norm executed by itself, of a quotient."""


@dataclass(frozen=True, eq=False)
class Interval:
    """lower <= value <= upper, element by element; NaN where nothing is known, not even that there is a value.

    Args:
        lower, upper: [B, *shape].
    """

    lower: Tensor
    upper: Tensor

    def magnitude(self) -> Tensor:
        """max |value|."""
        return torch.maximum(self.lower.abs(), self.upper.abs())

    def centre_and_radius(self, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """(centre, radius): the interval lies in centre +- radius."""
        centre = (self.lower + self.upper) * 0.5
        if not arithmetic.outward:
            return centre, (self.upper - self.lower) * 0.5
        return centre, arithmetic.up(torch.maximum(self.upper - centre, centre - self.lower))

    def rows(self, chosen: Tensor | slice) -> "Interval":
        """The intervals of some inputs."""
        return Interval(self.lower[chosen], self.upper[chosen])

    def meet(self, other: "Interval") -> "Interval":
        """What lies in both."""
        return Interval(torch.maximum(self.lower, other.lower), torch.minimum(self.upper, other.upper))


@dataclass(frozen=True)
class Setting:
    """In which sense intervals hold.

    Args:
        arithmetic: they are computed in.
        float32_execution: whether they also hold for the values of a float32 execution, its kernels summing in any
            order; otherwise for the network over the reals.
    """

    arithmetic: Arithmetic
    float32_execution: bool = False

    def relative_error(self, affine: Affine) -> float:
        """What |W| |x| and the bias's magnitude are multiplied with, to cover folding, our roundings, execution."""
        arithmetic = self.arithmetic
        error = arithmetic.gamma(affine.map.terms) + 2 * affine.roundings * arithmetic.unit
        return error + self.execution_error(affine)

    def execution_error(self, affine: Affine) -> float:
        """The part that is float32's own."""
        return 0.0 if affine.moves_only else self.executed(affine.map.terms + affine.roundings + _EXECUTION_TERMS)

    def executed(self, roundings: int) -> float:
        """Relative error of so many roundings of a float32 execution; 0 where none is covered."""
        return 1.01 * roundings * FLOAT32_UNIT if self.float32_execution else 0.0

    def underflow(self, terms: int) -> float:
        """Absolute error of a sum of so many products."""
        executed = FLOAT32_TINY if self.float32_execution else 0.0
        return 2 * (terms + 2) * (self.arithmetic.tiny + executed)


def propagate(graph: Graph, region: Region, setting: Setting) -> list[Interval]:
    """An interval for every node, for each input's region.

    With outward arithmetic: for every point of the region, every node's value over the reals is in its interval.
    """
    intervals: list[Interval] = []
    for node in graph.nodes:
        intervals.append(step(graph, node, intervals, region, setting))
    return intervals


def step(graph: Graph, node: Node, intervals: Sequence[Interval], region: Region, setting: Setting) -> Interval:
    """The interval of a node from those of its operands."""
    if not node.inputs:
        return Interval(region.lower, region.upper)
    operands = [intervals[number] for number in node.inputs]
    if isinstance(node.operation, Affine):
        result = affine(node.operation, operands[0], setting)
        if setting.float32_execution:
            return _executable(result, _reach(node.operation, operands[0]))
        tighter = None if region.ball is None else _affine_of_ball(graph, node, region.ball, setting)
        return result if tighter is None else result.meet(tighter)
    result = _RULES[type(node.operation)](node.operation, operands, setting)
    return _executable(result, result.magnitude()) if setting.float32_execution else result


def _reach(operation: Affine, x: Interval) -> Tensor:
    """Above all partial sums of W x + b, but for rounding."""
    reach = operation.map.forward_abs(x.magnitude())
    return reach if operation.size_of_bias is None else reach + operation.size_of_bias


def _executable(interval: Interval, reach: Tensor) -> Interval:
    """The interval where float32 surely does not overflow on the way; NaN, which stays NaN, elsewhere."""
    fits = reach < _EXECUTION_LIMIT
    return Interval(torch.where(fits, interval.lower, torch.nan), torch.where(fits, interval.upper, torch.nan))


def affine(operation: Affine, x: Interval, setting: Setting) -> Interval:
    """W x + b: centre and radius.

    |fl(W m) - W m| <= gamma |W| |m| and |W (x - m)| <= |W| r, so that the error goes into the radius before the one
    product with |W|: |W| (r + e (|m| + r)), where e also covers the rounding of that product.
    """
    linear, arithmetic = operation.map, setting.arithmetic
    if operation.moves_only:
        return Interval(linear.forward(x.lower), linear.forward(x.upper))
    centre, radius = x.centre_and_radius(arithmetic)
    error = setting.relative_error(operation)
    if error:
        radius = radius + (centre.abs() + radius) * (2 * error)
    centre, radius = linear.forward(centre), linear.forward_abs(radius)
    if operation.bias is not None:
        centre = centre + operation.bias
        if error and operation.size_of_bias is not None:
            radius = radius + operation.size_of_bias * (2 * error)
    if error:
        radius = radius + setting.underflow(linear.terms)
    if arithmetic.outward:  # the last few sums and differences, these two included
        radius = radius + (centre.abs() + radius) * (16 * arithmetic.unit)
    return Interval(centre - radius, centre + radius)


def _affine_of_ball(graph: Graph, node: Node, ball: Ball, setting: Setting) -> Interval | None:
    """W x + b over an L1 or L2 ball: at the centre, +- eps times the dual norm of each row.

    Over the reals only; for an operation on the input itself, or on its elements moved and scaled, else None.
    """
    operation, arithmetic = node.operation, setting.arithmetic
    assert isinstance(operation, Affine)
    scaled = _scaled_input(graph, node.inputs[0], ball, setting)
    if scaled is None:
        return None
    centre, scale = scaled
    error = 2 * (setting.relative_error(operation) + arithmetic.gamma(operation.map.terms))
    eps = ball.eps.reshape(-1, *[1] * len(node.shape))
    radius = eps * (_row_norms(operation.map, scale, ball.norm, arithmetic) * (1 + error)) * (1 + 4 * error)
    middle = affine(operation, centre, setting)
    return Interval(arithmetic.down(middle.lower - radius, 2), arithmetic.up(middle.upper + radius, 2))


def _scaled_input(graph: Graph, number: int, ball: Ball, setting: Setting) -> tuple[Interval, Tensor] | None:
    """The value of a node at the ball's centre, and the size of each element's one factor of the input.

    None where the node's elements are not those of the input, once each, scaled and shifted.
    """
    node = graph.nodes[number]
    if not node.inputs:
        return Interval(ball.centre, ball.centre), torch.ones(node.shape).to(ball.centre)
    operation = node.operation
    if not (isinstance(operation, Affine) and isinstance(operation.map, Scale | View | Permutation)):
        return None
    before = _scaled_input(graph, node.inputs[0], ball, setting)
    if before is None:
        return None
    centre, scale = before
    grown = operation.map.forward_abs(scale[None])[0]
    return affine(operation, centre, setting), setting.arithmetic.up(grown, 2 + 2 * operation.roundings)


def _row_norms(linear: LinearMap, scale: Tensor, norm: Norm, arithmetic: Arithmetic) -> Tensor:
    """The dual norm of each row of W diag(scale), [*out_shape]; for L1 balls an upper bound of it."""
    root = arithmetic.tiny**0.5
    lost = 2 * (linear.terms + 2) * root * (1 + scale.max())  # squares of weights that underflow
    scale = scale.clamp(min=2 * root)
    euclidean: Tensor = linear.forward_squared(scale.square()[None])[0].sqrt() + lost
    if norm is Norm.L2:
        return euclidean
    if isinstance(linear, Dense) and len(linear.in_shape) == 1:
        largest: Tensor = (linear.weight.abs() * scale).amax(dim=1)
        return largest
    if isinstance(linear, Convolution):
        per_channel = linear.weight.abs().flatten(1).amax(dim=1) * scale.max()
        return per_channel.reshape(-1, *[1] * len(linear.kernel)).expand(linear.out_shape)
    return euclidean


def _add(operation: Add, operands: Sequence[Interval], setting: Setting) -> Interval:
    lower = sum(x.lower if sign > 0 else -x.upper for sign, x in zip(operation.signs, operands, strict=True))
    upper = sum(x.upper if sign > 0 else -x.lower for sign, x in zip(operation.signs, operands, strict=True))
    assert isinstance(lower, Tensor)
    assert isinstance(upper, Tensor)
    size = sum((x.magnitude() for x in operands), torch.zeros_like(lower))
    slack = size * (setting.arithmetic.gamma(len(operands)) + setting.executed(len(operands)))
    return Interval(setting.arithmetic.down(lower - slack, 2), setting.arithmetic.up(upper + slack, 2))


def _widened(interval: Interval, error: Tensor, setting: Setting) -> Interval:
    return Interval(setting.arithmetic.down(interval.lower - error), setting.arithmetic.up(interval.upper + error))


def _concatenate(operation: Concatenate, operands: Sequence[Interval], _setting: Setting) -> Interval:
    axis = operation.axis + 1
    return Interval(torch.cat([x.lower for x in operands], axis), torch.cat([x.upper for x in operands], axis))


def _elementwise(operation: Elementwise, operands: Sequence[Interval], setting: Setting) -> Interval:
    (x,) = operands
    result = Interval(*operation.activation.interval(x.lower, x.upper, setting.arithmetic))
    if not isinstance(operation.activation, Kinked | Ramp):  # these keep NaN by themselves
        result = _where_defined(result, x)
    if not setting.float32_execution:
        return result
    return _widened(result, operation.activation.execution_error(x.lower, x.upper), setting)


def _where_defined(result: Interval, x: Interval) -> Interval:
    """NaN, for good, where the function or its operand may not be defined: from there on nothing is certified."""
    nowhere = (result.lower == -torch.inf) & (result.upper == torch.inf)
    nowhere = nowhere | x.lower.isnan() | x.upper.isnan()
    return Interval(result.lower.masked_fill(nowhere, torch.nan), result.upper.masked_fill(nowhere, torch.nan))


def _maximum(operation: Maximum, operands: Sequence[Interval], _setting: Setting) -> Interval:
    (x,) = operands
    return Interval(maxima(x.lower, operation.positions)[0], maxima(x.upper, operation.positions)[0])


def _product(_operation: Product, operands: Sequence[Interval], setting: Setting) -> Interval:
    x, y = operands
    corners = torch.stack([x.lower * y.lower, x.lower * y.upper, x.upper * y.lower, x.upper * y.upper])
    result = Interval(setting.arithmetic.down(corners.amin(0)), setting.arithmetic.up(corners.amax(0)))
    if not setting.float32_execution:
        return result
    return _widened(result, result.magnitude() * setting.executed(1) + setting.underflow(1), setting)


def _softmax(operation: Softmax, operands: Sequence[Interval], setting: Setting) -> Interval:
    """e^l_i / (e^l_i + sum_{j != i} e^u_j), exponents shifted by l_i, so that the terms cannot both overflow."""
    (x,) = operands
    axis = operation.axis + 1
    classes = x.lower.shape[axis]
    relative = setting.arithmetic.gamma(classes + 16) + setting.executed(classes + 16)

    def share(own: Tensor, others: Tensor) -> Tensor:
        """1 / (1 + sum_{j != i} e^(others_j - own_i))."""
        differences = others.movedim(axis, -1)[..., None, :] - own.movedim(axis, -1)[..., :, None]
        itself = torch.eye(classes, dtype=torch.bool, device=own.device)
        return (1 / (1 + differences.exp().masked_fill(itself, 0).sum(-1))).movedim(-1, axis)

    # an error d <= 1/2 of an exponent is one of e^d - 1 <= 2 d of its term, and no more of the share
    spread = 2 * x.magnitude().amax(axis, keepdim=True)
    error = relative + 4 * spread * (setting.arithmetic.unit + setting.executed(1))
    low, high = share(x.lower, x.upper), share(x.upper, x.lower)
    lower = (low - low * error - setting.underflow(classes)).clamp(min=0)
    upper = (high + high * error + setting.underflow(classes)).clamp(max=1 + setting.executed(classes))
    return Interval(lower, torch.where(error < 0.5, upper, torch.inf))


_Rule = Callable[[Any, Sequence[Interval], Setting], Interval]

_RULES: dict[type, _Rule] = {
    Add: _add,
    Concatenate: _concatenate,
    Elementwise: _elementwise,
    Maximum: _maximum,
    Product: _product,
    Softmax: _softmax,
}
