"""Published images read by us and by plain numpy: shared/data, beside the checkout."""

import gzip
from pathlib import Path

import numpy as np
import pytest
from array_files import whole

from verifier.datasets.opening import open_source
from verifier.datasets.source import Reading

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the images lie in ../shared beside the checkout, and are not there"
)


@pytest.mark.parametrize(("name", "size"), [("mnist/test-0000-8000", 8000), ("fashion_mnist/test-0000-5000", 5000)])
def test_idx(name: str, size: int) -> None:
    images, labels = DATA / f"{name}-images-idx3-ubyte.gz", DATA / f"{name}-labels-idx1-ubyte.gz"
    x, y, faults = whole(open_source(images, labels), 999)
    pixels = np.frombuffer(gzip.decompress(images.read_bytes())[16:], np.uint8).reshape(size, 1, 28, 28)
    assert np.array_equal(x, pixels / np.float32(255))
    assert np.array_equal(y, np.frombuffer(gzip.decompress(labels.read_bytes())[8:], np.uint8))
    assert faults == {}
    if name.startswith("mnist"):
        assert y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_npz_with_channels_last() -> None:
    path = DATA / "cifar10" / "cifar10_test_240.npz"
    source = open_source(path, how=Reading(channels_last=True))
    x, y, _ = whole(source, 50)
    with np.load(path, allow_pickle=False) as arrays:
        assert np.array_equal(x, arrays["x"].transpose(0, 3, 1, 2) / np.float32(255))
        assert np.array_equal(y, arrays["y"])
    assert source.shape == (3, 32, 32)
