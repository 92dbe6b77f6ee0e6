"""The radius theorem and its checks, against normal quantiles at 50 digits."""

import math
from typing import Any

import mpmath
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import ndtri

from verifier import guarantee
from verifier.errors import InvalidProblem
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper

Floats = NDArray[np.float64]

COMPLEMENTS = [
    *(0.5 - 2.0**-e for e in (54, 50, 40, 20, 10, 4)),
    *(0.4, 0.3, 0.2, 0.158655, 0.1353, 0.1, 0.02275, 1e-2, 1e-3, 6.9e-5, 1e-6, 1e-8, 1e-11, 1e-15),
]


def exact_quantile(p: Any) -> Any:
    """Phi^-1(p) to 50 digits, by Newton's method."""
    with mpmath.workdps(60):
        z = mpmath.mpf(float(ndtri(float(p))))
        for _ in range(5):
            z -= (mpmath.ncdf(z) - p) / mpmath.npdf(z)
        return z


def batch(*values: float) -> Floats:
    return np.array(values)


@pytest.mark.parametrize("sigma", [0.12, 1.0, 3.7])
@pytest.mark.parametrize("q", COMPLEMENTS, ids=repr)
def test_radius_is_rounded_down_by_little(q: float, sigma: float) -> None:
    radius = l2_radius(sigma, batch(q))[0]
    exact = -mpmath.mpf(sigma) * exact_quantile(mpmath.mpf(q))
    assert exact * (1 - mpmath.mpf(2e-14)) <= radius <= exact  # 1e-14 and a few half ulps


@pytest.mark.parametrize("q", [0.5, 0.5000001, 1.0, 0.0, -1.0, float("nan"), float("inf")], ids=repr)
def test_nothing_is_certified_from_one_half_on(q: float) -> None:
    assert l2_radius(0.5, batch(q, 0.1)).tolist() == [0, l2_radius(0.5, batch(0.1))[0]]


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")], ids=repr)
def test_nonsense_sigma_is_refused(sigma: float) -> None:
    with pytest.raises(InvalidProblem, match="sigma must be finite and > 0"):
        l2_radius(sigma, batch(0.1))
    with pytest.raises(InvalidProblem, match="sigma must be finite and > 0"):
        l2_radius_two_sided(sigma, batch(0.9), batch(0.1))


def test_half_space_radius_never_passes_the_plane() -> None:
    distances = np.linspace(0.01, 4, 200)  # of x from the plane, sigma = 1: p_A = Phi(distance) exactly
    with mpmath.workdps(50):
        q_upper = np.array([float(mpmath.ncdf(-mpmath.mpf(d)) * (1 + mpmath.mpf(2) ** -52)) for d in distances])
    radius = l2_radius(1.0, q_upper)
    assert (radius <= distances).all()
    # the relative loss of q (at most 2^-52 + 2^-53) reaches the radius times q/(phi(d) d), 126 at d = 0.01
    assert (radius >= distances * (1 - 130 * 2.0**-51)).all()


TWO_SIDED = [
    (a, b) for a in (1e-6, 0.1, 0.31, 0.45, 0.5, 0.5 + 1e-9, 0.6, 0.99, 1 - 1e-9) for b in (1e-9, 0.09, 0.3, 0.44, 0.7)
]


@pytest.mark.parametrize(("p_a", "p_b"), TWO_SIDED, ids=repr)
def test_two_sided_radius_is_rounded_down_by_little(p_a: float, p_b: float) -> None:
    radius = l2_radius_two_sided(0.7, batch(p_a), batch(p_b))[0]
    with mpmath.workdps(60):
        z_a, z_b = exact_quantile(mpmath.mpf(p_a)), exact_quantile(min(mpmath.mpf(p_b), 1 - mpmath.mpf(p_a)))
        exact = max(mpmath.mpf(0.7) / 2 * (z_a - z_b), 0)
        # the guard, and the ulp by which 1 - p_a is rounded up: 1e-16 / phi(6) = 2e-8 at p_a = 1 - 1e-9
        loss = 1.1e-13 * (2 + abs(z_a) + abs(z_b)) + 2.3e-16 / float(mpmath.npdf(z_a))
        assert max(exact - loss, 0) <= radius <= exact


def test_two_sided_radius_is_the_one_sided_where_the_runner_up_is_unknown() -> None:
    p_a = np.linspace(0.51, 0.999, 50)
    two_sided, one_sided = l2_radius_two_sided(1.0, p_a, np.ones(50)), l2_radius(1.0, 1 - p_a)
    assert (two_sided <= one_sided).all()
    assert (two_sided >= one_sided - 1e-12).all()  # half of 1e-13 (2 + 2 * 3.1), and an ulp of 1 - p_a


@pytest.mark.parametrize(
    ("p_a", "p_b"),
    [
        (0.3, 0.3),
        (0.3, 0.4),
        (0.5, 0.5),
        (0.0, 0.1),
        (0.0, 0.0),
        (1.0, 0.0),
        (0.6, 0.0),
        (math.nan, 0.1),
        (0.6, math.nan),
    ],
    ids=repr,
)
def test_two_sided_certifies_nothing_in_doubt(p_a: float, p_b: float) -> None:
    assert l2_radius_two_sided(1.0, batch(p_a), batch(p_b)).tolist() == [0]


@pytest.mark.parametrize(
    ("n", "expected"), [(10**2, 1.5005), (10**3, 2.4633), (10**4, 3.1986), (10**5, 3.8115), (10**6, 4.3468)], ids=repr
)
def test_largest_radius_at_a_thousandth(n: int, expected: float) -> None:
    assert guarantee.largest_radius(1.0, n, 1e-3) == pytest.approx(expected, abs=5e-5)  # four decimals stated


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-9])
@pytest.mark.parametrize("eps", [1e-9, 0.1, 0.5, 1.0, 1.5])
def test_draws_for_radius_is_the_least(eps: float, alpha: float) -> None:
    n = guarantee.draws_for_radius(0.25, eps, alpha)
    assert n is not None
    assert guarantee.largest_radius(0.25, n, alpha) >= eps > guarantee.largest_radius(0.25, n - 1, alpha)


def test_draws_for_an_impossible_radius() -> None:
    assert guarantee.draws_for_radius(0.25, 2.0, 1e-3) is None  # eight sigma: 1.1e16 draws


@pytest.mark.parametrize("eps", [0.0, -1.0, float("nan")], ids=repr)
def test_draws_for_no_radius_are_refused(eps: float) -> None:
    with pytest.raises(InvalidProblem, match="eps must be > 0"):
        guarantee.draws_for_radius(0.25, eps, 1e-3)


def test_a_proved_radius_holds_and_a_larger_one_does_not() -> None:
    n, alpha, sigma = 10_000, 1e-3, 0.25
    k = np.arange(5_200, n + 1)
    radius = l2_radius(sigma, clopper_pearson_lower(k, n, alpha).q)
    assert (radius > 0).all()
    assert guarantee.radius_holds(sigma, radius, k, n, alpha).all()
    assert not guarantee.radius_holds(sigma, radius * (1 + 1e-9), k, n, alpha).any()
    assert not guarantee.radius_holds(sigma, radius, k - 1, n, alpha).any()
    assert not guarantee.radius_holds(sigma, radius, k, n, alpha * (1 - 1e-6)).any()


@pytest.mark.parametrize("radius", [-1.0, float("nan"), float("inf"), 1e300, 10.0], ids=repr)
def test_a_nonsense_radius_does_not_hold(radius: float) -> None:
    k = np.array([10_000])
    one = batch(radius)
    assert not guarantee.radius_holds(0.25, one, k, 10_000, 1e-3).any()
    assert not guarantee.two_sided_radius_holds(0.25, one, k, k - k, 10_000, 1e-3, batch(0.9), batch(0.1)).any()


def test_the_class_itself_holds_only_with_a_majority() -> None:
    k = np.array([5_000, 6_000])
    assert guarantee.radius_holds(0.25, np.zeros(2), k, 10_000, 1e-3).tolist() == [False, True]


VOTES = [(4_500, 3_000), (4_500, 500), (6_000, 1_000), (9_000, 900), (9_990, 3), (10_000, 0), (3_400, 3_000)]


@pytest.mark.parametrize(("k_a", "k_b"), VOTES, ids=repr)
def test_a_proved_two_sided_radius_holds_and_a_larger_one_does_not(k_a: int, k_b: int) -> None:
    n, alpha, sigma = 10_000, 5e-4, 0.25
    a, b = np.array([k_a]), np.array([k_b])
    p_a, p_b = clopper_pearson_lower(a, n, alpha).p, clopper_pearson_upper(b, n, alpha).p
    radius = l2_radius_two_sided(sigma, p_a, p_b)

    def check(radius: Floats = radius, p_a: Floats = p_a, p_b: Floats = p_b, alpha: float = alpha) -> bool:
        return bool(guarantee.two_sided_radius_holds(sigma, radius, a, b, n, alpha, p_a, p_b)[0])

    assert radius[0] > 0
    assert check()
    assert check(p_b=np.minimum(p_b, np.nextafter(1 - p_a, 1)))  # the runner-up stated as capped
    assert not check(radius=radius * (1 + 1e-9))
    assert not check(p_a=p_a * (1 + 1e-9))
    assert not check(alpha=alpha * (1 - 1e-6))
    if p_b[0] < 1 - p_a[0]:
        assert not check(p_b=p_b * (1 - 1e-9))


@pytest.mark.parametrize("stated", [0.0, 1.0, -1.0, float("nan"), float("inf")], ids=repr)
def test_nonsense_bounds_do_not_hold(stated: float) -> None:
    votes, radius = np.array([6_000]), batch(1e-3)
    for p_a, p_b in ((batch(stated), batch(0.2)), (batch(0.5), batch(stated))):
        proved = bool(guarantee.two_sided_radius_holds(0.25, radius, votes, votes // 6, 10_000, 5e-4, p_a, p_b)[0])
        assert not proved or p_b[0] >= 1 - p_a[0]
