"""No bound is on the wrong side of the truth: every operation, weights of wild sizes, every kind of region.

The truth is computed by `exact` in numbers of 1,200 bits, for the network over the reals with its float weights.
"""

from collections.abc import Callable, Iterator
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from exact import BITS, ExactNetwork, numbers
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.interval import Interval, Setting, propagate
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region, around, box
from verifier.bounds.trace import trace
from verifier.errors import Unsupported
from verifier.problem import Norm

sound_settings = settings(
    deadline=None,
    max_examples=3,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
SETTING = Setting(RIGOROUS)
BUDGET = Budget(1 << 28)
Shape = tuple[int, ...]


class Branches(nn.Module):
    """Two branches of one input, joined."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.join = nn.Linear(4, 3), nn.Linear(4, 3), join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.first(x), self.second(x).relu())


class Step(nn.Module):
    """A plain function as a layer."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


def dense(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 3), *layers, nn.Linear(3, 3))


def image(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(*layers, nn.Flatten())


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], Shape]] = {
    "linear": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(4, 3)), (2, 2)),
    "two linear": (lambda: dense(), (4,)),
    "deep linear": (lambda: nn.Sequential(*(nn.Linear(3, 3) for _ in range(6))), (3,)),
    "relu": (lambda: dense(nn.ReLU(), nn.Linear(3, 3), nn.ReLU()), (4,)),
    "leaky": (lambda: dense(nn.LeakyReLU(0.1), nn.Linear(3, 3), nn.LeakyReLU(1.5)), (4,)),
    "prelu": (lambda: dense(nn.PReLU(3)), (4,)),
    "abs": (lambda: dense(Step(torch.abs)), (4,)),
    "clamp": (lambda: dense(nn.Hardtanh(-0.3, 0.7)), (4,)),
    "sign": (lambda: dense(Step(torch.sign)), (4,)),
    "square": (lambda: dense(Step(torch.square)), (4,)),
    "hard": (lambda: dense(nn.Hardswish(), nn.Linear(3, 3), nn.Hardsigmoid()), (4,)),
    "sigmoid": (lambda: dense(nn.Sigmoid()), (4,)),
    "tanh": (lambda: dense(nn.Tanh(), nn.Linear(3, 3), nn.Tanh()), (4,)),
    "gelu": (lambda: dense(nn.GELU()), (4,)),
    "silu": (lambda: dense(nn.SiLU()), (4,)),
    "softmax": (lambda: dense(nn.Softmax(1)), (4,)),
    "layer norm": (lambda: dense(nn.LayerNorm(3)), (4,)),
    "batch norm": (lambda: dense(nn.BatchNorm1d(3), nn.ReLU()), (4,)),
    "scales": (lambda: dense(Step(lambda x: (x - 0.3) * 0.1 / 3 - 1e-30), Step(lambda x: 1e-20 * x)), (4,)),
    "residual": (lambda: nn.Sequential(Branches(torch.add), nn.ReLU(), nn.Linear(3, 3)), (4,)),
    "difference": (lambda: nn.Sequential(Branches(torch.sub), nn.ReLU(), nn.Linear(3, 3)), (4,)),
    "product": (lambda: nn.Sequential(Branches(torch.mul), nn.Linear(3, 3)), (4,)),
    "maximum": (lambda: nn.Sequential(Branches(torch.maximum), nn.Linear(3, 3)), (4,)),
    "minimum": (lambda: nn.Sequential(Branches(torch.minimum), nn.Linear(3, 3)), (4,)),
    "concatenation": (
        lambda: nn.Sequential(Branches(lambda x, y: torch.cat([x, y, x.flip(1)], 1)), nn.ReLU(), nn.Linear(9, 3)),
        (4,),
    ),
    "conv": (lambda: image(nn.Conv2d(2, 2, 2, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 2, groups=1)), (2, 3, 3)),
    "grouped conv": (lambda: image(nn.Conv1d(2, 4, 2, dilation=2, groups=2, padding="same"), nn.ReLU()), (2, 4)),
    "conv and batch norm": (lambda: image(nn.Conv2d(1, 3, 2, bias=False), nn.BatchNorm2d(3), nn.ReLU()), (1, 3, 3)),
    "transposed conv": (lambda: image(nn.ConvTranspose1d(2, 2, 2, 2, output_padding=1), nn.ReLU()), (2, 2)),
    "pools": (lambda: image(nn.AvgPool2d(2, 1), nn.Conv2d(1, 2, 1), nn.MaxPool2d(2, 1, 1)), (1, 3, 3)),
    "mean": (lambda: image(nn.Conv1d(1, 3, 2), nn.ReLU(), Step(lambda x: x.mean(2) - x.amax(2))), (1, 5)),
    "moves": (
        lambda: image(Step(lambda x: x.permute(0, 2, 1)[:, 1:].reshape(-1, 2, 2)), nn.Linear(2, 3), nn.ReLU()),
        (2, 3),
    ),
}


def fill(module: nn.Module, style: str, generator: np.random.Generator) -> None:
    """Parameters of one style; variances stay positive."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point():
            drawn = _drawn(style, tuple(value.shape), generator)
            value.data = torch.from_numpy((np.abs(drawn) if "running_var" in name else drawn).astype(np.float32))


def _drawn(style: str, shape: Shape, generator: np.random.Generator) -> Any:
    plain = generator.standard_normal(shape)
    signs = np.sign(plain)
    if style == "plain":
        return plain
    if style == "whole":
        return np.round(3 * plain)
    if style == "subnormal":
        return signs * 10.0 ** generator.uniform(-45, -38, shape)
    if style == "small":
        return signs * 10.0 ** generator.uniform(-35, -25, shape)
    if style == "large":
        return signs * 10.0 ** generator.uniform(5, 30, shape)
    wild = signs * 10.0 ** generator.uniform(-30, 30, shape)
    return np.where(generator.random(shape) < 0.3, 0.0, np.where(generator.random(shape) < 0.5, plain, wild))


STYLES = st.sampled_from(["plain", "whole", "mixed", "mixed", "subnormal", "small", "large"])
EPS = st.sampled_from([0.0, 1e-300, 1e-12, 1e-3, 0.5, 1e6])


def points(
    x: Tensor, eps: float, norm: Norm, domain: tuple[float, float] | None, generator: np.random.Generator
) -> Iterator[Any]:
    """Points of the region over the reals: the centre, corners, others."""
    centre = numbers(x)
    with mpmath.workprec(BITS):
        least = mpmath.mpf(1) - mpmath.mpf(2) ** -600
        for number in range(6):
            direction = generator.standard_normal(x.shape)
            if number == 0:
                shift = 0 * centre
            elif norm is Norm.LINF:
                corner = np.sign(direction) if number < 5 else np.clip(direction, -1, 1)
                shift = numbers(torch.from_numpy(corner))
            elif number < 3:
                alone = np.zeros(x.size().numel())
                alone[generator.integers(alone.size)] = (-1) ** number
                shift = numbers(torch.from_numpy(alone.reshape(tuple(x.shape))))
            else:
                shift = numbers(torch.from_numpy(direction))
                size = np.abs(shift).sum() if norm is Norm.L1 else mpmath.sqrt((shift * shift).sum())
                shift = shift / size * least
            point = centre + mpmath.mpf(eps) * shift
            if domain is not None:
                point = np.minimum(np.maximum(point, mpmath.mpf(domain[0])), mpmath.mpf(domain[1]))
            yield point


def below(bound: float, value: Any) -> bool:
    """bound <= value, or the bound says nothing."""
    return not bound > float("-inf") or (bound < float("inf") and mpmath.mpf(bound) <= value)


def contains(interval: Interval, value: Any) -> bool:
    lower, upper = interval.lower.flatten().tolist(), interval.upper.flatten().tolist()
    return all(
        below(low, number) and below(-high, -number) for low, high, number in zip(lower, upper, value, strict=True)
    )


def check(module: nn.Module, shape: Shape, region: Region, inside: list[Any]) -> None:
    try:
        graph = trace(module, shape)
    except Unsupported:  # nothing is certified where float64 itself loses the logits
        reject()
    exact = ExactNetwork(module, shape)
    values = [exact(point) for point in inside]
    network = Network(graph, torch.device("cpu"))
    interval = propagate(network.on(RIGOROUS), region, SETTING)[-1]
    for value in values:
        assert contains(interval, value)
    if graph.classes < 2:
        return
    labels = torch.tensor([len(values) % graph.classes])
    rows = margin_rows(labels, graph.classes, torch.float64)
    with mpmath.workprec(BITS):
        true = [(numbers(rows[0]) @ value).tolist() for value in values]
    for bound in Bound:
        lower = lower_margins(network, region, rows, bound, SETTING, BUDGET)[0].tolist()
        for margins in true:
            assert all(map(below, lower, margins)), (bound, lower, [float(margin) for margin in margins])


@pytest.mark.parametrize("name", NETWORKS)
@sound_settings
@given(STYLES, EPS, st.sampled_from(list(Norm)), st.booleans(), st.integers(0, 2**32 - 1))
def test_bounds_hold_over_the_reals(name: str, style: str, eps: float, norm: Norm, cut: bool, seed: int) -> None:
    generator = np.random.default_rng(seed)
    make, shape = NETWORKS[name]
    module = make()
    module.eval()
    fill(module, style, generator)
    length = int(generator.integers(1, len(module) + 1))
    if not isinstance(module[length - 1], nn.Softmax):  # tracing drops a last softmax
        module = nn.Sequential(*list(module)[:length]).eval()
    x = torch.from_numpy(generator.uniform(-1, 1, shape).astype(np.float32))
    domain = (-1.0, 1.0) if cut else None
    ends = None if domain is None else tuple(torch.full(shape, end, dtype=torch.float64) for end in domain)
    region = around(x[None], torch.tensor([eps], dtype=torch.float64), norm, RIGOROUS, ends)  # type: ignore[arg-type]
    check(module, shape, region, list(points(x, eps, norm, domain, generator)))


@sound_settings
@given(STYLES, st.integers(0, 2**32 - 1))
def test_bounds_hold_in_boxes(style: str, seed: int) -> None:
    generator = np.random.default_rng(seed)
    make, shape = NETWORKS["relu"]
    module = make()
    fill(module, style, generator)
    ends = np.sort(_drawn("mixed", (2, *shape), generator), axis=0)
    low, high = torch.from_numpy(ends[0]), torch.from_numpy(ends[1])
    inside = [np.where(generator.random(shape) < share, numbers(low), numbers(high)) for share in (0, 0.3, 0.7, 1)]
    check(module, shape, box(low[None], high[None], RIGOROUS), inside)
