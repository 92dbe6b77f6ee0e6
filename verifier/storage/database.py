"""The rows of a data directory: SQLite, in a file, through SQLAlchemy.

Every write transaction begins IMMEDIATE: one that reads first and writes later would fail under another writer
instead of waiting for it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Float,
    ForeignKeyConstraint,
    Integer,
    MetaData,
    String,
    Table,
    UniqueConstraint,
    create_engine,
    event,
    inspect,
)
from sqlalchemy.exc import DatabaseError

from verifier.errors import InvalidProblem, Overloaded
from verifier.storage.blobs import disk_full

SCHEMA_VERSION = 2
"""In `PRAGMA user_version`. Raise it with every change of the tables below."""

BUSY_SECONDS = 30.0
"""How long a writer waits for another before it gives up."""

METADATA = MetaData()

MODELS = Table(
    "models",
    METADATA,
    Column("sequence", Integer, primary_key=True),  # order of registration; never used twice
    Column("project", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("weights_sha256", String, nullable=False, index=True),
    Column("manifest", String, nullable=False),
    Column("size", Integer, nullable=False),
    Column("created", Float, nullable=False),
    Column("batch_difference", Float, nullable=False),
    Column("reference_difference", Float),
    UniqueConstraint("project", "digest"),
    sqlite_autoincrement=True,
)

ALIASES = Table(
    "aliases",
    METADATA,
    Column("project", String, primary_key=True),
    Column("alias", String, primary_key=True),
    Column("digest", String, nullable=False, index=True),
    ForeignKeyConstraint(["project", "digest"], ["models.project", "models.digest"], ondelete="CASCADE"),
)

BATCH_SHAPES = Table(  # outlives the model: the same version registered again keeps its shape, hence its bits
    "batch_shapes",
    METADATA,
    Column("digest", String, primary_key=True),
    Column("device", String, primary_key=True),
    Column("dtype", String, primary_key=True),
    Column("purpose", String, primary_key=True),
    Column("rows", Integer, nullable=False),
)

ATTEMPTS = Table(  # what was tried on an input, before it was known how it ended; never deleted
    "attempts",
    METADATA,
    Column("project", String, primary_key=True),
    Column("model_digest", String, primary_key=True),
    Column("input_digest", String, primary_key=True),
    Column("noise", String, primary_key=True),
    Column("sigma", Float, primary_key=True),
    Column("attempt", String, primary_key=True),
    Column("alpha", Float, nullable=False),
    Column("created", Float, nullable=False),
)

REQUESTS = Table(
    "requests",
    METADATA,
    Column("request_id", String, primary_key=True),
    Column("fingerprint", String, nullable=False),
    Column("response", String, nullable=False),
    Column("created", Float, nullable=False, index=True),
)


class Database:
    """`verifier.db`: created when there is none, refused when its schema is not this program's.

    Thread-safe; other processes may have it open as well.

    Args:
        path: of the file.
    Raises:
        InvalidProblem: reason SCHEMA_VERSION, or DATABASE_DAMAGED where the file is something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_SECONDS})
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        self._writer: Engine = self._engine.execution_options(begin="IMMEDIATE")
        try:
            self._check_schema()
        except BaseException:
            self.close()
            raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of the rows."""
        with self._translated(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction, alone among writers from its beginning; durable once left, undone by an exception.

        Raises:
            Overloaded: other writers took too long, or the disk is full.
        """
        with self._translated(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _check_schema(self) -> None:
        with self.write() as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version == 0 and not inspect(connection).get_table_names():
                METADATA.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA user_version = {SCHEMA_VERSION}")
            elif version != SCHEMA_VERSION:
                raise InvalidProblem(
                    f"{self._path} must have schema version {SCHEMA_VERSION}, got {version}: install the release of "
                    "this program that wrote it, or use another --data-dir",
                    reason="SCHEMA_VERSION",
                )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """SQLite's refusals in the words of the house."""
        try:
            yield
        except DatabaseError as error:
            match getattr(error.orig, "sqlite_errorcode", None):
                case sqlite3.SQLITE_FULL:
                    raise disk_full(error.orig or error) from error
                case sqlite3.SQLITE_BUSY:
                    raise Overloaded(
                        f"other writers kept {self._path} busy for {BUSY_SECONDS:g} s: retry", reason="REGISTRY_BUSY"
                    ) from error
                case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
                    raise InvalidProblem(
                        f"{self._path} is not a whole SQLite database ({error.orig}): restore it from a backup, or "
                        "use another --data-dir",
                        reason="DATABASE_DAMAGED",
                    ) from error
            raise


def _configure(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin` says, not where the driver guesses
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(f"BEGIN {connection.get_execution_options().get('begin', 'DEFERRED')}")
