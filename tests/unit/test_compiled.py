"""The executed form of a model computes the model, or is not used."""

import shutil

import pytest
import torch
from fakes import CPU, Bands, Constant, Counting, HalfSpace, Interacting, handle_of
from torch import Tensor, fx, nn

from verifier.errors import Unsupported
from verifier.methods import Precision
from verifier.models.architectures import CNN, MLP, Architecture
from verifier.models.compiled import LOGIT_TOLERANCE, Form, compile_model, default_form, is_row_exact
from verifier.models.handle import ModelHandle

MODELS = {
    "mlp": (MLP, {"input_shape": [6], "hidden": [16, 16], "classes": 3}),
    "cnn": (CNN, {"input_shape": [1, 8, 8], "classes": 5}),
}


def network(name: str) -> ModelHandle:
    architecture: Architecture
    architecture, config = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = architecture.build(config).requires_grad_(False)
    return handle_of(module, architecture.input_shape(config), classes=int(str(config["classes"])))


def inputs(handle: ModelHandle, rows: int, seed: int = 5) -> Tensor:
    return torch.randn((rows, *handle.input_shape), generator=torch.Generator().manual_seed(seed))


def relative(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max() / b.abs().max().clamp_min(1.0))


@pytest.mark.parametrize("precision", [Precision.FLOAT32, Precision.BFLOAT16], ids=str)
@pytest.mark.parametrize("name", list(MODELS))
def test_the_fused_form_computes_the_model(name: str, precision: Precision) -> None:
    handle = network(name)
    forward, form = compile_model(handle, precision, 32, Form.TORCHSCRIPT)
    plain, _ = compile_model(handle, precision, 32, Form.EAGER)
    assert form is Form.TORCHSCRIPT
    with torch.inference_mode():
        for seed in range(3):
            x = inputs(handle, 32, seed)
            assert relative(forward(x).float(), plain(x).float()) <= LOGIT_TOLERANCE[precision]


def test_eager_is_the_module_itself() -> None:
    handle = network("mlp")
    forward, form = compile_model(handle, Precision.FLOAT32, 8, Form.EAGER)
    x = inputs(handle, 8)
    assert form is Form.EAGER
    assert torch.equal(forward(x), handle.logits(x))


def test_bfloat16_is_another_function_and_leaves_the_model_alone() -> None:
    handle = network("cnn")
    before = {name: tensor.clone() for name, tensor in handle.module.state_dict().items()}
    x = inputs(handle, 8)
    forward, _ = compile_model(handle, Precision.BFLOAT16, 8, Form.EAGER)
    with torch.inference_mode():
        logits = forward(x)
        # 8 bits of every factor and sum, over four layers: far from float32's 24, but the same network.
        assert 1e-5 < relative(logits.float(), handle.logits(x)) < LOGIT_TOLERANCE[Precision.BFLOAT16]
    assert logits.dtype == torch.bfloat16
    for name, tensor in handle.module.state_dict().items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, before[name])


def test_bfloat16_reaches_the_module() -> None:
    module = Counting(HalfSpace([1.0, 0.5]))
    forward, _ = compile_model(handle_of(module, (2,)), Precision.BFLOAT16, 4, Form.EAGER)
    assert forward(torch.rand(4, 2)).dtype == torch.bfloat16
    assert module.dtypes == set()  # a copy ran, not the module that float32 requests share


@pytest.mark.parametrize("form", list(Form))
def test_tf32_needs_a_gpu(form: Form) -> None:
    with pytest.raises(Unsupported, match="tf32 needs a CUDA device"):
        compile_model(network("mlp"), Precision.TF32, 8, form)


def test_default_form() -> None:
    assert default_form(CPU) is Form.TORCHSCRIPT
    assert default_form(torch.device("cuda")) is Form.EAGER


# -- models that cannot be fused


class Untraceable(nn.Module):
    """Leaves torch on the way, where no tracer can follow."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.from_numpy(x.numpy() * 2)


class Branching(nn.Module):
    """Two functions of a row: Python chooses between them by the row's largest entry."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([row * 2 if bool((row > self.limit).any()) else -row for row in x])


class Unfinished(nn.Module):
    """NaN on everything: no fused form can be compared with it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * float("nan")


@pytest.mark.parametrize("module", [Untraceable(), Unfinished()], ids=lambda module: type(module).__name__)
def test_what_cannot_be_fused_runs_as_it_is(module: nn.Module, caplog: pytest.LogCaptureFixture) -> None:
    handle = handle_of(module, (2,))
    forward, form = compile_model(handle, Precision.FLOAT32, 4, Form.TORCHSCRIPT)
    x = inputs(handle, 4)
    assert form is Form.EAGER
    assert "using eager" in caplog.text
    assert torch.equal(forward(x).isnan(), module(x).isnan())
    assert torch.equal(forward(x).nan_to_num(), module(x).nan_to_num())


def test_training_mode_is_not_frozen() -> None:
    handle = network("mlp")
    handle.module.train()
    _, form = compile_model(handle, Precision.FLOAT32, 4, Form.TORCHSCRIPT)
    assert form is Form.EAGER


@pytest.mark.parametrize("limit", [1.0, 1.5, 0.0, -1.0], ids=repr)
def test_a_branch_is_not_frozen_into_the_fused_form(limit: float) -> None:
    """Whatever branch the example took, the function that answers is the model on noisy inputs too."""
    handle = handle_of(Branching(limit), (2,))
    forward, _ = compile_model(handle, Precision.FLOAT32, 4, Form.TORCHSCRIPT)
    for x in (torch.full((4, 2), -3.0), torch.full((4, 2), 0.5), torch.full((4, 2), 3.0)):
        assert torch.equal(forward(x), handle.logits(x))


# -- rows


@pytest.mark.parametrize("rows", [1, 8, 64])
@pytest.mark.parametrize(
    ("module", "shape"),
    [(HalfSpace([0.5, 0.0, 0.0]), (3,)), (Bands([0.2, 0.5]), (3,)), (Constant(3, 1), (2, 2))],
    ids=["half-space", "bands", "constant"],
)
def test_rows_that_ignore_each_other_are_row_exact(module: nn.Module, shape: tuple[int, ...], rows: int) -> None:
    assert is_row_exact(module, rows, shape, CPU)


class ByPlace(nn.Module):
    """A row's answer depends on its place in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.arange(len(x), dtype=x.dtype)[:, None]


@pytest.mark.parametrize(
    "module", [Interacting(smooth=True), Interacting(smooth=False), ByPlace()], ids=["mean", "largest", "place"]
)
def test_rows_that_interact_are_not_row_exact(module: nn.Module) -> None:
    assert not is_row_exact(module, 16, (2,), CPU)


class Whisper(nn.Module):
    """Logits of 1e-6; under tracing, of the opposite sign: a fused form that is another function."""

    def forward(self, x: Tensor) -> Tensor:
        sign = -1e-6 if torch._C._get_tracing_state() else 1e-6
        return torch.stack([x[:, 0], x[:, 1]], dim=1) * sign


def test_another_function_is_found_also_where_logits_are_small() -> None:
    """Found by review: differences were measured against 1 where the logits are smaller."""
    handle = handle_of(fx.GraphModule(nn.ModuleDict({"leaf": Whisper()}), whisper_graph()), (2,))
    _, form = compile_model(handle, Precision.FLOAT32, 4, Form.TORCHSCRIPT)
    assert form is Form.EAGER


def whisper_graph() -> fx.Graph:
    graph = fx.Graph()
    graph.output(graph.call_module("leaf", (graph.placeholder("x"),)))
    return graph


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
def test_many_shapes_are_all_compiled() -> None:
    """torch.compile counts shapes by code and gives up after 8, silently: the form would be named wrongly."""
    handle = handle_of(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 2)), (2,))
    for rows in range(1, 11):
        forward, form = compile_model(handle, Precision.FLOAT32, rows, Form.INDUCTOR)
        assert form is Form.INDUCTOR
        x = inputs(handle, rows)
        assert torch.allclose(forward(x), handle.logits(x), rtol=1e-4, atol=1e-5)
