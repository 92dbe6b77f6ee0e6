"""Smooth functions and their derivatives, with how wrong their floating-point values may be.

Library functions are not correctly rounded. The units of roundoff granted here are at least twice what the tests see
against 50 digits.
"""

import math

import torch
from torch import Tensor

from verifier.bounds.arithmetic import FLOAT32_TINY, FLOAT32_UNIT, Arithmetic

FLOAT32_LARGE = 2.0**126
"""Values beyond may overflow in float32 on their way."""

FLOAT32_ULPS = 16
"""Units of roundoff of the float32 functions of the library, with all that is done around them."""


class Curve:
    """A smooth function with its derivative, and how wrong their values in floating point may be.

    Attributes:
        name: as in the field.
        ulps: units of roundoff of `value`, relative to its size plus `scale`; at least twice what the tests see.
        slope_ulps: the same of `slope`, relative to its size plus `slope_scale`.
    """

    name: str
    ulps: int = 8
    slope_ulps: int = 16
    slope_scale: float = 0.0

    def value(self, x: Tensor) -> Tensor:
        """f(x)."""
        raise NotImplementedError

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:
        """f'(x); at a bend the derivative to the left, or to the right."""
        raise NotImplementedError

    def scale(self, _x: Tensor) -> Tensor | float:
        """What errors of the value are relative to, besides the value."""
        return 0.0

    def bounds(self, x: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """Below and above f(x) over the reals."""
        value = self.value(x)
        if not arithmetic.outward:
            return value, value
        slack = (value.abs() + self.scale(x)) * (self.ulps * arithmetic.unit) + 4 * arithmetic.tiny
        return (value - slack).nan_to_num(-math.inf, math.inf, -math.inf), (value + slack).nan_to_num(
            math.inf, math.inf, -math.inf
        )

    def slope_error(self, slope: Tensor, arithmetic: Arithmetic) -> Tensor:
        """How far a stored slope may be from f'."""
        return (slope.abs() + self.slope_scale) * (self.slope_ulps * arithmetic.unit) + 4 * arithmetic.tiny

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`, for monotone functions."""
        low, high = self.value(lower), self.value(upper)
        size = torch.maximum(low.abs() + self.scale(lower), high.abs() + self.scale(upper))
        error = (size + 1) * (FLOAT32_ULPS * FLOAT32_UNIT) + FLOAT32_TINY
        return torch.where(size < FLOAT32_LARGE, error, torch.inf)


class BumpCurve(Curve):
    """What `Bump` needs to know.

    Attributes:
        core: where |x| is larger, |f(x) - max(x, 0)| <= tail.
        curvature: of |f''|, an upper bound.
        turn, least: where the minimum is, to 1e-6, and below what no value lies.
    """

    core: float
    tail: float
    curvature: float
    turn: float
    least: float

    def scale(self, x: Tensor) -> Tensor | float:
        """See `Curve.scale`."""
        return x.abs()


class Sigmoid(Curve):
    """1 / (1 + e^-x)."""

    name = "sigmoid"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.sigmoid()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return x.sigmoid() * (-x).sigmoid()


class Tanh(Curve):
    """Hyperbolic tangent."""

    name = "tanh"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.tanh()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return 1 / x.cosh().square()


class Erf(Curve):
    """Error function."""

    name = "erf"
    slope_scale = 1.0

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.erf()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return torch.exp(-x.square()) * (2 / math.sqrt(math.pi))


class Softsign(Curve):
    """x / (1 + |x|)."""

    name = "softsign"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x / (1 + x.abs())

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return 1 / (1 + x.abs()).square()


class Elu(Curve):
    """scale x for x >= 0, scale alpha (e^(input_scale x) - 1) below.

    Args:
        alpha, scale, input_scale: > 0.
    """

    name = "elu"

    def __init__(self, alpha: float, scale: float, input_scale: float) -> None:
        self.alpha, self.rise, self.input_scale = alpha, scale, input_scale
        self.slope_scale = alpha * scale * input_scale

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        bent = (x.clamp(max=0) * self.input_scale).expm1() * (self.rise * self.alpha)
        return torch.where(x >= 0, x * self.rise, bent)

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:
        """See `Curve.slope`."""
        steep = (x.clamp(max=0) * self.input_scale).exp() * (self.rise * self.alpha * self.input_scale)
        return torch.where((x > 0) if left else (x >= 0), torch.full_like(x, self.rise), steep)

    def scale(self, _x: Tensor) -> Tensor | float:
        """See `Curve.scale`."""
        return self.rise * self.alpha


class Exp(Curve):
    """e^x."""

    name = "exp"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.exp()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return x.exp()


class Log(Curve):
    """Natural logarithm."""

    name = "log"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.log()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return 1 / x


class Sqrt(Curve):
    """Square root."""

    name = "sqrt"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.sqrt()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return 0.5 / x.sqrt()


class Reciprocal(Curve):
    """1 / x."""

    name = "reciprocal"

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return 1 / x

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return -1 / x.square()


class Softplus(Curve):
    """log(1 + e^(beta x)) / beta, for beta > 0 its linear branch beyond the threshold too.

    Attributes:
        flaw: how far the linear branch lies below the curve, at most.
    """

    name = "softplus"

    def __init__(self, beta: float, threshold: float) -> None:
        self.beta, self.threshold = beta, threshold
        self.flaw = math.exp(-threshold) / abs(beta) * (1 + 2**-20)
        self.slope_scale = 1.0

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        z = x * self.beta
        smooth = (z.clamp(min=0) + (-z.abs()).exp().log1p()) / self.beta
        return torch.where(z > self.threshold, x, smooth)

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`: of the smooth curve."""
        return (x * self.beta).sigmoid()

    def scale(self, x: Tensor) -> Tensor | float:
        """See `Curve.scale`."""
        return x.abs()

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Curve.execution_error`: a rounded x may take the other branch."""
        return super().execution_error(lower, upper) + self.flaw

    def bounds(self, x: Tensor, arithmetic: Arithmetic) -> tuple[Tensor, Tensor]:
        """See `Curve.bounds`: of both branches, so that it does not matter which one a rounded x takes."""
        low, high = super().bounds(x, arithmetic)
        return (low - self.flaw, high + self.flaw) if arithmetic.outward else (low, high)


class Power(Curve):
    """x^n.

    Args:
        n: >= 2.
    """

    def __init__(self, n: int) -> None:
        self.n = n
        self.name = "square" if n == 2 else f"power {n}"
        self.ulps = self.slope_ulps = 8 + 4 * n

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x.square() if self.n == 2 else x.pow(self.n)

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        return self.n * (x if self.n == 2 else x.pow(self.n - 1))

    def execution_error(self, lower: Tensor, upper: Tensor) -> Tensor:
        """See `Activation.execution_error`."""
        size = torch.maximum(self.value(lower).abs(), self.value(upper).abs())
        error = size * (self.ulps * FLOAT32_UNIT) + FLOAT32_TINY
        return torch.where(size < FLOAT32_LARGE, error, torch.inf)


class Gelu(BumpCurve):
    """x Phi(x)."""

    name = "gelu"
    core, tail, curvature = 6.5, 3e-10, 0.7979
    turn, least = -0.7517915, -0.16997121
    slope_scale = 2.0

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        value: Tensor = 0.5 * x * torch.special.erfc(x * -math.sqrt(0.5))
        return value

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        density = (-0.5 * x.square()).exp() * (1 / math.sqrt(2 * math.pi))
        mass: Tensor = torch.special.erfc(x * -math.sqrt(0.5))
        return 0.5 * mass + x.clamp(-40, 40) * density


_TANH_SCALE, _TANH_CUBE = math.sqrt(2 / math.pi), 0.044715


class GeluTanh(BumpCurve):
    """x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2."""

    name = "gelu_tanh"
    core, tail, curvature = 6.5, 3e-10, 0.7980
    turn, least = -0.7524614, -0.17004077
    slope_scale = 4.0

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        z = _TANH_SCALE * (x + _TANH_CUBE * x.pow(3))
        return x * (2 * z).sigmoid()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        x = x.clamp(-40, 40)
        z = _TANH_SCALE * (x + _TANH_CUBE * x.pow(3))
        inner = _TANH_SCALE * (1 + 3 * _TANH_CUBE * x.square())
        return (2 * z).sigmoid() + x * 2 * inner * (2 * z).sigmoid() * (-2 * z).sigmoid()


class Silu(BumpCurve):
    """x / (1 + e^-x)."""

    name = "silu"
    core, tail, curvature = 24.0, 1e-9, 0.5
    turn, least = -1.2784645, -0.27846455
    slope_scale = 2.0

    def value(self, x: Tensor) -> Tensor:
        """See `Curve.value`."""
        return x * x.sigmoid()

    def slope(self, x: Tensor, *, left: bool = False) -> Tensor:  # noqa: ARG002
        """See `Curve.slope`."""
        x = x.clamp(-700, 700)
        return x.sigmoid() * (1 + x * (-x).sigmoid())
