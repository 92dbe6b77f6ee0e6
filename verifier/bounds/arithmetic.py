"""The arithmetic that bounds are computed in: its datatype, and whether every rounding is paid for.

The one model of rounding behind all of it: for an operation of one rounding |fl(x) - x| <= u |x| + eta, and for a
sum of n products in any order, with or without fused multiply-add, |fl(x.y) - x.y| <= gamma(n) |x|.|y| + n eta
(Higham, Accuracy and Stability, ch. 3; Jeannerod & Rump, SIMAX 2013). eta is the smallest *normal* number, so that
hardware that flushes subnormals to zero is covered too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

FLOAT32_UNIT = 2.0**-24
"""Unit roundoff of float32: what the deployed network rounds with."""

FLOAT32_TINY = 2.0**-126
"""Smallest normal number of float32."""


@dataclass(frozen=True)
class Arithmetic:
    """A datatype, and whether results are rounded outwards by their error bounds.

    Args:
        dtype: torch.float32 or torch.float64.
        outward: whether every error bound is added; otherwise they are all zero, and nothing is proved.
    """

    dtype: torch.dtype
    outward: bool

    @property
    def unit(self) -> float:
        """Unit roundoff u: half the distance from 1 to the next number; 0 where errors are not paid for."""
        return torch.finfo(self.dtype).eps / 2 if self.outward else 0.0

    @property
    def tiny(self) -> float:
        """eta, the absolute error of one operation near underflow; 0 where errors are not paid for."""
        return torch.finfo(self.dtype).tiny if self.outward else 0.0

    def gamma(self, n: int) -> float:
        """Relative error of a sum of n products in any order, and of four more operations on it, generously."""
        return 1.01 * (n + 4) * self.unit

    def down(self, x: Tensor, operations: int = 1) -> Tensor:
        """Below every true value whose result of so many roundings, all of one sign, is x."""
        return x - self._slack(x, operations) if self.outward else x

    def up(self, x: Tensor, operations: int = 1) -> Tensor:
        """Above every true value whose result of so many roundings, all of one sign, is x."""
        return x + self._slack(x, operations) if self.outward else x

    def _slack(self, x: Tensor, operations: int) -> Tensor:
        """Twice the rounding errors, so that adding it survives its own rounding."""
        return x.abs() * (2 * (operations + 1) * self.unit) + 2 * operations * self.tiny


RIGOROUS = Arithmetic(torch.float64, outward=True)
"""float64, every rounding paid for: what certificates of grade float_sound rest on."""

NEAREST = Arithmetic(torch.float64, outward=False)
"""float64 as it comes."""

FAST = Arithmetic(torch.float32, outward=False)
"""float32 as it comes: for searching. Proves nothing."""
