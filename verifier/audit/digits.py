"""To how many digits the radii of a log were printed, and what each can have been before.

A printed radius v stands for an interval: [v - unit/2, v + unit/2) where it was rounded to nearest, [v, v + unit) where
it was rounded down. The unit is that of the log, not of the one number: `1.2` in a log of three significant digits is
1.20. So it is taken from all radii together: either they have a common number of significant digits (`{:.3}` and %g,
which drop trailing zeros) or of decimals (%.6f), whichever more of them show whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from verifier.audit.log import Row

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


class Direction(StrEnum):
    """How a radius became digits."""

    NEAREST = "nearest"
    DOWN = "down"
    UP = "up"


@dataclass(frozen=True)
class Digits:
    """How the radii of one log are printed.

    Args:
        significant: significant digits, or None.
        decimals: digits after the decimal point, or None. Where both are given they explain the log equally well, and
            the coarser holds for each radius. Where neither is, radii are what was computed, not rounded.
    """

    significant: int | None
    decimals: int | None

    def unit(self, exponent: int) -> float:
        """What one step of the last digit is worth in a radius d.dd x 10^exponent; 0 where nothing was rounded."""
        last = [] if self.significant is None else [exponent - self.significant + 1]
        last += [] if self.decimals is None else [-self.decimals]
        return float(Decimal(1).scaleb(max(last))) if last else 0.0

    def __str__(self) -> str:
        told = [f"{self.significant} significant digits"] if self.significant is not None else []
        told += [f"{self.decimals} decimals"] if self.decimals is not None else []
        return " or ".join(told) or "all digits"


@dataclass(frozen=True, eq=False)
class PrintedRadii:
    """The distinct radii of a log's predictions, abstentions and impossible numbers left out.

    Args:
        values: rising, [D].
        units: of the last digit of each, [D].
        digits: how they are printed.
        of_row: for each row of the log, which of the values it has; -1 where it has none, [B].
    """

    values: Floats
    units: Floats
    digits: Digits
    of_row: Integers

    def between(self, direction: Direction) -> tuple[Floats, Floats]:
        """Ends of the intervals in which the radii were before they were printed, [D] each."""
        below = {Direction.NEAREST: 0.5, Direction.DOWN: 0.0, Direction.UP: 1.0}[direction]
        return self.values - below * self.units, self.values + (1 - below) * self.units

    def take(self, which: NDArray[np.intp]) -> "PrintedRadii":
        """Some of the values, without their rows."""
        return PrintedRadii(self.values[which], self.units[which], self.digits, np.empty(0, np.int64))


def printed_radii(rows: Sequence[Row]) -> PrintedRadii:
    """The distinct radii >= 0 that rows state for a class."""
    exponents = {row.radius: _exponent(row) for row in rows if _states_radius(row)}
    values = np.array(sorted(exponents), dtype=np.float64)
    digits = _digits([row for row in rows if _states_radius(row)])
    units = np.array([0.0 if _never_printed(digits, v) else digits.unit(exponents[v]) for v in values])
    place = {value: number for number, value in enumerate(values)}
    of_row = [place[row.radius] if _states_radius(row) else -1 for row in rows]
    return PrintedRadii(values, units, digits, np.array(of_row, dtype=np.int64))


def _states_radius(row: Row) -> bool:
    return not row.abstained and math.isfinite(row.radius) and row.radius >= 0


def _exponent(row: Row) -> int:
    return Decimal(row.printed or repr(row.radius)).adjusted()


def _never_printed(digits: Digits, value: float) -> bool:
    """Whether no radius > 0 can have become this: zero, in significant digits."""
    return value == 0 and digits.decimals is None


def _digits(rows: Sequence[Row]) -> Digits:
    shapes = [_shape(row.printed) for row in rows if row.printed and row.radius > 0]
    if not shapes:
        return Digits(None, None)
    significant, decimals = (max(counts) for counts in zip(*shapes, strict=True))
    whole_significant = sum(shape[0] == significant for shape in shapes)
    whole_decimals = sum(shape[1] == decimals for shape in shapes)
    return Digits(
        significant if whole_significant >= whole_decimals else None,
        decimals if whole_decimals >= whole_significant else None,
    )


def _shape(printed: str) -> tuple[int, int]:
    """(significant digits, decimals) of a number > 0 as it is written."""
    _, digits, exponent = Decimal(printed).as_tuple()
    assert isinstance(exponent, int)
    return len("".join(map(str, digits)).lstrip("0")), max(0, -exponent)
