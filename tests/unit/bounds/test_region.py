"""Regions hold every point that they are named for, over the reals."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.bounds.arithmetic import FAST, NEAREST, RIGOROUS
from verifier.bounds.region import around, box, covering_radius
from verifier.problem import Norm

region_settings = settings(deadline=None, max_examples=100, derandomize=True, database=None)
coordinates = st.floats(width=32, allow_nan=False, allow_infinity=False)
budgets = st.one_of(st.sampled_from([0.0, 5e-324, 1e-300, 0.1]), st.floats(0, 1e300))


def numbers(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


@region_settings
@given(coordinates, budgets)
def test_the_ends_are_outside_of_the_real_ones(x: float, eps: float) -> None:
    region = around(numbers(x).float(), torch.tensor([eps], dtype=torch.float64), Norm.LINF, RIGOROUS)
    assert Fraction(region.lower.item()) <= Fraction(x) - Fraction(eps)
    assert Fraction(region.upper.item()) >= Fraction(x) + Fraction(eps)


@region_settings
@given(coordinates, st.floats(0, 1e100), st.floats(0, 1e100))
def test_weighted_ends_are_outside_of_the_real_ones(x: float, eps: float, weight: float) -> None:
    radius = torch.tensor([eps], dtype=torch.float64)
    region = around(numbers(x), radius, Norm.LINF, RIGOROUS, weights=numbers(weight)[0])
    assert Fraction(region.lower.item()) <= Fraction(x) - Fraction(eps) * Fraction(weight)
    assert Fraction(region.upper.item()) >= Fraction(x) + Fraction(eps) * Fraction(weight)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_balls_have_a_box_around_them(norm: Norm) -> None:
    region = around(numbers(0.25, 0.5), torch.tensor([0.5], dtype=torch.float64), norm, RIGOROUS)
    assert region.ball is not None
    assert not region.cut
    assert region.ball.dual == (2.0 if norm is Norm.L2 else torch.inf)
    assert bool((region.lower <= numbers(-0.25, 0.0)).all())
    assert bool((region.upper >= numbers(0.75, 1.0)).all())


def test_the_domain_cuts() -> None:
    domain = (torch.zeros(2, dtype=torch.float64), torch.ones(2, dtype=torch.float64))
    region = around(numbers(0.25, 0.5), torch.tensor([0.5], dtype=torch.float64), Norm.L2, RIGOROUS, domain)
    assert region.cut
    assert region.lower[0, 0] == 0
    assert region.upper[0, 1] == 1
    assert len(region) == 1
    assert len(region.rows(slice(0, 0))) == 0


@pytest.mark.parametrize("arithmetic", [NEAREST, FAST], ids=["nearest", "fast"])
def test_other_arithmetic_rounds_to_nearest(arithmetic: object) -> None:
    region = around(numbers(0.5), torch.tensor([0.25], dtype=torch.float64), Norm.LINF, arithmetic)  # type: ignore[arg-type]
    assert (region.lower.item(), region.upper.item()) == (0.25, 0.75)


def test_boxes_are_taken_as_they_are() -> None:
    region = box(numbers(0.1), numbers(0.3), RIGOROUS)
    assert (region.lower.item(), region.upper.item()) == (0.1, 0.3)
    assert region.to(torch.float32).lower.dtype == torch.float32


@region_settings
@given(st.sampled_from(list(Norm)), st.integers(0, 2**32 - 1), st.integers(1, 30))
def test_the_covering_radius_covers(norm: Norm, seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    low, high = np.sort(generator.standard_normal((2, size)), axis=0)
    x = generator.uniform(low, high)
    far = [max(Fraction(b) - Fraction(a), Fraction(c) - Fraction(b)) for a, b, c in zip(low, x, high, strict=True)]
    domain = (torch.from_numpy(low), torch.from_numpy(high))
    radius = Fraction(covering_radius(torch.from_numpy(x)[None], norm, domain).item())
    match norm:
        case Norm.L1:
            assert sum(far) <= radius <= sum(far) * (1 + Fraction(1, 10**12))
        case Norm.L2:
            assert sum(part * part for part in far) <= radius * radius
        case Norm.LINF:
            assert max(far) <= radius


def test_without_a_domain_nothing_covers() -> None:
    assert covering_radius(numbers(1.0), Norm.L2, None).tolist() == [torch.inf]


def test_a_feature_without_a_budget_is_never_covered_unless_it_cannot_move() -> None:
    domain = (numbers(0.0, 0.5)[0], numbers(1.0, 0.5)[0])
    x = numbers(0.5, 0.5)
    assert covering_radius(x, Norm.LINF, domain, numbers(0.0, 1.0)[0]).tolist() == [torch.inf]
    assert covering_radius(x, Norm.LINF, domain, numbers(2.0, 0.0)[0]).item() == pytest.approx(0.25)
