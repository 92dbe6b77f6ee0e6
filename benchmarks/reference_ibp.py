"""Interval bound propagation as it is in the paper, for a sequence of layers: what the real one is counted against.

Source: Gowal et al. 2018 (arXiv:1810.12715), the specification merged into the last layer. Rounds to nearest.
"""

import copy

import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor, nn


def accuracy(network: nn.Module, x: Tensor, labels: Tensor, eps: float) -> float:
    """The share of inputs that keep their label."""
    assert isinstance(network, nn.Sequential)
    plain = copy.deepcopy(network).cpu()
    parts = zip(x.split(500), labels.split(500), strict=True)
    return sum(int(certified(plain, *part, eps).sum()) for part in parts) / len(x)


@torch.no_grad()
def certified(network: nn.Sequential, x: Tensor, labels: Tensor, eps: float) -> Tensor:
    """Which inputs keep their label for all pixels within eps and [0, 1], [B] bool; in float64."""
    layers = [copy.deepcopy(layer).double() for layer in network]
    last = layers.pop()
    assert isinstance(last, nn.Linear)
    lower, upper = (x.double() - eps).clamp(0, 1), (x.double() + eps).clamp(0, 1)
    for layer in layers:
        lower, upper = _through(layer, lower, upper)
    weight, bias = last.weight[labels].unsqueeze(1) - last.weight, last.bias[labels].unsqueeze(1) - last.bias
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    margins = torch.einsum("bkn,bn->bk", weight, centre) - torch.einsum("bkn,bn->bk", weight.abs(), radius) + bias
    margins.scatter_(1, labels[:, None], torch.inf)
    return (margins > 0).all(1)


def _through(layer: nn.Module, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    if not isinstance(layer, nn.Linear | nn.Conv2d):
        return layer(lower), layer(upper)
    centre, radius = (lower + upper) / 2, (upper - lower) / 2
    middle = layer(centre)
    if isinstance(layer, nn.Conv2d):
        reach = F.conv2d(radius, layer.weight.abs(), None, layer.stride, layer.padding, layer.dilation, layer.groups)
    else:
        reach = F.linear(radius, layer.weight.abs())
    return middle - reach, middle + reach
