"""The words of a property: what they refuse, and the side to which they round."""

from fractions import Fraction

import numpy as np
import pytest

from verifier.errors import InvalidProblem
from verifier.properties import Case, InputBox, LinearConstraint, Property

UNIT = InputBox((Fraction(0),), (Fraction(1),))


def test_ends_are_rounded_outwards() -> None:
    box = InputBox((Fraction("0.1"), Fraction("0.3"), Fraction("0.5")), (Fraction("0.1"), Fraction("0.3"), Fraction(2)))
    outward = box.outward  # the float 0.1 lies above one tenth, the float 0.3 below three tenths
    assert outward.lower.tolist() == [np.nextafter(0.1, 0), 0.3, 0.5]
    assert outward.upper.tolist() == [0.1, np.nextafter(0.3, 1), 2.0]


def test_zero_has_no_sign() -> None:
    outward = InputBox((Fraction(0),), (Fraction(0),)).outward
    assert [str(end) for end in (*outward.lower, *outward.upper)] == ["0.0", "0.0"]


def test_rows() -> None:
    tenth, tiny = Fraction("0.1"), Fraction(1, 10**400)
    constraints = (
        LinearConstraint(((0, Fraction(1)), (2, Fraction(-1))), Fraction(0)),
        LinearConstraint(((1, tenth),), Fraction("0.3")),
        LinearConstraint(((1, tiny),), Fraction("0.1")),
    )
    rows = Case(UNIT, constraints).rows(3)
    assert rows.C.tolist() == [[1, 0, -1], [0, 0.1, 0], [0, 0, 0]]
    assert rows.thresholds.tolist() == [0, np.nextafter(0.3, 1), 0.1]
    error = Fraction(0.1) - tenth
    assert error <= Fraction(rows.errors[1, 1]) <= error * (1 + Fraction(1, 2**52))
    assert rows.errors[2, 1] == 5e-324
    assert np.count_nonzero(rows.errors) == 2
    assert not rows.exact
    assert Case(UNIT, constraints[:1]).rows(3).exact


def test_a_case_without_constraints_has_no_rows() -> None:
    rows = Case(UNIT, ()).rows(3)
    assert (rows.C.shape, rows.thresholds.shape, rows.errors.shape) == ((0, 3), (0,), (0, 3))


def test_the_edge_is_a_counterexample() -> None:
    asked = Property(1, 1, (Case(UNIT, (LinearConstraint(((0, Fraction(3)),), Fraction(1)),)),))
    third, tiny = Fraction(1, 3), Fraction(1, 10**100)
    assert asked.violated_by([Fraction(1)], [third])
    assert not asked.violated_by([Fraction(1)], [third + tiny])
    assert not asked.violated_by([1 + tiny], [third])
    assert not Property(1, 1, ()).violated_by([Fraction(1)], [third])


HUGE = Fraction(10) ** 309


@pytest.mark.parametrize(
    "make",
    [
        lambda: LinearConstraint(((1, Fraction(1)), (0, Fraction(1))), Fraction(0)),
        lambda: LinearConstraint(((1, Fraction(1)), (1, Fraction(1))), Fraction(0)),
        lambda: LinearConstraint(((-1, Fraction(1)),), Fraction(0)),
        lambda: LinearConstraint(((0, Fraction(0)),), Fraction(0)),
        lambda: LinearConstraint(((0, HUGE),), Fraction(0)),
        lambda: LinearConstraint(((0, Fraction(1)),), -HUGE),
        lambda: InputBox((), ()),
        lambda: InputBox((Fraction(0),), (Fraction(0), Fraction(1))),
        lambda: InputBox((Fraction(1),), (Fraction(0),)),
        lambda: InputBox((Fraction(0),), (HUGE,)),
        lambda: Property(0, 1, ()),
        lambda: Property(1, 0, ()),
        lambda: Property(2, 1, (Case(UNIT, ()),)),
        lambda: Property(1, 1, (Case(UNIT, (LinearConstraint(((1, Fraction(1)),), Fraction(0)),)),)),
    ],
)
def test_nonsense_is_refused(make: object) -> None:
    assert callable(make)
    with pytest.raises(InvalidProblem):
        make()
