"""What texts of properties mean, and how the others are refused."""

import gzip
import zlib
from fractions import Fraction
from pathlib import Path

import pytest

from verifier.errors import InvalidProblem, Unsupported
from verifier.properties import Case, InputBox, LinearConstraint, Property
from verifier.vnnlib.reader import MAX_DEPTH, read
from verifier.vnnlib.tokens import MAX_BYTES

HEAD = """; two inputs, two outputs
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
"""
BOXED = HEAD + "(assert (and (>= X_0 0) (<= X_0 1) (>= X_1 -1) (<= X_1 2)))\n"
"""Seven lines; what a test adds stands on the seventh."""

BOX = InputBox((Fraction(0), Fraction(-1)), (Fraction(1), Fraction(2)))


def stated(more: str, head: str = BOXED) -> Property:
    return read((head + more).encode())


def constraint(bound: str, **coefficients: str) -> LinearConstraint:
    """Y_0 and Y_1 by their names, y0 and y1."""
    return LinearConstraint(tuple((int(k[1:]), Fraction(c)) for k, c in coefficients.items()), Fraction(bound))


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("(<= Y_0 Y_1)", constraint("0", y0="1", y1="-1")),
        ("(>= Y_0 Y_1)", constraint("0", y0="-1", y1="1")),
        ("(<= Y_0 3.5)", constraint("7/2", y0="1")),
        ("(<= 3.5 Y_0)", constraint("-7/2", y0="-1")),
        ("(>= Y_1 -1e-3)", constraint("1/1000", y1="-1")),
        ("(<= Y_1 (- 1.0))", constraint("-1", y1="1")),
        ("(<= (+ Y_0 (* -2.0 Y_1) 1) 1.5E+1)", constraint("14", y0="1", y1="-2")),
        ("(<= (- Y_0 Y_1 .25) (* (+ 1 1) 3. Y_0))", constraint("1/4", y0="-5", y1="-1")),
        ("(>= (* Y_0 0.1 10) +2)", constraint("-2", y0="-1")),
        ("(<= (- (+ Y_0 Y_1) Y_1) 1)", constraint("1", y0="1")),
        ("(<= (+ X_0 Y_0) (+ 1 X_0))", constraint("1", y0="1")),
    ],
)
def test_comparisons(formula: str, expected: LinearConstraint) -> None:
    assert stated(f"(assert {formula})") == Property(2, 2, (Case(BOX, (expected,)),))


@pytest.mark.parametrize(
    ("formula", "lower", "upper"),
    [
        ("(<= X_0 0.5)", "0", "1/2"),
        ("(<= 0.5 X_0)", "1/2", "1"),
        ("(<= (* 4 X_0) 1)", "0", "1/4"),
        ("(<= (* -3 X_0) -1)", "1/3", "1"),
        ("(>= (- 0.75 X_0) (- X_0))", "0", "1"),
        ("(>= (+ X_0 1) 1.125)", "1/8", "1"),
        ("(<= X_0 7)", "0", "1"),
        ("(and (<= X_0 0.5) (>= X_0 0.5))", "1/2", "1/2"),
    ],
)
def test_bounds_of_inputs(formula: str, lower: str, upper: str) -> None:
    (case,) = stated(f"(assert {formula})").cases
    assert case.box == InputBox((Fraction(lower), BOX.lower[1]), (Fraction(upper), BOX.upper[1]))
    assert case.constraints == ()


@pytest.mark.parametrize(
    "formula",
    [
        "(<= X_0 -0.0001)",
        "(and (<= X_0 0.25) (>= X_0 0.250000000000000000000000000001))",
        "(<= 1 0)",
        "(or (<= 1 0) (>= X_1 3))",
        "(>= Y_0 (+ Y_0 1e-30))",
    ],
)
def test_a_case_that_no_point_is_in_is_dropped(formula: str) -> None:
    assert stated(f"(assert {formula})") == Property(2, 2, ())


def test_what_is_always_true_adds_nothing() -> None:
    assert stated("(assert (or (<= 0 0) (<= 1 0)))(assert (<= Y_0 Y_0))(assert (<= X_0 X_0))").cases == (Case(BOX, ()),)


def test_alternatives_multiply_and_later_assertions_join_each() -> None:
    either = "(assert (or (<= Y_0 1) (and (<= Y_0 2) (<= X_0 0.5))))\n"
    read_property = stated(either + "(assert (or (>= Y_1 1) (>= X_1 0)))\n(assert (<= Y_1 9))")
    narrow_0, narrow_1 = Fraction(1, 2), Fraction(0)
    low, high = constraint("1", y0="1"), constraint("2", y0="1")
    second, every = constraint("-1", y1="-1"), constraint("9", y1="1")
    assert set(read_property.cases) == {
        Case(BOX, (every, low, second)),
        Case(InputBox((Fraction(0), narrow_1), BOX.upper), (every, low)),
        Case(InputBox(BOX.lower, (narrow_0, Fraction(2))), (every, high, second)),
        Case(InputBox((Fraction(0), narrow_1), (narrow_0, Fraction(2))), (every, high)),
    }
    assert len(read_property.cases) == 4


def test_boxes_only_in_alternatives() -> None:
    one = "(and (>= X_0 0) (<= X_0 1) (>= X_1 0) (<= X_1 1) (<= Y_0 0))"
    two = "(and (>= X_0 5) (<= X_0 6) (>= X_1 5) (<= X_1 6) (<= Y_1 0))"
    cases = stated(f"(assert (or {one} {two}))", HEAD).cases
    assert [(case.box.lower[0], case.box.upper[1]) for case in cases] == [
        (Fraction(0), Fraction(1)),
        (Fraction(5), Fraction(6)),
    ]


def test_cases_of_one_box_share_it() -> None:
    first, second = stated("(assert (or (<= Y_0 1) (<= Y_1 1)))").cases
    assert first.box is second.box


def test_form_of_the_text_does_not_matter() -> None:
    text = BOXED + "(assert (or (<= Y_0 1) (<= Y_1 1)))"
    spread = text.replace("(", " ( \t").replace(")", "\r\n ) ;(comment\n").encode()
    assert read(spread) == read(gzip.compress(text.encode())) == read(text.encode())


def test_a_comment_ends_with_its_line_also_where_lines_end_by_carriage_return() -> None:
    assert len(stated("; first\r(assert (<= Y_0 1))\r; last").cases[0].constraints) == 1


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("(assert (<= Y_0 1)", "line 7, column 19", "expected ')', got the end of the text"),
        ("(assert (<= Y_0 1)))", "line 7, column 20", "got ')'"),
        ("\n (assert (<= Y_0 Y_2))", "line 8, column 18", "a number or a declared variable, got 'Y_2'"),
        ("(assert (<= Y_0 nan))", "line 7, column 17", "got 'nan'"),
        ("(assert (<= Y_0 inf))", "line 7, column 17", "got 'inf'"),
        ("(assert (<= Y_0 0x10))", "line 7, column 17", "got '0x10'"),
        ("(assert (<= Y_0 1_000))", "line 7, column 17", "got '1_000'"),
        ("(assert (<= Y_0 \u0661))", "line 7, column 17", "a number or a declared variable"),
        ("(assert (<= Y_0\u00a01))", "line 7, column 10", "expected 2 after '<=', got 1"),
        ("(assert (<= Y_0 1 2))", "line 7, column 10", "expected 2 after '<=', got 3"),
        ("(assert (<= Y_0))", "line 7, column 10", "expected 2 after '<=', got 1"),
        ("(assert (or))", "line 7, column 10", "expected at least 1 after 'or', got 0"),
        ("(assert (<= (+ Y_0) 1))", "line 7, column 14", "expected at least 2 after '+', got 1"),
        ("(assert)", "line 7, column 2", "expected 1 after 'assert', got 0"),
        ("(assert (<= Y_0 1) (<= Y_1 1))", "line 7, column 2", "expected 1 after 'assert', got 2"),
        ("(assert Y_0)", "line 7, column 9", "expected a formula"),
        ("(assert (+ Y_0 1))", "line 7, column 2", "got a term"),
        ("(assert (<= (or (<= Y_0 1)) 1))", "line 7, column 10", "got a formula"),
        ("(assert (and Y_0 (<= Y_1 1)))", "line 7, column 14", "expected a formula"),
        ("(assert (or (and (>= Y_0 1)((<= Y_0 2)))))", "line 7, column 28", "expected an operator"),
        ("()", "line 7, column 1", "expected an operator"),
        ("(<= Y_0 1)", "line 7, column 2", "expected 'declare-const' or 'assert', got '<='"),
        ("(check-sat)", "line 7, column 2", "got 'check-sat'"),
        ("assert", "line 7, column 1", "expected '(', got 'assert'"),
        ("(assert (max Y_0 1))", "line 7, column 10", "expected one of and, or, <=, >=, +, -, *, got 'max'"),
        ("(declare-const Y_0 Real)", "line 7, column 16", "Y_0 is declared twice"),
        ("(declare-const Z_0 Real)", "line 7, column 16", "a variable X_i or Y_j, got 'Z_0'"),
        ("(declare-const Y_02 Real)", "line 7, column 16", "got 'Y_02'"),
        ("(declare-const Y_2 Int)", "line 7, column 20", "the sort 'Real', got 'Int'"),
        ("(declare-const Y_2)", "line 7, column 2", "expected 2 after 'declare-const', got 1"),
        ("(assert (<= Y_0 1e1001))", "line 7, column 17", "exponent within"),
        (f"(assert (<= Y_0 0.{'1' * 1000}))", "line 7, column 17", "at most 1000 characters"),
        ("(assert (<= Y_0 1e309))", "line 7, column 10", "that float64 holds"),
        ("(assert (<= X_0 1e309))", "line 7, column 10", "that float64 holds"),
        ("(assert (<= X_0 nan))", "line 7, column 17", "a number or a declared variable, got 'nan'"),
        ("(assert (<= X_2 1))", "line 7, column 13", "a number or a declared variable, got 'X_2'"),
        ("(assert (<= (* 1e200 X_0) (* 1e200 1e200 1e200)))", "line 7, column 10", "that float64 holds"),
        (f"(assert (<= Y_0 (* {'1e1000 ' * 20})))", "line 7, column 18", "more than 16384 bits"),
        (f"(assert {'(and ' * MAX_DEPTH}", "line 7", f"at most {MAX_DEPTH} parentheses"),
    ],
)
def test_malformed(text: str, place: str, problem: str) -> None:
    with pytest.raises(InvalidProblem) as refused:
        stated(text)
    assert place in refused.value.message
    assert problem in refused.value.message


@pytest.mark.parametrize(
    ("text", "place", "problem"),
    [
        ("(assert (<= X_0 Y_0))", "line 7, column 10", "X_0 and Y_0 stand in one comparison"),
        ("(assert (<= X_0 X_1))", "line 7, column 10", "X_0 and X_1 stand in one comparison"),
        ("(assert (<= (* Y_0 Y_1) 1))", "line 7, column 14", "Y_0 and Y_1 is not linear"),
        ("(assert (< Y_0 1))", "line 7, column 10", "'<' is not supported"),
        ("(assert (= Y_0 1))", "line 7, column 10", "'=' is not supported"),
        ("(assert (not (<= Y_0 1)))", "line 7, column 10", "'not' is not supported"),
        ("(assert (<= Y_0 (/ 1 3)))", "line 7, column 18", "'/' is not supported"),
        (f"(assert (and {'(or (<= Y_0 1) (<= Y_0 2))' * 17}))", "line 7, column 10", "131072 cases"),
        (f"{'(assert (or (<= Y_0 1) (<= Y_0 2)))' * 17}", "line 7", "131072 cases"),
    ],
)
def test_unsupported(text: str, place: str, problem: str) -> None:
    with pytest.raises(Unsupported) as refused:
        stated(text)
    assert place in refused.value.message
    assert problem in refused.value.message


def test_many_formulas_that_multiply_out_are_refused_together() -> None:
    one = f"(assert (and (and {'(or (<= Y_0 1) (<= Y_0 2))' * 13}) (<= 1 0)))"
    assert stated(one).cases == ()
    with pytest.raises(Unsupported, match="literals when its alternatives are multiplied out"):
        stated(one * 100)


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (HEAD, "X_0 has no lower bound in case 1"),
        (HEAD + "(assert (>= X_0 0))(assert (<= X_1 0))(assert (>= X_1 0))", "X_0 has no upper bound in case 1"),
        (HEAD + "(assert (and (>= X_0 0) (<= X_0 1) (<= X_1 0)))", "X_1 has no lower bound in case 1"),
        (
            HEAD + "(assert (and (>= X_0 0) (<= X_0 1) (<= X_1 0)))(assert (or (>= X_1 0) (<= Y_0 0)))",
            "X_1 has no lower bound in case 2",
        ),
    ],
)
def test_an_unbounded_input_is_named(text: str, missing: str) -> None:
    with pytest.raises(InvalidProblem, match=missing):
        read(text.encode())


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        ("", "X_0"),
        ("; nothing", "X_0"),
        ("(declare-const X_0 Real)", "Y_0"),
        ("(declare-const X_0 Real)(declare-const X_2 Real)(declare-const Y_0 Real)", "X_1"),
        ("(declare-const X_1 Real)(declare-const Y_0 Real)", "X_0"),
    ],
)
def test_a_gap_in_the_declarations_is_named(text: str, missing: str) -> None:
    with pytest.raises(InvalidProblem, match=rf"got no \(declare-const {missing} Real\)"):
        read(text.encode())


TEXT = (BOXED + "(assert (<= Y_0 1))").encode()


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (gzip.compress(TEXT)[:-1], "whole gzip stream"),
        (gzip.compress(TEXT)[:20], "whole gzip stream"),
        (gzip.compress(TEXT)[:2], "whole gzip stream"),
        (gzip.compress(TEXT)[:-8] + bytes(8), "whole gzip stream"),
        (gzip.compress(TEXT) + b"more", "whole gzip stream"),
        (b"\x1f\x8b\x08\x00" + bytes(range(60)), "whole gzip stream"),
        (gzip.compress(gzip.compress(TEXT)), "UTF-8"),
        (zlib.compress(TEXT), "UTF-8"),
        (b"; a\n; \xff", "line 2: expected text in UTF-8, got byte 0xff"),
        (TEXT.decode().encode("utf-16"), "UTF-8"),
        (bytes(100), r"line 1, column 1: expected '\('"),
    ],
)
def test_damaged_files(data: bytes, problem: str) -> None:
    with pytest.raises(InvalidProblem, match=problem):
        read(data)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b" " * (MAX_BYTES + 1), compresslevel=1)
    with pytest.raises(InvalidProblem, match=f"longer than {MAX_BYTES} bytes"):
        read(bomb)


def test_files(tmp_path: Path) -> None:
    plain, packed = tmp_path / "p.vnnlib", tmp_path / "p.txt"
    plain.write_bytes(TEXT)
    packed.write_bytes(gzip.compress(TEXT))
    assert read(plain) == read(packed) == read(TEXT)
    for missing in (tmp_path / "none.vnnlib", tmp_path):
        with pytest.raises(InvalidProblem, match="cannot read"):
            read(missing)
