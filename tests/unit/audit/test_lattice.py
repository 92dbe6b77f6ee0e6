"""The lattice of possible radii, against SciPy's inversion for every k."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from smoothing_logs import field_radius

from verifier.audit.digits import Digits, Direction, PrintedRadii
from verifier.audit.lattice import Lattice, Place


def printed(*values: float, unit: float) -> PrintedRadii:
    return PrintedRadii(
        np.array(values), np.full(len(values), unit), Digits(None, 3), np.arange(len(values), dtype=np.int64)
    )


@pytest.mark.parametrize("alpha", [0.1, 0.001])
@pytest.mark.parametrize("n", [1, 2, 10, 37, 100])
def test_least_votes_are_those_of_the_inversion(n: int, alpha: float) -> None:
    lattice = Lattice(0.5, n, alpha)
    radii = np.array([field_radius(k, n, alpha, 0.5) for k in range(n + 1)])
    for asked in np.linspace(0.0, 2.0, 201):
        proving = np.flatnonzero((radii >= asked) & (radii > 0))
        expected = proving[0] if len(proving) else n + 1
        assert lattice.least_votes(np.array([asked]))[0] == expected
    assert lattice.least_votes(np.array([-1.0]))[0] == lattice.least_votes(np.array([0.0]))[0]


@settings(max_examples=300, deadline=None)
@example(n=799_144_013_377, alpha=0.5, sigma=1.0, share=1.0)  # where our guards take off most
@example(n=2**40, alpha=1e-9, sigma=1.0, share=1 - 1e-12)
@given(
    n=st.integers(1, 2**40),
    alpha=st.sampled_from([0.5, 0.01, 0.001, 1e-9]),
    sigma=st.floats(1e-3, 1e3),
    share=st.floats(0, 1) | st.floats(0, 1).map(lambda x: 1 - x**20),
)
def test_radii_lie_on_their_own_lattice(n: int, alpha: float, sigma: float, share: float) -> None:
    lattice = Lattice(sigma, n, alpha)
    radius = lattice.radii(np.array([round(share * n)]))
    if radius[0] > 0:
        assert lattice.places(printed(*radius, unit=0.0)) == [Place.ON]
        assert lattice.hits(printed(*radius, unit=0.0), Direction.DOWN).all()
        assert lattice.least_votes(radius)[0] <= round(share * n)


def test_places_in_a_lattice_seen_by_hand() -> None:
    lattice = Lattice(1.0, 100, 0.001)
    below, largest = field_radius(99, 100, 0.001, 1.0), field_radius(100, 100, 0.001, 1.0)
    assert (below, largest) == pytest.approx((1.34926, 1.50048), abs=1e-5)
    values = {1.349: Place.ON, 1.35: Place.ROUNDED_UP, 1.4: Place.OFF, 1.5: Place.ON, 1.501: Place.ROUNDED_UP}
    values |= {1.502: Place.ABOVE, 9.0: Place.ABOVE}
    places = lattice.places(printed(*values, unit=0.001))
    assert [Place(place) for place in places] == list(values.values())


def test_nothing_is_possible_where_n_is_too_small() -> None:
    lattice = Lattice(1.0, 5, 0.001)
    assert lattice.largest == 0
    assert lattice.places(printed(0.001, 3.0, unit=0.001)).tolist() == [Place.ABOVE, Place.ABOVE]


def test_coverage_is_the_width_of_the_digits_against_the_gap() -> None:
    lattice = Lattice(1.0, 100, 0.001)
    gap = field_radius(100, 100, 0.001, 1.0) - field_radius(99, 100, 0.001, 1.0)
    coverage = lattice.coverage(printed(1.4, 1.6, 0.2, unit=0.001))
    assert coverage[0] == pytest.approx(0.001 / gap, rel=1e-6)
    assert coverage[1] == coverage[0]
    assert lattice.coverage(printed(0.2, unit=0.5)) == [1.0]
