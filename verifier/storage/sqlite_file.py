"""The database as a file of the data directory: how SQLite is opened, and what its refusals mean."""

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from verifier.errors import InvalidProblem, Overloaded, VerifierError, WorkerLost
from verifier.storage.blobs import disk_full

_UNAVAILABLE = (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL)


class SqliteFile:
    """A SQLite file: write-ahead log, every commit on the disk before it is answered, foreign keys.

    Every write transaction begins IMMEDIATE: one that reads first and writes later would fail under another writer
    instead of waiting for it.

    Args:
        path: of the file, which is created if need be.
        busy_seconds: how long a writer waits for another.
    """

    def __init__(self, path: Path, busy_seconds: float) -> None:
        self.name = str(path)
        self.option = f"--data-dir {path.parent}"
        self._path = path
        self._busy_seconds = busy_seconds
        self.engine: Engine = create_engine(
            URL.create("sqlite", database=str(path)), connect_args={"timeout": busy_seconds}, hide_parameters=True
        )
        event.listen(self.engine, "connect", _configure)
        event.listen(self.engine, "begin", _begin)
        self.reader: Engine = self.engine
        self.writer: Engine = self.engine.execution_options(begin="IMMEDIATE")
        self.lone_writer: Engine = self.writer

    def exists(self) -> bool:
        """Whether there is anything to open."""
        return self._path.exists()

    def explain(self, error: DBAPIError) -> VerifierError | None:
        """The refusal in the words of the house, where it is about the file and not about our statement."""
        code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # without the finer, "extended" part
        if code == sqlite3.SQLITE_FULL:
            return disk_full(error.orig or error)
        if code == sqlite3.SQLITE_BUSY:
            return Overloaded(
                f"other writers kept {self.name} busy for {self._busy_seconds:g} s: retry", reason="REGISTRY_BUSY"
            )
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            return InvalidProblem(
                f"{self.name} is not a whole SQLite database ({error.orig}): restore it from a backup, or use another "
                "--data-dir",
                reason="DATABASE_DAMAGED",
            )
        if code in _UNAVAILABLE:
            return WorkerLost(
                f"{self.name} cannot be read or written ({error.orig}): check the disk, then retry",
                reason="DATABASE_UNAVAILABLE",
            )
        return None


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")
