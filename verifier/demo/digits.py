"""The demonstration's images and networks: scikit-learn's digits, and two classifiers of them that are shipped.

The images are 8 x 8 scans of handwritten digits, 1,797 in all, pixel values in [0, 1] as float32 [1, 8, 8].
"""

from importlib import resources
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from verifier.errors import NotFound, Unsupported
from verifier.model import ModelFormat

NAMES = ("digits_std", "digits_gauss050")
"""The shipped networks: trained without noise, and with Gaussian noise of standard deviation 0.5."""

INPUT_SHAPE = (1, 8, 8)
CLASSES = 10

HELD_OUT = 450
_SPLIT_SEED = 0

Images = NDArray[np.float32]
Labels = NDArray[np.int64]


def test_images() -> tuple[Images, Labels]:
    """The 450 images that no shipped network was trained on, [450, 1, 8, 8], and their labels, [450].

    Raises:
        Unsupported: scikit-learn, which brings the images, is not installed.
    """
    x, y = _shuffled()
    return x[:HELD_OUT], y[:HELD_OUT]


def training_images() -> tuple[Images, Labels]:
    """The 1,347 other images, [1347, 1, 8, 8], and their labels; errors as in `test_images`."""
    x, y = _shuffled()
    return x[HELD_OUT:], y[HELD_OUT:]


def network(name: str, format: ModelFormat) -> Path:  # noqa: A002 - the word that ModelSource uses
    """Where the file of a shipped network lies.

    Raises:
        NotFound: no network of that name is shipped.
    """
    if name not in NAMES:
        raise NotFound(f"the demonstration ships {' and '.join(NAMES)}, got {name!r}")
    return Path(str(resources.files("verifier.demo") / f"{name}.{ModelFormat(format)}"))


def _shuffled() -> tuple[Images, Labels]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Unsupported(
            "the digits come with scikit-learn, which is not installed: pip install 'verifier[demo]'",
            reason="DEMO_NOT_INSTALLED",
        ) from error
    digits = load_digits()
    # NumPy promises that RandomState never draws otherwise: a moved split would test on training images.
    order = np.random.RandomState(_SPLIT_SEED).permutation(len(digits.target))
    x = (digits.images[order] / 16).astype(np.float32).reshape(-1, *INPUT_SHAPE)
    return x, digits.target[order].astype(np.int64)
