"""From a torch module to a graph: traced by torch.export, each ATen operation turned into ours or refused by name."""

import copy
import warnings
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn

from verifier.bounds.aten import HANDLERS
from verifier.bounds.graph import Graph
from verifier.bounds.linear import Shape
from verifier.bounds.tracer import Tracer
from verifier.errors import Unsupported

_TOLERANCE = 1e-9
"""Relative difference of logits, both in float64: far above rounding, far below any mistake."""

_BATCHES = (3, 5)
"""Sizes of the batches that a network is traced with: it must be the same function in all."""


def trace(module: nn.Module, input_shape: Shape, *, keep_softmax: bool = False) -> Graph:
    """The graph of a network, in float64 on the CPU.

    For every x: the graph's values are the network's logits over the reals, its parameters taken as they are. Compared
    with the module itself before it is returned.

    Args:
        module: logits [B, K] from inputs [B, *input_shape] of float32, in eval mode.
        input_shape: of one input.
        keep_softmax: whether a last softmax stays; else it is dropped: it keeps the order of the logits, and only that.
    Raises:
        Unsupported: naming the layer and the operation, and what would be needed.
    """
    module = copy.deepcopy(module).cpu().eval()
    _check_parameters(module)
    graph, other = (_traced(module, tuple(input_shape), batch, keep_softmax) for batch in _BATCHES)
    x = _random(2, graph.input_shape, seed=len(_BATCHES))
    _agree(
        graph.evaluate(x), other.evaluate(x), f"same network traced with {_BATCHES[1]} inputs instead of {_BATCHES[0]}"
    )
    return graph


def _traced(module: nn.Module, input_shape: Shape, batch: int, keep_softmax: bool) -> Graph:
    """The graph, from a batch of that size."""
    program = _export(module, input_shape, batch)
    tracer = Tracer(program, input_shape, batch, HANDLERS)
    graph = tracer.graph(keep_softmax)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed, scale in enumerate((0.1, 1.0, 10.0)):
            x = scale * _random(batch, input_shape, seed)
            _agree(tracer.dropped(graph.evaluate(x)), _InFloat64(program).logits(x), "traced program")
    return graph


def _export(module: nn.Module, input_shape: Shape, batch: int) -> torch.export.ExportedProgram:
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about slow kernels and odd modules, not about what is computed
            return torch.export.export(module, (torch.zeros(batch, *input_shape),), strict=False)
    except Exception as error:  # what torch.export raises is not one family
        reason = next(iter(str(error).strip().splitlines()), "")[:200]
        raise Unsupported(
            f"the network cannot be traced with {batch} inputs ({type(error).__name__}: {reason}): bounds need a "
            "network of float32 inputs whose control flow does not depend on its data; rewrite a branch with relu, "
            "clamp or maximum, or use smoothing"
        ) from error


def _check_parameters(module: nn.Module) -> None:
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_complex():
            raise Unsupported(f"{name} holds complex numbers: bounds are for networks of real numbers only")
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise Unsupported(
                f"{name} holds NaN or infinite numbers: nothing can be certified about this network; repair its weights"
            )


def _random(rows: int, shape: Shape, seed: int) -> Tensor:
    return torch.randn(rows, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _agree(ours: Tensor, theirs: Tensor, name: str) -> None:
    """Refuse a graph whose values are not those expected."""
    size = theirs.abs().nan_to_num(0.0).amax(dim=-1, keepdim=True) + torch.finfo(torch.float64).tiny
    agrees = (ours == theirs) | ((ours - theirs).abs() <= _TOLERANCE * size) | (ours.isnan() & theirs.isnan())
    if not bool(agrees.all()):
        difference = float(((ours - theirs).abs() / size).nan_to_num(torch.inf).max())
        raise Unsupported(
            f"the graph for bounds differs from the {name} by {difference:.3g} of its logits on random inputs: "
            "an operation is not what it seems, and nothing is certified on it"
        )


class _InFloat64(torch.fx.Interpreter):
    """Runs a traced program as it stands, but in float64."""

    def __init__(self, program: torch.export.ExportedProgram) -> None:
        super().__init__(program.graph_module)
        self._program = program

    def logits(self, x: Tensor) -> Tensor:
        """[B, K]."""
        inputs = [*self._program._graph_module_flat_inputs((x,), {})]
        (values,) = self.run(*(_in_float64(value) for value in inputs))
        assert isinstance(values, Tensor)
        return values.flatten(1)

    def run_node(self, n: torch.fx.Node) -> Any:
        """One operation; conversions between float datatypes are none."""
        if n.op == "call_function" and "aten._assert" in str(n.target):
            return None
        result = super().run_node(n)
        if n.op == "call_function" and getattr(n.target, "overloadpacket", None) in _CONVERSIONS:
            source = self.env[n.args[0]]  # type: ignore[index]
            return source if source.is_floating_point() and result.is_floating_point() else result
        return torch.utils._pytree.tree_map(_as_float64, result)


_CONVERSIONS = {torch.ops.aten.to, torch.ops.aten._to_copy, torch.ops.aten.type_as}


def _in_float64(value: Any) -> Any:
    """A copy, for programs that change what they are given."""
    return _as_float64(value.clone()) if isinstance(value, Tensor) else value


def _as_float64(value: Any) -> Any:
    return value.double() if isinstance(value, Tensor) and value.is_floating_point() else value
