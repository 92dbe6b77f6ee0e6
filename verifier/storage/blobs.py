"""Files on disk, each under the SHA-256 of its bytes.

    blobs/sha256/ab/abcd...   a whole file, never changed
    blobs/incoming/...        uploads under way

A file appears under its digest by a rename, after its bytes are on the disk: it is there whole or not at all,
whenever the process or the machine stops.
"""

import errno
import hashlib
import os
import tempfile
from collections.abc import Container, Iterator
from contextlib import contextmanager
from pathlib import Path

from verifier.errors import InvalidProblem, Overloaded, Unsound
from verifier.model import DIGEST_PATTERN

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, or past the process's own limit on file sizes."""


def disk_full(cause: BaseException) -> Overloaded:
    """The error to raise when a write found no room."""
    return Overloaded(
        f"no room left on the disk ({cause}): free space in the data directory, then retry", reason="DISK_FULL"
    )


class Upload:
    """A file on its way in: hashed while it is written, invisible until it is placed.

    `write` as often as needed, `finish` once, then hand it to the registry; or `abort` at any time.
    Any error of `write` and `finish` aborts it.

    Args:
        directory: for the temporary file; on the same file system as the blobs.
        max_bytes: more are refused.
    """

    def __init__(self, directory: Path, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._hash = hashlib.sha256()
        self.size = 0
        with self._abort_on_error():
            file, path = tempfile.mkstemp(dir=directory)
            self._file, self._path = os.fdopen(file, "wb", buffering=0), Path(path)

    def write(self, chunk: bytes) -> None:
        """Append bytes.

        Raises:
            InvalidProblem: more than `max_bytes`; reason MODEL_TOO_LARGE.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        self.size += len(chunk)
        with self._abort_on_error():
            if self.size > self._max_bytes:
                raise InvalidProblem(
                    f"a model file may have at most {self._max_bytes} bytes, got at least {self.size}",
                    field="chunk",
                    reason="MODEL_TOO_LARGE",
                )
            self._hash.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[self._file.write(rest) :]

    def finish(self, expected_sha256: str | None = None) -> str:
        """Bring the bytes to the disk; their SHA-256 (hex).

        Raises:
            InvalidProblem: it is not the expected one; reason DIGEST_MISMATCH.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        with self._abort_on_error():
            if expected_sha256 is not None and expected_sha256.lower() != self.sha256:
                raise InvalidProblem(
                    f"the upload's SHA-256 must be {expected_sha256}, got {self.sha256} over {self.size} bytes: "
                    "it was damaged on the way, send it again",
                    field="sha256",
                    reason="DIGEST_MISMATCH",
                )
            os.fsync(self._file.fileno())
            self._file.close()
        return self.sha256

    def abort(self) -> None:
        """Forget the bytes. Harmless after it was placed, or twice."""
        self._file.close()
        self._path.unlink(missing_ok=True)

    def read(self) -> bytes:
        """The bytes of a finished upload."""
        assert self._file.closed, "finish the upload first"
        return self._path.read_bytes()

    def move(self, target: Path) -> None:
        """Give a finished upload its lasting name, atomically."""
        assert self._file.closed, "finish the upload first"
        self._path.replace(target)

    @property
    def sha256(self) -> str:
        """SHA-256 (hex) of the bytes so far."""
        return self._hash.hexdigest()

    @contextmanager
    def _abort_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            if hasattr(self, "_file"):
                self.abort()
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise disk_full(error) from error
            raise


class Blobs:
    """Content-addressed files under a data directory.

    Args:
        data_dir: an existing, writable directory.
    """

    def __init__(self, data_dir: Path) -> None:
        self._root = data_dir / "blobs" / "sha256"
        self._incoming = data_dir / "blobs" / "incoming"
        self._root.mkdir(parents=True, exist_ok=True)
        self._incoming.mkdir(parents=True, exist_ok=True)
        for directory in (data_dir, data_dir / "blobs"):
            sync_directory(directory)

    def begin(self, max_bytes: int) -> Upload:
        """A new upload of at most that many bytes."""
        return Upload(self._incoming, max_bytes)

    def path(self, sha256: str) -> Path:
        """Where the file of that digest is, if it is here."""
        return self._root / sha256[:2] / sha256

    def place(self, upload: Upload, sha256: str) -> None:
        """Make a finished upload durable under its digest; it replaces, and so repairs, what is there.

        Args:
            upload: finished.
            sha256: of the bytes that were read back from it.
        Raises:
            Unsound: they are not the bytes that were written; reason MODEL_CORRUPT.
            Overloaded: no room on the disk; reason DISK_FULL.
        """
        if sha256 != upload.sha256:
            raise Unsound(
                f"the upload was written with SHA-256 {upload.sha256} and read back with {sha256}: check the disk",
                reason="MODEL_CORRUPT",
            )
        path = self.path(sha256)
        try:
            path.parent.mkdir(exist_ok=True)
            upload.move(path)
            sync_directory(path.parent)
            sync_directory(self._root)
        except OSError as error:
            if error.errno in DISK_FULL:
                raise disk_full(error) from error
            raise

    def read(self, sha256: str) -> bytes:
        """The file's bytes, hashed again.

        Raises:
            Unsound: they are gone, or not the ones that were stored; reason MODEL_CORRUPT.
        """
        path = self.path(sha256)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            got = "no file"
        else:
            got = hashlib.sha256(data).hexdigest()
            if got == sha256:
                return data
        raise Unsound(
            f"the stored model file {path} must have SHA-256 {sha256}, got {got}: check the disk, and register the "
            "same file again to repair it",
            reason="MODEL_CORRUPT",
        )

    def delete(self, sha256: str) -> None:
        """Remove the file, if it is here."""
        self.path(sha256).unlink(missing_ok=True)

    def sweep(self, keep: Container[str]) -> int:
        """Remove unfinished uploads, and files whose digest is not to be kept; how many went.

        Only for a process that has the directory to itself: another one's upload looks like a dead one's.
        """
        orphans = [path for path in self._root.glob("??/*") if DIGEST_PATTERN.fullmatch(path.name)]
        doomed = [path for path in orphans if path.name not in keep] + list(self._incoming.iterdir())
        for path in doomed:
            path.unlink()
        return len(doomed)


def sync_directory(directory: Path) -> None:
    """Bring the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
