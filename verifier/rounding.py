"""Rounding that only ever goes one way.

A radius that is rounded up is a false claim, so whatever leaves float64 (text, float32) leaves it downwards.
"""

import decimal
import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier.errors import InvalidProblem

_INTEGER_DIGITS = 310
"""The largest float64, 1.8e308, has 309 digits before the point; one more for a carry."""


def down(x: ArrayLike) -> NDArray[np.float64]:
    """The next float64 below each x: undoes the upward half-ulp of one correctly rounded operation."""
    return np.nextafter(np.asarray(x, dtype=np.float64), -np.inf)


def up(x: ArrayLike) -> NDArray[np.float64]:
    """The next float64 above each x: undoes the downward half-ulp of one correctly rounded operation."""
    return np.nextafter(np.asarray(x, dtype=np.float64), np.inf)


def format_down(value: float, digits: int) -> str:
    """A decimal text of a number, rounded towards minus infinity.

    Exactly: Decimal(text) <= value < Decimal(text) + 10^-digits, where `value` is the float's exact value.

    Args:
        value: finite.
        digits: digits after the decimal point, >= 0.
    Raises:
        InvalidProblem: a value outside its range.
    """
    if not math.isfinite(value):
        raise InvalidProblem(f"only a finite number has decimals to round down, got {value}")
    if digits < 0:
        raise InvalidProblem(f"digits must be >= 0, got {digits}")
    exact = decimal.Decimal(float(value) + 0.0)  # + 0.0 makes -0.0 a plain zero
    context = decimal.Context(prec=_INTEGER_DIGITS + digits)
    step = decimal.Decimal(1).scaleb(-digits, context)
    return f"{exact.quantize(step, decimal.ROUND_FLOOR, context):f}"
