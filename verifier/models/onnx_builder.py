"""The graph under construction, and one node of the file as the operator table sees it.

A classifier is a function of one input. So the file is read at batch 1: every value is either a constant of
the file or belongs to one row, and the module computes that same value for each row of any batch. Shapes are
followed on torch's meta device, so a size is known, and counted, before any memory is taken for it.
"""

import keyword
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from verifier.errors import InvalidProblem, Unsupported
from verifier.models.onnx_file import MAX_ELEMENTS, MAX_ROW_ELEMENTS, broken, label

PROBE_BATCH = 3
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Rows:
    """A value that depends on the input, for one row.

    Args:
        node: computes [B, *shape] in the module.
        shape: of one row.
        batch_axis: whether the file writes the value as [1, *shape]; otherwise it writes `shape` alone.
    """

    node: fx.Node
    shape: tuple[int, ...]
    batch_axis: bool

    @property
    def file_shape(self) -> tuple[int, ...]:
        """The shape of the value in the file, at batch 1."""
        return (1, *self.shape) if self.batch_axis else self.shape


Value = Rows | NDArray[Any]


class Builder:
    """A torch.fx graph that grows by one operation at a time, and the elements that it may still take."""

    def __init__(self) -> None:
        self._root = nn.Module()
        self._graph = fx.Graph()
        self._names: set[str] = set()
        self._elements = 0

    def input(self, shape: tuple[int, ...], batch_axis: bool) -> Rows:
        """The input [B, *shape] of the module. Asked for once, and first."""
        return Rows(self._graph.placeholder("x"), shape, batch_axis)

    def layer(self, call: "Call", layer: nn.Module, x: Rows, weights: Mapping[str, NDArray[Any]]) -> Rows:
        """`layer(x)` with these weights; `layer` comes on the meta device, so its own were never drawn."""
        layer = layer.eval()
        shape = self._shape(call, lambda: layer(_probe(x)))
        for name, values in weights.items():
            self._place(call, layer, name, values)
        name = self._name(call.name)
        self._root.add_module(name, layer)
        return Rows(self._graph.create_node("call_module", name, (x.node,), name=name), shape, x.batch_axis)

    def function(
        self,
        call: "Call",
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        options: dict[str, Any],
        batch: bool,
    ) -> Rows:
        """`function(*arguments, **options)`; arguments may be rows, constants, lists of them, and literals."""
        shape = self._shape(call, lambda: function(*_replaced(arguments, _probe), **options))
        nodes = _replaced(arguments, lambda value: self._node(call, value))
        node = self._graph.create_node("call_function", function, nodes, options, name=self._name(call.name))
        return Rows(node, shape, batch)

    def spend(self, call: "Call", elements: int) -> None:
        """Count elements of weights, constants and values of one row; Unsupported where there are too many."""
        self._elements += elements
        if self._elements > MAX_ELEMENTS:
            raise call.refuse(f"weights and values of one input must have at most {MAX_ELEMENTS} elements in all")

    def finish(self, logits: Rows) -> fx.GraphModule:
        """The module that computes these logits. Nothing in it asks for a gradient."""
        self._graph.output(logits.node)
        module = fx.GraphModule(self._root, self._graph)
        _fold_biases(module)
        _drop_unused(module)
        module.recompile()
        return module.eval()

    def _shape(self, call: "Call", compute: Callable[[], Any]) -> tuple[int, ...]:
        """The shape of one row of what is computed on the meta device, counted."""
        try:
            with torch.no_grad():
                result = compute()
        except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
            raise call.broken(f"its inputs do not fit together ({str(error).splitlines()[0][:200]})") from None
        if result.dtype != torch.float32 or result.ndim == 0 or result.shape[0] != PROBE_BATCH:
            raise call.refuse("it does not keep the rows of a batch apart")
        if result.numel() == 0:
            raise call.refuse("its result has no elements")
        shape = tuple(result.shape[1:])
        if math.prod(shape) > MAX_ROW_ELEMENTS:
            raise call.refuse(
                f"its result must have at most {MAX_ROW_ELEMENTS} elements for one input, got {list(shape)}"
            )
        self.spend(call, math.prod(shape))
        return shape

    def _place(self, call: "Call", layer: nn.Module, name: str, values: NDArray[Any]) -> None:
        expected = getattr(layer, name)
        if values.shape != tuple(expected.shape):
            raise call.broken(f"its {name} must have shape {list(expected.shape)}, got {list(values.shape)}")
        self.spend(call, values.size)
        tensor = _tensor(values)
        setattr(layer, name, nn.Parameter(tensor, requires_grad=False) if name in layer._parameters else tensor)

    def _node(self, call: "Call", value: Value) -> fx.Node:
        """The node of a value; a constant becomes a buffer."""
        if isinstance(value, Rows):
            return value.node
        self.spend(call, value.size)
        name = self._name(f"{call.name}_constant")
        self._root.register_buffer(name, _tensor(value))
        return self._graph.create_node("get_attr", name, name=name)

    def _name(self, wanted: str) -> str:
        """The name in the file, as a new Python identifier."""
        base = re.sub(r"\W", "_", wanted, flags=re.ASCII).strip("_")[:_LONGEST_NAME] or "node"
        base = base if base[0].isalpha() else f"node_{base}"
        name, count = base, 1
        while name in self._names or hasattr(self._root, name) or keyword.iskeyword(name):
            name, count = f"{base}_{count}", count + 1
        self._names.add(name)
        return name


@dataclass(eq=False)
class Call:
    """One node of the file, with its inputs known.

    Args:
        builder: of the graph it is read into.
        node: as the file has it.
        opset: version of the operator set.
        inputs: constants of the file and rows; None where an optional input is left out.
        attributes: by name; those that are still here after reading were not understood.
    """

    builder: Builder
    node: Any
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: dict[str, Any]

    @property
    def name(self) -> str:
        """Of the node; where the file gives none, its operator and output."""
        return str(self.node.name) or f"{self.node.op_type}_{self.node.output[0]}"

    def refuse(self, why: str) -> Unsupported:
        """The error for a node that we do not treat."""
        return Unsupported(f"{label(self.node)} is not supported: {why}; export the model without it")

    def broken(self, why: str) -> InvalidProblem:
        """The error for a node that cannot be computed."""
        return broken(f"{label(self.node)}: {why}")

    def take(self, attribute: str, default: Any = None) -> Any:
        """The value of an attribute, which counts as understood from here on."""
        return self.attributes.pop(attribute, default)

    def expect(self, attribute: str, *allowed: Any) -> Any:
        """The value of an attribute, the first of the allowed ones where it is left out."""
        value = self.take(attribute, allowed[0])
        if value not in allowed:
            raise self.refuse(f"attribute {attribute} must be {' or '.join(map(repr, allowed))}, got {value!r:.100}")
        return value

    def value(self, index: int) -> Value:
        """An input that must be there."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.broken(f"input {index} is missing")
        return value

    def rows(self, index: int = 0) -> Rows:
        """An input that must depend on the model's input."""
        value = self.value(index)
        if not isinstance(value, Rows):
            raise self.refuse(f"its input {index} must depend on the model's input, and is a constant")
        return value

    def constant(self, index: int) -> NDArray[Any] | None:
        """An input that must be a constant of the file, or None where it is left out."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, Rows):
            raise self.refuse(f"its input {index} must be a constant, and depends on the model's input")
        return value

    def weights(self, index: int) -> NDArray[np.float32]:
        """An input that must be a constant of finite float32 numbers."""
        self.value(index)
        values = self.constant(index)
        assert values is not None
        return self.floats(values)

    def floats(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """A constant, checked to be of finite float32 numbers."""
        if values.dtype != np.float32:
            raise self.refuse(f"its constants must be float32, got {values.dtype}")
        if not np.isfinite(values).all():
            raise self.refuse("its constants must be finite, got NaN or infinity")
        return values

    def integers(self, attribute: str, index: int) -> tuple[int, ...] | None:
        """A list of integers that older versions write as an attribute and newer ones as an input."""
        values = self.take(attribute)
        if values is None:
            found = self.constant(index)
            values = None if found is None else found.reshape(-1).tolist()
        return None if values is None else tuple(int(value) for value in values)

    def axis(self, x: Rows, axis: int) -> int:
        """The axis in the module of an axis in the file, which must not be the batch axis."""
        rank = len(x.file_shape)
        if not -rank <= axis < rank:
            raise self.broken(f"axis must lie in [-{rank}, {rank}), got {axis}")
        if x.batch_axis and axis % rank == 0:
            raise self.refuse("it works along the batch axis")
        return axis % rank + (0 if x.batch_axis else 1)

    def layer(self, layer: nn.Module, x: Rows, **weights: NDArray[Any]) -> Rows:
        """`layer(x)` as a leaf module; `layer` comes on the meta device."""
        return self.builder.layer(self, layer, x, weights)

    def function(
        self, function: Callable[..., Any], x: Rows, *arguments: Any, batch_axis: bool | None = None, **options: Any
    ) -> Rows:
        """`function(x, *arguments, **options)`; the result has a batch axis in the file where `x` has."""
        batch = x.batch_axis if batch_axis is None else batch_axis
        return self.builder.function(self, function, (x, *arguments), options, batch)

    def view(self, x: Rows, shape: tuple[int, ...], batch_axis: bool) -> Rows:
        """The same numbers in the same order, each row in another shape; no operation where it has it already."""
        if shape == x.shape:
            return Rows(x.node, shape, batch_axis)
        if len(shape) == 1:
            return self.function(torch.flatten, x, 1, batch_axis=batch_axis)
        return self.function(torch.reshape, x, (-1, *shape), batch_axis=batch_axis)

    def file_view(self, x: Rows, file_shape: tuple[int, ...]) -> Rows:
        """The same numbers in a shape of the file: a leading 1 is taken as the batch axis."""
        if math.prod(file_shape) != math.prod(x.shape):
            raise self.broken(f"shape {list(x.file_shape)} cannot become {list(file_shape)}")
        if len(file_shape) > 1 and file_shape[0] == 1:
            return self.view(x, file_shape[1:], batch_axis=True)
        return self.view(x, file_shape, batch_axis=False)

    def batched(self, index: int = 0) -> Rows:
        """An input that the file must write as [1, ...], for operators whose axis 0 is the batch axis."""
        x = self.rows(index)
        if not x.batch_axis and (len(x.shape) < 2 or x.shape[0] != 1):
            raise self.refuse(f"axis 0 of its input must be a batch axis of size 1, got shape {list(x.file_shape)}")
        return x if x.batch_axis else self.view(x, x.shape[1:], batch_axis=True)


def _probe(value: Value) -> Tensor:
    if isinstance(value, Rows):
        return torch.empty((PROBE_BATCH, *value.shape), device="meta")
    return torch.empty(value.shape, dtype=torch.from_numpy(np.empty(0, value.dtype)).dtype, device="meta")


def _replaced(argument: Any, replace: Callable[[Value], Any]) -> Any:
    if isinstance(argument, Rows | np.ndarray):
        return replace(argument)
    if isinstance(argument, tuple | list):
        return type(argument)(_replaced(item, replace) for item in argument)
    return argument


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.array(values, order="C"))


def _fold_biases(module: fx.GraphModule) -> None:
    """Give a Linear without bias the constant that is added to it: MatMul and Add are one affine layer."""
    for node in list(module.graph.nodes):
        if node.target is not torch.add:
            continue
        for product, constant in (node.args, node.args[::-1]):
            layer = _layer_of(module, product)
            if not isinstance(layer, nn.Linear) or layer.bias is not None or len(product.users) > 1:
                continue
            bias = getattr(module, constant.target) if _is_buffer(constant) else None
            if bias is not None and bias.shape[-1:] == (layer.out_features,) == (bias.numel(),):
                layer.bias = nn.Parameter(bias.reshape(-1), requires_grad=False)
                node.replace_all_uses_with(product)
                module.graph.erase_node(node)
                break


def _layer_of(module: fx.GraphModule, argument: Any) -> nn.Module | None:
    is_layer = isinstance(argument, fx.Node) and argument.op == "call_module"
    return module.get_submodule(str(argument.target)) if is_layer else None


def _is_buffer(argument: Any) -> bool:
    return isinstance(argument, fx.Node) and argument.op == "get_attr"


def _drop_unused(module: fx.GraphModule) -> None:
    """Leave only what the output depends on: nodes, leaf modules and buffers."""
    module.graph.eliminate_dead_code()
    module.delete_all_unused_submodules()
    used = {node.target for node in module.graph.nodes if node.op == "get_attr"}
    for name, _ in list(module.named_buffers(recurse=False)):
        if name not in used:
            delattr(module, name)
