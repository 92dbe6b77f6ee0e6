"""A problem is valid when it is there, and nobody can change it afterwards."""

import numpy as np
import pytest
from numpy.typing import NDArray

from verifier.errors import InvalidProblem
from verifier.problem import Norm, Problem, digest_of

X = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)


def test_the_callers_buffer_may_be_used_again() -> None:
    """Found by review: a buffer refilled meanwhile got certificates that named the new input."""
    x, labels = X.copy(), np.array([0, 1, 2])
    problem = Problem(x, Norm.L2, labels)
    x[:], labels[:] = -1, 9
    assert problem.digests == tuple(digest_of(row) for row in X)
    assert [problem.label(row) for row in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="read-only"):
        problem.x[0] = 0


@pytest.mark.parametrize(
    ("x", "field"),
    [
        (X.astype(np.float64), "inputs.datatype"),
        (X[0], "inputs.shape"),
        (X[:0], "inputs.shape"),
        (np.where(X > 0.9, np.nan, X), "inputs[2]"),
        (np.where(X < 0.1, -np.inf, X), "inputs[0]"),
    ],
    ids=["float64", "no batch axis", "empty", "NaN", "infinite"],
)
def test_bad_inputs_are_named(x: NDArray[np.float32], field: str) -> None:
    with pytest.raises(InvalidProblem) as caught:
        Problem(x, Norm.L2)
    assert caught.value.violations[0].field == field


@pytest.mark.parametrize("eps", [0.0, -1.0, np.nan, np.inf])
def test_eps_is_a_radius(eps: float) -> None:
    with pytest.raises(InvalidProblem, match="eps must be finite and > 0"):
        Problem(X, Norm.L2, eps=eps)


@pytest.mark.parametrize(
    "labels", [np.array([0, 1]), np.array([[0], [1], [2]]), np.array([0.0, 1.0, 2.0]), np.array([0, -1, 2])]
)
def test_bad_labels_are_refused(labels: NDArray[np.int64]) -> None:
    with pytest.raises(InvalidProblem, match="labels must"):
        Problem(X, Norm.L2, labels)


def test_a_digest_tells_type_and_shape_from_bytes() -> None:
    zeros = np.zeros((2, 2), np.float32)
    assert len({digest_of(zeros), digest_of(zeros.ravel()), digest_of(zeros.view(np.int32))}) == 3
    assert digest_of(zeros) == digest_of(np.asfortranarray(zeros)) == digest_of(zeros.astype(">f4"))
