"""Certified accuracy of a log: the field's table, and its averages."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verifier.audit.digits import Floats
from verifier.report import average_radius, counts_at

_STEP = 0.25
"""Between the radii of the field's tables."""
_MOST_RADII = 24
"""Of a table; beyond, its step is a rounder number."""


@dataclass(frozen=True)
class Scores:
    """What a log scores.

    Args:
        inputs: over which all fractions are taken.
        correct: inputs that are right without abstaining.
        average_radius: mean over all inputs of the radius where right, else 0 (ACR).
        median_radius: median of the same numbers.
        radii: r of the table, rising from 0.
        counts: inputs that are right within a radius >= r.
    """

    inputs: int
    correct: int
    average_radius: float
    median_radius: float
    radii: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def clean_accuracy(self) -> float:
        """Share of inputs that are right; abstentions are wrong."""
        return self.correct / self.inputs

    @property
    def certified_accuracy(self) -> tuple[float, ...]:
        """counts over inputs."""
        return tuple(count / self.inputs for count in self.counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values at fixed names."""
        return {
            **vars(self),
            "radii": list(self.radii),
            "counts": list(self.counts),
            "clean_accuracy": self.clean_accuracy,
            "certified_accuracy": list(self.certified_accuracy),
        }


def score(counting: Floats, radii: Sequence[float]) -> Scores:
    """The scores of inputs.

    Args:
        counting: the radius up to which each input counts as right, -1 where it counts nowhere, [B], B >= 1.
        radii: of the table, rising.
    """
    return Scores(
        inputs=len(counting),
        correct=int((counting >= 0).sum()),
        average_radius=average_radius(counting),
        median_radius=float(np.median(np.maximum(counting, 0))),
        radii=tuple(float(r) for r in radii),
        counts=tuple(int(count) for count in counts_at(counting, radii)),
    )


def table_radii(largest: float) -> tuple[float, ...]:
    """0 and the multiples of 0.25 up to the largest radius; of a rounder step where these are none, or too many."""
    step = _STEP
    if largest > 0 and not _STEP <= largest <= _STEP * _MOST_RADII:
        power = 10.0 ** math.floor(math.log10(largest))
        step = next(power * share for share in (0.1, 0.2, 0.5, 1.0) if largest / (power * share) <= _MOST_RADII)
    return tuple(float(f"{number * step:.6g}") for number in range(math.floor(largest / step * (1 + 1e-12)) + 1))
