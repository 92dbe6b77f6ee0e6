"""Overflow and underflow: what may vanish or burst on the way is not certified."""

import pytest
import torch
from torch import nn

from verifier.bounds.alpha import Ascent, alpha_margins
from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.graph import Affine, Graph, Input, Node
from verifier.bounds.interval import Setting
from verifier.bounds.linear import Dense
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region, around
from verifier.bounds.trace import trace
from verifier.problem import Norm


@pytest.fixture
def network() -> Network:
    """3e38 (x_0 + x_1 - x_2 - x_3 + 1) against 0: in some orders of the sum float32 ends in infinity or NaN."""
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3e38, 3e38, -3e38, -3e38], [0.0, 0, 0, 0]]))
        layer.bias.copy_(torch.tensor([3e38, 0.0]))
    return Network(trace(layer, (4,)), torch.device("cpu"))


X = torch.ones(1, 4, dtype=torch.float64)
ROWS = margin_rows(torch.tensor([0]), 2, torch.float64)


@pytest.mark.parametrize("bound", list(Bound))
def test_the_last_layer_may_overflow(network: Network, bound: Bound) -> None:
    real = lower_margins(network, Region(X, X), ROWS, bound, Setting(RIGOROUS), Budget(2**30))
    assert real.item() == pytest.approx(3e38, rel=1e-6)
    executed = lower_margins(network, Region(X, X), ROWS, bound, Setting(RIGOROUS, True), Budget(2**30))
    assert not executed.item() > 0


def test_so_may_it_under_optimised_lines(network: Network) -> None:
    setting = Setting(RIGOROUS, True)
    margins = alpha_margins(network, Region(X, X), ROWS, setting, Budget(2**30), Ascent(3, 0.2))
    assert not margins.item() > 0


@pytest.mark.parametrize("bound", list(Bound))
def test_squares_of_tiny_weights_vanish_and_the_ball_does_not(bound: Bound) -> None:
    """In L2, with weights of 1e-200 and a radius of 1e250 the margin falls by 1e50, though (1e-200)^2 is 0."""
    layer = nn.Linear(3, 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1e-200, 1e-200, 1e-200], [0.0, 0, 0]], dtype=torch.float64))
        layer.bias.copy_(torch.tensor([1.0, 0.0]))
    network = Network(Graph((Node(Input(), (), (3,), "input"), affine_node(layer))), torch.device("cpu"))
    x = torch.zeros(1, 3, dtype=torch.float64)
    region = around(x, torch.tensor([1e250], dtype=torch.float64), Norm.L2, RIGOROUS)
    margins = lower_margins(network, region, ROWS, bound, Setting(RIGOROUS), Budget(2**30))
    assert margins.item() <= 1 - 1e50


def affine_node(layer: nn.Linear) -> Node:
    operation = Affine(Dense(layer.weight.detach(), (layer.in_features,)), layer.bias.detach())
    return Node(operation, (0,), (layer.out_features,), "layer")
