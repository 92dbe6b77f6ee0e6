"""Stored data sets, each a directory under its digest.

    datasets/abcd...      a whole data set, never changed: inputs, labels, faults, manifest
    datasets/incoming/... data sets under way, in or out
    datasets/lock         held while one appears or goes

A data set appears by one rename, after all of its bytes are on the disk, and goes by one: it is there whole or not at
all, whenever the process or the machine stops.
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.incoming import Incoming
from verifier.datasets.manifest import (
    FAULTS_FILE,
    INPUTS_FILE,
    LABELS_FILE,
    MANIFEST_FILE,
    DatasetManifest,
    faults_from_json,
)
from verifier.datasets.source import CHUNK_BYTES, LABEL_BYTES, MAX_DATASET_BYTES, Extent
from verifier.errors import InvalidProblem, NotFound, Unsound
from verifier.model import DIGEST_PATTERN
from verifier.storage.blobs import DISK_FULL, disk_full, sync_directory

_THERE_ALREADY = (errno.ENOTEMPTY, errno.EEXIST)


class Dataset:
    """A stored data set, open for reading; every method is thread-safe.

    Rows are read where they lie and copied out: no more of it is in memory than was asked for. It stays readable
    after it was deleted, until it is closed.

    Use `DatasetFiles.open`.

    Args:
        directory: of the data set.
        digest: that it must have.
    Raises:
        Unsound: the files are not the ones that were stored, as far as their manifest and sizes show.
    """

    def __init__(self, directory: Path, digest: str) -> None:
        self.digest = digest
        self._directory = directory
        self.manifest = _manifest(directory, digest)
        self.extent = self.manifest.extent
        self._files: dict[str, Any] = {}
        try:
            for name in self.manifest.sha256:
                self._files[name] = (directory / name).open("rb", buffering=0)
            self._check_sizes()
            self._faults = self._read_faults()
        except BaseException as error:
            self.close()
            if isinstance(error, FileNotFoundError):
                raise corrupt(directory, f"there is no {Path(str(error.filename)).name}") from error
            raise

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.extent.shape

    @property
    def labelled(self) -> bool:
        """Whether every input has a label."""
        return self.extent.labelled

    def __len__(self) -> int:
        return self.extent.size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the files go; twice is harmless."""
        for file in self._files.values():
            file.close()

    def rows(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
        """Some inputs, [b, *shape], and their labels, [b], in the order asked for; the arrays are the caller's.

        Raises:
            InvalidProblem: an index out of range.
            Unsound: the file has become shorter; reason DATASET_CORRUPT.
        """
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        self._check(chosen)
        x = np.empty((len(chosen), *self.shape), "<f4")
        self._gather(INPUTS_FILE, chosen, x.reshape(-1).view(np.uint8), self.extent.row_bytes)
        if not self.labelled:
            return x.astype(np.float32, copy=False), None
        return x.astype(np.float32, copy=False), self.labels(chosen)

    def labels(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
        """The labels of some inputs, [b], without reading these; the data set has labels."""
        chosen = np.asarray(indices, dtype=np.int64).reshape(-1)
        self._check(chosen)
        labels = np.empty(len(chosen), "<i8")
        self._gather(LABELS_FILE, chosen, labels.view(np.uint8), LABEL_BYTES)
        return labels.astype(np.int64, copy=False)

    def fault(self, index: int) -> str | None:
        """Why that input cannot be used; None where it can, as far as is known before its values are looked at."""
        return self._faults.get(index)

    def verify(self) -> None:
        """Hash every file again.

        Raises:
            Unsound: one is not what was stored; reason DATASET_CORRUPT.
        """
        for name, sha256 in self.manifest.sha256.items():
            got = self._sha256(name)
            if got != sha256:
                raise corrupt(self._directory, f"{name} must have SHA-256 {sha256}, got {got}")

    def _check(self, chosen: NDArray[np.int64]) -> None:
        outside = chosen[(chosen < 0) | (chosen >= len(self))]
        if outside.size:
            raise InvalidProblem(f"an index must be in 0..{len(self) - 1}, got {int(outside[0])}", field="indices")

    def _gather(self, name: str, chosen: NDArray[np.int64], out: NDArray[np.uint8], width: int) -> None:
        """Rows of `width` bytes into `out`: each run of neighbours in one read."""
        target = out.data
        ends = np.flatnonzero(np.diff(chosen) != 1) + 1
        for begin, end in zip([0, *ends], [*ends, len(chosen)], strict=True):
            part = target[begin * width : end * width]
            offset = int(chosen[begin]) * width if len(chosen) else 0
            while part:
                got = os.preadv(self._files[name].fileno(), [part], offset)
                if not got:
                    raise corrupt(self._directory, f"{name} ends at {offset}")
                part, offset = part[got:], offset + got

    def _check_sizes(self) -> None:
        expected = {INPUTS_FILE: self.extent.input_bytes, LABELS_FILE: LABEL_BYTES * self.extent.size}
        for name in expected.keys() & self._files.keys():
            got = os.fstat(self._files[name].fileno()).st_size
            if got != expected[name]:
                raise corrupt(self._directory, f"{name} must have {expected[name]} bytes, got {got}")

    def _read_faults(self) -> dict[int, str]:
        data = self._files[FAULTS_FILE].read()
        got = hashlib.sha256(data).hexdigest()
        if got != self.manifest.sha256[FAULTS_FILE]:
            raise corrupt(
                self._directory, f"{FAULTS_FILE} must have SHA-256 {self.manifest.sha256[FAULTS_FILE]}, got {got}"
            )
        return faults_from_json(data)

    def _sha256(self, name: str) -> str:
        digest, offset = hashlib.sha256(), 0
        while data := os.pread(self._files[name].fileno(), CHUNK_BYTES, offset):
            digest.update(data)
            offset += len(data)
        return digest.hexdigest()


class DatasetFiles:
    """The data sets of a data directory; every method is thread-safe, and other processes may have it open as well.

    Args:
        data_dir: an existing, writable directory.
        max_bytes: of one data set's inputs and labels.
    """

    def __init__(self, data_dir: Path, max_bytes: int = MAX_DATASET_BYTES) -> None:
        self._root = data_dir / "datasets"
        self._incoming = self._root / "incoming"
        self._max_bytes = max_bytes
        self._incoming.mkdir(parents=True, exist_ok=True)
        self._mutex = threading.RLock()
        self._depth = 0
        for directory in (data_dir, self._root):
            sync_directory(directory)

    def begin(self, extent: Extent) -> Incoming:
        """A new data set to write.

        Raises:
            InvalidProblem: larger than is accepted; reason DATASET_TOO_LARGE.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        extent.check(self._max_bytes)
        with self.locked(), _room():  # a sweep must not come between making the directory and locking it
            return Incoming(Path(tempfile.mkdtemp(dir=self._incoming)), extent)

    def path(self, digest: str) -> Path:
        """Where the data set of that digest is, if it is here."""
        if not DIGEST_PATTERN.fullmatch(digest):
            raise NotFound(f"no data set has the digest {digest!r}: list the stored ones")
        return self._root / digest

    def place(self, incoming: Incoming, *, replace: bool = False) -> str:
        """Make a finished data set durable under its digest, and return that; one that is there already stays.

        Args:
            incoming: finished; used up.
            replace: what is there is damaged: put this in its place.
        Raises:
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        digest = incoming.manifest.digest
        target = self.path(digest)
        with self.locked(), _room():
            if replace:
                self._discard(target)
            try:
                incoming.move(target)
            except OSError as error:
                if error.errno not in _THERE_ALREADY:
                    raise
                incoming.abort()
            sync_directory(self._root)
        return digest

    def damaged(self, digest: str) -> bool:
        """Whether it is here, but not as it was stored; every byte of it is read."""
        try:
            with self.open(digest) as dataset:
                dataset.verify()
        except Unsound:
            return True
        except NotFound:
            return False
        return False

    def open(self, digest: str) -> Dataset:
        """The data set of that digest, to be closed by the caller.

        Raises:
            NotFound: it is not here.
            Unsound: what is here is not what was stored, as far as manifest and sizes show; reason DATASET_CORRUPT.
        """
        directory = self.path(digest)
        if not directory.is_dir():
            raise NotFound(f"no data set has the digest {digest!r}: list the stored ones")
        try:
            return Dataset(directory, digest)
        except Unsound:
            if directory.is_dir():
                raise
            raise NotFound(f"the data set {digest!r} was removed a moment ago") from None

    def delete(self, digest: str) -> None:
        """Remove the data set, if it is here. Whoever has it open reads on."""
        with self.locked():
            self._discard(self.path(digest))

    def sweep(self, keep: Container[str]) -> int:
        """Remove what dead writers left, and data sets that are not to be kept; how many went.

        Writers that live are left alone, in this process and in others. To be called with the lock held if `keep`
        may grow meanwhile.
        """
        with self.locked():
            placed = [path for path in self._root.iterdir() if DIGEST_PATTERN.fullmatch(path.name)]
            orphans = [path for path in placed if path.name not in keep]
            for path in orphans:
                self._discard(path)
            dead = [path for path in self._incoming.iterdir() if _is_dead(path)]
            for path in dead:
                shutil.rmtree(path)
        return len(orphans) + len(dead)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing appears or goes meanwhile but by this thread, in no process; may be nested."""
        with self._mutex, nullcontext() if self._depth else self._alone():
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(self._root / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _discard(self, directory: Path) -> None:
        """First out of sight as a whole, then file by file."""
        grave = Path(tempfile.mkdtemp(dir=self._incoming))
        try:
            directory.rename(grave / directory.name)
            sync_directory(self._root)
        except FileNotFoundError:
            pass
        shutil.rmtree(grave)


@contextmanager
def _room() -> Iterator[None]:
    """A full disk, in the words of the house."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise disk_full(error) from error
        raise


def _is_dead(directory: Path) -> bool:
    """Whether nobody writes there any more."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # its writer gave up a moment ago, or it is nothing of ours
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)
    return True


def _manifest(directory: Path, digest: str) -> DatasetManifest:
    try:
        data = (directory / MANIFEST_FILE).read_bytes()
    except FileNotFoundError as error:
        raise corrupt(directory, f"there is no {MANIFEST_FILE}") from error
    got = hashlib.sha256(data).hexdigest()
    if got != digest:
        raise corrupt(directory, f"{MANIFEST_FILE} must have SHA-256 {digest}, got {got}")
    try:
        return DatasetManifest.from_json(data.decode())
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise corrupt(directory, f"{MANIFEST_FILE} is no manifest ({error})") from error


def corrupt(directory: Path, why: str) -> Unsound:
    """The error to raise for a data set that is not what was stored."""
    return Unsound(
        f"the stored data set {directory} is not what was stored: {why}: check the disk, and add the same data again "
        "to repair it",
        reason="DATASET_CORRUPT",
    )
