"""The keyword arguments that say what is asked, and the problem that they make."""

from dataclasses import dataclass
from typing import Any, TypedDict, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier.errors import InvalidProblem
from verifier.methods import BoundMethod, CertifyingMethod
from verifier.problem import Box, Norm, Problem


class Asked(TypedDict, total=False):
    """What is asked about the inputs; everything may be left out.

    Keys:
        labels: true classes [B]; certificates then say whether they are correct.
        norm: of the radius, "l1", "l2" or "linf"; default l2 for smoothing, linf for deterministic methods.
        eps: the radius asked about: certified then means radius >= eps. Default: the largest provable.
        domain: (lowest, highest) valid input, numbers or arrays [*shape]; balls are cut with it.
        weights: budget of each feature, [*shape]: |x'_i - x_i| <= radius weights_i. Norm linf.
        lower, upper: ends of a box for each input instead of a ball, [B, *shape]; then x is None.
    """

    labels: ArrayLike | None
    norm: str | None
    eps: float | None
    domain: tuple[ArrayLike, ArrayLike] | None
    weights: ArrayLike | None
    lower: ArrayLike | None
    upper: ArrayLike | None


@dataclass(frozen=True, eq=False)
class Regions:
    """What inputs alone do not say of regions; see `Asked`.

    Args:
        domain: (lowest, highest) valid input, numbers or arrays [*shape].
        weights: budgets, [*shape].
        lower, upper: ends of the boxes, [B, *shape].
    """

    domain: tuple[NDArray[Any], NDArray[Any]] | None = None
    weights: NDArray[Any] | None = None
    lower: NDArray[Any] | None = None
    upper: NDArray[Any] | None = None

    def asked(self) -> Asked:
        """The same as arguments."""
        return {"domain": self.domain, "weights": self.weights, "lower": self.lower, "upper": self.upper}


@dataclass(frozen=True)
class ReadingOptions:
    """How the files of a data set are understood, where they do not say so; see `datasets.source.Reading`."""

    scale: bool = True
    shape: tuple[int, ...] | None = None
    channels_last: bool = False
    inputs_names: tuple[str, ...] = ()
    labels_name: str | None = None


def problem_of(x: ArrayLike | None, method: CertifyingMethod, asked: Asked) -> Problem:
    """The problem, InvalidProblem where there is none of that kind.

    Args:
        x: inputs [B, *shape], float32; None where boxes are given.
        method: decides the default norm.
    """
    if not isinstance(method, get_args(CertifyingMethod)):
        raise InvalidProblem(
            f"certify takes verifier.Smoothing or a deterministic method, got {type(method).__name__}",
            field="spec.method",
        )
    unknown = sorted(set(asked) - set(Asked.__annotations__))
    if unknown:
        raise TypeError(f"unknown arguments: {', '.join(unknown)}; known: {', '.join(Asked.__annotations__)}")
    labels = asked.get("labels")
    classes = None if labels is None else np.asarray(labels)
    lower, upper = asked.get("lower"), asked.get("upper")
    if lower is not None or upper is not None:
        return _box_problem(x, asked, classes)
    if x is None:
        raise InvalidProblem("there are no inputs: give x, or lower and upper ends of boxes", field="inputs")
    norm = asked.get("norm")
    if norm is None:
        norm = Norm.LINF if isinstance(method, BoundMethod) else Norm.L2
    domain, weights = asked.get("domain"), asked.get("weights")
    return Problem(
        np.asarray(x),
        Norm.parse(norm),
        classes,
        asked.get("eps"),
        domain=None if domain is None else Box(*_ends(domain), "bounds"),
        weights=None if weights is None else np.asarray(weights),
    )


def _ends(domain: tuple[ArrayLike, ArrayLike]) -> tuple[NDArray[Any], NDArray[Any]]:
    if not isinstance(domain, tuple | list) or len(domain) != 2:
        raise InvalidProblem("the domain is a pair: the lowest and the highest valid input", field="bounds")
    return np.asarray(domain[0]), np.asarray(domain[1])


def _box_problem(x: ArrayLike | None, asked: Asked, labels: NDArray[Any] | None) -> Problem:
    lower, upper = asked.get("lower"), asked.get("upper")
    if x is not None or lower is None or upper is None:
        raise InvalidProblem("give either x, or both lower and upper ends of boxes", field="inputs")
    given = [name for name in ("eps", "domain", "weights") if asked.get(name) is not None]
    if given or asked.get("norm") not in (None, "linf"):
        raise InvalidProblem(
            f"a box is the whole region: leave out {' and '.join(given) or 'the norm'}",
            field=given[0] if given else "norm",
        )
    return Problem.of_boxes(Box(np.asarray(lower), np.asarray(upper)), labels)
