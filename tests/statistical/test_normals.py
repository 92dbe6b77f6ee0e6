"""The drawn numbers are independent standard normals, as far as four million of them can tell.

Every test may raise a false alarm with probability `FALSE_ALARM`, shared among its comparisons; its power is computed
beside it. The seed is fixed, so an alarm today is an alarm every day.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import stats

from verifier.seeds import Phase, Stream
from verifier.smoothing.streams import AesBoxMuller, CudaPhilox, Draw

FALSE_ALARM = 1e-6
POWER = 0.99
ROWS, DIM = 4000, 1000
N = ROWS * DIM
STREAM = Stream(seed=20_240_229, input_digest="5e" * 32, index=0, phase=Phase.ESTIMATE)

Floats = NDArray[np.float64]
Source = Callable[[Stream], Floats]


def aes(stream: Stream) -> Floats:
    normals: Floats = AesBoxMuller(DIM, ROWS, torch.device("cpu")).fill([Draw(stream, 0, ROWS)]).double().numpy()
    return normals


def philox(stream: Stream) -> Floats:
    rows = CudaPhilox(DIM, ROWS, torch.device("cuda")).fill([Draw(stream, 0, ROWS)])
    normals: Floats = rows.cpu().double().numpy()
    return normals


@pytest.fixture(
    scope="module",
    params=[
        aes,
        pytest.param(
            philox,
            marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine"),
        ),
    ],
)
def source(request: pytest.FixtureRequest) -> Source:
    kind: Source = request.param
    return kind


@pytest.fixture(scope="module")
def normals(source: Source) -> Floats:
    return source(STREAM)


def test_distribution_function(normals: Floats) -> None:
    """Kolmogorov and Smirnov, on a million."""
    sample = normals.ravel()[: 10**6]
    assert stats.kstest(sample, "norm").pvalue > FALSE_ALARM
    # Power: the statistic is at least |F_n - Phi| at 0, and at 1. A mean of 0.01 moves the first by 0.00399, and a
    # standard deviation of 1.02 the second by 0.0048; one standard deviation of F_n there is 0.0005.
    threshold = stats.kstwo.isf(FALSE_ALARM, len(sample))
    for point, other in [(0.0, stats.norm(0.01, 1)), (1.0, stats.norm(0, 1.02))]:
        moved = abs(other.cdf(point) - stats.norm.cdf(point))
        deviation = math.sqrt(other.cdf(point) * other.sf(point) / len(sample))
        assert stats.norm.sf((threshold - moved) / deviation) > POWER


def test_cells(normals: Floats) -> None:
    """Chi-square on 98 cells of 1 % and, split four ways, the percent on either side."""
    tail = np.array([1e-5, 1e-4, 1e-3])
    inner = np.linspace(0.01, 0.99, 99)
    edges = stats.norm.ppf(np.concatenate([tail, inner, 1 - tail[::-1]]))
    probabilities = np.diff(stats.norm.cdf(np.concatenate([[-np.inf], edges, [np.inf]])))
    counts = np.histogram(normals.ravel(), np.concatenate([[-np.inf], edges, [np.inf]]))[0]
    assert stats.chisquare(counts, N * probabilities).pvalue > FALSE_ALARM
    # Power: every second cell 0.8 % too likely, the others too unlikely by as much in sum.
    wrong = probabilities * np.where(np.arange(len(probabilities)) % 2, 1.008, 0.992)
    wrong /= wrong.sum()
    excess = N * float(((wrong - probabilities) ** 2 / probabilities).sum())
    degrees = len(probabilities) - 1
    assert stats.ncx2.sf(stats.chi2.isf(FALSE_ALARM, degrees), degrees, excess) > POWER


def test_mean_and_variance(normals: Floats) -> None:
    share = FALSE_ALARM / 2
    mean, square = float(normals.mean()), float((normals**2).sum())
    assert abs(mean) * math.sqrt(N) <= stats.norm.isf(share / 2)
    low, high = stats.chi2.ppf(share / 2, N), stats.chi2.isf(share / 2, N)
    assert low <= square <= high
    # Power: a mean of 0.005, or a variance off by 1 %.
    assert stats.norm.sf(stats.norm.isf(share / 2), loc=0.005 * math.sqrt(N)) > POWER
    assert stats.chi2.sf(high / 1.01, N) > POWER
    assert stats.chi2.cdf(low / 0.99, N) > POWER


def test_tails(normals: Floats) -> None:
    """Binomial counts beyond 3, 4 and 4.5 sigma, on either side."""
    points = [3.0, 4.0, 4.5]
    share = FALSE_ALARM / (2 * len(points))
    for point in points:
        for count in (int((normals > point).sum()), int((normals < -point).sum())):
            assert stats.binomtest(count, N, stats.norm.sf(point)).pvalue > share
    # Power, on one side: 12 % more beyond 3, 80 % more beyond 4, and four times as many beyond 4.5.
    for point, factor in zip(points, [1.12, 1.8, 4.0], strict=True):
        p = stats.norm.sf(point)
        assert stats.binom.sf(stats.binom.isf(share / 2, N, p), N, factor * p) > POWER


def correlations(normals: Floats, source: Source) -> dict[str, tuple[Floats, Floats]]:
    """Numbers that should have nothing to do with each other: name -> (these, those)."""
    half = DIM // 2
    others = {
        "next seed": dataclasses.replace(STREAM, seed=STREAM.seed + 1),
        "seed + 2^32": dataclasses.replace(STREAM, seed=STREAM.seed + 2**32),
        "next index": dataclasses.replace(STREAM, index=1),
        "other phase": dataclasses.replace(STREAM, phase=Phase.SELECT),
    }
    return {
        "partners of Box and Muller": (normals[:, :half], normals[:, half:]),
        "neighbours": (normals[:, 0::2], normals[:, 1::2]),
        "next row": (normals[0::2], normals[1::2]),
        "rows 64 apart": (normals[:-64], normals[64:]),
        **{name: (normals, source(stream)) for name, stream in others.items()},
    }


def test_correlations(normals: Floats, source: Source) -> None:
    pairs = correlations(normals, source)
    share = FALSE_ALARM / len(pairs)
    for name, (these, those) in pairs.items():
        assert stats.pearsonr(these.ravel(), those.ravel()).pvalue > share, name
    # Power: a correlation of 0.01, by Fisher's z, in the shortest of them.
    least = min(these.size for these, _ in pairs.values())
    assert least == N // 2
    assert stats.norm.sf(stats.norm.isf(share / 2), loc=math.atanh(0.01) * math.sqrt(least - 3)) > POWER


def test_sizes_are_independent(normals: Floats, source: Source) -> None:
    """Chi-square on a 10 by 10 table of |z|: Box and Muller's partners share a radius, and must not show it."""
    pairs = correlations(normals, source)
    share = FALSE_ALARM / len(pairs)
    deciles = stats.norm.isf(np.linspace(0.5, 0.05, 10)[1:])  # of |z|
    for name, (these, those) in pairs.items():
        cells = 10 * np.searchsorted(deciles, np.abs(these.ravel())) + np.searchsorted(deciles, np.abs(those.ravel()))
        assert stats.chisquare(np.bincount(cells, minlength=100)).pvalue > share, name
    # Power: |z| paired by a Gaussian copula of correlation rho = 0.01. Cell (i, j) then has probability
    # (1 + rho m_i m_j + O(rho^2)) / 100, m the mean of a standard normal within each of ten equal classes.
    edges = stats.norm.ppf(np.linspace(0, 1, 11))
    means = -10 * np.diff(stats.norm.pdf(edges))
    excess = N // 2 * (0.01 * float((means**2).mean())) ** 2
    assert stats.ncx2.sf(stats.chi2.isf(share, 99), 99, excess) > POWER


def test_first_and_last_columns_are_normal_too() -> None:
    """Odd widths leave words unused: each column by itself, on dim 1, 2, 3 and 5."""
    rows = 100_000
    widths = [1, 2, 3, 5]
    share = FALSE_ALARM / sum(widths)
    for dim in widths:
        drawn = AesBoxMuller(dim, rows, torch.device("cpu")).fill([Draw(STREAM, 0, rows)]).double().numpy()
        for column in drawn.T:
            assert stats.kstest(column, "norm").pvalue > share
    # Power: a column of zeros, or one repeated number, has a statistic of 1/2 at least.
    assert stats.kstwo.isf(share, rows) < 0.5
