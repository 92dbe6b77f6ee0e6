"""CROWN: linear lower bounds, carried backwards through the graph from any node to the input.

Invariant, for each row: over the region, row . node >= sum_k coefficients_k . value_k + constant, over the reals, with
the stored floats as coefficients. Each step replaces coefficients on a node by coefficients on its operands and
lowers the constant by at least what the step rounds: |fl(A W) - A W| <= gamma |A| |W|, and |value| <= magnitude, so
that one product |A| . (gamma |W| magnitude) pays for a whole step; its right factor is the same for all rows.

Source: Zhang et al. 2018 (arXiv:1811.00866), Xu et al. 2020 (arXiv:2002.12920).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verifier.bounds.activation import Lines
from verifier.bounds.graph import Add, Affine, Concatenate, Elementwise, Graph, Maximum, Node, maxima
from verifier.bounds.interval import Interval, Setting
from verifier.bounds.patches import Coefficients, Rows, added, against, element_coefficients
from verifier.bounds.region import Region

Alphas = Mapping[int, Tensor]
"""Node of an adjustable activation -> where its lower line is, [B, 1 or R, *shape], in [0, 1]."""


@dataclass(frozen=True, eq=False)
class Loss:
    """What backward steps from one node may lose.

    Args:
        slack: [B, 1 or R, *shape], for a coefficient of size 1.
        underflow: [B], whatever the coefficients are.
    """

    slack: Tensor
    underflow: Tensor

    def rows(self, chosen: Tensor) -> "Loss":
        """Of some inputs."""
        return Loss(self.slack[chosen], self.underflow[chosen])


@dataclass(eq=False)
class Relaxation:
    """What the backward steps need about one batch of regions.

    Args:
        graph: in the arithmetic of the setting.
        region: of each input.
        setting: in which sense bounds hold.
        intervals: of every node that backward steps meet.
        linear: whether activations are replaced by lines; otherwise backward steps end at them, with their intervals.
        places: where lower lines lie, as far as something better is known than the interval: node of the activation's
            input -> [B, 1, *shape] in [0, 1].
    """

    graph: Graph
    region: Region
    setting: Setting
    intervals: list[Interval]
    linear: bool = True
    places: dict[int, Tensor] = field(default_factory=dict)
    _lines: dict[int, Lines] = field(default_factory=dict)
    _losses: dict[int, Loss] = field(default_factory=dict)
    _part_of: "tuple[Relaxation, Tensor] | None" = None

    def lines(self, number: int, alpha: Tensor | None = None) -> Lines:
        """The lines of an activation node, [B, 1 or R, *shape]; made once where no alpha places them."""
        if alpha is not None:
            return self._lines_at(number, alpha)
        if number not in self._lines:
            whole = self._part_of
            self._lines[number] = _lines_of(whole[0].lines(number), whole[1]) if whole else self._lines_at(number, None)
        return self._lines[number]

    def _lines_at(self, number: int, alpha: Tensor | None) -> Lines:
        node = self.graph.nodes[number]
        assert isinstance(node.operation, Elementwise)
        x = self.intervals[node.inputs[0]]
        arithmetic = self.setting.arithmetic
        if alpha is None and node.operation.activation.adjustable:
            alpha = self.places.get(node.inputs[0])
        return node.operation.activation.lines(x.lower.unsqueeze(1), x.upper.unsqueeze(1), arithmetic, alpha)

    def loss(self, number: int) -> Loss:
        """What a backward step from an affine node may lose; made once."""
        if number not in self._losses:
            whole = self._part_of
            self._losses[number] = whole[0].loss(number).rows(whole[1]) if whole else self._affine_loss(number)
        return self._losses[number]

    def _affine_loss(self, number: int) -> Loss:
        node, setting = self.graph.nodes[number], self.setting
        operation, arithmetic = node.operation, setting.arithmetic
        assert isinstance(operation, Affine)
        x = self.intervals[node.inputs[0]].magnitude()
        error = arithmetic.gamma(operation.map.backward_terms) + 2 * operation.roundings * arithmetic.unit
        error += setting.execution_error(operation)
        slack = operation.map.forward_abs(x) * (2 * error) + setting.underflow(operation.map.terms)
        if operation.size_of_bias is not None:
            slack = slack + operation.size_of_bias * (2 * (error + arithmetic.gamma(math.prod(node.shape))))
        return Loss(slack.unsqueeze(1), self._underflow(x, operation.map.backward_terms))

    def lines_loss(self, number: int, lines: Lines) -> Loss:
        """What a backward step from an activation with these lines may lose."""
        node, setting = self.graph.nodes[number], self.setting
        assert isinstance(node.operation, Elementwise)
        x = self.intervals[node.inputs[0]]
        arithmetic = setting.arithmetic
        slope = torch.maximum(lines.lower_slope.abs(), lines.upper_slope.abs())
        intercept = torch.maximum(lines.lower_intercept.abs(), lines.upper_intercept.abs())
        slack = slope * x.magnitude().unsqueeze(1) * (8 * arithmetic.unit)  # product, difference, product, sum
        slack = slack + intercept * (4 * arithmetic.gamma(math.prod(node.shape)))
        if setting.float32_execution:
            slack = slack + node.operation.activation.execution_error(x.lower, x.upper).unsqueeze(1)
        return Loss(slack, self._underflow(x.magnitude(), 1))

    def _underflow(self, magnitude: Tensor, terms: int) -> Tensor:
        return (magnitude.flatten(1).sum(1) + 1) * (4 * (terms + 1) * self.setting.arithmetic.tiny)

    def rows(self, chosen: Tensor) -> "Relaxation":
        """The relaxation of some inputs."""
        return replace(
            self,
            region=self.region.rows(chosen),
            intervals=[interval.rows(chosen) for interval in self.intervals],
            _lines={},
            _losses={},
            _part_of=(self, chosen),
        )


def _lines_of(lines: Lines, chosen: Tensor) -> Lines:
    return Lines(
        lines.lower_slope[chosen],
        lines.lower_intercept[chosen],
        lines.upper_slope[chosen],
        lines.upper_intercept[chosen],
    )


def lower_bounds(relaxation: Relaxation, start: int, rows: Tensor, alphas: Alphas | None = None) -> Tensor:
    """Lower bounds of rows . value of a node over the regions, [B, R].

    Args:
        relaxation: of B regions.
        start: the node.
        rows: [B, R, *shape of the node].
        alphas: where adjustable lower lines are.
    """
    walk = _Walk(relaxation, (rows.shape[0], rows.shape[1], 1), alphas or {})
    walk.push(start, Rows(rows.unsqueeze(2)))
    bounds = walk.to_the_input(start).squeeze(2)
    if relaxation.setting.float32_execution:  # where an execution may overflow, its intervals are NaN
        overflows = relaxation.intervals[start].lower.isnan().flatten(1).any(1, keepdim=True)
        bounds = bounds.masked_fill(overflows, torch.nan)
    return bounds


def element_bounds(relaxation: Relaxation, start: int, elements: Tensor) -> Interval:
    """Intervals of some elements of a node's value over the regions, [B, R].

    Args:
        relaxation: of B regions.
        start: the node.
        elements: [B, R] int64, of the flattened value.
    """
    walk = _Walk(relaxation, (*elements.shape, 2), {})
    walk.push_elements(start, elements)
    bounds = walk.to_the_input(start)
    return Interval(bounds[..., 0], -bounds[..., 1])


class _Walk:
    """Coefficients on their way back, those of each node that waits [B, R, S, ...], and the constant [B, R, S].

    S is 2 where each row is bounded from below and, as its negative, from above. Until lines part the two, only the
    coefficients of the row itself are kept: S is then 2 of the constant and 1 of the coefficients.
    """

    def __init__(self, relaxation: Relaxation, size: tuple[int, int, int], alphas: Alphas) -> None:
        self._given = relaxation
        self._nodes = relaxation.graph.nodes
        self._arithmetic = relaxation.setting.arithmetic
        self._pays = self._arithmetic.outward or relaxation.setting.float32_execution
        self._alphas = alphas
        self._waiting: dict[int, Coefficients] = {}
        lower = relaxation.region.lower
        self._constant = torch.zeros(size, dtype=lower.dtype, device=lower.device)

    def to_the_input(self, start: int) -> Tensor:
        """All steps; the bound [B, R, S]."""
        for number in range(start, 0, -1):
            coefficients = self._waiting.pop(number, None)
            if coefficients is not None:
                self._step(number, self._nodes[number], coefficients)
        if 0 in self._waiting:
            self._end_at_input(self._waiting.pop(0))
        return self._constant

    def push(self, number: int, coefficients: Coefficients) -> None:
        """Coefficients on a node, added to those that wait there."""
        there = self._waiting.get(number)
        if there is not None:
            if there.values.shape[2] != coefficients.values.shape[2]:
                there, coefficients = self._parted(there), self._parted(coefficients)
            coefficients = added(there, coefficients)
            if self._arithmetic.outward:
                self._lose(coefficients, self._magnitude(number) * (2 * self._arithmetic.unit))
        self._waiting[number] = coefficients

    def push_elements(self, number: int, elements: Tensor) -> None:
        """Elements of a node's value, [B, R]; rows of weights and kernels, where there are such, need no product."""
        node = self._nodes[number]
        operation = node.operation
        weights = element_coefficients(operation.map, elements) if isinstance(operation, Affine) else None
        if weights is not None:
            self._constant = self._arithmetic.down(self._constant + self._elements_constant(number, elements))
            self.push(node.inputs[0], weights)
            return
        rows = torch.zeros(*elements.shape, math.prod(node.shape), dtype=self._constant.dtype, device=elements.device)
        rows.scatter_(2, elements.unsqueeze(2), 1.0)
        self.push(number, Rows(rows.unflatten(2, (1, *node.shape))))

    def _elements_constant(self, number: int, elements: Tensor) -> Tensor:
        """+-bias - slack of elements of an affine node's value, [B, R, 2]."""
        node = self._nodes[number]
        operation = node.operation
        assert isinstance(operation, Affine)
        constant = torch.zeros_like(self._constant)
        if operation.bias is not None:
            bias = operation.bias.expand(node.shape).reshape(-1)[elements]
            constant = torch.stack([bias, -bias], dim=2)
        if self._pays:
            loss = self._given.loss(number)
            constant = constant - (loss.slack.flatten(1).gather(1, elements) + loss.underflow.unsqueeze(1)).unsqueeze(2)
        return self._arithmetic.down(constant, 3)

    def _parted(self, coefficients: Coefficients) -> Coefficients:
        """With coefficients for each S of the constant."""
        values = coefficients.values
        if values.shape[2] == self._constant.shape[2]:
            return coefficients
        return coefficients.with_values(torch.cat([values, -values], dim=2))

    def _magnitude(self, number: int) -> Tensor:
        """Of a node's value, [B, 1, *shape]."""
        return self._given.intervals[number].magnitude().unsqueeze(1)

    def _step(self, number: int, node: Node, coefficients: Coefficients) -> None:
        operation = node.operation
        match operation:
            case Affine():
                self._affine(number, node, operation, coefficients)
            case Add(signs=signs):
                if self._given.setting.float32_execution:
                    self._lose(coefficients, self._add_error(node))
                negative = coefficients.with_values(-coefficients.values) if min(signs) < 0 else coefficients
                for operand, sign in zip(node.inputs, signs, strict=True):
                    self.push(operand, coefficients if sign > 0 else negative)
            case Concatenate(axis=axis, sizes=sizes):
                for operand, part in zip(node.inputs, coefficients.split(sizes, axis), strict=True):
                    self.push(operand, part)
            case Elementwise() if self._given.linear:
                self._elementwise(number, node, coefficients)
            case Maximum() if self._given.linear:
                self._maximum(node, operation, self._parted(coefficients).dense())
            case _:
                self._end_at(coefficients, self._given.intervals[number])

    def _affine(self, number: int, node: Node, operation: Affine, coefficients: Coefficients) -> None:
        if operation.bias is not None:
            self._gain(coefficients, operation.bias.expand(node.shape)[None, None])
        if self._pays and not (operation.moves_only and operation.map.backward_terms == 0):
            loss = self._given.loss(number)
            self._lose(coefficients, loss.slack, loss.underflow)
        self.push(node.inputs[0], coefficients.through(operation.map))

    def _add_error(self, node: Node) -> Tensor:
        """What a float32 execution may round in a sum of branches, [B, 1, *shape]."""
        size = torch.stack([self._magnitude(operand) for operand in node.inputs]).sum(0)
        return size * self._given.setting.executed(len(node.inputs))

    def _elementwise(self, number: int, node: Node, coefficients: Coefficients) -> None:
        """A g(z) >= A line(z): the lower line where A >= 0, the upper line where A < 0.

        Of a row that also stands for its negative, the lines of -A come from the same parts of A.
        """
        lines = self._given.lines(number, self._alphas.get(number))
        both = coefficients.values.shape[2] < self._constant.shape[2]
        values = coefficients.values
        negative = values.clamp(max=0)
        self._add(self._intercepts(coefficients, negative, lines, both=both))
        if self._pays:
            loss = self._given.lines_loss(number, lines)
            self._lose(coefficients, loss.slack, loss.underflow)
        slope = coefficients.local(lines.lower_slope)
        if both:
            slope = torch.cat([slope, -coefficients.local(lines.upper_slope)], dim=2)
        bend = negative * coefficients.local(lines.upper_slope - lines.lower_slope)
        self.push(node.inputs[0], coefficients.times(torch.addcmul(bend, values, slope)))

    def _intercepts(self, coefficients: Coefficients, negative: Tensor, lines: Lines, *, both: bool) -> Tensor:
        """A . intercepts of lines, [B, R, S]: of A; for both also of -A, whose negative part is N - A."""
        constant = against(coefficients, negative, lines.upper_intercept)
        if both:
            rest = constant - against(coefficients, coefficients.values, lines.upper_intercept)
            constant = torch.cat([constant, rest], dim=2)
        if bool(lines.lower_intercept.any()):  # the lower lines of ReLU go through the origin
            positive = against(coefficients, coefficients.values - negative, lines.lower_intercept)
            if both:
                rest = -against(coefficients, negative, lines.lower_intercept)
                positive = torch.cat([positive, rest], dim=2)
            constant = self._arithmetic.down(constant + positive)
        return constant

    def _maximum(self, node: Node, operation: Maximum, coefficients: Rows) -> None:
        """max_j x_j >= x_i for the i of the largest lower bound; and <= x_i where that beats all others, or max u."""
        operand = node.inputs[0]
        x = self._given.intervals[operand]
        lowest, place = maxima(x.lower, operation.positions)
        chosen = operation.positions.expand(len(lowest), *operation.positions.shape).gather(-1, place.unsqueeze(-1))
        others = operation.positions.masked_fill(operation.positions == chosen, -1)
        rival = x.upper.flatten(1).gather(1, others.clamp(min=0).flatten(1)).reshape(others.shape)
        alone = rival.masked_fill(others < 0, -torch.inf).amax(-1) <= lowest
        ceiling = maxima(x.upper, operation.positions)[0].masked_fill(alone, 0.0).unsqueeze(1)
        values = coefficients.values
        negative = values.clamp(max=0)
        self._gain(Rows(negative), ceiling)
        if self._arithmetic.outward:
            size = math.prod(node.shape)
            reached = x.magnitude().flatten(1).gather(1, chosen.flatten(1)).reshape(lowest.shape).unsqueeze(1)
            slack = ceiling.abs() * (2 * self._arithmetic.gamma(size))
            self._lose(coefficients, slack + reached * (2 * self._arithmetic.gamma(operation.overlap)))
        kept = torch.where(alone[:, None, None], values, values - negative).flatten(3)
        shape = self._nodes[operand].shape
        back = kept.new_zeros(*kept.shape[:3], math.prod(shape))
        back = back.scatter_add(3, chosen.flatten(1)[:, None, None].expand_as(kept), kept)
        self.push(operand, Rows(back.unflatten(3, shape)))

    def _end_at(self, coefficients: Coefficients, interval: Interval) -> None:
        """The least value over an interval."""
        centre, radius = interval.centre_and_radius(self._arithmetic)
        self._gain(coefficients, centre.unsqueeze(1))
        self._constant = self._constant - self._spread(coefficients, centre, radius)
        self._constant = self._arithmetic.down(self._constant)

    def _spread(self, coefficients: Coefficients, centre: Tensor, radius: Tensor) -> Tensor:
        """|A| . radius, rounded up, with what A . centre rounds."""
        terms = math.prod(coefficients.values.shape[3:])
        error = self._arithmetic.gamma(terms)
        if error:
            radius = radius + (centre.abs() + radius) * (4 * error)
        return against(coefficients, coefficients.values.abs(), radius.unsqueeze(1)) + 4 * terms * self._arithmetic.tiny

    def _end_at_input(self, coefficients: Coefficients) -> None:
        """The least value over the region: a box, a ball, or the better of both where the one cuts the other."""
        region, constant = self._given.region, self._constant
        if region.ball is None:
            self._end_at(coefficients, Interval(region.lower, region.upper))
            return
        coefficients = coefficients.exact()
        flat = coefficients.values.flatten(3)
        terms = flat.shape[3]
        norm = torch.linalg.vector_norm(flat, region.ball.dual, dim=3) * (1 + 4 * self._arithmetic.gamma(terms))
        fall = (norm + math.sqrt(terms * self._arithmetic.tiny)) * region.ball.eps[:, None, None]  # squares may vanish
        self._gain(coefficients, region.ball.centre.unsqueeze(1))
        fall = fall + self._spread(coefficients, region.ball.centre, torch.zeros_like(region.ball.centre))
        over_ball = self._arithmetic.down(self._constant - self._arithmetic.up(fall))
        if region.cut:
            self._constant = constant
            self._end_at(coefficients, Interval(region.lower, region.upper))
            over_ball = torch.maximum(over_ball, self._constant)
        self._constant = over_ball

    def _gain(self, coefficients: Coefficients, field: Tensor) -> None:
        """Add A . field; what that rounds is in the step's loss."""
        product = against(coefficients, coefficients.values, field)
        if product.shape[2] < self._constant.shape[2]:
            product = torch.cat([product, -product], dim=2)
        self._add(product)

    def _add(self, amount: Tensor) -> None:
        self._constant = self._arithmetic.down(self._constant + amount)

    def _lose(self, coefficients: Coefficients, slack: Tensor, underflow: Tensor | None = None) -> None:
        """Pay |A| . slack."""
        terms = math.prod(coefficients.values.shape[3:])
        amount = against(coefficients, coefficients.values.abs(), slack) * (1 + 2 * self._arithmetic.gamma(terms))
        amount = amount + 4 * terms * self._arithmetic.tiny
        if underflow is not None:
            amount = amount + underflow[:, None, None]
        self._constant = self._arithmetic.down(self._constant - self._arithmetic.up(amount))
