"""Data sets as users see them: what is stored under a digest, and which of its inputs a job or a gate takes."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.errors import InvalidProblem

MAX_INPUTS = 2**31 - 1


@dataclass(frozen=True)
class DatasetInfo:
    """A stored data set. Its digest covers inputs, labels and the shape, not its names.

    Args:
        digest: SHA-256 of its manifest, hex.
        names: aliases, sorted.
        size: inputs.
        shape: of one input.
        labelled: whether every input has a label.
        classes: one more than the largest label; None without labels.
        faults: how many inputs cannot be certified (a picture of another size); NaN is found only when it is read.
        bytes: on the disk.
        created: seconds since the epoch.
    """

    digest: str
    names: tuple[str, ...]
    size: int
    shape: tuple[int, ...]
    labelled: bool
    classes: int | None
    faults: int
    bytes: int
    created: float


@dataclass(frozen=True)
class Selection:
    """Which inputs of a data set, in which order: a slice of it, or a sample of that slice drawn by a seed.

    Args:
        start, stop, stride: as in Python's slices, >= 0, stride >= 1; stop None is the end.
        sample: how many of the slice are taken, without replacement, in the order in which they are drawn; None takes
            all of them in their own order.
        seed: of the sample, 0..2^63-1; given exactly where a sample is.
    Raises:
        InvalidProblem: a value out of range.
    """

    start: int = 0
    stop: int | None = None
    stride: int = 1
    sample: int | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.start < 0 or (self.stop is not None and self.stop < self.start) or self.stride < 1:
            raise InvalidProblem(
                f"a slice needs 0 <= start <= stop and stride >= 1, got {self.start}:{self.stop}:{self.stride}",
                field="selection",
            )
        if (self.sample is None) != (self.seed is None):
            raise InvalidProblem("a sample needs its seed, and a seed a sample", field="selection.seed")
        if self.sample is not None and self.sample < 1:
            raise InvalidProblem(f"a sample has at least 1 input, got {self.sample}", field="selection.sample")
        if self.seed is not None and not 0 <= self.seed < 2**63:
            raise InvalidProblem(f"seed must be in 0..2^63-1, got {self.seed}", field="selection.seed")

    def indices(self, size: int) -> NDArray[np.int64]:
        """The chosen indices of a data set of that size, in their order, [m].

        Raises:
            InvalidProblem: nothing is chosen, or a sample is larger than its slice.
        """
        chosen = np.arange(size, dtype=np.int64)[self.start : self.stop : self.stride]
        if not len(chosen):
            raise InvalidProblem(f"the selection chooses none of {size} inputs", field="selection")
        if self.sample is None or self.seed is None:
            return chosen
        if self.sample > len(chosen):
            raise InvalidProblem(
                f"a sample of {self.sample} was asked of {len(chosen)} inputs: ask for fewer", field="selection.sample"
            )
        key = hashlib.sha256(f"verifier.sample.1\0{self.seed}".encode()).digest()
        draw = np.random.Generator(np.random.PCG64(int.from_bytes(key)))
        return chosen[draw.permutation(len(chosen))[: self.sample]]
