"""`verifier db`."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from verifier.errors import InvalidProblem, NotFound, Unsupported
from verifier.settings import ENVIRONMENT_PREFIX, Settings, default_data_dir

_URL_VARIABLE = f"{ENVIRONMENT_PREFIX}DATABASE_URL"


def _place_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--data-dir, --database-url: which database, for `_place`."""
    for option in (
        click.option(
            "--database-url",
            metavar="URL",
            help=f"postgresql://USER:PASSWORD@HOST:PORT/DATABASE; better in ${_URL_VARIABLE}, which hides it.",
        ),
        click.option(
            "--data-dir",
            type=click.Path(path_type=Path, file_okay=False),
            help="The database in this directory; default $VERIFIER_DATA_DIR or the user's data directory.",
        ),
    ):
        command = option(command)
    return command


@click.group()
def db() -> None:
    """Show and upgrade the schema of the database."""


@db.command()
@_place_options
def current(data_dir: Path | None, database_url: str | None) -> None:
    """Tell which schema the database has."""
    revision = _current(_place(data_dir, database_url))
    from verifier.storage.schema import HEAD

    click.echo(revision or "empty")
    if revision not in ("", HEAD):
        click.echo(f"this program needs {HEAD}: verifier db upgrade", err=True)


@db.command()
@_place_options
def upgrade(data_dir: Path | None, database_url: str | None) -> None:
    """Bring the database to this program's schema; back it up before.

    A database in a data directory must be nobody's while this runs: stop its server.
    """
    place = _place(data_dir, database_url)
    before = _current(place)
    from verifier.storage.database import Database
    from verifier.storage.lock import DirectoryLock
    from verifier.storage.schema import HEAD

    with ExitStack() as resources:
        if isinstance(place, Path):
            resources.callback(DirectoryLock(place.parent, exclusive=True).release)
        database = Database(place, upgrade=True)
        resources.callback(database.close)
        click.echo(
            f"{database.name} has schema {HEAD}" + (f", had {before or 'none'}" if before != HEAD else " already")
        )


def _current(place: Path | str) -> str:
    try:
        from verifier.storage.database import current as current_revision
    except ModuleNotFoundError as error:
        raise Unsupported(f"the database needs {error.name}: pip install 'verifier[server]'") from None
    return current_revision(place)


def _place(data_dir: Path | None, database_url: str | None) -> Path | str:
    """What was chosen on the command line, else the URL in the environment, else the data directory's file."""
    if data_dir and database_url:
        raise InvalidProblem("give --data-dir or --database-url, not both: the database is in one place")
    url = database_url or (None if data_dir else os.environ.get(_URL_VARIABLE))
    if url:
        return url
    directory = data_dir or Settings.read().data_dir or default_data_dir()
    if not directory.is_dir():
        raise NotFound(f"there is no data directory {directory}: give the one of the server (--data-dir)")
    return directory / "verifier.db"
