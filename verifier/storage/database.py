"""The one database: a SQLite file in the data directory, or a PostgreSQL server by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as NoFreeConnection

from verifier.errors import InvalidProblem, NotFound, Overloaded
from verifier.storage import revision
from verifier.storage.blobs import disk_full
from verifier.storage.postgres_server import PostgresServer
from verifier.storage.schema import (
    ALIASES,
    ATTEMPTS,
    BATCH_SHAPES,
    DATASET_NAMES,
    DATASETS,
    GATE_RUNS,
    HEAD,
    JOB_ROWS,
    JOBS,
    METADATA,
    MODELS,
    REQUESTS,
)
from verifier.storage.sqlite_file import SqliteFile

__all__ = [
    "ALIASES",
    "ATTEMPTS",
    "BATCH_SHAPES",
    "BUSY_SECONDS",
    "DATASETS",
    "DATASET_NAMES",
    "FILE_NAME",
    "GATE_RUNS",
    "JOBS",
    "JOB_ROWS",
    "METADATA",
    "MODELS",
    "REQUESTS",
    "Database",
    "current",
    "disk_full",
]

FILE_NAME = "verifier.db"
"""In the data directory, where no URL names another place."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another before it gives up."""


class Database:
    """The rows of everything that is stored: created when there are none, refused when they are not this program's.

    What a write transaction has committed is durable, and every statement of it or none. Thread-safe; other
    processes, on PostgreSQL other hosts, may have it open as well.

    Args:
        place: path of a SQLite file, or a URL, postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE.
        upgrade: bring an older schema up to this program's, instead of refusing it.
    Raises:
        InvalidProblem: reason SCHEMA_VERSION, or DATABASE_DAMAGED where the file is something else; or no such URL.
        WorkerLost: it cannot be reached; reason DATABASE_UNAVAILABLE. Any use of it may raise this.
        Unsupported: the URL needs a driver that is not installed.
    """

    def __init__(self, place: Path | str, *, upgrade: bool = False) -> None:
        self._home = _home(place)
        try:
            with self.write() as connection:
                if upgrade:
                    revision.upgrade(connection, self._home.name)
                else:
                    self._create_or_check(connection)
        except BaseException:
            self.close()
            raise

    @property
    def name(self) -> str:
        """For messages: which file, or which database of which server; never a password."""
        return self._home.name

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the rows."""
        with _transaction(self._home, self._home.reader) as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        """One transaction that writes; durable once left, undone by an exception.

        Args:
            alone: among all writers who ask for that, from its beginning, so that what it has read stays true, also
                about files. Without it (which makes no difference to SQLite) each statement sees what others have
                committed before it, and only rows that it has changed or locked stay.
        Raises:
            Overloaded: other writers took too long, or the disk is full.
        """
        with _transaction(self._home, self._home.lone_writer if alone else self._home.writer) as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._home.engine.dispose()

    def _create_or_check(self, connection: Connection) -> None:
        found = revision.found(connection, self._home.name)
        if not found:
            revision.create(connection)
        elif found != HEAD:
            raise InvalidProblem(
                f"{self._home.name} must have schema {HEAD}, got {found}, of an earlier release: back it up, then run "
                f"verifier db upgrade {self._home.option}",
                reason="SCHEMA_VERSION",
            )


def current(place: Path | str) -> str:
    """The schema of a database that is there, of `schema.REVISIONS`; "" where it is empty. Nothing is changed.

    Raises:
        NotFound: there is no such file.
        InvalidProblem, WorkerLost, Unsupported: as for `Database`.
    """
    home = _home(place)
    if not home.exists():
        raise NotFound(f"there is no database {home.name}: whatever uses it first makes it")
    try:
        with _transaction(home, home.reader) as connection:
            return revision.found(connection, home.name)
    finally:
        home.engine.dispose()


@contextmanager
def _transaction(home: SqliteFile | PostgresServer, engine: Engine) -> Iterator[Connection]:
    """A transaction; what the database refuses, in the words of the house."""
    try:
        with engine.begin() as connection:
            yield connection
    except DBAPIError as error:
        if explained := home.explain(error):
            raise explained from None  # it names the cause, without what the cause may tell of the URL
        raise
    except NoFreeConnection as error:
        raise Overloaded(f"every connection to {home.name} is in use: retry", reason="REGISTRY_BUSY") from error


def _home(place: Path | str) -> SqliteFile | PostgresServer:
    if isinstance(place, Path):
        return SqliteFile(place, BUSY_SECONDS)
    try:
        url = make_url(place)
    except (ArgumentError, ValueError):
        url = None  # and raise outside, so that no traceback shows the URL with its password
    kind = url.drivername if url else ""
    if url and kind in ("postgresql", "postgres", "postgresql+psycopg"):
        return PostgresServer(url, BUSY_SECONDS)
    if url and kind == "sqlite" and url.database and url.database != ":memory:":
        return SqliteFile(Path(url.database), BUSY_SECONDS)
    raise InvalidProblem(
        "the database URL must be postgresql://USER:PASSWORD@HOST:PORT/DATABASE or sqlite:///FILE, got "
        f"{f'one of {kind}' if kind else 'something else'} (not shown: it may hold a password)",
        field="database_url",
    )
