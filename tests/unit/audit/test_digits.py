"""To how many digits a log was printed."""

import numpy as np
import pytest

from verifier.audit.digits import Digits, Direction, printed_radii
from verifier.audit.log import Row


def rows(*texts: str, predict: int = 1) -> list[Row]:
    return [Row(line, line, 1, predict, float(text), text, True, "1.0") for line, text in enumerate(texts, 2)]


@pytest.mark.parametrize(
    ("texts", "digits"),
    [
        (("0.0315", "1.91", "0.196", "1.2"), Digits(3, None)),
        (("0.031500", "1.910000", "0.196000"), Digits(None, 6)),
        (("1.25", "0.25", "0.50", "0.10"), Digits(None, 2)),
        (("0.25", "0.31"), Digits(2, 2)),
        (("1.2e-05", "0.00123", "0.123", "0.1"), Digits(3, None)),
        (("12.", "3.1", "1e+02", "22"), Digits(2, None)),
        ((), Digits(None, None)),
        (("0.0",), Digits(None, None)),
    ],
)
def test_digits_are_those_of_most_radii(texts: tuple[str, ...], digits: Digits) -> None:
    assert printed_radii(rows(*texts)).digits == digits


def test_units_are_those_of_the_log_not_of_the_number() -> None:
    printed = printed_radii(rows("1.2", "0.0315", "1.91", "0.196", "1.91"))
    assert list(printed.values) == [0.0315, 0.196, 1.2, 1.91]
    np.testing.assert_allclose(printed.units, [0.0001, 0.001, 0.01, 0.01], rtol=1e-15)
    assert list(printed.of_row) == [2, 0, 3, 1, 3]


def test_the_coarser_unit_holds_where_both_explain_the_log() -> None:
    printed = printed_radii(rows("1.25", "0.3"))
    assert printed.digits == Digits(3, 2)
    assert list(printed.units) == [0.01, 0.01]


def test_abstentions_and_what_is_no_radius_say_nothing() -> None:
    log = [*rows("0.123"), *rows("0.12345", predict=-1), *rows("nan", "inf", "-0.12345")]
    printed = printed_radii(log)
    assert printed.digits == Digits(3, 3)
    assert list(printed.of_row) == [0, -1, -1, -1, -1]


@pytest.mark.parametrize(
    ("direction", "low", "high"),
    [(Direction.NEAREST, 0.1225, 0.1235), (Direction.DOWN, 0.123, 0.124), (Direction.UP, 0.122, 0.123)],
)
def test_intervals(direction: Direction, low: float, high: float) -> None:
    ends = printed_radii(rows("0.123")).between(direction)
    np.testing.assert_allclose(np.concatenate(ends), [low, high], rtol=1e-12)
