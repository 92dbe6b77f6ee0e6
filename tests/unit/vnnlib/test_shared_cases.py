"""Every property of the shared cases, against a naive reading of its lines and the index of what is known."""

import csv
import gzip
import re
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from verifier.properties import LinearConstraint
from verifier.vnnlib.reader import read
from verifier.vnnlib.result import satisfies

CASES = Path(__file__).resolve().parents[3].parent / "shared" / "cases"
FILES = sorted(CASES.rglob("*.vnnlib*"))
INDEX = list(csv.DictReader((CASES / "index.csv").read_text().splitlines())) if FILES else []
ROBUST = {row["vnnlib"]: row for row in INDEX if row["vnnlib"] and row["property"] == "robust-all-classes"}
FALSIFIED = [row for row in INDEX if row["vnnlib"] and row["counterexample"]]

pytestmark = pytest.mark.skipif(not FILES, reason="no ../shared with properties beside this checkout")

BOUND = re.compile(r"^\(assert \((<=|>=) X_(\d+) (\S+)\)\)$", re.MULTILINE)
once = cache(read)
"""Reading is pure, and the index names some files often."""

CONDITION = re.compile(r"\((<=|>=) (Y_\d+) ([^()\s]+)\)")


def text_of(path: Path) -> str:
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode()


def conditions(text: str) -> set[LinearConstraint]:
    """Each comparison of an output with a number or another output, on its own."""
    found = set()
    for relation, left, right in CONDITION.findall(text):
        sign = 1 if relation == "<=" else -1
        coefficients = {int(left[2:]): Fraction(sign)}
        bound = Fraction(0)
        if right.startswith("Y"):
            coefficients[int(right[2:])] = Fraction(-sign)
        else:
            bound = sign * Fraction(right)
        found.add(LinearConstraint(tuple(sorted(coefficients.items())), bound))
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CASES)))
def test_a_naive_reading_finds_the_same(path: Path) -> None:
    text, asked = text_of(path), once(path)
    bounds = {(relation, int(i)): Fraction(value) for relation, i, value in BOUND.findall(text)}
    assert len(bounds) == 2 * asked.inputs == 2 * text.count("(declare-const X_")
    assert asked.outputs == text.count("(declare-const Y_")
    (box,) = {id(case.box): case.box for case in asked.cases}.values()
    assert list(box.lower) == [bounds[">=", i] for i in range(asked.inputs)]
    assert list(box.upper) == [bounds["<=", i] for i in range(asked.inputs)]
    assert {constraint for case in asked.cases for constraint in case.constraints} == conditions(text)
    assert len(asked.cases) == max(1, text.count("(and "))


@pytest.mark.parametrize("name", sorted(ROBUST))
def test_robustness_means_that_no_rival_reaches_the_label(name: str) -> None:
    asked, label = once(CASES / name), int(ROBUST[name]["label"])
    for case in asked.cases:
        rows = case.rows(asked.outputs)
        assert rows.exact
        np.testing.assert_array_equal(np.sort(rows.C, axis=1), [[-1, *[0] * (asked.outputs - 2), 1]])
        assert rows.C[0, label] == 1
        assert rows.thresholds.tolist() == [0]
    rivals = {int(case.rows(asked.outputs).C[0].argmin()) for case in asked.cases}
    assert rivals == set(range(asked.outputs)) - {label}


def inside(x: np.ndarray[Any, Any], ends: tuple[tuple[Fraction, ...], tuple[Fraction, ...]]) -> list[np.float32]:
    """The float32 nearest to each x within exact ends."""
    moved = []
    for value, lower, upper in zip(x, *ends, strict=True):
        inner = value
        while Fraction(float(inner)) < lower:
            inner = np.nextafter(inner, np.float32(np.inf))
        while Fraction(float(inner)) > upper:
            inner = np.nextafter(inner, np.float32(-np.inf))
        moved.append(inner)
    return moved


@pytest.mark.parametrize("row", FALSIFIED, ids=lambda row: row["id"])
def test_known_counterexamples_satisfy(row: dict[str, str]) -> None:
    """Some were found in boxes whose ends a tool had rounded to float32: these are first moved in, by an ulp or two."""
    asked, session = once(CASES / row["vnnlib"]), onnxruntime.InferenceSession(CASES / row["model"])
    box = asked.cases[0].box
    found = np.load(CASES / row["counterexample"])
    x = np.array(inside(found, (box.lower, box.upper)), dtype=np.float32)
    np.testing.assert_allclose(x, found, rtol=0, atol=1e-6)
    source = session.get_inputs()[0]
    shape = [size if isinstance(size, int) else 1 for size in source.shape]
    y = session.run(None, {source.name: x.reshape(shape)})[0]
    assert satisfies(asked, x, y)
