"""Walks on windows of images give the bounds of walks on whole images."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from torch import Tensor, nn

from verifier.bounds import patches
from verifier.bounds.arithmetic import FAST, NEAREST, RIGOROUS, Arithmetic
from verifier.bounds.crown import Relaxation, element_bounds
from verifier.bounds.interval import Setting, propagate
from verifier.bounds.linear import Convolution
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import around
from verifier.bounds.trace import trace
from verifier.problem import Norm

IMAGE = (2, 11, 9)
BUDGET = Budget(1 << 28)


class Residual(nn.Module):
    """Two ways to one sum, and one that is taken away."""

    def __init__(self) -> None:
        super().__init__()
        self.long = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 4, 3, padding=1))
        self.short = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.long(x) - self.short(x))


class Branches(nn.Module):
    """Two convolutions behind each other in channels."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Conv2d(4, 3, 3, padding=1), nn.Conv2d(4, 2, (1, 3), padding=(0, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([torch.relu(self.left(x)), self.right(x)], dim=1)


def first() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())


BODIES: dict[str, Callable[[], nn.Module]] = {
    "stride": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 2, padding=1)),
    "even kernel": lambda: nn.Conv2d(4, 5, 4, stride=(2, 1), padding=(1, 2)),
    "dilation": lambda: nn.Conv2d(4, 4, 2, dilation=(2, 3), padding=1),
    "groups": lambda: nn.Sequential(nn.Conv2d(4, 6, 3, groups=2, padding=1), nn.Conv2d(6, 6, (2, 3), groups=6)),
    "gaps between windows": lambda: nn.Conv2d(4, 3, 1, stride=2),
    "no activation between": lambda: nn.Sequential(nn.Conv2d(4, 3, 3, padding=2), nn.Conv2d(3, 3, 3, padding=2)),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3, padding=1)),
    "average": lambda: nn.Sequential(nn.AvgPool2d(2), nn.Conv2d(4, 3, 3, padding=1)),
    "maximum": lambda: nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(4, 3, 2)),
    "residual": lambda: nn.Sequential(Residual(), nn.Conv2d(4, 3, 3, padding=1)),
    "concatenation": lambda: nn.Sequential(Branches(), nn.Conv2d(5, 3, 3, padding=1)),
    "sigmoid": lambda: nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.Sigmoid(), nn.Conv2d(4, 3, 3, padding=1)),
}


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def network(body: nn.Module) -> Network:
    features = nn.Sequential(first(), body, nn.ReLU(), nn.Flatten())
    size = features(torch.zeros(1, *IMAGE)).shape[1]
    module = nn.Sequential(features, nn.Linear(size, 6), nn.ReLU(), nn.Linear(6, 3)).eval()
    return Network(trace(module, IMAGE), torch.device("cpu"))


def margins(net: Network, arithmetic: Arithmetic, norm: Norm = Norm.LINF) -> Tensor:
    x = torch.rand(3, *IMAGE, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    eps = torch.tensor([0.02, 0.1, 0.3], dtype=torch.float64) * (1 if norm is Norm.LINF else 4)
    domain = (torch.zeros(()), torch.ones(())) if norm is Norm.L2 else None
    region = around(x, eps, norm, arithmetic, domain)
    rows = margin_rows(torch.tensor([0, 1, 2]), 3, arithmetic.dtype)
    return lower_margins(net, region, rows, Bound.CROWN, Setting(arithmetic), BUDGET)


@pytest.mark.parametrize("body", BODIES)
def test_windows_give_the_bounds_of_whole_images(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(BODIES[body]())
    for norm, share in ((Norm.LINF, 1.0), (Norm.LINF, 0.5), (Norm.L2, 1.0), (Norm.L1, 0.5)):
        monkeypatch.setattr(patches, "_LARGEST_SHARE", 0.0)
        whole = margins(net, NEAREST, norm)
        monkeypatch.setattr(patches, "_LARGEST_SHARE", share)
        scale = float(whole.abs().max())
        nearest = margins(net, NEAREST, norm)
        torch.testing.assert_close(nearest, whole, rtol=0, atol=1e-12 * scale)
        rigorous = margins(net, RIGOROUS, norm)
        assert bool((rigorous <= nearest + 1e-14 * scale).all())
        assert bool((rigorous >= nearest - 1e-9 * scale).all())
    fast = margins(net, FAST, norm)
    torch.testing.assert_close(fast.double(), whole, rtol=0, atol=2e-5 * scale)


@pytest.mark.parametrize("largest", [0, 2**18])
def test_both_kernels_of_windows_agree(largest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    net = network(BODIES["stride"]())
    expected = margins(net, NEAREST)
    monkeypatch.setattr(patches, "_LARGEST_MATRIX", largest)
    torch.testing.assert_close(margins(net, NEAREST), expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(margins(net, FAST).double(), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("body", ["stride", "no activation between", "dilation", "groups"])
def test_bounds_of_linear_networks_contain_the_exact_range(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without activations CROWN is exact over the reals: rounded outwards, it lies just outside of rational numbers."""
    monkeypatch.setattr(patches, "_LARGEST_SHARE", 1.0)
    layers = [layer for layer in nn.Sequential(BODIES[body]()).modules() if isinstance(layer, nn.Conv2d)]
    shape = (4, 5, 4)
    graph = trace(nn.Sequential(*layers, nn.Flatten()), shape)
    number = max(
        i for i, node in enumerate(graph.nodes) if isinstance(getattr(node.operation, "map", None), Convolution)
    )
    x = torch.rand(1, *shape, dtype=torch.float64)
    region = around(x, torch.tensor([0.1], dtype=torch.float64), Norm.LINF, RIGOROUS)
    relaxation = Relaxation(graph, region, Setting(RIGOROUS), propagate(graph, region, Setting(RIGOROUS)))
    elements = torch.randperm(relaxation.intervals[number].lower[0].numel())[None, :7]
    bounds = element_bounds(relaxation, number, elements)
    rows, constant = _exactly(graph, number, elements[0].tolist())
    ends = list(zip(region.lower.flatten().tolist(), region.upper.flatten().tolist(), strict=True))
    for i, (row, offset) in enumerate(zip(rows, constant, strict=True)):
        terms = [(w * Fraction(low), w * Fraction(high)) for w, (low, high) in zip(row, ends, strict=True) if w]
        least, most = offset + sum(map(min, terms)), offset + sum(map(max, terms))
        lower, upper = Fraction(float(bounds.lower[0, i])), Fraction(float(bounds.upper[0, i]))
        assert lower <= least
        assert upper >= most
        assert float(least - lower) < 1e-11
        assert float(upper - most) < 1e-11


def _exactly(graph: object, number: int, elements: list[int]) -> tuple[list[list[Fraction]], list[Fraction]]:
    """Elements of a node after convolutions only, as rows on the input and constants, in rational numbers."""
    nodes = graph.nodes[1 : number + 1]  # type: ignore[attr-defined]
    rows: list[list[Fraction]] | None = None
    constant = [Fraction(0)] * len(elements)
    for node in reversed(nodes):
        linear = node.operation.map
        units = torch.eye(linear.in_shape[0] * linear.in_shape[1] * linear.in_shape[2], dtype=torch.float64)
        matrix = linear.forward(units.unflatten(1, linear.in_shape)).flatten(1).T.tolist()
        bias = node.operation.bias.expand(node.shape).flatten().tolist()
        if rows is None:
            rows = [[Fraction(int(e == i)) for i in range(len(matrix))] for e in elements]
        used = [[(a, i) for i, a in enumerate(row) if a] for row in rows]
        constant = [c + sum(a * Fraction(bias[i]) for a, i in row) for c, row in zip(constant, used, strict=True)]
        exact = {i: [Fraction(w) for w in matrix[i]] for i in {i for row in used for _, i in row}}
        rows = [[sum((a * exact[i][k] for a, i in row), Fraction(0)) for k in range(len(units))] for row in used]
    assert rows is not None
    return rows, constant


@pytest.mark.parametrize("arithmetic", [FAST, NEAREST], ids=["float32", "float64"])
@pytest.mark.parametrize("size", [(7, 5), (8, 6)])
@pytest.mark.parametrize("padding", [(0, 0), (1, 2)])
@pytest.mark.parametrize("stride", [(1, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("kernel", [(1, 1), (2, 5), (4, 4)])
def test_backward_is_the_transpose_of_forward(
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
    size: tuple[int, int],
    arithmetic: Arithmetic,
) -> None:
    if any(n + 2 * p < k for n, p, k in zip(size, padding, kernel, strict=True)):
        pytest.skip("the kernel is larger than the image")
    weight = torch.randn(3, 2, *kernel, dtype=arithmetic.dtype)
    linear = Convolution(weight, (2, *size), stride, padding, (1, 1), 1)
    x = torch.randn(4, 2, *size, dtype=arithmetic.dtype)
    a = torch.randn(4, *linear.out_shape, dtype=arithmetic.dtype)
    back = linear.backward(a)
    assert back.shape == x.shape
    torch.testing.assert_close((back * x).sum(), (a * linear.forward(x)).sum(), rtol=1e-4, atol=1e-4)
    expected = F.conv_transpose2d(a.double(), weight.double(), stride=stride)
    windows = linear.spread_patches(a.permute(0, 2, 3, 1).contiguous(), 0)
    torch.testing.assert_close(windows.permute(0, 3, 1, 2).double(), expected, rtol=1e-4, atol=1e-4)


def test_elements_of_a_convolution_are_counted_by_their_windows() -> None:
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 2),
    )
    graph = trace(module, (3, 16, 16))
    assert patches.coefficients_of_an_element(graph, 3) == 3 * 5 * 5
    assert patches.coefficients_of_an_element(graph, len(graph.nodes) - 1) == 8 * 16 * 16
