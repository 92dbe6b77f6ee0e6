"""ATen's operations that move values: shapes, slices, padding, concatenation."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor

from verifier.bounds import constants
from verifier.bounds.graph import Concatenate
from verifier.bounds.linear import Shape
from verifier.bounds.moves import Permutation, Selection, positions
from verifier.bounds.tracer import Arguments, Handler, LowPadded, Tracer, Value, Variable


def axes_of(dims: Any, rank: int, t: Tracer) -> Shape:
    """Axes of one input's value from an operation's dims, ascending; the batch axis is refused."""
    numbers = dims if isinstance(dims, list | tuple) else [dims]
    axes = sorted((dim % (rank + 1)) - 1 for dim in numbers)
    if not axes or axes[0] < 0:
        raise t.refuse("works across the batch")
    return tuple(axes)


def broadcast_to_output(t: Tracer, x: Value) -> Variable:
    """A variable of the operation's own shape."""
    if not isinstance(x, Variable):
        return t.constant(t.per_input(x, len(t.out_shape)).moved(lambda tensor: tensor.expand(t.out_shape)))
    if len(t.shape(x)) != len(t.out_shape):
        raise t.refuse("broadcasts values of different numbers of axes: their batch axes would not meet")
    return t.expand(x, t.out_shape)


def concatenation(t: Tracer, a: Arguments) -> Variable:
    """Along an axis; constants join as affine values."""
    (axis,) = axes_of(a.get("dim", 0), len(t.out_shape), t)
    branches = _branches(t, a["tensors"], len(t.out_shape))
    return t.join(Concatenate(axis, tuple(t.shape(x)[axis] for x in branches)), branches, t.out_shape)


def _branches(t: Tracer, values: Sequence[Value], rank: int) -> list[Variable]:
    return [value if isinstance(value, Variable) else t.constant(t.per_input(value, rank)) for value in values]


def stacked(t: Tracer, a: Arguments) -> Variable:
    """Along a new axis."""
    (axis,) = axes_of(a.get("dim", 0), len(t.out_shape), t)
    thin = (*t.out_shape[:axis], 1, *t.out_shape[axis + 1 :])
    parts = [t.view(x, thin) for x in _branches(t, a["tensors"], len(t.out_shape) - 1)]
    return t.join(Concatenate(axis, (1,) * len(parts)), parts, t.out_shape)


def reshape(t: Tracer, a: Arguments) -> Variable:
    """Whatever keeps the order of the elements."""
    return t.view(a["self"] if "self" in a else a["input"], t.out_shape)


def permutation(t: Tracer, a: Arguments) -> Variable:
    """Of axes, the batch axis first."""
    x = a["self"]
    rank = len(t.shape(x)) + 1
    dims = [dim % rank for dim in a["dims"]]
    if dims[0] != 0:
        raise t.refuse("moves the batch axis")
    return t.affine(x, Permutation(t.shape(x), tuple(dim - 1 for dim in dims[1:])))


def transposition(t: Tracer, a: Arguments) -> Variable:
    """Of two axes."""
    rank = len(t.shape(a["self"])) + 1
    dims = list(range(rank))
    first, second = a["dim0"] % rank, a["dim1"] % rank
    dims[first], dims[second] = second, first
    return permutation(t, {"self": a["self"], "dims": dims})


def moved(t: Tracer, x: Variable, moving: Callable[[Tensor], Tensor], low: bool = False) -> Any:
    """A function that only moves, repeats and drops elements, or brings in zeros, seen on their positions."""
    moved = moving(positions(t.shape(x)).double() + 1)
    if moved.shape[0] != 1:
        raise t.refuse("works across the batch")
    numbers = moved[0].long() - 1
    return LowPadded(x, numbers) if low else t.affine(x, Selection(t.shape(x), numbers.contiguous()))


def movement(target: Callable[..., Tensor], first: str = "self") -> Handler:
    """Handler of a function that only moves elements of its first argument."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        rank = len(t.shape(a[first]))
        for name in ("dim", "dims", "dimension"):
            if name in a and not _is_whole_batch(a):
                axes_of(a[name], rank, t)
        others = {name: value for name, value in a.items() if name != first}
        x: Variable = moved(t, a[first], lambda numbers: target(numbers, **others))
        if t.shape(x) != t.out_shape:
            raise t.refuse("works across the batch")
        return x

    return handle


def _is_whole_batch(a: Arguments) -> bool:
    """Whether it is the slice of everything."""
    if a.get("dim") != 0 or "end" not in a:
        return False
    return not a["start"] and a["step"] == 1 and (a["end"] is None or a["end"] >= 2**62)


def gathered(t: Tracer, a: Arguments) -> Variable:
    """By constant indices, the same for all inputs."""
    x, index = a["self"], a["index"]
    axes_of(a["dim"], len(t.shape(x)), t)
    if not isinstance(index, Tensor) or not bool((index == index[:1]).all()):
        raise t.refuse("takes elements at places that depend on the input, or differ over the batch")
    result: Variable = moved(t, x, lambda numbers: numbers.gather(a["dim"], index[:1]))
    return result


def expansion(t: Tracer, a: Arguments) -> Variable:
    """To the shape of the output."""
    return broadcast_to_output(t, a["self"])


def repetition(t: Tracer, a: Arguments) -> Variable:
    """Of whole inputs."""
    repeats = a["repeats"] if "repeats" in a else a["dims"]
    if len(repeats) != len(t.shape(a["self"])) + 1 or repeats[0] != 1:
        raise t.refuse("works across the batch")
    repeated: Variable = moved(t, a["self"], lambda numbers: numbers.repeat(repeats))
    return repeated


def padded_with(t: Tracer, a: Arguments) -> Value:
    """By a number, by minus infinity for max pooling, or by reflection."""
    x, sides, value, mode = a["self"], list(a["pad"]), a.get("value") or 0.0, a.get("mode", "constant")
    if len(sides) > 2 * len(t.shape(x)):
        raise t.refuse("works across the batch")
    if mode != "constant":
        return moved(t, x, lambda numbers: F.pad(numbers, sides, mode=mode))
    if value == -math.inf:
        return moved(t, x, lambda numbers: F.pad(numbers, sides), low=True)
    padded: Variable = moved(t, x, lambda numbers: F.pad(numbers, sides))
    if value == 0:
        return padded
    if not math.isfinite(value):
        raise t.refuse(f"pads with {value}")
    border = F.pad(torch.zeros(t.shape(x), dtype=torch.float64), sides, value=value)
    return t.scale(padded, constants.lifted(1.0), constants.lifted(border))


def pieces_of(t: Tracer, a: Arguments) -> list[Variable]:
    """split, chunk, unbind: several values, each moved from the one."""
    x = a["self"]
    rank = len(t.shape(x)) + 1
    if a.get("dim", 0) % rank == 0:
        raise t.refuse("works across the batch")
    numbers = positions(t.shape(x))
    functions: dict[str, Callable[..., Sequence[Tensor]]] = {"aten.unbind": torch.unbind, "aten.chunk": torch.chunk}
    function = functions.get(t.operation, torch.split)
    arguments = [a[name] for name in ("split_size", "split_sizes", "chunks") if name in a]
    pieces = function(numbers, *arguments, dim=a["dim"])
    return [t.affine(x, Selection(t.shape(x), piece[0].contiguous())) for piece in pieces]


def indexed(t: Tracer, a: Arguments) -> Variable:
    """By constant indices, the batch axis whole."""
    indices = a["indices"]
    if indices[0] is not None or not all(index is None or isinstance(index, Tensor) for index in indices):
        raise t.refuse("takes elements across the batch, or at places that depend on the input")
    places = tuple(slice(None) if index is None else index for index in indices)
    x: Variable = moved(t, a["self"], lambda numbers: numbers[places])
    if t.shape(x) != t.out_shape:
        raise t.refuse("takes elements across the batch")
    return x
