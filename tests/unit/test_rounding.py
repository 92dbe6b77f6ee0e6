"""Rounding down, by table."""

from decimal import Decimal

import numpy as np
import pytest

from verifier.errors import InvalidProblem
from verifier.rounding import down, format_down, up


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.6789, 3, "0.678"),
        (0.001, 3, "0.001"),  # the float64 lies above a thousandth
        (0.3, 1, "0.2"),  # the float64 lies below three tenths
        (0.29999999999999998, 20, "0.29999999999999998889"),
        (2.0, 0, "2"),
        (2.0, 3, "2.000"),
        (0.0, 3, "0.000"),
        (-0.0, 3, "0.000"),
        (1e-300, 3, "0.000"),
        (-1e-300, 3, "-0.001"),
        (-0.25, 1, "-0.3"),
        (0.9999999, 3, "0.999"),
    ],
    ids=repr,
)
def test_format_down(value: float, digits: int, text: str) -> None:
    assert format_down(value, digits) == text


@pytest.mark.parametrize("value", [float(np.finfo(np.float64).max), 5e-324, 12345.678], ids=repr)
def test_format_down_reaches_every_float(value: float) -> None:
    assert Decimal(format_down(value, 1_074)) == Decimal(value)  # no float64 has more decimals


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")], ids=repr)
def test_format_down_refuses_what_has_no_decimals(value: float) -> None:
    with pytest.raises(InvalidProblem, match="finite"):
        format_down(value, 3)


def test_format_down_refuses_negative_digits() -> None:
    with pytest.raises(InvalidProblem, match="digits must be >= 0"):
        format_down(1.0, -1)


def test_one_ulp() -> None:
    x = np.array([0.5, 1.0, 0.0, -1.0])
    assert (down(x) < x).all()
    assert (up(x) > x).all()
    assert (up(down(x)) == x).all()
