"""The one form of a network that all bounds are computed on: a list of operations in the order of their execution."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from verifier.bounds.activation import Activation
from verifier.bounds.linear import LinearMap, Shape


@dataclass(frozen=True)
class Input:
    """The network's input."""


@dataclass(frozen=True, eq=False)
class Affine:
    """y = W x + b.

    The map's weights and the bias stand for real numbers that they may miss by rounding: true weights differ from
    stored ones by at most `roundings` units of roundoff relative to the stored ones, true biases by as much
    relative to `magnitude`.

    Args:
        map: W.
        bias: b, broadcasts against the output without a batch axis; None is zero.
        magnitude: sum of the absolute values of what the bias was computed from, >= |bias|; None is |bias|.
        roundings: done in folding constants; 0 where weights and bias are those of the network.
    """

    map: LinearMap
    bias: Tensor | None = None
    magnitude: Tensor | None = None
    roundings: int = 0

    @property
    def moves_only(self) -> bool:
        """Whether every output is one of the inputs or zero: nothing is rounded."""
        return self.map.terms == 0 and self.bias is None

    @cached_property
    def size_of_bias(self) -> Tensor | None:
        """What an error of the bias is relative to; None where there is no bias."""
        return self.bias.abs() if self.magnitude is None and self.bias is not None else self.magnitude

    def to(self, device: torch.device, dtype: torch.dtype) -> "Affine":
        """The same, its tensors there."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, dtype)

        return replace(self, map=self.map.to(device, dtype), bias=moved(self.bias), magnitude=moved(self.size_of_bias))


@dataclass(frozen=True)
class Add:
    """The sum of branches of one shape, each with a sign.

    Args:
        signs: +1 or -1 for each input.
    """

    signs: tuple[int, ...]


@dataclass(frozen=True)
class Concatenate:
    """Branches one behind the other.

    Args:
        axis: of one input's value, from 0.
        sizes: of each branch along the axis.
    """

    axis: int
    sizes: Shape


@dataclass(frozen=True, eq=False)
class Elementwise:
    """A function of each element.

    Args:
        activation: the function.
    """

    activation: Activation


@dataclass(frozen=True, eq=False)
class Maximum:
    """The largest of some elements: max pooling, maxima along axes and of branches.

    Args:
        positions: [*out_shape, k] int64, of the flattened input; -1 is left out; the first is always there.
    """

    positions: Tensor

    @cached_property
    def overlap(self) -> int:
        """In how many outputs an input takes part, at most."""
        return int(self.positions[self.positions >= 0].bincount().max())


@dataclass(frozen=True)
class Product:
    """The product of two branches of one shape."""


@dataclass(frozen=True)
class Softmax:
    """Softmax along an axis.

    Args:
        axis: of one input's value, from 0.
    """

    axis: int


Operation = Input | Affine | Add | Concatenate | Elementwise | Maximum | Product | Softmax


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Args:
        operation: what is computed.
        inputs: positions of its operands in the graph, each before it.
        shape: of its value for one input.
        layer: its name in the network, for messages.
    """

    operation: Operation
    inputs: tuple[int, ...]
    shape: Shape
    layer: str


@dataclass(frozen=True, eq=False)
class Graph:
    """A network. Node 0 is the input, the last node the logits [K].

    Args:
        nodes: in the order of execution.
    """

    nodes: tuple[Node, ...]

    @property
    def input_shape(self) -> Shape:
        """Of one input."""
        return self.nodes[0].shape

    @property
    def classes(self) -> int:
        """K."""
        return self.nodes[-1].shape[0]

    def to(self, device: torch.device, dtype: torch.dtype) -> "Graph":
        """The same network with its constants there."""
        return Graph(tuple(replace(node, operation=_moved(node.operation, device, dtype)) for node in self.nodes))

    def evaluate(self, x: Tensor) -> Tensor:
        """Logits [B, K] of inputs [B, *input_shape], in the datatype of the graph."""
        values: list[Tensor] = []
        for node in self.nodes:
            operands = [values[number] for number in node.inputs]
            values.append(_value(node.operation, operands) if operands else x)
        return values[-1]


def maxima(values: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
    """The largest of the elements at [*out_shape, k] positions, and which of the k it is, both [B, *out_shape].

    Args:
        values: [B, *in_shape].
    """
    gathered = values.reshape(len(values), -1)[:, positions.clamp(min=0)]
    return gathered.masked_fill(positions < 0, -torch.inf).max(dim=-1)


def _value(operation: Operation, operands: Sequence[Tensor]) -> Tensor:
    """The operation on numbers."""
    x = operands[0]
    match operation:
        case Affine(map=linear, bias=bias):
            y = linear.forward(x)
            return y if bias is None else y + bias
        case Add(signs=signs):
            return torch.stack([sign * value for sign, value in zip(signs, operands, strict=True)]).sum(0)
        case Concatenate(axis=axis):
            return torch.cat(list(operands), axis + 1)
        case Elementwise(activation=activation):
            return activation.value(x)
        case Maximum(positions=positions):
            return maxima(x, positions)[0]
        case Product():
            return x * operands[1]
        case Softmax(axis=axis):
            return x.softmax(axis + 1)
        case _:
            return x


def _moved(operation: Operation, device: torch.device, dtype: torch.dtype) -> Operation:
    match operation:
        case Affine():
            return operation.to(device, dtype)
        case Elementwise(activation=activation):
            return Elementwise(activation.to(device, dtype))
        case Maximum(positions=positions):
            return Maximum(positions.to(device))
        case _:
            return operation
