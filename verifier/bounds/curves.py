"""Curved activations: lines from convexity, paid for by the errors of values and slopes.

Notation: f(x) is computed with an error, its derivative with an error e; a line with the stored slope a is moved until
it is valid for a. With h(x) = f(x) - a x:

- f convex on [l, u]: h <= max(h(l), h(u)); and at any t in [l, u]: h(x) >= h(t) - e max(t - l, u - t).
- f S-shaped (convex left of 0, concave right), line above, tangent at t in [max(0, l), u] with l < 0: on [0, u]
  concavity gives h(x) <= h(t) + e max(u - t, t), which covers h(0) too; on [l, 0] convexity gives h <= max(h(l), h(0)).
- the same with a chord of slope k from l to u: on [0, u] the derivative of h is at least f'(u) - k, so
  h(x) <= h(u) + u max(0, k - f'(u)); on [l, 0] as before. Where u <= 0 there is no right part.
- |f''| <= c: between two points w apart, h exceeds the larger of its ends, and undercuts the smaller, by at most
  c w^2 / 8.

Lines below are lines above of -f(-x), with the signs turned.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.activation import Activation, Lines, offset
from verifier.bounds.arithmetic import FLOAT32_TINY, FLOAT32_UNIT, Arithmetic
from verifier.bounds.functions import FLOAT32_ULPS, BumpCurve, Curve, Power, Softplus


def _chord(lower: Tensor, upper: Tensor, low: Tensor, high: Tensor, flat: Tensor) -> Tensor:
    """Slope from end to end; another one where the ends are one point."""
    run = upper - lower
    slope = (high - low) / run
    return torch.where((run > 0) & slope.isfinite(), slope, flat)


def _reach(t: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """max(t - l, u - t), generously."""
    return torch.maximum(t - lower, upper - t) * (1 + 2**-20)


@dataclass(frozen=True, eq=False)
class Curved(Activation):
    """A smooth function of some shape.

    Args:
        curve: the function.
    """

    curve: Curve

    @property
    def name(self) -> str:  # type: ignore[override]
        """See `Activation`."""
        return self.curve.name

    def value(self, x: Tensor) -> Tensor:
        """See `Activation.value`."""
        return self.curve.value(x)

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        return self.curve.execution_error(lower, upper)


@dataclass(frozen=True, eq=False)
class Convex(Curved):
    """A monotone or even convex function.

    Args:
        curve: the function.
    """

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        (low, low_up), (high, high_up) = self.curve.bounds(lower, arithmetic), self.curve.bounds(upper, arithmetic)
        least, most = torch.minimum(low, high), torch.maximum(low_up, high_up)
        if isinstance(self.curve, Power):
            least = torch.where((lower < 0) & (upper > 0), torch.zeros_like(least), least.clamp(min=0))
        return least, most

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        return convex_lines(self.curve, lower, upper, arithmetic)


def convex_lines(curve: Curve, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> Lines:
    """Lines of a function that is convex on [lower, upper]: the chord above, the tangent of the middle below."""
    t = torch.minimum(torch.maximum(lower / 2 + upper / 2, lower), upper)
    low, high = curve.bounds(lower, arithmetic)[1], curve.bounds(upper, arithmetic)[1]
    tangent = curve.slope(t)
    chord = _chord(lower, upper, low, high, tangent)
    above = torch.maximum(offset(low, chord, lower, arithmetic, +1), offset(high, chord, upper, arithmetic, +1))
    miss = curve.slope_error(tangent, arithmetic) * _reach(t, lower, upper) if arithmetic.outward else 0.0
    below = offset(curve.bounds(t, arithmetic)[0], tangent, t, arithmetic, -1) - miss
    flaw = curve.flaw if isinstance(curve, Softplus) else 0.0
    return Lines(tangent, arithmetic.down(below - flaw), chord, above)


@dataclass(frozen=True, eq=False)
class Concave(Curved):
    """A monotone concave function: log, sqrt, log-sigmoid. Where it is not defined, it has no bounds.

    Args:
        curve: the function.
    """

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        low, high = self.curve.bounds(lower, arithmetic)[0], self.curve.bounds(upper, arithmetic)[1]
        return low, torch.where(self._is_defined(lower), high, torch.inf)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        lines = turned(convex_lines(_Negative(self.curve), lower, upper, arithmetic))
        defined = self._is_defined(lower)
        return Lines(
            torch.where(defined, lines.lower_slope, 0.0),
            torch.where(defined, lines.lower_intercept, -torch.inf),
            torch.where(defined, lines.upper_slope, 0.0),
            torch.where(defined, lines.upper_intercept, torch.inf),
        )

    def _is_defined(self, lower: Tensor) -> Tensor:
        """Whether all of the interval is: where it is not, the network's value is NaN, which no bound may exclude."""
        return ~self.curve.value(lower).isnan()


def turned(lines: Lines) -> Lines:
    """Lines of -f from lines of f."""
    return Lines(-lines.upper_slope, -lines.upper_intercept, -lines.lower_slope, -lines.lower_intercept)


def reflected(lines: Lines) -> Lines:
    """Lines of f(-x) from lines of f over the mirrored interval."""
    return Lines(-lines.lower_slope, lines.lower_intercept, -lines.upper_slope, lines.upper_intercept)


class _Negative(Curve):
    """-f."""

    def __init__(self, curve: Curve) -> None:
        self.curve = curve
        self.name, self.ulps = curve.name, curve.ulps
        self.slope_ulps, self.slope_scale = curve.slope_ulps, curve.slope_scale

    def value(self, x: Tensor) -> Tensor:
        return -self.curve.value(x)

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:
        return -self.curve.slope(x, left=left)

    def scale(self, x: Tensor) -> Tensor | float:
        return self.curve.scale(x)


class _Turned(_Negative):
    """-f(-x)."""

    def value(self, x: Tensor) -> Tensor:
        return -self.curve.value(-x)

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:
        return self.curve.slope(-x, left=not left)

    def scale(self, x: Tensor) -> Tensor | float:
        return self.curve.scale(-x)


@dataclass(frozen=True, eq=False)
class Mirrored(Curved):
    """An odd function that is convex for x > 0 and not defined at 0: 1 / x.

    Args:
        curve: the function.
    """

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        defined = (lower > 0) | (upper < 0)
        low, high = self.curve.bounds(upper, arithmetic)[0], self.curve.bounds(lower, arithmetic)[1]
        return torch.where(defined, low, -torch.inf), torch.where(defined, high, torch.inf)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        right = lower > 0
        defined = right | (upper < 0)
        near = torch.where(right, lower, torch.where(defined, -upper, 1.0))
        far = torch.where(right, upper, torch.where(defined, -lower, 1.0))
        lines = convex_lines(self.curve, near, far, arithmetic)
        mirrored = turned(reflected(lines))

        def chosen(here: Tensor, there: Tensor, otherwise: float) -> Tensor:
            return torch.where(right, here, torch.where(defined, there, otherwise))

        return Lines(
            chosen(lines.lower_slope, mirrored.lower_slope, 0.0),
            chosen(lines.lower_intercept, mirrored.lower_intercept, -torch.inf),
            chosen(lines.upper_slope, mirrored.upper_slope, 0.0),
            chosen(lines.upper_intercept, mirrored.upper_intercept, torch.inf),
        )

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        defined = (lower > 0) | (upper < 0)
        return torch.where(defined, self.curve.execution_error(lower, upper), torch.inf)


@dataclass(frozen=True, eq=False)
class SShaped(Curved):
    """Convex left of 0, concave right of it; the other way round where it is upside down.

    Args:
        curve: the function, increasing.
        upside_down: whether it is concave left of 0 and convex right.
    """

    upside_down: bool = False

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        return self.curve.bounds(lower, arithmetic)[0], self.curve.bounds(upper, arithmetic)[1]

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        curve = _Negative(self.curve) if self.upside_down else self.curve
        above, height = _line_above(curve, lower, upper, arithmetic)
        below, depth = _line_above(_Turned(curve), -upper, -lower, arithmetic)
        lines = Lines(below, -depth, above, height)
        return turned(lines) if self.upside_down else lines


_TANGENT_STEPS = 12
"""Halvings that find the tangent through the lower end; whatever they find is sound."""


def _line_above(curve: Curve, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
    """(slope, intercept) of a line above an S-shaped curve; see the module's text."""
    zero = torch.zeros_like(lower)
    low, high = curve.bounds(lower, arithmetic)[1], curve.bounds(upper, arithmetic)[1]
    start, end = lower.clamp(min=0), upper.clamp(min=0)
    # of all tangents that pass above the lower end, the one that is lowest in the middle: that of the least area
    middle = lower / 2 + upper / 2
    t = torch.where(lower >= 0, middle, torch.maximum(middle, _tangent_point(curve, lower, end, low)))
    t = torch.minimum(torch.maximum(t, start), end)
    # the chord where the tangent through the lower end touches beyond the upper one, or nothing is concave
    chord = _chord(lower, upper, low, high, curve.slope(upper))
    beyond = curve.value(end) - curve.slope(end) * (end - lower) < low
    by_chord = (lower < 0) & ((upper <= 0) | beyond)
    slope = torch.where(by_chord, chord, curve.slope(t))
    at_low, at_high = offset(low, slope, lower, arithmetic, +1), offset(high, slope, upper, arithmetic, +1)
    at_t = offset(curve.bounds(t, arithmetic)[1], slope, t, arithmetic, +1)
    steep = curve.slope(end)
    if arithmetic.outward:
        at_t = at_t + curve.slope_error(slope, arithmetic) * _reach(t, start, upper)
        steep = steep - curve.slope_error(steep, arithmetic)
    rise = torch.where(upper > 0, upper * (slope - steep).clamp(min=0), zero)
    over_chord = torch.maximum(at_low, at_high + arithmetic.up(rise, 3))
    over_tangent = torch.where(lower < 0, torch.maximum(at_t, at_low), at_t)
    return slope, arithmetic.up(torch.where(by_chord, over_chord, over_tangent), 3)


def _tangent_point(curve: Curve, lower: Tensor, end: Tensor, low: Tensor) -> Tensor:
    """About the t in [0, end] whose tangent goes through the lower end."""
    near, far = torch.zeros_like(end), end
    for _ in range(_TANGENT_STEPS):
        middle = near / 2 + far / 2
        short = curve.value(middle) - curve.slope(middle) * (middle - lower) < low  # the tangent lies below it there
        near, far = torch.where(short, middle, near), torch.where(short, far, middle)
    return far


_CELLS = 48


@dataclass(frozen=True, eq=False)
class Bump(Curved):
    """A function that falls to its only minimum and rises from there: like 0 on the far left, like x on the far right.

    Args:
        curve: with `core`, `tail`, `curvature`, `turn` and `least`.
    """

    curve: BumpCurve

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        curve = self.curve
        (low, low_up), (high, high_up) = curve.bounds(lower, arithmetic), curve.bounds(upper, arithmetic)
        turns = (lower < curve.turn + 1e-6) & (upper > curve.turn - 1e-6)
        least = torch.where(turns, curve.least, torch.minimum(low, high).clamp(min=curve.least))
        return least, torch.maximum(low_up, high_up)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`. Slopes: the chord above, the derivative of the middle below."""
        curve = self.curve
        low, high = curve.bounds(lower, arithmetic)[1], curve.bounds(upper, arithmetic)[1]
        middle = lower / 2 + upper / 2
        tangent = curve.slope(middle).clamp(-0.2, 1.2)
        chord = _chord(lower, upper, low, high, tangent)
        first, last = lower.clamp(-curve.core, curve.core), upper.clamp(-curve.core, curve.core)
        width = (last - first) / _CELLS
        bend = width.square() * (curve.curvature / 8 * (1 + 2**-20)) + 8 * arithmetic.tiny
        above, below = torch.full_like(lower, -torch.inf), torch.full_like(lower, torch.inf)
        for number in range(_CELLS + 1):
            point = torch.minimum(first + width * number, last) if number < _CELLS else last
            under, over = curve.bounds(point, arithmetic)
            above = torch.maximum(above, offset(over, chord, point, arithmetic, +1))
            below = torch.minimum(below, offset(under, tangent, point, arithmetic, -1))
        above, below = above + bend, below - bend
        for end in (lower, upper):  # beyond the core f lies within its tail of max(x, 0), which is straight there
            outside = end.abs() > curve.core
            straight = end.clamp(min=0)
            over = offset(straight, chord, end, arithmetic, +1)
            under = offset(straight - curve.tail, tangent, end, arithmetic, -1)
            above = torch.where(outside, torch.maximum(above + curve.tail, over), above)
            below = torch.where(outside, torch.minimum(below - curve.tail, under), below)
        return Lines(tangent, arithmetic.down(below, 4), chord, arithmetic.up(above, 4))

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        size = torch.maximum(lower.abs(), upper.abs())
        return (size + 1) * (FLOAT32_ULPS * FLOAT32_UNIT)


class HardSwish(Activation):
    """x min(max(x / 6 + 1/2, 0), 1): 0 up to -3, then a parabola, then x from 3 on."""

    name = "hardswish"

    def value(self, x: Tensor) -> Tensor:
        """See `Activation.value`."""
        return torch.nn.functional.hardswish(x)

    def _bounds(self, x: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """Below and above f(x); x and 0 are exact beyond 3, where the kernel's product may overflow."""
        slack = x.clamp(-3, 3).abs() * (8 * arithmetic.unit) + 4 * arithmetic.tiny
        value = torch.where(x.abs() < 3, self.value(x), x.relu())
        return value - slack, value + slack

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`; the minimum is -3/8, at -3/2."""
        (low, low_up), (high, high_up) = self._bounds(lower, arithmetic), self._bounds(upper, arithmetic)
        turns = (lower <= -1.5) & (upper >= -1.5)
        return torch.where(turns, -0.375, torch.minimum(low, high)), torch.maximum(low_up, high_up)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`. Less a line, it is largest at the ends and bends, least there or at a vertex."""
        bends = [torch.minimum(lower.clamp(min=bend), upper) for bend in (-3.0, 3.0)]
        points = [lower, upper, *bends]
        middle = (lower / 2 + upper / 2).clamp(-3, 3)
        tangent = torch.where(middle >= 3, 1.0, torch.where(middle <= -3, 0.0, middle / 3 + 0.5)).clamp(0, 1)
        low, high = self._bounds(lower, arithmetic)[1], self._bounds(upper, arithmetic)[1]
        chord = _chord(lower, upper, low, high, tangent)
        vertex = torch.minimum(torch.maximum((3 * tangent - 1.5).clamp(-3, 3), lower), upper)
        above = [offset(self._bounds(point, arithmetic)[1], chord, point, arithmetic, +1) for point in points]
        points.append(vertex)
        below = [offset(self._bounds(point, arithmetic)[0], tangent, point, arithmetic, -1) for point in points]
        missed = 64 * arithmetic.unit**2  # by the rounded vertex, at most
        return Lines(tangent, torch.stack(below).amin(0) - missed, chord, torch.stack(above).amax(0))

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        return torch.maximum(lower.abs(), upper.abs()) * (FLOAT32_ULPS * FLOAT32_UNIT) + FLOAT32_TINY
