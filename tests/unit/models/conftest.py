"""Small models, and a registry to put them in."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors.torch
import torch

from verifier.model import ModelFormat, ModelSource
from verifier.models.architectures import MLP
from verifier.models.registry import Registry

CONFIG = {"input_shape": [4], "hidden": [8], "classes": 3}


@pytest.fixture(scope="session")
def source() -> ModelSource:
    """A small fully connected network."""
    return ModelSource(ModelFormat.SAFETENSORS, architecture="mlp", config=CONFIG)


@pytest.fixture(scope="session")
def make_weights() -> Callable[[int], bytes]:
    """Safetensors for `source`: other weights for each seed."""

    def make(seed: int) -> bytes:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return safetensors.torch.save(MLP.build(CONFIG).state_dict())

    return make


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """A server's registry, empty."""
    with Registry.open(tmp_path / "data", exclusive=True) as registry:
        yield registry
