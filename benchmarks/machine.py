"""What a figure depends on: printed beside every one of them."""

import platform
from typing import Any

import numpy as np
import torch

from verifier.backends.device import device_name
from verifier.version import __version__


def machine(device: torch.device) -> dict[str, Any]:
    """Device, threads and versions."""
    return {
        "device": str(device),
        "device_name": device_name(device),
        "threads": torch.get_num_threads(),
        "verifier": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def spread(values: list[float]) -> dict[str, float]:
    """Median, and the quartiles around it."""
    low, median, high = np.percentile(values, [25, 50, 75])
    return {"median": float(median), "q25": float(low), "q75": float(high)}
