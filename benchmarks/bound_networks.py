"""Real networks with the bounds, radii and times of an independent verifier, and how our methods are run on them.

The files lie in ../shared beside the checkout: `is_there` tells whether they do.
"""

import gzip
import hashlib
import json
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from verifier.backends.base import Work
from verifier.backends.device import Device
from verifier.backends.table import backend_of
from verifier.bounds.arithmetic import Arithmetic
from verifier.bounds.graph import Affine
from verifier.bounds.linear import Convolution
from verifier.bounds.margin import margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region, around
from verifier.bounds.trace import trace
from verifier.certificate import BoundEvidence, Certificate
from verifier.methods import BoundMethod
from verifier.models.architectures import build, find_architecture
from verifier.models.handle import ModelHandle
from verifier.models.onnx_graph import import_onnx
from verifier.problem import Norm, Problem
from verifier.seeds import Seed

SHARED = Path(__file__).resolve().parents[1].parent / "shared"
SEED = 2026
EPS = {"cifar": 1 / 255, "mnist": 0.03}
"""At which the stored times were measured."""

STATED_ACCURACY = 0.9375
"""IBP-certified at eps 0.1 of the network that was trained for it, of all 10,000 test images."""

_STORED = SHARED / "reference" / "bounds.json"
_MNIST = SHARED / "data" / "mnist" / "test-0000-8000"
_IBP_TRAINED = SHARED / "data" / "trained" / "mnist_small_ibp_e01.safetensors"


class Normalised(nn.Module):
    """A network behind the normalisation of its inputs.

    Args:
        network: of normalised inputs.
        mean, std: of each channel.
    """

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(mean).reshape(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).reshape(-1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.network((x - self.get_buffer("mean")) / self.get_buffer("std"))
        return logits


@dataclass(frozen=True, eq=False)
class StoredNetwork:
    """A network, its inputs, and what is stored about it.

    Args:
        entry: of the file of stored bounds.
        module: logits [B, 10] from pixels [B, *shape] in [0, 1].
        x, labels: inputs [20, *shape] float32, and the classes that the network gives them.
    """

    entry: dict[str, Any]
    module: nn.Module
    x: Tensor
    labels: Tensor

    @property
    def name(self) -> str:
        return str(self.entry["model"])

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.x.shape[1:])

    @property
    def eps(self) -> float:
        """At which times are compared."""
        return EPS[self.entry["dataset"]]

    @property
    def times(self) -> dict[str, Any]:
        """The other verifier's."""
        return dict(self.entry["timing_auto_LiRPA"])

    @cached_property
    def network(self) -> Network:
        """Its graph, on the CPU."""
        return self.network_on(torch.device("cpu"))

    @cached_property
    def is_convolutional(self) -> bool:
        maps = (node.operation.map for node in self.network.graph.nodes if isinstance(node.operation, Affine))
        return any(isinstance(one, Convolution) for one in maps)

    def network_on(self, device: torch.device) -> Network:
        """Its graph, on a device."""
        return Network(trace(self.module, self.shape), device)

    def handle(self, device: torch.device) -> ModelHandle:
        """As backends take it."""
        module = self.module.to(device)
        return ModelHandle(hashlib.sha256(self.name.encode()).hexdigest(), module, self.shape, 10, device)

    def theirs(self, bound: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The other verifier's radii: (last certified, first not certified), of the first inputs."""
        radii = self.entry["radius_linf"].get(bound, {"lo": [], "hi": []})
        return np.array(radii["lo"]), np.array(radii["hi"])

    def question(
        self, eps: float, arithmetic: Arithmetic, chosen: Sequence[int], device: torch.device | None = None
    ) -> tuple[Region, Tensor]:
        """(regions, margin rows) of some inputs, repeated where an index is."""
        x, labels = self.x[list(chosen)].to(device), self.labels[list(chosen)].to(device)
        radii = torch.full((len(x),), eps, dtype=torch.float64, device=device)
        return around(x, radii, Norm.LINF, arithmetic), margin_rows(labels, 10, arithmetic.dtype)


def is_there() -> bool:
    """Whether the stored bounds lie beside the checkout."""
    return _STORED.exists()


@cache
def entries() -> dict[str, dict[str, Any]]:
    """What is stored, by the networks' names; empty where nothing is."""
    if not is_there():
        return {}
    return {entry["model"]: entry for entry in json.loads(_STORED.read_text())["models"]}


@cache
def load(name: str) -> StoredNetwork:
    """A network by its name."""
    entry = entries()[name]
    imported = import_onnx(_onnx_file(entry).read_bytes())
    with np.load(_STORED.parent / "inputs.npz", allow_pickle=False) as arrays:
        x = torch.from_numpy(arrays[entry["inputs_npz_key"]])
    module: nn.Module = imported.module
    normal = entry["preprocess"]
    if "mean" in normal and not entry["onnx_copy"]:  # the copies have it inside
        module = Normalised(module, normal["mean"], normal["std"])
    else:
        x = x.reshape(-1, *imported.input_shape)
    return StoredNetwork(entry, module.eval(), x, torch.tensor(entry["label"]))


def _onnx_file(entry: dict[str, Any]) -> Path:
    """The copy beside the stored bounds, or the file of the cases."""
    if entry["onnx_copy"]:
        return _STORED.parent / str(entry["onnx_copy"])
    file = Path(entry["source"].split()[-1]).name
    return next((SHARED / "cases").rglob(file))


@dataclass(frozen=True, eq=False)
class Answers:
    """What a backend answered.

    Args:
        certificates: in the order of the inputs.
        seconds: of all of them together.
    """

    certificates: list[Certificate]
    seconds: float

    @property
    def radii(self) -> NDArray[np.float64]:
        """0 where nothing is certified."""
        return np.array([one.radius for one in self.certificates])

    @property
    def certified(self) -> int:
        return sum(one.certified for one in self.certificates)

    @property
    def evaluations(self) -> float:
        """Bounds computed for an input, on average."""
        return float(np.mean([evidence(one).evaluations for one in self.certificates]))


def evidence(certificate: Certificate) -> BoundEvidence:
    """What a deterministic certificate rests on."""
    assert isinstance(certificate.evidence, BoundEvidence)
    return certificate.evidence


def certify(handle: ModelHandle, problem: Problem, method: BoundMethod, device: Device) -> Answers:
    """Run a backend to the end, as the engine does; the model is made ready before the clock starts."""
    backend = backend_of(method)
    backend.check(handle, problem, method, device)
    ready = backend.prepare(handle, method, None, device)
    started = time.perf_counter()
    states = backend.begin(handle, problem, method, Seed(SEED, "client"), device)
    done: list[Certificate] = []
    while states:
        states = backend.step(ready, [Work(state, 1) for state in states])
        answers = backend.conclude(states, 0.0, 0.0)
        done += [answer for answer in answers if isinstance(answer, Certificate)]
        states = [state for state, answer in zip(states, answers, strict=True) if answer is None]
    seconds = time.perf_counter() - started
    return Answers(sorted(done, key=lambda one: one.index), seconds)


def pixels(stored: StoredNetwork, count: int) -> Problem:
    """The largest L-inf radius of the first inputs; pixels are not clipped, as in the stored radii."""
    return Problem(stored.x[:count].numpy(), Norm.LINF)


def ibp_trained(device: torch.device) -> ModelHandle:
    """The network that was trained for interval bounds at eps 0.1."""
    module, shape = build(find_architecture("cnn"), {})
    module.load_state_dict(safetensors.torch.load_file(_IBP_TRAINED))
    module = module.eval().requires_grad_(False).to(device)
    return ModelHandle(hashlib.sha256(b"mnist_small_ibp_e01").hexdigest(), module, shape, 10, device)


def mnist_test() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """(images [8000, 1, 28, 28] in [0, 1], classes)."""
    images, labels = (_idx(f"{_MNIST}-{kind}-ubyte.gz") for kind in ("images-idx3", "labels-idx1"))
    return (images[:, None] / 255).astype(np.float32), labels.astype(np.int64)


def _idx(path: str) -> NDArray[np.uint8]:
    """An array of bytes: a magic number that ends in the number of axes, their sizes, the bytes."""
    data = gzip.decompress(Path(path).read_bytes())
    sizes = np.frombuffer(data, ">u4", data[3], 4).tolist()
    return np.frombuffer(data, np.uint8, math.prod(sizes), 4 + 4 * len(sizes)).reshape(sizes)
