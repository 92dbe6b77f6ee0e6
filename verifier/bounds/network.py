"""A network ready for bounds: its graph in each arithmetic, and what about it decides the work."""

import math
from dataclasses import dataclass, field

import torch

from verifier.bounds.arithmetic import Arithmetic
from verifier.bounds.graph import Add, Affine, Elementwise, Graph, Input, Maximum, Product, Softmax
from verifier.bounds.linear import Scale

_CURVED = (Elementwise, Maximum, Product, Softmax)
"""Operations whose bounds get tighter with those of their operands."""


@dataclass(eq=False)
class Network:
    """A graph on a device.

    Args:
        graph: in float64.
        device: where bounds are computed.
    """

    graph: Graph
    device: torch.device
    _graphs: dict[torch.dtype, Graph] = field(default_factory=dict)

    def on(self, arithmetic: Arithmetic) -> Graph:
        """The graph with its constants in an arithmetic; made once."""
        if arithmetic.dtype not in self._graphs:
            self._graphs[arithmetic.dtype] = self.graph.to(self.device, arithmetic.dtype)
        return self._graphs[arithmetic.dtype]

    @property
    def elements(self) -> int:
        """Of the largest value of one input."""
        return max(math.prod(node.shape) for node in self.graph.nodes)

    @property
    def total_elements(self) -> int:
        """Of all values of one input together."""
        return sum(math.prod(node.shape) for node in self.graph.nodes)


def refinable(graph: Graph) -> tuple[int, ...]:
    """Nodes whose intervals CROWN can tighten, and whose consumers gain by it.

    Left out are values that interval arithmetic bounds exactly: at most one mixing affine operation from the input.
    """
    needed = {number for node in graph.nodes if isinstance(node.operation, _CURVED) for number in node.inputs}
    mixings: list[int] = []
    for node in graph.nodes:
        before = max((mixings[number] for number in node.inputs), default=0)
        mixings.append(before + _mixing(node.operation))
    return tuple(number for number in sorted(needed) if mixings[number] > 1)


def _mixing(operation: object) -> int:
    """1 where values are mixed, 0 where each output depends on one operand's element, 2 beyond affine."""
    if isinstance(operation, Affine):
        return 0 if operation.map.terms == 0 or isinstance(operation.map, Scale) else 1
    if isinstance(operation, Add):
        return 1
    return 0 if isinstance(operation, Input) else 2
