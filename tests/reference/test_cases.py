"""Networks and properties with known answers: shared/cases/index.csv, beside the checkout. No wrong answer, ever.

`pytest -s` prints how many each method proves.
"""

from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
import pytest

from benchmarks.bound_cases import FOLDER, Case, Opinion, ask_backend, cases, groups, refutes, tally
from verifier.backends.device import Device
from verifier.bounds.margin import Bound
from verifier.methods import AlphaCrown, BoundMethod, Crown, CrownIbp, Ibp, Semantics
from verifier.problem import Norm

pytestmark = pytest.mark.skipif(not cases(), reason="the cases lie in ../shared beside the checkout, and are not there")

FAMILIES = sorted({case.family for case in cases()})
METHODS: tuple[BoundMethod, ...] = (Ibp(), CrownIbp(), Crown())

LEAST_PROVED = {
    ("acasxu", "crown"): 1,
    ("bump", "ibp"): 3,
    ("bump", "crown"): 3,
    ("eran", "crown"): 14,
    ("linear", "ibp"): 60,
    ("linear", "crown"): 60,
    ("mnist_fc", "crown"): 21,
    ("planted_mnist", "crown"): 6,
    ("rl_benchmarks", "crown"): 28,
    ("smallmlp", "crown"): 3,
}
"""What was proved when this was written: a guard against bounds that get looser."""


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device("cpu")
    yield device
    device.close()


def of_family(family: str) -> list[Case]:
    return [case for case in cases() if case.family == family]


def named(name: str) -> list[Case]:
    return [case for case in cases() if case.name == name]


def test_every_case_is_asked_about() -> None:
    assert len(cases()) == 301
    assert all(case.is_for_backends or case.row["vnnlib"] for case in cases())


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_false_is_proved(family: str, method: BoundMethod, device: Device) -> None:
    line = tally(family, of_family(family), method, device)
    print(line)
    assert line["wrong"] == 0
    assert line["proved"] >= LEAST_PROVED.get((family, method.name), 0)


@pytest.mark.parametrize("bound", list(Bound), ids=lambda bound: bound.value)
@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_false_is_proved_of_files(family: str, bound: Bound, device: Device) -> None:
    """The properties as their VNN-LIB files state them, also where arrays are stored."""
    said = [refutes(case, bound, device) for case in of_family(family) if case.row["vnnlib"]]
    assert not [opinion.case.name for opinion in said if opinion.is_wrong]


@pytest.mark.slow
@pytest.mark.parametrize("family", [family for family in FAMILIES if family not in ("acasxu", "reach_prob_density")])
def test_nothing_false_is_proved_by_ascent(family: str, device: Device) -> None:
    said = [opinion for group in groups(of_family(family)) for opinion in ask_backend(group, AlphaCrown(), device)]
    print(family, "alpha-crown", sum(opinion.holds for opinion in said), "of", len(said))
    assert not [opinion.case.name for opinion in said if opinion.is_wrong]


@pytest.mark.parametrize("semantics", list(Semantics))
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_float_traps(method: BoundMethod, semantics: Semantics, device: Device) -> None:
    """One is unsafe over the reals, the other one where it is executed in float32; the latter is meant in addition."""
    asked = type(method)(semantics=semantics)
    (real_unsafe,) = ask_backend(named("float_trap/trap_real_unsafe"), asked, device)
    (executed_unsafe,) = ask_backend(named("float_trap/trap_f32_unsafe"), asked, device)
    assert not real_unsafe.holds
    assert executed_unsafe.holds == (semantics is Semantics.REAL)


def radii(family: str, method: BoundMethod, device: Device) -> list[Opinion]:
    """What a method certifies around each input of a family whose radius is known, once for each norm."""
    known = {(case.model, case.row["npz_row"], case.norm): case for case in of_family(family) if case.exact_radius}
    return [
        opinion
        for group in groups(list(known.values()), searching=True)
        for opinion in ask_backend(group, method, device, searching=True)
    ]


@pytest.mark.parametrize("tolerance", [1e-4, 1e-9])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("family", ["bump", "linear", "smallmlp"])
def test_radii_do_not_exceed_the_exact_ones(family: str, method: BoundMethod, tolerance: float, device: Device) -> None:
    """Exactly: the distance of a witness is an upper bound as it is; closed forms are float64 values near it.

    Those of `linear` are recomputed in rational arithmetic, where float64 is too coarse to tell.
    """
    for opinion in radii(family, type(method)(tolerance=tolerance), device):
        assert opinion.holds, opinion.case.name
        if family == "linear":
            assert opinion.radius > 0
            assert is_within_half_space(opinion.case, Fraction(opinion.radius)), opinion.case.name
        else:
            assert 0 < opinion.radius <= float(opinion.case.exact_radius or 0), opinion.case.name


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_radii_of_linear_classifiers_are_nearly_exact(method: BoundMethod, device: Device) -> None:
    for opinion in radii("linear", type(method)(tolerance=1e-6), device):
        assert opinion.radius >= (1 - 1e-5) * float(opinion.case.exact_radius or 0), opinion.case.name


def test_radii_stay_below_planted_points(device: Device) -> None:
    """The planted point is a counterexample; its distance is taken exactly."""
    planted = [case for case in of_family("planted_mnist") if case.row["answer"] == "sat"]
    for method in METHODS:
        for group in groups(planted, searching=True):
            for opinion in ask_backend(group, method, device, searching=True):
                x, point = opinion.case.array("x"), opinion.case.array("planted")
                distance = max(abs(Fraction(float(a)) - Fraction(float(b))) for a, b in zip(x, point, strict=True))
                assert Fraction(opinion.radius) < distance


@cache
def weights_of(model: str) -> tuple[Any, Any]:
    """(W [K, n], b [K]) of a network that is one linear layer."""
    graph = onnx.load(str(FOLDER / model)).graph
    arrays = [onnx.numpy_helper.to_array(array) for array in graph.initializer]
    (matrix,) = (array for array in arrays if array.ndim == 2)
    (bias,) = (array for array in arrays if array.ndim == 1)
    return (matrix if len(matrix) == len(bias) else matrix.T), bias


def is_within_half_space(case: Case, radius: Fraction) -> bool:
    """Whether the label beats every rival in the whole ball of a linear classifier, in rational arithmetic."""
    matrix, bias = weights_of(case.model)
    x = [Fraction(float(value)) for value in case.array("x")]
    rows = [[Fraction(float(value)) for value in row] for row in matrix]
    for rival in (number for number in range(len(rows)) if number != case.label):
        w = [own - other for own, other in zip(rows[case.label], rows[rival], strict=True)]
        offset = Fraction(float(bias[case.label])) - Fraction(float(bias[rival]))
        margin = sum((a * b for a, b in zip(w, x, strict=True)), offset)
        if not (margin > 0 and is_below(radius, margin, w, case.norm)):
            return False
    return True


def is_below(radius: Fraction, margin: Fraction, w: list[Fraction], norm: Norm) -> bool:
    """radius * ||w||_dual < margin, exactly."""
    if norm is Norm.L2:
        return radius**2 * sum(value**2 for value in w) < margin**2
    size = sum(map(abs, w)) if norm is Norm.LINF else max(map(abs, w))
    return radius * size < margin


def test_rational_check_agrees_with_the_closed_form() -> None:
    for case in of_family("linear"):
        exact = Fraction(float(case.exact_radius or 0))
        assert is_within_half_space(case, exact * Fraction(999_999, 1_000_000))
        assert not is_within_half_space(case, exact * Fraction(1_000_001, 1_000_000))
        assert np.isfinite(float(exact))
