"""What is true of every property text, every text that is none, and every result."""

import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.errors import InvalidProblem, Unsupported
from verifier.properties import Case, InputBox, LinearConstraint
from verifier.vnnlib.reader import read
from verifier.vnnlib.result import Answer, Counterexample, Result, from_text, satisfies, to_text

relaxed = settings(deadline=None, max_examples=100)

INPUTS, OUTPUTS = 2, 3

VALUES = ("0", "1", "-1", "2", "-2", "0.5", "-1.5", "1e0", "-20.0E-1", ".5", "+3.")
"""Few, so that points often lie exactly on the edge of a condition."""

values = st.sampled_from(VALUES)
floats = st.floats(allow_nan=False, allow_infinity=False)

Tree = str | tuple["Tree", ...]
"""An expression: a word, or a list whose first item is the operator."""


def written(tree: Tree) -> str:
    return tree if isinstance(tree, str) else f"({' '.join(map(written, tree))})"


def value_of(tree: Tree, point: Mapping[str, Fraction]) -> Fraction:
    """What a term is worth at a point, by the definition."""
    if isinstance(tree, str):
        return point[tree] if tree in point else Fraction(tree)
    operator, *arguments = tree
    first, *rest = (value_of(argument, point) for argument in arguments)
    if operator == "-" and not rest:
        return -first
    for other in rest:
        first = {"+": first + other, "-": first - other, "*": first * other}[str(operator)]
    return first


def truth_of(tree: Tree, point: Mapping[str, Fraction]) -> bool:
    """Whether a formula holds at a point, by the definition."""
    assert not isinstance(tree, str)
    operator, *arguments = tree
    if operator == "and":
        return all(truth_of(argument, point) for argument in arguments)
    if operator == "or":
        return any(truth_of(argument, point) for argument in arguments)
    left, right = (value_of(argument, point) for argument in arguments)
    return left <= right if operator == "<=" else left >= right


constants = st.one_of(values, st.tuples(st.just("-"), values), st.tuples(st.just("*"), values, values))


def terms(variables: Sequence[str]) -> st.SearchStrategy[Tree]:
    """Linear terms: only constants are multiplied with what may have variables."""
    leaves = st.one_of(values, st.sampled_from(variables))
    sums = st.one_of(
        st.tuples(st.just("+"), leaves, leaves),
        st.tuples(st.just("-"), leaves, leaves, leaves),
        st.tuples(st.just("-"), leaves),
    )
    return st.one_of(
        leaves,
        sums,
        st.tuples(st.just("*"), constants, st.one_of(leaves, sums)),
        st.tuples(st.just("*"), leaves, constants),
        st.tuples(st.just("+"), sums, leaves, sums),
    )


def comparisons(variables: Sequence[str]) -> st.SearchStrategy[Tree]:
    sides = terms(variables)
    return st.tuples(st.sampled_from(["<=", ">="]), sides, sides)


about_one_input = [comparisons([f"X_{i}"]) for i in range(INPUTS)]
about_outputs = comparisons([f"Y_{j}" for j in range(OUTPUTS)])

formulas = st.recursive(
    st.one_of(*about_one_input, about_outputs),
    lambda inner: st.lists(inner, min_size=1, max_size=3).flatmap(
        lambda parts: st.sampled_from([("and", *parts), ("or", *parts)])
    ),
    max_leaves=6,
)

BOUNDS: list[Tree] = [
    comparison for i in range(INPUTS) for comparison in ((">=", f"X_{i}", "-2"), ("<=", f"X_{i}", "1.5"))
]


@dataclass(frozen=True)
class Question:
    """A text and the assertions that it was written from."""

    text: str
    assertions: list[Tree]


@st.composite
def questions(draw: st.DrawFn) -> Question:
    names = [f"X_{i}" for i in range(INPUTS)] + [f"Y_{j}" for j in range(OUTPUTS)]
    assertions = draw(st.permutations([*BOUNDS, *draw(st.lists(formulas, max_size=3))]))
    lines = [f"(declare-const {name} Real)" for name in names] + [f"(assert {written(tree)})" for tree in assertions]
    return Question("\n".join(lines), list(assertions))


exact_values = st.one_of(values.map(Fraction), st.fractions(-3, 3, max_denominator=8))
points = st.tuples(
    st.lists(exact_values, min_size=INPUTS, max_size=INPUTS), st.lists(exact_values, min_size=OUTPUTS, max_size=OUTPUTS)
)


@given(questions(), st.lists(points, min_size=10, max_size=20))
@relaxed
def test_a_property_is_violated_where_its_text_holds(
    question: Question, tried: list[tuple[list[Fraction], list[Fraction]]]
) -> None:
    asked = read(question.text.encode())
    for x, y in tried:
        point = {f"X_{i}": v for i, v in enumerate(x)} | {f"Y_{j}": v for j, v in enumerate(y)}
        assert asked.violated_by(x, y) == all(truth_of(tree, point) for tree in question.assertions)


near = st.one_of(values.map(float), st.floats(-3, 3))


@given(questions(), st.lists(near, min_size=INPUTS, max_size=INPUTS), st.lists(near, min_size=3, max_size=3))
@relaxed
def test_satisfies_takes_floats_at_their_exact_values(question: Question, x: list[float], y: list[float]) -> None:
    point = {f"X_{i}": Fraction(v) for i, v in enumerate(x)} | {f"Y_{j}": Fraction(v) for j, v in enumerate(y)}
    holds = all(truth_of(tree, point) for tree in question.assertions)
    assert satisfies(read(question.text.encode()), np.array([x]), np.array(y)) == holds


def refused_or_read(data: bytes) -> None:
    with suppress(InvalidProblem, Unsupported):
        read(data)


WORDS = [
    "(",
    ")",
    "and",
    "or",
    "<=",
    ">=",
    "+",
    "-",
    "*",
    "assert",
    "declare-const",
    "Real",
    "X_0",
    "Y_0",
    "1",
    "1e999",
]


@given(st.lists(st.sampled_from(WORDS), max_size=40).map(" ".join))
@relaxed
def test_words_in_any_order_are_read_or_refused(text: str) -> None:
    refused_or_read(b"(declare-const X_0 Real)(declare-const Y_0 Real)" + text.encode())


@given(st.one_of(st.binary(), st.text().map(str.encode), st.binary().map(gzip.compress)))
@relaxed
def test_bytes_of_any_kind_are_refused(data: bytes) -> None:
    refused_or_read(data)
    refused_or_read(b"\x1f\x8b" + data)


@given(questions(), st.data())
@relaxed
def test_damaged_texts_are_read_or_refused(question: Question, data: st.DataObject) -> None:
    whole = question.text
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, min(len(whole), start + 12)))
    patch = data.draw(st.one_of(st.sampled_from([*WORDS, ""]), st.text(max_size=5)))
    damaged = (whole[:start] + patch + whole[stop:]).encode()
    refused_or_read(damaged)
    packed = gzip.compress(damaged)
    refused_or_read(packed[: data.draw(st.integers(0, len(packed)))])


@given(questions(), st.data())
@relaxed
def test_a_text_cut_short_is_refused_or_ends_between_commands(question: Question, data: st.DataObject) -> None:
    text = question.text[: data.draw(st.integers(0, len(question.text) - 1))]
    try:
        read(text.encode())
    except InvalidProblem:
        return
    assert text.count("(") == text.count(")")


decimals = st.tuples(st.integers(-(10**25), 10**25), st.integers(-340, 280)).map(lambda p: p[0] * Fraction(10) ** p[1])
coefficients = st.lists(st.one_of(decimals, values.map(Fraction)), min_size=OUTPUTS, max_size=OUTPUTS)


@given(coefficients, decimals, st.lists(decimals, min_size=OUTPUTS, max_size=OUTPUTS))
@relaxed
def test_what_refutes_the_rows_refutes_the_constraint(
    exact: list[Fraction], bound: Fraction, y: list[Fraction]
) -> None:
    constraint = LinearConstraint(tuple((k, c) for k, c in enumerate(exact) if c), bound)
    rows = Case(InputBox((Fraction(0),), (Fraction(1),)), (constraint,)).rows(OUTPUTS)
    C = [Fraction(v) for v in rows.C[0]]  # noqa: N806
    errors, threshold = [Fraction(v) for v in rows.errors[0]], Fraction(rows.thresholds[0])
    assert all(abs(c - e) <= error for c, e, error in zip(C, exact, errors, strict=True))
    assert all((error == 0) == (c == e) for c, e, error in zip(C, exact, errors, strict=True))
    assert bound <= threshold
    paid = sum(c * v - error * abs(v) for c, v, error in zip(C, y, errors, strict=True))
    assert not (paid > threshold and constraint.holds(y))


@given(decimals, decimals)
@relaxed
def test_float_boxes_are_the_smallest_that_contain_the_exact_ones(one: Fraction, other: Fraction) -> None:
    lower, upper = min(one, other), max(one, other)
    outward = InputBox((lower,), (upper,)).outward
    assert Fraction(outward.lower[0]) <= lower < Fraction(np.nextafter(outward.lower[0], np.inf))
    assert Fraction(np.nextafter(outward.upper[0], -np.inf)) < upper <= Fraction(outward.upper[0])


found = st.builds(
    Counterexample,
    st.lists(floats, min_size=1, max_size=20).map(tuple),
    st.lists(floats, min_size=1, max_size=20).map(tuple),
)


@given(found)
@relaxed
def test_results_read_back_to_the_bit(counterexample: Counterexample) -> None:
    result = Result(Answer.SAT, counterexample)
    assert repr(from_text(to_text(result))) == repr(result)  # which tells -0.0 from 0.0


@given(found)
@relaxed
def test_the_way_the_competition_reads_counterexamples_finds_the_same(counterexample: Counterexample) -> None:
    """Its checker strips the outer parentheses, splits at the closing ones, and wants a name, one space, a number."""
    answer, content = to_text(Result(Answer.SAT, counterexample)).split("\n", 1)
    content = content.replace("\n", " ").strip()
    assert (answer, content[0], content[-1]) == ("sat", "(", ")")
    values: dict[str, list[float]] = {"X": [], "Y": []}
    for part in filter(None, map(str.strip, content[1:-1].split(")"))):
        assert part[0] == "("
        name, number = part[1:].split(" ")
        assert int(name[2:]) == len(values[name[0]])
        values[name[0]].append(float(number))
    assert Counterexample(tuple(values["X"]), tuple(values["Y"])) == counterexample


@given(found, st.data())
@relaxed
def test_damaged_results_are_read_or_refused(counterexample: Counterexample, data: st.DataObject) -> None:
    text = to_text(Result(Answer.SAT, counterexample))
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, min(len(text), start + 12)))
    patch = data.draw(st.one_of(st.sampled_from(["(", ")", " ", "\n", "nan", "X_0", ";", ""]), st.text(max_size=5)))
    damaged = text[:start] + patch + text[stop:]
    with suppress(InvalidProblem):
        result = from_text(damaged)
        assert from_text(to_text(result)) == result
