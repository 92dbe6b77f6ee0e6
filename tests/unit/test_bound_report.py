"""Figures, tables and curves of deterministic certificates."""

import io
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest
from builders import certificate as sampled
from builders import execution, votes_for
from hypothesis import given
from hypothesis import strategies as st
from proofs import ball, box, changed, failed
from rich.console import Console, RenderableType

from verifier.certificate import Certificate, Grade, Guarantee
from verifier.errors import InvalidProblem
from verifier.methods import Crown, Rounding, Smoothing
from verifier.plot import figure
from verifier.problem import Norm
from verifier.report import summarise
from verifier.tables import _down, certificates_table, render


def five() -> list[Certificate]:
    """Right by IBP, right by CROWN twice, a wrong class, and nothing proved."""
    return [
        ball(0.03, index=0, label=1, bound="ibp"),
        ball(0.05, index=1, label=1),
        ball(0.11, index=2, label=1),
        ball(0.20, index=3, label=0, bound="alpha-crown"),
        ball(0.0, index=4, label=1),
    ]


def at_eps(eps: float) -> list[Certificate]:
    return [replace(ball(eps, index=0), eps=eps), failed(eps, index=1)]


def text_of(*parts: RenderableType, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(*parts)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def told(certificates: Sequence[Certificate]) -> str:
    text = text_of(certificates_table(certificates), render(summarise(certificates)))
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    assert "\N{HORIZONTAL ELLIPSIS}" not in text
    return text


# -- figures ---------------------------------------------------------------------------------------------


def test_totals() -> None:
    summary = summarise(five())
    assert (summary.inputs, summary.boxes, summary.certified, summary.unknown) == (5, 0, 4, 1)
    assert (summary.method, summary.norm, summary.grade) == ("ladder", "linf", "float_sound")
    assert (summary.correct, summary.certified_accuracy, summary.clean_accuracy) == (3, 0.6, None)
    assert summary.average_radius == math.fsum([0.03, 0.05, 0.11]) / 5
    assert summary.median_radius == 0.03
    assert summary.bounds == {"crown": 2, "ibp": 1}
    assert (summary.n, summary.alpha, summary.largest_possible_radius, summary.p_a_histogram) == (None, None, None, ())
    assert summary.draws == 48
    assert summary.warnings == ()


def test_curve_at_multiples_of_a_round_number() -> None:
    summary = summarise(five())
    assert [point.radius for point in summary.curve] == [0.0, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2]
    assert [point.count for point in summary.curve] == [3, 3, 2, 1, 1, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255, 0.1, 1e-9, 1e9])
def test_at_an_eps_the_curve_counts_at_that_very_number(eps: float) -> None:
    """Rounded to six digits, 2/255 would be larger than what was proved."""
    assert [(point.radius, point.count) for point in summarise(at_eps(eps)).curve] == [(0.0, 1), (eps, 1)]


@given(st.floats(1e-300, 1e300))
def test_the_curve_stays_short(radius: float) -> None:
    summary = summarise([ball(radius)])
    assert 2 <= len(summary.curve) <= 14
    assert summary.curve[-1].radius <= radius * (1 + 1e-5)


def test_where_nothing_is_proved_there_is_no_curve_beyond_0() -> None:
    summary = summarise([ball(0.0)])
    assert [(point.radius, point.count) for point in summary.curve] == [(0.0, 0)]
    assert summary.bounds == {}
    assert "proved by" not in told([ball(0.0)])


def test_boxes_count_without_a_radius() -> None:
    boxes = [box(index=0, label=1), box(index=1, label=2)]
    summary = summarise(boxes)
    assert (summary.boxes, summary.certified, summary.correct, summary.average_radius) == (2, 2, 1, 0.0)
    assert [(point.radius, point.count) for point in summary.curve] == [(0.0, 1)]
    text = told(boxes)
    assert "ladder, boxes, float_sound" in text
    assert "on average" not in text
    assert [line.split()[:2] for line in text.splitlines() if line.strip().startswith("box")] == [["box", "0.5000"]]


def test_dictionary_is_flat_json() -> None:
    for certificates in (five(), [box()], at_eps(0.1)):
        values = json.loads(json.dumps(summarise(certificates).to_dict(), allow_nan=False))
        assert not [name for name, value in values.items() if isinstance(value, dict)]
        assert values["norm"] == "linf"
        assert len(values["bounds"]) == len(values["bounds_counts"])
    values = summarise(five()).to_dict()
    assert (values["certified_accuracy"], values["clean_accuracy"], values["sigma"]) == (0.6, None, None)
    assert (values["bounds"], values["bounds_counts"]) == (["crown", "ibp"], [2, 1])


def test_warnings() -> None:
    mixed = [ball(), ball(index=1, norm=Norm.L2, method=Crown()), changed(box(), input_digest=64 * "a")]
    summary = summarise(mixed)
    assert (summary.method, summary.norm) == (None, None)
    assert summary.warnings == (
        "the certificates were made with different parameters: their radii are not comparable one to one",
        "the radii are in several norms or weights: they are not comparable one to one",
        "1 of 3 certificates are about boxes, which have no radius: they count at radius 0 only",
    )
    assert "several, norm several, float_sound" in told(mixed)


def test_votes_and_bounds_are_not_averaged() -> None:
    votes = sampled(votes_for(990, 1000), Smoothing(sigma=0.5, n0=10, n=1000))
    with pytest.raises(InvalidProblem, match="2 subjects"):
        summarise([ball(), votes])
    for forged in (replace(votes, subject=ball().subject), replace(votes, evidence=ball().evidence)):
        with pytest.raises(InvalidProblem, match="votes and bounds"):
            summarise([replace(ball(), subject=forged.subject), forged])
    text = text_of(certificates_table([ball(), votes]))
    bound = f"{math.floor(votes.sampling.p_a_lower * 1e4) / 1e4:.4f}"
    assert [line.split()[5:7] for line in text.splitlines()[1:]] == [["0.5000", "crown"], [bound, "990/1000"]]


# -- tables ----------------------------------------------------------------------------------------------


def test_certificates_table() -> None:
    rows = [line.split() for line in text_of(certificates_table(five())).splitlines()]
    assert rows[0] == ["index", "label", "verdict", "prediction", "radius", "least", "margin", "bound"]
    assert rows[1] == ["0", "1", "certified", "1", "0.0299", "0.5000", "ibp", "right"]
    assert rows[4] == ["3", "0", "certified", "1", "0.2000", "0.5000", "alpha-crown", "wrong"]
    assert rows[5] == ["4", "1", "unknown", "-", "0.0000", "-", "-"]


@pytest.mark.parametrize(("eps", "text"), [(0.0178, "0.0178"), (0.1, "0.1"), (8 / 255, "0.0313"), (1e-5, "0.00001")])
def test_an_eps_that_was_reached_is_told_as_it_was_asked(eps: float, text: str) -> None:
    """0.0178 is a little less than 178/10,000, and would be told as 0.0177."""
    rows = [line.split() for line in text_of(certificates_table(at_eps(eps))).splitlines()]
    assert [row[4] for row in rows[1:]] == [text, "0.0000"]


def test_least_margins_are_told_as_they_are() -> None:
    margins = [(-(2.0**-17), 1.0), (math.nan, -1.0), (math.inf, -math.inf), (2.0, 0.5)]
    shown = [changed(failed(), margins=each) for each in margins]
    lines = text_of(certificates_table(shown)).splitlines()[1:]
    assert [line.split()[5] for line in lines] == ["-7.63e-6", "nan", "-inf", "0.5000"]


def test_render_says_which_bounds_won() -> None:
    text = told(five())
    assert "ladder, norm linf, float_sound" in text
    assert "proved by" in text
    assert "crown 2, ibp 1" in text
    assert "5: 4 certified, 1 unknown" in text
    assert "certified and right  0.6000" in text
    assert "bounds computed" in text
    assert "p_A" not in text
    nearest = ball(method=Crown(rounding=Rounding.NEAREST), guarantee=Guarantee(Grade.REAL_ARITHMETIC))
    assert "crown, norm linf, real_arithmetic" in told([nearest])


def test_rates() -> None:
    made = [replace(ball(index=i), execution=execution(100.0, 2.0)) for i in range(5)]
    assert summarise(made).draws_per_second == 30.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.0000"),
        (1234.56789, "1234.5678"),
        (0.29999, "0.2999"),
        (0.0123456, "0.0123"),
        (0.00123456, "0.00123"),
        (0.000999999, "0.000999"),
        (0.0000999999, "9.99e-5"),
        (-0.0000999999, "-1.00e-4"),
        (5e-324, "4.94e-324"),
        (-0.25001, "-0.2501"),
        (math.inf, "inf"),
    ],
)
def test_small_numbers_keep_three_digits(value: float, text: str) -> None:
    assert _down(value) == text


@given(st.floats(-1e6, 1e6))
def test_shown_numbers_are_never_larger(value: float) -> None:
    shown = Decimal(_down(value))
    assert shown <= Decimal(value)
    assert value <= 0 or shown > 0
    assert float(shown) >= value - max(1e-4, 0.011 * abs(value))


# -- curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("norm", "axis"), [(Norm.L1, "L1 radius"), (Norm.L2, "L2 radius"), (Norm.LINF, "L\N{INFINITY} radius")]
)
def test_the_axis_names_the_norm(norm: Norm, axis: str) -> None:
    pytest.importorskip("matplotlib")
    (axes,) = figure({"bounds": [changed(c, norm=norm) for c in five()]}).axes
    assert axes.get_xlabel() == f"{axis}, in units of the input"
    x, y = axes.get_lines()[0].get_data()
    assert np.asarray(x).tolist() == [0.0, 0.03, 0.05, 0.11, 0.11]
    assert np.allclose(y, [0.6, 0.6, 0.4, 0.2, 0.0])


def test_votes_beside_bounds() -> None:
    pytest.importorskip("matplotlib")
    votes = [sampled(votes_for(990, 1000), Smoothing(sigma=0.5, n0=10, n=1000), label=0)]
    picture = figure({"bounds": five(), "votes": votes})
    left, right = picture.axes
    assert left.get_xlabel().startswith("L\N{INFINITY} and L2 radius")
    assert len(left.get_lines()) == 2
    assert right.get_ylabel() == "share of inputs"
    assert picture.get_suptitle() == "model c0ffee000000"
    legends = left.get_legend()
    assert legends is not None
    assert next(text.get_text() for text in legends.get_texts()) == "bounds, real, ladder, float_sound, L\N{INFINITY}"


@pytest.mark.parametrize("certificates", [[box()], [ball(), box(index=1)]], ids=["boxes", "some boxes"])
def test_boxes_are_not_drawn(certificates: list[Certificate]) -> None:
    with pytest.raises(InvalidProblem, match="boxes have no radius to draw"):
        figure({"boxes": certificates})
