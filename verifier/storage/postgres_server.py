"""The database on a PostgreSQL server, shared by several of ours: how it is opened, and what its refusals mean."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from verifier.errors import InvalidProblem, Overloaded, Unsupported, VerifierError, WorkerLost

CONNECT_SECONDS = 10
"""How long one address of the server has to answer."""

IDLE_SECONDS = 60.0
"""After which the server ends a transaction that does nothing: its client's host is gone, and holds locks."""

_OPTIONS = {
    "connect_timeout": CONNECT_SECONDS,
    "client_encoding": "utf8",
    "keepalives_idle": 30,  # a server whose host is gone says nothing: found after a minute
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""Of every connection, where the URL does not choose another value."""

_LONE_WRITER = 0x7665726966696572
"""Key of the advisory lock that makes a writer the only one."""

_BUSY = ("55P03", "57014", "40001", "40P01")
"""Lock not available, query cancelled, serialisation failure, deadlock: another transaction was in the way."""

_GONE = ("08", "57P", "25006", "25P03", "58")
"""Connection lost, server shut down or became a read-only standby, idle for too long, its files cannot be used."""


class PostgresServer:
    """A database of a PostgreSQL server, through psycopg 3.

    A reader has one snapshot (REPEATABLE READ, read only); a writer sees what was committed before each of its
    statements (READ COMMITTED); the lone writer excludes other lone writers, on every host, from its beginning.
    Durability is the server's own: `synchronous_commit = off` there would break it.

    Args:
        url: postgresql://USER:PASSWORD@HOST:PORT/DATABASE; the password appears in no message.
        busy_seconds: how long a writer waits for another.
    Raises:
        Unsupported: psycopg is not installed.
    """

    def __init__(self, url: URL, busy_seconds: float) -> None:
        self.name = f"PostgreSQL database {url.database or url.username}" + (f" at {url.host}" if url.host else "")
        self.option = "--database-url URL"
        self._busy_seconds = busy_seconds
        self._secrets = tuple(secret for secret in (url.password, *_texts(url.query.get("password"))) if secret)
        try:
            self.engine: Engine = create_engine(
                url.set(drivername="postgresql+psycopg"),
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={name: value for name, value in _OPTIONS.items() if name not in url.query},
            )
        except ModuleNotFoundError as error:
            raise Unsupported(f"PostgreSQL needs {error.name}: pip install 'verifier[postgres]'") from None
        event.listen(self.engine, "connect", self._configure)
        event.listen(self.engine, "begin", _begin)
        self.reader: Engine = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self.writer: Engine = self.engine.execution_options(isolation_level="READ COMMITTED")
        self.lone_writer: Engine = self.writer.execution_options(alone=True)

    def exists(self) -> bool:
        """Whether there is anything to open: connecting tells."""
        return True

    def explain(self, error: DBAPIError) -> VerifierError | None:
        """The refusal in the words of the house, where it is about the server and not about our statement."""
        state: str = getattr(error.orig, "sqlstate", None) or ""
        cause = self._without_secrets(" ".join(str(error.orig).split()))
        if state == "53100":
            return Overloaded(
                f"no room left on the disk of the {self.name} ({cause}): free space there, then retry",
                reason="DISK_FULL",
            )
        if state in _BUSY:
            return Overloaded(
                f"other writers kept the {self.name} busy for {self._busy_seconds:g} s ({cause}): retry",
                reason="REGISTRY_BUSY",
            )
        if state.startswith("53"):
            return Overloaded(f"the {self.name} has no room for us ({cause}): retry", reason="DATABASE_UNAVAILABLE")
        if state.startswith("XX"):
            return InvalidProblem(
                f"the {self.name} is damaged ({cause}): restore it from a backup", reason="DATABASE_DAMAGED"
            )
        if state.startswith(_GONE) or error.connection_invalidated or (not state and _is_operational(error)):
            return WorkerLost(
                f"the {self.name} cannot be reached ({cause}): check the server and the URL, then retry",
                reason="DATABASE_UNAVAILABLE",
            )
        if state == "42501":
            return InvalidProblem(
                f"the user of the URL may not do what we need in the {self.name} ({cause}): let it own the database",
                field="database_url",
            )
        if error.statement is None and not state:
            return InvalidProblem(
                f"the URL of the {self.name} has an option that cannot be ({cause})", field="database_url"
            )
        return None

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def _configure(self, connection: Any, _record: object) -> None:
        connection.execute(f"SET lock_timeout = {round(1000 * self._busy_seconds)}")
        connection.execute(f"SET idle_in_transaction_session_timeout = {round(1000 * IDLE_SECONDS)}")
        connection.commit()


def _is_operational(error: DBAPIError) -> bool:
    """Whether the driver itself says that the failure is the connection's: psycopg gives those no SQLSTATE."""
    return type(error.orig).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")


def _texts(value: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else value or ()


def _begin(connection: Connection) -> None:
    if connection.get_execution_options().get("alone"):
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LONE_WRITER})")
