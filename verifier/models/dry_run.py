"""The rehearsal of a network: is it a fixed function of one row at a time?

Every certificate rests on that. Votes are counted over rows that share a device batch, and rows are padded
and regrouped freely, so an answer must not depend on the moment or on the company.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from verifier.errors import InvalidProblem, Overloaded

ROWS = 16
TOLERANCE = 1e-2
"""Of a logit between a row alone and in a batch, relative to the largest |logit|.

Kernels round differently per batch shape: by some 1e-6 in float32, but a device may take TF32, which keeps 11 bits
of each factor, for one shape and not for the other. That rows ignore each other is checked to the bit."""


@dataclass(frozen=True)
class Rehearsal:
    """What random inputs showed.

    Args:
        classes: K >= 2.
        batch_difference: largest difference of a logit between a row alone and the row in a batch.
    """

    classes: int
    batch_difference: float


def rehearse(
    module: nn.Module,
    input_shape: tuple[int, ...],
    input_range: tuple[float, float] | None,
    device: torch.device,
    seed: int = 0,
) -> Rehearsal:
    """Run the network on random rows and refuse it unless each row has one answer.

    On the rows drawn: logits are finite [B, K]; the same batch twice gives the same bits; other batch-mates, in
    the same places, leave a row's bits alone; and a row alone differs from the row in the batch by at most
    `TOLERANCE` of the largest |logit|, so its argmax is the same wherever the margin is more than twice that.

    Args:
        module: in eval mode, on the device.
        input_shape: of one input, without the batch axis.
        input_range: rows are uniform in it; None: half standard normal, half uniform in [0, 1].
        device: to run on.
        seed: of the rows.
    Raises:
        InvalidProblem: reason DRY_RUN_FAILED, NOT_DETERMINISTIC or ROWS_INTERACT.
        Overloaded: the device has no memory left for it.
    """
    generator = torch.Generator().manual_seed(seed)
    x = random_rows(input_shape, input_range, generator).to(device)
    with_other_mates = x.clone()
    with_other_mates[1::2] = random_rows(input_shape, input_range, generator)[1::2].to(device)

    together = run(module, x)
    if not torch.equal(together, run(module, x)):
        raise InvalidProblem(
            "the network gives two answers to the same inputs: remove what draws random numbers, such as a dropout "
            "left in training mode, and send it again",
            reason="NOT_DETERMINISTIC",
        )
    if not torch.equal(together[::2], run(module, with_other_mates)[::2]):
        raise InvalidProblem(
            "the answer for a row changes with the other rows of its batch: use batch normalisation with its running "
            "statistics (eval mode), and reduce over no batch axis",
            reason="ROWS_INTERACT",
        )
    alone = torch.cat([run(module, x[i : i + 1]) for i in range(ROWS)])
    difference = float((together - alone).abs().max())
    allowed = TOLERANCE * float(together.abs().max())
    if difference > allowed:
        raise InvalidProblem(
            f"a row alone and the row in a batch of {ROWS} must have the same logits up to {allowed:.3g}, got "
            f"{difference:.3g}: the network must not depend on the size of its batch",
            reason="ROWS_INTERACT",
        )
    return Rehearsal(classes=together.shape[1], batch_difference=difference)


def random_rows(
    input_shape: tuple[int, ...], input_range: tuple[float, float] | None, generator: torch.Generator
) -> Tensor:
    """[ROWS, *input_shape]: uniform in the range, or half standard normal and half uniform in [0, 1]."""
    uniform = torch.rand(ROWS, *input_shape, generator=generator)
    if input_range is not None:
        low, high = input_range
        return (low + (high - low) * uniform).clamp(low, high)
    uniform[: ROWS // 2] = torch.randn(ROWS // 2, *input_shape, generator=generator)
    return uniform


def run(module: nn.Module, x: Tensor) -> Tensor:
    """Finite logits [B, K], K >= 2, of rows [B, *shape], or InvalidProblem saying what came instead."""
    try:
        with torch.no_grad():
            logits = module(x)
    except torch.OutOfMemoryError as error:
        raise Overloaded(f"no memory left on {x.device} to run the network: {error}", reason="OUT_OF_MEMORY") from error
    except Exception as error:  # whatever an operator of the network raises
        raise InvalidProblem(
            f"the network fails on inputs of shape {list(x.shape)}: {type(error).__name__}: {error}",
            reason="DRY_RUN_FAILED",
        ) from error
    expected = f"logits [{len(x)}, classes] of float32 with at least 2 classes"
    if not isinstance(logits, Tensor):
        raise InvalidProblem(f"expected {expected}, got a {type(logits).__name__}", reason="DRY_RUN_FAILED")
    if logits.dtype != torch.float32 or logits.ndim != 2 or len(logits) != len(x) or logits.shape[1] < 2:
        raise InvalidProblem(
            f"expected {expected}, got {list(logits.shape)} of {logits.dtype}", reason="DRY_RUN_FAILED"
        )
    if not math.isfinite(float(logits.abs().max())):
        raise InvalidProblem(
            "the network's logits are not finite on ordinary inputs: state the range of valid inputs "
            "(--input-range LOW HIGH), or repair its weights",
            reason="DRY_RUN_FAILED",
        )
    return logits
