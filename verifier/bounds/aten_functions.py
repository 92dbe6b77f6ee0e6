"""ATen's sums, products, extrema, norms and functions of one element."""

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor

from verifier.bounds import activations, constants
from verifier.bounds.activation import Activation
from verifier.bounds.aten_linear import batch_norm, far_sides, window_sizes
from verifier.bounds.aten_shapes import axes_of, broadcast_to_output
from verifier.bounds.graph import Add, Affine, Concatenate, Elementwise, Maximum, Product
from verifier.bounds.linear import Scale, Shape
from verifier.bounds.moves import Total, positions
from verifier.bounds.tracer import Arguments, Handler, LowPadded, Tracer, Value, Variable


def max_pool(t: Tracer, a: Arguments) -> Variable:
    """Max pooling; positions of padding are left out."""
    x = a["self"]
    source, numbers = (x.x, x.positions) if isinstance(x, LowPadded) else (x, positions(t.shape(x))[0])
    kernel, stride, padding, dilation = window_sizes(t, source, a)
    reach = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    sides = far_sides(tuple(numbers.shape), t.out_shape, reach, stride, padding)
    windows = F.pad(numbers, sides, value=-1)
    for axis, (size, step) in enumerate(zip(reach, stride, strict=True)):
        windows = windows.unfold(axis + 1, size, step)
    for axis, step in enumerate(dilation):
        windows = windows.index_select(1 + len(kernel) + axis, torch.arange(0, reach[axis], step))
    return _maximum(t, source, windows.flatten(start_dim=1 + len(kernel)))


def adaptive_max_pool(t: Tracer, a: Arguments) -> Variable:
    """Max pooling over windows of about one size."""
    x = a["self"]
    windows = positions(t.shape(x))[0]
    for axis, (size, out) in enumerate(zip(t.shape(x)[1:], t.out_shape[1:], strict=True)):
        windows = _adaptive_windows(windows, axis + 1, size, out)
    return _maximum(t, x, windows.flatten(start_dim=len(t.out_shape)))


def _adaptive_windows(numbers: Tensor, axis: int, size: int, out: int) -> Tensor:
    """An axis cut into windows, whose elements come last; -1 where a window is shorter than others."""
    starts, ends = [i * size // out for i in range(out)], [-(-(i + 1) * size // out) for i in range(out)]
    longest = max(end - start for start, end in zip(starts, ends, strict=True))
    places = torch.tensor(starts)[:, None] + torch.arange(longest)
    inside = places < torch.tensor(ends)[:, None]
    last = numbers.movedim(axis, -1)[..., places.clamp(max=size - 1)]
    return torch.where(inside, last, -1).movedim(-2, axis)


def _maximum(t: Tracer, x: Variable, windows: Tensor) -> Variable:
    """The largest of the elements at [*out_shape, k] positions; one that is there comes first."""
    ordered = windows.sort(dim=-1, descending=True).values.contiguous()
    if bool((ordered[..., 0] < 0).any()):
        raise t.refuse("has a window of padding alone")
    return t.join(Maximum(ordered), [x], tuple(ordered.shape[:-1]))


def extremum_along(sign: int) -> Handler:
    """amax (+1), amin (-1) along axes."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        x = a["self"] if sign > 0 else negation(t, a["self"])
        shape = t.shape(x)
        axes = axes_of(a["dim"], len(shape), t)
        kept = [axis for axis in range(len(shape)) if axis not in axes]
        windows = positions(shape)[0].permute(*kept, *axes).flatten(start_dim=len(kept))
        out = tuple(1 if axis in axes else size for axis, size in enumerate(shape))
        out = out if a["keepdim"] else tuple(shape[axis] for axis in kept)
        largest = t.view(_maximum(t, x, windows), out)
        return largest if sign > 0 else negation(t, largest)

    return handle


def negation(t: Tracer, x: Variable) -> Variable:
    """-x."""
    return t.scale(x, constants.lifted(-1.0))


def addition(sign: int) -> Handler:
    """x + alpha y, or x - alpha y; either may be a constant."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        x, y, factor = a["self"], a["other"], sign * a.get("alpha", 1)
        if isinstance(x, Variable) and isinstance(y, Variable):
            if abs(factor) != 1:
                y = t.scale(y, constants.lifted(float(factor)))
            signs = (1, factor if abs(factor) == 1 else 1)
            return t.join(Add(signs), [broadcast_to_output(t, x), broadcast_to_output(t, y)], t.out_shape)
        if isinstance(x, Variable):
            shift = constants.product(t.per_input(y, len(t.out_shape)), float(factor))
            return t.scale(broadcast_to_output(t, x), constants.lifted(1.0), shift)
        shift = t.per_input(x, len(t.out_shape))
        return t.scale(broadcast_to_output(t, y), constants.lifted(float(factor)), shift)

    return handle


def reversed_subtraction(t: Tracer, a: Arguments) -> Variable:
    """other - alpha self."""
    result: Variable = addition(-1)(t, {"self": a["other"], "other": a["self"], "alpha": a.get("alpha", 1)})
    return result


def multiplication(t: Tracer, a: Arguments) -> Variable:
    """By a constant, or of two branches."""
    x, y = a["self"], a["other"]
    if isinstance(x, Variable) and isinstance(y, Variable):
        return t.elementwise(x, activations.square()) if x == y else _product(t, x, y)
    variable, factor = (x, y) if isinstance(x, Variable) else (y, x)
    return t.scale(broadcast_to_output(t, variable), t.per_input(factor, len(t.out_shape)))


def _product(t: Tracer, x: Variable, y: Variable) -> Variable:
    return t.join(Product(), [broadcast_to_output(t, x), broadcast_to_output(t, y)], t.out_shape)


def division(t: Tracer, a: Arguments) -> Variable:
    """By a constant, or by a branch: its reciprocal."""
    x, y = a["self"], a["other"]
    if a.get("rounding_mode"):
        raise t.refuse("rounds its quotient")
    if isinstance(y, Variable):
        if isinstance(x, Variable) and _is_one_plus_size(t, x, y):
            return t.elementwise(x, activations.softsign())
        inverse = t.elementwise(y, activations.reciprocal())
        return multiplication(t, {"self": x, "other": inverse})
    return t.scale(broadcast_to_output(t, x), constants.quotient(1.0, t.per_input(y, len(t.out_shape))))


def _is_one_plus_size(t: Tracer, x: Variable, y: Variable) -> bool:
    """Whether y is 1 + |x|."""
    shift = t.node(y)
    if not (isinstance(shift.operation, Affine) and isinstance(shift.operation.map, Scale)):
        return False
    size, one, bias = t.node(Variable(shift.inputs[0])), torch.ones(()), shift.operation.bias
    return (
        isinstance(size.operation, Elementwise)
        and size.operation.activation.name == "abs"
        and size.inputs == (x.node,)
        and bool((shift.operation.map.factor == one).all())
        and bias is not None
        and bool((bias == one).all())
    )


def power_of(t: Tracer, a: Arguments) -> Variable:
    """x to a whole power, 1/2 or -1."""
    x, exponent = a["self"], a["exponent"]
    if not isinstance(x, Variable) or isinstance(exponent, Variable):
        raise t.refuse("has bounds for a constant exponent only")
    number = float(exponent)
    if number == 1:
        return x
    if number == 0.5:
        return t.elementwise(x, activations.sqrt())
    if number == -1:
        return t.elementwise(x, activations.reciprocal())
    if number == 2:
        return t.elementwise(x, activations.square())
    if number >= 3 and number == int(number):
        return t.elementwise(x, activations.power(int(number)))
    raise t.refuse(f"has bounds for exponents -1, 0.5, 1, 2, 3, ..., got {number:g}")


def extremum_of(sign: int) -> Handler:
    """The larger, or the smaller, of two values, element by element."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        x, y = a["self"], a["other"]
        pair = [
            broadcast_to_output(t, value) if sign > 0 else negation(t, broadcast_to_output(t, value))
            for value in (x, y)
        ]
        elements = math.prod(t.out_shape)
        flat = [t.view(value, (elements,)) for value in pair]
        both = t.join(Concatenate(0, (elements, elements)), flat, (2 * elements,))
        first = torch.arange(elements).reshape(t.out_shape)
        largest = t.join(Maximum(torch.stack([first, first + elements], dim=-1)), [both], t.out_shape)
        return largest if sign > 0 else negation(t, largest)

    return handle


def sum_of(t: Tracer, a: Arguments) -> Variable:
    """Over axes."""
    x = a["self"]
    if not a.get("dim"):
        raise t.refuse("works across the batch")
    total = t.affine(x, Total(t.shape(x), axes_of(a["dim"], len(t.shape(x)), t)))
    return t.view(total, t.out_shape)


def mean_of(t: Tracer, a: Arguments) -> Variable:
    """Over axes."""
    if not a.get("dim"):
        raise t.refuse("works across the batch")
    axes = axes_of(a["dim"], len(t.shape(a["self"])), t)
    return t.view(_mean_over(t, a["self"], axes), t.out_shape)


def _mean_over(t: Tracer, x: Variable, axes: Shape) -> Variable:
    total = Total(t.shape(x), axes)
    return t.scale(t.affine(x, total), constants.quotient(1.0, float(total.terms)))


def _normalised(t: Tracer, x: Variable, axes: Shape, eps: float) -> Variable:
    """(x - mean) / sqrt(variance + eps) over some axes of each input."""
    shape = t.shape(x)
    mean = t.expand(_mean_over(t, x, axes), shape)
    centred = t.join(Add((1, -1)), [x, mean], shape)
    variance = _mean_over(t, t.elementwise(centred, activations.square()), axes)
    shifted = t.scale(variance, constants.lifted(1.0), constants.lifted(float(eps)))
    inverse = t.elementwise(t.elementwise(shifted, activations.sqrt()), activations.reciprocal())
    return t.join(Product(), [centred, t.expand(inverse, shape)], shape)


def _with_weights(t: Tracer, x: Variable, weight: Value, bias: Value, shape: Shape) -> Variable:
    if weight is None and bias is None:
        return x
    factor = constants.lifted(1.0) if weight is None else constants.lifted(weight).reshaped(shape)
    return t.scale(x, factor, t.bias(bias, shape))


def layer_norm(t: Tracer, a: Arguments) -> Variable:
    """By the statistics of each input."""
    x, last = a["input"], len(a["normalized_shape"])
    rank = len(t.shape(x))
    result = _normalised(t, x, tuple(range(rank - last, rank)), a["eps"])
    return _with_weights(t, result, a["weight"], a["bias"], tuple(a["normalized_shape"]))


def instance_norm(t: Tracer, a: Arguments) -> Variable:
    """By the statistics of each input and channel, or by running ones."""
    if not a["use_input_stats"]:
        return batch_norm(t, {**a, "training": False})
    x = a["input"]
    rank = len(t.shape(x))
    result = _normalised(t, x, tuple(range(1, rank)), a["eps"])
    return _with_weights(t, result, a["weight"], a["bias"], (-1, *[1] * (rank - 1)))


def group_norm(t: Tracer, a: Arguments) -> Variable:
    """By the statistics of groups of channels."""
    x = a["input"]
    shape = t.shape(x)
    grouped = t.view(x, (a["num_groups"], math.prod(shape) // a["num_groups"]))
    result = t.view(_normalised(t, grouped, (1,), a["eps"]), shape)
    return _with_weights(t, result, a["weight"], a["bias"], (-1, *[1] * (len(shape) - 1)))


def softmax_of(operation: Callable[[int], Any]) -> Handler:
    """softmax or log_softmax along an axis."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        (axis,) = axes_of(a["dim"], len(t.out_shape), t)
        return t.join(operation(axis), [a["self"]], t.out_shape)

    return handle


def function_of(make: Callable[..., Activation], *names: str) -> Handler:
    """A function of each element, some of whose arguments are constants."""

    def handle(t: Tracer, a: Arguments) -> Variable:
        chosen = [a[name] for name in names]
        if not all(value is None or isinstance(value, int | float | str) for value in chosen):
            raise t.refuse("has a parameter that is no plain number")
        return t.elementwise(a["self"], make(*chosen))

    return handle


def clamp(low: float | None, high: float | None) -> Activation:
    """Both ends or one."""
    if low is not None and high is not None and not low < high:
        raise ValueError(f"expected min < max, got {low:g} and {high:g}")
    return activations.clamp(low, high)


def elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Activation:
    """With factors > 0."""
    if not min(alpha, scale, input_scale) > 0:
        raise ValueError(f"expected factors > 0, got {alpha:g}, {scale:g}, {input_scale:g}")
    return activations.elu(alpha, scale, input_scale)


def selu() -> Activation:
    """With the two constants of Klambauer et al. 2017 (arXiv:1706.02515), as torch has them."""
    return activations.elu(1.6732632423543772848170429916717, 1.0507009873554804934193349852946)


def softplus(beta: float, threshold: float) -> Activation:
    """With beta > 0."""
    if not beta > 0:
        raise ValueError(f"expected beta > 0, got {beta:g}")
    return activations.softplus(beta, threshold)


def prelu_of(t: Tracer, a: Arguments) -> Variable:
    """A slope for all, or one a channel."""
    x, weight = a["self"], a["weight"]
    if not isinstance(x, Variable) or not isinstance(weight, Tensor):
        raise t.refuse("has bounds for slopes that are parameters only")
    shape = () if weight.numel() == 1 else (-1, *[1] * (len(t.shape(x)) - 1))
    return t.elementwise(x, activations.prelu(weight.double().reshape(shape)))


def unchanged(_t: Tracer, a: Arguments) -> Value:
    """The value itself."""
    return next(iter(a.values()))


def dropout(t: Tracer, a: Arguments) -> Value:
    """Nothing, in eval mode."""
    if a["train"]:
        raise t.refuse("is in training mode: put the network in eval mode")
    return a["input"]


def silu_of(t: Tracer, a: Arguments) -> Variable:
    """x sigmoid(x)."""
    return t.elementwise(a["self"], activations.silu())
