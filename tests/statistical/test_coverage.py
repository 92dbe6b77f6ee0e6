"""The promised failure probabilities, computed and not sampled.

Every probability here is an exact sum over all outcomes, in integers or at 40 digits, at class probabilities chosen
to be the worst: just outside what some outcome claims. Nothing is compared with a tolerance. Every check is also
turned on a canary, a procedure that promises half of the failures it commits, and has to catch it.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray

from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, two_sided_p_value

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Booleans = NDArray[np.bool_]
Claims = Callable[[Integers, int, float], Floats]
Masses = tuple[int, int, int]

UNIT = 2**20
"""Class probabilities are multiples of 2^-20, and so are exact in float64."""


def lower(k: Integers, n: int, alpha: float) -> Floats:
    return clopper_pearson_lower(k, n, alpha).p


# One proportion: n up to thousands.


def binomial_tail(k: int, n: int, p: Any) -> Any:
    """P[Bin(n, p) >= k] to 40 digits, term by term."""
    with mpmath.workdps(50):
        exact_p = mpmath.mpf(p)
        ratio = exact_p / (1 - exact_p)
        term = total = mpmath.binomial(n, k) * exact_p**k * (1 - exact_p) ** (n - k)
        for j in range(k, n):
            term *= ratio * (n - j) / (j + 1)
            total += term
            if j > n * p and term < total * mpmath.mpf(10) ** -45:
                break
        return total


def worst_failure(claims: Claims, n: int, alpha: float) -> Any:
    """The largest P[claim(K) > p], over p on a grid and just below every twelfth claim."""
    claimed = claims(np.arange(n + 1), n, alpha)
    assert (np.diff(claimed) > 0).all()  # so that the failures are the counts from some k on
    just_below = np.nextafter(claimed[1 :: max(1, n // 12)], 0)
    points = np.concatenate([just_below, np.nextafter(claimed[-1:], 0), np.linspace(0.05, 0.95, 7)])
    first_failing = np.searchsorted(claimed, points, side="right")
    return max(binomial_tail(int(k), n, float(p)) for k, p in zip(first_failing, points, strict=True) if k <= n)


SIZES = [1, 2, 10, 101, 1_000, 3_000]
LEVELS = [0.5, 0.05, 1e-3, 1e-9]


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_bound_covers(n: int, alpha: float) -> None:
    assert worst_failure(lower, n, alpha) <= alpha


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_complement_covers(n: int, alpha: float) -> None:
    # It is one minus a lower bound and, of the failures, an upper bound; where it is q, P[q(K) <= q] = P[K >= k].
    q_upper = clopper_pearson_lower(np.arange(n + 1), n, alpha).q
    assert (np.diff(q_upper) < 0).all()
    for k in {*range(1, n + 1, max(1, n // 12)), n}:
        with mpmath.workdps(50):
            assert binomial_tail(k, n, 1 - mpmath.mpf(q_upper[k])) <= alpha


@pytest.mark.parametrize("alpha", LEVELS)
@pytest.mark.parametrize("n", SIZES)
def test_bound_gives_nothing_away(n: int, alpha: float) -> None:
    # At p = claim(k) exactly P[K >= k] = alpha; the guard of 1e-12 moves it by at most n 1e-12, three times here
    # for the granted error of the forward function, n 2^-60.
    assert worst_failure(lower, n, alpha) >= alpha * (1 - 3e-12 * n - 1e-10)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("inflation", [2, 1 + 1e-6], ids=repr)
def test_coverage_catches_a_bound_at_an_inflated_level(n: int, inflation: float) -> None:
    assert worst_failure(lambda k, n, alpha: lower(k, n, inflation * alpha), n, 1e-3) > 1e-3


# Three classes: every outcome of n draws.


def outcomes(n: int) -> Integers:
    """All counts of three classes, [(n + 1)(n + 2)/2, 3]."""
    return np.array([(a, b, n - a - b) for a in range(n + 1) for b in range(n + 1 - a)])


def probability(happens: Booleans, counts: Integers, masses: Masses) -> Fraction:
    """Exact probability that the counts are among those that are marked; masses are in units of 2^-20."""
    n = int(counts[0].sum())
    powers = [[mass**j for j in range(n + 1)] for mass in masses]
    factorial = [math.factorial(j) for j in range(n + 1)]
    ways = sum(
        factorial[n] // (factorial[a] * factorial[b] * factorial[c]) * powers[0][a] * powers[1][b] * powers[2][c]
        for a, b, c in counts[happens].tolist()
    )
    return Fraction(ways, UNIT**n)


def units_below(p: Floats) -> list[int]:
    """The probabilities just below each p, in units."""
    return [math.ceil(Fraction(value) * UNIT) - 1 for value in p.tolist()]


def with_top(tops: Iterable[int]) -> Iterator[Masses]:
    """Class probabilities with each of the given ones first; the rest goes to one other class, or halves."""
    for top in tops:
        rest = UNIT - top
        yield (top, rest, 0)
        yield (top, rest // 2, rest - rest // 2)


def worst_masses(n: int, alpha: float) -> list[Masses]:
    """Class probabilities just below every bound above 1/2, and an exact tie."""
    claimed = lower(np.arange(n + 1), n, alpha)
    return list(with_top([*units_below(claimed[claimed > 0.5]), UNIT // 2]))


def certifies_wrongly(votes: Integers, n: int, alpha: float, p: float) -> Booleans:
    """Whether these votes, for a class of probability p, claim a radius from more than p."""
    bound = clopper_pearson_lower(votes, n, alpha)
    return (l2_radius(1.0, bound.q) > 0) & ((bound.p > p) | (bound.q < 1 - p))


def certify_error(n0: int, n: int, alpha: float, masses: Masses) -> Fraction:
    """P[CERTIFY claims what is not so]: select by n0 draws, bound by n fresh ones."""
    selection, counts = outcomes(n0), outcomes(n)
    error = Fraction(0)
    for c, mass in enumerate(masses):
        selected = probability(selection.argmax(axis=1) == c, selection, masses)
        error += selected * probability(certifies_wrongly(counts[:, c], n, alpha, mass / UNIT), counts, masses)
    return error


def single_stage_error(n: int, alpha: float, masses: Masses) -> Fraction:
    """P[a false claim] where the class is the most voted one of the n draws that bound it, at alpha/2."""
    counts = outcomes(n)
    top = counts.argmax(axis=1)
    votes = counts.max(axis=1)
    wrong = np.zeros(len(counts), dtype=bool)
    for c, mass in enumerate(masses):
        wrong |= (top == c) & certifies_wrongly(votes, n, alpha / 2, mass / UNIT)
    return probability(wrong, counts, masses)


def top_two_error(n: int, alpha: float, masses: Masses) -> Fraction:
    """P[p_A or the runner-up is bounded wrongly] for the first class, at alpha/2 each."""
    counts = outcomes(n)
    p_a = lower(counts[:, 0], n, alpha / 2)
    p_b = clopper_pearson_upper(counts[:, 1:].max(axis=1), n, alpha / 2).p
    wrong = (p_a > masses[0] / UNIT) | (p_b < max(masses[1:]) / UNIT)
    if masses[0] <= max(masses[1:]):
        claims = l2_radius_two_sided(1.0, p_a, p_b) > 0
        assert not (claims & ~wrong).any()  # so that a class that is not the top one is certified by error only
    return probability(wrong, counts, masses)


def predict_error(n: int, alpha: float, masses: Masses) -> Fraction:
    """P[PREDICT answers a class that is not among the most probable]."""
    counts = outcomes(n)
    ranked = np.sort(counts, axis=1)
    answers = two_sided_p_value(ranked[:, 2], ranked[:, 1]) <= alpha
    is_top = np.array(masses) == max(masses)
    return probability(answers & ~is_top[counts.argmax(axis=1)], counts, masses)


def near_ties() -> list[Masses]:
    """Two or three classes that hardly differ."""
    half, third, fifth = UNIT // 2, UNIT // 3, UNIT // 5
    pairs = [(half + 1, half - 1), (third + 2, third), (2 * fifth + 1, 2 * fifth), (half, half // 2)]
    return [(a, b, UNIT - a - b) for a, b in pairs]


def worst_pairs(n: int, alpha: float) -> list[Masses]:
    """A class just below a lower bound, beside one just above an upper bound, and what is left for the third."""
    k = np.arange(n + 1)
    tops = units_below(lower(k[1:], n, alpha / 2))
    others = [UNIT - below for below in units_below(1 - clopper_pearson_upper(k[:-1], n, alpha / 2).p)]
    return [(a, b, UNIT - a - b) for a, b in itertools.product(tops[::2], others[::2]) if a + b <= UNIT]


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
@pytest.mark.parametrize("n", [12, 25])
def test_certify_fails_at_most_alpha(n: int, alpha: float) -> None:
    assert max(certify_error(5, n, alpha, masses) for masses in worst_masses(n, alpha)) <= alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
@pytest.mark.parametrize("n", [12, 25, 40])
def test_single_stage_fails_at_most_alpha(n: int, alpha: float) -> None:
    assert max(single_stage_error(n, alpha, masses) for masses in worst_masses(n, alpha / 2)) <= alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
@pytest.mark.parametrize("n", [12, 25])
def test_top_two_fails_at_most_alpha(n: int, alpha: float) -> None:
    assert max(top_two_error(n, alpha, masses) for masses in worst_pairs(n, alpha)) <= alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
@pytest.mark.parametrize("n", [12, 25, 40])
def test_predict_fails_at_most_alpha(n: int, alpha: float) -> None:
    assert max(predict_error(n, alpha, masses) for masses in near_ties()) <= alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
@pytest.mark.parametrize("n", [12, 25])
def test_twice_the_level_is_caught(n: int, alpha: float) -> None:
    assert max(certify_error(5, n, 2 * alpha, masses) for masses in worst_masses(n, 2 * alpha)) > alpha
    assert max(single_stage_error(n, 2 * alpha, masses) for masses in worst_masses(n, alpha)) > alpha
    assert max(top_two_error(n, 2 * alpha, masses) for masses in worst_pairs(n, 2 * alpha)) > alpha


@pytest.mark.parametrize("alpha", [0.1, 0.01, 1e-3])
def test_four_times_the_level_is_caught_in_predict(alpha: float) -> None:
    # Half of a two-sided level is spent on answers in favour of the right class, and 40 votes are coarse: PREDICT
    # commits 0.32 to 0.40 of what it promises here, so that a level twice too large would be no false promise.
    assert max(predict_error(40, 4 * alpha, masses) for masses in near_ties()) > alpha


def test_single_stage_without_paying_for_the_choice_is_caught() -> None:
    # At an exact tie either class may win, each with its own chance of alpha.
    n, tie = 40, (UNIT // 2, UNIT // 2, 0)
    alpha = float(binomial_tail(28, n, 0.5)) * (1 + 1e-9)
    assert single_stage_error(n, 2 * alpha, tie) > 1.9 * alpha
    assert single_stage_error(n, alpha, tie) <= alpha
