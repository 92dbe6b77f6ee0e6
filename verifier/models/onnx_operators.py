"""The operators of ONNX that we read: one small function each, and the table of them.

A function here gets a node with its inputs known and adds to the graph what computes its output. It reads every
attribute that it understands; an attribute that it leaves unread is refused by the caller.
"""

import math
import operator
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from verifier.models.onnx_builder import Call, Rows, Value

Array = NDArray[Any]
Read = Callable[[Call], Value | list[Rows]]

META = torch.device("meta")
_WHOLE_AXIS = 2**31 - 1


# Activations


def _layer(make: Callable[[], nn.Module]) -> Read:
    """An activation without attributes."""
    return lambda call: call.layer(make(), call.rows())


def _function(function: Callable[..., Any]) -> Read:
    """An elementwise function of one input."""
    return lambda call: call.function(function, call.rows())


def _leaky_relu(call: Call) -> Rows:
    return call.layer(nn.LeakyReLU(call.take("alpha", 0.01)), call.rows())


def _elu(call: Call) -> Rows:
    return call.layer(nn.ELU(call.take("alpha", 1.0)), call.rows())


def _celu(call: Call) -> Rows:
    return call.layer(nn.CELU(call.take("alpha", 1.0)), call.rows())


def _selu(call: Call) -> Rows:
    alpha, gamma = 1.6732632423543772, 1.0507009873554805
    got = call.take("alpha", alpha), call.take("gamma", gamma)
    if not np.allclose(got, (alpha, gamma), rtol=1e-6, atol=0):
        raise call.refuse(f"attributes alpha and gamma must be {alpha} and {gamma}, got {got}")
    return call.layer(nn.SELU(), call.rows())


def _gelu(call: Call) -> Rows:
    return call.layer(nn.GELU(approximate=call.expect("approximate", "none", "tanh")), call.rows())


def _hard_sigmoid(call: Call) -> Rows:
    slope, offset = call.take("alpha", 0.2), call.take("beta", 0.5)
    line = call.function(torch.add, call.function(torch.mul, call.rows(), slope), offset)
    return call.function(torch.clamp, line, min=0.0, max=1.0)


def _prelu(call: Call) -> Rows:
    x, slope = call.rows(), call.weights(1)
    channels = x.shape[0] if x.shape else 0
    per_channel = slope.shape[slope.ndim - len(x.shape) :] == (channels,) + (1,) * (len(x.shape) - 1)
    old_form = call.opset < 7 and slope.shape == (channels,)
    if slope.size != 1 and not (x.batch_axis and slope.size == channels and (per_channel or old_form)):
        raise call.refuse(f"its slope must be one number, or one a channel, got shape {list(slope.shape)}")
    return call.layer(nn.PReLU(slope.size, device=META), x, weight=slope.reshape(-1))


def _clip(call: Call) -> Rows:
    bounds = {"min": call.take("min"), "max": call.take("max")}
    for index, side in enumerate(("min", "max"), start=1):
        if call.constant(index) is not None:
            bounds[side] = call.weights(index).reshape(-1)[0].item()
    given = {side: bound for side, bound in bounds.items() if bound is not None}
    if given == {"min": 0.0, "max": 6.0}:
        return call.layer(nn.ReLU6(), call.rows())
    return call.function(torch.clamp, call.rows(), **given) if given else call.rows()


def _softmax(layer: Callable[[int], nn.Module]) -> Read:
    """Along one axis since version 13; jointly over all axes from the given one before that."""

    def read(call: Call) -> Rows:
        x = call.rows()
        axis = call.axis(x, call.take("axis", -1 if call.opset >= 13 else 1))
        if call.opset >= 13 or axis == len(x.shape):
            return call.layer(layer(axis), x)
        kept = x.shape[: axis - 1]
        joined = call.view(x, (*kept, math.prod(x.shape[axis - 1 :])), x.batch_axis)
        return call.view(call.layer(layer(axis), joined), x.shape, x.batch_axis)

    return read


# Arithmetic


def _aligned(call: Call, operands: Sequence[Value]) -> list[Value]:
    """The operands in shapes that broadcast in the module as they do in the file."""
    rank = max(len(value.file_shape if isinstance(value, Rows) else value.shape) for value in operands)
    batch = any(isinstance(value, Rows) and value.batch_axis for value in operands)
    return [
        _aligned_rows(call, value, rank, batch)
        if isinstance(value, Rows)
        else _aligned_constant(call, value, rank, batch)
        for value in operands
    ]


def _aligned_rows(call: Call, x: Rows, rank: int, batch: bool) -> Rows:
    fits = len(x.file_shape) == rank if x.batch_axis else len(x.shape) < rank or not batch
    if not fits:
        raise call.refuse("its operands broadcast over the batch axis")
    missing = (rank - 1 if batch else rank) - len(x.shape)
    return call.view(x, (1,) * missing + x.shape, batch_axis=batch)


def _aligned_constant(call: Call, values: Array, rank: int, batch: bool) -> Array:
    values = call.floats(values)
    if batch and values.ndim == rank and values.shape[0] != 1:
        raise call.refuse("its operands broadcast over the batch axis")
    return values


def _operands(call: Call) -> tuple[Value, Value]:
    """The two operands; before version 7 attributes say how the second lines up, and only the last axes are read."""
    first, second = call.value(0), call.value(1)
    if call.opset < 7:
        ranks = [len(value.file_shape if isinstance(value, Rows) else value.shape) for value in (first, second)]
        call.take("broadcast")
        call.expect("axis", ranks[0] - ranks[1], -ranks[1])
    return first, second


def _arithmetic(function: Callable[..., Any]) -> Read:
    """An elementwise function of two inputs."""

    def read(call: Call) -> Rows:
        return _combined(call, function, _operands(call))

    return read


def _combined(call: Call, function: Callable[..., Any], operands: Sequence[Value]) -> Rows:
    aligned = _aligned(call, operands)
    batch = any(isinstance(value, Rows) and value.batch_axis for value in aligned)
    first, *rest = aligned
    return call.builder.function(call, function, (first, *rest), {}, batch)


def _variadic(function: Callable[..., Any]) -> Read:
    """An elementwise function of any number of inputs, two at a time."""

    def read(call: Call) -> Value:
        operands = [call.value(index) for index in range(len(call.inputs))]
        operands.sort(key=lambda value: not isinstance(value, Rows))
        return reduce(lambda left, right: _combined(call, function, (left, right)), operands)

    return read


def _power(call: Call) -> Rows:
    x, exponent = call.rows(0), _operands(call)[1]
    if isinstance(exponent, Rows):
        raise call.refuse("its exponent must be a constant")
    if exponent.size == 1 and exponent.ndim <= len(x.file_shape):
        return call.function(torch.pow, x, exponent.reshape(-1)[0].item())
    return _combined(call, torch.pow, (x, exponent.astype(np.float32)))


# Affine layers


def _gemm(call: Call) -> Rows:
    call.expect("transA", 0)
    call.take("broadcast")
    alpha, beta = np.float32(call.take("alpha", 1.0)), np.float32(call.take("beta", 1.0))
    weight = call.weights(1)
    if weight.ndim != 2:
        raise call.broken(f"its weight must be a matrix, got shape {list(weight.shape)}")
    weight = call.floats(alpha * (weight if call.take("transB", 0) else weight.T))
    if call.constant(2) is None:
        return _linear(call, call.batched(), weight)
    bias = call.floats(beta * call.weights(2))
    if bias.size not in (1, len(weight)):
        raise call.refuse(f"its bias must be one number an output, got shape {list(bias.shape)} for {len(weight)}")
    return _linear(call, call.batched(), weight, np.broadcast_to(bias.reshape(-1), len(weight)))


def _linear(call: Call, x: Rows, weight: Array, bias: Array | None = None) -> Rows:
    """x @ weight.T + bias, along the last axis of x."""
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device=META)
    return call.layer(layer, x, weight=weight) if bias is None else call.layer(layer, x, weight=weight, bias=bias)


def _matmul(call: Call) -> Rows:
    left, right = call.value(0), call.value(1)
    if isinstance(left, Rows) and isinstance(right, Rows):
        return _product(call, left, right)
    if isinstance(left, Rows):
        return _times_matrix(call, left, call.weights(1))
    return _matrix_times(call, call.weights(0), call.rows(1))


def _product(call: Call, left: Rows, right: Rows) -> Rows:
    matrices = len(left.shape) >= 2 and len(left.shape) == len(right.shape)
    if not matrices or left.batch_axis != right.batch_axis:
        raise call.refuse("two computed operands must be stacks of matrices of the same rank, behind the batch axis")
    return call.function(torch.matmul, left, right)


def _times_matrix(call: Call, x: Rows, weight: Array) -> Rows:
    if weight.ndim != 2 or not x.shape:
        raise call.refuse(f"its constant must be one matrix, got shape {list(weight.shape)}")
    return _linear(call, x, weight.T)


def _matrix_times(call: Call, weight: Array, x: Rows) -> Rows:
    """weight @ x: a Linear where x is one column, a matrix product where it has several."""
    if weight.ndim != 2:
        raise call.refuse(f"its constant must be one matrix, got shape {list(weight.shape)}")
    if len(x.shape) == 1 and not x.batch_axis:
        return _linear(call, x, weight)
    if len(x.shape) == 2 and x.shape[1] == 1:
        column = _linear(call, call.view(x, x.shape[:1], x.batch_axis), weight)
        return call.view(column, (len(weight), 1), x.batch_axis)
    if len(x.shape) < 2:
        raise call.refuse("it works along the batch axis")
    return call.builder.function(call, torch.matmul, (weight, x), {}, x.batch_axis)


# Convolutions, pools and norms


def _per_rank(call: Call, x: Rows, kinds: Sequence[Any]) -> Any:
    """The kind of layer for this many spatial axes."""
    spatial = len(x.shape) - 1
    if not 1 <= spatial <= len(kinds):
        raise call.refuse(f"its input must have 1 to {len(kinds)} spatial axes, got shape {list(x.file_shape)}")
    return kinds[spatial - 1]


def _window(call: Call, x: Rows, kernel: Sequence[int]) -> tuple[list[int], list[int], list[int], list[int]]:
    """Strides, dilations, and the padding at the beginning and at the end of each spatial axis."""
    spatial = len(kernel)
    strides = list(call.take("strides", [1] * spatial))
    dilations = list(call.take("dilations", [1] * spatial))
    pads = list(call.take("pads", [0] * 2 * spatial))
    mode = call.expect("auto_pad", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if len(x.shape) != spatial + 1 or {len(strides), len(dilations)} != {spatial} or len(pads) != 2 * spatial:
        raise call.broken("kernel, strides, dilations and pads must fit the spatial axes of its input")
    if min(strides + dilations) < 1 or min(pads) < 0:
        raise call.refuse(f"strides and dilations must be >= 1 and pads >= 0, got {strides}, {dilations}, {pads}")
    if mode == "NOTSET":
        return strides, dilations, pads[:spatial], pads[spatial:]
    if mode == "VALID":
        return strides, dilations, [0] * spatial, [0] * spatial
    total = [
        max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        for size, width, stride, dilation in zip(x.shape[1:], kernel, strides, dilations, strict=True)
    ]
    small, large = [pad // 2 for pad in total], [pad - pad // 2 for pad in total]
    return (strides, dilations, small, large) if mode == "SAME_UPPER" else (strides, dilations, large, small)


def _padded(
    call: Call, x: Rows, begin: Sequence[int], end: Sequence[int], mode: str = "constant", value: float = 0.0
) -> Rows:
    """x with its last axes padded; torch lists them from the last one backwards."""
    pads = [pad for pair in zip(reversed(begin), reversed(end), strict=True) for pad in pair]
    while pads and pads[-2:] == [0, 0]:
        del pads[-2:]
    if not pads:
        return x
    if mode == "constant":
        return call.function(nn.functional.pad, x, tuple(pads), mode=mode, value=value)
    return call.function(nn.functional.pad, x, tuple(pads), mode=mode)


def _conv(call: Call) -> Rows:
    x, weight = call.batched(), call.weights(1)
    kernel, group = weight.shape[2:], call.take("group", 1)
    if tuple(call.take("kernel_shape", kernel)) != kernel or weight.ndim != len(x.shape) + 1 or group < 1:
        raise call.broken(f"its weight of shape {list(weight.shape)} does not fit its kernel_shape, group or input")
    kind = _per_rank(call, x, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
    strides, dilations, begin, end = _window(call, x, kernel)
    if begin != end:
        x, begin = _padded(call, x, begin, end), [0] * len(kernel)
    weights = _weight_and_bias(call, weight)
    options = {"stride": strides, "padding": begin, "dilation": dilations, "groups": group, "bias": "bias" in weights}
    return call.layer(_made(call, kind, weight.shape[1] * group, weight.shape[0], kernel, **options), x, **weights)


def _conv_transpose(call: Call) -> Rows:
    x, weight = call.batched(), call.weights(1)
    kernel, group = weight.shape[2:], call.take("group", 1)
    if tuple(call.take("kernel_shape", kernel)) != kernel or weight.ndim != len(x.shape) + 1 or group < 1:
        raise call.broken(f"its weight of shape {list(weight.shape)} does not fit its kernel_shape, group or input")
    if call.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise call.refuse("attribute auto_pad must be 'NOTSET' or 'VALID'")
    kind = _per_rank(call, x, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
    strides, dilations, begin, end = _window(call, x, kernel)
    if begin != end:
        raise call.refuse(f"attribute pads must be the same at both ends, got {begin} and {end}")
    weights = _weight_and_bias(call, weight)
    options = {"stride": strides, "padding": begin, "dilation": dilations, "groups": group, "bias": "bias" in weights}
    options["output_padding"] = list(call.take("output_padding", [0] * len(kernel)))
    return call.layer(_made(call, kind, weight.shape[0], weight.shape[1] * group, kernel, **options), x, **weights)


def _weight_and_bias(call: Call, weight: Array) -> dict[str, Array]:
    return {"weight": weight} if call.constant(2) is None else {"weight": weight, "bias": call.weights(2)}


def _made(call: Call, kind: Callable[..., nn.Module], *sizes: Any, **options: Any) -> nn.Module:
    """A layer on the meta device, or the error that its sizes do not fit."""
    try:
        return kind(*sizes, device=META, **options)
    except (ValueError, RuntimeError, TypeError) as error:
        raise call.broken(f"its sizes do not fit ({str(error)[:200]})") from None


def _kernel(call: Call, x: Rows) -> list[int]:
    kernel = list(call.take("kernel_shape", []))
    if len(kernel) != len(x.shape) - 1 or min(kernel, default=0) < 1:
        raise call.broken(f"kernel_shape must have one size >= 1 a spatial axis, got {kernel} for {list(x.file_shape)}")
    return kernel


def _max_pool(call: Call) -> Rows:
    x = call.batched()
    kind = _per_rank(call, x, (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d))
    call.take("storage_order")
    kernel, ceil = _kernel(call, x), bool(call.expect("ceil_mode", 0, 1))
    strides, dilations, begin, end = _window(call, x, kernel)
    if begin != end or any(2 * pad > width for pad, width in zip(begin, kernel, strict=True)):
        x, begin = _padded(call, x, begin, end, value=-math.inf), [0] * len(kernel)
    return call.layer(kind(kernel, strides, begin, dilations, ceil_mode=ceil), x)


def _average_pool(call: Call) -> Rows:
    x = call.batched()
    kind = _per_rank(call, x, (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d))
    kernel = _kernel(call, x)
    ceil, count_pads = bool(call.expect("ceil_mode", 0, 1)), bool(call.expect("count_include_pad", 0, 1))
    strides, dilations, begin, end = _window(call, x, kernel)
    if max(dilations) > 1:
        raise call.refuse(f"attribute dilations must be 1, got {dilations}")
    if begin != end or any(2 * pad > width for pad, width in zip(begin, kernel, strict=True)):
        if ceil or not count_pads:
            raise call.refuse(
                f"attribute pads must be the same at both ends, at most half the kernel, got {begin}, {end}"
            )
        x, begin = _padded(call, x, begin, end), [0] * len(kernel)
    return call.layer(kind(kernel, strides, begin, ceil_mode=ceil, count_include_pad=count_pads), x)


def _global_pool(function: Callable[..., Any]) -> Read:
    def read(call: Call) -> Rows:
        x = call.batched()
        return call.function(function, x, dim=tuple(range(2, len(x.shape) + 1)), keepdim=True)

    return read


def _batch_norm(call: Call) -> Rows:
    for mode, inference in (("training_mode", 0), ("is_test", 1), ("spatial", 1)):
        if call.take(mode, inference if mode != "is_test" or call.opset >= 7 else 0) != inference:
            raise call.refuse(f"attribute {mode} must be {inference}, as in inference")
    call.take("momentum")
    x = call.batched()
    kind = nn.BatchNorm1d if len(x.shape) == 1 else _per_rank(call, x, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d))
    layer = kind(x.shape[0], eps=call.take("epsilon", 1e-5), device=META)
    names = ("weight", "bias", "running_mean", "running_var")
    weights: dict[str, Array] = {name: call.weights(index) for index, name in enumerate(names, start=1)}
    return call.layer(layer, x, **weights, num_batches_tracked=np.array(0))


def _instance_norm(call: Call) -> Rows:
    x = call.batched()
    kind = _per_rank(call, x, (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d))
    layer = kind(x.shape[0], eps=call.take("epsilon", 1e-5), affine=True, device=META)
    return call.layer(layer, x, weight=call.weights(1), bias=call.weights(2))


def _layer_norm(call: Call) -> Rows:
    x = call.rows()
    call.expect("stash_type", 1)
    axis = call.axis(x, call.take("axis", -1))
    shape = x.shape[axis - 1 :]
    weights = {"weight": np.broadcast_to(call.weights(1), shape)}
    if call.constant(2) is not None:
        weights["bias"] = np.broadcast_to(call.weights(2), shape)
    layer = nn.LayerNorm(shape, eps=call.take("epsilon", 1e-5), bias="bias" in weights, device=META)
    return call.layer(layer, x, **weights)


def _reduction(function: Callable[..., Any]) -> Read:
    """A reduction along given axes, never along the batch axis."""

    def read(call: Call) -> Rows:
        x, keep = call.rows(), bool(call.take("keepdims", 1))
        axes, no_axes_is_identity = call.integers("axes", 1), call.take("noop_with_empty_axes", 0)
        if not axes and no_axes_is_identity:
            return x
        axes = axes or tuple(range(len(x.file_shape)))
        return call.function(function, x, dim=tuple(call.axis(x, axis) for axis in axes), keepdim=keep)

    return read


# Shapes


def _shape(call: Call) -> Array:
    start, end = call.take("start", 0), call.take("end")
    return np.array(call.rows().file_shape[start:end], dtype=np.int64)


def _reshape(call: Call) -> Rows:
    x, wanted = call.rows(), call.integers("shape", 1)
    keeps_zero = call.expect("allowzero", 0, 1)
    if wanted is None:
        raise call.broken("input 1, the shape, is missing")
    if 0 in wanted and keeps_zero:
        raise call.refuse("its result has no elements")
    if any(size == 0 and axis >= len(x.file_shape) for axis, size in enumerate(wanted)):
        raise call.broken(f"shape {list(wanted)} keeps an axis that its input of shape {list(x.file_shape)} has not")
    sizes = [size or x.file_shape[axis] for axis, size in enumerate(wanted)]
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1:
        raise call.broken(f"shape {list(wanted)} must have at most one -1 and nothing below")
    known = math.prod(size for size in sizes if size != -1)
    return call.file_view(x, tuple(math.prod(x.shape) // known if size == -1 else size for size in sizes))


def _flatten(call: Call) -> Rows:
    x, axis = call.rows(), call.take("axis", 1)
    rank = len(x.file_shape)
    if not -rank <= axis <= rank:
        raise call.broken(f"axis must lie in [-{rank}, {rank}], got {axis}")
    axis = axis if axis >= 0 else axis + rank
    return call.file_view(x, (math.prod(x.file_shape[:axis]), math.prod(x.file_shape[axis:])))


def _squeeze(call: Call) -> Rows:
    x, axes = call.rows(), call.integers("axes", 1)
    shape, rank = x.file_shape, len(x.file_shape)
    gone = {axis for axis in range(rank) if shape[axis] == 1} if axes is None else {axis % rank for axis in axes}
    if any(shape[axis] != 1 for axis in gone):
        raise call.broken(f"only axes of size 1 can be squeezed, got axes {sorted(gone)} of shape {list(shape)}")
    return _relabelled(call, x, tuple(size for axis, size in enumerate(shape) if axis not in gone), 0 in gone)


def _unsqueeze(call: Call) -> Rows:
    x, axes = call.rows(), call.integers("axes", 1) or ()
    rank = len(x.file_shape) + len(axes)
    new = {axis % rank for axis in axes}
    old = iter(x.file_shape)
    shape = tuple(1 if axis in new else next(old, 1) for axis in range(rank))
    return _relabelled(call, x, shape, 0 in new)


def _relabelled(call: Call, x: Rows, file_shape: tuple[int, ...], first_axis_changes: bool) -> Rows:
    """x in a shape of the file; axis 0 stays the batch axis, or stays none, unless it is what changes."""
    if first_axis_changes:
        return call.file_view(x, file_shape)
    return call.view(x, file_shape[1:] if x.batch_axis else file_shape, x.batch_axis)


def _transpose(call: Call) -> Rows:
    x = call.rows()
    rank = len(x.file_shape)
    order = list(call.take("perm", range(rank)[::-1]))
    if sorted(order) != list(range(rank)):
        raise call.broken(f"perm must order the {rank} axes of its input, got {order}")
    moved = [axis for axis in order if x.file_shape[axis] != 1]
    if moved == sorted(moved):
        return call.file_view(x, tuple(x.file_shape[axis] for axis in order))
    if x.batch_axis and order[0] != 0:
        x = call.view(x, x.file_shape, batch_axis=False)
    axes = order if x.batch_axis else [0, *(axis + 1 for axis in order)]
    return call.function(torch.permute, x, tuple(axes))


def _concat(call: Call) -> Rows:
    parts = [call.rows(index) for index in range(len(call.inputs))]
    if len({(part.batch_axis, len(part.shape)) for part in parts}) != 1:
        raise call.refuse("its inputs must have the same rank, all with a batch axis or all without")
    axis = call.axis(parts[0], call.take("axis", 1))
    return call.builder.function(call, torch.cat, (parts, axis), {}, parts[0].batch_axis)


def _part(call: Call, x: Rows, axis: int, part: slice | int) -> Rows:
    """x[:, ..., part] along an axis of the module."""
    if isinstance(part, slice) and part == slice(0, x.shape[axis - 1], 1):
        return x
    return call.function(operator.getitem, x, (*(slice(None),) * axis, part))


def _slice(call: Call) -> Rows:
    x, starts, ends = call.rows(), call.integers("starts", 1), call.integers("ends", 2)
    if starts is None or ends is None:
        raise call.broken("starts and ends must be given")
    axes = call.integers("axes", 3) or tuple(range(len(starts)))
    steps = call.integers("steps", 4) or (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if x.batch_axis and axis % len(x.file_shape) == 0 and (start, step) == (0, 1) and end >= _WHOLE_AXIS:
            continue
        if step < 1:
            raise call.refuse(f"steps must be >= 1, got {step}")
        own = call.axis(x, axis)
        x = _part(call, x, own, slice(*slice(start, end, step).indices(x.shape[own - 1])))
    return x


def _split(call: Call) -> list[Rows]:
    x, sizes = call.rows(), call.integers("split", 1)
    axis, count = call.axis(x, call.take("axis", 0)), call.take("num_outputs", len(call.node.output))
    size = x.shape[axis - 1]
    if sizes is None:
        each = -(-size // count)
        sizes = (each,) * (count - 1) + (size - each * (count - 1),)
    if sum(sizes) != size or min(sizes) < 1:
        raise call.broken(f"parts of sizes {list(sizes)} do not make up an axis of size {size}")
    ends = np.cumsum(sizes).tolist()
    return [_part(call, x, axis, slice(end - part, end, 1)) for part, end in zip(sizes, ends, strict=True)]


def _gather(call: Call) -> Rows:
    x, indices = call.rows(), call.constant(1)
    axis = call.axis(x, call.take("axis", 0))
    size = x.shape[axis - 1]
    if indices is None or indices.size == 0 or indices.min() < -size or indices.max() >= size:
        raise call.broken(f"its indices must lie in [-{size}, {size})")
    if indices.ndim > 1:
        raise call.refuse(f"its indices must be one number or a list, got shape {list(indices.shape)}")
    chosen = indices % size
    if chosen.ndim == 0:
        return _part(call, x, axis, int(chosen))
    if (np.diff(chosen) == 1).all():
        return _part(call, x, axis, slice(int(chosen[0]), int(chosen[-1]) + 1, 1))
    return call.function(torch.index_select, x, axis, chosen.astype(np.int64))


def _pad(call: Call) -> Rows:
    x, mode = call.rows(), call.expect("mode", "constant", "reflect", "edge")
    pads, value, axes = call.integers("pads", 1), call.take("value", 0.0), call.integers("axes", 3)
    if call.constant(2) is not None:
        value = call.weights(2).reshape(-1)[0].item()
    rank = len(x.file_shape)
    axes = tuple(range(rank)) if axes is None else tuple(axis % rank for axis in axes)
    if pads is None or len(pads) != 2 * len(axes):
        raise call.broken(f"it must have a pad at both ends of {len(axes)} axes, got {pads}")
    begin, end = [0] * rank, [0] * rank
    for axis, first, last in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        begin[axis], end[axis] = first, last
    if x.batch_axis and (begin[0] or end[0]):
        raise call.refuse("it works along the batch axis")
    names = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}
    return _padded(call, x, begin[int(x.batch_axis) :], end[int(x.batch_axis) :], names[mode], value)


def _upsample(call: Call) -> Rows:
    """Nearest neighbours, by whole factors: where all ways to round agree."""
    x = call.batched()
    call.expect("mode", "nearest")
    where = call.take(
        "coordinate_transformation_mode", "asymmetric" if call.node.op_type == "Upsample" else "half_pixel"
    )
    rounding = call.take("nearest_mode", "floor" if call.node.op_type == "Upsample" else "round_prefer_floor")
    if (where, rounding) not in (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor")):
        raise call.refuse(f"attributes coordinate_transformation_mode and nearest_mode are {where!r} and {rounding!r}")
    for unused in ("cubic_coeff_a", "extrapolation_value", "exclude_outside"):
        call.take(unused)
    factors = _factors(call, x)
    if len(factors) != len(x.file_shape) or any(f != int(f) or f < 1 for f in factors) or factors[:2] != [1.0, 1.0]:
        raise call.refuse(f"its factors must be whole, and 1 for batch and channels, got {factors}")
    _per_rank(call, x, (1, 2, 3))
    return call.layer(nn.Upsample(scale_factor=tuple(factors[2:]), mode="nearest"), x)


def _factors(call: Call, x: Rows) -> list[float]:
    attribute, sizes = call.take("scales"), call.constant(3)
    if attribute is not None:
        return [float(factor) for factor in attribute]
    if sizes is not None:
        return [float(new) / old for new, old in zip(sizes.reshape(-1).tolist(), x.file_shape, strict=False)]
    scales = call.constant(1 if call.opset < 11 or call.node.op_type == "Upsample" else 2)
    return [] if scales is None else [float(factor) for factor in scales.reshape(-1)]


# What inference leaves out


def _same(call: Call) -> Rows:
    return call.rows()


def _dropout(call: Call) -> Rows:
    for unused in ("ratio", "seed"):
        call.take(unused)
    training = call.constant(2)
    if (call.opset < 7 and not call.take("is_test", 0)) or (training is not None and training.any()):
        raise call.refuse("it is in training mode")
    return call.rows()


def _cast(call: Call) -> Rows:
    call.expect("to", onnx.TensorProto.FLOAT)
    call.take("saturate")
    return call.rows()


OPERATORS: dict[str, Read] = {
    "Abs": _function(torch.abs),
    "Add": _arithmetic(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Celu": _celu,
    "Clip": _clip,
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _arithmetic(torch.div),
    "Dropout": _dropout,
    "Elu": _elu,
    "Erf": _function(torch.erf),
    "Exp": _function(torch.exp),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(torch.mean),
    "GlobalMaxPool": _global_pool(torch.amax),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _layer(nn.Hardswish),
    "Identity": _same,
    "InstanceNormalization": _instance_norm,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _leaky_relu,
    "Log": _function(torch.log),
    "LogSoftmax": _softmax(nn.LogSoftmax),
    "MatMul": _matmul,
    "Max": _variadic(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _variadic(torch.minimum),
    "Mul": _arithmetic(torch.mul),
    "Neg": _function(torch.neg),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _power,
    "Reciprocal": _function(torch.reciprocal),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceMin": _reduction(torch.amin),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _layer(nn.ReLU),
    "Reshape": _reshape,
    "Resize": _upsample,
    "Selu": _selu,
    "Shape": _shape,
    "Sigmoid": _layer(nn.Sigmoid),
    "Sign": _function(torch.sign),
    "Slice": _slice,
    "Softmax": _softmax(nn.Softmax),
    "Softplus": _layer(nn.Softplus),
    "Softsign": _layer(nn.Softsign),
    "Split": _split,
    "Sqrt": _function(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _arithmetic(torch.sub),
    "Sum": _variadic(torch.add),
    "Tanh": _layer(nn.Tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _upsample,
}
