"""Properties decided: never a wrong answer, on networks whose outputs are known exactly."""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import torch
from fakes import handle_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from verifier.backends.bounder import ReadyNetwork, make_ready
from verifier.backends.property import decide
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import BOUND_METHODS, Crown, Ibp, Ladder
from verifier.properties import Case, InputBox, LinearConstraint, Property


class Fold(nn.Module):
    """(|x_0| + |x_1|, x_0): bends that no single line follows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 5), nn.Linear(5, 2)
        with torch.no_grad():
            self.first.weight.copy_(torch.tensor([[1.0, 0], [-1, 0], [0, 1], [0, -1], [1, 0]]))
            self.first.bias.copy_(torch.tensor([0.0, 0, 0, 0, 8]))
            self.last.weight.copy_(torch.tensor([[1.0, 1, 1, 1, 0], [0, 0, 0, 0, 1]]))
            self.last.bias.copy_(torch.tensor([0.0, -8]))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(self.first(x).relu())
        return logits


@pytest.fixture(scope="module")
def fold() -> ReadyNetwork:
    return make_ready(handle_of(Fold(), (2,), 2))


def constraint(coefficients: Sequence[float], bound: float) -> LinearConstraint:
    """coefficients . Y <= bound."""
    pairs = tuple((k, Fraction(c)) for k, c in enumerate(coefficients) if c)
    return LinearConstraint(pairs, Fraction(bound))


def asked(*cases: tuple[Sequence[tuple[float, float]], Sequence[LinearConstraint]], outputs: int = 2) -> Property:
    """Cases of (ends of each input, constraints)."""
    made = [
        Case(InputBox(*(tuple(Fraction(v) for v in ends) for ends in zip(*box, strict=True))), tuple(constraints))
        for box, constraints in cases
    ]
    return Property(len(made[0].box.lower), outputs, tuple(made))


SQUARE = ((-1.0, 1.0), (-1.0, 1.0))


@pytest.mark.parametrize("method", [kind() for kind in BOUND_METHODS], ids=lambda method: method.name)
def test_true_and_false_statements(fold: ReadyNetwork, method: Crown) -> None:
    too_much = constraint([-1, 0], -4.5)  # |x_0| + |x_1| >= 4.5, and it is at most 2
    assert decide(fold, asked((SQUARE, [too_much])), method).holds is True
    corner = decide(fold, asked((SQUARE, [constraint([-1, 0], -1.9)])), method)
    assert corner.holds is False
    assert corner.x is not None
    assert abs(corner.x).tolist() == [1.0, 1.0]
    touching = decide(fold, asked((SQUARE, [constraint([-1, 0], -2)])), method)
    assert touching.holds is None  # equality at a corner: true, and beyond what rounded numbers can tell


def test_all_constraints_of_a_case_must_hold_and_one_case_is_enough(fold: ReadyNetwork) -> None:
    low, high = constraint([0, 1], -0.5), constraint([0, -1], -0.5)  # x_0 <= -1/2, x_0 >= 1/2
    assert decide(fold, asked((SQUARE, [constraint([0, 1], -8.5), high])), Crown()).holds is True  # x_0 <= -8.5
    impossible = decide(fold, asked((SQUARE, [low, high])), Ladder())
    assert impossible.holds is None  # true, but no single row refutes it: branching would
    assert decide(fold, asked((SQUARE, [constraint([0, 1], -8.5)]), (SQUARE, [low])), Crown()).holds is False
    tally = decide(fold, asked((SQUARE, [constraint([0, 1], -8.5)]), (SQUARE, [low, high])), Crown())
    assert (tally.holds, tally.refuted, tally.cases) == (None, 1, 2)


def test_without_cases_everything_holds_and_without_constraints_nothing(fold: ReadyNetwork) -> None:
    assert decide(fold, Property(2, 2, ()), Ibp()).holds is True
    assert decide(fold, asked((SQUARE, [])), Ibp()).holds is False


def test_time_that_is_over(fold: ReadyNetwork) -> None:
    decision = decide(fold, asked((SQUARE, [constraint([-1, 0], -4.5)])), Crown(), timeout=0.0)
    assert (decision.holds, decision.in_time) == (None, False)


tenths = st.integers(-30, 30).map(lambda number: number / 8)


@settings(deadline=None, max_examples=60)
@given(
    ends=st.lists(st.tuples(tenths, tenths).map(sorted), min_size=2, max_size=2),
    row=st.lists(st.integers(-3, 3), min_size=2, max_size=2),
    bound=tenths,
    method=st.sampled_from([Ibp(), Crown(), Ladder()]),
)
def test_never_a_wrong_answer(
    fold: ReadyNetwork, ends: list[list[float]], row: list[int], bound: float, method: Crown
) -> None:
    """The exact minimum of a row over a box: linear on the four quadrants, so among their corners."""
    decision = decide(fold, asked(([(a, b) for a, b in ends], [constraint([float(c) for c in row], bound)])), method)
    places = [sorted({a, b, *([0.0] if a < 0 < b else [])}) for a, b in ends]
    least = min(row[0] * (abs(x) + abs(y)) + row[1] * x for x in places[0] for y in places[1])
    if decision.holds is True:
        assert least > bound
    if decision.holds is False:
        assert least <= bound
        assert decision.x is not None
        assert all(a <= v <= b for v, (a, b) in zip(decision.x.tolist(), ends, strict=True))


def test_coefficients_that_float64_cannot_hold_are_paid_for(fold: ReadyNetwork) -> None:
    third = LinearConstraint(((0, Fraction(1, 3)),), Fraction(-1, 3))  # Y_0 / 3 <= -1/3, and Y_0 >= 0
    box = InputBox((Fraction(-1), Fraction(-1)), (Fraction(1), Fraction(1)))
    assert decide(fold, Property(2, 2, (Case(box, (third,)),)), Crown()).holds is True
    touching = LinearConstraint(((0, Fraction(1, 3)),), Fraction(2, 3))
    point = InputBox((Fraction(1), Fraction(1)), (Fraction(1), Fraction(1)))  # Y_0 = 2 there: equality
    assert decide(fold, Property(2, 2, (Case(point, (touching,)),)), Crown()).holds is not True


class Softmaxed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = Fold()

    def forward(self, x: Tensor) -> Tensor:
        return torch.softmax(self.inner(x), dim=1)


def test_values_behind_a_softmax_are_refused_but_their_order_is_not() -> None:
    ready = make_ready(handle_of(Softmaxed(), (2,), 2))
    with pytest.raises(Unsupported, match="softmax"):
        decide(ready, asked((SQUARE, [constraint([1, 0], 0.5)])), Crown())
    order = constraint([1, -1], 0)  # Y_0 <= Y_1: |x_0| + |x_1| <= x_0
    assert decide(ready, asked((((-1.0, -0.5), (0.5, 1.0)), [order])), Crown()).holds is True


def test_a_property_of_another_network_is_refused(fold: ReadyNetwork) -> None:
    with pytest.raises(InvalidProblem, match="another network"):
        decide(fold, asked((((0.0, 1.0),), [constraint([1, 0], 0)])), Crown())
    with pytest.raises(InvalidProblem, match="over the reals"):
        decide(fold, Property(2, 2, ()), Crown(semantics="float32_exec"))  # type: ignore[arg-type]


def test_a_point_that_float32_cannot_hold_is_no_counterexample(fold: ReadyNetwork) -> None:
    value = Fraction(1) + Fraction(1, 2**40)
    box = InputBox((value, value), (value, value))
    decision = decide(fold, Property(2, 2, (Case(box, (constraint([-1, 0], -1.0),)),)), Crown())
    assert decision.holds is None
    assert np.float32(float(value)) == 1
