"""The executed form of a model: fused where that pays, for one batch shape and one arithmetic."""

import copy
import logging
import warnings
from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor, fx, nn

from verifier.errors import Unsupported
from verifier.methods import Precision
from verifier.models.handle import ModelHandle

logger = logging.getLogger(__name__)

Forward = Callable[[Tensor], Tensor]

LOGIT_TOLERANCE = {Precision.FLOAT32: 1e-4, Precision.TF32: 3e-2, Precision.BFLOAT16: 1e-1}
"""Largest difference between the fused and the plain form, relative to the largest logit, that is taken for
another order of rounding; a larger one means another function, and the plain form is used."""


class Form(StrEnum):
    """How a model is executed. Another form rounds differently, so certificates name it."""

    EAGER = "eager"
    """The module as it is."""
    TORCHSCRIPT = "torchscript"
    """Traced, frozen and fused by oneDNN; the default on CPUs."""
    INDUCTOR = "inductor"
    """torch.compile; needs a compiler on the machine and some seconds a model."""


def default_form(device: torch.device) -> Form:
    """The form used where none is chosen."""
    return Form.TORCHSCRIPT if device.type == "cpu" else Form.EAGER


def compile_model(handle: ModelHandle, precision: Precision, batch_rows: int, form: Form) -> tuple[Forward, Form]:
    """A function from float32 inputs [batch_rows, *shape] to logits, and the form that it really has.

    The fused form is compared with the plain one on random inputs and dropped where they differ by more than
    rounding can explain, or where fusing fails.

    Raises:
        Unsupported: the device cannot compute in this precision.
    """
    module = _in_precision(handle, precision)
    dtype = torch.bfloat16 if precision is Precision.BFLOAT16 else torch.float32
    plain = _casting(module, dtype)
    if form is Form.EAGER:
        return plain, Form.EAGER
    examples = [x.to(handle.device) for x in _examples(batch_rows, handle.input_shape)]
    try:
        fused = _casting(_fuse(_without_branches(module), examples[0].to(dtype), form), dtype)
        with torch.inference_mode():
            differences = [_difference(fused(x), plain(x)) for x in examples]
    except Exception as error:  # fusing is an optimisation: whatever stops it, the plain form still answers
        logger.warning("model %s: the %s form cannot be built (%s); using eager", handle.digest[:12], form, error)
        return plain, Form.EAGER
    if not all(difference <= LOGIT_TOLERANCE[precision] for difference in differences):
        logger.warning("model %s: the %s form differs by %s; using eager", handle.digest[:12], form, differences)
        return plain, Form.EAGER
    return fused, form


def _in_precision(handle: ModelHandle, precision: Precision) -> nn.Module:
    if precision is Precision.TF32 and handle.device.type != "cuda":
        raise Unsupported(f"precision tf32 needs a CUDA device, this one is {handle.device}; use float32 or bfloat16")
    if precision is not Precision.BFLOAT16:
        return handle.module
    return copy.deepcopy(handle.module).to(torch.bfloat16)


def _casting(module: Forward, dtype: torch.dtype) -> Forward:
    """The module on inputs rounded to its arithmetic; noise is always drawn and added in float32."""
    return module if dtype is torch.float32 else lambda x: module(x.to(dtype))


def _examples(rows: int, shape: tuple[int, ...]) -> list[Tensor]:
    """Inputs for tracing (the first) and for comparing: pixels, and pixels under strong noise."""
    generator = torch.Generator().manual_seed(0)
    pixels = [torch.rand((rows, *shape), generator=generator) for _ in range(2)]
    return [*pixels, pixels[0] + torch.randn((rows, *shape), generator=generator)]


def _without_branches(module: nn.Module) -> fx.GraphModule:
    """The module as a graph of operations.

    A Python branch on the values of a tensor would be frozen by tracing as it fell out once; torch.fx refuses
    to follow one, and the model is then run as it is.
    """
    return module if isinstance(module, fx.GraphModule) else fx.symbolic_trace(module)


def _fuse(module: fx.GraphModule, example: Tensor, form: Form) -> Forward:
    with warnings.catch_warnings(), torch.inference_mode():
        # TorchScript is deprecated in favour of torch.compile, which needs a compiler where the server runs, and
        # which itself still uses TorchScript.
        warnings.simplefilter("ignore")
        fused = _compiled(module, example) if form is Form.INDUCTOR else _traced(module, example)
        for _ in range(3):  # profilers and graph captures settle in the first runs
            fused(example)
        return fused


def _traced(module: fx.GraphModule, example: Tensor) -> Forward:
    traced = torch.jit.trace(module, example, check_trace=False)
    frozen: Forward = torch.jit.optimize_for_inference(torch.jit.freeze(traced))
    return frozen


def _compiled(module: fx.GraphModule, example: Tensor) -> Forward:
    """torch.compile; on a GPU with CUDA graphs, whose outputs the next run overwrites (the sampler copies them)."""
    on_gpu = example.device.type == "cuda"
    # Code of its own: torch.compile counts shapes by code and gives up after some; fullgraph, so that it says so.
    own = fx.GraphModule(module, module.graph)
    mode = "reduce-overhead" if on_gpu else None
    compiled: Forward = torch.compile(own, dynamic=False, fullgraph=True, mode=mode)
    return compiled


def _difference(fused: Tensor, plain: Tensor) -> float:
    """Largest difference, relative to the largest logit; NaN where that is 0 or not a number."""
    return float((fused - plain).abs().max() / plain.abs().max())


def is_row_exact(forward: Forward, batch_rows: int, shape: tuple[int, ...], device: torch.device) -> bool:
    """Whether rows' logits were bitwise the same at other places of the batch, among other rows."""
    x, others, _ = (example.to(device) for example in _examples(batch_rows, shape))
    order = torch.randperm(batch_rows, generator=torch.Generator().manual_seed(1)).to(device)
    kept = order[: (batch_rows + 1) // 2]
    with torch.inference_mode():
        logits = forward(x).clone()
        moved = forward(x[order]).clone()
        among_others = forward(torch.cat([x[kept], others[len(kept) :]])).clone()
    return bool(torch.equal(moved, logits[order]) and torch.equal(among_others[: len(kept)], logits[kept]))
