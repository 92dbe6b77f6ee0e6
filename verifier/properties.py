"""What is asked of a network in general: in no box of inputs may its outputs meet these linear conditions.

Numbers are exact rationals, as the text of a property has them. They become float64 in one place per word, each time
to the side on which a proof about the float64 numbers is a proof about the exact ones.
"""

import math
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verifier.errors import InvalidProblem
from verifier.problem import Box

Floats = NDArray[np.float64]

LARGEST = Fraction(sys.float_info.max)
"""Of what float64 holds; numbers beyond it are refused, for they would round to infinity."""

_SURELY_IN_RANGE = sys.float_info.max_exp - 1


def in_range(value: Fraction) -> bool:
    """Whether |value| <= LARGEST."""
    bits = value.numerator.bit_length() - value.denominator.bit_length()
    return bits < _SURELY_IN_RANGE or abs(value) <= LARGEST  # |value| < 2^(bits + 1), and comparing is dear


def rounded_down(value: Fraction) -> float:
    """The largest float64 <= value, for |value| <= LARGEST."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def rounded_up(value: Fraction) -> float:
    """The smallest float64 >= value, for |value| <= LARGEST."""
    return 0.0 - rounded_down(-value)  # not -0.0, which would digest differently


@dataclass(frozen=True)
class LinearConstraint:
    """sum of c_k Y_k <= bound, exactly. Valid by construction.

    Args:
        coefficients: pairs (k, c_k), outputs k >= 0 ascending, c_k != 0; of the others c_k is 0. Empty where the
            constraint speaks about no output.
        bound: right-hand side.
    Raises:
        InvalidProblem: outputs out of order or negative, a coefficient of 0, a number beyond float64.
    """

    coefficients: tuple[tuple[int, Fraction], ...]
    bound: Fraction

    def __post_init__(self) -> None:
        outputs = [k for k, _ in self.coefficients]
        if outputs != sorted(set(outputs)) or (outputs and outputs[0] < 0):
            raise InvalidProblem(f"outputs of a constraint must be >= 0 and ascend, got {outputs}")
        if any(c == 0 for _, c in self.coefficients):
            raise InvalidProblem("a constraint must not list outputs with coefficient 0: leave them out")
        _check_range((self.bound, *(c for _, c in self.coefficients)), "a number of a constraint")

    def holds(self, y: Sequence[Fraction]) -> bool:
        """Whether outputs [K] fulfil it, exactly."""
        return sum((c * y[k] for k, c in self.coefficients), Fraction(0)) <= self.bound


@dataclass(frozen=True)
class InputBox:
    """lower <= x <= upper over the flattened input, exactly. Valid by construction.

    Args:
        lower, upper: [n], n >= 1, row-major; lower <= upper, so no box is empty.
    Raises:
        InvalidProblem: naming the first input that is wrong.
    """

    lower: tuple[Fraction, ...]
    upper: tuple[Fraction, ...]

    def __post_init__(self) -> None:
        if not self.lower or len(self.lower) != len(self.upper):
            raise InvalidProblem(
                "a box needs as many lower as upper ends, and at least one, "
                f"got {len(self.lower)} and {len(self.upper)}"
            )
        for i, (lower, upper) in enumerate(zip(self.lower, self.upper, strict=True)):
            if lower > upper:
                raise InvalidProblem(f"X_{i} must have lower <= upper, got {float(lower)} and {float(upper)}")
        _check_range(self.lower + self.upper, "an end of a box")

    @cached_property
    def outward(self) -> Box:
        """The smallest float64 box, ends [n], that contains this one: what is proved on it holds here."""
        return Box(np.array([rounded_down(v) for v in self.lower]), np.array([rounded_up(v) for v in self.upper]))

    def contains(self, x: Sequence[Fraction]) -> bool:
        """Whether an input [n] lies in it, exactly; the ends do."""
        return all(lower <= v <= upper for lower, v, upper in zip(self.lower, x, self.upper, strict=True))


@dataclass(frozen=True, eq=False)
class Rows:
    """The constraints of a case as float64, rounded so that a proof about them is one about the exact constraints.

    For one row s, all x of the box: sum_k C[s, k] y_k - sum_k errors[s, k] |y_k| > thresholds[s], with y = f(x) and in
    real arithmetic, refutes the case. Strictly: a point where a constraint holds with equality is a counterexample.

    Args:
        C: coefficients rounded to nearest, [m, K].
        thresholds: right-hand sides rounded up, [m].
        errors: at least |C - exact coefficient|, [m, K]; 0 where float64 holds the coefficient, which is nearly always.
    """

    C: Floats
    thresholds: Floats
    errors: Floats

    @property
    def exact(self) -> bool:
        """Whether no coefficient was rounded, so that there is no error to pay."""
        return not self.errors.any()


@dataclass(frozen=True)
class Case:
    """One box and what the outputs must fulfil for a point of it to be a counterexample: all of the constraints.

    Without constraints, every point of the box is a counterexample, and nothing refutes the case.
    """

    box: InputBox
    constraints: tuple[LinearConstraint, ...]

    def rows(self, outputs: int) -> Rows:
        """The constraints over K = `outputs` outputs, m >= 0 rows in their order."""
        shape = (len(self.constraints), outputs)
        C, errors = np.zeros(shape), np.zeros(shape)  # noqa: N806 - the field's name for a specification matrix
        for s, constraint in enumerate(self.constraints):
            for k, exact in constraint.coefficients:
                C[s, k] = float(exact)
                errors[s, k] = rounded_up(abs(Fraction(C[s, k]) - exact))
        thresholds = np.array([rounded_up(constraint.bound) for constraint in self.constraints], dtype=np.float64)
        return Rows(C, thresholds, errors)

    def contains(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether an input [n] with its outputs [K] is a counterexample of this case, exactly."""
        return self.box.contains(x) and all(constraint.holds(y) for constraint in self.constraints)


@dataclass(frozen=True)
class Property:
    """A statement about a network f: R^n -> R^K, by its counterexamples. Valid by construction.

    The property holds ("unsat") iff no case has a point: iff for no case there is an x in its box such that f(x)
    fulfils all of its constraints. Without cases it holds for every network.

    Args:
        inputs: n >= 1, of the flattened input tensor, row-major.
        outputs: K >= 1, flattened likewise.
        cases: any number.
    Raises:
        InvalidProblem: a case of another number of inputs, or about an output that there is not.
    """

    inputs: int
    outputs: int
    cases: tuple[Case, ...]

    def __post_init__(self) -> None:
        if self.inputs < 1 or self.outputs < 1:
            raise InvalidProblem(
                f"a property needs at least one input and one output, got {self.inputs} and {self.outputs}"
            )
        for number, case in enumerate(self.cases, 1):
            if len(case.box.lower) != self.inputs:
                raise InvalidProblem(f"case {number} has {len(case.box.lower)} inputs, the property {self.inputs}")
            named = [k for constraint in case.constraints for k, _ in constraint.coefficients]
            if max(named, default=0) >= self.outputs:
                raise InvalidProblem(f"case {number} speaks about Y_{max(named)}, of {self.outputs} outputs")

    def violated_by(self, x: Sequence[Fraction], y: Sequence[Fraction]) -> bool:
        """Whether an input [n] with its outputs [K] is a counterexample of some case, exactly."""
        return any(case.contains(x, y) for case in self.cases)


def _check_range(values: Iterable[Fraction], what: str) -> None:
    if not all(map(in_range, values)):
        raise InvalidProblem(f"{what} lies beyond what float64 holds (1.8e308)")
