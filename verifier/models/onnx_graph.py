"""The reader from ONNX to a torch.fx module: what may come through the door becomes what the methods read."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx.helper
import torch

from verifier.errors import Unsupported
from verifier.models.onnx_builder import Builder, Call, Rows, Value
from verifier.models.onnx_file import OnnxFile, broken, label, open_onnx, quote
from verifier.models.onnx_folding import SIZES, fold
from verifier.models.onnx_operators import OPERATORS
from verifier.models.onnx_reference import compare

CONVERTER = "verifier.onnx/1"


@dataclass(frozen=True, eq=False)
class ImportedModel:
    """A network that was read from ONNX and agrees with a second reading.

    Args:
        module: logits [B, classes] from inputs [B, *input_shape] of float32, for any B >= 1; in eval mode, no
            parameter asks for a gradient. Its nodes are the input, leaf modules of torch.nn, functions of torch,
            and buffers; they are called as in the file.
        input_shape: of one input, without the batch axis.
        classes: K >= 2.
        reference_difference: largest difference of a logit from the second reading, on random inputs.
    """

    module: torch.fx.GraphModule
    input_shape: tuple[int, ...]
    classes: int
    reference_difference: float


def import_onnx(data: bytes) -> ImportedModel:
    """Read a classifier from the bytes of a single ONNX file.

    For every input x: module(x[None])[0] is what the file computes for x at batch 1, up to the rounding of
    float32; a row's logits do not depend on its neighbours. Both are measured on random inputs before the model
    is returned, and any doubt is refused.

    Args:
        data: the file. Nothing else is opened.
    Raises:
        InvalidProblem: the bytes are no valid ONNX model.
        Unsupported: a valid model that we do not treat; the message names the node, attribute, tensor or limit.
    """
    file = open_onnx(data)
    try:
        with np.errstate(all="ignore"):
            logits, builder = _read(file)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise broken(f"it contradicts itself ({type(error).__name__}: {str(error)[:200]})") from error
    module = builder.finish(logits)
    difference = compare(file, data, module)
    return ImportedModel(module, file.input.shape, math.prod(logits.shape), difference)


def _read(file: OnnxFile) -> tuple[Rows, Builder]:
    """The logits [B, K] in a new graph."""
    builder = Builder()
    values: dict[str, Value] = {**file.constants}
    values[file.input.name] = builder.input(file.input.shape, file.input.batch_axis)
    call = None
    for node in file.model.graph.node:
        call = _call(builder, file.opset, node, values)
        values.update(zip(node.output, _outputs(call), strict=False))
    logits = values.get(file.output)
    if call is None or not isinstance(logits, Rows):
        raise Unsupported(f"output {quote(file.output)} must depend on the input: export the network with its input")
    return _classes(call, logits), builder


def _call(builder: Builder, opset: int, node: Any, values: dict[str, Value]) -> Call:
    for name in node.input:
        if name and name not in values:
            raise Unsupported(
                f"{label(node)} needs {quote(name)}, an optional output that is not read: export without it"
            )
    inputs = tuple(values[name] if name else None for name in node.input)
    return Call(builder, node, opset, inputs, {attribute.name: _attribute(attribute) for attribute in node.attribute})


def _attribute(attribute: Any) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _outputs(call: Call) -> list[Value]:
    operator = call.node.op_type
    if operator not in OPERATORS and operator not in SIZES:
        raise call.refuse(f"operator {operator} is not read")
    if not any(isinstance(value, Rows) for value in call.inputs):
        return list(fold(call))
    if operator not in OPERATORS:
        raise call.refuse(f"operator {operator} is read on constants only")
    result = OPERATORS[operator](call)
    for name, value in call.attributes.items():
        raise call.refuse(f"attribute {name} is not read, got {value!r:.100}")
    return list(result) if isinstance(result, list) else [result]


def _classes(call: Call, logits: Rows) -> Rows:
    """The logits as [B, K]: axes of size 1 are dropped, nothing else is."""
    classes = math.prod(logits.shape)
    if classes < 2 or classes != max(logits.shape):
        raise Unsupported(
            f"the output must hold one logit a class, at least 2, got shape {list(logits.file_shape)} for one input: "
            "export a classifier"
        )
    return call.view(logits, (classes,), batch_axis=True)
