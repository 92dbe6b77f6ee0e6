"""Inputs as pictures inside a page: PNG as data URIs. What is no picture is shown as numbers."""

import base64
import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.certificate import Certificate
from verifier.errors import Unsupported

LARGEST_SIDE = 256
"""Pixels; larger pictures are made smaller."""

_LARGEST_ARRAY = 64 * 2**20
"""Numbers in an input that is still made a picture."""

_NUMBERS = 12
"""How many numbers are shown of what is no picture."""


@dataclass(frozen=True, eq=False)
class ShownInput:
    """An input that a report shows.

    Args:
        index: of the input in its data set.
        x: as it was sent, without the batch axis; [C, H, W] or [H, W] are pictures, in any range.
        label: its true class; None where there is none.
        certificate: what was proved about it; None where it could not be treated.
    """

    index: int
    x: NDArray[np.floating]
    label: int | None
    certificate: Certificate | None


def picture(x: NDArray[np.floating]) -> str | None:
    """A data URI of a PNG; None where the input is no picture (another shape, NaN, infinity).

    Values in [0, 1] and in [0, 255] keep their brightness; others are stretched from their least to their largest.

    Raises:
        Unsupported: Pillow is not installed.
    """
    pixels = _pixels(np.asarray(x))
    if pixels is None:
        return None
    try:
        from PIL import Image  # an optional dependency
    except ImportError:
        raise Unsupported("gate reports need Pillow, which is not installed: pip install 'verifier[gate]'") from None
    image = Image.fromarray(pixels)
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    file = io.BytesIO()
    image.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def numbers(x: NDArray[np.floating]) -> str:
    """The shape and the first values of an input that is no picture."""
    values = np.asarray(x).ravel()
    more = ", \N{HORIZONTAL ELLIPSIS}" if values.size > _NUMBERS else ""
    return f"{list(np.shape(x))}: " + ", ".join(f"{value:.4g}" for value in values[:_NUMBERS].tolist()) + more


def _pixels(x: NDArray[np.floating]) -> NDArray[np.uint8] | None:
    """[H, W] or [H, W, 3] bytes."""
    if x.ndim == 3 and x.shape[0] in (1, 3):
        x = x[0] if x.shape[0] == 1 else x.transpose(1, 2, 0)
    elif x.ndim != 2:
        return None
    if not 0 < x.size <= _LARGEST_ARRAY or not np.isfinite(x).all():
        return None
    x = x.astype(np.float64)
    low, high = float(x.min()), float(x.max())
    if low >= 0 and high <= 255:
        low, high = 0.0, 1.0 if high <= 1 else 255.0
    if high / 2 - low / 2 == 0:
        low, high = low - 1, high + 1
    shares = (x / 2 - low / 2) / (high / 2 - low / 2)  # halves: the difference of two floats may overflow
    return np.ascontiguousarray(np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8))
