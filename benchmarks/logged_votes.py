"""Class probabilities inferred from published certification logs: what decisions are counted on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from verifier.stats.binomial import clopper_pearson_lower

Floats = NDArray[np.float64]

LOGS = {
    0.25: "cohen_cifar10_resnet110_noise_0.25_sigma_0.25.tsv",
    0.5: "cohen_cifar10_resnet110_noise_0.50_sigma_0.50.tsv",
}
_LOGGED_DRAWS, _LOGGED_ALPHA = 100_000, 0.01
"""Of these two logs. They state 0.001; their radii lie on the lattice of 0.01."""


@dataclass(frozen=True)
class Votes:
    """Probabilities that a draw votes for the class, with their weights, which sum to 1; and where they are from."""

    p: Floats
    weight: Floats
    source: str


def of_log(shared: Path, sigma: float) -> Votes | None:
    """One probability a logged radius; None where the log is not there.

    Where all draws agreed, the miss rate is log-uniform in 1e-7..1e-5; an abstained row is uniform in (1/4, 1/2).
    """
    path = shared / "smoothing_logs" / LOGS[sigma]
    if not path.exists():
        return None
    rows = [line.split("\t") for line in path.read_text().splitlines()[1:]]
    counts = np.arange(_LOGGED_DRAWS // 2, _LOGGED_DRAWS + 1)
    radii = -sigma * ndtri(clopper_pearson_lower(counts, _LOGGED_DRAWS, _LOGGED_ALPHA).q)
    found: list[tuple[float, float]] = []
    for _, _, predicted, radius, *_ in rows:
        if predicted == "-1":
            found += [(p, 1 / 8) for p in 0.25 + (np.arange(8) + 0.5) / 32]
            continue
        count = counts[np.abs(radii - float(radius)).argmin()]
        if count == _LOGGED_DRAWS:
            found += [(1 - miss, 1 / 4) for miss in 10 ** (-7 + (np.arange(4) + 0.5) / 2)]
        else:
            found.append((count / _LOGGED_DRAWS, 1.0))
    p, weight = np.array(found).T
    return Votes(p, weight / weight.sum(), path.name)


def mixture() -> Votes:
    """Made up: three parts Beta(8, 1), one part uniform in (1/4, 1)."""
    at = (np.arange(300) + 0.5) / 300
    p = np.concatenate([at ** (1 / 8), 0.25 + 0.75 * at])
    weight = np.repeat([0.75, 0.25], len(at)) / len(at)
    return Votes(p, weight, "mixture: 3/4 Beta(8, 1), 1/4 uniform in (1/4, 1)")
