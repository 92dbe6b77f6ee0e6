"""What is asked with keyword arguments, and the problem that it makes."""

from typing import Any

import numpy as np
import pytest

from verifier.client.asked import Asked, problem_of
from verifier.errors import InvalidProblem
from verifier.methods import BOUND_METHODS, CertifyingMethod, Ibp, Prediction, Smoothing
from verifier.problem import Norm

X = np.full((2, 3), 0.5, np.float32)
LOWER, UPPER = np.zeros((2, 3)), np.ones((2, 3))


@pytest.mark.parametrize("method", [Smoothing(0.5), *(kind() for kind in BOUND_METHODS)], ids=lambda m: m.name)
def test_the_norm_that_is_not_said(method: CertifyingMethod) -> None:
    due = Norm.L2 if isinstance(method, Smoothing) else Norm.LINF
    assert problem_of(X, method, {}).norm is due
    assert problem_of(X, method, {"norm": None}).norm is due
    for norm in Norm:
        assert problem_of(X, method, {"norm": norm.value}).norm is norm


def test_everything_that_is_said_of_balls() -> None:
    asked: Asked = {"labels": [0, 1], "eps": 0.25, "domain": (0, np.float32(1)), "weights": [0, 1, 2]}
    problem = problem_of(X, Ibp(), asked)
    assert problem.domain is not None
    assert problem.weights is not None
    assert problem.labels is not None
    assert (problem.domain.lower.tolist(), problem.domain.upper.tolist()) == (0.0, 1.0)
    assert problem.weights.tolist() == [0.0, 1.0, 2.0]
    assert problem.domain.lower.dtype == problem.weights.dtype == np.float64
    assert (problem.labels.tolist(), problem.eps, problem.boxes) == ([0, 1], 0.25, None)


def test_boxes() -> None:
    problem = problem_of(None, Ibp(), {"lower": LOWER, "upper": UPPER, "labels": [0, 1]})
    assert problem.boxes is not None
    assert (problem.boxes.upper.tolist(), problem.norm, problem.eps) == (UPPER.tolist(), Norm.LINF, None)
    assert problem.x.tolist() == X.tolist()


@pytest.mark.parametrize(
    ("x", "asked", "field"),
    [
        (None, {}, "inputs"),
        (None, {"lower": LOWER}, "inputs"),
        (None, {"upper": UPPER}, "inputs"),
        (X, {"lower": LOWER, "upper": UPPER}, "inputs"),
        (X, {"norm": ""}, "norm"),
        (X, {"norm": "linfty"}, "norm"),
        (X, {"domain": 1.0}, "bounds"),
        (X, {"domain": (0.0,)}, "bounds"),
        (X, {"domain": (1.0, 0.0)}, "bounds.lower"),
        (X, {"domain": (0.0, 0.25)}, "inputs[0]"),
        (X, {"domain": (0.0, "1")}, "bounds.upper"),
        (X, {"weights": [1.0]}, "weights"),
        (X, {"weights": [1.0, 1.0, 1.0], "norm": "l2"}, "weights"),
        (X, {"eps": 0.0}, "eps"),
        (None, {"lower": UPPER, "upper": LOWER}, "box.lower"),
        (None, {"lower": LOWER, "upper": UPPER[:1]}, "box.upper"),
        (None, {"lower": LOWER[0], "upper": UPPER[0]}, "inputs.shape"),
        (None, {"lower": LOWER, "upper": UPPER, "eps": 0.1}, "eps"),
        (None, {"lower": LOWER, "upper": UPPER, "domain": (0, 1)}, "domain"),
        (None, {"lower": LOWER, "upper": UPPER, "weights": [1, 1, 1]}, "weights"),
        (None, {"lower": LOWER, "upper": UPPER, "norm": "l2"}, "norm"),
        (None, {"lower": LOWER, "upper": UPPER, "labels": [0]}, "labels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else None,
)
def test_refusals(x: Any, asked: Any, field: str) -> None:
    with pytest.raises(InvalidProblem) as refused:
        problem_of(x, Ibp(), asked)
    assert [violation.field for violation in refused.value.violations] == [field]


def test_other_methods_and_unknown_arguments() -> None:
    prediction: Any = Prediction(0.5)
    with pytest.raises(InvalidProblem, match="got Prediction"):
        problem_of(X, prediction, {})
    misspelt: Any = {"epsilon": 0.1}
    with pytest.raises(TypeError, match="epsilon"):
        problem_of(X, Ibp(), misspelt)
