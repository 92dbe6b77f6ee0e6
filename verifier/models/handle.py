"""A loaded model, frozen: what every method computes with."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class ModelHandle:
    """One model version on one device, in eval mode, its parameters frozen.

    Args:
        digest: the version's id (see `Manifest`).
        module: logits [B, classes] from inputs [B, *input_shape] of float32; normalisation is inside.
        input_shape: of one input, without the batch axis.
        classes: K >= 2.
        device: where the module's parameters are.
        input_range: (lowest, highest) value of a valid input, or None.
    """

    digest: str
    module: nn.Module
    input_shape: tuple[int, ...]
    classes: int
    device: torch.device
    input_range: tuple[float, float] | None = None

    def logits(self, x: Tensor) -> Tensor:
        """Logits [B, K] of inputs [B, *input_shape]."""
        logits: Tensor = self.module(x)
        return logits
