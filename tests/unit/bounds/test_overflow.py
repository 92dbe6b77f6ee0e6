"""What a float32 execution may overflow is not certified about it, though the real network is well."""

import pytest
import torch
from torch import nn

from verifier.bounds.alpha import Ascent, alpha_margins
from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region
from verifier.bounds.trace import trace


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
