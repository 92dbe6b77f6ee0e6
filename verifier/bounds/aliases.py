"""Which values of an exported program share memory, so that operations in place are read as they act."""

from functools import cached_property
from typing import Any

import torch.fx

_HARMLESS = {"aten.detach_", "aten.lift_fresh", "aten.dropout_"}
"""In place by name; they change no value."""


def is_in_place(node: torch.fx.Node) -> bool:
    """Whether an operation changes its first operand."""
    returns = _alias(node)
    return returns is not None and returns.is_write and _name(node) not in _HARMLESS


class Aliases:
    """Groups of the values of one program that share memory.

    Args:
        graph: of the program.
    """

    def __init__(self, graph: torch.fx.Graph) -> None:
        self._order = {node: number for number, node in enumerate(graph.nodes)}

    @cached_property
    def _base(self) -> dict[torch.fx.Node, torch.fx.Node]:
        """Whose memory each value is in."""
        base: dict[torch.fx.Node, torch.fx.Node] = {}
        for node in self._order:
            source = _source(node)
            base[node] = node if source is None else base[source]
        return base

    def same_value(self, node: torch.fx.Node) -> list[torch.fx.Node]:
        """The values before it that are what it changed itself, and not a view of it."""
        return [other for other in self._before(node) if _changed(other) is _changed(node)]

    def views_read_after(self, node: torch.fx.Node) -> bool:
        """Whether other views of the changed memory, taken before it, are read later."""
        others = [other for other in self._before(node) if _changed(other) is not _changed(node)]
        return any(self._order[user] > self._order[node] for other in others for user in other.users)

    def _before(self, node: torch.fx.Node) -> list[torch.fx.Node]:
        """Values in the same memory, earlier."""
        return [
            other
            for other, number in self._order.items()
            if number < self._order[node] and self._base[other] is self._base[node]
        ]


def _changed(node: torch.fx.Node) -> torch.fx.Node:
    """The value that operations in place return again and again."""
    while is_in_place(node):
        node = node.args[0]  # type: ignore[assignment]
    return node


def _source(node: torch.fx.Node) -> torch.fx.Node | None:
    """The operand in whose memory a value is."""
    first = node.args[0] if node.args else None
    return first if _alias(node) is not None and isinstance(first, torch.fx.Node) else None


def _alias(node: torch.fx.Node) -> Any:
    """What the schema says about the memory of an operation's value; None where it has its own."""
    schema = getattr(node.target, "_schema", None)
    if node.op != "call_function" or schema is None or not schema.returns:
        return None
    return schema.returns[0].alias_info


def _name(node: torch.fx.Node) -> str:
    return str(getattr(node.target, "overloadpacket", node.target))
