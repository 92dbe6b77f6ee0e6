"""What is asked: inputs, their labels, and the norm in which they may be moved."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from verifier.errors import InvalidProblem


class Norm(StrEnum):
    """The norm in which a perturbation is measured, in the units of the input that the client sends."""

    L1 = "l1"
    L2 = "l2"
    LINF = "linf"

    @classmethod
    def parse(cls, text: str) -> "Norm":
        """The norm of this name; InvalidProblem lists the names where there is none."""
        try:
            return cls(text)
        except ValueError:
            names = ", ".join(norm.value for norm in cls)
            raise InvalidProblem(f"norm must be one of {names}, got {text!r}", field="norm") from None


def digest_of(array: NDArray[np.generic]) -> str:
    """SHA-256 (hex) of an array: of its datatype, its shape and its little-endian row-major bytes."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    head = f"{array.dtype.name}{list(array.shape)}".encode()
    return hashlib.sha256(head + b"\0" + little.tobytes()).hexdigest()


def box_digest(lower: NDArray[np.float64], upper: NDArray[np.float64]) -> str:
    """SHA-256 (hex) of a box's two ends, stacked, as float64."""
    return digest_of(np.stack([lower, upper]).astype(np.float64))


@dataclass(frozen=True, eq=False)
class Box:
    """lower <= x <= upper, feature by feature. Valid by construction.

    Args:
        lower, upper: of one shape, numbers (stored as float64), lower <= upper, not NaN.
        name: of what it is, for messages and fields: "bounds" or "box".
    Raises:
        InvalidProblem: naming the field and the first place that is wrong.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    name: str = "box"

    def __post_init__(self) -> None:
        for end in ("lower", "upper"):
            object.__setattr__(self, end, _private(_as_float64(getattr(self, end), f"{self.name}.{end}")))
        if self.lower.shape != self.upper.shape:
            raise InvalidProblem(
                f"{self.name}: lower has shape {list(self.lower.shape)}, upper {list(self.upper.shape)}; "
                "they must have the same",
                field=f"{self.name}.upper",
            )
        crossed = np.flatnonzero(~(self.lower <= self.upper))
        if len(crossed):
            place = int(crossed[0])
            raise InvalidProblem(
                f"{self.name}: lower must be <= upper everywhere and neither NaN, got "
                f"{self.lower.flat[place]} and {self.upper.flat[place]} at flat position {place}",
                field=f"{self.name}.lower",
            )


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs to certify, each on its own. Valid by construction.

    The region of an input is the ball around it within the domain, or, where boxes are given, its box.

    Args:
        x: inputs [B, *shape], float32, finite, B >= 1.
        norm: in which norm the radius is measured.
        labels: true classes [B], integers >= 0, or None.
        eps: the radius asked about, > 0; None where the largest provable radius is wanted.
        first_index: index of x[0] in the caller's numbering (streams send inputs in parts).
        domain: valid inputs, which must contain every x; its ends of shape [] (the same for all features) or
            [*shape]; None where every input is valid.
        weights: budget of each feature, [*shape], float64, >= 0, finite, not all 0: the ball is then
            |x'_i - x_i| <= radius weights_i. For norm linf only.
        boxes: one box for each input instead of a ball, ends [B, *shape], finite; made by `of_boxes`.
        indices: of each input in the caller's numbering, [B], >= 0, all different, where they do not count on from
            `first_index`.
    Raises:
        InvalidProblem: naming the field and, for a bad value, the first input that has it.
    """

    x: NDArray[np.float32]
    norm: Norm
    labels: NDArray[np.int64] | None = None
    eps: float | None = None
    first_index: int = 0
    domain: Box | None = None
    weights: NDArray[np.float64] | None = None
    boxes: Box | None = None
    indices: NDArray[np.int64] | None = None

    @classmethod
    def of_boxes(cls, boxes: Box, labels: NDArray[np.int64] | None = None, first_index: int = 0) -> "Problem":
        """Whether the answer is the same everywhere in each box; x becomes the middle, rounded to float32."""
        with np.errstate(over="ignore", invalid="ignore"):
            middle = (boxes.lower / 2 + boxes.upper / 2).astype(np.float32)
        if boxes.lower.ndim > 1 and not np.isfinite(middle).all():
            raise InvalidProblem(
                "boxes must be finite, with a middle that float32 can hold; bound every feature on both sides",
                field="box.lower",
            )
        return cls(middle, Norm.LINF, labels, None, first_index, boxes=boxes)

    def __post_init__(self) -> None:
        _check_inputs(self.x)
        object.__setattr__(self, "x", _private(self.x))
        self._check_region()
        if self.eps is not None and not (np.isfinite(self.eps) and self.eps > 0):
            raise InvalidProblem(f"eps must be finite and > 0, got {self.eps}", field="eps")
        if self.first_index < 0:
            raise InvalidProblem(f"first_index must be >= 0, got {self.first_index}", field="first_index")
        if self.labels is not None:
            object.__setattr__(self, "labels", _private(_checked_labels(self.labels, len(self.x))))
        if self.indices is not None:
            object.__setattr__(self, "indices", _private(_checked_indices(self.indices, len(self.x))))

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, chosen: slice) -> "Problem":
        """The problem of some inputs, which keep their indices; the slice has a start."""
        labels = None if self.labels is None else self.labels[chosen]
        first = self.first_index + chosen.start
        indices = None if self.indices is None else self.indices[chosen]
        if self.boxes is not None:
            return Problem.of_boxes(Box(self.boxes.lower[chosen], self.boxes.upper[chosen]), labels, first)
        return Problem(self.x[chosen], self.norm, labels, self.eps, first, self.domain, self.weights, indices=indices)

    @property
    def nbytes(self) -> int:
        """Of its inputs, as they travel."""
        return self.x.nbytes if self.boxes is None else self.boxes.lower.nbytes + self.boxes.upper.nbytes

    def _check_region(self) -> None:
        shape = self.x.shape[1:]
        if self.boxes is not None:
            if self.eps is not None or self.weights is not None:
                raise InvalidProblem("a box has no eps and no weights: drop them, or drop the box", field="eps")
            if self.boxes.lower.shape != self.x.shape:
                raise InvalidProblem(
                    f"boxes have shape {list(self.boxes.lower.shape)}, inputs {list(self.x.shape)}", field="box.lower"
                )
        if self.weights is not None:
            if self.norm is not Norm.LINF:
                raise InvalidProblem(
                    f"weights make a weighted box, which is a ball of norm linf, not of {self.norm.value}: "
                    "ask for linf, or drop them",
                    field="weights",
                )
            object.__setattr__(self, "weights", _private(_checked_weights(self.weights, shape)))
        if self.domain is not None:
            _check_domain(self.domain, self.x, self.boxes)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each input alone, or of each box, [B]."""
        if self.boxes is not None:
            return tuple(map(box_digest, self.boxes.lower, self.boxes.upper))
        return tuple(digest_of(row) for row in self.x)

    def index(self, row: int) -> int:
        """Of x[row], in the caller's numbering."""
        return self.first_index + row if self.indices is None else int(self.indices[row])

    def label(self, row: int) -> int | None:
        """The true class of x[row], where labels were given."""
        return None if self.labels is None else int(self.labels[row])


Number = TypeVar("Number", bound=np.generic)


def _private(array: NDArray[Number]) -> NDArray[Number]:
    """A read-only copy: the caller may refill its own array while the question is being answered."""
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy


def _as_float64(values: ArrayLike, field: str) -> NDArray[np.float64]:
    """Numbers that float64 holds exactly."""
    array = np.asarray(values)
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise InvalidProblem(f"{field} must hold numbers that float64 can hold, got {array.dtype}", field=field)
    return array.astype(np.float64)


def _checked_weights(weights: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    weights = _as_float64(weights, "weights")
    if weights.shape != shape:
        raise InvalidProblem(
            f"weights must have one number per feature, shape {list(shape)}, got {list(weights.shape)}", field="weights"
        )
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InvalidProblem("weights must be finite, >= 0, and not all 0", field="weights")
    return weights


def _check_domain(domain: Box, x: NDArray[np.float32], boxes: Box | None) -> None:
    if domain.lower.shape not in ((), x.shape[1:]):
        raise InvalidProblem(
            f"the domain must be two numbers or have one pair per feature, shape {list(x.shape[1:])}, "
            f"got {list(domain.lower.shape)}",
            field="bounds.lower",
        )
    if boxes is not None:
        raise InvalidProblem(
            "a box is the whole region: cut it with the domain yourself, or drop the domain", field="bounds"
        )
    inside = ((x >= domain.lower) & (x <= domain.upper)).reshape(len(x), -1).all(axis=1)
    if not inside.all():
        first = int(np.flatnonzero(~inside)[0])
        raise InvalidProblem(
            f"input {first} lies outside of the domain ({int((~inside).sum())} of {len(x)} inputs do); "
            "give the bounds of valid inputs in the units of the inputs, or clip the inputs",
            field=f"inputs[{first}]",
        )


def _check_inputs(x: NDArray[np.float32]) -> None:
    if not isinstance(x, np.ndarray):
        raise InvalidProblem(f"inputs must be a numpy array, got {type(x).__name__}", field="inputs")
    if x.dtype != np.float32:
        raise InvalidProblem(
            f"inputs must be float32, got {x.dtype}; convert them deliberately (x.astype(numpy.float32)): "
            "the certificate speaks about the very numbers that are sent",
            field="inputs.datatype",
        )
    if x.ndim < 2:
        raise InvalidProblem(
            f"inputs must have a batch axis and at least one more, got shape {list(x.shape)}; "
            "for a single input send x[None]",
            field="inputs.shape",
        )
    if x.size == 0:
        raise InvalidProblem(f"inputs are empty: shape {list(x.shape)}; send at least one", field="inputs.shape")
    finite = np.isfinite(x).reshape(len(x), -1).all(axis=1)
    if not finite.all():
        first = int(np.flatnonzero(~finite)[0])
        raise InvalidProblem(
            f"input {first} has NaN or infinite values ({int((~finite).sum())} of {len(x)} inputs do); "
            "a radius around it means nothing: remove or repair it",
            field=f"inputs[{first}]",
        )


def _checked_indices(indices: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    indices = np.asarray(indices, dtype=np.int64)
    if indices.shape != (count,) or (indices < 0).any() or len(np.unique(indices)) != count:
        raise InvalidProblem(f"indices must be {count} different numbers >= 0", field="indices")
    return indices


def _checked_labels(labels: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    labels = np.asarray(labels)
    if labels.shape != (count,):
        raise InvalidProblem(
            f"labels must have one class per input, shape [{count}], got {list(labels.shape)}", field="labels"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise InvalidProblem(f"labels must be integers, got {labels.dtype}", field="labels")
    if (labels < 0).any():
        first = int(np.flatnonzero(labels < 0)[0])
        raise InvalidProblem(f"labels must be >= 0, got {int(labels[first])} at {first}", field=f"labels[{first}]")
    return labels.astype(np.int64)
