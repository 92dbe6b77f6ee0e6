"""An ONNX file at the door: its bytes are anybody's, so limits are checked before any work is done on them."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx.checker
import onnx.defs
import onnx.numpy_helper
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from verifier.errors import InvalidProblem, Unsupported

MAX_BYTES = 2**30
MAX_NODES = 10_000
MAX_ELEMENTS = 2**28
MAX_ROW_ELEMENTS = 2**24
MIN_OPSET = 6

_OUR_DOMAINS = ("", "ai.onnx")
_DATATYPES = {
    onnx.TensorProto.FLOAT,
    onnx.TensorProto.DOUBLE,
    onnx.TensorProto.INT32,
    onnx.TensorProto.INT64,
    onnx.TensorProto.BOOL,
}
_ATTRIBUTES = {
    onnx.AttributeProto.FLOAT,
    onnx.AttributeProto.FLOATS,
    onnx.AttributeProto.INT,
    onnx.AttributeProto.INTS,
    onnx.AttributeProto.STRING,
    onnx.AttributeProto.TENSOR,
}
_LONGEST_QUOTE = 200


@dataclass(frozen=True)
class FileInput:
    """The one input of a file.

    Args:
        name: of the tensor.
        shape: of one row, without the batch axis.
        batch_axis: whether axis 0, as the file writes it, is the batch axis; False where the file has none.
        symbolic: whether the file leaves the size of its batch axis open; False where it says 1.
    """

    name: str
    shape: tuple[int, ...]
    batch_axis: bool
    symbolic: bool


@dataclass(frozen=True, eq=False)
class OnnxFile:
    """A file that may be read: one float32 input, one output, our operator set, everything within the limits.

    Args:
        model: the parsed file.
        opset: version of the operator set.
        input: the one input that is no initializer.
        output: name of the one output.
        constants: the initializers, by name; all finite.
    """

    model: Any
    opset: int
    input: FileInput
    output: str
    constants: dict[str, NDArray[Any]]


def open_onnx(data: bytes) -> OnnxFile:
    """Parse and check a file.

    No path is opened: what is not in `data` is not in the model. Nothing is computed but sizes.

    Args:
        data: the file.
    Raises:
        InvalidProblem: the bytes are no valid ONNX model.
        Unsupported: a valid model that we do not treat; the message names the node, tensor or limit.
    """
    model = _parse(data)
    _check_limits(model)
    opset = _opset(model)
    _check_with_onnx(model)
    constants = {tensor.name: read_tensor(tensor) for tensor in model.graph.initializer}
    for name, values in constants.items():
        if not np.isfinite(values).all():
            raise Unsupported(f"weights must be finite, but initializer {quote(name)} has NaN or infinity: train again")
    return OnnxFile(model, opset, _only_input(model.graph), model.graph.output[0].name, constants)


def broken(why: str) -> InvalidProblem:
    """The error for bytes that are no valid ONNX model."""
    return InvalidProblem(f"expected a valid ONNX model: {why}; export the file again", field="model")


def quote(text: str) -> str:
    """A name from the file, quoted, and cut where it is long."""
    return repr(text if len(text) <= _LONGEST_QUOTE else text[:_LONGEST_QUOTE] + "...")


def label(node: Any) -> str:
    """How errors call a node: by its name and operator, or by its output where it has no name."""
    name = quote(node.name) if node.name else f"computing {quote(node.output[0] if node.output else '')}"
    return f"node {name} ({node.op_type})"


def read_tensor(tensor: Any) -> NDArray[Any]:
    """The values of a tensor of the file."""
    try:
        values: NDArray[Any] = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise broken(f"tensor {quote(tensor.name)} cannot be read ({_cut(error)})") from None
    return values


def _parse(data: bytes) -> Any:
    if len(data) > MAX_BYTES:
        raise Unsupported(f"a model file must have at most {MAX_BYTES} bytes, got {len(data)}: send a smaller model")
    try:
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise broken(f"its {len(data)} bytes cannot be parsed ({_cut(error)})") from None
    if not model.HasField("graph"):
        raise broken(f"its {len(data)} bytes hold no graph")
    return model


def _check_limits(model: Any) -> None:
    graph = model.graph
    if len(graph.node) > MAX_NODES:
        raise Unsupported(f"a model must have at most {MAX_NODES} nodes, got {len(graph.node)}: send a smaller model")
    if len(model.functions):
        raise Unsupported(f"functions are not read, got {quote(model.functions[0].name)}: export with them inlined")
    if len(graph.sparse_initializer):
        raise Unsupported("sparse initializers are not read: export dense weights")
    for node in graph.node:
        _check_node(node)
    elements = 0
    for tensor in _tensors(graph):
        _check_tensor(tensor)
        elements += math.prod(tensor.dims)
    if elements > MAX_ELEMENTS:
        raise Unsupported(f"weights must have at most {MAX_ELEMENTS} elements, got {elements}: send a smaller model")


def _check_node(node: Any) -> None:
    if node.domain not in _OUR_DOMAINS:
        raise Unsupported(
            f"{label(node)}: only operators of the domain ai.onnx are read, got domain {quote(node.domain)}; "
            "export without custom operators"
        )
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS):
            raise Unsupported(
                f"{label(node)}: control flow and subgraphs are not read; export a model without branches"
            )
        if attribute.type not in _ATTRIBUTES or attribute.ref_attr_name:
            raise Unsupported(
                f"{label(node)}: attribute {quote(attribute.name)} must hold numbers, text or a dense tensor; "
                "export it in that form"
            )


def _tensors(graph: Any) -> Iterator[Any]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t


def _check_tensor(tensor: Any) -> None:
    if tensor.data_location == onnx.TensorProto.EXTERNAL or len(tensor.external_data):
        raise Unsupported(
            f"tensor {quote(tensor.name)} lies in another file (external data): export the model as a single file"
        )
    if any(size < 0 for size in tensor.dims):
        raise broken(f"tensor {quote(tensor.name)} has a negative size, {list(tensor.dims)}")
    if tensor.data_type not in _DATATYPES:
        raise Unsupported(
            f"tensor {quote(tensor.name)} must be float32, an integer or boolean, "
            f"got {_datatype(tensor.data_type)}: export the model in float32"
        )


def _opset(model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in _OUR_DOMAINS]
    newest = onnx.defs.onnx_opset_version()
    if len(versions) != 1:
        raise broken(f"it must name one version of the operator set ai.onnx, got {versions}")
    if not MIN_OPSET <= versions[0] <= newest:
        raise Unsupported(
            f"the operator set must be of version {MIN_OPSET} to {newest}, got {versions[0]}: "
            "export for a version in between"
        )
    return int(versions[0])


def _check_with_onnx(model: Any) -> None:
    try:
        onnx.checker.check_model(model)
    except Exception as error:
        raise broken(f"the checker of ONNX refuses it ({_cut(error)})") from None


def _only_input(graph: Any) -> FileInput:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise Unsupported(
            "a model must have one input and one output, got inputs "
            f"{_names(inputs)} and outputs {_names(graph.output)}: export the network from input to logits only"
        )
    if graph.output[0].name in weights:
        raise Unsupported(f"output {quote(graph.output[0].name)} is a constant: export the logits of the input")
    for value in (inputs[0], graph.output[0]):
        kind = value.type.WhichOneof("value")
        if kind != "tensor_type":
            raise Unsupported(
                f"{quote(value.name)} must be a tensor, got {kind}: export a network from tensor to tensor"
            )
        if value.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            got = _datatype(value.type.tensor_type.elem_type)
            raise Unsupported(f"{quote(value.name)} must be float32, got {got}: export the model in float32")
    return _rows_of(inputs[0], graph.output[0])


def _rows_of(value: Any, output: Any) -> FileInput:
    sizes = [_size(dimension) for dimension in value.type.tensor_type.shape.dim]
    if not sizes or any(size is None for size in sizes[1:]):
        raise Unsupported(
            f"input {quote(value.name)} must have a known shape, only its first axis may be open, "
            f"got {_written(sizes)}: export with the sizes of one input"
        )
    first, row = sizes[0], tuple(size for size in sizes[1:] if size is not None)
    if row and first in (None, 1):
        shape, batch_axis = row, True
    elif first is not None and first > 1 and (not row or len(output.type.tensor_type.shape.dim) == 1):
        shape, batch_axis = (first, *row), False
    else:
        raise Unsupported(
            f"the first axis of input {quote(value.name)} must be the batch axis, of open size or 1, "
            f"got {_written(sizes)}: export with a batch of one"
        )
    if math.prod(shape) > MAX_ROW_ELEMENTS:
        raise Unsupported(
            f"one input must have at most {MAX_ROW_ELEMENTS} elements, got shape {list(shape)}: send a smaller model"
        )
    return FileInput(value.name, shape, batch_axis, symbolic=first is None)


def _size(dimension: Any) -> int | None:
    size = dimension.dim_value if dimension.HasField("dim_value") else 0
    return int(size) if size > 0 else None


def _written(sizes: list[int | None]) -> str:
    return "[" + ", ".join("?" if size is None else str(size) for size in sizes) + "]"


def _names(values: Any) -> str:
    return "[" + ", ".join(quote(value.name) for value in list(values)[:5]) + "]"


def _datatype(code: int) -> str:
    known = onnx.TensorProto.DataType.values()
    return str(onnx.TensorProto.DataType.Name(code)) if code in known else f"datatype {code}"


def _cut(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text[:_LONGEST_QUOTE] or type(error).__name__
