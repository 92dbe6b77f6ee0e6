"""Which inputs a gate takes, in which order, and how many there are of each kind: fixed before any outcome."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.dataset import Selection
from verifier.errors import InvalidProblem
from verifier.gate.policy import Criterion, Policy, PolicySelection


def committed_order(policy: Policy, size: int, seed: int) -> NDArray[np.int64]:
    """The indices of the inputs that a gate may consume, in the order in which it must.

    A uniformly random order of the selection, cut at the policy's `sample` and `max_inputs`; a function of its
    arguments alone.

    Args:
        policy: of the gate.
        size: inputs of the data set.
        seed: 0..2^63-1, drawn by the server before any outcome is known.
    Raises:
        InvalidProblem: the selection or a slice does not fit the data set.
    """
    asked: PolicySelection = policy.selection
    available = len(Selection(asked.start, asked.stop, asked.stride).indices(size))
    if asked.sample is not None and asked.sample > available:
        raise InvalidProblem(
            f"the policy samples {asked.sample} of {available} inputs: ask for fewer", field="selection.sample"
        )
    for part in policy.slices:
        if part.end > size:
            raise InvalidProblem(
                f"slice {part.name} reaches to index {part.end - 1} of a data set of {size} inputs",
                field=f"slices.{part.name}",
            )
    most = min(asked.sample or available, policy.max_inputs or available)
    return Selection(asked.start, asked.stop, asked.stride, available, seed).indices(size)[:most]


@dataclass(frozen=True)
class Census:
    """How many inputs of each kind are among those that a gate may consume. Known from indices and labels alone.

    Args:
        classes: of the data set.
        inputs: in all.
        labels: of each class, [classes].
        slices: of each slice of the policy, in its order.
    Raises:
        InvalidProblem: counts that cannot be.
    """

    classes: int
    inputs: int
    labels: tuple[int, ...]
    slices: tuple[int, ...]

    def __post_init__(self) -> None:
        fits = len(self.labels) == self.classes and min(self.labels, default=-1) >= 0
        if not fits or sum(self.labels) != self.inputs or self.inputs < 1:
            raise InvalidProblem(f"{self.inputs} inputs of {self.classes} classes cannot be {self.labels} a class")
        if not all(0 <= count <= self.inputs for count in self.slices):
            raise InvalidProblem(f"slices of {self.inputs} inputs cannot have {self.slices} inputs")

    @classmethod
    def of(cls, policy: Policy, indices: Sequence[int], labels: Sequence[int], classes: int) -> "Census":
        """Of inputs in the committed order, with their labels."""
        known = np.asarray(labels, dtype=np.int64)
        if len(known) != len(indices) or not len(known) or known.min() < 0 or known.max() >= classes:
            raise InvalidProblem(f"a gate needs one label in 0..{classes - 1} for each input, and one input at least")
        places = np.asarray(indices, dtype=np.int64)
        slices = [
            sum(int(((places >= start) & (places < stop)).sum()) for start, stop in part.ranges)
            for part in policy.slices
        ]
        counts = np.bincount(known, minlength=classes).tolist()
        return cls(classes, len(known), tuple(counts), tuple(slices))

    def count(self, policy: Policy, criterion: Criterion) -> int:
        """Inputs that count for a criterion of the policy."""
        if criterion.label is not None:
            return self.labels[criterion.label]
        within = criterion.threshold.within
        return self.inputs if within is None else self.slices[policy.slices.index(within)]
