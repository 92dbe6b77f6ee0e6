"""Functions of one element: their values, their ranges over intervals, and lines below and above them.

Whatever slope is chosen, its intercept is computed for the slope that is stored, so that a badly rounded slope costs
tightness only. Piecewise linear functions are here, curved ones in `curves`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.bounds.activation import Activation, Lines, offset
from verifier.bounds.arithmetic import FLOAT32_TINY, FLOAT32_UNIT, Arithmetic
from verifier.bounds.curves import Bump, Concave, Convex, HardSwish, Mirrored, SShaped
from verifier.bounds.functions import (
    Elu,
    Erf,
    Exp,
    Gelu,
    GeluTanh,
    Log,
    Power,
    Reciprocal,
    Sigmoid,
    Silu,
    Softplus,
    Softsign,
    Sqrt,
    Tanh,
)


@dataclass(frozen=True, eq=False)
class Kinked(Activation):
    """a x for x < 0, b x for x >= 0: ReLU and its kin, |x|.

    Over an interval with 0 inside, one line is the chord, the other goes through the origin with any slope from a to
    b: its intercept is 0, exactly.

    Args:
        negative: a, a number or a tensor that broadcasts against the value of one input.
        positive: b, a number.
    """

    name: str
    negative: Tensor | float
    positive: float
    adjustable = True

    def value(self, x: Tensor) -> Tensor:
        """See `Activation.value`."""
        if self._is_relu:
            return x.relu()
        return torch.where(x < 0, self.negative * x, self.positive * x)

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        if self._is_relu:
            return lower.relu(), upper.relu()
        low, high = self.value(lower), self.value(upper)
        inside = (lower < 0) & (upper > 0)
        least, most = torch.minimum(low, high), torch.maximum(low, high)
        least = torch.where(inside, least.clamp(max=0), least)
        most = torch.where(inside, most.clamp(min=0), most)
        return arithmetic.down(least), arithmetic.up(most)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        share = (upper > -lower).to(lower.dtype) if alpha is None else alpha
        origin = self._through_origin(lower, upper, share)
        chord = self._chord(lower, upper)
        low_end, high_end = self.value(lower), self.value(upper)
        unstable = (lower < 0) & (upper > 0)
        zero = torch.zeros_like(lower)
        above = torch.maximum(
            offset(low_end, chord, lower, arithmetic, +1), offset(high_end, chord, upper, arithmetic, +1)
        )
        above = torch.where(unstable, above, zero)
        if self._is_relu:
            return Lines(origin, zero, chord, above)
        below = torch.minimum(
            offset(low_end, chord, lower, arithmetic, -1), offset(high_end, chord, upper, arithmetic, -1)
        )
        below = torch.where(unstable, below, zero)
        convex = torch.as_tensor(self.negative <= self.positive, device=lower.device)
        return Lines(
            torch.where(convex, origin, chord),
            torch.where(convex, zero, below),
            torch.where(convex, chord, origin),
            torch.where(convex, above, zero),
        )

    def is_curved(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.is_curved`."""
        return (lower < 0) & (upper > 0)

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`: a product rounds, and so does its factor."""
        if self._is_relu or self.name == "abs":
            return torch.zeros_like(lower)
        return torch.maximum(self.value(lower).abs(), self.value(upper).abs()) * (3 * FLOAT32_UNIT) + FLOAT32_TINY

    def to(self, device: torch.device, dtype: torch.dtype) -> "Kinked":
        """See `Activation.to`."""
        if not isinstance(self.negative, Tensor):
            return self
        return Kinked(self.name, self.negative.to(device, dtype), self.positive)

    @property
    def _is_relu(self) -> bool:
        return self.name == "relu"

    def _through_origin(self, lower: Tensor, upper: Tensor, share: Tensor) -> Tensor:
        """A slope from a to b; that of the one piece where there is one."""
        a, b = self.negative, self.positive
        slope = share if self._is_relu else _between(a + share * (b - a), a, b)
        return torch.where(lower >= 0, b, torch.where(upper <= 0, a, slope))

    def _chord(self, lower: Tensor, upper: Tensor) -> Tensor:
        """Slope from end to end; that of the one piece where there is one."""
        right, left = upper.clamp(min=0), lower.clamp(max=0)
        slope = (self.value(right) - self.value(left)) / (right - left).clamp(min=torch.finfo(lower.dtype).tiny)
        return torch.where(lower >= 0, self.positive, torch.where(upper <= 0, self.negative, slope))


def _between(slope: Tensor, a: Tensor | float, b: float) -> Tensor:
    """The slope, kept within its ends whatever it has rounded."""
    ends = torch.as_tensor(a, dtype=slope.dtype, device=slope.device)
    other = torch.full_like(ends, b)
    return torch.minimum(torch.maximum(slope, torch.minimum(ends, other)), torch.maximum(ends, other))


@dataclass(frozen=True, eq=False)
class Ramp(Activation):
    """value(low) up to low, then straight to value(high), then flat: clamp, hard sigmoid.

    Args:
        low, high: where it bends, low < high; may be infinite.
        slope: between, > 0; 1 is exact, other slopes round.
        at_zero: value of the straight part at 0.
    """

    name: str
    low: float
    high: float
    slope: float = 1.0
    at_zero: float = 0.0

    def value(self, x: Tensor) -> Tensor:
        """See `Activation.value`."""
        clamped = x.clamp(self.low, self.high)
        return clamped if self._is_exact else clamped * self.slope + self.at_zero

    def interval(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        low, high = self.value(lower), self.value(upper)
        if self._is_exact:
            return low, high
        slack = (high.abs() + low.abs() + abs(self.at_zero)) * (4 * arithmetic.unit)
        return arithmetic.down(low - slack), arithmetic.up(high + slack)

    def lines(self, lower: Tensor, upper: Tensor, arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`. A piecewise linear function less a line is largest and least at its bends."""
        bends = (lower.clamp(self.low, self.high), upper.clamp(self.low, self.high))
        points = [lower, *(torch.minimum(torch.maximum(bend, lower), upper) for bend in bends), upper]
        values = [self.interval(point, point, arithmetic) for point in points]
        rise, run = values[3][1] - values[0][0], upper - lower
        chord = torch.where(run > 0, rise / run.clamp(min=torch.finfo(lower.dtype).tiny), torch.zeros_like(run))
        above, below = self._upper_slope(lower, upper, chord), self._lower_slope(lower, upper, chord)
        return Lines(
            below,
            _extreme([offset(low, below, p, arithmetic, -1) for (low, _), p in zip(values, points, strict=True)], -1),
            above,
            _extreme([offset(high, above, p, arithmetic, +1) for (_, high), p in zip(values, points, strict=True)], +1),
        )

    def is_curved(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.is_curved`."""
        return ((lower < self.low) & (upper > self.low)) | ((lower < self.high) & (upper > self.high))

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        if self._is_exact:
            ends = max((abs(end) for end in (self.low, self.high) if abs(end) < torch.inf), default=0.0)
            return torch.full_like(lower, ends * FLOAT32_UNIT)  # bends that float32 has to round
        return (self.value(upper).abs() + lower.abs().clamp(max=4) + 1) * (4 * FLOAT32_UNIT)

    @property
    def _is_exact(self) -> bool:
        return self.slope == 1.0 and self.at_zero == 0.0

    def _upper_slope(self, lower: Tensor, upper: Tensor, chord: Tensor) -> Tensor:
        """Along the concave hull: from the lower end to the upper bend where that is inside, or flat."""
        if self.high == torch.inf:
            return chord
        at_bend = self.slope * self.high + self.at_zero
        to_bend = (at_bend - self.value(lower)) / (self.high - lower).clamp(min=torch.finfo(lower.dtype).tiny)
        steep = (upper - self.high) < (self.high - lower)
        hull = torch.where(steep & (to_bend <= self.slope), to_bend, torch.zeros_like(to_bend))
        return torch.where((lower < self.high) & (upper > self.high), hull, chord)

    def _lower_slope(self, lower: Tensor, upper: Tensor, chord: Tensor) -> Tensor:
        """Along the convex hull: from the lower bend to the upper end where that is inside, or flat."""
        if self.low == -torch.inf:
            return chord
        at_bend = self.slope * self.low + self.at_zero
        from_bend = (self.value(upper) - at_bend) / (upper - self.low).clamp(min=torch.finfo(lower.dtype).tiny)
        steep = (self.low - lower) < (upper - self.low)
        hull = torch.where(steep & (from_bend <= self.slope), from_bend, torch.zeros_like(from_bend))
        return torch.where((lower < self.low) & (upper > self.low), hull, chord)


@dataclass(frozen=True, eq=False)
class Sign(Activation):
    """-1, 0 or 1. Its lines are flat."""

    name: str = "sign"

    def value(self, x: Tensor) -> Tensor:
        """See `Activation.value`."""
        return x.sign()

    def interval(self, lower: Tensor, upper: Tensor, _arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Activation.interval`."""
        return _sign(lower), _sign(upper)

    def lines(self, lower: Tensor, upper: Tensor, _arithmetic: Arithmetic, _alpha: Tensor | None = None) -> Lines:
        """See `Activation.lines`."""
        zero = torch.zeros_like(lower)
        return Lines(zero, _sign(lower), zero, _sign(upper))

    def is_curved(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.is_curved`."""
        return lower.sign() < upper.sign()

    def execution_error(self, lower: Tensor, _upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        return torch.zeros_like(lower)


def _sign(x: Tensor) -> Tensor:
    """The sign; NaN stays NaN, which torch's does not."""
    return torch.where(x.isnan(), x, x.sign())


def _extreme(values: Sequence[Tensor], sign: int) -> Tensor:
    return torch.stack(list(values)).amax(0) if sign > 0 else torch.stack(list(values)).amin(0)


# -- by the names of the field -------------------------------------------------------------------------


def relu() -> Activation:
    """max(x, 0)."""
    return Kinked("relu", 0.0, 1.0)


def leaky_relu(slope: float = 0.01) -> Activation:
    """x for x >= 0, slope x below."""
    return Kinked("leaky_relu", slope, 1.0)


def prelu(weight: Tensor) -> Activation:
    """x for x >= 0, weight x below; the weight broadcasts against the value of one input."""
    return Kinked("prelu", weight, 1.0)


def absolute() -> Activation:
    """|x|."""
    return Kinked("abs", -1.0, 1.0)


def clamp(low: float | None, high: float | None) -> Activation:
    """min(max(x, low), high); None is no end."""
    return Ramp("clamp", -torch.inf if low is None else float(low), torch.inf if high is None else float(high))


def hardsigmoid() -> Activation:
    """min(max(x / 6 + 1/2, 0), 1)."""
    return Ramp("hardsigmoid", -3.0, 3.0, 1 / 6, 0.5)


def sign() -> Activation:
    """-1, 0 or 1."""
    return Sign()


def elu(alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Activation:
    """scale x for x >= 0, scale alpha (e^(input_scale x) - 1) below; SELU and CELU too."""
    curve = Elu(float(alpha), float(scale), float(input_scale))
    return Convex(curve) if alpha * input_scale <= 1 else SShaped(curve)


def sigmoid() -> Activation:
    """1 / (1 + e^-x)."""
    return SShaped(Sigmoid())


def tanh() -> Activation:
    """Hyperbolic tangent."""
    return SShaped(Tanh())


def erf() -> Activation:
    """Error function."""
    return SShaped(Erf())


def softsign() -> Activation:
    """x / (1 + |x|)."""
    return SShaped(Softsign())


def exp() -> Activation:
    """e^x."""
    return Convex(Exp())


def log() -> Activation:
    """Natural logarithm; unbounded below where the interval reaches 0."""
    return Concave(Log())


def sqrt() -> Activation:
    """Square root; no bounds where the interval reaches below 0."""
    return Concave(Sqrt())


def reciprocal() -> Activation:
    """1 / x; no bounds where the interval holds 0."""
    return Mirrored(Reciprocal())


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Activation:
    """log(1 + e^(beta x)) / beta, and x where beta x > threshold, as torch has it."""
    return Convex(Softplus(float(beta), float(threshold)))


def logsigmoid() -> Activation:
    """log(1 / (1 + e^-x)) = -softplus(-x)."""
    return Concave(Softplus(-1.0, torch.inf))


def square() -> Activation:
    """x^2."""
    return Convex(Power(2))


def power(n: int) -> Activation:
    """x^n for n >= 2."""
    return Convex(Power(n)) if n % 2 == 0 else SShaped(Power(n), upside_down=True)


def gelu(approximate: str = "none") -> Activation:
    """x Phi(x), or its approximation by tanh."""
    return Bump(Gelu() if approximate == "none" else GeluTanh())


def silu() -> Activation:
    """x / (1 + e^-x)."""
    return Bump(Silu())


def hardswish() -> Activation:
    """x min(max(x / 6 + 1/2, 0), 1)."""
    return HardSwish()
