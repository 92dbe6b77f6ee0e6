"""Arrays in the files that data sets are read from."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.source import Source

IDX_CODES = {"uint8": 0x08, "int8": 0x09, "int16": 0x0B, "int32": 0x0C, "float32": 0x0D, "float64": 0x0E}


def idx_bytes(array: NDArray[Any]) -> bytes:
    """The array in the idx format of MNIST."""
    head = struct.pack(f">BBBB{array.ndim}I", 0, 0, IDX_CODES[array.dtype.name], array.ndim, *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write_idx(path: Path, array: NDArray[Any]) -> Path:
    """An idx file, packed where its name ends so."""
    data = idx_bytes(array)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def saved(path: Path, array: NDArray[Any]) -> Path:
    """An .npy file."""
    np.save(path, array)
    return path


def whole(source: Source, rows: int) -> tuple[NDArray[np.float32], Any, dict[int, str]]:
    """(inputs, labels or None, faults): all that a source gives, in chunks whose sizes are checked."""
    x: list[NDArray[np.float32]] = []
    labels: list[NDArray[np.int64]] = []
    faults: dict[int, str] = {}
    first = 0
    for chunk in source.chunks(rows):
        assert len(chunk.x) == min(rows, source.size - first)
        assert chunk.x.dtype == np.float32
        assert chunk.x.shape[1:] == source.shape
        assert (chunk.labels is not None) == source.labelled
        x.append(chunk.x)
        if chunk.labels is not None:
            assert chunk.labels.dtype == np.int64
            labels.append(chunk.labels)
        faults |= {first + offset: reason for offset, reason in chunk.faults.items()}
        first += len(chunk.x)
    assert first == source.size
    return np.concatenate(x), np.concatenate(labels) if labels else None, faults
