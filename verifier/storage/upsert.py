"""INSERT ... ON CONFLICT, which both databases have, each under its own name."""

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert(rows: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An insertion that can go on with `on_conflict_do_nothing` or `on_conflict_do_update`.

    Args:
        rows: the transaction that will execute it.
        table: to insert into.
    """
    return postgresql.insert(table) if rows.dialect.name == "postgresql" else sqlite.insert(table)
