"""What is asked: inputs, their labels, and the norm in which they may be moved."""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

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


@dataclass(frozen=True, eq=False)
class Problem:
    """Inputs to certify, each on its own. Valid by construction.

    Args:
        x: inputs [B, *shape], float32, finite, B >= 1.
        norm: in which norm the radius is measured.
        labels: true classes [B], integers >= 0, or None.
        eps: the radius asked about, > 0; None where the largest provable radius is wanted.
        first_index: index of x[0] in the caller's numbering (streams send inputs in parts).
    Raises:
        InvalidProblem: naming the field and, for a bad value, the first input that has it.
    """

    x: NDArray[np.float32]
    norm: Norm
    labels: NDArray[np.int64] | None = None
    eps: float | None = None
    first_index: int = 0

    def __post_init__(self) -> None:
        _check_inputs(self.x)
        object.__setattr__(self, "x", _private(self.x))
        if self.eps is not None and not (np.isfinite(self.eps) and self.eps > 0):
            raise InvalidProblem(f"eps must be finite and > 0, got {self.eps}", field="eps")
        if self.first_index < 0:
            raise InvalidProblem(f"first_index must be >= 0, got {self.first_index}", field="first_index")
        if self.labels is not None:
            object.__setattr__(self, "labels", _private(_checked_labels(self.labels, len(self.x))))

    def __len__(self) -> int:
        return len(self.x)

    @cached_property
    def digests(self) -> tuple[str, ...]:
        """SHA-256 of each input alone, [B]."""
        return tuple(digest_of(row) for row in self.x)

    def label(self, row: int) -> int | None:
        """The true class of x[row], where labels were given."""
        return None if self.labels is None else int(self.labels[row])


Number = TypeVar("Number", bound=np.generic)


def _private(array: NDArray[Number]) -> NDArray[Number]:
    """A read-only copy: the caller may refill its own array while the question is being answered."""
    copy = np.array(array, order="C")
    copy.flags.writeable = False
    return copy


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
