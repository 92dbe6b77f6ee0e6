"""Known ranges and lines, how tight they are, and that every error granted is at least twice what can be seen."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from verifier.bounds import activations
from verifier.bounds.activation import Activation, Lines
from verifier.bounds.arithmetic import FAST, NEAREST, RIGOROUS
from verifier.bounds.functions import (
    BumpCurve,
    Curve,
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

mp = mpmath
INF = math.inf


def column(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float64)


def interval(activation: Activation, lower: float, upper: float) -> tuple[float, float]:
    low, high = activation.interval(column(lower), column(upper), RIGOROUS)
    return low.item(), high.item()


def line(activation: Activation, lower: float, upper: float, alpha: float | None = None) -> tuple[float, ...]:
    """Its four numbers, in float64 as it comes."""
    place = None if alpha is None else column(alpha)
    lines = activation.lines(column(lower), column(upper), NEAREST, place)
    return tuple(part.expand(1).item() for part in parts(lines))


def parts(lines: Lines) -> tuple[Tensor, ...]:
    return lines.lower_slope, lines.lower_intercept, lines.upper_slope, lines.upper_intercept


RANGES = [
    ("relu", activations.relu(), (-1, 2), (0, 2)),
    ("leaky_relu", activations.leaky_relu(0.25), (-4, 2), (-1, 2)),
    ("prelu", activations.prelu(column(-0.5)), (-4, 1), (0, 2)),
    ("abs", activations.absolute(), (-3, 2), (0, 3)),
    ("abs on one side", activations.absolute(), (-3, -2), (2, 3)),
    ("clamp", activations.clamp(-1, 1), (-4, 0.5), (-1, 0.5)),
    ("hardsigmoid", activations.hardsigmoid(), (-1.5, 9), (0.25, 1)),
    ("hardswish", activations.hardswish(), (-2, 3), (-0.375, 3)),
    ("sign", activations.sign(), (-2, 0), (-1, 0)),
    ("elu", activations.elu(), (-1, 1), (math.expm1(-1), 1)),
    ("sigmoid", activations.sigmoid(), (0, 1), (0.5, 0.7310585786300049)),
    ("tanh", activations.tanh(), (-1, 0.5), (-0.7615941559557649, 0.46211715726000975)),
    ("erf", activations.erf(), (0, 1), (0, 0.8427007929497149)),
    ("softsign", activations.softsign(), (-3, 1), (-0.75, 0.5)),
    ("exp", activations.exp(), (0, 1), (1, math.e)),
    ("log", activations.log(), (1, math.e), (0, 1)),
    ("sqrt", activations.sqrt(), (0, 4), (0, 2)),
    ("reciprocal", activations.reciprocal(), (2, 4), (0.25, 0.5)),
    ("reciprocal on the left", activations.reciprocal(), (-4, -2), (-0.5, -0.25)),
    ("softplus", activations.softplus(), (0, 30), (math.log(2), 30)),
    ("logsigmoid", activations.logsigmoid(), (-30, 0), (-30, -math.log(2))),
    ("square", activations.square(), (-3, 2), (0, 9)),
    ("power 3", activations.power(3), (-2, 1), (-8, 1)),
    ("power 4", activations.power(4), (-2, 1), (0, 16)),
    ("gelu", activations.gelu(), (-9, 1), (-0.16997120747990369, 0.8413447460685429)),
    ("gelu right of its turn", activations.gelu(), (-0.5, 1), (-0.15426876936299344, 0.8413447460685429)),
    ("gelu_tanh", activations.gelu("tanh"), (-9, 0), (-0.17004075057125412, 0)),
    ("silu", activations.silu(), (-9, 0), (-0.27846454276107374, 0)),
]


@pytest.mark.parametrize(("activation", "over", "expected"), [case[1:] for case in RANGES], ids=[c[0] for c in RANGES])
def test_known_ranges(activation: Activation, over: tuple[float, float], expected: tuple[float, float]) -> None:
    low, high = interval(activation, *over)
    assert low <= expected[0] <= low + 3e-8
    assert high - 3e-8 <= expected[1] <= high


@pytest.mark.parametrize(
    ("activation", "over", "expected"),
    [
        (activations.tanh(), (-INF, INF), (-1, 1)),
        (activations.sigmoid(), (-INF, 0), (0, 0.5)),
        (activations.relu(), (-INF, INF), (0, INF)),
        (activations.clamp(-1, 1), (-INF, INF), (-1, 1)),
        (activations.sign(), (-INF, INF), (-1, 1)),
        (activations.exp(), (-INF, 0), (0, 1)),
        (activations.gelu(), (-INF, INF), (-0.16997121, INF)),
        (activations.hardswish(), (-INF, INF), (-0.375, INF)),
        (activations.square(), (-INF, 1), (0, INF)),
        (activations.log(), (0, 1), (-INF, 0)),
        (activations.log(), (-1, 0.5), (-INF, INF)),
        (activations.sqrt(), (-1e-300, 0.5), (-INF, INF)),
        (activations.reciprocal(), (-1, 2), (-INF, INF)),
        (activations.reciprocal(), (0, 2), (-INF, INF)),
        (activations.reciprocal(), (-2, 0), (-INF, INF)),
        (activations.hardswish(), (1e308, 1e308), (1e308, 1e308)),
    ],
    ids=repr,
)
def test_ranges_at_infinity_and_outside_the_domain(
    activation: Activation, over: tuple[float, float], expected: tuple[float, float]
) -> None:
    low, high = interval(activation, *over)
    assert low <= expected[0] <= low + 1e-8 or low == expected[0]
    assert high - 1e-8 <= expected[1] <= high or high == expected[1]


@pytest.mark.parametrize(
    ("activation", "over"),
    [
        (activations.log(), (-1.0, 2.0)),
        (activations.sqrt(), (-1.0, 2.0)),
        (activations.log(), (-3.0, -1.0)),
        (activations.reciprocal(), (-1.0, 2.0)),
        (activations.reciprocal(), (0.0, 2.0)),
    ],
    ids=repr,
)
def test_lines_claim_nothing_where_the_network_has_no_value(activation: Activation, over: tuple[float, float]) -> None:
    assert line(activation, *over) == (0, -INF, 0, INF)
    assert activation.execution_error(column(over[0]), column(over[1])).item() > 1e300


def test_relu_lines() -> None:
    relu = activations.relu()
    assert line(relu, -1, 3) == (1, 0, 0.75, 0.75)  # u > -l: the lower line is x
    assert line(relu, -3, 1) == (0, 0, 0.25, 0.75)
    assert line(relu, -1, 1) == (0, 0, 0.5, 0.5)
    assert line(relu, 1, 3) == line(relu, 0, 3) == (1, 0, 1, 0)
    assert line(relu, -3, -1) == line(relu, -3, 0) == (0, 0, 0, 0)
    assert [line(relu, -1, 3, alpha)[:2] for alpha in (0.0, 0.3, 1.0)] == [(0, 0), (0.3, 0), (1, 0)]
    assert line(relu, 1, 3, 0.3)[0] == 1
    assert line(relu, -3, -1, 0.3)[0] == 0


def test_kinked_lines() -> None:
    assert line(activations.leaky_relu(0.5), -2, 2, 0.5) == (0.75, 0, 0.75, 0.5)
    assert line(activations.leaky_relu(2.0), -2, 2, 0.5) == (1.5, -1, 1.5, 0)  # concave: alpha places the upper line
    assert line(activations.absolute(), -1, 3, 0.25) == (-0.5, 0, 0.5, 1.5)
    assert line(activations.absolute(), -3, -1) == (-1, 0, -1, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lower_slopes_follow_alpha_with_their_gradient(dtype: torch.dtype) -> None:
    arithmetic = FAST if dtype is torch.float32 else NEAREST
    lower, upper = torch.tensor([[[-1.0, -1, 1]]], dtype=dtype), torch.tensor([[[1.0, 2, 2]]], dtype=dtype)
    alpha = torch.full((1, 2, 3), 0.5, dtype=dtype, requires_grad=True)
    for activation, rate in ((activations.relu(), 1.0), (activations.leaky_relu(0.25), 0.75)):
        assert activation.adjustable
        (gradient,) = torch.autograd.grad(activation.lines(lower, upper, arithmetic, alpha).lower_slope.sum(), alpha)
        assert gradient.tolist() == [[[rate, rate, 0], [rate, rate, 0]]]


def test_slopes_of_prelu_broadcast_by_channel() -> None:
    weight = column(0.25, -1).reshape(2, 1)
    prelu = activations.prelu(weight)
    lower, upper = torch.full((1, 2, 3), -4.0).double(), torch.full((1, 2, 3), 2.0).double()
    low, high = prelu.interval(lower, upper, NEAREST)
    assert low[0].tolist() == [[-1] * 3, [0] * 3]
    assert high[0].tolist() == [[2] * 3, [4] * 3]
    assert prelu.lines(lower[:, None], upper[:, None], NEAREST).upper_slope[0, 0].tolist() == [[0.5] * 3, [-1 / 3] * 3]
    moved = prelu.to(torch.device("cpu"), torch.float32)
    assert moved.interval(lower.float(), upper.float(), FAST)[0].dtype == torch.float32


def test_where_a_narrower_interval_would_help() -> None:
    ends = column(-1, 0, -2, 1), column(1, 1, 0, 1)
    assert activations.relu().is_curved(*ends).tolist() == [True, False, False, False]
    assert activations.tanh().is_curved(*ends).tolist() == [True, True, True, False]
    assert activations.clamp(-0.5, 3).is_curved(*ends).tolist() == [True, False, True, False]
    assert activations.sign().is_curved(*ends).tolist() == [True, True, True, False]


# -- tightness ----------------------------------------------------------------------------------------


def least_gaps(activation: Activation, lower: Tensor, upper: Tensor) -> tuple[float, float]:
    """The most by which a line above, and one below, could be moved without a change of slope, found on a grid."""
    lines = activation.lines(lower, upper, RIGOROUS)
    x = lower + torch.linspace(0, 1, 4001, dtype=torch.float64)[:, None] * (upper - lower)
    values = activation.value(x)
    above = (lines.upper_slope * x + lines.upper_intercept - values).amin(0)
    under = (values - lines.lower_slope * x - lines.lower_intercept).amin(0)
    return above.max().item(), under.max().item()


SOME = [(-0.3, 0.2), (-1, 3), (-3, 1), (0.5, 2), (-2, -0.5), (-4, 4), (-8, 5), (-1, 10), (-12, 1)]

TOUCHING = [
    # from curvature on 48 cells of an interval of width w within the core: c (w / 48)^2 / 8, c = 0.8 and 0.5
    ("gelu", activations.gelu(), 8e-3),
    ("gelu_tanh", activations.gelu("tanh"), 8e-3),
    ("silu", activations.silu(), 5e-3),
    # a grid of 4001 points misses a touching point by up to |f''| (w / 8000)^2 / 2
    ("sigmoid", activations.sigmoid(), 1e-6),
    ("tanh", activations.tanh(), 3e-6),
    ("erf", activations.erf(), 3e-6),
    ("softsign", activations.softsign(), 1e-5),
    ("elu", activations.elu(), 1e-6),
    ("softplus", activations.softplus(), 1e-8),
    ("logsigmoid", activations.logsigmoid(), 1e-8),
    ("exp", activations.exp(), 1e-6),
    ("square", activations.square(), 1e-6),
    ("hardswish", activations.hardswish(), 1e-5),
    ("hardsigmoid", activations.hardsigmoid(), 1e-5),
    ("clamp", activations.clamp(-1, 1), 2e-3),
    ("abs", activations.absolute(), 2e-3),
]


@pytest.mark.parametrize(("activation", "gap"), [case[1:] for case in TOUCHING], ids=[case[0] for case in TOUCHING])
def test_lines_touch(activation: Activation, gap: float) -> None:
    lower, upper = (column(*side) for side in zip(*SOME, strict=True))
    assert max(least_gaps(activation, lower, upper)) <= gap


S_SHAPED = [activations.sigmoid(), activations.tanh(), activations.erf(), activations.softsign()]


@pytest.mark.parametrize("activation", S_SHAPED, ids=lambda activation: str(activation.name))
def test_the_tangent_through_the_lower_end_is_found(activation: Activation) -> None:
    """Where the middle lies left of its touching point, no line above has less area."""
    lower, upper = -3.0, 3.0
    _, _, slope, intercept = line(activation, lower, upper)
    start = activation.value(column(lower))
    x = torch.linspace(0, upper, 100_001, dtype=torch.float64)
    steepest = ((activation.value(x) - start) / (x - lower)).max().item()
    assert steepest * (1 - 1e-3) <= slope <= steepest
    assert start.item() <= slope * lower + intercept <= start.item() + 1e-3


@pytest.mark.parametrize("activation", S_SHAPED, ids=lambda activation: str(activation.name))
@pytest.mark.parametrize(("lower", "upper"), [(-1.0, 9.0), (-5.0, 60.0), (0.0, 4.0), (2.0, 3.0)])
def test_lines_above_touch_in_the_middle_where_they_may(activation: Activation, lower: float, upper: float) -> None:
    """A line's area is its height in the middle times the width; the mirrored lines below do the same."""
    middle = (lower + upper) / 2
    height = activation.value(column(middle)).item()
    _, _, slope, intercept = line(activation, lower, upper)
    assert slope * middle + intercept == pytest.approx(height, abs=1e-12)
    below, depth, _, _ = line(activation, -upper, -lower)
    mirrored = activation.value(column(-middle)).item()
    assert below * -middle + depth == pytest.approx(mirrored, abs=1e-12)


# -- errors granted, against 50 digits -----------------------------------------------------------------


def sweep(first: float, last: float, count: int = 101) -> list[float]:
    return [first + (last - first) * (i + 0.371) / count for i in range(count)]


def decades(first: float, last: float) -> list[float]:
    return [sign * 10 ** (first + (last - first) * i / 40) for i in range(41) for sign in (-1, 1)]


def sigmoid(x: Any) -> Any:
    return 1 / (1 + mp.exp(-x))


def phi(x: Any) -> Any:
    return mp.erfc(-x / mp.sqrt(2)) / 2


def gelu_inner(x: Any) -> tuple[Any, Any]:
    scale, cube = 2 * mp.sqrt(2 / mp.pi), mp.mpf(0.044715)
    return scale * (x + cube * x**3), scale * (1 + 3 * cube * x**2)


def gelu_tanh_slope(x: Any) -> Any:
    z, rate = gelu_inner(x)
    return sigmoid(z) + x * rate * sigmoid(z) * sigmoid(-z)


Exact = Callable[[Any], Any]
TINY_TO_LARGE = decades(-300, 2)
SAMPLES: dict[str, tuple[Curve, Exact, Exact, list[float]]] = {
    "sigmoid": (
        Sigmoid(),
        sigmoid,
        lambda x: sigmoid(x) * sigmoid(-x),
        [*sweep(-40, 40), *sweep(-709, 709), *TINY_TO_LARGE],
    ),
    "tanh": (Tanh(), mp.tanh, lambda x: mp.sech(x) ** 2, [*sweep(-20, 20), *sweep(-1, 1), *TINY_TO_LARGE]),
    "erf": (
        Erf(),
        mp.erf,
        lambda x: 2 / mp.sqrt(mp.pi) * mp.exp(-(x**2)),
        [*sweep(-6.5, 6.5), *sweep(-1, 1), *decades(-300, 1)],
    ),
    "softsign": (Softsign(), lambda x: x / (1 + abs(x)), lambda x: (1 + abs(x)) ** -2, [*sweep(-9, 9), *TINY_TO_LARGE]),
    "elu": (
        Elu(1.0, 1.0, 1.0),
        lambda x: x if x >= 0 else mp.expm1(x),
        lambda x: mp.exp(min(x, 0)),
        [*sweep(-40, 5), *sweep(-1, 0), *TINY_TO_LARGE],
    ),
    "elu, three factors": (
        Elu(1.7, 1.1, 0.3),
        lambda x: mp.mpf(1.1) * (x if x >= 0 else mp.mpf(1.7) * mp.expm1(mp.mpf(0.3) * x)),
        lambda x: mp.mpf(1.1) * (1 if x >= 0 else mp.mpf(1.7) * mp.mpf(0.3) * mp.exp(mp.mpf(0.3) * x)),
        [*sweep(-40, 5), *sweep(-1, 0), *TINY_TO_LARGE],
    ),
    "exp": (Exp(), mp.exp, mp.exp, [*sweep(-700, 709), *sweep(-1, 1), *decades(-300, 0)]),
    "log": (Log(), mp.log, lambda x: 1 / x, [*sweep(0.5, 2), *sweep(0.999, 1.001), *map(abs, decades(-320, 300))]),
    "sqrt": (Sqrt(), mp.sqrt, lambda x: 0.5 / mp.sqrt(x), [*sweep(0.5, 2), *map(abs, decades(-320, 300))]),
    "reciprocal": (Reciprocal(), lambda x: 1 / x, lambda x: -(x**-2), [*sweep(0.5, 2), *decades(-150, 150)]),
    "softplus": (
        Softplus(1.0, 20.0),
        lambda x: x if x > 20 else mp.log1p(mp.exp(x)),
        sigmoid,
        [*sweep(-40, 40), *sweep(-1, 1), *TINY_TO_LARGE],
    ),
    "softplus, scaled": (
        Softplus(0.3, 5.0),
        lambda x: x if mp.mpf(0.3) * x > 5 else mp.log1p(mp.exp(mp.mpf(0.3) * x)) / mp.mpf(0.3),
        lambda x: sigmoid(mp.mpf(0.3) * x),
        [*sweep(-40, 40), *sweep(-1, 1), *TINY_TO_LARGE],
    ),
    "logsigmoid": (
        Softplus(-1.0, INF),
        lambda x: -mp.log1p(mp.exp(-x)),
        lambda x: sigmoid(-x),
        [*sweep(-40, 40), *sweep(-1, 1), *TINY_TO_LARGE],
    ),
    "square": (Power(2), lambda x: x**2, lambda x: 2 * x, [*sweep(-9, 9), *decades(-150, 150)]),
    "power 3": (Power(3), lambda x: x**3, lambda x: 3 * x**2, [*sweep(-9, 9), *decades(-100, 100)]),
    "power 30": (Power(30), lambda x: x**30, lambda x: 30 * x**29, [*sweep(-9, 9), *decades(-9, 9)]),
    "gelu": (
        Gelu(),
        lambda x: x * phi(x),
        lambda x: phi(x) + x * mp.npdf(x),
        [*sweep(-9, 9), *sweep(-38, 38), *TINY_TO_LARGE],
    ),
    "gelu_tanh": (
        GeluTanh(),
        lambda x: x * sigmoid(gelu_inner(x)[0]),
        gelu_tanh_slope,
        [*sweep(-9, 9), *sweep(-38, 38), *TINY_TO_LARGE],
    ),
    "silu": (
        Silu(),
        lambda x: x * sigmoid(x),
        lambda x: sigmoid(x) * (1 + x * sigmoid(-x)),
        [*sweep(-9, 9), *sweep(-100, 40), *TINY_TO_LARGE],
    ),
}


def units_of_roundoff(function: Callable[[Tensor], Tensor], exact: Exact, x: list[float], scale: Any) -> float:
    """The largest error in units of |value| + scale, less the 4 eta that are granted besides; of all kernels."""
    together = function(column(*x))  # the vectorised kernel
    alone = torch.cat([function(column(number)) for number in x[::3]])  # its scalar tail
    sizes = torch.as_tensor(scale, dtype=torch.float64).expand(len(x)).tolist()
    worst = mp.mpf(0)
    with mp.workdps(50):
        granted = 4 * mp.mpf(torch.finfo(torch.float64).tiny)
        for numbers, values, scales in ((x, together.tolist(), sizes), (x[::3], alone.tolist(), sizes[::3])):
            for number, value, size in zip(numbers, values, scales, strict=True):
                error = abs(mp.mpf(value) - exact(mp.mpf(number))) - granted
                if error > 0:
                    worst = max(worst, error / (abs(mp.mpf(value)) + mp.mpf(size)) * 2**53)
    return float(worst)


@pytest.mark.parametrize("name", SAMPLES)
def test_units_granted_are_twice_those_seen(name: str) -> None:
    curve, value, slope, x = SAMPLES[name]
    assert 2 * units_of_roundoff(curve.value, value, x, curve.scale(column(*x))) <= curve.ulps
    assert 2 * units_of_roundoff(curve.slope, slope, x, curve.slope_scale) <= curve.slope_ulps


@pytest.mark.parametrize(
    ("curve", "exact"),
    [
        (Gelu(), lambda x: x * phi(x)),
        (GeluTanh(), lambda x: x * sigmoid(gelu_inner(x)[0])),
        (Silu(), lambda x: x * sigmoid(x)),
    ],
    ids=["gelu", "gelu_tanh", "silu"],
)
def test_what_is_stated_of_bumps(curve: BumpCurve, exact: Exact) -> None:
    with mp.workdps(50):
        turn = mp.findroot(lambda x: mp.diff(exact, x), curve.turn)
        assert abs(turn - curve.turn) < 1e-6
        assert exact(turn) - 3e-8 < mp.mpf(curve.least) < exact(turn)
        for end in (curve.core, -curve.core):
            assert 0 <= max(mp.mpf(end), 0) - exact(mp.mpf(end)) <= curve.tail
    # |f''| by second differences h apart: off by less than h^2 max |f''''| / 12 < 1e-5, and by 4 units / h^2 < 1e-9
    h = 2.0**-10
    x = torch.arange(-curve.core - 1, curve.core + 1, h, dtype=torch.float64)
    values = curve.value(x)
    second = (values[2:] - 2 * values[1:-1] + values[:-2]) / h**2
    assert second.abs().max().item() <= curve.curvature + 1e-8
    # falling, then rising
    rises = values.diff()[(values[1:] < -1e-12) | (x[1:] > 0)] > 0
    assert int(rises.int().diff().abs().sum()) == 1


# -- float32 kernels ----------------------------------------------------------------------------------

Kernel = Callable[[Tensor], Tensor]
EXACT_KERNELS: list[tuple[str, Activation, Kernel]] = [
    ("relu", activations.relu(), F.relu),
    ("abs", activations.absolute(), torch.abs),
    ("sign", activations.sign(), torch.sign),
]
KERNELS: list[tuple[str, Activation, Kernel]] = [
    ("leaky_relu", activations.leaky_relu(0.01), F.leaky_relu),
    ("prelu", activations.prelu(column(0.3)), lambda x: F.prelu(x, torch.tensor([0.3], dtype=x.dtype))),
    ("clamp", activations.clamp(-0.7, 0.3), lambda x: x.clamp(-0.7, 0.3)),
    ("hardsigmoid", activations.hardsigmoid(), F.hardsigmoid),
    ("hardswish", activations.hardswish(), F.hardswish),
    ("elu", activations.elu(), F.elu),
    ("selu", activations.elu(1.6732632423543772, 1.0507009873554805), F.selu),
    ("celu", activations.elu(3.0, 1.0, 1 / 3.0), lambda x: F.celu(x, 3.0)),
    ("sigmoid", activations.sigmoid(), torch.sigmoid),
    ("tanh", activations.tanh(), torch.tanh),
    ("erf", activations.erf(), torch.erf),
    ("softsign", activations.softsign(), F.softsign),
    ("exp", activations.exp(), torch.exp),
    ("log", activations.log(), torch.log),
    ("sqrt", activations.sqrt(), torch.sqrt),
    ("reciprocal", activations.reciprocal(), torch.reciprocal),
    ("softplus", activations.softplus(), F.softplus),
    ("softplus, scaled", activations.softplus(0.3, 20.0), lambda x: F.softplus(x, 0.3, 20.0)),
    ("logsigmoid", activations.logsigmoid(), F.logsigmoid),
    ("square", activations.square(), torch.square),
    ("power 3", activations.power(3), lambda x: x**3),
    ("power 7", activations.power(7), lambda x: x**7),
    ("gelu", activations.gelu(), F.gelu),
    ("gelu_tanh", activations.gelu("tanh"), lambda x: F.gelu(x, approximate="tanh")),
    ("silu", activations.silu(), F.silu),
]
KERNEL_POINTS = torch.tensor(
    [*sweep(-3.3, 3.3, 2001), *sweep(-25, 25, 2001), *sweep(-120, 120, 1001), *decades(-30, 4)], dtype=torch.float32
)
LEAST_NORMAL = torch.finfo(torch.float32).tiny


def kernel_errors(activation: Activation, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """(seen, granted) at single points, |float32 - float64| of torch's own kernels, vectorised and one by one."""
    x = KERNEL_POINTS
    exact = kernel(x.double())
    defined = exact.isfinite() & (exact.abs() < torch.finfo(torch.float32).max)
    seen = (kernel(x).double() - exact).abs()
    tails = torch.cat([kernel(part) for part in x[::7].split(1)]).double()
    seen[::7] = torch.maximum(seen[::7], (tails - exact[::7]).abs())
    granted = activation.execution_error(x.double(), x.double())
    return seen[defined], granted[defined]


@pytest.mark.parametrize(
    ("activation", "kernel"), [case[1:] for case in EXACT_KERNELS], ids=[c[0] for c in EXACT_KERNELS]
)
def test_exact_kernels_are_granted_nothing(activation: Activation, kernel: Kernel) -> None:
    seen, granted = kernel_errors(activation, kernel)
    assert seen.max().item() == granted.max().item() == 0


@pytest.mark.parametrize(("activation", "kernel"), [case[1:] for case in KERNELS], ids=[case[0] for case in KERNELS])
def test_what_float32_kernels_miss_is_covered(activation: Activation, kernel: Kernel) -> None:
    seen, granted = kernel_errors(activation, kernel)
    assert seen.max().item() > 0
    assert bool((seen <= granted).all())


@pytest.mark.parametrize(("activation", "kernel"), [case[1:] for case in KERNELS], ids=[case[0] for case in KERNELS])
def test_an_interval_is_granted_the_error_of_each_of_its_points(activation: Activation, kernel: Kernel) -> None:
    lower, upper = column(0.5), column(3.5)
    inside = KERNEL_POINTS[(KERNEL_POINTS >= 0.5) & (KERNEL_POINTS <= 3.5)]
    seen = (kernel(inside).double() - kernel(inside.double())).abs().max()
    granted = activation.execution_error(lower, upper)
    assert seen.item() <= granted.item()
    assert granted.item() < 1e-6 * (4 + kernel(upper).abs().item() * 32)  # of use: not just infinite


def test_softplus_is_granted_its_other_branch() -> None:
    beta, threshold = 0.2769548654556274, 2.6406097412109375
    x = torch.tensor([9.534440994262695])
    seen = (F.softplus(x, beta, threshold).double() - F.softplus(x.double(), beta, threshold)).abs()
    assert seen.item() <= activations.softplus(beta, threshold).execution_error(x.double(), x.double()).item()


@pytest.mark.parametrize(
    ("activation", "at"),
    [(activations.square(), 1e20), (activations.power(3), 1e15), (activations.reciprocal(), 1e-40)],
    ids=["square", "power 3", "reciprocal"],
)
def test_overflow_is_granted_an_infinite_error(activation: Activation, at: float) -> None:
    assert activation.execution_error(column(at), column(at)).item() == INF
