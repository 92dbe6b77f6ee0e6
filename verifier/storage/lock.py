"""Who may use a data directory: one server alone, or any number of embedded processes."""

import fcntl
import os
from contextlib import suppress
from pathlib import Path

from verifier.errors import Conflict, InvalidProblem


class DirectoryLock:
    """A hold on `<data_dir>/lock`, until `release` or the end of the process, however it ends.

    The file names the latest process that took the lock, for the message to the next one; only the kernel's
    lock decides.

    Args:
        data_dir: an existing directory.
        exclusive: alone, or shared with other embedded users.
    Raises:
        Conflict: somebody holds it in a way that excludes this; reason DATA_DIR_IN_USE.
        InvalidProblem: the lock file cannot be written.
    """

    def __init__(self, data_dir: Path, exclusive: bool) -> None:
        path = data_dir / "lock"
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise InvalidProblem(
                f"the data directory must be writable, got {data_dir} ({error.strerror}): use another --data-dir",
                field="data_dir",
            ) from error
        try:
            fcntl.flock(self._file, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(self._file, 64, 0).decode(errors="replace").strip() or "another process"
            os.close(self._file)
            raise Conflict(
                f"the data directory {data_dir} is in use by {holder}: talk to the server that holds it (--server), "
                "stop that process, or use another --data-dir",
                reason="DATA_DIR_IN_USE",
            ) from None
        mode = "a server" if exclusive else "an embedded user"
        with suppress(OSError):  # a full disk keeps nobody out
            os.pwrite(self._file, f"{mode} (pid {os.getpid()})".ljust(40).encode(), 0)  # one length: lines never mix

    def release(self) -> None:
        """Let others in."""
        os.close(self._file)
