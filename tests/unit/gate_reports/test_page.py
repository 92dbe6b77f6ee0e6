"""report.html: whole in itself, escaped, and with the very numbers of the counts."""

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from gate_runs import certificates_for, decided, gate_run, outcomes_of, shown_of, threshold
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from verifier.gate.report_curve import MOST_STEPS, counting, curve, time_uniform_interval
from verifier.gate.report_html import report_html
from verifier.gate.report_images import LARGEST_SIDE, ShownInput, picture
from verifier.gate.report_numbers import told_confidence, told_down, told_up, told_value
from verifier.gate.report_picture import draw, round_step
from verifier.gating import Decision

pytest.importorskip("jinja2", reason="gate reports need Jinja2")
Image = pytest.importorskip("PIL.Image", reason="gate reports need Pillow")

RUN, RECORD, CERTIFICATES = decided()


class Page(HTMLParser):
    """Start tags with their attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def test_page_fetches_nothing_and_runs_nothing() -> None:
    text = report_html(RUN, CERTIFICATES, shown_of(CERTIFICATES[:3]), RECORD.outcomes)
    page = Page(text)
    tags = {tag for tag, _ in page.tags}
    assert tags.isdisjoint({"script", "link", "iframe", "object", "embed", "base", "form", "a"})
    sources = [attributes.get("src") or "" for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 3
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?:", text)
    names = [name for _, attributes in page.tags for name in attributes]
    assert not any(name.startswith("on") for name in names)
    assert "viewport" in {attributes.get("name") for tag, attributes in page.tags if tag == "meta"}


def test_decision_comes_first() -> None:
    words = Page(report_html(RUN, CERTIFICATES, [], RECORD.outcomes)).words.split("</style>")[-1]
    assert words.index(RUN.decision.value) < words.index("Thresholds")


def test_text_is_escaped_everywhere() -> None:
    evil = "<script>alert('x')</script>\"&"
    run = gate_run(
        threshold(group=evil, reason=evil, metric=evil, norm=evil),
        **dict.fromkeys(("policy_name", "reason", "model", "dataset", "baseline", "id", "baseline_digest"), evil),
        versions={evil: evil},
    )
    text = report_html(run, CERTIFICATES, [], outcomes_of(CERTIFICATES, baseline=True))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 10


def test_page_without_any_input() -> None:
    run = replace(RUN, decision=Decision.INCONCLUSIVE, thresholds=(), used=0, reason="no budget")
    words = Page(report_html(run, [], [], [])).words
    assert "No input was used." in words
    assert "nothing was decided" in words


def test_failed_and_unlabelled_inputs_are_shown() -> None:
    outcomes = [replace(outcome, failed=True, prediction=None, radius=0.0) for outcome in RECORD.outcomes[:2]]
    shown = [ShownInput(7, np.array([1.0, np.nan]), None, None)]
    words = Page(report_html(RUN, CERTIFICATES, shown, outcomes)).words
    assert "[2]: 1, nan" in words
    assert "no label" in words


# -- curves ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.9])
def test_band_covers_at_all_times_together(p: float) -> None:
    """Exactly: the probability that the interval ever misses p within 400 trials, over all paths of the count."""
    delta, alive = 0.1, np.ones(1)
    for trials in range(1, 401):
        alive = np.convolve(alive, [1 - p, p])
        lower, upper = time_uniform_interval(np.arange(trials + 1), trials, delta)
        alive[(lower > p) | (upper < p)] = 0
    assert 1 - delta <= alive.sum() < 1 - delta / 100  # it does miss sometimes, so the intervals are not trivial


def test_an_interval_for_a_fixed_number_would_not_cover() -> None:
    delta, p, alive = 0.1, 0.5, np.ones(1)
    for trials in range(1, 401):
        alive = np.convolve(alive, [1 - p, p])
        k = np.arange(trials + 1)
        alive[(binom.sf(k - 1, trials, p) <= delta / 2) | (binom.cdf(k, trials, p) <= delta / 2)] = 0
    assert alive.sum() < 1 - 3 * delta


@given(st.integers(1, 10**6), st.floats(0, 1), st.floats(1e-6, 0.5))
def test_band_is_around_the_fraction(total: int, share: float, delta: float) -> None:
    k = np.array([round(share * total)])
    lower, upper = time_uniform_interval(k, total, delta)
    assert 0 <= lower[0] <= k[0] / total <= upper[0] <= 1


def test_curve_counts_right_and_certified_inputs() -> None:
    outcomes = outcomes_of(certificates_for(60))
    outcomes[0] = replace(outcomes[0], failed=True)
    drawn = curve("model", counting(outcomes))
    for radius, fraction in zip(drawn.radii, drawn.fractions, strict=True):
        hits = [o for o in outcomes if not o.failed and o.prediction == o.label and o.radius > 0 and o.radius >= radius]
        assert fraction == len(hits) / 60


def test_a_long_curve_is_thinned_downwards() -> None:
    radii = np.sort(np.random.default_rng(1).random(5000))
    thin = curve("model", radii)
    assert len(thin.radii) <= MOST_STEPS
    assert thin.radii[-1] == radii[-1]
    for start, end, fraction in zip(thin.radii, thin.radii[1:], thin.fractions[1:], strict=False):
        exact = (radii >= end).mean()
        assert fraction == exact <= (radii >= (start + end) / 2).mean()


@given(st.floats(1e-9, 1e9), st.integers(2, 12))
def test_ticks_are_few_and_reach(largest: float, steps: int) -> None:
    step = round_step(largest, steps)
    assert largest <= step * steps * (1 + 1e-9)
    assert step * steps <= 30 * largest


def test_everything_drawn_is_inside_the_picture() -> None:
    curves = [curve("model", counting(RECORD.outcomes)), curve("none", np.array([-1.0])), curve("x", np.array([1e300]))]
    for size in ((880, 400), (328, 290)):
        drawn = draw(curves, [(0.5, 0.6, "asked", "pass")], *size)
        for line in drawn.lines:
            points = [
                tuple(map(float, p.split(","))) for p in re.findall(r"[-\d.e+]+,[-\d.e+]+", line.path + line.band)
            ]
            assert all(drawn.left <= x <= drawn.right and drawn.top <= y <= drawn.bottom for x, y in points)


# -- pictures --------------------------------------------------------------------------------------------


def pixels(x: np.ndarray) -> np.ndarray:
    uri = picture(x)
    assert uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))))


def test_pictures_keep_their_brightness() -> None:
    ramp = np.linspace(0, 1, 64).reshape(8, 8)
    assert (pixels(ramp) == np.rint(ramp * 255)).all()
    assert (pixels(ramp * 255)[-1, -1], pixels(ramp[None] * 0.5)[-1, -1]) == (255, 128)
    assert pixels(np.ones((3, 4, 5)) * np.array([1, 0.5, 0])[:, None, None]).shape == (4, 5, 3)
    stretched = pixels(ramp * 2 - 1)
    assert (stretched.min(), stretched.max()) == (0, 255)


@pytest.mark.parametrize(
    "x",
    [np.zeros(3), np.zeros((2, 8, 8)), np.zeros((0, 4)), np.full((4, 4), np.nan), np.full((4, 4), np.inf), np.ones(())],
)
def test_what_is_no_picture_has_none(x: np.ndarray) -> None:
    assert picture(x) is None


@pytest.mark.parametrize("x", [np.full((4, 4), -3.0), np.array([[-1.7e308, 1.7e308]]), np.full((2, 2), -5e-324)])
def test_extreme_values_make_a_picture(x: np.ndarray) -> None:
    assert pixels(x).shape == x.shape


def test_large_pictures_are_made_smaller() -> None:
    assert max(pixels(np.zeros((3, 1000, 500))).shape) == LARGEST_SIDE


# -- numbers ---------------------------------------------------------------------------------------------


def test_numbers_never_look_better() -> None:
    assert (told_down(0.61239), told_up(0.61231)) == ("0.6123", "0.6124")
    assert (told_down(-0.00001), told_up(-0.00001), told_up(-0.25), told_up(0.0)) == (
        "-0.0001",
        "0.0000",
        "-0.2500",
        "0.0000",
    )
    assert told_confidence(0.95) == "95 %"
    assert told_confidence(1 - 0.05 / 6) == "99.1666 %"
    assert told_value(threshold(successes=12, trials=100)) == "0.1200"  # 0.12 as a float is below
    assert told_value(threshold(metric="regression", gained=1, lost=4, trials=100)) == "-0.0300"
