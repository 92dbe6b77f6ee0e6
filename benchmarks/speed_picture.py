"""The picture of the documentation: certified accuracy against seconds."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Race:
    """One run over all images.

    Args:
        seconds: of the whole run.
        passes: forward passes.
        came: (second, radius, or -1 where it counts nowhere) of each certificate, as they came.
        radii: that were asked about.
    """

    seconds: float
    passes: int
    came: tuple[tuple[float, float], ...]
    radii: tuple[float, ...]

    def accuracy(self, radius: float) -> float:
        """Certified accuracy."""
        return sum(r >= radius for _, r in self.came) / len(self.came)


def draw(races: Mapping[str, Race], radius: float, out: Path) -> None:
    """Certified accuracy at one radius against seconds, of one decision and of the fixed numbers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    for name, race in races.items():
        if name.startswith("decide") and name != f"decide {radius:g}":
            continue
        times = np.array([second for second, _ in race.came])
        counted = np.cumsum([r >= radius for _, r in race.came]) / len(race.came)
        axes.step(
            np.append(times, race.seconds),
            np.append(counted, counted[-1]),
            where="post",
            label=f"{name} draws" if "fixed" in name else f"{name}: sequential",
        )
        axes.plot(race.seconds, counted[-1], "o", color=axes.lines[-1].get_color(), markersize=5)
        axes.annotate(
            f"{race.seconds:.3g} s",
            (race.seconds, counted[-1]),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.set_ylim(0, 1.06)
    axes.set_xlabel("seconds")
    axes.set_ylabel(f"certified accuracy at {radius:g}")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.savefig(out, dpi=150)
