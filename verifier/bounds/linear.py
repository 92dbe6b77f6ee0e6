"""Linear maps of one input, y = W x + b: forwards, forwards with |W|, and backwards."""

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Protocol

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor

from verifier.bounds.spread import phase_kernels, spread_by_phases

Shape = tuple[int, ...]


class LinearMap(Protocol):
    """y = W x for a batch of inputs [B, *in_shape] -> [B, *out_shape]; a bias is a node's own (`graph.Affine`)."""

    @property
    def in_shape(self) -> Shape:
        """Of one input."""
        ...

    @property
    def out_shape(self) -> Shape:
        """Of one output."""
        ...

    @property
    def terms(self) -> int:
        """Products in the longest sum of `forward`; 0 where values are only moved."""
        ...

    @property
    def backward_terms(self) -> int:
        """Products in the longest sum of `backward`; 0 where values are only moved."""
        ...

    def forward(self, x: Tensor) -> Tensor:
        """W x."""
        ...

    def forward_abs(self, x: Tensor) -> Tensor:
        """|W| x."""
        ...

    def forward_squared(self, x: Tensor) -> Tensor:
        """W^2 x, the weights squared one by one."""
        ...

    def backward(self, a: Tensor) -> Tensor:
        """a W for rows [N, *out_shape] -> [N, *in_shape]."""
        ...

    def to(self, device: torch.device, dtype: torch.dtype) -> "LinearMap":
        """The same map with its weights there."""
        ...


@dataclass(frozen=True, eq=False)
class Dense:
    """A matrix on the last axis.

    Args:
        weight: [out, in].
        in_shape: [..., in].
    """

    weight: Tensor
    in_shape: Shape

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return (*self.in_shape[:-1], self.weight.shape[0])

    @property
    def terms(self) -> int:
        """See `LinearMap.terms`."""
        return self.weight.shape[1]

    @property
    def backward_terms(self) -> int:
        """See `LinearMap.backward_terms`."""
        return self.weight.shape[0]

    @cached_property
    def _abs_transposed(self) -> Tensor:
        return self.weight.abs().T.contiguous()

    @cached_property
    def _squared(self) -> Tensor:
        return self.weight.square()

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return x @ self.weight.T

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return x @ self._abs_transposed

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return x @ self._squared.T

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return a @ self.weight

    def scaled(self, factor: Tensor) -> "Dense | None":
        """The map followed by a factor per output, where that is again such a map."""
        if len(self.in_shape) != 1:
            return None
        return replace(self, weight=self.weight * factor.expand(self.out_shape)[:, None])

    def to(self, device: torch.device, dtype: torch.dtype) -> "Dense":
        """See `LinearMap.to`."""
        return replace(self, weight=self.weight.to(device, dtype))


@dataclass(frozen=True, eq=False)
class Convolution:
    """A convolution over one or two axes, zeros outside.

    Args:
        weight: [out channels, in channels / groups, *kernel].
        in_shape: [in channels, *sizes].
        stride, padding, dilation: one number an axis; padding the same on both sides.
        groups: as in torch.
    """

    weight: Tensor
    in_shape: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    groups: int

    @cached_property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        sizes = zip(self.in_shape[1:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        return (self.weight.shape[0], *((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in sizes))

    @property
    def kernel(self) -> Shape:
        """Kernel sizes."""
        return tuple(self.weight.shape[2:])

    @property
    def terms(self) -> int:
        """See `LinearMap.terms`."""
        return math.prod(self.weight.shape[1:])

    @property
    def backward_terms(self) -> int:
        """See `LinearMap.backward_terms`."""
        return self.weight.shape[0] // self.groups * math.prod(self.kernel)

    @cached_property
    def _abs(self) -> Tensor:
        return self.weight.abs()

    @cached_property
    def _squared(self) -> Tensor:
        return self.weight.square()

    def _apply(self, x: Tensor, weight: Tensor) -> Tensor:
        convolve = F.conv2d if len(self.kernel) == 2 else F.conv1d
        return convolve(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return self._apply(x, self.weight)

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self._apply(x, self._abs)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self._apply(x, self._squared)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return self.spread(a, self.padding, self._output_padding)

    @cached_property
    def _output_padding(self) -> Shape:
        """Rows and columns of the input that no window reaches, at the far ends."""
        sizes = zip(
            self.in_shape[1:], self.out_shape[1:], self.kernel, self.stride, self.padding, self.dilation, strict=True
        )
        return tuple(n - ((m - 1) * s - 2 * p + d * (k - 1) + 1) for n, m, k, s, p, d in sizes)

    def spread(self, a: Tensor, padding: Shape, output_padding: Shape) -> Tensor:
        """The transposed convolution of rows [N, out channels, *any sizes]."""
        if self._phases is not None and a.dtype is torch.float32 and a.device.type == "cpu":
            axes = zip(a.shape[2:], self.stride, self.kernel, padding, output_padding, strict=True)
            size = tuple((n - 1) * s + k - 2 * p + more for n, s, k, p, more in axes)
            return spread_by_phases(a, self._phases, self.stride, padding, size)
        transpose = F.conv_transpose2d if len(self.kernel) == 2 else F.conv_transpose1d
        return transpose(
            a,
            self.weight,
            stride=self.stride,
            padding=padding,
            output_padding=output_padding,
            groups=self.groups,
            dilation=self.dilation,
        )

    @cached_property
    def _phases(self) -> Tensor | None:
        """Kernels for `spread_by_phases`; None where it does not apply."""
        plain = len(self.kernel) == 2 and self.groups == 1 and self.dilation == (1, 1)
        return phase_kernels(self.weight, self.stride) if plain else None

    @cached_property
    def kernels(self) -> Tensor:
        """Each output channel's weights where its window lies, [out channels, lines, columns, in channels]."""
        window = (d * (k - 1) + 1 for d, k in zip(self.dilation, self.kernel, strict=True))
        result = self.weight.new_zeros(self.groups, len(self.weight) // self.groups, *window, self.in_shape[0])
        for group, (into, weight) in enumerate(zip(result, self.weight.chunk(self.groups), strict=True)):
            first = group * weight.shape[1]
            inside = into[:, :: self.dilation[0], :: self.dilation[1], first : first + weight.shape[1]]
            inside.copy_(weight.permute(0, 2, 3, 1))
        return result.flatten(0, 1)

    def spread_patches(self, a: Tensor, largest: int) -> Tensor:
        """The transposed convolution of windows, channels last: [N, lines, columns, out] -> [N, lines', columns', in].

        Args:
            largest: elements of a matrix, up to which it is made and used.
        """
        axes = zip(a.shape[1:3], self.stride, self.dilation, self.kernel, strict=True)
        size = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in axes]
        if a[0].numel() * math.prod(size) * self.in_shape[0] <= largest:
            matrix = self._matrix(tuple(a.shape[1:]))
            spread: Tensor = (a.flatten(1) @ matrix).unflatten(1, (*size, self.in_shape[0]))
            return spread
        return self.spread(a.permute(0, 3, 1, 2), (0, 0), (0, 0)).permute(0, 2, 3, 1)

    @cached_property
    def _matrices(self) -> dict[Shape, Tensor]:
        return {}

    def _matrix(self, window: Shape) -> Tensor:
        """What `spread` does to windows of a size, written out, [elements of a window, elements of a result]."""
        if window not in self._matrices:
            units = torch.eye(math.prod(window), dtype=self.weight.dtype, device=self.weight.device)
            spread = self.spread(units.unflatten(1, window).permute(0, 3, 1, 2), (0, 0), (0, 0))
            self._matrices[window] = spread.permute(0, 2, 3, 1).flatten(1).contiguous()
        return self._matrices[window]

    def scaled(self, factor: Tensor) -> "Convolution | None":
        """The map followed by a factor per output, where that is again such a map."""
        if any(size != 1 for size in factor.shape[-len(self.kernel) :]) or factor.dim() < len(self.in_shape):
            return None if factor.numel() != 1 else replace(self, weight=self.weight * factor.reshape(()))
        per_channel = factor.reshape(-1).expand(self.out_shape[0])
        return replace(self, weight=self.weight * per_channel.reshape(-1, *[1] * (self.weight.dim() - 1)))

    def to(self, device: torch.device, dtype: torch.dtype) -> "Convolution":
        """See `LinearMap.to`."""
        return replace(self, weight=self.weight.to(device, dtype))


@dataclass(frozen=True, eq=False)
class Transposed:
    """The transpose of a convolution: torch's conv_transpose.

    Args:
        map: maps this one's output to its input.
    """

    map: Convolution

    @property
    def in_shape(self) -> Shape:
        """See `LinearMap`."""
        return self.map.out_shape

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return self.map.in_shape

    @property
    def terms(self) -> int:
        """See `LinearMap.terms`."""
        return self.map.backward_terms

    @property
    def backward_terms(self) -> int:
        """See `LinearMap.backward_terms`."""
        return self.map.terms

    @cached_property
    def _abs(self) -> Convolution:
        return replace(self.map, weight=self.map.weight.abs())

    @cached_property
    def _squared(self) -> Convolution:
        return replace(self.map, weight=self.map.weight.square())

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return self.map.backward(x)

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return self._abs.backward(x)

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return self._squared.backward(x)

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return self.map.forward(a)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Transposed":
        """See `LinearMap.to`."""
        return replace(self, map=self.map.to(device, dtype))


@dataclass(frozen=True, eq=False)
class Scale:
    """A factor per element.

    Args:
        factor: broadcasts against [*in_shape], without a batch axis.
        in_shape: of one input.
    """

    factor: Tensor
    in_shape: Shape
    terms: int = field(default=1, init=False)
    backward_terms: int = field(default=1, init=False)

    @property
    def out_shape(self) -> Shape:
        """See `LinearMap`."""
        return self.in_shape

    @cached_property
    def _abs(self) -> Tensor:
        return self.factor.abs()

    def forward(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward`."""
        return x * self.factor

    def forward_abs(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_abs`."""
        return x * self._abs

    def forward_squared(self, x: Tensor) -> Tensor:
        """See `LinearMap.forward_squared`."""
        return x * self.factor.square()

    def backward(self, a: Tensor) -> Tensor:
        """See `LinearMap.backward`."""
        return a * self.factor

    def scaled(self, factor: Tensor) -> "Scale | None":
        """The map followed by a factor per output."""
        return replace(self, factor=self.factor * factor)

    def to(self, device: torch.device, dtype: torch.dtype) -> "Scale":
        """See `LinearMap.to`."""
        return replace(self, factor=self.factor.to(device, dtype))
