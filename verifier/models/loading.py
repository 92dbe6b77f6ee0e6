"""From the bytes of a file to a frozen network, or to the reason why not.

Nothing that can carry code comes in: safetensors weights for an installed architecture, and single-file
ONNX. The bytes are hashed and sniffed before anything parses them.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from verifier.errors import InvalidProblem, Unsupported
from verifier.model import DryRun, Manifest, ModelFormat, ModelSource, Normalization
from verifier.models.architectures import build, find_architecture
from verifier.models.dry_run import rehearse
from verifier.models.handle import ModelHandle
from verifier.models.onnx_graph import CONVERTER, import_onnx

MAX_MODEL_BYTES = 2 * 2**30
"""Largest model file by default: what a protobuf message, hence an ONNX file, can hold."""

PICKLE = "a pickle (.pt, .pth, .pkl)"
FOREIGN = (
    (b"PK\x03\x04", "a zip archive (a .pt or .pth checkpoint, TorchScript, .pt2 or .keras)"),
    (b"\x80\x02", PICKLE),
    (b"\x80\x03", PICKLE),
    (b"\x80\x04", PICKLE),
    (b"\x80\x05", PICKLE),
    (b"\x89HDF\r\n\x1a\n", "HDF5 (.h5)"),
    (b"\x1f\x8b", "a gzip archive"),
)
"""First bytes of what people send by mistake. All of them can run code at load, or hide a file that can."""

EXACT_IN_FLOAT32 = (torch.float16, torch.bfloat16)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model file, read and rehearsed.

    Args:
        handle: the network on its device.
        manifest: which function it is.
        dry_run: what the rehearsal measured.
    """

    handle: ModelHandle
    manifest: Manifest
    dry_run: DryRun


@dataclass(frozen=True, eq=False)
class Network:
    """What a file holds, before normalisation and before it has run.

    Args:
        module: logits from normalised inputs.
        input_shape: of one input, without the batch axis.
        architecture_version: safetensors only.
        converter: ONNX only.
        reference_difference: ONNX only; see `DryRun`.
    """

    module: nn.Module
    input_shape: tuple[int, ...]
    architecture_version: str | None = None
    converter: str | None = None
    reference_difference: float | None = None


class Normalize(nn.Module):
    """(x - mean) / std per channel (axis 1) in float32, for inputs [B, *input_shape]."""

    mean: Tensor
    std: Tensor

    def __init__(self, normalization: Normalization, input_shape: tuple[int, ...]) -> None:
        super().__init__()
        values = len(normalization.mean)
        if values not in (1, input_shape[0] if input_shape else 1):
            raise InvalidProblem(
                f"normalization needs one value, or one for each of the {input_shape[0]} channels of an input "
                f"{list(input_shape)}, got {values}",
                field="normalization",
            )
        shape = (1, values, *[1] * (len(input_shape) - 1)) if input_shape else (1,)
        self.register_buffer("mean", torch.tensor(normalization.mean).reshape(shape))
        self.register_buffer("std", torch.tensor(normalization.std).reshape(shape))
        if not (self.mean.isfinite().all() and self.std.isfinite().all() and (self.std > 0).all()):
            raise InvalidProblem(
                f"normalization must be finite, and std > 0, in float32 as well, got {normalization}",
                field="normalization",
            )

    def forward(self, x: Tensor) -> Tensor:
        """[B, *input_shape] -> the same shape."""
        return (x - self.mean) / self.std


def load(
    data: bytes, source: ModelSource, device: torch.device, *, max_bytes: int = MAX_MODEL_BYTES, seed: int = 0
) -> LoadedModel:
    """Read a model file, freeze the network on the device and rehearse it there.

    The handle is in eval mode, takes no gradients for parameters, normalises inside, and passed `rehearse`.
    Its digest is the manifest's: the same bytes and source give the same digest on every device.

    Args:
        data: the whole file.
        source: how to read it.
        device: to keep the network on.
        max_bytes: larger files are refused.
        seed: of the rehearsal's inputs.
    Raises:
        InvalidProblem: not an accepted file, or not the network that the source says.
        Unsupported: an operator of the ONNX graph, or an architecture that is installed but broken.
    """
    weights_sha256 = hashlib.sha256(data).hexdigest()
    check_file(data, source.format, max_bytes)
    network = read_onnx(data) if source.format is ModelFormat.ONNX else read_safetensors(data, source)
    module = network.module
    if source.normalization is not None:
        normalize = Normalize(source.normalization, network.input_shape)
        module = nn.Sequential(OrderedDict(normalize=normalize, network=module))
    module = module.eval().requires_grad_(False).to(device)
    rehearsal = rehearse(module, network.input_shape, source.input_range, device, seed)
    manifest = Manifest(
        weights_sha256=weights_sha256,
        source=source,
        architecture_version=network.architecture_version,
        converter=network.converter,
        input_shape=network.input_shape,
        classes=rehearsal.classes,
    )
    handle = ModelHandle(
        manifest.digest, module, network.input_shape, rehearsal.classes, device, input_range=source.input_range
    )
    return LoadedModel(handle, manifest, DryRun(rehearsal.batch_difference, network.reference_difference))


def check_file(data: bytes, declared: ModelFormat, max_bytes: int) -> None:
    """Refuse, without parsing, a file that is empty, too large, or not what was declared."""
    if not data:
        raise InvalidProblem("the model file is empty: send the whole file", field="model", reason="MODEL_EMPTY")
    if len(data) > max_bytes:
        raise InvalidProblem(
            f"a model file may have at most {max_bytes} bytes, got {len(data)}",
            field="model",
            reason="MODEL_TOO_LARGE",
        )
    found = sniff(data)
    if found is declared:
        return
    if isinstance(found, ModelFormat):
        raise InvalidProblem(
            f"the file looks like {found.value}, but {declared.value} was declared: declare {found.value}",
            field="format",
            reason="FORMAT_MISMATCH",
        )
    if found is None:
        raise InvalidProblem(
            f"the file is not {declared.value}: it begins with {data[:8]!r}; only safetensors and single-file ONNX "
            "are accepted",
            field="format",
            reason="FORMAT_MISMATCH",
        )
    raise InvalidProblem(
        f"the file looks like {found}; only safetensors and single-file ONNX are accepted, because {found} can run "
        'code at load; convert it with safetensors.torch.save_file(model.state_dict(), "model.safetensors") or '
        'torch.onnx.export(model, (example,), "model.onnx", external_data=False)',
        field="format",
        reason="UNSAFE_FORMAT",
    )


def sniff(data: bytes) -> ModelFormat | str | None:
    """An accepted format, the description of a refused one, or None; from the first bytes alone.

    Safetensors come first: their length field may begin like a pickle, but no pickle goes on like them.
    """
    if data[8:9] == b"{" and int.from_bytes(data[:8], "little") <= len(data) - 8:
        return ModelFormat.SAFETENSORS
    if data[:1] == b"\x08":  # ir_version, the first field of every ONNX file
        return ModelFormat.ONNX
    return next((description for signature, description in FOREIGN if data.startswith(signature)), None)


def read_onnx(data: bytes) -> Network:
    """The network of a single-file ONNX graph."""
    imported = import_onnx(data)
    return Network(
        imported.module,
        imported.input_shape,
        converter=CONVERTER,
        reference_difference=imported.reference_difference,
    )


def read_safetensors(data: bytes, source: ModelSource) -> Network:
    """The architecture that the source names, with the weights of the file.

    The network is built without memory first and filled with the file's tensors, so a configuration costs no
    more than the file that comes with it.
    """
    assert source.architecture is not None  # ModelSource refuses safetensors without one
    architecture = find_architecture(source.architecture)
    with torch.device("meta"):
        module, input_shape = build(architecture, source.config)
    tensors = parse_safetensors(data)
    check_names(module.state_dict(), tensors, architecture.name)
    weights = {name: as_expected(name, tensors[name], like) for name, like in module.state_dict().items()}
    module.load_state_dict(weights, assign=True)
    for name, buffer in module.named_buffers():
        if buffer.is_meta:
            raise Unsupported(
                f"architecture {architecture.name!r} keeps {name} outside its state dict: make it persistent",
                reason="ARCHITECTURE_BROKEN",
            )
    return Network(module, input_shape, architecture_version=architecture.version)


def parse_safetensors(data: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file, by name."""
    try:
        return safetensors.torch.load(data)
    except SafetensorError as error:
        raise InvalidProblem(
            f"the safetensors file is damaged ({error}): send it again", reason="MODEL_DAMAGED"
        ) from error
    except KeyError as error:  # a type that the format knows and torch does not
        raise InvalidProblem(
            f"the safetensors file holds tensors of type {error}: convert them to float32", reason="WEIGHTS_MISMATCH"
        ) from error


def check_names(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], architecture: str) -> None:
    """Refuse weights unless their names and shapes are exactly the architecture's."""
    common = expected.keys() & found.keys()
    complaints = {
        "missing": expected.keys() - common,
        "unexpected": found.keys() - common,
        "of another shape": {
            f"{name} (expected {list(expected[name].shape)}, got {list(found[name].shape)})"
            for name in common
            if expected[name].shape != found[name].shape
        },
    }
    if any(complaints.values()):
        listed = "; ".join(f"{what}: {some(names)}" for what, names in complaints.items() if names)
        raise InvalidProblem(
            f"the weights do not fit architecture {architecture!r} with this configuration: {listed}",
            reason="WEIGHTS_MISMATCH",
        )


def some(names: Iterable[str], most: int = 4) -> str:
    """A few of the names, in order, and how many more there are."""
    ordered = sorted(names)
    more = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return ", ".join(ordered[:most]) + more


def as_expected(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """The tensor in the architecture's dtype, in memory of its own; half precision is widened, which is exact."""
    if tensor.dtype != like.dtype and not (like.dtype == torch.float32 and tensor.dtype in EXACT_IN_FLOAT32):
        raise InvalidProblem(
            f"{name} must be {like.dtype} (float16 and bfloat16 are widened to float32), got {tensor.dtype}: "
            f"convert it with state_dict[{name!r}].to({like.dtype})",
            reason="WEIGHTS_MISMATCH",
        )
    if not tensor.isfinite().all():
        raise InvalidProblem(f"{name} holds NaN or infinite weights: repair the model", reason="WEIGHTS_NOT_FINITE")
    return tensor.to(like.dtype, copy=True)
