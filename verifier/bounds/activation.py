"""What bounds need to know of a function of one element."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.arithmetic import Arithmetic


@dataclass(frozen=True, eq=False)
class Lines:
    """lower_slope x + lower_intercept <= f(x) <= upper_slope x + upper_intercept, for every real x of the interval.

    Args:
        lower_slope, lower_intercept, upper_slope, upper_intercept: they broadcast against [B, R, *shape].
    """

    lower_slope: Tensor
    lower_intercept: Tensor
    upper_slope: Tensor
    upper_intercept: Tensor


class Activation:
    """A function of each element.

    Attributes:
        name: as in the field.
        adjustable: whether `alpha` places the lower line.
    """

    name: str
    adjustable: bool = False

    def value(self, x: Tensor) -> Tensor:
        """f(x), as the datatype has it."""
        raise NotImplementedError

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """Ends that contain f over [lower, upper]; over the reals, where the arithmetic rounds outwards."""
        raise NotImplementedError

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, alpha: Tensor | None = None) -> Lines:
        """Lines below and above f over [lower, upper], [B, 1, *shape].

        Args:
            alpha: where the lower line lies, in [0, 1], [B, 1 or R, *shape]; only for adjustable ones.
        """
        raise NotImplementedError

    def is_curved(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Whether f is no line over the interval, so that a narrower one would be of use."""
        return lower < upper

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """What a float32 kernel's f(x) may miss of f(x), for x in the interval; library functions 8 units."""
        raise NotImplementedError

    def to(self, _device: torch.device, _dtype: torch.dtype) -> "Activation":
        """The same with its parameters there."""
        return self


def offset(value: Tensor, slope: Tensor, point: Tensor, arithmetic: Arithmetic, sign: int) -> Tensor:
    """value - slope point, rounded up (+1) or down (-1)."""
    product = slope * point
    result = value - product
    if not arithmetic.outward:
        return result
    slack = (value.abs() + product.abs()) * (6 * arithmetic.unit) + 8 * arithmetic.tiny
    return (result + sign * slack).nan_to_num(sign * math.inf, math.inf, -math.inf)
