import gzip
import hashlib
import io
import pickle
import struct
import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from torch import Tensor, nn

from verifier.errors import InvalidProblem, Unsupported
from verifier.model import ModelFormat, ModelSource, Normalization
from verifier.models.architectures import MLP, RESNET20
from verifier.models.dry_run import ROWS, TOLERANCE, random_rows, rehearse
from verifier.models.loading import Normalize, load, sniff

MakeWeights = Callable[[int], bytes]
CPU = torch.device("cpu")
ONNX = ModelSource(ModelFormat.ONNX)


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return buffer.getvalue()


def checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def linear_onnx(weight: Tensor, bias: Tensor) -> bytes:
    """y = x W^T + b as an ONNX file."""
    inputs, classes = weight.shape[1], weight.shape[0]
    graph = helper.make_graph(
        [helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", inputs])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        [
            helper.make_tensor("w", TensorProto.FLOAT, list(weight.shape), weight.flatten().tolist()),
            helper.make_tensor("b", TensorProto.FLOAT, [classes], bias.tolist()),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    data: bytes = model.SerializeToString()
    return data


FOREIGN = [
    (checkpoint(), "zip archive"),
    (zipped("model/code/__torch__.py", "model/constants.pkl"), "zip archive .*TorchScript"),
    (zipped("archive/archive_format", "archive/models/model.json"), "zip archive .*\\.pt2"),
    *((pickle.dumps({"weight": [1.0]}, protocol), "pickle") for protocol in (2, 3, 4, 5)),
    (b"\x89HDF\r\n\x1a\n" + bytes(64), "HDF5"),
    (gzip.compress(b"weights"), "gzip"),
]


class TestTheDoor:
    @pytest.mark.parametrize("declared", list(ModelFormat))
    @pytest.mark.parametrize(("data", "looks_like"), FOREIGN, ids=[looks_like for _, looks_like in FOREIGN])
    def test_what_can_run_code_is_refused_with_the_way_out(
        self, source: ModelSource, declared: ModelFormat, data: bytes, looks_like: str
    ) -> None:
        with pytest.raises(InvalidProblem, match=f"looks like .*{looks_like}.*can run code at load; convert") as caught:
            load(data, ONNX if declared is ModelFormat.ONNX else source, CPU)
        assert caught.value.reason == "UNSAFE_FORMAT"
        assert "save_file" in caught.value.message
        assert "torch.onnx.export" in caught.value.message

    def test_the_other_accepted_format_must_be_declared(self, source: ModelSource, make_weights: MakeWeights) -> None:
        with pytest.raises(InvalidProblem, match="looks like safetensors, but onnx was declared"):
            load(make_weights(0), ONNX, CPU)
        with pytest.raises(InvalidProblem, match="looks like onnx, but safetensors was declared"):
            load(linear_onnx(torch.eye(2), torch.zeros(2)), source, CPU)

    def test_anything_else_shows_how_it_begins(self, source: ModelSource) -> None:
        with pytest.raises(InvalidProblem, match="not safetensors: it begins with b'weights,") as caught:
            load(b"weights,1,2,3", source, CPU)
        assert caught.value.reason == "FORMAT_MISMATCH"

    def test_an_empty_file(self, source: ModelSource) -> None:
        with pytest.raises(InvalidProblem, match="empty"):
            load(b"", source, CPU)

    def test_a_file_over_the_limit(self, source: ModelSource, make_weights: MakeWeights) -> None:
        data = make_weights(0)
        load(data, source, CPU, max_bytes=len(data))
        with pytest.raises(InvalidProblem, match=f"at most {len(data) - 1} bytes, got {len(data)}"):
            load(data, source, CPU, max_bytes=len(data) - 1)

    def test_a_header_length_like_a_pickles_magic_is_still_safetensors(self) -> None:

        header = b"{}".ljust(0x0480)  # the length's first bytes are 80 04, as of a pickle
        assert sniff(struct.pack("<Q", len(header)) + header) is ModelFormat.SAFETENSORS

    def test_a_damaged_file(self, source: ModelSource, make_weights: MakeWeights) -> None:
        with pytest.raises(InvalidProblem, match=r"damaged .*send it again"):
            load(make_weights(0)[:-1], source, CPU)

    @settings(max_examples=100, deadline=None)
    @given(data=st.data())
    def test_any_damage_to_the_header_is_harmless_or_refused(
        self, source: ModelSource, make_weights: MakeWeights, data: st.DataObject
    ) -> None:
        damaged = bytearray(make_weights(0))
        header = 8 + int.from_bytes(damaged[:8], "little")
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, header - 1))] = data.draw(st.integers(0, 255))
        with suppress(InvalidProblem):
            load(bytes(damaged), source, CPU)


class TestWeights:
    def tensors(self) -> dict[str, Tensor]:
        return dict(MLP.build({"input_shape": [4], "hidden": [8], "classes": 3}).state_dict())

    def refusal(self, tensors: dict[str, Tensor], source: ModelSource) -> str:
        with pytest.raises(InvalidProblem) as caught:
            load(safetensors.torch.save(tensors), source, CPU)
        return caught.value.message

    def test_names_and_shapes_must_be_the_architectures(self, source: ModelSource) -> None:
        tensors = self.tensors()
        tensors["module.1.bias"] = tensors.pop("1.bias")
        tensors["3.weight"] = torch.zeros(3, 9)
        message = self.refusal(tensors, source)
        assert "'mlp'" in message
        assert "missing: 1.bias;" in message
        assert "unexpected: module.1.bias;" in message
        assert "of another shape: 3.weight (expected [3, 8], got [3, 9])" in message

    def test_of_many_wrong_names_only_a_few_are_told(self, source: ModelSource) -> None:
        tensors = self.tensors() | {f"extra.{i}": torch.zeros(1) for i in range(9)}
        assert "unexpected: extra.0, extra.1, extra.2, extra.3 and 5 more" in self.refusal(tensors, source)

    @pytest.mark.parametrize("dtype", [torch.float64, torch.int64, torch.bool])
    def test_other_dtypes_are_refused_by_name(self, source: ModelSource, dtype: torch.dtype) -> None:
        tensors = self.tensors() | {"1.bias": torch.zeros(8, dtype=dtype)}
        message = self.refusal(tensors, source)
        assert f"1.bias must be torch.float32 (float16 and bfloat16 are widened to float32), got {dtype}" in message

    def test_a_type_that_torch_does_not_know(self, source: ModelSource) -> None:
        header = b'{"1.bias":{"dtype":"F4","shape":[4],"data_offsets":[0,2]}}'
        with pytest.raises(InvalidProblem, match="tensors of type 'F4': convert them to float32"):
            load(struct.pack("<Q", len(header)) + header + bytes(2), source, CPU)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_half_precision_is_widened_exactly(self, source: ModelSource, dtype: torch.dtype) -> None:
        halves = {name: tensor.to(dtype) for name, tensor in self.tensors().items()}
        module = load(safetensors.torch.save(halves), source, CPU).handle.module
        for name, tensor in module.state_dict().items():
            assert tensor.dtype == torch.float32
            assert torch.equal(tensor.to(dtype), halves[name])

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_weights_must_be_finite(self, source: ModelSource, value: float) -> None:
        tensors = self.tensors()
        tensors["3.weight"][1, 2] = value
        assert "3.weight holds NaN or infinite weights" in self.refusal(tensors, source)

    def test_batch_norm_keeps_its_counter_and_runs_on_running_statistics(self) -> None:
        weights = safetensors.torch.save(RESNET20.build({}).state_dict())
        loaded = load(weights, ModelSource(ModelFormat.SAFETENSORS, architecture="resnet20"), CPU)
        assert loaded.manifest.classes == 10
        assert not any(module.training for module in loaded.handle.module.modules())

    def test_a_configuration_costs_no_memory_before_the_weights_fit_it(self, source: ModelSource) -> None:
        huge = replace(source, config={"input_shape": [65536, 65536], "hidden": [65536], "classes": 2})
        assert "of another shape: 1.bias" in self.refusal(self.tensors(), huge)

    def test_an_architecture_must_keep_its_tensors_in_the_state_dict(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        metadata = tmp_path / "hidden_plugin-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hidden_plugin\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text("[verifier.architectures]\nhidden = hidden_plugin:HIDDEN\n")
        (tmp_path / "hidden_plugin.py").write_text(
            "import torch\n"
            "from verifier.models.architectures import Architecture\n"
            "def build(config):\n"
            "    module = torch.nn.Linear(2, 2)\n"
            "    module.register_buffer('table', torch.ones(2), persistent=False)\n"
            "    return module\n"
            "HIDDEN = Architecture('hidden', '1', build, lambda config: (2,))\n"
        )
        monkeypatch.syspath_prepend(tmp_path)
        weights = safetensors.torch.save(nn.Linear(2, 2).state_dict())
        with pytest.raises(Unsupported, match="'hidden' keeps table outside its state dict"):
            load(weights, ModelSource(ModelFormat.SAFETENSORS, architecture="hidden"), CPU)


class TestLoaded:
    def test_the_network_is_frozen_and_computes_what_the_weights_say(
        self, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        data = make_weights(3)
        handle = load(data, source, CPU).handle
        module = MLP.build(source.config)
        module.load_state_dict(safetensors.torch.load(data))
        x = torch.rand(5, 4)
        assert torch.equal(handle.logits(x), module(x))
        assert not handle.logits(x).requires_grad
        assert not handle.module.training
        assert (handle.input_shape, handle.classes, handle.device) == ((4,), 3, CPU)

    def test_the_manifest_says_which_function_it_is(self, source: ModelSource, make_weights: MakeWeights) -> None:
        data = make_weights(3)
        loaded = load(data, source, CPU)
        manifest = loaded.manifest
        assert manifest.weights_sha256 == hashlib.sha256(data).hexdigest()
        assert (manifest.architecture_version, manifest.converter) == ("1", None)
        assert (manifest.input_shape, manifest.classes) == ((4,), 3)
        assert loaded.handle.digest == manifest.digest == load(data, source, CPU, seed=9).manifest.digest
        assert 0 <= loaded.dry_run.batch_difference < 1e-5
        assert loaded.dry_run.reference_difference is None

    def test_the_input_range_goes_along(self, source: ModelSource, make_weights: MakeWeights) -> None:
        assert load(make_weights(0), replace(source, input_range=(0.0, 1.0)), CPU).handle.input_range == (0.0, 1.0)

    @pytest.mark.parametrize(("mean", "std"), [((0.5,), (0.25,)), ((0.0, 1.0, 2.0, 3.0), (1.0, 2.0, 4.0, 8.0))])
    def test_normalisation_is_inside(
        self, source: ModelSource, make_weights: MakeWeights, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> None:
        plain = load(make_weights(0), source, CPU)
        normalised = load(make_weights(0), replace(source, normalization=Normalization(mean, std)), CPU)
        x = torch.rand(5, 4)
        expected = plain.handle.logits((x - torch.tensor(mean)) / torch.tensor(std))
        assert torch.equal(normalised.handle.logits(x), expected)
        assert normalised.manifest.digest != plain.manifest.digest

    def test_normalisation_of_images_is_per_channel(self) -> None:
        normalize = Normalize(Normalization((1.0, 2.0), (1.0, 4.0)), (2, 3, 3))
        x = torch.rand(5, 2, 3, 3)
        assert torch.equal(normalize(x)[:, 1], (x[:, 1] - 2) / 4)

    @pytest.mark.parametrize(
        ("normalization", "message"),
        [
            (Normalization((0.0, 0.0), (1.0, 1.0)), "one value, or one for each of the 4 channels .* got 2"),
            (Normalization((0.0,), (1e-60,)), "in float32 as well"),
        ],
    )
    def test_normalisation_must_fit_the_input(
        self, source: ModelSource, make_weights: MakeWeights, normalization: Normalization, message: str
    ) -> None:
        with pytest.raises(InvalidProblem, match=message):
            load(make_weights(0), replace(source, normalization=normalization), CPU)

    def test_onnx_brings_its_own_architecture(self) -> None:
        weight, bias = torch.tensor([[1.0, 2.0], [3.0, 5.0], [-1.0, 0.5]]), torch.tensor([0.5, 0.0, 1.0])
        normalization = Normalization((0.5,), (2.0,))
        loaded = load(linear_onnx(weight, bias), replace(ONNX, normalization=normalization), CPU)
        x = torch.rand(5, 2)
        torch.testing.assert_close(loaded.handle.logits(x), (x - 0.5) / 2.0 @ weight.T + bias)
        assert loaded.manifest.converter
        assert loaded.manifest.architecture_version is None
        assert (loaded.manifest.input_shape, loaded.manifest.classes) == ((2,), 3)
        assert loaded.dry_run.reference_difference is not None


class Function(nn.Module):
    """A network from a plain function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class TestRehearsal:
    def refusal(self, module: nn.Module) -> InvalidProblem:
        with pytest.raises(InvalidProblem) as caught:
            rehearse(module, (3,), None, CPU)
        return caught.value

    def test_an_answer_that_changes_by_itself(self) -> None:
        refusal = self.refusal(nn.Sequential(nn.Linear(3, 3), nn.Dropout()).train())
        assert refusal.reason == "NOT_DETERMINISTIC"
        assert "dropout" in refusal.message

    @pytest.mark.parametrize(
        "module",
        [
            nn.BatchNorm1d(3).train(),
            Function(lambda x: x - x.mean(dim=0)),
            Function(lambda x: x + 1e-6 * x.mean(dim=0)),  # far below the tolerance between batch shapes
            Function(lambda x: x.cumsum(dim=0)),
            Function(lambda x: x.roll(1, dims=0)),
            Function(lambda x: x * len(x)),
        ],
        ids=["batch-norm", "centred", "slightly-centred", "cumulated", "rolled", "batch-size"],
    )
    def test_rows_that_influence_each_other(self, module: nn.Module) -> None:
        assert self.refusal(module).reason == "ROWS_INTERACT"

    @pytest.mark.parametrize(
        ("function", "message"),
        [
            (lambda x: x.reshape(1, 3), f"fails on inputs of shape \\[{ROWS}, 3\\]: RuntimeError"),
            (lambda x: x[:, :1], f"at least 2 classes, got \\[{ROWS}, 1\\]"),
            (lambda x: x.sum(), "got \\[\\] of torch.float32"),
            (lambda x: x[:2], "got \\[2, 3\\]"),
            (lambda x: x.double(), "of torch.float64"),
            (lambda x: (x, x), "got a tuple"),
            (lambda x: x.log(), "not finite on ordinary inputs.*--input-range"),
        ],
        ids=["shape", "one-class", "scalar", "rows", "float64", "tuple", "nan"],
    )
    def test_what_is_no_classifier(self, function: Callable[[Tensor], Any], message: str) -> None:
        with pytest.raises(InvalidProblem, match=message) as caught:
            rehearse(Function(function), (3,), None, CPU)
        assert caught.value.reason == "DRY_RUN_FAILED"

    @pytest.mark.parametrize(
        "function",
        [
            lambda x: torch.zeros(len(x), 4),
            lambda x: x[:, :1].expand(-1, 4),  # every logit ties
            lambda x: 1e-20 * x,
            lambda x: 1e20 * x,
        ],
        ids=["constant", "ties", "tiny", "huge"],
    )
    def test_ties_and_scale_fool_nobody(self, function: Callable[[Tensor], Tensor]) -> None:
        assert rehearse(Function(function), (3,), None, CPU).batch_difference == 0

    def test_rounding_by_batch_shape_is_allowed_and_recorded(self) -> None:
        def rounded(x: Tensor) -> Tensor:
            return x * (1 + TOLERANCE / 2) if len(x) == 1 else x

        rehearsal = rehearse(Function(rounded), (3,), (1.0, 2.0), CPU)
        assert rehearsal.classes == 3
        assert TOLERANCE / 4 < rehearsal.batch_difference < TOLERANCE

    def test_inputs_stay_in_the_range(self) -> None:
        assert rehearse(Function(lambda x: x.log()), (3,), (0.5, 2.0), CPU).classes == 3
        rows = random_rows((500,), (-3.0, 7.0), torch.Generator().manual_seed(0))
        assert -3 <= float(rows.min()) < -2.9
        assert 6.9 < float(rows.max()) <= 7
