"""Every operation of a torch module is traced to a graph of the same values, or refused by name."""

import contextlib
import functools
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - the name that everybody knows
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from verifier.bounds.aten import HANDLERS
from verifier.bounds.graph import Affine, Graph
from verifier.bounds.linear import Convolution, Dense, Scale
from verifier.bounds.trace import trace
from verifier.errors import Unsupported
from verifier.models.onnx_graph import import_onnx

Function = Callable[[Tensor], Tensor]
VECTOR, SEQUENCE, IMAGE = (6,), (4, 12), (4, 9, 8)


class Functional(nn.Module):
    """A plain function as a network."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


def agrees(module: nn.Module, shape: tuple[int, ...]) -> Graph:
    """Its graph, whose float64 values are the module's own to 1e-12, in a batch of any size."""
    graph = trace(module, shape)
    for rows in (1, 4):
        x = torch.randn(rows, *shape, dtype=torch.float64, generator=torch.Generator().manual_seed(rows))
        with torch.no_grad():
            expected = module.eval().double()(x).reshape(rows, -1)
            found = graph.evaluate(x)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    module.float()
    return graph


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


def settle(module: nn.Module) -> nn.Module:
    """Statistics and affine parameters that are not 0 and 1."""
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        if value.is_floating_point() and ("running" in name or value.dim() == 1):
            value.data.uniform_(0.3, 1.7)
    return module


LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 3), VECTOR),
    "linear without bias": (lambda: nn.Linear(6, 3, bias=False), VECTOR),
    "linear over the last axis": (lambda: nn.Linear(12, 3), SEQUENCE),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3), SEQUENCE),
    "conv1d stride, padding, dilation, groups": (lambda: nn.Conv1d(4, 6, 3, 2, 3, 2, 2), SEQUENCE),
    "conv1d same": (lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=2), SEQUENCE),
    "conv1d circular": (lambda: nn.Conv1d(4, 6, 3, padding=2, padding_mode="circular"), SEQUENCE),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3), IMAGE),
    "conv2d without bias": (lambda: nn.Conv2d(4, 6, 3, bias=False), IMAGE),
    "conv2d stride, padding, groups": (lambda: nn.Conv2d(4, 6, (3, 2), (2, 3), (1, 0), groups=2), IMAGE),
    "conv2d dilation": (lambda: nn.Conv2d(4, 6, 3, dilation=(2, 1), padding=2, stride=2), IMAGE),
    "conv2d depthwise": (lambda: nn.Conv2d(4, 8, 3, groups=4), IMAGE),
    "conv2d same": (lambda: nn.Conv2d(4, 6, (5, 3), padding="same"), IMAGE),
    "conv2d valid": (lambda: nn.Conv2d(4, 6, (4, 3), padding="valid"), IMAGE),
    "conv2d reflect": (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="reflect"), IMAGE),
    "conv2d replicate": (lambda: nn.Conv2d(4, 6, 3, padding=2, padding_mode="replicate"), IMAGE),
    "conv_transpose1d": (lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1, groups=2), SEQUENCE),
    "conv_transpose2d": (lambda: nn.ConvTranspose2d(4, 6, 3), IMAGE),
    "conv_transpose2d all": (lambda: nn.ConvTranspose2d(4, 6, 3, (3, 2), 1, (2, 1), 2, True, (1, 2)), IMAGE),
    "avg_pool1d": (lambda: nn.AvgPool1d(3, 2, 1), SEQUENCE),
    "avg_pool1d ceil": (lambda: nn.AvgPool1d(3, 2, 1, ceil_mode=True, count_include_pad=False), SEQUENCE),
    "avg_pool2d": (lambda: nn.AvgPool2d(2), IMAGE),
    "avg_pool2d ceil": (lambda: nn.AvgPool2d(3, 2, 1, ceil_mode=True), IMAGE),
    "avg_pool2d ceil, exclude": (lambda: nn.AvgPool2d((3, 2), (2, 3), (1, 1), True, False), IMAGE),
    "avg_pool2d divisor": (lambda: nn.AvgPool2d(3, 2, 1, divisor_override=5), IMAGE),
    "max_pool1d": (lambda: nn.MaxPool1d(3, 2, 1, 2), SEQUENCE),
    "max_pool2d": (lambda: nn.MaxPool2d(2), IMAGE),
    "max_pool2d overlapping": (lambda: nn.MaxPool2d(3, 2, 1), IMAGE),
    "max_pool2d ceil": (lambda: nn.MaxPool2d(3, 2, 1, dilation=2, ceil_mode=True), IMAGE),
    "adaptive_avg_pool1d": (lambda: nn.AdaptiveAvgPool1d(4), SEQUENCE),
    "adaptive_avg_pool1d uneven": (lambda: nn.AdaptiveAvgPool1d(5), SEQUENCE),
    "adaptive_avg_pool2d": (lambda: nn.AdaptiveAvgPool2d((1, 1)), IMAGE),
    "adaptive_avg_pool2d uneven": (lambda: nn.AdaptiveAvgPool2d((4, None)), IMAGE),
    "adaptive_max_pool1d": (lambda: nn.AdaptiveMaxPool1d(5), SEQUENCE),
    "adaptive_max_pool2d": (lambda: nn.AdaptiveMaxPool2d((3, 4)), IMAGE),
    "adaptive_max_pool2d uneven": (lambda: nn.AdaptiveMaxPool2d((4, 3)), IMAGE),
    "batch_norm1d": (lambda: settle(nn.BatchNorm1d(6)), VECTOR),
    "batch_norm1d on a sequence": (lambda: settle(nn.BatchNorm1d(4)), SEQUENCE),
    "batch_norm2d": (lambda: settle(nn.BatchNorm2d(4)), IMAGE),
    "batch_norm2d plain": (lambda: settle(nn.BatchNorm2d(4, affine=False, eps=0.1)), IMAGE),
    "conv and batch norm": (lambda: nn.Sequential(nn.Conv2d(4, 5, 3), settle(nn.BatchNorm2d(5))), IMAGE),
    "conv and batch norm, no bias": (
        lambda: nn.Sequential(nn.Conv2d(4, 5, 3, bias=False), settle(nn.BatchNorm2d(5))),
        IMAGE,
    ),
    "transposed and batch norm": (lambda: nn.Sequential(nn.ConvTranspose2d(4, 5, 3), settle(nn.BatchNorm2d(5))), IMAGE),
    "linear and batch norm": (lambda: nn.Sequential(nn.Linear(6, 5), settle(nn.BatchNorm1d(5))), VECTOR),
    "group_norm": (lambda: settle(nn.GroupNorm(2, 4)), IMAGE),
    "instance_norm": (lambda: settle(nn.InstanceNorm2d(4, affine=True)), IMAGE),
    "instance_norm by running statistics": (lambda: settle(nn.InstanceNorm1d(4, track_running_stats=True)), SEQUENCE),
    "layer_norm": (lambda: settle(nn.LayerNorm(12)), SEQUENCE),
    "layer_norm over two axes": (lambda: nn.LayerNorm((9, 8), elementwise_affine=False), IMAGE),
    "relu": (nn.ReLU, SEQUENCE),
    "relu in place": (lambda: nn.ReLU(inplace=True), SEQUENCE),
    "relu6": (nn.ReLU6, SEQUENCE),
    "leaky_relu": (lambda: nn.LeakyReLU(0.2), SEQUENCE),
    "prelu": (nn.PReLU, SEQUENCE),
    "prelu per channel": (lambda: settle(nn.PReLU(4)), IMAGE),
    "elu": (lambda: nn.ELU(0.7), SEQUENCE),
    "steep elu": (lambda: nn.ELU(1.7), SEQUENCE),
    "selu": (nn.SELU, SEQUENCE),
    "celu": (lambda: nn.CELU(0.3), SEQUENCE),
    "hardtanh": (lambda: nn.Hardtanh(-0.4, 0.7), SEQUENCE),
    "hardsigmoid": (nn.Hardsigmoid, SEQUENCE),
    "hardswish": (nn.Hardswish, SEQUENCE),
    "sigmoid": (nn.Sigmoid, SEQUENCE),
    "tanh": (nn.Tanh, SEQUENCE),
    "gelu": (nn.GELU, SEQUENCE),
    "gelu by tanh": (lambda: nn.GELU("tanh"), SEQUENCE),
    "silu": (nn.SiLU, SEQUENCE),
    "softplus": (lambda: nn.Softplus(2.0, 3.0), SEQUENCE),
    "logsigmoid": (nn.LogSigmoid, SEQUENCE),
    "softsign": (nn.Softsign, SEQUENCE),
    "tanhshrink": (nn.Tanhshrink, SEQUENCE),
    "softmax in between": (lambda: nn.Sequential(nn.Softmax(2), nn.Linear(12, 2)), SEQUENCE),
    "softmin": (lambda: nn.Sequential(nn.Softmin(1), nn.Linear(6, 2)), VECTOR),
    "dropout": (lambda: nn.Dropout(0.5), VECTOR),
    "dropout2d": (lambda: nn.Dropout2d(0.5), IMAGE),
    "alpha dropout": (lambda: nn.AlphaDropout(0.5), VECTOR),
    "identity": (lambda: nn.Sequential(nn.Identity(), nn.Linear(6, 2)), VECTOR),
    "flatten": (nn.Flatten, IMAGE),
    "unflatten": (lambda: nn.Unflatten(1, (2, 3)), VECTOR),
    "zero pad": (lambda: nn.ZeroPad2d((1, 0, 2, 1)), IMAGE),
    "constant pad": (lambda: nn.ConstantPad1d(2, 0.7), SEQUENCE),
    "reflection pad": (lambda: nn.ReflectionPad2d(2), IMAGE),
    "replication pad": (lambda: nn.ReplicationPad1d(3), SEQUENCE),
    "circular pad": (lambda: nn.CircularPad2d(2), IMAGE),
    "pixel shuffle": (lambda: nn.PixelShuffle(2), IMAGE),
    "upsample nearest": (lambda: nn.Upsample(scale_factor=2), IMAGE),
    "weight norm": (lambda: parametrizations.weight_norm(nn.Linear(6, 3)), VECTOR),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name: str) -> None:
    make, shape = LAYERS[name]
    agrees(make(), shape)


def grid(n: int) -> Tensor:
    """Numbers that every datatype holds."""
    numbers: Tensor = (torch.arange(float(n)) - n // 2) * 0.125
    return numbers


FUNCTIONS: list[tuple[tuple[int, ...], Function]] = [
    (SEQUENCE, lambda x: x + 0.3),
    (SEQUENCE, lambda x: 0.3 - x),
    (SEQUENCE, lambda x: torch.add(x, torch.tensor(2.0), alpha=0.3)),
    (SEQUENCE, lambda x: torch.sub(x, x.tanh(), alpha=-0.7)),
    (SEQUENCE, lambda x: torch.rsub(x, torch.arange(12.0), alpha=0.3)),
    (SEQUENCE, lambda x: x - grid(12)),
    (SEQUENCE, lambda x: -x * 0.1 + x.abs()),
    (SEQUENCE, lambda x: x * grid(4)[:, None]),
    (SEQUENCE, lambda x: x * x[:, :1].sigmoid()),
    (SEQUENCE, lambda x: x * x),
    (SEQUENCE, lambda x: x / 3),
    (SEQUENCE, lambda x: x / (grid(12) + 9)),
    (SEQUENCE, lambda x: x / x.exp()),
    (SEQUENCE, lambda x: 2 / x.exp()),
    (SEQUENCE, lambda x: (x - torch.ones(1, 4, 1)) / (2 * torch.ones(4, 1) + 1)),
    (SEQUENCE, lambda x: x + torch.zeros(x.shape[0], 4, 12) + torch.ones(x.shape[0], 1, 1)),
    (SEQUENCE, lambda x: torch.cat([x, x.relu(), torch.ones(x.shape[0], 4, 2)], -1)),
    (SEQUENCE, lambda x: torch.concat([x, -x], 1)),
    (SEQUENCE, lambda x: torch.hstack([x, -x])),
    (SEQUENCE, lambda x: torch.stack([x, x.relu()], 2)),
    (SEQUENCE, lambda x: torch.stack([x, x.relu(), torch.zeros(x.shape[0], 4, 12)], -1)),
    (SEQUENCE, lambda x: x.view(-1, 48)),
    (SEQUENCE, lambda x: x.reshape(x.shape[0], 2, 24)),
    (SEQUENCE, lambda x: x.view(x.size(0), -1, 6).flatten(2)),
    (SEQUENCE, lambda x: x.unsqueeze(2).squeeze(2)),
    (SEQUENCE, lambda x: x.permute(0, 2, 1)),
    (SEQUENCE, lambda x: x.transpose(-1, -2).contiguous()),
    (SEQUENCE, lambda x: x.swapaxes(1, 2)),
    (IMAGE, lambda x: x.movedim(1, -1)),
    (SEQUENCE, lambda x: x.mT),
    (SEQUENCE, lambda x: x[:, 1:, ::3]),
    (SEQUENCE, lambda x: x[..., -2]),
    (SEQUENCE, lambda x: x[:, None, 2]),
    (SEQUENCE, lambda x: x.narrow(2, 3, 5)),
    (SEQUENCE, lambda x: x.select(1, 2)),
    (SEQUENCE, lambda x: x[:, [2, 0, 2]]),
    (SEQUENCE, lambda x: x[:, :, torch.tensor([0, 5, 3])]),
    (SEQUENCE, lambda x: x.index_select(2, torch.tensor([3, 3, 0]))),
    (SEQUENCE, lambda x: x.gather(1, torch.tensor([[[0, 3, 1], [1, 1, 1]]]).expand(len(x), -1, -1))),
    (SEQUENCE, lambda x: x.flip(1)),
    (SEQUENCE, lambda x: x.roll(2, 2)),
    (SEQUENCE, lambda x: x[:, :1].expand(-1, 3, -1)),
    (SEQUENCE, lambda x: x.repeat(1, 2, 1)),
    (SEQUENCE, lambda x: F.pad(x, (1, 2))),
    (SEQUENCE, lambda x: F.pad(x, (1, -2), value=-0.5)),
    (SEQUENCE, lambda x: F.pad(x, (1, 2), mode="reflect")),
    (SEQUENCE, lambda x: F.max_pool1d(F.pad(x, (1, 2), value=-math.inf), 3)),
    (SEQUENCE, lambda x: torch.cat(x.chunk(3, 2)[::-1], 2)),
    (SEQUENCE, lambda x: x.split(5, 2)[2]),
    (SEQUENCE, lambda x: x.split([1, 3], 1)[1] + x.unbind(1)[2][:, None]),
    (SEQUENCE, lambda x: x.mean(1)),
    (SEQUENCE, lambda x: x.mean((1, 2))[:, None]),
    (SEQUENCE, lambda x: x.sum(-1, keepdim=True)),
    (SEQUENCE, lambda x: x.amax(1)),
    (SEQUENCE, lambda x: x.amin((1, 2), keepdim=True)),
    (SEQUENCE, lambda x: x.max(1).values),
    (SEQUENCE, lambda x: x.min(2, keepdim=True)[0]),
    (SEQUENCE, lambda x: torch.maximum(x, x.flip(2))),
    (SEQUENCE, lambda x: torch.max(x, x.flip(2))),
    (SEQUENCE, lambda x: torch.minimum(x, torch.tensor(0.25))),
    (SEQUENCE, lambda x: torch.min(torch.zeros(12), x)),
    (SEQUENCE, lambda x: x.clamp(-0.3, 0.4)),
    (SEQUENCE, lambda x: x.clamp(min=0.1)),
    (SEQUENCE, lambda x: x.clamp_max(0.1)),
    (SEQUENCE, lambda x: x.exp()),
    (SEQUENCE, lambda x: x.exp().log()),
    (SEQUENCE, lambda x: (x.abs() + 0.1).sqrt()),
    (SEQUENCE, lambda x: (x.exp()).rsqrt()),
    (SEQUENCE, lambda x: x.cosh() if False else (x.square() + 1).reciprocal()),
    (SEQUENCE, lambda x: x.pow(3) + x**2 + x**4),
    (SEQUENCE, lambda x: x.exp() ** 0.5 + x.exp() ** -1 + x**1),
    (SEQUENCE, lambda x: x.sign()),
    (SEQUENCE, lambda x: x.erf()),
    (SEQUENCE, lambda x: torch.special.expit(x)),
    (SEQUENCE, lambda x: F.softmax(x, 2) * x),
    (SEQUENCE, lambda x: x @ grid(24).reshape(12, 2)),
    (SEQUENCE, lambda x: grid(8).reshape(2, 4) @ x),
    (VECTOR, lambda x: torch.addmm(torch.ones(2), x, grid(12).reshape(6, 2))),
    (VECTOR, lambda x: torch.mm(x, grid(12).reshape(6, 2))),
    (VECTOR, lambda x: F.batch_norm(x, torch.ones(6), 2 * torch.ones(6))),
    (VECTOR, lambda x: x.double() * 3),
]


def described(case: object) -> str:
    line = inspect.getsource(case).strip() if callable(case) else repr(case)
    return str(line).partition("lambda x: ")[2].rstrip(",)") or line


@pytest.mark.parametrize(("shape", "function"), FUNCTIONS, ids=described)
def test_functions(shape: tuple[int, ...], function: Function) -> None:
    graph = trace(Functional(function), shape)
    x = torch.randn(5, *shape, dtype=torch.float64)
    with as_default(torch.float64):
        expected = function(x).reshape(5, -1)
    torch.testing.assert_close(graph.evaluate(x), expected, rtol=1e-12, atol=1e-12)


@contextlib.contextmanager
def as_default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def test_conversions_of_values_change_nothing() -> None:
    linear = nn.Linear(6, 3)
    graph = trace(nn.Sequential(linear, Functional(lambda x: x.double().float())), VECTOR)
    x = torch.randn(5, 6, dtype=torch.float64)
    torch.testing.assert_close(graph.evaluate(x), linear.double()(x), rtol=1e-12, atol=1e-12)


class Residual(nn.Module):
    """In-place operations, several uses of one value."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 6), nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x)
        F.relu_(y)  # its result is not used by name
        z = self.second(y)
        z += y
        z.mul_(0.5).sub_(1)
        return torch.add(F.relu_(z), y)


def test_operations_in_place_act_on_all_later_readers() -> None:
    agrees(Residual(), VECTOR)


@pytest.mark.parametrize("softmax", [nn.Softmax(1), nn.LogSoftmax(-1)], ids=repr)
def test_a_last_softmax_is_dropped(softmax: nn.Module) -> None:
    linear = nn.Linear(6, 3)
    graph = trace(nn.Sequential(linear, softmax), VECTOR)
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(graph.evaluate(x), linear.double()(x))


def test_a_last_softmax_stays_where_its_values_matter() -> None:
    module = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1))
    graph = trace(module, VECTOR, keep_softmax=True)
    x = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(graph.evaluate(x), module.double()(x), rtol=1e-12, atol=1e-12)


def test_batch_norm_is_folded_with_its_roundings() -> None:
    graph = agrees(nn.Sequential(nn.Conv2d(4, 5, 3), settle(nn.BatchNorm2d(5)), nn.ReLU()), IMAGE)
    folded = graph.nodes[1].operation
    assert isinstance(folded, Affine)
    assert isinstance(folded.map, Convolution)
    assert len(graph.nodes) == 4
    assert folded.roundings > 0
    assert folded.magnitude is not None
    assert folded.bias is not None
    assert bool((folded.magnitude >= folded.bias.abs()).all())


def test_plain_weights_have_no_roundings() -> None:
    operation = agrees(nn.Linear(6, 3), VECTOR).nodes[1].operation
    assert isinstance(operation, Affine)
    assert operation.roundings == 0


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * 1e-200 * 1e-200,
        lambda x: (1e-20 * x + 1e-150) * 1e-200,
    ],
    ids=described,
)
def test_scales_that_underflow_together_stay_apart(function: Function) -> None:
    graph = trace(Functional(function), VECTOR)
    factors = [node.operation.map.factor for node in graph.nodes[1:] if isinstance(node.operation.map, Scale)]  # type: ignore[union-attr]
    assert len(factors) == 2


@pytest.mark.parametrize("seed", range(3))
def test_computed_constants_are_real_numbers_with_counted_roundings(seed: int) -> None:
    torch.manual_seed(seed)
    first, second = torch.randn(6) + 3, torch.randn(6) + 3
    graph = trace(Functional(lambda x: x * ((first - second) / (first * second).sqrt())), VECTOR)
    operation = graph.nodes[1].operation
    assert isinstance(operation, Affine)
    assert isinstance(operation.map, Scale)
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(60):
        for found, a, b in zip(operation.map.factor.tolist(), first.tolist(), second.tolist(), strict=True):
            true = (mpmath.mpf(a) - b) / mpmath.sqrt(mpmath.mpf(a) * b)
            assert abs(true - found) <= operation.roundings * mpmath.mpf(2) ** -53 * abs(found)


@functools.cache
def onnx_network() -> Any:
    generator = torch.Generator().manual_seed(0)

    def weights(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator).numpy()

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("BatchNormalization", ["c", "s", "t", "m", "v"], ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["r"], ["g"]),
        helper.make_node("Add", ["p", "g"], ["a"]),
        helper.make_node("Reshape", ["a", "one"], ["f"]),
        helper.make_node("Gemm", ["f", "W", "B"], ["h"], transB=1),
        helper.make_node("Sigmoid", ["h"], ["i"]),
        helper.make_node("Clip", ["i", "low", "high"], ["y"]),
    ]
    constants = {
        "w": weights(3, 2, 3, 3),
        "b": weights(3),
        "s": weights(3),
        "t": weights(3),
        "m": weights(3),
        "v": weights(3) ** 2,
        "W": weights(4, 12),
        "B": weights(4),
        "one": torch.tensor([1, -1]).numpy(),
        "low": torch.tensor(0.25).numpy(),
        "high": torch.tensor(0.9).numpy(),
    }
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def test_imported_networks_are_traced() -> None:
    imported = import_onnx(onnx_network())
    agrees(imported.module, imported.input_shape)


SHARED = Path(__file__).resolve().parents[3].parent / "shared"
FILES = sorted((SHARED / "cases").rglob("*.onnx"))


@pytest.mark.skipif(not FILES, reason="no ../shared with ONNX files beside this checkout")
def test_imported_files_are_traced() -> None:
    small = [path for path in FILES if path.stat().st_size < 300_000]
    for path in small[:: max(1, len(small) // 8)]:
        imported = import_onnx(path.read_bytes())
        agrees(imported.module, imported.input_shape)


# -- refusals ------------------------------------------------------------------------------------------


class Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, -x


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.calls: Tensor

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return x * self.calls


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(12, 3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        values: Tensor = self.lstm(x)[0]
        return values


def broken_weights() -> nn.Module:
    linear = nn.Linear(6, 2)
    linear.weight.data[0, 0] = math.nan
    return linear


REFUSED: dict[str, tuple[nn.Module, tuple[int, ...], tuple[str, ...]]] = {
    "sin": (nn.Sequential(nn.Linear(6, 6), Functional(torch.sin)), VECTOR, ("layer 1 (", "aten.sin", "replace it")),
    "lstm": (Recurrent(), SEQUENCE, ("layer lstm (LSTM)", "aten.lstm", "use smoothing")),
    "branch": (Branch(), VECTOR, ("cannot be traced", "control flow does not depend on its data")),
    "complex": (Functional(lambda x: torch.fft.fft(x).abs()), VECTOR, ("aten.fft_fft", "no bounds")),
    "whole numbers": (Functional(lambda x: x.to(torch.int32) * 2), VECTOR, ("torch.int32", "expected float32")),
    "half precision": (Functional(lambda x: x.half().float()), VECTOR, ("torch.float16", "expected float32")),
    "argmax": (Functional(lambda x: x.argmax(1)), VECTOR, ("aten.argmax", "no bounds")),
    "indices of a maximum": (
        Functional(lambda x: x + x.max(1, keepdim=True).indices),
        VECTOR,
        ("aten.max", "the places where they are may not be used"),
    ),
    "where": (Functional(lambda x: torch.where(x > 0, x, -x)), VECTOR, ("aten.gt", "no bounds")),
    "attention": (
        Functional(lambda x: F.scaled_dot_product_attention(x, x, x)),
        SEQUENCE,
        ("aten.scaled_dot_product_attention",),
    ),
    "matrix product of values": (Functional(lambda x: x @ x.mT), SEQUENCE, ("aten.matmul", "both depend on the input")),
    "weights from the input": (
        Functional(lambda x: F.linear(x, x[0, :2])),
        SEQUENCE,
        ("aten.select", "moves the batch axis"),
    ),
    "batch mean": (Functional(lambda x: x - x.mean(0)), VECTOR, ("aten.mean", "moves the batch axis")),
    "sum of all": (Functional(lambda x: x / x.sum()), VECTOR, ("aten.sum", "moves the batch axis")),
    "batch flip": (Functional(lambda x: x.flip(0)), VECTOR, ("aten.flip", "across the batch")),
    "batch first": (Functional(lambda x: x[:1]), VECTOR, ("aten.slice", "moves the batch axis")),
    "turned batch": (Functional(lambda x: x.transpose(0, 1)), (3,), ("moves the batch axis",)),
    "literal batch": (Functional(lambda x: x.view(1, -1)), VECTOR, ("aten.view", "moves the batch axis")),
    "literal batch of three": (Functional(lambda x: x.view(3, 6) * 2), VECTOR, ("cannot be traced with 5 inputs",)),
    "constant rows": (
        Functional(lambda x: x + torch.arange(3.0)[:, None]),
        VECTOR,
        ("differs over the batch",),
    ),
    "conv3d": (nn.Conv3d(2, 2, 2), (2, 4, 4, 4), ("(Conv3d)", "aten.conv3d")),
    "training batch norm": (
        nn.BatchNorm1d(6, track_running_stats=False),
        VECTOR,
        ("(BatchNorm1d)", "put the network in eval mode"),
    ),
    "power": (Functional(lambda x: x**1.5), VECTOR, ("aten.pow", "exponents -1, 0.5, 1, 2, 3")),
    "floor division": (Functional(lambda x: torch.div(x, 2, rounding_mode="floor")), VECTOR, ("rounds its quotient",)),
    "division by zero": (Functional(lambda x: x / torch.zeros(6)), VECTOR, ("divides by zero",)),
    "infinite factor": (Functional(lambda x: x * math.inf), VECTOR, ("NaN or infinite",)),
    "rounded constant": (
        Functional(lambda x: x * (grid(6) + 9).sin()),
        VECTOR,
        ("aten.sin", "store its result as a buffer"),
    ),
    "constant that cancels": (
        Functional(lambda x: x * ((torch.ones(6) + 1e-12) - 1 - 1e-12)),
        VECTOR,
        ("almost everything cancels",),
    ),
    "mask of values": (Functional(lambda x: x[x > 0]), VECTOR, ("aten.gt", "no bounds")),
    "no dependence": (Functional(lambda x: torch.ones(len(x), 2)), VECTOR, ("does not depend on its input",)),
    "two outputs": (Two(), VECTOR, ("2 outputs", "expected one tensor of logits")),
    "memory": (Counter(), VECTOR, ("(Counter)", "aten.add_ changes a constant in place")),
    "view in place": (
        Functional(lambda x: _half_in_place(x.exp())),
        VECTOR,
        ("aten.relu_", "another view", "use the plain operation"),
    ),
    "log softmax inside": (
        nn.Sequential(nn.LogSoftmax(1), nn.Linear(6, 2)),
        VECTOR,
        ("layer 0 (LogSoftmax)", "export the network's logits"),
    ),
    "softmax over the image": (nn.Softmax(2), SEQUENCE, ("softmax is not over the classes",)),
    "nan": (broken_weights(), VECTOR, ("weight holds NaN or infinite numbers",)),
    "minus infinity": (
        Functional(lambda x: F.pad(x, (1, 1), value=-math.inf).exp()),
        VECTOR,
        ("padded with minus infinity", "only max pooling"),
    ),
    "clamp by tensors": (Functional(lambda x: x.clamp(torch.zeros(6), torch.ones(6))), VECTOR, ("no plain number",)),
    "empty clamp": (Functional(lambda x: x.clamp(1, 0)), VECTOR, ("expected min < max",)),
    "negative elu": (Functional(lambda x: F.elu(x, -1.0)), VECTOR, ("expected factors > 0",)),
}


def _half_in_place(x: Tensor) -> Tensor:
    x[:, :3].relu_()
    return x


@pytest.mark.parametrize("name", REFUSED)
def test_refusals_name_the_layer_and_the_operation(name: str) -> None:
    module, shape, words = REFUSED[name]
    with pytest.raises(Unsupported) as caught:
        trace(module, shape)
    for word in words:
        assert word in caught.value.message


def test_a_graph_that_is_not_the_module_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    aten = torch.ops.aten
    monkeypatch.setitem(HANDLERS, aten.tanh, HANDLERS[aten.sigmoid])
    with pytest.raises(Unsupported, match="differs from the traced program"):
        trace(nn.Tanh(), VECTOR)


def test_tracing_leaves_the_module_alone() -> None:
    module = nn.Sequential(nn.Linear(6, 3), nn.BatchNorm1d(3), nn.Dropout())
    before = {name: value.clone() for name, value in module.state_dict().items()}
    trace(module, VECTOR)
    assert module.training
    for name, value in module.state_dict().items():
        assert value.dtype == before[name].dtype
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


def test_linear_layers_are_dense() -> None:
    assert isinstance(agrees(nn.Linear(6, 3), VECTOR).nodes[1].operation.map, Dense)  # type: ignore[union-attr]
