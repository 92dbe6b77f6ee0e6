"""A data set ten times as large takes no more memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from array_files import saved, write_idx

from verifier.datasets.source import CHUNK_BYTES

FEATURES = 100
SMALL, LARGE = 10_000, 100_000

DO_ALL = """
import sys
from pathlib import Path
import numpy as np
from verifier.datasets.files import DatasetFiles
from verifier.datasets.incoming import fill
from verifier.datasets.opening import open_source
from verifier.datasets.outgoing import Outgoing

inputs, labels, data_dir = map(Path, sys.argv[1:])
source = open_source(inputs, labels)
files = DatasetFiles(data_dir)
with files.begin(source.extent) as incoming:
    digest = fill(incoming, source)
    files.place(incoming)
with files.begin(source.extent) as incoming:
    outgoing = Outgoing(source)
    for chunk in outgoing.chunks():
        incoming.append_bytes(chunk)
    assert incoming.finish(outgoing.sha256) == digest
with files.open(digest) as dataset:
    dataset.verify()
    for first in range(0, len(dataset), 1000):
        x, y = dataset.rows(range(first, first + 1000))
        assert (x[:, 0] == y).all()
print(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in line))
"""


def peak(path: Path, size: int, kind: str) -> int:
    """Bytes that a process had at most, which reads, stores, sends, verifies and reads back so many inputs."""
    path.mkdir()
    y = np.arange(size) % 2**15
    x = np.zeros((size, FEATURES), np.float32)
    x[:, 0] = y
    labels = saved(path / "y.npy", y)
    match kind:
        case "npy":
            inputs = saved(path / "x.npy", x)
        case "npz":
            inputs = path / "x.npz"
            np.savez_compressed(inputs, x=x)
        case "idx.gz":
            inputs = write_idx(path / "x.gz", x)
        case _:
            pa = pytest.importorskip("pyarrow")
            inputs = path / "x.parquet"
            column = pa.FixedSizeListArray.from_arrays(x.reshape(-1), FEATURES)
            pytest.importorskip("pyarrow.parquet").write_table(pa.table({"x": column}), inputs, row_group_size=5000)
    (path / "data").mkdir()
    command = [sys.executable, "-c", DO_ALL, str(inputs), str(labels), str(path / "data")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return 1024 * int(done.stdout)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the peak is read from /proc")
@pytest.mark.parametrize("kind", ["npy", "npz", "idx.gz", "parquet"])
def test_memory_does_not_grow_with_the_data_set(tmp_path: Path, kind: str) -> None:
    more_data = (LARGE - SMALL) * FEATURES * 4
    growth = peak(tmp_path / "large", LARGE, kind) - peak(tmp_path / "small", SMALL, kind)
    assert growth < 4 * CHUNK_BYTES < more_data / 8
