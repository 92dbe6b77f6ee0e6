"""ATen's linear operations: products, convolutions, batch norm, average pooling."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.fx
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor

from verifier.bounds import constants
from verifier.bounds.aten_shapes import moved
from verifier.bounds.folding import FOLDING
from verifier.bounds.linear import Convolution, Dense, Shape, Transposed
from verifier.bounds.moves import Permutation
from verifier.bounds.tracer import Arguments, Tracer, Variable


def linear_of(t: Tracer, a: Arguments) -> Variable:
    """x W^T + b."""
    weight, roundings = t.weight(a["weight"], 2)
    return t.affine(a["input"], Dense(weight, t.shape(a["input"])), t.bias(a["bias"]), roundings)


def addmm(t: Tracer, a: Arguments) -> Variable:
    """b + x W."""
    if not isinstance(a["mat1"], Variable) or (a["alpha"], a["beta"]) != (1, 1):
        raise t.refuse("is read as x W + b only")
    weight, roundings = t.weight(a["mat2"], 2)
    if isinstance(a["self"], Variable):
        raise t.refuse("has a bias that depends on the input")
    return t.affine(a["mat1"], Dense(weight.T, t.shape(a["mat1"])), t.per_input(a["self"], 1), roundings)


def matmul(t: Tracer, a: Arguments) -> Variable:
    """x W, by a constant matrix."""
    left, right = a["self"], a["other"] if "other" in a else a["mat2"]
    if isinstance(left, Variable) and isinstance(right, Variable):
        raise t.refuse("multiplies matrices that both depend on the input, which has no bounds here: use smoothing")
    if isinstance(left, Variable):
        weight, roundings = t.weight(right, 2)
        return t.affine(left, Dense(weight.T, t.shape(left)), None, roundings)
    weight, roundings = t.weight(left, 2)
    if len(t.shape(right)) != 2:
        raise t.refuse("has a constant matrix on the left of something that is no matrix")
    turned = t.affine(right, Permutation(t.shape(right), (1, 0)))
    product = t.affine(turned, Dense(weight, t.shape(turned)), None, roundings)
    return t.affine(product, Permutation(t.shape(product), (1, 0)))


def sizes_of(value: Any, axes: int) -> Shape:
    """One number or a list of them, for each axis."""
    numbers = tuple(value) if isinstance(value, list | tuple) else (value,)
    return numbers * axes if len(numbers) == 1 else numbers


def convolution(t: Tracer, a: Arguments) -> Variable:
    """Over one or two axes, any padding."""
    x, axes = a["input"], _axes_of_kernel(t, a)
    weight, roundings = t.weight(a["weight"], axes + 2)
    stride, dilation = sizes_of(a["stride"], axes), sizes_of(a["dilation"], axes)
    padding = a["padding"]
    if padding == "same":
        x = _padded_same(t, x, weight.shape[2:], dilation)
    sides = (0,) * axes if isinstance(padding, str) else sizes_of(padding, axes)
    linear = Convolution(weight, t.shape(x), stride, sides, dilation, a["groups"])
    return t.affine(x, linear, t.bias(a["bias"], (-1, *[1] * axes)), roundings)


def _axes_of_kernel(t: Tracer, a: Arguments) -> int:
    axes = len(t.shape(a["input"])) - 1 if isinstance(a["input"], Variable) else 0
    if axes not in (1, 2):
        raise t.refuse("has bounds over one or two axes, with constant weights and a batch axis")
    return axes


def _padded_same(t: Tracer, x: Variable, kernel: Sequence[int], dilation: Shape) -> Variable:
    totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
    sides = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
    padded: Variable = moved(t, x, lambda numbers: F.pad(numbers, sides))
    return padded


def transposed_convolution(t: Tracer, a: Arguments) -> Variable:
    """Over one or two axes."""
    x, axes = a["input"], _axes_of_kernel(t, a)
    weight, roundings = t.weight(a["weight"], axes + 2)
    forwards = Convolution(
        weight,
        t.out_shape,
        sizes_of(a["stride"], axes),
        sizes_of(a["padding"], axes),
        sizes_of(a["dilation"], axes),
        a["groups"],
    )
    if forwards.out_shape != t.shape(x):
        raise t.refuse("has an output padding as large as its stride")
    return t.affine(x, Transposed(forwards), t.bias(a["bias"], (-1, *[1] * axes)), roundings)


def batch_norm(t: Tracer, a: Arguments) -> Variable:
    """A scale and a shift per channel, from running statistics."""
    mean, variance = a["running_mean"], a["running_var"]
    if a.get("training") or mean is None:
        raise t.refuse("normalises by the batch's own statistics: put the network in eval mode")
    x = a["input"]
    weight = 1.0 if a["weight"] is None else a["weight"]
    bias = 0.0 if a["bias"] is None else a["bias"]
    factor = constants.quotient(weight, constants.root(constants.total_of(variance, float(a["eps"]))))
    shift = constants.difference(bias, constants.product(mean, factor))
    per_channel = (-1, *[1] * (len(t.shape(x)) - 1))
    return t.scale(x, factor.reshaped(per_channel), shift.reshaped(per_channel))


def window_sizes(t: Tracer, x: Variable, a: Arguments) -> tuple[Shape, Shape, Shape, Shape]:
    """Kernel, stride, padding and dilation of a pooling."""
    axes = len(t.shape(x)) - 1
    kernel = sizes_of(a["kernel_size"], axes)
    stride = sizes_of(a["stride"], axes) if a["stride"] else kernel
    return kernel, stride, sizes_of(a["padding"], axes), sizes_of(a.get("dilation", 1), axes)


def average_pool(t: Tracer, a: Arguments) -> Variable:
    """As a convolution, channel by channel."""
    x = a["self"]
    kernel, stride, padding, _ = window_sizes(t, x, a)
    axes, channels = len(kernel), t.shape(x)[0]
    pool = F.avg_pool2d if axes == 2 else F.avg_pool1d
    options = {"divisor_override": a["divisor_override"]} if a.get("divisor_override") else {}
    ones = torch.ones(1, *t.shape(x), dtype=torch.float64)
    shares = pool(ones, kernel, stride, padding, a["ceil_mode"], a["count_include_pad"], **options)[0]
    x = _padded_for(t, x, kernel, stride, padding)
    weight = torch.ones(channels, 1, *kernel, dtype=torch.float64)
    total = Convolution(weight, t.shape(x), stride, (0,) * axes, (1,) * axes, channels)
    counts = total.forward(_padded_ones(ones, t.out_shape, kernel, stride, padding))[0]
    factor = shares / counts  # both are whole numbers over a whole divisor: 1 / divisor but for its rounding
    uniform = bool((factor == factor.reshape(-1)[0]).all())
    return t.scale(t.affine(x, total), constants.rounded(factor.reshape(-1)[0] if uniform else factor, FOLDING))


def _far_padding(size: int, out: int, kernel: int, stride: int, padding: int) -> int:
    """Zeros (or rows to drop, if negative) at the far end, so that exactly `out` windows fit."""
    return (out - 1) * stride + kernel - size - padding


def far_sides(in_shape: Shape, out_shape: Shape, kernel: Shape, stride: Shape, padding: Shape) -> list[int]:
    """Padding at the far ends that windows of ceil_mode reach, for F.pad."""
    sides: list[int] = []
    for n, m, k, s, p in zip(in_shape[1:], out_shape[1:], kernel, stride, padding, strict=True):
        sides[:0] = [p, _far_padding(n, m, k, s, p)]
    return sides


def _padded_for(t: Tracer, x: Variable, kernel: Shape, stride: Shape, padding: Shape) -> Variable:
    sides = far_sides(t.shape(x), t.out_shape, kernel, stride, padding)
    return moved(t, x, lambda numbers: F.pad(numbers, sides)) if any(sides) else x


def _padded_ones(ones: Tensor, out_shape: Shape, kernel: Shape, stride: Shape, padding: Shape) -> Tensor:
    return F.pad(ones, far_sides(tuple(ones.shape[1:]), out_shape, kernel, stride, padding))


def adaptive_average_pool(t: Tracer, a: Arguments) -> Variable:
    """As a convolution where windows are alike, else as a matrix."""
    x = a["self"]
    channels, *sizes = t.shape(x)
    out = t.out_shape[1:]
    if all(n % m == 0 for n, m in zip(sizes, out, strict=True)):
        kernel = [n // m for n, m in zip(sizes, out, strict=True)]
        arguments = {"kernel_size": kernel, "stride": kernel, "padding": 0, "ceil_mode": False}
        return average_pool(t, {"self": x, **arguments, "count_include_pad": True})
    pool: Callable[..., Tensor] = F.adaptive_avg_pool2d if len(sizes) == 2 else F.adaptive_avg_pool1d
    elements = math.prod(sizes)
    each = torch.eye(elements, dtype=torch.float64).reshape(elements, 1, *sizes)
    matrix = pool(each, out).reshape(elements, -1).T
    flat = t.view(x, (channels, elements))
    return t.view(t.affine(flat, Dense(matrix, t.shape(flat)), roundings=FOLDING), t.out_shape)
