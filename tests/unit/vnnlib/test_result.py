"""The competition's result format, and what counts as a counterexample."""

import numpy as np
import pytest

from verifier.errors import InvalidProblem
from verifier.vnnlib.reader import read
from verifier.vnnlib.result import Answer, Counterexample, Result, from_text, satisfies, to_text

FOUND = Result(Answer.SAT, Counterexample((0.1, -1e-30), (3.0,)))


def test_text() -> None:
    assert to_text(FOUND) == "sat\n((X_0 0.1)\n(X_1 -1e-30)\n(Y_0 3.0))\n"
    assert [to_text(Result(a)) for a in Answer if a is not Answer.SAT] == [
        "unsat\n",
        "unknown\n",
        "timeout\n",
        "error\n",
    ]


@pytest.mark.parametrize("answer", [answer for answer in Answer if answer is not Answer.SAT])
def test_answers_without_counterexample_read_back(answer: Answer) -> None:
    assert from_text(to_text(Result(answer))) == Result(answer)


@pytest.mark.parametrize(
    "text",
    [
        "sat\n(\n(X_0 0.1)\n(X_1 -1e-30)\n(Y_0 3.0)\n)\n",
        "sat ((X_0 0.1) (X_1 -1E-30) (Y_0 3))",
        "\n sat\r\n((Y_0 +3.)(X_0 .1)(X_1 -0.1e-29))",
    ],
)
def test_other_layouts_read_the_same(text: str) -> None:
    assert from_text(text) == FOUND


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "line 1, column 1: expected one of unsat, sat, unknown, timeout, error, got the end of the text"),
        ("SAT", "got 'SAT'"),
        ("unsat\nsat", "line 2, column 1: expected nothing after the answer"),
        ("sat", r"expected '\('"),
        ("sat ()", "expected X_0"),
        ("sat ((X_0 1))", "expected Y_0"),
        ("sat ((Y_0 1))", "expected X_0"),
        ("sat ((X_1 1) (Y_0 1))", "expected X_0 or Y_0, got 'X_1'"),
        ("sat ((X_0 1) (X_0 1) (Y_0 1))", "expected X_1 or Y_0, got 'X_0'"),
        ("sat ((X_0 1) (Z_0 1))", "expected X_1 or Y_0, got 'Z_0'"),
        ("sat ((X_0 nan) (Y_0 1))", "expected a finite number, got 'nan'"),
        ("sat ((X_0 1e999) (Y_0 1))", "expected a finite number"),
        ("sat ((X_0 1_0) (Y_0 1))", "expected a finite number"),
        ("sat ((X_0 1 2) (Y_0 1))", r"expected '\)', got '2'"),
        ("sat ((X_0 1) (Y_0 1)) x", "expected nothing after the counterexample"),
        ("sat ((X_0 1) (Y_0 1)", "got the end of the text"),
        ("sat ((X_0 1) (Y_0", "got the end of the text"),
        ("sat ((X_0 1) Y_0 1)", r"expected '\)', got 'Y_0'"),
    ],
)
def test_malformed(text: str, problem: str) -> None:
    with pytest.raises(InvalidProblem, match=problem):
        from_text(text)


def test_sat_and_only_sat_has_a_counterexample() -> None:
    with pytest.raises(InvalidProblem):
        Result(Answer.SAT)
    with pytest.raises(InvalidProblem):
        Result(Answer.UNSAT, FOUND.counterexample)


@pytest.mark.parametrize(("x", "y"), [((), (1.0,)), ((1.0,), ()), ((float("nan"),), (1.0,)), ((1.0,), (float("inf"),))])
def test_a_counterexample_is_finite_and_not_empty(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    with pytest.raises(InvalidProblem):
        Counterexample(x, y)


def test_arrays_are_flattened_row_major_at_their_exact_values() -> None:
    x = np.array([[[0.1, 0.2], [0.3, 0.4]]], dtype=np.float32)
    made = Counterexample.of(x, np.array([[1.5]]))
    assert made.x == tuple(float(v) for v in x[0].ravel())
    assert made.y == (1.5,)
    back = from_text(to_text(Result(Answer.SAT, made))).counterexample
    assert back is not None
    np.testing.assert_array_equal(np.array(back.x, dtype=np.float32).reshape(x.shape), x)
    with pytest.raises(InvalidProblem, match="int64"):
        Counterexample.of(np.array([1]), np.array([1.5]))


ASKED = read(
    b"(declare-const X_0 Real)(declare-const Y_0 Real)(declare-const Y_1 Real)"
    b"(assert (>= X_0 0.1))(assert (<= X_0 0.3))(assert (or (<= Y_0 Y_1) (>= Y_0 10)))"
)


@pytest.mark.parametrize(
    ("x", "y", "answer"),
    [
        (0.2, [1.0, 1.0], True),
        (0.2, [1.0, np.nextafter(1.0, 0)], False),
        (0.2, [10.0, 0.0], True),
        (0.1, [0.0, 1.0], True),  # the float lies just above one tenth
        (np.nextafter(0.1, 0), [0.0, 1.0], False),
        (0.3, [0.0, 1.0], True),  # and just below three tenths
        (np.nextafter(0.3, 1), [0.0, 1.0], False),
        (np.float32(0.3), [0.0, 1.0], False),  # 1.2e-8 above
        (np.nan, [0.0, 1.0], False),
        (0.2, [0.0, np.inf], False),
        (0.2, [np.nan, np.nan], False),
    ],
)
def test_satisfies_is_exact(x: float, y: list[float], answer: bool) -> None:
    assert satisfies(ASKED, np.array([[x]]), np.array(y)) is answer


@pytest.mark.parametrize(("x", "y"), [([0.2, 0.2], [0.0, 1.0]), ([0.2], [0.0]), ([], [0.0, 1.0])])
def test_satisfies_refuses_other_shapes(x: list[float], y: list[float]) -> None:
    with pytest.raises(InvalidProblem, match="1 inputs and 2 outputs"):
        satisfies(ASKED, np.array(x), np.array(y))
