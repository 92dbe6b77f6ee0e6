"""The shipped images and networks of the demonstration."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors import safe_open

from verifier.demo import digits
from verifier.errors import NotFound
from verifier.model import ModelFormat, ModelSource
from verifier.models.handle import ModelHandle
from verifier.models.loading import load

LEAST_ACCURACY = 0.96
"""Both networks measured 0.978 or better; they and the images are fixed, so the margin is for rounding only."""

LARGEST_FILE = 150_000


def load_shipped(name: str, file_format: ModelFormat) -> ModelHandle:
    """A shipped network, read as the registry would; safetensors with what their metadata say."""
    path = digits.network(name, file_format)
    if file_format is ModelFormat.ONNX:
        source = ModelSource(file_format)
    else:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
        source = ModelSource(file_format, metadata["architecture"], json.loads(metadata["config"]))
    return load(path.read_bytes(), source, torch.device("cpu")).handle


@pytest.mark.parametrize("name", digits.NAMES)
def test_both_formats_are_the_same_accurate_network(name: str) -> None:
    pytest.importorskip("sklearn")
    x, y = digits.test_images()
    weights, graph = (load_shipped(name, file_format) for file_format in (ModelFormat.SAFETENSORS, ModelFormat.ONNX))
    assert weights.input_shape == graph.input_shape == digits.INPUT_SHAPE
    logits = weights.logits(torch.from_numpy(x))
    torch.testing.assert_close(graph.logits(torch.from_numpy(x)), logits, rtol=1e-5, atol=1e-5)
    assert np.mean(logits.argmax(dim=1).numpy() == y) >= LEAST_ACCURACY


@pytest.mark.parametrize("name", digits.NAMES)
@pytest.mark.parametrize("file_format", ModelFormat)
def test_files_are_small(name: str, file_format: ModelFormat) -> None:
    assert digits.network(name, file_format).stat().st_size < LARGEST_FILE


def test_unknown_network_is_not_found() -> None:
    with pytest.raises(NotFound, match="digits_gauss050"):
        digits.network("mnist", ModelFormat.ONNX)


def test_split_is_disjoint_and_complete() -> None:
    pytest.importorskip("sklearn")
    (x, y), (x_train, y_train) = digits.test_images(), digits.training_images()
    assert (x.shape, y.shape) == ((450, 1, 8, 8), (450,))
    assert (x.dtype.name, y.dtype.name) == ("float32", "int64")
    assert len(x) + len(x_train) == len(y) + len(y_train) == 1797
    assert (x.min(), x.max()) == (0.0, 1.0)
    assert not {image.tobytes() for image in x} & {image.tobytes() for image in x_train}


def test_split_never_moves() -> None:
    """The shipped networks were trained on all other images: with another split, they would be tested on these."""
    pytest.importorskip("sklearn")
    x, _ = digits.test_images()
    assert hashlib.sha256(x.tobytes()).hexdigest().startswith("26572dca2cf6b66d")


def test_import_brings_neither_images_nor_torch() -> None:
    code = "import sys, verifier.demo; sys.exit(any(name in sys.modules for name in ('sklearn', 'torch', 'onnx')))"
    subprocess.run([sys.executable, "-c", code], check=True)
