"""Bounds and radii against independent 50-digit values: shared/reference/smoothing.json, beside the checkout.

The file states alpha as a decimal; the float64 nearest to it differs by at most 1.1e-16 of it, which moves a bound by
less than a hundredth of the smallest guard.
"""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import pytest

from verifier import guarantee
from verifier.rounding import format_down
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, complement_holds, holds, upper_holds
from verifier.stats.sequential import SpendingPlan, boundaries

PATH = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "smoothing.json"
LARGEST_LOSS = 1e-7
"""Relative. Where p_A is within 1e-7 of 1/2 the radius is about that of the guard, and loses 2.6e-8; elsewhere 1e-9."""

pytestmark = pytest.mark.skipif(
    not PATH.exists(), reason="the reference file lies beside the checkout, and is not there"
)
REFERENCE: dict[str, Any] = json.loads(PATH.read_text()) if PATH.exists() else {}


@pytest.mark.parametrize("case", REFERENCE.get("sequential_exact", []), ids=lambda case: case["p0"])
def test_boundaries_are_those_of_exact_rationals(case: dict[str, Any]) -> None:
    plan = SpendingPlan(tuple(case["looks"]), tuple(float(Fraction(share)) for share in case["cumulative_spend"]))
    missed, alpha = 1 - Fraction(case["p0"]), float(Fraction(case["alpha"]))
    assert boundaries(float(missed), alpha, plan).tolist() == case["certify_if_count_ge"]


@pytest.fixture(autouse=True)
def fifty_digits() -> Any:
    with mpmath.workdps(50):
        yield


def cases(name: str) -> list[Any]:
    return list(REFERENCE.get(name, []))


def name_of(case: dict[str, Any]) -> str:
    return "-".join(str(value) for key, value in case.items() if key in {"k", "kA", "kB", "n", "alpha"})


def is_just_below(ours: float, exact: Any) -> bool:
    """ours <= exact, and not by much."""
    return bool(exact * (1 - mpmath.mpf(LARGEST_LOSS)) <= mpmath.mpf(ours) <= exact)


def is_just_above(ours: float, exact: Any) -> bool:
    """ours >= exact, and not by much."""
    return bool(exact <= mpmath.mpf(ours) <= exact * (1 + mpmath.mpf(LARGEST_LOSS)))


def test_the_file_is_whole() -> None:
    assert len(cases("values")) == 246
    assert len(cases("top2")) == 11


@pytest.mark.parametrize("case", cases("values"), ids=name_of)
def test_lower_bound_and_radius(case: dict[str, Any]) -> None:
    k, n, alpha, sigma = np.array([case["k"]]), case["n"], float(case["alpha"]), float(case["sigma"])
    bound = clopper_pearson_lower(k, n, alpha)
    radius = l2_radius(sigma, bound.q)
    assert is_just_below(bound.p[0], mpmath.mpf(case["pA_lower"]))
    assert is_just_above(bound.q[0], mpmath.mpf(case["one_minus_pA_lower"]))
    assert holds(k, n, alpha, bound.p)
    assert complement_holds(k, n, alpha, bound.q)
    upper = clopper_pearson_upper(n - k, n, alpha).p
    assert is_just_above(upper[0], mpmath.mpf(case["one_minus_pA_lower"]))
    assert upper_holds(n - k, n, alpha, upper)
    if case["abstain"]:
        assert radius[0] == 0
    else:
        exact = mpmath.mpf(case["radius_l2"])
        assert is_just_below(radius[0], exact)
        assert mpmath.mpf(format_down(radius[0], 3)) <= exact
        assert guarantee.radius_holds(sigma, radius, k, n, alpha)


@pytest.mark.parametrize("case", cases("top2"), ids=name_of)
def test_top_two(case: dict[str, Any]) -> None:
    k_a, k_b, n = np.array([case["kA"]]), np.array([case["kB"]]), case["n"]
    half_alpha = float(case["alpha"]) / 2
    p_a, p_b = clopper_pearson_lower(k_a, n, half_alpha).p, clopper_pearson_upper(k_b, n, half_alpha).p
    radius = l2_radius_two_sided(1.0, p_a, p_b)
    exact = mpmath.mpf(case["R_over_sigma_top2"])
    assert is_just_below(p_a[0], mpmath.mpf(case["pA_lower_half_alpha"]))
    assert is_just_above(p_b[0], mpmath.mpf(case["pB_upper_half_alpha"]))
    assert is_just_below(radius[0], exact)
    assert guarantee.two_sided_radius_holds(1.0, radius, k_a, k_b, n, half_alpha, p_a, p_b) == (exact > 0)


@pytest.mark.parametrize(("name", "exact"), dict(REFERENCE.get("max_radius_over_sigma", {})).items())
def test_largest_radius(name: str, exact: str) -> None:
    n, alpha = (text.partition("=")[2] for text in name.split(","))
    assert is_just_below(guarantee.largest_radius(1.0, int(n), float(alpha)), mpmath.mpf(exact))
