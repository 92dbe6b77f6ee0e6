"""Coefficients of backward walks: on whole values, or on windows of images where all others are zero.

A neuron of a convolution depends on a small window of each earlier image. Its coefficients are kept on that window
only, with where it lies; the window may hang over the image's edges, into zeros.

Shapes: B inputs, R rows of each, and S = 1 or 2 versions of each row (`crown._Walk`), which share their window.
Coefficients of a window are channels-last: a line of a window is then one piece of memory.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor

from verifier.bounds.graph import Add, Affine, Concatenate, Elementwise, Graph
from verifier.bounds.linear import Convolution, Dense, LinearMap, Scale, Shape

_LARGEST_SHARE = 0.5
"""Of an image: larger windows are no longer worth it."""

_LARGEST_MATRIX = 2**18
"""Elements of a convolution of windows written out as a matrix, up to which one product with it is fastest."""


class Coefficients(Protocol):
    """A: factors of one node's value, for each row.

    Args:
        values: [B, R, S, ...], on what is kept of the value.
    """

    @property
    def values(self) -> Tensor:
        """See the class."""
        ...

    def local(self, field: Tensor) -> Tensor:
        """What a field [1 or B, 1 or R, *shape] is where coefficients are kept, [1 or B, 1 or R, 1, ...]; 0 outside."""
        ...

    def with_values(self, values: Tensor) -> "Coefficients":
        """Others at the same places."""
        ...

    def times(self, values: Tensor) -> "Coefficients":
        """Others at the same places, which are zero where `local` fields are."""
        ...

    def exact(self) -> "Coefficients":
        """The same, zero outside the value."""
        ...

    def through(self, linear: LinearMap) -> "Coefficients":
        """A W: coefficients on the input of a map."""
        ...

    def split(self, sizes: Sequence[int], axis: int) -> "Sequence[Coefficients]":
        """Of each of the branches that lie behind each other along an axis of the value."""
        ...

    def dense(self) -> "Rows":
        """On the whole value."""
        ...


@dataclass(frozen=True, eq=False)
class Rows:
    """Coefficients on a whole value.

    Args:
        values: [B, R, S, *shape].
    """

    values: Tensor

    def local(self, field: Tensor) -> Tensor:
        """See `Coefficients.local`."""
        return field.unsqueeze(2)

    def with_values(self, values: Tensor) -> "Rows":
        """See `Coefficients.with_values`."""
        return Rows(values)

    def times(self, values: Tensor) -> "Rows":
        """See `Coefficients.times`."""
        return Rows(values)

    def exact(self) -> "Rows":
        """See `Coefficients.exact`."""
        return self

    def through(self, linear: LinearMap) -> "Rows":
        """See `Coefficients.through`."""
        return Rows(linear.backward(self.values.flatten(0, 2)).unflatten(0, self.values.shape[:3]))

    def split(self, sizes: Sequence[int], axis: int) -> "list[Rows]":
        """See `Coefficients.split`."""
        return [Rows(part) for part in self.values.split(list(sizes), axis + 3)]

    def dense(self) -> "Rows":
        """See `Coefficients.dense`."""
        return self


@dataclass(frozen=True, eq=False)
class Windows:
    """A window of an image for each row: its first line is position * jump + shift, likewise its first column.

    Args:
        positions: of the neuron that the row began with, [B, R, 2] int64.
        grid: of all such neurons, (lines, columns).
        jump, shift, size: of lines, of columns.
    """

    positions: Tensor
    grid: Shape
    jump: Shape
    shift: Shape
    size: Shape

    def back(self, linear: Convolution) -> "Windows":
        """The windows of a convolution's input that its output's windows depend on."""
        jump = tuple(j * s for j, s in zip(self.jump, linear.stride, strict=True))
        shift = tuple(o * s - p for o, s, p in zip(self.shift, linear.stride, linear.padding, strict=True))
        return replace(self, jump=jump, shift=shift, size=_seen(linear, self.size))

    def union(self, other: "Windows") -> "Windows":
        """The windows around those of two ways to the same rows, of the same jump."""
        shift = tuple(min(a, b) for a, b in zip(self.shift, other.shift, strict=True))
        ends = zip(self.shift, self.size, other.shift, other.size, shift, strict=True)
        return replace(self, shift=shift, size=tuple(max(a + n, b + m) - first for a, n, b, m, first in ends))

    def within(self, other: "Windows") -> Shape:
        """What is missing to the larger other window: columns before and behind, lines before and behind."""
        before = [a - b for a, b in zip(self.shift, other.shift, strict=True)]
        behind = [m - n - b for n, m, b in zip(self.size, other.size, before, strict=True)]
        return before[1], behind[1], before[0], behind[0]

    def margins(self, image: Shape) -> Shape:
        """How far windows hang over an image (lines, columns): columns before and behind, lines before and behind."""
        before = [max(0, -first) for first in self.shift]
        ends = zip(self.grid, self.jump, self.shift, self.size, image, strict=True)
        behind = [max(0, (n - 1) * jump + first + size - length) for n, jump, first, size, length in ends]
        return before[1], behind[1], before[0], behind[0]

    @cached_property
    def lines(self) -> tuple[Tensor, Tensor]:
        """(line of the image [B, R, size], first column [B, R, 1])."""
        columns = self.positions[..., 1:] * self.jump[1] + self.shift[1]
        first = self.positions[..., :1] * self.jump[0] + self.shift[0]
        return first + torch.arange(self.size[0], device=first.device), columns

    def cut(self, field: Tensor) -> Tensor:
        """The windows of images [1 or B, C, H, W], zeros around them: [B, R, lines, columns, C]."""
        channels = field.shape[1]
        margins = self.margins(tuple(field.shape[2:]))
        padded = F.pad(field.permute(0, 2, 3, 1), (0, 0, *margins)).contiguous()
        _, height, width, _ = padded.shape
        lines, columns = self.lines
        start = (lines + margins[2]) * width + (columns + margins[0])
        if len(field) > 1:
            start = start + torch.arange(len(field), device=start.device)[:, None, None] * (height * width)
        places = padded.numel() // channels - self.size[1] + 1
        pieces = padded.as_strided((places, self.size[1] * channels), (channels, 1))  # one from each column on
        return pieces.index_select(0, start.flatten()).reshape(*start.shape, self.size[1], channels)


@dataclass(frozen=True, eq=False)
class Patches:
    """Coefficients on windows of an image.

    Args:
        values: [B, R, S, lines, columns, C].
        windows: of each row.
        image: shape of the value, (C, H, W).
        clean: whether coefficients outside the image are known to be zero; where not, they mean nothing.
    """

    values: Tensor
    windows: Windows
    image: Shape
    clean: bool = False

    def local(self, field: Tensor) -> Tensor:
        """See `Coefficients.local`."""
        return self.windows.cut(field.squeeze(1)).unsqueeze(2)

    def with_values(self, values: Tensor) -> "Patches":
        """See `Coefficients.with_values`."""
        return replace(self, values=values)

    def times(self, values: Tensor) -> "Patches":
        """See `Coefficients.times`."""
        return replace(self, values=values, clean=True)

    def exact(self) -> "Patches":
        """See `Coefficients.exact`."""
        if self.clean or not any(self.windows.margins(self.image[1:])):
            return self
        inside = self.local(self.values.new_ones(1, 1, 1, *self.image[1:]))
        return self.times(self.values * inside)

    def through(self, linear: LinearMap) -> Coefficients:
        """See `Coefficients.through`."""
        if window_before(linear, self.windows.size) is None:
            return self.dense().through(linear)
        if isinstance(linear, Scale):
            return self.times(self.values * self.local(linear.factor.expand(linear.in_shape)[None, None]))
        assert isinstance(linear, Convolution)
        windows = self.windows.back(linear)
        values = linear.spread_patches(self.exact().values.flatten(0, 2), _LARGEST_MATRIX)
        return Patches(values.unflatten(0, self.values.shape[:3]), windows, linear.in_shape)

    def split(self, sizes: Sequence[int], axis: int) -> Sequence[Coefficients]:
        """See `Coefficients.split`."""
        if axis != 0:
            return self.dense().split(sizes, axis)
        parts = self.values.split(list(sizes), -1)
        return [replace(self, values=part, image=(part.shape[-1], *self.image[1:])) for part in parts]

    def dense(self) -> Rows:
        """See `Coefficients.dense`."""
        (channels, height, width), (before, behind, above, below) = self.image, self.windows.margins(self.image[1:])
        lines, columns = self.windows.lines
        columns = columns + torch.arange(self.windows.size[1], device=columns.device) + before
        across = before + width + behind
        places = ((lines + above) * across).unsqueeze(-1) + columns.unsqueeze(-2)  # [B, R, lines, columns]
        padded = self.values.new_zeros(*self.values.shape[:3], (above + height + below) * across, channels)
        places = places.flatten(2)[:, :, None, :, None].expand_as(self.values.flatten(3, 4))
        padded = padded.scatter_(3, places, self.values.flatten(3, 4)).unflatten(3, (-1, across))
        return Rows(padded[:, :, :, above : above + height, before : before + width].movedim(-1, 3).contiguous())


def element_coefficients(linear: LinearMap, elements: Tensor) -> Coefficients | None:
    """Elements of a map's output as coefficients on its input: its rows or kernels; None where it takes a product.

    Args:
        elements: [B, R] int64, of the flattened output.
    """
    if isinstance(linear, Dense) and len(linear.in_shape) == 1:
        return Rows(linear.weight.index_select(0, elements.flatten()).unflatten(0, (*elements.shape, 1)))
    if not isinstance(linear, Convolution) or window_before(linear, (1, 1)) is None:
        return None
    grid = linear.out_shape[1:]
    channel, place = elements // math.prod(grid), elements % math.prod(grid)
    positions = torch.stack([place // grid[1], place % grid[1]], dim=-1)
    windows = Windows(positions, grid, jump=(1, 1), shift=(0, 0), size=(1, 1)).back(linear)
    kernels = linear.kernels.index_select(0, channel.flatten())
    return Patches(kernels.unflatten(0, (*channel.shape, 1)), windows, linear.in_shape)


def against(coefficients: Coefficients, values: Tensor, field: Tensor) -> Tensor:
    """values . field, [B, R, S], values being where the coefficients are; field [1 or B, 1 or R, *shape]."""
    flat, other = values.flatten(3), coefficients.local(field).flatten(3)
    if other.shape[1] > 1:
        return (flat @ other.transpose(2, 3)).squeeze(3)
    if other.shape[0] == 1:
        return flat @ other[0, 0, 0]
    rows: Tensor = torch.bmm(flat.flatten(1, 2), other.squeeze(1).transpose(1, 2)).unflatten(1, flat.shape[1:3])
    return rows.squeeze(3)


def window_before(linear: LinearMap, size: Shape) -> Shape | None:
    """The window of a map's input that one of its output depends on; None where whole values are better."""
    if isinstance(linear, Scale):
        return size
    if not isinstance(linear, Convolution) or len(linear.kernel) != 2:
        return None
    before = _seen(linear, size)
    return before if math.prod(before) <= _LARGEST_SHARE * math.prod(linear.in_shape[1:]) else None


def _seen(linear: Convolution, size: Shape) -> Shape:
    axes = zip(size, linear.stride, linear.dilation, linear.kernel, strict=True)
    return tuple((n - 1) * s + d * (k - 1) + 1 for n, s, d, k in axes)


def coefficients_of_an_element(graph: Graph, start: int) -> int:
    """How many coefficients one element of a node has on its way back, at most, on any node."""
    sizes: dict[int, Shape | None] = {start: (1, 1)}
    most = 1
    for number in range(start, -1, -1):
        if number not in sizes:
            continue
        node, size = graph.nodes[number], sizes[number]
        kept = size is not None and len(node.shape) == 3 and math.prod(size) < math.prod(node.shape[1:])
        if number < start:
            most = max(most, node.shape[0] * math.prod(size) if kept and size else math.prod(node.shape))
        before = _before(node.operation, size) if kept and size else None
        for operand in node.inputs:
            other = sizes.get(operand, before)
            sizes[operand] = None if before is None or other is None else _larger(before, other)
    return most


def _before(operation: object, size: Shape) -> Shape | None:
    match operation:
        case Affine(map=linear):
            return window_before(linear, size)
        case Elementwise() | Add() | Concatenate(axis=0):
            return size
        case _:
            return None


def _larger(a: Shape, b: Shape) -> Shape:
    return tuple(max(n, m) for n, m in zip(a, b, strict=True))


def added(a: Coefficients, b: Coefficients) -> Coefficients:
    """The sum of coefficients of the same rows on the same value."""
    if isinstance(a, Patches) and isinstance(b, Patches) and a.windows.jump == b.windows.jump:
        windows = a.windows.union(b.windows)
        if math.prod(windows.size) <= math.prod(a.image[1:]):
            left, right = (F.pad(x.exact().values, (0, 0, *x.windows.within(windows))) for x in (a, b))
            return Patches(left + right, windows, a.image, clean=True)
    return Rows(a.dense().values + b.dense().values)
