"""Nodes whose inputs are all constants: computed once, while the file is read."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from verifier.models.onnx_builder import Call

Array = NDArray[Any]


def fold(call: Call) -> list[Array]:
    """The outputs of a node of constants, by the reference semantics of ONNX.

    How large they are is known, and counted, before they are computed.

    Raises:
        Unsupported: an operator that is not folded, or a result over the limit.
        InvalidProblem: the inputs do not fit the operator.
    """
    operator = call.node.op_type
    if operator not in SIZES:
        raise call.refuse(f"operator {operator} is not read on constants alone")
    inputs = [value for value in call.inputs if isinstance(value, np.ndarray)]
    try:
        call.builder.spend(call, SIZES[operator](call, inputs))
        evaluator = ReferenceEvaluator(call.node, opsets={"": call.opset})
        feeds = {name: value for name, value in zip(call.node.input, call.inputs, strict=True) if name}
        with np.errstate(all="ignore"):
            results = evaluator.run(None, feeds)
    except (ValueError, TypeError, IndexError, RuntimeError, OverflowError) as error:
        raise call.broken(f"cannot be computed ({str(error)[:200]})") from None
    call.attributes.clear()
    return [np.asarray(result) for result in results]


def _own(call: Call, _inputs: list[Array]) -> int:
    tensor = call.attributes.get("value")
    if tensor is not None:
        return math.prod(tensor.dims)
    return sum(len(attribute.floats) + len(attribute.ints) + 1 for attribute in call.node.attribute)


def _same(_call: Call, inputs: list[Array]) -> int:
    return inputs[0].size


def _all(_call: Call, inputs: list[Array]) -> int:
    return sum(values.size for values in inputs)


def _broadcast(_call: Call, inputs: list[Array]) -> int:
    return math.prod(np.broadcast_shapes(*(values.shape for values in inputs)))


def _filled(_call: Call, inputs: list[Array]) -> int:
    return math.prod(_sizes(inputs[0]))


def _expanded(_call: Call, inputs: list[Array]) -> int:
    return math.prod(max(size, 1) for size in _sizes(inputs[1])) * max(inputs[0].size, 1)


def _gathered(call: Call, inputs: list[Array]) -> int:
    axis = int(call.attributes.get("axis", 0))
    return int(inputs[1].size * (inputs[0].size // max(inputs[0].shape[axis], 1)))


def _counted(_call: Call, inputs: list[Array]) -> int:
    start, limit, delta = (values.reshape(-1)[0].item() for values in inputs)
    return max(math.ceil((limit - start) / delta), 0) if delta else 0


def _sizes(values: Array) -> list[int]:
    return [int(size) for size in values.reshape(-1)]


SIZES: dict[str, Callable[[Call, list[Array]], int]] = {
    "Constant": _own,
    "ConstantOfShape": _filled,
    "Expand": _expanded,
    "Gather": _gathered,
    "Range": _counted,
    "Concat": _all,
    **dict.fromkeys(
        ("Shape", "Size", "Identity", "Dropout", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze"), _same
    ),
    **dict.fromkeys(("Slice", "Split", "Transpose"), _same),
    **dict.fromkeys(("Neg", "Abs", "Sqrt", "Exp", "Log", "Reciprocal", "Floor", "Ceil", "Sign", "Not"), _same),
    **dict.fromkeys(("ReduceProd", "ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin"), _same),
    **dict.fromkeys(("Add", "Sub", "Mul", "Div", "Mod", "Pow", "Min", "Max"), _broadcast),
    **dict.fromkeys(("Equal", "Less", "Greater", "And", "Or", "Where"), _broadcast),
}
