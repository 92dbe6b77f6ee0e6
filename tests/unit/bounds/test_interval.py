"""Interval bounds: operations by hand, float32 execution, and the cases where real and float32 answers differ."""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import mpmath
import numpy as np
import pytest
import torch
from exact import numbers
from torch import Tensor, nn

from verifier.bounds.arithmetic import FAST, NEAREST, RIGOROUS, Arithmetic
from verifier.bounds.graph import Affine, Graph, Input, Node, Operation, Softmax
from verifier.bounds.interval import Interval, Setting, affine, propagate
from verifier.bounds.linear import Dense
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region, around, box
from verifier.bounds.trace import trace
from verifier.models.onnx_graph import import_onnx
from verifier.problem import Norm

REAL, EXECUTED = Setting(RIGOROUS), Setting(RIGOROUS, float32_execution=True)
BUDGET = Budget(1 << 28)


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def graph_of(operation: Operation, size: int, out: int) -> Graph:
    return Graph((Node(Input(), (), (size,), "input"), Node(operation, (0,), (out,), "layer")))


def at(x: Tensor, eps: float, arithmetic: Arithmetic = RIGOROUS, norm: Norm = Norm.LINF) -> Region:
    return around(x, torch.full((len(x),), eps, dtype=torch.float64), norm, arithmetic)


def test_centre_and_radius_cover() -> None:
    interval = Interval(float64(0.1, -1e-320, -1e300), float64(0.3, 1e-320, 1e300))
    centre, radius = interval.centre_and_radius(RIGOROUS)
    for c, r, low, high in zip(*(t.tolist() for t in (centre, radius, interval.lower, interval.upper)), strict=True):
        with mpmath.workprec(3000):
            assert mpmath.mpf(c) - r <= low
            assert mpmath.mpf(c) + r >= high


def test_a_sum_that_cancels_is_covered() -> None:
    """Of 2^53 + 1 - 2^53 floats keep 0, and its bounds 1."""
    operation = Affine(Dense(torch.tensor([[2.0**53, 1.0, -(2.0**53)]], dtype=torch.float64), (3,)))
    region = box(float64(1, 1, 1)[None], float64(1, 1, 1)[None], RIGOROUS)
    interval = propagate(graph_of(operation, 3, 1), region, REAL)[-1]
    assert interval.lower.item() <= 1 <= interval.upper.item()


def test_folded_weights_may_be_wrong_by_their_roundings() -> None:
    weight = torch.tensor([[3.0, -2.0]], dtype=torch.float64)
    operation = Affine(Dense(weight, (2,)), float64(1.0), float64(5.0), roundings=1000)
    interval = affine(operation, Interval(float64(1, 1)[None], float64(1, 1)[None]), REAL)
    assert interval.upper.item() - 2 >= 1000 * 2**-53 * (3 + 2 + 5)
    assert 2 - interval.lower.item() >= 1000 * 2**-53 * (3 + 2 + 5)


@pytest.mark.parametrize("norm", [Norm.L1, Norm.L2])
def test_balls_are_bounded_by_the_dual_norm(norm: Norm) -> None:
    """Also behind a flattening and a normalisation."""
    linear = nn.Linear(6, 4)
    module = nn.Sequential(nn.Flatten(), linear)
    region = at(torch.randn(1, 2, 3), 0.5, norm=norm)
    interval = propagate(trace(module, (2, 3)), region, REAL)[-1]
    order = 2.0 if norm is Norm.L2 else math.inf
    expected = 0.5 * torch.linalg.vector_norm(linear.weight.double(), order, dim=1)
    torch.testing.assert_close((interval.upper - interval.lower)[0] / 2, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("norm", list(Norm))
def test_rows_so_small_that_their_squares_vanish_have_a_radius(norm: Norm) -> None:
    operation = Affine(Dense(torch.full((1, 2), 1e-200, dtype=torch.float64), (2,)))
    interval = propagate(graph_of(operation, 2, 1), at(torch.zeros(1, 2), 1.0, norm=norm), REAL)[-1]
    assert interval.upper.item() >= 1e-200
    assert interval.lower.item() <= -1e-200


@pytest.mark.parametrize("axis_values", [[0.0, 1.0, 2.0], [1000.0, -1000.0, 0.0], [5.0, 5.0, 5.0]], ids=repr)
@pytest.mark.parametrize("radius", [0.0, 1e-3, 1.0, 2000.0])
def test_softmax_is_covered(axis_values: list[float], radius: float) -> None:
    x = float64(*axis_values)
    interval = propagate(graph_of(Softmax(0), 3, 3), box(x[None] - radius, x[None] + radius, RIGOROUS), REAL)[-1]
    generator = np.random.default_rng(0)
    with mpmath.workdps(60):
        for _ in range(10):
            point = numbers(x) + numbers(torch.from_numpy(generator.choice([-1.0, 1.0], 3))) * radius
            powers = [mpmath.exp(value - max(point)) for value in point]
            for low, high, power in zip(interval.lower[0].tolist(), interval.upper[0].tolist(), powers, strict=True):
                assert low <= power / sum(powers) <= high


def test_nothing_is_certified_about_numbers_that_overflow() -> None:
    module = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
    for layer in module:
        assert isinstance(layer, nn.Linear)
        layer.weight.data.fill_(3e38)
    graph = trace(nn.Sequential(*module), (2,))
    factor = Affine(Dense(torch.eye(2, dtype=torch.float64) * 1e300, (2,)))
    nodes = (*graph.nodes, Node(factor, (len(graph.nodes) - 1,), (2,), "huge"))
    interval = propagate(Graph(nodes), at(torch.ones(1, 2), 0.1), REAL)[-1]
    assert not bool((interval.lower > 0).any())


UNDEFINED: dict[str, Callable[[Tensor], Tensor]] = {
    "log": torch.log,
    "square root": torch.sqrt,
    "reciprocal": torch.reciprocal,
}
BOUNDED: dict[str, Callable[[Tensor], Tensor]] = {
    "sigmoid": torch.sigmoid,
    "clamp": lambda x: x.clamp(-1, 1),
    "sign": torch.sign,
    "square": torch.square,
    "gelu": nn.functional.gelu,
    "softmax": lambda x: x.softmax(1) * 2,
    "maximum": lambda x: torch.maximum(x, torch.zeros(2)),
    "relu": torch.relu,
}


class Composed(nn.Module):
    def __init__(self, *functions: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.functions = functions

    def forward(self, x: Tensor) -> Tensor:
        for function in self.functions:
            x = function(x)
        return x


@pytest.mark.parametrize("outer", BOUNDED)
@pytest.mark.parametrize("inner", UNDEFINED)
def test_what_may_not_be_defined_has_no_bounds_again(inner: str, outer: str) -> None:
    """sigmoid(log(x)) + 3 is not above 0 where x may be negative: it is no number there."""
    graph = trace(Composed(UNDEFINED[inner], BOUNDED[outer], lambda x: x + 3), (2,))
    interval = propagate(graph, at(torch.full((1, 2), 0.5), 1.0), REAL)[-1]
    assert not bool((interval.lower > -torch.inf).any())
    defined = propagate(graph, at(torch.full((1, 2), 0.5), 0.1), REAL)[-1]
    assert bool(defined.lower.isfinite().all())


# -- float32 execution ---------------------------------------------------------------------------------


def float32_networks() -> list[tuple[nn.Module, tuple[int, ...]]]:
    return [
        (nn.Sequential(nn.Linear(300, 40), nn.ReLU(), nn.Linear(40, 20), nn.Tanh(), nn.Linear(20, 5)), (300,)),
        (
            nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)),
            (3, 8, 8),
        ),
        (nn.Sequential(nn.Conv2d(3, 8, 3), nn.GELU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(72, 5)), (3, 8, 8)),
        (nn.Sequential(nn.Linear(50, 50), nn.Sigmoid(), nn.Linear(50, 50), nn.LeakyReLU(0.3), nn.Linear(50, 9)), (50,)),
    ]


def executions(module: nn.Module, x: Tensor) -> Tensor:
    """What float32 gives: in one batch, one by one, in another order, in another layout; [runs, B, K]."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    back = order.argsort()
    with torch.no_grad():
        runs = [
            module(x),
            torch.cat([module(row[None]) for row in x]),
            module(x[order])[back],
            torch.cat([module(part) for part in x.split(3)]),
            module(x.repeat(3, *[1] * (x.dim() - 1)))[: len(x)],
        ]
        if x.dim() == 4:
            runs.append(module.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last)))  # type: ignore[call-overload]
            module.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return torch.stack(runs)


@pytest.mark.parametrize("number", range(4))
def test_float32_executions_lie_within_their_intervals(number: int) -> None:
    torch.manual_seed(number)
    module, shape = float32_networks()[number]
    module.eval()
    x = torch.rand(16, *shape)
    graph = trace(module, shape)
    runs = executions(module, x).double()
    interval = propagate(graph, at(x, 0.0), EXECUTED)[-1]
    assert bool(((interval.lower <= runs) & (runs <= interval.upper)).all())
    around_it = propagate(graph, at(x, 0.01), EXECUTED)[-1]
    shifted = executions(module, x + 0.01 * torch.sign(torch.randn_like(x)) * (1 - 2**-10)).double()
    assert bool(((around_it.lower <= shifted) & (shifted <= around_it.upper)).all())


def test_naive_float32_intervals_exclude_what_float32_gives() -> None:
    excluded = 0
    for number, (module, shape) in enumerate(float32_networks()):
        torch.manual_seed(number)
        module.eval()
        x = torch.rand(16, *shape)
        naive = propagate(trace(module, shape).to(torch.device("cpu"), torch.float32), at(x, 0.0, FAST), Setting(FAST))[
            -1
        ]
        runs = executions(module, x)
        excluded += int(((runs < naive.lower) | (runs > naive.upper)).sum())
    assert excluded > 0


def test_float32_that_may_overflow_has_no_bounds() -> None:
    """3e38 + 3e38 - 3e38 - 3e38 is 0 over the reals, and inf or NaN in float32."""
    linear = nn.Linear(4, 2, bias=False)
    linear.weight.data = torch.tensor([[3e38, 3e38, -3e38, -3e38], [0.0, 0.0, 0.0, 0.0]])
    module = nn.Sequential(linear, nn.Linear(2, 2))
    interval = propagate(trace(module, (4,)), at(torch.ones(1, 4), 0.0), EXECUTED)[-1]
    assert not bool((interval.lower > -torch.inf).any())
    assert bool(propagate(trace(module, (4,)), at(torch.ones(1, 4), 0.0), REAL)[-1].lower.isfinite().all())


# -- the trap cases ------------------------------------------------------------------------------------

SHARED = Path(__file__).resolve().parents[3].parent / "shared"
INDEX = SHARED / "cases" / "index.csv"
TRAPS = (
    [row for row in csv.DictReader(INDEX.read_text().splitlines()) if row["id"].startswith("float_trap/")]
    if INDEX.exists()
    else []
)
pytestmark_traps = pytest.mark.skipif(not TRAPS, reason="no ../shared with cases beside this checkout")


@pytestmark_traps
@pytest.mark.parametrize("bound", list(Bound), ids=lambda bound: bound.value)
@pytest.mark.parametrize("setting", [REAL, EXECUTED], ids=["real", "float32_exec"])
@pytest.mark.parametrize("name", ["trap_real_unsafe", "trap_f32_unsafe"])
def test_traps_are_not_certified_where_they_are_unsafe(name: str, setting: Setting, bound: Bound) -> None:
    (row,) = [row for row in TRAPS if row["id"] == f"float_trap/{name}"]
    answers = dict(answer.split(":") for answer in row["answer"].split("/"))
    imported = import_onnx((SHARED / "cases" / row["model"]).read_bytes())
    graph = trace(imported.module, imported.input_shape)
    with np.load(SHARED / "cases" / row["npz"]) as data:
        x = torch.from_numpy(data["x"][int(row["npz_row"])]).reshape(1, *imported.input_shape)
    rows = margin_rows(torch.tensor([int(row["label"])]), graph.classes, torch.float64)
    region = at(x, float(row["eps"]))
    lower = lower_margins(Network(graph, torch.device("cpu")), region, rows, bound, setting, BUDGET)
    unsafe = answers["f32" if setting.float32_execution else "real"] == "sat"
    if unsafe:
        assert not bool((lower > 0).all())
    if name == "trap_f32_unsafe" and setting is REAL:
        assert bool((lower > 0).all())


def test_nearest_rounding_costs_nothing() -> None:
    assert (NEAREST.unit, NEAREST.tiny, Setting(NEAREST).underflow(10)) == (0.0, 0.0, 0.0)
