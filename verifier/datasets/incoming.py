"""A data set on its way in: hashed while it is written, invisible until it is placed."""

import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.manifest import (
    FAULTS_FILE,
    INPUTS_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    DatasetManifest,
    faults_to_json,
)
from verifier.datasets.source import (
    CHUNK_BYTES,
    LABEL_BYTES,
    Extent,
    Source,
    check_label_dtype,
    checked_labels,
)
from verifier.errors import InvalidProblem
from verifier.storage.blobs import DISK_FULL, disk_full, sync_directory

MAX_FAULTS = 100_000
"""They are kept in memory while a data set is open; one with more of them is another mistake."""

MAX_REASON = 300
"""Characters of a fault's reason that are kept."""


class Incoming:
    """A data set that is being written, in a directory of its own.

    `append` or `append_bytes` as often as needed, `finish` once, then place it with `DatasetFiles.place` or
    `Datasets.add`; or `abort` at any time, as the end of a `with` does. Any error of these aborts it. The content alone
    decides the digest: neither the chunking nor which of the two ways was used. For one thread at a time.

    Args:
        directory: empty, for it alone; it is locked while this object lives, so that a sweep knows that somebody
            is writing.
        extent: what will be written.
    """

    def __init__(self, directory: Path, extent: Extent) -> None:
        self.extent = extent
        self._directory = directory
        self._faults: dict[int, str] = {}
        self._highest = -1
        self._part = b""  # of a label that a chunk of bytes has cut
        self._manifest: DatasetManifest | None = None
        self._upload = hashlib.sha256()
        self._uploaded = 0
        self._lock = os.open(directory, os.O_RDONLY)
        self._files: dict[str, _HashedFile] = {}
        self._open = True
        with self._abort_on_error():
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._inputs = self._files[INPUTS_FILE] = _HashedFile(directory / INPUTS_FILE)
            if extent.labelled:
                self._files[LABELS_FILE] = _HashedFile(directory / LABELS_FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.abort()

    @property
    def rows(self) -> int:
        """How many whole inputs were written."""
        return self._inputs.size // self.extent.row_bytes

    def append(
        self, x: NDArray[np.float32], labels: NDArray[np.int64] | None = None, faults: Mapping[int, str] | None = None
    ) -> None:
        """Write the next inputs.

        Args:
            x: [b, *shape], float32.
            labels: integers, [b], exactly where the data set is labelled.
            faults: why one cannot be used, by its offset in x; NaN is stored in its place, whatever is there.
        Raises:
            InvalidProblem: they do not fit what was announced.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        with self._abort_on_error():
            first = self.rows
            self._check_rows(x, labels)
            if faults:
                assert all(0 <= offset < len(x) for offset in faults), f"offsets in {len(x)} rows: {list(faults)}"
                self.declare_faults({first + offset: reason for offset, reason in faults.items()})
                x = x.copy()
                x[list(faults)] = np.nan
            self._inputs.write(np.ascontiguousarray(x, dtype="<f4").reshape(-1).view(np.uint8))
            if labels is not None:
                self._write_labels(np.asarray(labels), first)

    def append_bytes(self, chunk: bytes) -> None:
        """Write the next bytes: of all inputs, row by row as little-endian float32, then of all labels, as int64.

        Args:
            chunk: at most `CHUNK_BYTES`; cut wherever the sender likes.
        Raises:
            InvalidProblem: more than was announced, or a negative label; reasons UPLOAD_TOO_LARGE, CHUNK_TOO_LARGE.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        with self._abort_on_error():
            if len(chunk) > CHUNK_BYTES:
                raise InvalidProblem(
                    f"a chunk of an upload has at most {CHUNK_BYTES} bytes, got {len(chunk)}: cut it smaller",
                    field="chunk",
                    reason="CHUNK_TOO_LARGE",
                )
            assert self._written() == self._uploaded, "rows come as arrays or as bytes"
            self._uploaded += len(chunk)
            if self._uploaded > self.extent.bytes:
                raise InvalidProblem(
                    f"{self._announced()} have {self.extent.bytes} bytes, got at least {self._uploaded}",
                    field="chunk",
                    reason="UPLOAD_TOO_LARGE",
                )
            self._upload.update(chunk)
            left = self.extent.input_bytes - self._inputs.size
            self._inputs.write(memoryview(chunk)[:left])
            if len(chunk) > left:
                self._append_label_bytes(self._part + chunk[left:])

    def declare_faults(self, faults: Mapping[int, str]) -> None:
        """Say why inputs cannot be used, by index. Rows that come as bytes must then be NaN (`np.nan`) throughout.

        Raises:
            InvalidProblem: an index out of range, or too many; reason TOO_MANY_FAULTS.
        """
        with self._abort_on_error():
            outside = [index for index in faults if not 0 <= index < self.extent.size]
            if outside:
                raise InvalidProblem(
                    f"a fault's index must be in 0..{self.extent.size - 1}, got {outside[0]}", field="faults"
                )
            self._faults |= {int(index): reason[:MAX_REASON] for index, reason in faults.items()}
            if len(self._faults) > MAX_FAULTS:
                first = min(self._faults)
                raise InvalidProblem(
                    f"more than {MAX_FAULTS} inputs cannot be used, the first of them, {first}, because: "
                    f"{self._faults[first]}; repair them, or leave them out",
                    field="faults",
                    reason="TOO_MANY_FAULTS",
                )

    def finish(self, sha256: str | None = None) -> str:
        """Bring everything to the disk; the data set's digest.

        Args:
            sha256: of all bytes that `append_bytes` got, where the sender says it.
        Raises:
            InvalidProblem: less than was announced, other bytes than were sent, or a fault's row that is not NaN;
                reasons UPLOAD_TRUNCATED, DIGEST_MISMATCH, FAULT_MISMATCH.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        with self._abort_on_error():
            self._check_whole(sha256)
            self._check_faults()
            faults = self._files[FAULTS_FILE] = _HashedFile(self._directory / FAULTS_FILE)
            faults.write(faults_to_json(self._faults))
            self._manifest = DatasetManifest(
                self.extent,
                self._highest + 1 if self.extent.labelled else None,
                len(self._faults),
                {name: file.sha256 for name, file in sorted(self._files.items())},
            )
            manifest = self._files[MANIFEST_FILE] = _HashedFile(self._directory / MANIFEST_FILE)
            manifest.write(self._manifest.to_json().encode())
            for file in self._files.values():
                file.finish()
            sync_directory(self._directory)
            return self._manifest.digest

    @property
    def manifest(self) -> DatasetManifest:
        """Of a finished one."""
        assert self._manifest is not None, "finish it first"
        return self._manifest

    @property
    def stored_bytes(self) -> int:
        """On the disk."""
        return sum(file.size for file in self._files.values())

    def move(self, target: Path) -> None:
        """Give a finished one its lasting name, atomically; OSError where a directory has it."""
        assert self._manifest is not None, "finish it first"
        assert self._open, "it was placed or aborted"
        os.rename(self._directory, target)
        self._close()

    def abort(self) -> None:
        """Forget it. Harmless after it was placed, or twice."""
        if self._open:
            shutil.rmtree(self._directory, ignore_errors=True)  # a sweep would find what is left
            self._close()

    def _close(self) -> None:
        self._open = False
        for file in self._files.values():
            file.close()
        os.close(self._lock)

    def _check_rows(self, x: NDArray[np.float32], labels: NDArray[np.int64] | None) -> None:
        assert not self._uploaded, "rows come as arrays or as bytes"
        if x.dtype != np.float32 or x.shape[1:] != self.extent.shape:
            raise InvalidProblem(
                f"inputs must be float32 [b, {str(list(self.extent.shape))[1:]}, got {x.dtype} {list(x.shape)}",
                field="inputs.shape",
            )
        if self.rows + len(x) > self.extent.size:
            raise InvalidProblem(
                f"{self._announced()} were announced, got at least {self.rows + len(x)}", field="inputs.shape"
            )
        if (labels is not None) != self.extent.labelled or (labels is not None and np.shape(labels) != (len(x),)):
            got = "none" if labels is None else f"shape {list(np.shape(labels))}"
            expected = f"one for each of {len(x)} inputs" if self.extent.labelled else "none"
            raise InvalidProblem(f"labels must be as announced, {expected}, got {got}", field="labels")

    def _write_labels(self, labels: NDArray[Any], first: int) -> None:
        check_label_dtype(labels.dtype, "the data set")
        classes = checked_labels(labels, "the data set", first)
        self._highest = max(self._highest, int(classes.max(initial=-1)))
        self._files[LABELS_FILE].write(classes.astype("<i8").view(np.uint8))

    def _append_label_bytes(self, data: bytes) -> None:
        whole = len(data) - len(data) % LABEL_BYTES
        self._part = data[whole:]
        first = self._files[LABELS_FILE].size // LABEL_BYTES
        self._write_labels(np.frombuffer(data[:whole], "<i8"), first)

    def _written(self) -> int:
        return sum(file.size for file in self._files.values()) + len(self._part)

    def _announced(self) -> str:
        labels = "with labels" if self.extent.labelled else "without labels"
        return f"{self.extent.size} inputs of shape {list(self.extent.shape)} {labels}"

    def _check_whole(self, sha256: str | None) -> None:
        written = self._written()
        if written != self.extent.bytes:
            raise InvalidProblem(
                f"{self._announced()} have {self.extent.bytes} bytes, got {written}: the upload ended early, send it "
                "again",
                field="chunk",
                reason="UPLOAD_TRUNCATED",
            )
        if sha256 is not None and sha256.lower() != self._upload.hexdigest():
            raise InvalidProblem(
                f"the upload's SHA-256 must be {sha256}, got {self._upload.hexdigest()} over {self._uploaded} bytes: "
                "it was damaged on the way, send it again",
                field="sha256",
                reason="DIGEST_MISMATCH",
            )

    def _check_faults(self) -> None:
        """A fault's row is NaN: whoever forgets to ask for faults still cannot certify it."""
        expected = fault_row(self.extent)
        for index in self._faults:
            if self._inputs.read(index * len(expected), len(expected)) != expected:
                raise InvalidProblem(
                    f"input {index} has a fault ({self._faults[index]}), so each of its values must be NaN: send "
                    "numpy.nan as float32",
                    field="faults",
                    reason="FAULT_MISMATCH",
                )

    @contextmanager
    def _abort_on_error(self) -> Iterator[None]:
        assert self._open, "it was placed or aborted"
        try:
            yield
        except BaseException as error:
            self.abort()
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise disk_full(error) from error
            raise


class _HashedFile:
    """A new file, hashed while it is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("x+b", buffering=0)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, data: Any) -> None:
        """Append bytes, or a one-dimensional buffer of them."""
        rest = memoryview(data)
        self._hash.update(rest)
        self.size += len(rest)
        while rest:
            rest = rest[self._file.write(rest) :]

    def read(self, start: int, length: int) -> bytes:
        """What was written there."""
        return os.pread(self._file.fileno(), length, start)

    @property
    def sha256(self) -> str:
        """Of what was written."""
        return self._hash.hexdigest()

    def finish(self) -> None:
        """Bring it to the disk."""
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let it go; twice is harmless."""
        self._file.close()


def fault_row(extent: Extent) -> bytes:
    """What is stored for an input that cannot be used: NaN throughout."""
    return np.full(extent.shape, np.nan, "<f4").tobytes()


def fill(incoming: Incoming, source: Source) -> str:
    """Write all of a source, chunk by chunk, and finish; the data set's digest."""
    for chunk in source.chunks(source.extent.chunk_rows):
        incoming.append(*chunk)
    return incoming.finish()
