"""One affine operation behind another as one: batch norm into convolution, scales into whatever they follow."""

from torch import Tensor

from verifier.bounds.constants import LEAST, MOST
from verifier.bounds.graph import Affine
from verifier.bounds.linear import Convolution, Dense, Scale

FOLDING = 6
"""Roundings in a folded constant, generously: of a sum, a square root, a quotient, a product, a difference."""


def followed(
    before: Affine, factor: Tensor, bias: Tensor | None, roundings: int, magnitude: Tensor | None
) -> Affine | None:
    """factor * (W x + b) + bias as one affine operation, or None where it is none, or would under- or overflow.

    Args:
        before: W x + b.
        factor, bias, magnitude: in float64; they broadcast against the output.
        roundings: of factor and bias, before this.
    """
    if not isinstance(before.map, Dense | Convolution | Scale) or factor.dim() > len(before.map.out_shape):
        return None
    weight = before.map.factor if isinstance(before.map, Scale) else before.map.weight
    scaled = before.map.scaled(factor)
    if scaled is None or not _in_range(before, weight, factor, bias):
        return None
    parts = [part for part in (_scaled(before.bias, factor), bias) if part is not None]
    size = magnitude if magnitude is not None or bias is None else bias.abs()
    sizes = [part for part in (_scaled(before.size_of_bias, factor.abs()), size) if part is not None]
    return Affine(
        scaled,
        sum(parts[1:], parts[0]) if parts else None,
        sum(sizes[1:], sizes[0]) if sizes else None,
        before.roundings + roundings + 2,
    )


def _scaled(bias: Tensor | None, factor: Tensor) -> Tensor | None:
    return None if bias is None else bias * factor


def _in_range(before: Affine, weight: Tensor, factor: Tensor, bias: Tensor | None) -> bool:
    """Whether all products have errors relative to their size."""
    low, high = _sizes(weight, before.bias)
    least, most = _sizes(factor)
    _, shift = _sizes(bias)
    return low * least >= LEAST and high * most <= MOST and shift <= MOST


def _sizes(*tensors: Tensor | None) -> tuple[float, float]:
    """Of the numbers that are not zero, the least and largest size; (1, 1) where there are none."""
    sizes = [size[size != 0] for size in (tensor.abs() for tensor in tensors if tensor is not None)]
    found = [float(end) for size in sizes if size.numel() for end in (size.min(), size.max())]
    return (min(found), max(found)) if found else (1.0, 1.0)
