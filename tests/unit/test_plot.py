"""The picture: of the asked kind and size, and with the very values of the summary."""

import builtins
import dataclasses
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import certificate
from hypothesis import given
from hypothesis import strategies as st

from verifier.certificate import Certificate
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Smoothing
from verifier.plot import figure, plot, step_curve
from verifier.report import Floats, counts_at, summarise

pytest.importorskip("matplotlib", reason="plots need matplotlib")

METHOD = Smoothing(sigma=0.5, n0=10, n=1000, alpha=1e-3)


def some(method: Smoothing = METHOD, label: int | None = 0) -> list[Certificate]:
    return [
        certificate([1000 - misses, misses, 0, 0], method, label=label, index=index)
        for index, misses in enumerate([0, 3, 20, 20, 150, 600])
    ]


def panels(certificates_by_name: Mapping[str, Sequence[Certificate]]) -> tuple[Any, Any]:
    left, right = figure(certificates_by_name).axes
    return left, right


@pytest.mark.parametrize(
    ("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml"), (".pdf", b"%PDF"), (".PNG", b"\x89PNG")]
)
def test_suffix_chooses_the_format(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"curve{suffix}"
    plot({"some.jsonl": some()}, path)
    assert path.read_bytes().startswith(start)


def test_png_has_the_promised_size(tmp_path: Path) -> None:
    plot({"some.jsonl": some()}, tmp_path / "curve.png")
    width, height = struct.unpack(">II", (tmp_path / "curve.png").read_bytes()[16:24])
    assert (width, height) == (1200, 500)


def test_curve_has_the_values_of_the_summary() -> None:
    left, _ = panels({"some.jsonl": some()})
    (line,) = left.get_lines()
    assert line.get_drawstyle() == "steps-pre"
    x, y = line.get_data()
    for point in summarise(some()).curve:
        reached = np.flatnonzero(x >= point.radius)
        assert point.fraction == (y[reached[0]] if len(reached) else 0.0)


def test_histogram_has_the_values_of_the_summary() -> None:
    _, right = panels({"some.jsonl": some()})
    assert [bar.get_height() for bar in right.patches] == [count / 6 for count in summarise(some()).p_a_histogram]


@given(st.lists(st.just(-1.0) | st.floats(0, 10), min_size=1, max_size=50).map(np.array), st.floats(0, 10))
def test_step_curve_is_exact_at_every_radius(counting: Floats, radius: float) -> None:
    radii, counts = step_curve(counting)
    reached = np.flatnonzero(radii >= radius)
    assert counts_at(counting, radius) == (counts[reached[0]] if len(reached) else 0)


def test_title_has_what_the_curves_share_and_the_legend_what_they_do_not() -> None:
    wider = dataclasses.replace(METHOD, sigma=1.0)
    left, _ = panels({"a": some(), "b": some(wider)})
    assert left.figure.get_suptitle() == "model c0ffee000000, float32, n 1,000, alpha 0.001"
    assert [text.get_text() for text in left.get_legend().get_texts()] == ["a, sigma 0.5", "b, sigma 1"]


def test_axes_name_their_units() -> None:
    left, right = panels({"some.jsonl": some()})
    assert (left.get_xlabel(), left.get_ylabel()) == ("L2 radius, in units of the input", "certified accuracy")
    assert right.get_ylabel() == "share of inputs"


def test_one_file_without_labels_makes_all_curves_fractions() -> None:
    mislabelled = some(label=2)
    left, _ = panels({"a": mislabelled, "b": some(label=None)})
    assert left.get_ylabel() == "certified fraction (any prediction)"
    first, second = (line.get_ydata() for line in left.get_lines())
    assert list(first) == list(second)


def test_where_nothing_is_certified_the_curve_is_flat(tmp_path: Path) -> None:
    none = {"none.jsonl": [certificate([400, 300, 300, 0], METHOD)]}
    plot(none, tmp_path / "curve.png")
    left, _ = panels(none)
    assert not left.get_lines()[0].get_ydata().any()


@pytest.mark.parametrize("name", ["curve.jpg", "curve", "curve.png.gz"])
def test_other_suffixes_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidProblem, match=r"must end in \.png, \.svg, \.pdf"):
        plot({"some.jsonl": some()}, tmp_path / name)


@pytest.mark.parametrize("nothing", [{}, {"empty.jsonl": []}], ids=repr)
def test_nothing_to_draw_is_refused(tmp_path: Path, nothing: Mapping[str, Sequence[Certificate]]) -> None:
    with pytest.raises(InvalidProblem):
        plot(nothing, tmp_path / "curve.png")


def test_several_subjects_under_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidProblem, match="2 subjects"):
        plot({"mixed": [*some(), *some(dataclasses.replace(METHOD, sigma=1.0))]}, tmp_path / "curve.png")


def test_without_matplotlib_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(Unsupported, match=r"pip install 'verifier\[plot\]'"):
        plot({"some.jsonl": some()}, tmp_path / "curve.png")


def test_importing_stays_light() -> None:
    heavy = "{'torch', 'matplotlib', 'statsmodels'}"
    program = f"import sys, verifier.check, verifier.report, verifier.plot; sys.exit(str({heavy} & set(sys.modules)))"
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ended.stderr.strip() == "set()"
