"""A second reading of traced networks, in numbers of 1,200 bits: sums and products of floats come out as they are.

Independent of the code under test: numpy arrays of mpmath numbers, operation by operation of what torch.export traced.
"""

import itertools
import operator
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import torch
import torch.fx
from torch import Tensor, nn

BITS = 1_200
Array = np.ndarray[Any, Any]
ZERO = mpmath.mpf(0)


def numbers(tensor: Tensor) -> Array:
    """The numbers of a tensor, exactly."""
    values = np.array([mpmath.mpf(value) for value in tensor.detach().double().flatten().tolist()], dtype=object)
    return values.reshape(tuple(tensor.shape))


class ExactNetwork:
    """A network over the reals.

    Args:
        module: in eval mode.
        shape: of one input.
    """

    def __init__(self, module: nn.Module, shape: tuple[int, ...]) -> None:
        with torch.no_grad():
            self._program = torch.export.export(module.eval(), (torch.zeros(1, *shape),), strict=False)

    def __call__(self, x: Array) -> Array:
        """Logits [K] at an input of mpmath numbers."""
        with mpmath.workprec(BITS):
            values: dict[torch.fx.Node, Any] = {}
            for node in self._program.graph.nodes:
                if node.op == "placeholder":
                    values[node] = self._constant(node.name, x)
                elif node.op == "call_function":
                    values[node] = self._call(node, values)
            output = next(node for node in self._program.graph.nodes if node.op == "output").args[0][0]
            result: Array = values[output].reshape(-1)
            return result

    def _constant(self, name: str, x: Array) -> Any:
        signature = self._program.graph_signature
        for names in (
            signature.inputs_to_parameters,
            signature.inputs_to_buffers,
            signature.inputs_to_lifted_tensor_constants,
        ):
            if name in names:
                source = self._program.state_dict | self._program.constants
                tensor = source[names[name]]
                return numbers(tensor) if tensor.is_floating_point() else tensor.numpy()
        return x[None]

    def _call(self, node: torch.fx.Node, values: dict[torch.fx.Node, Any]) -> Any:
        args = torch.fx.map_arg(node.args, values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
        if node.target is operator.getitem:
            return args[0][args[1]]  # type: ignore[index]
        schema = node.target._schema  # type: ignore[union-attr]
        bound = {
            argument.name: args[place] if place < len(args) else kwargs.get(argument.name, argument.default_value)
            for place, argument in enumerate(schema.arguments)
        }
        name = schema.name.removeprefix("aten::")
        if name in _OF_ONE:
            return np.vectorize(_OF_ONE[name], otypes=[object])(bound["self"])
        return _OPERATIONS[name](bound)


def _pair(value: Any, axes: int) -> list[int]:
    given = list(value) if isinstance(value, list | tuple) else [value]
    return given * axes if len(given) == 1 else given


def _real(value: Any) -> Any:
    return value if isinstance(value, np.ndarray) else mpmath.mpf(value)


def _windows(x: Array, kernel: list[int], stride: list[int], dilation: list[int], out: list[int]) -> list[Array]:
    """For each place in the kernel, what it sees at all places of the output."""
    seen = []
    for offset in itertools.product(*(range(size) for size in kernel)):
        cut: tuple[slice, ...] = tuple(
            slice(o * d, o * d + s * (n - 1) + 1, s) for o, d, s, n in zip(offset, dilation, stride, out, strict=True)
        )
        seen.append(x[(slice(None), slice(None), *cut)])
    return seen


def _padded(x: Array, sides: list[tuple[int, int]], value: Any = ZERO) -> Array:
    return np.pad(x, [(0, 0), (0, 0), *sides], constant_values=value)


def _linear(a: dict[str, Any]) -> Array:
    y: Array = a["input"] @ a["weight"].T
    return y if a["bias"] is None else y + a["bias"]


def _convolution(a: dict[str, Any]) -> Array:
    x, weight, groups = a["input"], a["weight"], a["groups"]
    kernel = list(weight.shape[2:])
    axes = len(kernel)
    stride, dilation = _pair(a["stride"], axes), _pair(a["dilation"], axes)
    if a["padding"] == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        x = _padded(x, [(total // 2, total - total // 2) for total in totals])
    else:
        x = _padded(x, [(p, p) for p in _pair(a["padding"], axes)])
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    out = [(n - r) // s + 1 for n, r, s in zip(x.shape[2:], reach, stride, strict=True)]
    seen = _windows(x, kernel, stride, dilation, out)
    inputs, outputs = weight.shape[1], weight.shape[0] // groups
    parts = []
    for group in range(groups):
        own = weight[group * outputs : (group + 1) * outputs].reshape(outputs, inputs, -1)
        total: Any = ZERO
        for place, value in enumerate(seen):
            channels = value[0, group * inputs : (group + 1) * inputs].reshape(inputs, -1)
            total = total + own[:, :, place] @ channels
        parts.append(total.reshape(outputs, *out))
    y = np.concatenate(parts)[None]
    return y if a["bias"] is None else y + a["bias"].reshape(1, -1, *[1] * axes)


def _transposed(a: dict[str, Any]) -> Array:
    x, weight, groups = a["input"], a["weight"], a["groups"]
    kernel = list(weight.shape[2:])
    axes = len(kernel)
    stride, padding = _pair(a["stride"], axes), _pair(a["padding"], axes)
    dilation, extra = _pair(a["dilation"], axes), _pair(a["output_padding"], axes)
    size = [
        (n - 1) * s + d * (k - 1) + 1 + e
        for n, s, d, k, e in zip(x.shape[2:], stride, dilation, kernel, extra, strict=True)
    ]
    inputs, outputs = weight.shape[0] // groups, weight.shape[1]
    y = np.full((1, outputs * groups, *size), ZERO, dtype=object)
    for place in itertools.product(*(range(n) for n in x.shape[2:])):
        for offset in itertools.product(*(range(k) for k in kernel)):
            at = tuple(p * s + o * d for p, s, o, d in zip(place, stride, offset, dilation, strict=True))
            for group in range(groups):
                rows = slice(group * inputs, (group + 1) * inputs)
                into: Any = (0, slice(group * outputs, (group + 1) * outputs), *at)
                y[into] = y[into] + x[(0, rows, *place)] @ weight[(rows, slice(None), *offset)]
    y = y[(slice(None), slice(None), *(slice(p, n - p) for p, n in zip(padding, size, strict=True)))]
    return y if a["bias"] is None else y + a["bias"].reshape(1, -1, *[1] * axes)


def _batch_norm(a: dict[str, Any]) -> Array:
    x = a["input"]
    shape = (1, -1, *[1] * (x.ndim - 2))
    spread = np.vectorize(mpmath.sqrt, otypes=[object])(a["running_var"] + mpmath.mpf(a["eps"]))
    y: Array = (x - a["running_mean"].reshape(shape)) / spread.reshape(shape)
    y = y if a["weight"] is None else y * a["weight"].reshape(shape)
    return y if a["bias"] is None else y + a["bias"].reshape(shape)


def _layer_norm(a: dict[str, Any]) -> Array:
    x = a["input"]
    axes = tuple(range(x.ndim - len(a["normalized_shape"]), x.ndim))
    count = int(np.prod([x.shape[axis] for axis in axes]))
    centred = x - x.sum(axes, keepdims=True) / count
    variance = (centred * centred).sum(axes, keepdims=True) / count + mpmath.mpf(a["eps"])
    y: Array = centred / np.vectorize(mpmath.sqrt, otypes=[object])(variance)
    y = y if a["weight"] is None else y * a["weight"]
    return y if a["bias"] is None else y + a["bias"]


def _pool(a: dict[str, Any], largest: bool) -> Array:
    x = a["self"]
    kernel = _pair(a["kernel_size"], x.ndim - 2)
    stride = _pair(a["stride"] or kernel, len(kernel))
    padding = _pair(a["padding"], len(kernel))
    x = _padded(x, [(p, p) for p in padding], mpmath.mpf("-inf") if largest else ZERO)
    out = [(n - k) // s + 1 for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)]
    seen: Array = np.stack(_windows(x, kernel, stride, [1] * len(kernel), out))
    result: Array = seen.max(0) if largest else seen.sum(0) / len(seen)
    return result


def _softmax(a: dict[str, Any]) -> Array:
    powers = np.vectorize(mpmath.exp, otypes=[object])(a["self"])
    result: Array = powers / powers.sum(a["dim"], keepdims=True)
    return result


def _over(reduce: Callable[..., Array]) -> Callable[[dict[str, Any]], Array]:
    def handle(a: dict[str, Any]) -> Array:
        axes = tuple(a["dim"]) if isinstance(a["dim"], list | tuple) else a["dim"]
        return reduce(a["self"], axis=axes, keepdims=a["keepdim"])

    return handle


def _sliced(a: dict[str, Any]) -> Array:
    cut = [slice(None)] * a["self"].ndim
    cut[a["dim"]] = slice(a["start"], a["end"], a["step"])
    result: Array = a["self"][tuple(cut)]
    return result


def _gelu(x: Any) -> Any:
    return x * mpmath.erfc(-x / mpmath.sqrt(2)) / 2


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + mpmath.exp(-x))


_OF_ONE: dict[str, Callable[[Any], Any]] = {
    "relu": lambda x: max(x, ZERO),
    "abs": abs,
    "neg": operator.neg,
    "sign": lambda x: mpmath.mpf((x > 0) - (x < 0)),
    "square": lambda x: x * x,
    "reciprocal": lambda x: 1 / x,
    "exp": mpmath.exp,
    "sqrt": mpmath.sqrt,
    "sigmoid": _sigmoid,
    "tanh": mpmath.tanh,
    "gelu": _gelu,
    "silu": lambda x: x * _sigmoid(x),
    "hardswish": lambda x: x * min(max(x + 3, ZERO), mpmath.mpf(6)) / 6,
    "hardsigmoid": lambda x: min(max(x + 3, ZERO), mpmath.mpf(6)) / 6,
}

_OPERATIONS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "linear": _linear,
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv_transpose1d": _transposed,
    "conv_transpose2d": _transposed,
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "avg_pool1d": lambda a: _pool(a, False),
    "avg_pool2d": lambda a: _pool(a, False),
    "max_pool1d": lambda a: _pool(a, True),
    "max_pool2d": lambda a: _pool(a, True),
    "leaky_relu": lambda a: np.where(a["self"] < 0, a["self"] * mpmath.mpf(a["negative_slope"]), a["self"]),
    "prelu": lambda a: np.where(a["self"] < 0, a["self"] * a["weight"], a["self"]),
    "clamp": lambda a: np.minimum(np.maximum(a["self"], mpmath.mpf(a["min"])), mpmath.mpf(a["max"])),
    "hardtanh": lambda a: np.minimum(np.maximum(a["self"], mpmath.mpf(a["min_val"])), mpmath.mpf(a["max_val"])),
    "add": lambda a: _real(a["self"]) + _real(a["other"]) * _real(a["alpha"]),
    "add_": lambda a: _real(a["self"]) + _real(a["other"]) * _real(a["alpha"]),
    "sub": lambda a: _real(a["self"]) - _real(a["other"]) * _real(a["alpha"]),
    "mul": lambda a: _real(a["self"]) * _real(a["other"]),
    "div": lambda a: _real(a["self"]) / _real(a["other"]),
    "maximum": lambda a: np.maximum(a["self"], a["other"]),
    "minimum": lambda a: np.minimum(a["self"], a["other"]),
    "cat": lambda a: np.concatenate(a["tensors"], a["dim"]),
    "view": lambda a: a["self"].reshape(a["size"]),
    "reshape": lambda a: a["self"].reshape(a["shape"]),
    "flatten": lambda a: a["self"].reshape(*a["self"].shape[: a["start_dim"]], -1),
    "permute": lambda a: a["self"].transpose(a["dims"]),
    "flip": lambda a: np.flip(a["self"], a["dims"]),
    "slice": _sliced,
    "sum": _over(np.sum),
    "mean": lambda a: _over(np.sum)(a) / int(np.prod([a["self"].shape[axis] for axis in a["dim"]])),
    "amax": _over(np.amax),
    "softmax": _softmax,
    "dropout": lambda a: a["input"],
    "clone": lambda a: a["self"],
    "lift_fresh_copy": lambda a: a["self"],
    "detach_": lambda a: a["self"],
}
