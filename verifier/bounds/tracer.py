"""Building the nodes of an exported program, its constants folded and their roundings counted."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.fx
from torch import Tensor

from verifier.bounds import constants
from verifier.bounds.activation import Activation
from verifier.bounds.aliases import Aliases, is_in_place
from verifier.bounds.constants import Constant
from verifier.bounds.folding import followed
from verifier.bounds.graph import Affine, Elementwise, Graph, Input, Node, Operation, Softmax
from verifier.bounds.linear import LinearMap, Scale, Shape
from verifier.bounds.moves import Selection, View, positions
from verifier.errors import Unsupported, VerifierError


@dataclass(frozen=True)
class Variable:
    """A value that depends on the input: the node that computes it."""

    node: int


@dataclass(frozen=True, eq=False)
class LowPadded:
    """A variable padded with minus infinity; only max pooling may use it.

    Args:
        x: the variable.
        positions: [*shape] of the padded value in the flattened variable, -1 where it is minus infinity.
    """

    x: Variable
    positions: Tensor


@dataclass(frozen=True)
class LogSoftmax:
    """Seen while tracing only: it is dropped at the end of a network, and refused elsewhere."""

    axis: int


Value = Any
"""A Variable, a LowPadded, a constant (Tensor, `Constant`, number), a list of these, ..."""

Arguments = dict[str, Value]
"""Of an operation, by the names in its schema."""


class Tracer:
    """Builds the nodes of one exported program.

    Args:
        program: traced with a batch of inputs.
        input_shape: of one input.
        batch: how many there were.
        handlers: ATen operation -> what turns it into nodes.
    """

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        input_shape: Shape,
        batch: int,
        handlers: "Mapping[Any, Handler]",
    ) -> None:
        self._program = program
        self._batch = batch
        self._handlers = handlers
        self._nodes = [Node(Input(), (), tuple(input_shape), "input")]
        self._layer = "input"
        self._operation = ""
        self._shape: Shape = ()
        self.dropped: Callable[[Tensor], Tensor] = _same_value

    def graph(self, keep_softmax: bool = False) -> Graph:
        """All nodes that the logits need; a last softmax is dropped unless it is to stay."""
        values: dict[torch.fx.Node, Value] = {}
        aliases = Aliases(self._program.graph)
        for node in self._program.graph.nodes:
            if node.op == "placeholder":
                values[node] = self._placeholder(node)
            elif node.op == "get_attr":
                values[node] = None  # a branch of a control flow operation, which is refused by its own name
            elif node.op == "call_function":
                values[node] = self._call(node, values)
                if is_in_place(node):
                    self._overwrite(node, aliases, values)
        outputs = self._program.graph_signature.user_outputs
        if len(outputs) != 1 or not isinstance(outputs[0], str):
            raise Unsupported(
                f"the network has {len(outputs)} outputs, expected one tensor of logits: export only that"
            )
        return self._finish(next(value for node, value in values.items() if node.name == outputs[0]), keep_softmax)

    # -- what handlers use

    @property
    def operation(self) -> str:
        """Name of the operation at hand."""
        return self._operation

    @property
    def out_shape(self) -> Shape:
        """Of the operation's value for one input; of its first one where it has several."""
        return self._shape

    def shape(self, x: Variable) -> Shape:
        """Of one input's value."""
        return self._nodes[x.node].shape

    def node(self, x: Variable) -> Node:
        """What computes a value."""
        return self._nodes[x.node]

    def refuse(self, why: str) -> Unsupported:
        """The error that names the layer and the operation."""
        return Unsupported(f"layer {self._layer}: {self._operation} {why}")

    def affine(self, x: Variable, linear: LinearMap, bias: Constant | None = None, roundings: int = 0) -> Variable:
        """A node for W x + b, its tensors in float64.

        Args:
            x: the operand.
            linear: W; within so many roundings of the meant one.
            bias: b, which broadcasts against the output; None is zero.
            roundings: of W.
        """
        linear = linear.to(torch.device("cpu"), torch.float64)
        if bias is None:
            return self.join(Affine(linear, roundings=roundings), [x], linear.out_shape)
        most = max(roundings, bias.roundings)
        return self.join(Affine(linear, bias.value, bias.magnitude, most), [x], linear.out_shape)

    def scale(self, x: Variable, factor: Constant, bias: Constant | None = None) -> Variable:
        """A node for factor * x + bias element by element, folded into the affine node before it where that is one."""
        node, relative = self._nodes[x.node], factor.relative()
        if isinstance(node.operation, Affine):
            value, magnitude = (None, None) if bias is None else (bias.value, bias.magnitude)
            most = max(relative, bias.roundings if bias else 0)
            if folded := followed(node.operation, factor.value, value, most, magnitude):
                return self.join(folded, list(map(Variable, node.inputs)), node.shape)
        return self.affine(x, Scale(factor.value, node.shape), bias, relative)

    def elementwise(self, x: Variable, activation: Activation) -> Variable:
        """A node for a function of each element."""
        return self.join(Elementwise(activation), [x], self.shape(x))

    def join(self, operation: Operation, branches: Sequence[Variable], shape: Shape) -> Variable:
        """A node of some branches."""
        self._nodes.append(Node(operation, tuple(x.node for x in branches), tuple(shape), self._layer))
        return Variable(len(self._nodes) - 1)

    def constant(self, value: Constant) -> Variable:
        """A constant of one input as a node, for where a variable is expected."""
        nothing = torch.full(tuple(value.value.shape), -1)
        return self.affine(Variable(0), Selection(self._nodes[0].shape, nothing), value)

    def expand(self, x: Variable, shape: Shape) -> Variable:
        """x broadcast to a shape."""
        if self.shape(x) == tuple(shape):
            return x
        moved = positions(self.shape(x)).expand(1, *shape)[0]
        return self.affine(x, Selection(self.shape(x), moved.contiguous()))

    def view(self, x: Variable, shape: Shape) -> Variable:
        """x in another shape."""
        return x if self.shape(x) == tuple(shape) else self.affine(x, View(self.shape(x), tuple(shape)))

    def weight(self, value: Value, rank: int) -> tuple[Tensor, int]:
        """A constant of so many axes, and its roundings relative to itself."""
        if not isinstance(value, Tensor | Constant):
            raise self.refuse("has weights that depend on the input")
        constant = constants.lifted(value)
        if constant.value.dim() != rank:
            raise self.refuse(f"has weights of shape {list(constant.value.shape)}, expected {rank} axes")
        return constant.value, constant.relative()

    def bias(self, value: Value, shape: Shape = (-1,)) -> Constant | None:
        """A constant or nothing, in a shape."""
        if isinstance(value, Variable):
            raise self.refuse("has a bias that depends on the input")
        return None if value is None else constants.lifted(value).moved(lambda tensor: tensor.reshape(shape))

    def per_input(self, value: Value, rank: int) -> Constant:
        """A constant without its batch axis, to broadcast against one input's value of that many axes."""
        constant = constants.lifted(value)
        numbers = constant.value
        if numbers.dim() <= rank:
            return constant
        if numbers.dim() > rank + 1 or not bool((numbers == numbers[:1]).all()):
            raise self.refuse(f"has a constant of shape {list(numbers.shape)} that differs over the batch")
        return constant.moved(lambda tensor: tensor[0])

    # -- inner workings

    def _placeholder(self, node: torch.fx.Node) -> Value:
        signature = self._program.graph_signature
        for names, source in (
            (signature.inputs_to_parameters, self._program.state_dict),
            (signature.inputs_to_buffers, self._program.state_dict | self._program.constants),
            (signature.inputs_to_lifted_tensor_constants, self._program.constants),
        ):
            if node.name in names:
                tensor: Tensor = source[names[node.name]].detach()
                return tensor
        return Variable(0)

    def _call(self, node: torch.fx.Node, values: Mapping[torch.fx.Node, Value]) -> Value:
        args = torch.fx.map_arg(node.args, values.__getitem__)
        kwargs = torch.fx.map_arg(node.kwargs, values.__getitem__)
        if node.target is operator.getitem:
            return self._item(node, *args)
        self._layer, self._operation = _layer_of(node), _name_of(node.target)
        if self._operation == "aten._assert_tensor_metadata":
            return None
        try:
            if not any(isinstance(value, Variable | LowPadded) for value in _flat([args, list(kwargs.values())])):
                return self._constant_call(node, args, kwargs)
            return self._handled(node, args, kwargs)
        except VerifierError:
            raise
        except constants.Inexact as error:
            raise self.refuse(str(error)) from error
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RuntimeError) as error:
            reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
            raise self.refuse(f"is used in a way that has no bounds here ({reason})") from error

    def _constant_call(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Value:
        if is_in_place(node):
            raise self.refuse("changes a constant in place: make a new one instead")
        return constants.fold(node.target, args, kwargs)

    def _handled(self, node: torch.fx.Node, args: Any, kwargs: Any) -> Value:
        packet = getattr(node.target, "overloadpacket", None)
        handler = self._handlers.get(node.target) or self._handlers.get(packet)
        if handler is None:
            raise self.refuse("has no bounds here: replace it by one of those in docs/guarantees.md, or use smoothing")
        self._shape = self._shape_of(node)
        bound = _bind(node.target, args, kwargs)
        padded = any(isinstance(value, LowPadded) for value in _flat(list(bound.values())))
        if padded and "max_pool" not in self._operation:
            raise self.refuse("gets a value padded with minus infinity, which only max pooling may")
        return handler(self, bound)

    def _item(self, node: torch.fx.Node, results: Any, index: Any) -> Value:
        """One of an operation's results; of those with several values in one, only the first is traced."""
        if not isinstance(results, Variable | LowPadded):
            return results[index]
        if index == 0 or not node.users:
            return results
        raise self.refuse("has bounds for its values only: the places where they are may not be used")

    def _shape_of(self, node: torch.fx.Node) -> Shape:
        value = node.meta["val"]
        value = value[0] if isinstance(value, list | tuple) else value
        if not isinstance(value, Tensor):
            raise self.refuse("makes a number out of values: keep it a tensor")
        if value.dtype not in (torch.float32, torch.float64):
            raise self.refuse(f"has values of {value.dtype}, expected float32")
        if value.dim() < 1 or value.shape[0] != self._batch:
            raise self.refuse(
                f"moves the batch axis: its value has the shape {list(value.shape)} for {self._batch} inputs"
            )
        return tuple(value.shape[1:])

    def _overwrite(self, node: torch.fx.Node, aliases: Aliases, values: dict[torch.fx.Node, Value]) -> None:
        """Let all later readers of what an operation changed in place see its result."""
        if aliases.views_read_after(node):
            raise self.refuse("changes in place what is read through another view afterwards: use the plain operation")
        for other in aliases.same_value(node):
            values[other] = values[node]

    def _finish(self, output: Value, keep_softmax: bool) -> Graph:
        if not isinstance(output, Variable):
            raise Unsupported("the network's output does not depend on its input, or is no tensor of logits")
        output = output if keep_softmax else self._without_softmax(output)
        output = self.view(output, (math.prod(self.shape(output)),))
        return Graph(_reachable(self._nodes, output.node))

    def _without_softmax(self, x: Variable) -> Variable:
        """What a last softmax is computed from."""
        node = self._nodes[x.node]
        if not isinstance(node.operation, Softmax | LogSoftmax):
            return x
        if len([size for size in node.shape if size > 1]) > 1 or node.shape[node.operation.axis] < 2:
            raise Unsupported(f"layer {node.layer}: softmax is not over the classes")
        self.dropped = _softmax_value if isinstance(node.operation, Softmax) else _log_softmax_value
        return Variable(node.inputs[0])


Handler = Callable[[Tracer, Arguments], Value]


def _same_value(x: Tensor) -> Tensor:
    return x


def _softmax_value(x: Tensor) -> Tensor:
    return x.softmax(-1)


def _log_softmax_value(x: Tensor) -> Tensor:
    return x.log_softmax(-1)


def _reachable(nodes: Sequence[Node], last: int) -> tuple[Node, ...]:
    """The nodes that the last one needs, and the input, renumbered."""
    needed = {0, last}
    for number in range(last, 0, -1):
        if number in needed:
            needed.update(nodes[number].inputs)
    for number in sorted(needed):
        if isinstance(nodes[number].operation, LogSoftmax):
            raise Unsupported(
                f"layer {nodes[number].layer}: log_softmax has bounds at the end of a network only: "
                "export the network's logits"
            )
    order = {number: position for position, number in enumerate(sorted(needed))}
    return tuple(replace(nodes[n], inputs=tuple(order[i] for i in nodes[n].inputs)) for n in sorted(needed))


def _flat(value: Any) -> list[Any]:
    if isinstance(value, list | tuple):
        return [inner for item in value for inner in _flat(item)]
    return [value]


def _layer_of(node: torch.fx.Node) -> str:
    """The module's path in the network and its class; where it is the network itself, the traced name."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path, kind = stack[-1] if stack else ("", "")
    kind = kind if isinstance(kind, str) else kind.__name__
    name = path.removeprefix("L__self___") or node.name
    return f"{name} ({kind.rpartition('.')[2]})" if kind else name


def _name_of(target: Any) -> str:
    return str(getattr(target, "overloadpacket", target))


def _bind(target: Any, args: Sequence[Value], kwargs: Mapping[str, Value]) -> Arguments:
    """Arguments by their names in the operation's schema, with its defaults."""
    bound: Arguments = {}
    for position, argument in enumerate(target._schema.arguments):
        if position < len(args):
            bound[argument.name] = args[position]
        elif argument.name in kwargs:
            bound[argument.name] = kwargs[argument.name]
        else:
            bound[argument.name] = argument.default_value
    return bound
