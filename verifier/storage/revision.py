"""Which schema a database has, and the ways to the present one: creation and, on request, migration."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, PrimaryKeyConstraint, String, Table, inspect, select

from verifier.errors import InvalidProblem, Unsupported
from verifier.storage.schema import HEAD, METADATA, REVISIONS

MIGRATIONS = Path(__file__).parent / "migrations"

STAMP = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic notes the revision; as it would make the table itself."""

_TABLES_OF = {
    "0001": {"models", "aliases", "batch_shapes", "requests"},
    "0002": {"models", "aliases", "batch_shapes", "requests", "attempts"},
    HEAD: set(METADATA.tables),
}
_WITHOUT_STAMP = ("0001", "0002")
"""Of the releases that numbered their schema in SQLite's `user_version`."""


def found(connection: Connection, name: str) -> str:
    """The revision of a database, of `REVISIONS`; "" where nothing is in it.

    Args:
        connection: to it.
        name: of it, for messages.
    Raises:
        InvalidProblem: it is a later release's, or something else's; reason SCHEMA_VERSION.
    """
    tables = set(inspect(connection).get_table_names())
    number = _user_version(connection)
    if STAMP.name in tables:
        stamps: Sequence[str] = connection.execute(select(STAMP.c.version_num)).scalars().all()
        if len(stamps) == 1 and stamps[0] in REVISIONS and tables >= _TABLES_OF[stamps[0]]:
            return stamps[0]
        raise _foreign(name, " and ".join(stamps) or "none")
    if not tables and not number:
        return ""
    revision = f"{number:04}"
    if revision not in _WITHOUT_STAMP or tables != _TABLES_OF[revision]:
        raise _foreign(name, f"version {number}" if number else "none")
    return revision


def create(connection: Connection) -> None:
    """Make every table of an empty database."""
    METADATA.create_all(connection)
    _stamp(connection, HEAD)
    mark(connection, HEAD)


def upgrade(connection: Connection, name: str) -> None:
    """Bring a database to `HEAD`, in the transaction of the caller; its rows stay.

    Raises:
        InvalidProblem: as for `found`.
        Unsupported: Alembic is not installed.
    """
    try:
        from alembic import command
        from alembic.config import Config
    except ModuleNotFoundError as error:
        raise Unsupported(f"migrations need {error.name}: pip install 'verifier[server]'") from None
    before = found(connection, name)
    if before and not inspect(connection).has_table(STAMP.name):
        _stamp(connection, before)
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, HEAD)


def mark(connection: Connection, revision: str) -> None:
    """Note the revision where the releases before `STAMP` look for it: they refuse a number that is not theirs."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA user_version = {int(revision)}")


def _stamp(connection: Connection, revision: str) -> None:
    STAMP.create(connection)
    connection.execute(STAMP.insert().values(version_num=revision))


def _user_version(connection: Connection) -> int:
    if connection.dialect.name != "sqlite":
        return 0
    number: int = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
    return number


def _foreign(name: str, got: str) -> InvalidProblem:
    return InvalidProblem(
        f"{name} must be empty or have a schema of this program, up to {HEAD}, got {got}: install the release of this "
        "program that wrote it, or use another --data-dir or --database-url",
        reason="SCHEMA_VERSION",
    )
