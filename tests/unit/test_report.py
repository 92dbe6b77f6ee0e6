"""Figures against a table computed by hand, and against published logs."""

import csv
import dataclasses
import io
import json
import math
from pathlib import Path

import numpy as np
import pytest
from builders import certificate, execution
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console, RenderableType
from scipy.stats import beta, norm

from verifier.certificate import Certificate, Verdict
from verifier.errors import InvalidProblem
from verifier.guarantee import largest_radius
from verifier.methods import Rng, Smoothing
from verifier.report import (
    P_A_EDGES,
    Floats,
    average_radius,
    counts_at,
    curve,
    interval,
    summarise,
)
from verifier.tables import certificates_table, render

METHOD = Smoothing(sigma=0.5, n0=10, n=1000, alpha=1e-3, rng=Rng.AES128_CTR_BOX_MULLER)


def five() -> list[Certificate]:
    """All agree; most agree; most agree on a wrong class; none has a majority; stopped early."""
    return [
        certificate([1000, 0, 0, 0], METHOD, label=0, index=0),
        certificate([900, 100, 0, 0], METHOD, label=0, index=1),
        certificate([0, 100, 900, 0], METHOD, label=1, index=2),
        certificate([400, 300, 300, 0], METHOD, label=0, index=3),
        certificate([500, 0, 0, 0], METHOD, label=0, index=4),
    ]


def text_of(*parts: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(*parts)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


# -- by hand ---------------------------------------------------------------------------------------------


def test_totals() -> None:
    summary = summarise(five())
    assert (summary.inputs, summary.certified, summary.abstained, summary.unknown, summary.falsified) == (5, 3, 1, 1, 0)
    assert (summary.labelled, summary.correct, summary.clean_accuracy) == (True, 2, 0.4)
    assert summary.abstention_rate == 0.2
    assert (summary.n, summary.alpha, summary.subject.sigma) == (1000, 1e-3, 0.5)


def test_radii_count_only_where_the_prediction_is_right() -> None:
    first, second = (c.radius for c in five()[:2])
    assert first == pytest.approx(0.5 * 2.4633, rel=1e-4)  # Phi^-1(alpha^(1/n)) = 2.4633
    assert second == pytest.approx(0.5 * norm.ppf(beta.ppf(1e-3, 900, 101)), rel=1e-9)
    summary = summarise(five())
    assert summary.average_radius == (first + second) / 5
    assert summary.median_radius == 0.0
    assert summary.largest_possible_radius == first == largest_radius(0.5, 1000, 1e-3)


def test_without_labels_every_prediction_counts() -> None:
    unlabelled = [dataclasses.replace(c, label=None) for c in five()]
    summary = summarise(unlabelled)
    assert (summary.labelled, summary.correct, summary.clean_accuracy) == (False, None, None)
    assert [point.count for point in summary.curve] == [3, 3, 3, 1, 1]
    assert summary.median_radius == unlabelled[1].radius
    assert not [warning for warning in summary.warnings if "label" in warning]


def test_curve_at_multiples_of_half_sigma() -> None:
    summary = summarise(five())
    assert [point.radius for point in summary.curve] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [point.count for point in summary.curve] == [2, 2, 2, 1, 1]
    assert [point.fraction for point in summary.curve] == [0.4, 0.4, 0.4, 0.2, 0.2]
    assert summary.curve[0].lower == pytest.approx(0.052745, abs=1e-6)  # Clopper-Pearson of 2 in 5, from tables
    assert summary.curve[0].upper == pytest.approx(0.853367, abs=1e-6)


def test_curve_at_radii_of_the_caller() -> None:
    exact = five()[1].radius
    summary = summarise(five(), [exact, math.nextafter(exact, 1), 7.0])
    assert [point.count for point in summary.curve] == [2, 1, 0]
    assert summary.curve[2].lower == 0.0


def test_a_radius_below_eps_counts_for_what_it_proves() -> None:
    made = certificate([900, 100, 0, 0], METHOD, label=0, eps=1.0)
    assert made.verdict is Verdict.UNKNOWN
    summary = summarise([made], [0.5, 1.0])
    assert (summary.certified, summary.unknown) == (0, 1)
    assert [point.count for point in summary.curve] == [1, 0]


def test_a_falsified_input_counts_nowhere() -> None:
    refuted = dataclasses.replace(five()[0], verdict=Verdict.FALSIFIED)
    assert summarise([refuted]).correct == 0


def test_p_a_histogram() -> None:
    assert summarise(five()).p_a_histogram == (1, 1, 0, 2, 0, 1, 0)  # p_a_lower 0 (stopped), .3524, .8674 twice, .9931


def test_draws_and_their_rate_over_the_time_in_which_requests_ran() -> None:
    times = [(100.0, 2.0), (100.0, 4.0), (103.0, 2.0), (200.0, 5.0)]  # 100 to 105, and 200 to 205
    made = [certificate([1000, 0, 0, 0], METHOD, index=i, ran=execution(*at)) for i, at in enumerate(times)]
    summary = summarise(made)
    assert (summary.draws, summary.draws_per_second) == (4040, 404.0)


def test_no_rate_where_no_time_was_measured() -> None:
    assert summarise([certificate([1000, 0, 0, 0], METHOD, ran=execution(0.0, 0.0))]).draws_per_second is None


# -- warnings and refusals -------------------------------------------------------------------------------


def test_warnings() -> None:
    other = dataclasses.replace(METHOD, n=2000)
    made = [*five(), certificate([2000, 0, 0, 0], other, index=0)]
    summary = summarise(made)
    assert summary.n is None
    assert summary.warnings == (
        "only 5 of 6 inputs have labels: these figures ignore them, and are no accuracy",
        "the certificates were made with different parameters: their radii are not comparable one to one",
        "1 of 6 inputs repeat earlier ones: the intervals take inputs for independent",
        "1 of 6 inputs stopped before they were decided: more draws or time may prove more",
        "2 of 6 inputs have the largest radius that n draws can prove: more would prove more",
    )


def test_several_subjects_are_refused_and_named() -> None:
    wider = dataclasses.replace(METHOD, sigma=1.0)
    with pytest.raises(InvalidProblem, match=r"2 subjects.*sigma 0.5; .*sigma 1$"):
        summarise([*five(), certificate([1000, 0, 0, 0], wider)])


def test_nothing_is_refused() -> None:
    with pytest.raises(InvalidProblem, match="no certificates"):
        summarise([])


@pytest.mark.parametrize("radius", [-0.1, math.nan, math.inf])
def test_radii_out_of_range_are_refused(radius: float) -> None:
    with pytest.raises(InvalidProblem, match="radii must be finite"):
        summarise(five(), [0.0, radius])


# -- what leaves -----------------------------------------------------------------------------------------


def test_dictionary_is_flat_json() -> None:
    values = json.loads(json.dumps(summarise(five()).to_dict(), allow_nan=False))
    assert values["radii"] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert values["certified_fractions"] == [0.4, 0.4, 0.4, 0.2, 0.2]
    assert values["p_a_histogram_edges"] == list(P_A_EDGES)
    assert (values["clean_accuracy"], values["abstention_rate"], values["sigma"]) == (0.4, 0.2, 0.5)
    assert not [name for name, value in values.items() if isinstance(value, dict)]


def test_render_fits_a_terminal_and_rounds_down() -> None:
    text = text_of(render(summarise(five())))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    assert "5: 3 certified, 1 abstained, 1 unknown" in text
    assert f"{math.floor(five()[0].radius * 10_000) / 10_000:.4f} possible" in text
    assert "  0.25    0.4000  0.052 - 0.854       2" in text
    assert "warning: 1 of 5 inputs stopped" in text


@given(st.integers(1, 10**4).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_shares_are_never_rounded_up(share: tuple[int, int]) -> None:
    count, total = share
    one = summarise(five())
    text = text_of(render(dataclasses.replace(one, correct=count, inputs=total)), width=100)
    shown = next(line.split()[2] for line in text.splitlines() if line.startswith("clean accuracy"))
    assert 0 <= 10_000 * count - round(float(shown) * 10_000) * total < total


def test_certificates_table() -> None:
    rows = [line.split() for line in text_of(certificates_table(five(), limit=4)).splitlines()]
    radius = five()[0].radius
    assert rows[1] == [
        "0",
        "0",
        "certified",
        "0",
        f"{math.floor(radius * 1e4) / 1e4:.4f}",
        "0.9931",
        "1000/1000",
        "right",
    ]
    assert rows[3][-1] == "wrong"
    assert rows[4] == ["3", "0", "abstained", "-", "0.0000", "0.3524", "400/1000"]
    assert rows[5] == ["and", "1", "more"]


# -- published logs --------------------------------------------------------------------------------------

LOGS = Path(__file__).parents[3] / "shared" / "data" / "smoothing_logs"

PUBLISHED = {
    "0.25": (0.7480, 0.4289, {0.25: 0.600, 0.5: 0.428, 0.75: 0.266}),
    "0.50": (0.6520, 0.5375, {0.25: 0.546, 0.5: 0.414, 0.75: 0.320, 1.0: 0.234}),
    "1.00": (0.4720, 0.5417, {0.25: 0.392, 0.5: 0.340, 1.0: 0.216, 2.0: 0.100}),
}
"""By sigma: clean accuracy, average radius and certified accuracy at radii of Cohen et al.'s CIFAR-10 ResNet-110."""


def logged(path: Path) -> Floats:
    with path.open() as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    return np.array([float(row["radius"]) if row["correct"] == "1" else -1.0 for row in rows])


@pytest.mark.skipif(not LOGS.is_dir(), reason="the published logs are not on this machine")
@pytest.mark.parametrize("sigma", PUBLISHED)
def test_published_logs(sigma: str) -> None:
    clean, average, at_radii = PUBLISHED[sigma]
    counting = logged(LOGS / f"cohen_cifar10_resnet110_noise_{sigma}_sigma_{sigma}.tsv")
    points = curve(counting, [0.0, *at_radii])
    assert [point.fraction for point in points] == [clean, *at_radii.values()]
    assert average_radius(counting) == pytest.approx(average, abs=5e-5)


# -- properties ------------------------------------------------------------------------------------------

counting_radii = st.lists(st.just(-1.0) | st.floats(0, 10), min_size=1, max_size=50).map(np.array)


@given(counting_radii, st.lists(st.floats(0, 10), max_size=10))
def test_counts_are_those_of_the_definition(counting: Floats, radii: list[float]) -> None:
    assert list(counts_at(counting, radii)) == [int((counting >= r).sum()) for r in radii]


@given(counting_radii)
def test_average_radius_is_the_area_under_the_curve(counting: Floats) -> None:
    radii = np.unique(np.concatenate([[0.0], np.maximum(counting, 0)]))
    area = float((np.diff(radii) * counts_at(counting, radii[1:])).sum()) / len(counting)
    assert average_radius(counting) == pytest.approx(area)


def test_intervals_contain_the_share_and_reach_the_ends() -> None:
    counts = np.arange(11)
    lower, upper = interval(counts, 10)
    assert ((lower <= counts / 10) & (counts / 10 <= upper)).all()
    assert (lower[0], upper[-1]) == (0.0, 1.0)
