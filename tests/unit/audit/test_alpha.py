"""Alpha from the lattice: never a wrong one for an honest log, the right one where there is enough to see."""

import decimal
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smoothing_logs import Print, changed, down_to, field_radius, lines_of, three_digits, three_digits_towards

from verifier.audit.alpha import Inference, candidates, infer
from verifier.audit.digits import Direction, printed_radii
from verifier.audit.log import read_log

TRIED = candidates(0.001)
UP, DOWN = three_digits_towards(decimal.ROUND_CEILING), three_digits_towards(decimal.ROUND_FLOOR)


def inferred(lines: list[str], n: int, sigma: float, tried: tuple[float, ...] = TRIED) -> Inference:
    return infer(printed_radii(read_log(lines)), sigma, n, tried)


def sharp_votes(n: int, count: int, seed: int = 7) -> list[int]:
    """Votes as of a good classifier, close to n and some equal to it; a tenth are near half of n."""
    rng = np.random.default_rng(seed)
    sure, doubtful = n + 1 - rng.geometric(0.02, count), rng.integers(n * 52 // 100, n * 54 // 100, count // 10)
    return [int(k) for k in (*np.maximum(sure, n // 2), *doubtful)]


def test_candidates() -> None:
    assert TRIED[:4] == (0.5, 0.2, 0.1, 0.05)
    assert TRIED[-1] == 1e-6
    assert candidates(0.001) == candidates(0.01)
    assert set(candidates(0.003)) - set(TRIED) == {0.003, 0.0015}


@pytest.mark.parametrize("alpha", TRIED)
@pytest.mark.parametrize("show", [three_digits, down_to(6)], ids=["three digits", "six decimals, down"])
def test_alpha_is_found(alpha: float, show: Print) -> None:
    n = 10_000
    answer = inferred(lines_of(sharp_votes(n, 200), n, alpha, 0.25, show), n, 0.25)
    assert answer.alpha == alpha
    assert answer.fits[0].misses == 0
    assert answer.fits[1].misses >= 1
    assert f"lie on the lattice of alpha {alpha:g}" in answer.reason


@pytest.mark.parametrize(
    ("show", "direction"), [(three_digits, Direction.NEAREST), (DOWN, Direction.DOWN), (UP, Direction.UP)]
)
def test_the_direction_is_found_with_it(show: Print, direction: Direction) -> None:
    answer = inferred(lines_of(sharp_votes(10_000, 200), 10_000, 0.01, 0.25, show), 10_000, 0.25)
    assert (answer.alpha, answer.direction) == (0.01, direction)


def test_a_few_forged_rows_do_not_move_it() -> None:
    lines = lines_of(sharp_votes(10_000, 300), 10_000, 0.01, 0.25, three_digits)
    largest, before = (field_radius(k, 10_000, 0.01, 0.25) for k in (10_000, 9_999))
    forged = changed(lines, 5, predict="3", radius=f"{(largest + before) / 2:.3}")
    answer = inferred(forged, 10_000, 0.25)
    assert answer.alpha == 0.01
    assert answer.fits[0].misses == 1
    assert answer.fits[1].misses > 3


def test_radii_above_the_largest_and_at_it_are_told() -> None:
    answer = inferred(lines_of([10_000] * 3 + sharp_votes(10_000, 200), 10_000, 0.01, 0.25, three_digits), 10_000, 0.25)
    fits = {fit.alpha: fit for fit in answer.fits}
    assert (fits[0.01].above_largest, fits[0.01].reaches_largest) == (0, True)
    assert (fits[0.001].reaches_largest, fits[0.001].above_largest > 0) == (False, True)
    assert fits[0.1].above_largest == 0


@pytest.mark.parametrize(
    ("votes", "says"),
    [
        ([70_000, 71_234, 60_011], "the lattice of possible radii is denser than the printed digits"),
        ([0, 0], "denser than the printed digits"),
    ],
)
def test_it_cannot_tell_from_dense_radii_or_none(votes: list[int], says: str) -> None:
    answer = inferred(lines_of(votes, 100_000, 0.001, 0.5, three_digits), 100_000, 0.5)
    assert answer.alpha is None
    assert set(answer.possible) == set(TRIED)
    assert "cannot tell" in answer.reason
    assert says in answer.reason


def test_it_cannot_tell_from_one_radius() -> None:
    answer = inferred(lines_of([99_990], 100_000, 0.001, 0.5, three_digits), 100_000, 0.5)
    assert answer.alpha is None
    assert 0.001 in answer.possible


def test_it_does_not_believe_a_fit_that_luck_explains() -> None:
    answer = inferred(lines_of([99_999], 100_000, 0.001, 0.5, three_digits), 100_000, 0.5, (0.001, 0.01))
    assert answer.alpha is None
    assert answer.luck > 0.01
    assert "arbitrary radii would fit as well" in answer.reason


def test_arbitrary_radii_are_made_at_no_alpha() -> None:
    radii = np.random.default_rng(3).uniform(0.01, 1.9, 300)
    lines = lines_of([0] * 300, 10_000, 0.001, 0.5, three_digits)
    for line, radius in enumerate(radii, 2):
        lines = changed(lines, line, predict="3", radius=f"{radius:.6f}")
    assert inferred(lines, 10_000, 0.5).alpha is None


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(100, 10**6),
    alpha=st.sampled_from(TRIED),
    sigma=st.sampled_from([0.12, 0.25, 1.0, 64.0]),
    shares=st.lists(st.floats(0.0, 1.0).map(lambda share: 1 - share**4 / 2), min_size=1, max_size=40),
    show=st.sampled_from([three_digits, down_to(6), down_to(3)]),
)
def test_an_honest_log_is_never_said_to_be_made_at_another_alpha(
    n: int, alpha: float, sigma: float, shares: list[float], show: Print
) -> None:
    votes = [math.floor(share * n) for share in shares]
    answer = inferred(lines_of(votes, n, alpha, sigma, show), n, sigma)
    assert answer.alpha in (None, alpha)
    assert alpha in answer.possible
    assert min(fit.misses for fit in answer.fits if fit.alpha == alpha) == 0
