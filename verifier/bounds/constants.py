"""Constants that a network computes from its weights: over the reals, with what storing them in float64 has rounded.

What is stored after r roundings, of a true value whose parts have the sizes m, misses it by at most r u m, u = 2^-53.
Every operation here is done in float64, whatever the network does it in; others are not done.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

aten = torch.ops.aten

LEAST, MOST = 2.0**-900, 2.0**900
"""Sizes that folding keeps to: beyond them, underflow and overflow make errors that are not relative."""

_MOST_ROUNDINGS = 2**24
"""Of one constant; beyond, it is mostly cancellation, and its bounds are of no use."""


class Inexact(ValueError):
    """A constant's roundings cannot be bounded; the message completes "the operation ..."."""


@dataclass(frozen=True, eq=False)
class Constant:
    """Real numbers within roundings * 2^-53 * magnitude of the stored ones.

    Args:
        value: float64.
        magnitude: >= |value|, of the same shape.
        roundings: 0 where the stored numbers are meant.
    """

    value: Tensor
    magnitude: Tensor
    roundings: int

    def __post_init__(self) -> None:
        sizes = self.magnitude[self.magnitude != 0]
        if not bool(self.magnitude.isfinite().all()) or not bool(self.value.isfinite().all()):
            raise Inexact("has a constant that is NaN or infinite")
        if self.roundings and bool((sizes < LEAST).any() | (sizes > MOST).any()):
            raise Inexact("computes a constant so large or small that its rounding has no bound")

    def relative(self) -> int:
        """Roundings relative to the values themselves.

        Raises:
            Inexact: a value that may be nothing but rounding.
        """
        if self.roundings == 0:
            return 0
        size = self.value.abs()
        ratio = torch.where(self.magnitude == 0, 1.0, self.magnitude / size).max() if size.numel() else torch.ones(())
        needed = float(ratio) * self.roundings * (1 + 2**-20)
        if not needed <= _MOST_ROUNDINGS:
            raise Inexact("computes a constant in which almost everything cancels: store its value as a buffer")
        return math.ceil(needed) + 1

    def moved(self, move: Callable[[Tensor], Tensor]) -> "Constant":
        """The same numbers elsewhere."""
        return Constant(move(self.value), move(self.magnitude), self.roundings)

    def reshaped(self, shape: Sequence[int]) -> "Constant":
        """The same numbers in another shape."""
        return self.moved(lambda tensor: tensor.reshape(*shape))


def lifted(value: Any) -> Constant:
    """A tensor or a number as it stands.

    Raises:
        Inexact: whole numbers beyond 2^53.
    """
    if isinstance(value, Constant):
        return value
    tensor = torch.as_tensor(value) if isinstance(value, Tensor) else torch.tensor(value, dtype=torch.float64)
    numbers = tensor.detach().to("cpu", torch.float64)
    if not tensor.is_floating_point() and tensor.numel() and float(numbers.abs().max()) > 2**53:
        raise Inexact("has whole numbers beyond 2^53")
    return Constant(numbers, numbers.abs(), 0)


def rounded(value: Tensor, roundings: int) -> Constant:
    """Numbers that so many roundings were made on, each relative to the result."""
    return Constant(value, value.abs(), roundings)


def fold(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """An operation on constants: a tensor or number that is exact, or a `Constant`.

    Raises:
        Inexact: an operation whose rounding is not counted here.
    """
    packet = getattr(target, "overloadpacket", target)
    everything = [*_leaves(args), *_leaves(list(kwargs.values()))]
    tracked = any(isinstance(value, Constant) for value in everything)
    floats = any(isinstance(value, float) or _is_float(value) for value in everything)
    if packet in _CONVERSIONS:
        return _converted(args, kwargs)
    if packet in _MOVES or (packet in _SELECTIONS and not tracked):
        return _moved(target, args, kwargs, tracked)
    if packet in _ARITHMETIC and (tracked or floats or packet in _QUOTIENTS):
        return _plain(_ARITHMETIC[packet](*args, **kwargs))
    result = None if tracked else target(*args, **kwargs)
    from_numbers = not any(isinstance(value, Tensor) for value in everything)
    if tracked or (_is_float(result) and not from_numbers):
        raise Inexact("computes a constant with a rounding that is not counted: store its result as a buffer")
    return result


def _is_float(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


def _plain(constant: Constant) -> "Constant | Tensor":
    return constant if constant.roundings else constant.value


def _leaves(value: Any) -> list[Any]:
    return [inner for item in value for inner in _leaves(item)] if isinstance(value, list | tuple) else [value]


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, list | tuple):
        return [_mapped(item, function) for item in value]
    return function(value)


def _moved(target: Any, args: Sequence[Any], kwargs: Mapping[str, Any], tracked: bool) -> Any:
    """The values moved, and their magnitudes in the same way."""
    if not tracked:
        return target(*_mapped(args, _doubled), **kwargs)
    parts = [value for value in _leaves(args) if isinstance(value, Constant)]
    values = target(*_mapped(args, lambda value: value.value if isinstance(value, Constant) else _doubled(value)))
    sizes = target(*_mapped(args, lambda value: value.magnitude if isinstance(value, Constant) else _size(value)))
    roundings = max(part.roundings for part in parts)
    if isinstance(values, list | tuple):
        return [Constant(value, size, roundings) for value, size in zip(values, sizes, strict=True)]
    return Constant(values, sizes, roundings)


def _doubled(value: Any) -> Any:
    return value.double() if _is_float(value) else value


def _size(value: Any) -> Any:
    return value.double().abs() if _is_float(value) else value


def _converted(args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """To another datatype: over the reals nothing changes."""
    wanted = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.dtype)]
    source = args[0]
    if wanted and wanted[0] not in (torch.float32, torch.float64):
        if isinstance(source, Tensor) and not source.is_floating_point() and not wanted[0].is_floating_point:
            return source.to(wanted[0])
        raise Inexact(f"rounds to {wanted[0]}")
    return source if isinstance(source, Constant) or not wanted else source.double()


def product(x: Any, y: Any) -> Constant:
    """x y."""
    a, b = lifted(x), lifted(y)
    value = a.value * b.value
    if a.roundings == b.roundings == 0 and _is_short(a.value) and _is_short(b.value):
        return Constant(value, value.abs(), 0)  # 24 + 24 bits fit into 53
    return Constant(value, a.magnitude * b.magnitude, a.roundings + b.roundings + 2)


def _is_short(value: Tensor) -> bool:
    """Whether float32 holds all the numbers."""
    return bool((value.float().double() == value).all())


def quotient(x: Any, y: Any, rounding_mode: str | None = None) -> Constant:
    """x / y."""
    if rounding_mode:
        raise Inexact("rounds its quotient")
    a, b = lifted(x), lifted(y)
    if bool((b.value == 0).any()):
        raise Inexact("divides by zero")
    value = a.value / b.value
    if (
        a.roundings == b.roundings == 0
        and _is_short(value)
        and _is_short(b.value)
        and bool((value * b.value == a.value).all())
    ):
        return Constant(value, value.abs(), 0)
    return Constant(value, a.magnitude / b.value.abs(), a.roundings + b.relative() + 3)


def total_of(x: Any, y: Any, alpha: float = 1, sign: int = 1) -> Constant:
    """x + sign alpha y."""
    a, b = lifted(x), lifted(y) if alpha == 1 else product(y, alpha)
    value, error = _sum_and_error(a.value, sign * b.value)
    if a.roundings == b.roundings == 0 and not bool(error.any()):
        return Constant(value, value.abs(), 0)
    magnitude = (a.magnitude + b.magnitude) * (1 + 2**-50)
    return Constant(value, magnitude, max(a.roundings, b.roundings) + 2)


def _sum_and_error(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """fl(x + y), and x + y less that, exactly (Knuth's two-sum)."""
    total = x + y
    part = total - x
    return total, (x - (total - part)) + (y - part)


def difference(x: Any, y: Any, alpha: float = 1) -> Constant:
    """x - alpha y."""
    return total_of(x, y, alpha, -1)


def _total(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Constant:
    if dtype not in (None, torch.float32, torch.float64):
        raise Inexact(f"rounds to {dtype}")
    a = lifted(x)
    axes = list(range(a.value.dim())) if dim is None or dim == [] else dim
    value, magnitude = a.value.sum(axes, keepdim=keepdim), a.magnitude.sum(axes, keepdim=keepdim)
    terms = a.value.numel() // max(1, value.numel())
    return Constant(value, magnitude * (1 + terms * 2**-50), a.roundings + terms + 2)


def _mean(x: Any, dim: Any = None, keepdim: bool = False, *, dtype: Any = None) -> Constant:
    total = _total(x, dim, keepdim, dtype=dtype)
    return quotient(total, float(lifted(x).value.numel() // max(1, total.value.numel())))


def root(x: Any) -> Constant:
    """The square root."""
    a = lifted(x)
    if bool((a.value < 0).any()):
        raise Inexact("takes the square root of a negative number")
    root = a.value.sqrt()
    return Constant(root, root, a.relative() + 2)


def _power(x: Any, exponent: Any) -> Constant:
    powers: dict[float, Callable[[Any], Constant]] = {
        1.0: lifted,
        2.0: lambda y: product(y, y),
        0.5: root,
        -0.5: lambda y: quotient(1.0, root(y)),
        -1.0: lambda y: quotient(1.0, y),
    }
    if isinstance(exponent, Tensor | Constant) or float(exponent) not in powers:
        raise Inexact("has a power of a constant whose rounding is not counted: store its result as a buffer")
    return powers[float(exponent)](x)


def _weight_norm(v: Any, g: Any, dim: int = 0) -> Constant:
    """g v / ||v||, the norm over all axes but one."""
    axes = [axis for axis in range(lifted(v).value.dim()) if axis != dim]
    return product(v, quotient(g, root(_total(product(v, v), axes, keepdim=True))))


_CONVERSIONS = {aten.to, aten._to_copy, aten.type_as}
_MOVES = {
    *(aten.view, aten.reshape, aten.flatten, aten.unflatten, aten.squeeze, aten.unsqueeze, aten.permute),
    *(aten.transpose, aten.t, aten.numpy_T, aten.mT, aten.expand, aten.expand_as, aten.repeat, aten.slice, aten.select),
    *(aten.narrow, aten.cat, aten.concat, aten.stack, aten.split, aten.split_with_sizes, aten.chunk, aten.unbind),
    *(aten.index_select, aten.flip, aten.clone, aten.contiguous, aten.detach, aten.detach_, aten.alias),
    *(aten.lift_fresh_copy, aten.lift_fresh, operator.getitem),
}
_SELECTIONS = {aten.relu, aten.abs, aten.neg, aten.maximum, aten.minimum, aten.sign, aten.amax, aten.amin, aten.where}
"""Results are operands, 0, or +-1: exact on exact numbers."""

_ARITHMETIC: dict[Any, Callable[..., Constant]] = {
    aten.add: total_of,
    aten.sub: difference,
    aten.rsub: lambda x, y, alpha=1: difference(y, x, alpha),
    aten.mul: product,
    aten.div: quotient,
    aten.true_divide: quotient,
    aten.reciprocal: lambda x: quotient(1.0, x),
    aten.neg: lambda x: product(x, -1.0),
    aten.sqrt: root,
    aten.rsqrt: lambda x: quotient(1.0, root(x)),
    aten.square: lambda x: product(x, x),
    aten.pow: _power,
    aten.sum: _total,
    aten.mean: _mean,
    aten._weight_norm: _weight_norm,
}
_QUOTIENTS = {aten.div, aten.true_divide, aten.reciprocal, aten.sqrt, aten.rsqrt, aten.mean}
"""Of whole numbers, too, they round."""
