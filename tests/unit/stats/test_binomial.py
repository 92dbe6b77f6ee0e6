"""Binomial bounds by hand and by table, against the binomial sum at 50 digits."""

import re
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import scipy.stats
from scipy import special

from verifier.errors import InvalidProblem, Unsound
from verifier.stats import binomial, selftest
from verifier.stats.binomial import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    complement_holds,
    holds,
    largest_bound,
    two_sided_p_value,
    upper_holds,
)

CASES = [
    (1, 1, 0.05),
    (1, 10, 1e-2),
    (3, 5, 1e-3),
    (5, 9, 0.5),
    (50, 99, 1e-4),
    (99, 100, 1e-3),
    (100, 100, 1e-3),
    (560, 1_000, 1e-4),
    (990, 1_000, 1e-9),
    (5_001, 10_001, 1e-2),
    (9_990, 10_000, 5e-4),
    (99_999, 100_000, 1e-6),
]


def exact_tail(k: int, n: int, p: Any) -> Any:
    """P[Bin(n, p) >= k] to 50 digits, term by term from the largest; for k >= n p."""
    with mpmath.workdps(60):
        p = mpmath.mpf(p)
        term = total = mpmath.binomial(n, k) * p**k * (1 - p) ** (n - k)
        for j in range(k, n):
            term *= mpmath.mpf(n - j) / (j + 1) * p / (1 - p)
            total += term
            if term < total * mpmath.mpf(10) ** -55:
                break
        return total


def one(k: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([k])


@pytest.mark.parametrize(("k", "n", "alpha"), CASES, ids=repr)
def test_lower_bound_is_below_the_exact_one_and_close_to_it(k: int, n: int, alpha: float) -> None:
    bound = clopper_pearson_lower(one(k), n, alpha)
    p, q = mpmath.mpf(bound.p[0]), mpmath.mpf(bound.q[0])
    near = 2 * 10 * 1e-12  # the guard of p, widened once at most for n <= 10^5; twice, for the rounding of q = 1 - p
    with mpmath.workdps(60):
        assert exact_tail(k, n, p) <= alpha < exact_tail(k, n, p * (1 + near))
        assert exact_tail(k, n, 1 - q) <= alpha < exact_tail(k, n, 1 - q * (1 - near))


@pytest.mark.parametrize(("k", "n", "alpha"), CASES, ids=repr)
def test_upper_bound_is_the_lower_bound_of_the_failures(k: int, n: int, alpha: float) -> None:
    upper, lower = clopper_pearson_upper(one(k), n, alpha), clopper_pearson_lower(one(n - k), n, alpha)
    assert upper.p == lower.q
    assert upper.q == lower.p


def test_no_success_proves_nothing() -> None:
    bound = clopper_pearson_lower(np.array([0, 1, 0]), 100, 1e-3)
    assert bound.p[[0, 2]].tolist() == [0, 0]
    assert bound.q[[0, 2]].tolist() == [1, 1]
    assert bound.p[1] > 0


def test_no_failure_leaves_nothing_to_bound_from_above() -> None:
    bound = clopper_pearson_upper(one(100), 100, 1e-3)
    assert (bound.p[0], bound.q[0]) == (1, 0)


@pytest.mark.parametrize(("n", "alpha"), [(1, 0.5), (10, 1e-3), (10**6, 1e-3), (10**9, 1e-9), (2**40, 1e-3)], ids=repr)
def test_largest_bound_is_the_nth_root_of_alpha(n: int, alpha: float) -> None:
    bound = largest_bound(n, alpha)
    with mpmath.workdps(50):
        exact_q = -mpmath.expm1(mpmath.log(mpmath.mpf(alpha)) / n)
        # 2e-14 (10 times wider for each decade of n that the forward function's granted error n 2^-60 needs)
        assert exact_q <= bound.q[0] <= exact_q * (1 + 2e-13 + 10 * n * 2.0**-60)
        assert 1 - bound.p[0] >= exact_q


def test_halves_agree_about_one_half() -> None:
    k = np.arange(10_001)
    for alpha in (0.5, 1e-3):
        bound = clopper_pearson_lower(k, 10_000, alpha)
        assert ((bound.p > 0.5) == (bound.q < 0.5)).all()
        assert (bound.p > 0.5).any()


def test_empty_batch() -> None:
    empty = np.array([], dtype=np.int64)
    assert clopper_pearson_lower(empty, 10, 1e-3).p.shape == (0,)
    assert two_sided_p_value(empty, empty).shape == (0,)


BAD = [
    (np.array([-1]), 10, 1e-3, "k must be in 0..n = 10"),
    (np.array([3, 11]), 10, 1e-3, "k must be in 0..n = 10"),
    (np.array([1.0]), 10, 1e-3, "k must be integers, got float64"),
    (np.array([True]), 10, 1e-3, "k must be integers, got bool"),
    (np.array([0]), 0, 1e-3, "n must be an integer"),
    (np.array([0]), True, 1e-3, "n must be an integer"),
    (np.array([0]), 2**40 + 1, 1e-3, "n must be an integer"),
    (np.array([1]), 10, 0.0, "alpha must be in (0, 1)"),
    (np.array([1]), 10, 1.0, "alpha must be in (0, 1)"),
    (np.array([1]), 10, float("nan"), "alpha must be in (0, 1)"),
]


@pytest.mark.parametrize("function", [clopper_pearson_lower, clopper_pearson_upper], ids=lambda f: f.__name__)
@pytest.mark.parametrize(("k", "n", "alpha", "message"), BAD, ids=repr)
def test_nonsense_is_refused(function: Callable[..., Any], k: Any, n: int, alpha: float, message: str) -> None:
    with pytest.raises(InvalidProblem, match=re.escape(message)):
        function(k, n, alpha)


def distort(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...], change: Callable[[Any], Any]) -> None:
    """Make functions of scipy.special answer differently."""
    for name in names:
        honest = getattr(special, name)
        monkeypatch.setattr(special, name, lambda *args, honest=honest: change(honest(*args)))


INVERSIONS, FORWARDS = ("betaincinv", "betainccinv"), ("betainc", "betaincc")


@pytest.mark.parametrize("names", [INVERSIONS, FORWARDS], ids=repr)
def test_nan_from_scipy_certifies_nothing(monkeypatch: pytest.MonkeyPatch, names: tuple[str, ...]) -> None:
    distort(monkeypatch, names, lambda answer: answer * np.nan)
    bound = clopper_pearson_lower(np.array([50, 100]), 100, 1e-3)
    assert bound.p.tolist() == [0, 0]
    assert bound.q.tolist() == [1, 1]


@pytest.mark.parametrize("error", [-1e-9, 1e-9, -1e-6, 1e-6, 0.1, -0.1], ids=repr)
def test_wrong_inversion_costs_radius_and_not_truth(monkeypatch: pytest.MonkeyPatch, error: float) -> None:
    distort(monkeypatch, INVERSIONS, lambda answer: answer * (1 + error))
    for k in (40, 60, 95):
        bound = clopper_pearson_lower(one(k), 100, 1e-3)
        with mpmath.workdps(50):
            assert exact_tail(k, 100, bound.p[0]) <= 1e-3
            assert bound.q[0] == 1 or exact_tail(k, 100, 1 - mpmath.mpf(bound.q[0])) <= 1e-3


@pytest.mark.parametrize(("k", "n", "alpha"), CASES, ids=repr)
def test_what_was_computed_holds_and_a_little_more_does_not(k: int, n: int, alpha: float) -> None:
    bound = clopper_pearson_lower(one(k), n, alpha)
    assert holds(one(k), n, alpha, bound.p)
    assert complement_holds(one(k), n, alpha, bound.q)
    assert upper_holds(one(n - k), n, alpha, bound.q)
    more = 1e-10  # ten times what the bounds of these cases can have lost
    assert not holds(one(k), n, alpha, bound.p * (1 + more))
    assert not complement_holds(one(k), n, alpha, bound.q * (1 - more))
    assert not upper_holds(one(n - k), n, alpha, bound.q * (1 - more))


@pytest.mark.parametrize("stated", [-0.1, 1.0, 1.5, float("nan"), float("inf"), 0.9332543007969911], ids=repr)
def test_nonsense_and_the_unrounded_bound_do_not_hold(stated: float) -> None:
    assert not holds(one(100), 100, 1e-3, np.array([stated]))
    assert not complement_holds(one(100), 100, 1e-3, np.array([1 - stated]))


def test_trivial_bounds_hold() -> None:
    assert holds(np.array([0, 5]), 10, 1e-3, np.zeros(2)).all()
    assert complement_holds(np.array([0, 5]), 10, 1e-3, np.ones(2)).all()
    assert not holds(one(0), 10, 1e-3, np.array([1e-9])).any()


@pytest.mark.parametrize(("top", "runner_up"), [(1, 0), (6, 3), (30, 10), (501, 499), (900, 100), (700, 0)], ids=repr)
def test_p_value_is_scipys_rounded_up(top: int, runner_up: int) -> None:
    p_value = two_sided_p_value(one(top), one(runner_up))[0]
    with mpmath.workdps(50):
        exact = min(2 * exact_tail(top, top + runner_up, 0.5), mpmath.mpf(1))
        assert exact <= p_value <= exact * (1 + 3e-12)  # the guard is 1e-12; betainc's error here below 1e-13
    # binomtest sums in float64: 1e-9 is a million of its roundings
    assert p_value == pytest.approx(scipy.stats.binomtest(top, top + runner_up).pvalue, rel=1e-9)


def test_p_value_at_the_ends() -> None:
    assert two_sided_p_value(np.array([0, 7, 1]), np.array([0, 7, 0])).tolist() == [1, 1, 1]
    assert two_sided_p_value(one(10_000), one(0))[0] == 1e-300


@pytest.mark.parametrize(("top", "runner_up"), [(3, 4), (3, -1)], ids=repr)
def test_p_value_refuses_nonsense(top: int, runner_up: int) -> None:
    with pytest.raises(InvalidProblem, match="k_runner_up <= k_top"):
        two_sided_p_value(one(top), one(runner_up))


def test_p_value_without_an_answer_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    distort(monkeypatch, FORWARDS, lambda answer: answer * np.nan)
    assert two_sided_p_value(one(900), one(100)).tolist() == [1]


def test_self_test_passes_here() -> None:
    selftest.self_test()


@pytest.mark.parametrize(("k", "n", "alpha", "exact"), selftest.REFERENCE_BOUNDS, ids=repr)
def test_self_test_references_are_right(k: int, n: int, alpha: float, exact: str) -> None:
    if k == 0:
        assert exact == "0"
    elif n <= 10**6:
        with mpmath.workdps(50):  # 40 digits are stated; the tail is at most n times as sensitive
            assert abs(exact_tail(k, n, mpmath.mpf(exact)) / mpmath.mpf(alpha) - 1) < n * mpmath.mpf(10) ** -39


@pytest.mark.parametrize(
    ("target", "name", "change", "message"),
    [
        (special, "betainccinv", lambda q: q * np.nan, "far below"),
        (special, "betaincinv", lambda p: p * (1 - 1e-4), "far below"),
        (selftest, "ndtri", lambda z: z * (1 + 1e-14), "normal quantile"),
        (selftest, "clopper_pearson_lower", lambda b: binomial.LowerBound(b.p * (1 + 1e-9), b.q), "above"),
        (selftest, "clopper_pearson_lower", lambda b: binomial.LowerBound(b.p, b.q * (1 - 1e-9)), "above"),
        (scipy.stats.beta, "ppf", lambda p: p * (1 + 1e-8), "statsmodels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_self_test_notices(
    monkeypatch: pytest.MonkeyPatch, target: Any, name: str, change: Callable[[Any], Any], message: str
) -> None:
    honest = getattr(target, name)
    monkeypatch.setattr(target, name, lambda *args: change(honest(*args)))
    with pytest.raises(Unsound, match=message) as caught:
        selftest.self_test()
    assert scipy.__version__ in caught.value.message
