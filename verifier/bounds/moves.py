"""Linear maps without weights: values moved, and sums of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from torch import Tensor

from verifier.bounds.linear import Shape


@dataclass(frozen=True)
class Total:
    """The sum over some axes, which stay with size 1.

    Args:
        in_shape: of one input.
        axes: of one input, from 0, ascending.
    """

    in_shape: Shape
    axes: Shape
    backward_terms: int = field(default=0, init=False)

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return tuple(1 if axis in self.axes else size for axis, size in enumerate(self.in_shape))

    @property
    def terms(self) -> int:
        """See `LinearMap.terms`."""
        return math.prod(self.in_shape[axis] for axis in self.axes)

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return x.sum([axis + 1 for axis in self.axes], keepdim=True)

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self.forward(x)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self.forward(x)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return a.expand(-1, *self.in_shape)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Total":  # noqa: ARG002 - it has no weights
        """See `LinearMap.to`."""
        return self


@dataclass(frozen=True)
class View:
    """The same values in another shape.

    Args:
        in_shape, out_shape: of one input, as many elements.
    """

    in_shape: Shape
    out_shape: Shape
    terms: int = field(default=0, init=False)
    backward_terms: int = field(default=0, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return x.reshape(-1, *self.out_shape)

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self.forward(x)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self.forward(x)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return a.reshape(-1, *self.in_shape)

    def to(self, device: torch.device, dtype: torch.dtype) -> "View":  # noqa: ARG002 - it has no weights
        """See `LinearMap.to`."""
        return self


@dataclass(frozen=True)
class Permutation:
    """The axes in another order.

    Args:
        in_shape: of one input.
        axes: of one input, from 0: out axis k is in axis axes[k].
    """

    in_shape: Shape
    axes: Shape
    terms: int = field(default=0, init=False)
    backward_terms: int = field(default=0, init=False)

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return tuple(self.in_shape[axis] for axis in self.axes)

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return x.permute(0, *(axis + 1 for axis in self.axes))

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self.forward(x)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self.forward(x)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return a.permute(0, *(axis + 1 for axis in inverse))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Permutation":  # noqa: ARG002 - it has no weights
        """See `LinearMap.to`."""
        return self


@dataclass(frozen=True, eq=False)
class Selection:
    """Each element of the output is one of the input, or zero: slices, padding, repetition, gathering.

    Args:
        in_shape: of one input.
        positions: [*out_shape] int64, of the flattened input; -1 is zero.
    """

    in_shape: Shape
    positions: Tensor
    terms: int = field(default=0, init=False)

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return tuple(self.positions.shape)

    @cached_property
    def backward_terms(self) -> int:
        """See `LinearMap.backward_terms`."""
        used = self._flat[self._flat >= 0]
        most = int(used.bincount().max()) if len(used) else 0
        return most if most > 1 else 0

    @cached_property
    def _flat(self) -> Tensor:
        return self.positions.reshape(-1)

    @cached_property
    def _zero(self) -> Tensor | None:
        zero = self._flat < 0
        return zero if bool(zero.any()) else None

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        y = x.reshape(len(x), -1)[:, self._flat.clamp(min=0)]
        if self._zero is not None:
            y = y.masked_fill(self._zero, 0.0)
        return y.reshape(-1, *self.out_shape)

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self.forward(x)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self.forward(x)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        flat = a.reshape(len(a), -1)
        if self._zero is not None:
            flat = flat.masked_fill(self._zero, 0.0)
        back = flat.new_zeros(len(a), math.prod(self.in_shape))
        return back.index_add(1, self._flat.clamp(min=0), flat).reshape(-1, *self.in_shape)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Selection":  # noqa: ARG002 - it has no weights
        """See `LinearMap.to`."""
        return replace(self, positions=self.positions.to(device))


def positions(shape: Sequence[int]) -> Tensor:
    """Each element's own position [1, *shape]: what a function that only moves values does to it, it does to any."""
    return torch.arange(math.prod(shape)).reshape(1, *shape)
