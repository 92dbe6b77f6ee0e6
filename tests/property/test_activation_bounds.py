"""Over random intervals, at wild magnitudes and degenerate: every function lies in its interval and between its lines.

The functions are evaluated to 50 digits, the lines exactly, from the floats that are stored.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mpmath
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from verifier.bounds import activations
from verifier.bounds.activation import Activation, Lines
from verifier.bounds.arithmetic import RIGOROUS

mp = mpmath
Ends = tuple[float, float]

TURNS = (-0.7517915, -0.7524614, -1.2784645, -1.5)
"""About where GELU, its approximation, SiLU and hard swish are least."""

LANDMARKS = (0.0, *TURNS, *(sign * size for sign in (-1, 1) for size in (1e-9, 1e-3, 0.3, 1, 2.5, 3, 6.5, 10, 20, 24)))
"""Where functions bend, turn or go over into another branch."""


@dataclass(frozen=True)
class Case:
    """An activation and what it is over the reals.

    Args:
        activation: ours.
        exact: the function, from a real number to one; None where it is not defined.
    """

    activation: Activation
    exact: Callable[[Any], Any]


def kinked(slope: float) -> Callable[[Any], Any]:
    return lambda x: x if x >= 0 else mp.mpf(slope) * x


def clamped(low: float, high: float) -> Callable[[Any], Any]:
    return lambda x: min(max(x, mp.mpf(low)), mp.mpf(high))


def elu(alpha: float, scale: float, input_scale: Any) -> Callable[[Any], Any]:
    return lambda x: mp.mpf(scale) * (x if x >= 0 else mp.mpf(alpha) * mp.expm1(input_scale * x))


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x)) if x >= 0 else mp.exp(x) / (1 + mp.exp(x))


def softplus(beta: float, threshold: float) -> Callable[[Any], Any]:
    def exact(x: Any) -> Any:
        z = mp.mpf(beta) * x
        return x if z > threshold else (max(z, 0) + mp.log1p(mp.exp(-abs(z)))) / mp.mpf(beta)

    return exact


def gelu(x: Any) -> Any:
    if abs(x) > 1e6:  # beyond what erfc's asymptotic series is asked for; the difference is 1e-(10^11)
        return max(x, mp.mpf(0))
    return x * mp.erfc(-x / mp.sqrt(2)) / 2


def gelu_tanh(x: Any) -> Any:
    return x * sigmoid(2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf(0.044715) * x**3))


def hard_sigmoid(x: Any) -> Any:
    return min(max(x / 6 + mp.mpf(1) / 2, mp.mpf(0)), mp.mpf(1))


def tanh(x: Any) -> Any:
    return mp.tanh(x) if abs(x) < 1e6 else mp.sign(x)


def erf(x: Any) -> Any:
    return mp.erf(x) if abs(x) < 1e6 else mp.sign(x)


SELU = (1.6732632423543772, 1.0507009873554805, 1.0)

CASES: dict[str, Case] = {
    "relu": Case(activations.relu(), lambda x: max(x, mp.mpf(0))),
    "leaky_relu": Case(activations.leaky_relu(0.01), kinked(0.01)),
    "leaky_relu, steeper on the left": Case(activations.leaky_relu(1.5), kinked(1.5)),
    "prelu, falling on the left": Case(activations.prelu(torch.tensor(-0.3, dtype=torch.float64)), kinked(-0.3)),
    "abs": Case(activations.absolute(), abs),
    "clamp": Case(activations.clamp(-1.0, 0.3), clamped(-1.0, 0.3)),
    "clamp from below": Case(activations.clamp(0.3, None), clamped(0.3, math.inf)),
    "clamp from above": Case(activations.clamp(None, 0.3), clamped(-math.inf, 0.3)),
    "hardsigmoid": Case(activations.hardsigmoid(), hard_sigmoid),
    "hardswish": Case(activations.hardswish(), lambda x: x * hard_sigmoid(x)),
    "sign": Case(activations.sign(), mp.sign),
    "elu": Case(activations.elu(), elu(1.0, 1.0, 1)),
    "selu": Case(activations.elu(*SELU), elu(*SELU)),
    "celu": Case(activations.elu(3.0, 1.0, 1 / 3.0), elu(3.0, 1.0, mp.mpf(1) / 3)),
    "elu, steeper on the left": Case(activations.elu(2.0, 1.0, 1.5), elu(2.0, 1.0, 1.5)),
    "sigmoid": Case(activations.sigmoid(), sigmoid),
    "tanh": Case(activations.tanh(), tanh),
    "erf": Case(activations.erf(), erf),
    "softsign": Case(activations.softsign(), lambda x: x / (1 + abs(x))),
    "exp": Case(activations.exp(), mp.exp),
    "log": Case(activations.log(), lambda x: mp.log(x) if x > 0 else None),
    "sqrt": Case(activations.sqrt(), lambda x: mp.sqrt(x) if x >= 0 else None),
    "reciprocal": Case(activations.reciprocal(), lambda x: 1 / x if x != 0 else None),
    "softplus": Case(activations.softplus(), softplus(1.0, 20.0)),
    "softplus, an early branch": Case(activations.softplus(2.0, 1.0), softplus(2.0, 1.0)),
    "softplus, a branch below 0": Case(activations.softplus(0.3, -2.0), softplus(0.3, -2.0)),
    "logsigmoid": Case(activations.logsigmoid(), lambda x: -softplus(1.0, math.inf)(-x)),
    "square": Case(activations.square(), lambda x: x**2),
    "power 3": Case(activations.power(3), lambda x: x**3),
    "power 4": Case(activations.power(4), lambda x: x**4),
    "power 7": Case(activations.power(7), lambda x: x**7),
    "gelu": Case(activations.gelu(), gelu),
    "gelu_tanh": Case(activations.gelu("tanh"), gelu_tanh),
    "silu": Case(activations.silu(), lambda x: x * sigmoid(x)),
}

signs = st.sampled_from([-1.0, 1.0])
magnitudes = st.builds(lambda sign, exponent: sign * 10.0**exponent, signs, st.floats(-323, 308))
ends = st.one_of(st.floats(-4, 4), st.floats(-40, 40), magnitudes, st.sampled_from(LANDMARKS))


@st.composite
def intervals(draw: st.DrawFn) -> Ends:
    """Of any width: 0, a few floats, a power of ten, or between any two ends."""
    first = draw(ends)
    match draw(st.sampled_from(["point", "floats", "width", "free", "free"])):
        case "point":
            return first, first
        case "floats":
            return first, first + draw(st.integers(1, 5)) * math.ulp(first)
        case "width":
            second = first + 10.0 ** draw(st.floats(-20, 2))
        case _:
            second = draw(ends)
    return min(first, second), max(first, second)


batches = st.lists(intervals(), min_size=8, max_size=8)
shares = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1))


def points(lower: float, upper: float) -> list[Any]:
    """Real numbers of an interval: ends, fractions of it, and what is worth looking at."""
    low, high = mp.mpf(lower), mp.mpf(upper)
    inside = [low + (high - low) * mp.mpf(share) for share in (1e-9, 0.03, 0.2, 0.35, 0.5, 0.65, 0.8, 0.97, 1 - 1e-9)]
    near = [mp.mpf(at + shift) for at in LANDMARKS for shift in (0.0, 1e-7) if lower <= at + shift <= upper]
    return [low, high, *(min(max(x, low), high) for x in inside), *near]


def below(bound: float, value: Any) -> bool:
    """bound <= value; NaN claims nothing."""
    return math.isnan(bound) or bound == -math.inf or (bound != math.inf and mp.mpf(bound) <= value)


def line_below(slope: float, intercept: float, x: Any, value: Any) -> bool:
    """slope x + intercept <= value, exactly; a line with NaN or an intercept of -inf claims nothing."""
    if math.isnan(slope) or math.isnan(intercept) or intercept == -math.inf:
        return True
    return math.isfinite(slope) and math.isfinite(intercept) and mp.mpf(slope) * x + mp.mpf(intercept) <= value


def check(case: Case, batch: list[Ends], alpha: float | None = None) -> None:
    """Intervals and lines of a batch, at points of each interval."""
    lower, upper = (torch.tensor(side, dtype=torch.float64)[None] for side in zip(*batch, strict=True))
    low, high = case.activation.interval(lower, upper, RIGOROUS)
    place = None if alpha is None else torch.full((1, 1, len(batch)), alpha, dtype=torch.float64)
    lines = case.activation.lines(lower[:, None], upper[:, None], RIGOROUS, place)
    floats = [floats_of(tensor, len(batch)) for tensor in (low, high, *parts(lines))]
    with mp.workdps(50):
        for pair, *found in zip(batch, *floats, strict=True):
            check_one(case, pair, found)


def check_one(case: Case, pair: Ends, found: list[float]) -> None:
    low, high, lower_slope, lower_intercept, upper_slope, upper_intercept = found
    told = f"over {pair}: [{low!r}, {high!r}], lines {found[2:]}"
    for x in points(*pair):
        y = case.exact(x)
        if y is None:
            assert (low, high) == (-math.inf, math.inf) or (x == 0 and low == -math.inf), told
            assert not math.isfinite(lower_intercept), told
            assert x == 0 or not math.isfinite(upper_intercept), told
            return
        assert below(low, y), f"{told} at {x} where f = {y}"
        assert below(-high, -y), f"{told} at {x} where f = {y}"
        assert line_below(lower_slope, lower_intercept, x, y), f"{told} at {x} where f = {y}"
        assert line_below(-upper_slope, -upper_intercept, x, -y), f"{told} at {x} where f = {y}"


def parts(lines: Lines) -> tuple[Tensor, ...]:
    return lines.lower_slope, lines.lower_intercept, lines.upper_slope, lines.upper_intercept


def floats_of(tensor: Tensor, count: int) -> list[float]:
    numbers: list[float] = tensor.expand(*tensor.shape[:-1], count).reshape(-1).tolist()
    return numbers


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=12, derandomize=True)
@given(batches)
@example([(-1e308, 1e308), (1e308, 1e308), (-1e308, -1e308), (0.0, 0.0), (-5e-324, 5e-324), (5e-324, 1e-300)])
@example([(-1.0, 2.0), (-2.0, 2.0), (-8.0, 9.0), (-30.0, 30.0), (-3.0, 3.0), (-0.1, 6.0), (-6.0, 0.1), (-25.0, -0.5)])
def test_the_function_lies_in_its_interval_and_between_its_lines(name: str, batch: list[Ends]) -> None:
    check(CASES[name], batch)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.activation.adjustable])
@settings(deadline=None, max_examples=12, derandomize=True)
@given(batches, shares)
def test_lines_hold_wherever_alpha_puts_them(name: str, batch: list[Ends], alpha: float) -> None:
    check(CASES[name], batch, alpha)


@pytest.mark.parametrize("name", CASES)
@settings(deadline=None, max_examples=15, derandomize=True)
@given(st.floats(-20, 20), st.floats(0, 20), st.floats(0, 1), st.floats(0, 1))
def test_a_narrower_interval_has_a_narrower_range(
    name: str, lower: float, width: float, cut: float, other_cut: float
) -> None:
    upper = lower + width
    inner = sorted(min(lower + share * width, upper) for share in (cut, other_cut))
    low, high = torch.tensor([[lower, inner[0]]]).double(), torch.tensor([[upper, inner[1]]]).double()
    lower_ends, upper_ends = CASES[name].activation.interval(low, high, RIGOROUS)
    slack = 1e-13 * (upper_ends[0, 0] - lower_ends[0, 0]).clamp(min=1.0)
    assert lower_ends[0, 0] - slack <= lower_ends[0, 1] <= upper_ends[0, 1] <= upper_ends[0, 0] + slack
