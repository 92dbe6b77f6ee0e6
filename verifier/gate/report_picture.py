"""Coordinates of the curves' picture; the template turns them into SVG, escaped like everything else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from verifier.gate.report_curve import Curve

_Scale = Callable[[float], float]

_LEFT, _RIGHT, _TOP, _BOTTOM = 44.0, 14.0, 10.0, 40.0
"""Room for the axes' numbers, in pixels."""

_TICKS = 6
"""Most steps of the radius axis on a wide picture."""


@dataclass(frozen=True)
class Tick:
    """A mark of an axis: where, and its number."""

    at: float
    text: str


@dataclass(frozen=True)
class Line:
    """One curve: the path of its steps, and of the band around it."""

    name: str
    path: str
    band: str


@dataclass(frozen=True)
class Mark:
    """A threshold on the curve: the accuracy asked at a radius."""

    x: float
    y: float
    text: str
    decision: str


@dataclass(frozen=True)
class Picture:
    """All coordinates of one picture, in pixels.

    Args:
        width, height: of the whole.
        left, right, top, bottom: of the plot inside.
        x_ticks, y_ticks: of the axes.
        lines: the curves, in the order of their colours.
        marks: thresholds.
    """

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...]


def draw(curves: Sequence[Curve], marks: Sequence[tuple[float, float, str, str]], width: int, height: int) -> Picture:
    """A picture of curves.

    Args:
        curves: at least one.
        marks: (radius, accuracy, text, decision) of thresholds.
        width, height: in pixels.
    """
    right, bottom = width - _RIGHT, height - _BOTTOM
    proved = [float(c.radii[-1]) for c in curves] + [mark[0] for mark in marks]
    step = round_step(max((r for r in proved if math.isfinite(r)), default=0.0), _TICKS if width > 500 else 4)
    largest = step * max(1, math.ceil(max((r for r in proved if math.isfinite(r)), default=0.0) * 1.02 / step))

    def x(radius: float) -> float:
        return round(_LEFT + (right - _LEFT) * min(radius / largest, 1.0), 2)

    def y(share: float) -> float:
        return round(bottom - (bottom - _TOP) * share, 2)

    x_ticks = [number * step for number in range(round(largest / step) + 1)]
    return Picture(
        width=width,
        height=height,
        left=_LEFT,
        right=right,
        top=_TOP,
        bottom=bottom,
        x_ticks=tuple(Tick(x(radius), f"{radius:.6g}") for radius in x_ticks),
        y_ticks=tuple(Tick(y(share), f"{share:g}") for share in (0, 0.2, 0.4, 0.6, 0.8, 1)),
        lines=tuple(_line(curve, x, y, right) for curve in curves),
        marks=tuple(Mark(x(radius), y(share), text, decision) for radius, share, text, decision in marks),
    )


def round_step(largest: float, steps: int) -> float:
    """1, 2 or 5 times a power of ten, of which at most so many reach the largest."""
    if not largest > 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(largest / steps))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if largest * 1.02 <= power * factor * steps)


def _line(curve: Curve, x: _Scale, y: _Scale, right: float) -> Line:
    across = [x(radius) for radius in curve.radii.tolist()]
    upper = _steps(across, [y(share) for share in [*curve.upper.tolist(), curve.beyond]], right)
    lower = _steps(across, [y(share) for share in [*curve.lower.tolist(), 0.0]], right)
    middle = _steps(across, [y(share) for share in [*curve.fractions.tolist(), 0.0]], right)
    band = [*upper, *reversed(lower)]
    return Line(curve.name, _path(middle), _path(band) + " Z")


def _steps(across: list[float], heights: list[float], right: float) -> list[tuple[float, float]]:
    """Corners of a step line: heights[i] holds from across[i-1] to across[i], the last one to the right edge."""
    points = [(across[0], heights[0])]
    for start, end, height in zip(across, [*across[1:], right], heights[1:], strict=True):
        points += [(start, height), (end, height)]
    return points


def _path(points: Sequence[tuple[float, float]]) -> str:
    kept = [point for point, before in zip(points, [None, *points[:-1]], strict=True) if point != before]
    return "M" + " L".join(f"{x:g},{y:g}" for x, y in kept)
