"""Certified accuracy against radius, as a picture: the exact step curve, and how sure the votes were."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from verifier.certificate import Certificate
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Smoothing
from verifier.problem import Norm
from verifier.report import P_A_EDGES, common_subject, counting_radii, counts_at, interval, is_sampled, p_a_histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Floats = NDArray[np.float64]

SUFFIXES = (".png", ".svg", ".pdf")
"""What the file's name may end with."""

_SIZE, _DPI = (12.0, 5.0), 100
"""Inches, and pixels an inch of a .png."""

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, told apart by all kinds of eyes."""

_GREY = "#666666"

_NORMS = {Norm.L1: "L1", Norm.L2: "L2", Norm.LINF: "L\N{INFINITY}"}


def plot(certificates_by_name: Mapping[str, Sequence[Certificate]], path: Path) -> None:
    """Draw one curve for each name, and write it to a file.

    Args:
        certificates_by_name: for each name at least one certificate, all of one subject.
        path: where to; its suffix (.png, .svg, .pdf) chooses the format.
    Raises:
        InvalidProblem: another suffix, nothing to draw, or certificates of several subjects under one name.
        Unsupported: matplotlib is not installed.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidProblem(f"a picture's name must end in {', '.join(SUFFIXES)}, got {path.name!r}", field="path")
    figure(certificates_by_name).savefig(path, dpi=_DPI)


def figure(certificates_by_name: Mapping[str, Sequence[Certificate]]) -> "Figure":
    """The picture itself: left the curves, right the p_a_lower of those that rest on votes; arguments as in `plot`.

    Where any certificate has no label, all curves show the certified fraction, right or wrong.
    """
    if not certificates_by_name:
        raise InvalidProblem("there is nothing to plot: give at least one file of certificates")
    everything = [c for certificates in certificates_by_name.values() for c in certificates]
    if any(c.is_box for c in everything):
        raise InvalidProblem("certificates of boxes have no radius to draw: leave them out")
    labelled = all(c.label is not None for c in everything)
    parameters = {name: _parameters(certificates) for name, certificates in certificates_by_name.items()}
    shared = _shared(list(parameters.values()))
    picture = _blank()
    picture.suptitle(", ".join(shared), x=0.01, ha="left", fontsize=11)
    sampled = [name for name, certificates in certificates_by_name.items() if is_sampled(certificates)]
    left, *beside = picture.subplots(1, 2, width_ratios=(2.2, 1)) if sampled else [picture.subplots()]
    for number, (name, certificates) in enumerate(certificates_by_name.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        legend = ", ".join([name, *(word for word in parameters[name] if word not in shared)])
        _draw_curve(left, counting_radii(certificates, labelled=labelled), legend, colour)
        if name in sampled:
            _draw_histogram(beside[0], certificates, colour, sampled.index(name), len(sampled))
    norms = " and ".join(dict.fromkeys(_NORMS[c.norm] for c in everything))
    _finish_curves(left, norms, "certified accuracy" if labelled else "certified fraction (any prediction)")
    for axes in beside:
        _finish_histogram(axes)
    return picture


def step_curve(counting: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The exact curve: at every r in (radii[i-1], radii[i]] exactly counts[i] certificates count.

    Args:
        counting: from `report.counting_radii`, [B].
    Returns:
        radii, rising from 0 to the largest that counts, and counts at each; after the last none counts.
    """
    radii = np.unique(np.concatenate([[0.0], counting[counting > 0]]))
    return radii, counts_at(counting, radii)


def _blank() -> "Figure":
    try:
        from matplotlib.figure import Figure  # an optional dependency; without pyplot it has no global state
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError:
        raise Unsupported("plots need matplotlib, which is not installed: pip install 'verifier[plot]'") from None
    return Figure(figsize=_SIZE, dpi=_DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08, wspace=0.03))


def _parameters(certificates: Sequence[Certificate]) -> list[str]:
    """What the title says of a file, one word for each parameter."""
    subject, method = common_subject(certificates), certificates[0].method
    words = [f"model {subject.model_digest[:12]}", subject.precision]
    if not isinstance(method, Smoothing):
        kinds = dict.fromkeys(f"{c.method.name}, {c.guarantee.grade.value}" for c in certificates)
        return [*words, *kinds, *dict.fromkeys(_NORMS[c.norm] for c in certificates)]
    words.append(f"sigma {method.sigma:g}")
    for name in ("n", "alpha"):
        values = {getattr(c.method, name) for c in certificates}
        words.append(f"{name} {values.pop():,}" if len(values) == 1 else f"several {name}")
    return words


def _shared(parameters: Sequence[Sequence[str]]) -> list[str]:
    """The words that all files have in common, in their order."""
    return [word for word in parameters[0] if all(word in words for words in parameters)]


def _draw_curve(axes: "Axes", counting: Floats, legend: str, colour: str) -> None:
    radii, counts = step_curve(counting)
    lower, upper = interval(counts, len(counting))
    axes.fill_between(radii, lower, upper, step="pre", color=colour, alpha=0.15, linewidth=0)
    radii, counts = np.append(radii, radii[-1]), np.append(counts, 0)  # down to 0 after the last
    axes.plot(radii, counts / len(counting), drawstyle="steps-pre", color=colour, linewidth=1.8, label=legend)


def _draw_histogram(axes: "Axes", certificates: Sequence[Certificate], colour: str, number: int, curves: int) -> None:
    shares = np.array(p_a_histogram(certificates)) / len(certificates)
    width = 0.8 / curves
    axes.bar(np.arange(len(shares)) + (number - (curves - 1) / 2) * width, shares, width, color=colour)


def _finish_curves(axes: "Axes", norms: str, quantity: str) -> None:
    axes.set_xlabel(f"{norms} radius, in units of the input")
    axes.set_ylabel(quantity)
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1)
    axes.legend(frameon=False, loc="upper right", title="band: pointwise 95 %", title_fontsize=9, alignment="right")
    _strip(axes)


def _finish_histogram(axes: "Axes") -> None:
    buckets = [f"{low:g} \N{EN DASH} {high:g}" for low, high in itertools.pairwise(P_A_EDGES)]
    axes.set_xticks(range(len(buckets)), buckets, rotation=30, ha="right", rotation_mode="anchor")
    axes.set_xlabel("lower bound on the class's probability")
    axes.set_ylabel("share of inputs")
    _strip(axes)


def _strip(axes: "Axes") -> None:
    """Leave only what carries information, and faint lines to read values from."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_GREY)
    axes.tick_params(colors=_GREY)
    axes.grid(axis="y", color="#e6e6e6", linewidth=0.8)
    axes.set_axisbelow(True)
