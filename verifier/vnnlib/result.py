"""The competition's result format: the answer on the first line and, for `sat`, the counterexample.

    sat
    ((X_0 0.25)
    (X_1 -1.5)
    (Y_0 3.0))

Source: rules of VNN-COMP 2022 to 2025; the checker of the results (vnncomp2025_results, counterexamples.py) reads X_i
and Y_j each in ascending order, the input row-major.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier.errors import InvalidProblem
from verifier.properties import Property
from verifier.vnnlib.terms import NUMBER
from verifier.vnnlib.tokens import MAX_BYTES, Token, tokens

_NAME = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})")


class Answer(StrEnum):
    """Whether there is a counterexample: `unsat` is a proof that there is none, so that the property holds."""

    UNSAT = "unsat"
    SAT = "sat"
    UNKNOWN = "unknown"
    TIMEOUT = "timeout"
    ERROR = "error"


@dataclass(frozen=True)
class Counterexample:
    """An input and what the network makes of it, both flattened row-major, finite, at least one number each."""

    x: tuple[float, ...]
    y: tuple[float, ...]

    def __post_init__(self) -> None:
        for name, values in (("X", self.x), ("Y", self.y)):
            if not values:
                raise InvalidProblem(f"a counterexample needs at least {name}_0")
            for i, value in enumerate(values):
                if not math.isfinite(value):
                    raise InvalidProblem(f"a counterexample must be finite, got {name}_{i} = {value}")

    @classmethod
    def of(cls, x: ArrayLike, y: ArrayLike) -> "Counterexample":
        """From arrays of any shape, float64 or narrower, whose values it keeps exactly."""
        return cls(tuple(_flat(x).tolist()), tuple(_flat(y).tolist()))


@dataclass(frozen=True)
class Result:
    """An answer; `sat` with a counterexample, the others without one."""

    answer: Answer
    counterexample: Counterexample | None = None

    def __post_init__(self) -> None:
        if (self.answer is Answer.SAT) != (self.counterexample is not None):
            raise InvalidProblem(f"sat, and only sat, comes with a counterexample, got {self.answer.value}")


def to_text(result: Result) -> str:
    """The result as the competition reads it. Numbers are written so that they read back to the same float64."""
    if result.counterexample is None:
        return f"{result.answer.value}\n"
    pairs = "\n".join(
        f"({name}_{i} {value!r})"
        for name, values in (("X", result.counterexample.x), ("Y", result.counterexample.y))
        for i, value in enumerate(values)
    )
    return f"{result.answer.value}\n({pairs})\n"


def from_text(text: str) -> Result:
    """The result that a text states; `from_text(to_text(result)) == result`.

    Raises:
        InvalidProblem: no such text, with line and column, what was expected and what came.
    """
    if len(text) > MAX_BYTES:
        raise InvalidProblem(f"the text is longer than {MAX_BYTES} characters, which is the most that is read")
    first, *rest = tokens(text)
    if first.text not in list(Answer):
        raise first.expected(f"one of {', '.join(Answer)}")
    answer = Answer(first.text)
    if answer is Answer.SAT:
        return Result(answer, _counterexample(rest))
    if rest[0].text:
        raise rest[0].expected("nothing after the answer")
    return Result(answer)


def satisfies(asked: Property, x: ArrayLike, y: ArrayLike) -> bool:
    """Whether an input and outputs are a counterexample to a property, decided in rational arithmetic.

    Args:
        asked: the property.
        x, y: of any shape, flattened row-major to [n] and [K]; float64 or narrower, taken at their exact values.
    Returns:
        Whether x lies in the exact box of a case and y fulfils its constraints, with equality too; False where x or
        y has a NaN or an infinity.
    Raises:
        InvalidProblem: another number of inputs or outputs than the property has.
    """
    inputs, outputs = _flat(x), _flat(y)
    if (len(inputs), len(outputs)) != (asked.inputs, asked.outputs):
        raise InvalidProblem(
            f"the property has {asked.inputs} inputs and {asked.outputs} outputs, "
            f"got {len(inputs)} and {len(outputs)} numbers"
        )
    if not (np.isfinite(inputs).all() and np.isfinite(outputs).all()):
        return False
    return asked.violated_by([Fraction(v) for v in inputs.tolist()], [Fraction(v) for v in outputs.tolist()])


def _flat(values: ArrayLike) -> NDArray[np.float64]:
    """Row-major, as float64, which must hold them exactly."""
    array = np.asarray(values)
    if array.dtype.kind not in "f" or array.dtype.itemsize > 8:
        raise InvalidProblem(f"a counterexample must consist of floats of at most 64 bits, got {array.dtype}")
    return array.astype(np.float64).reshape(-1)


def _counterexample(rest: Sequence[Token]) -> Counterexample:
    """((X_0 v) ... (Y_0 v) ...) and the end of the text."""
    _check(rest[0], "(")
    values: dict[str, list[float]] = {"X": [], "Y": []}
    at = 1
    while rest[at].text == "(":
        parenthesis, name, value, closing = rest[at : at + 4] if at + 4 < len(rest) else [rest[-1]] * 4
        _check(parenthesis, "(")
        kind = name.text[:1]
        if not _NAME.fullmatch(name.text) or name.text != f"{kind}_{len(values[kind])}":
            raise name.expected(f"X_{len(values['X'])} or Y_{len(values['Y'])}")
        values[kind].append(_finite(value))
        _check(closing, ")")
        at += 4
    _check(rest[at], ")")
    if rest[at + 1].text:
        raise rest[at + 1].expected("nothing after the counterexample")
    for kind, found in values.items():
        if not found:
            raise rest[at].expected(f"{kind}_0")
    return Counterexample(tuple(values["X"]), tuple(values["Y"]))


def _check(token: Token, text: str) -> None:
    if token.text != text:
        raise token.expected(f"'{text}'")


def _finite(token: Token) -> float:
    value = float(token.text) if NUMBER.fullmatch(token.text) else math.nan
    if not math.isfinite(value):
        raise token.expected("a finite number")
    return value
