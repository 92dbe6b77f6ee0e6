"""`verifier db`: which schema, and the way to the present one."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from verifier.cli.main import main
from verifier.storage.database import Database
from verifier.storage.lock import DirectoryLock
from verifier.storage.schema import HEAD


def run(*arguments: str | Path, **environment: str) -> Result:
    return CliRunner(env={"VERIFIER_DATABASE_URL": None, **environment}).invoke(main, ["db", *map(str, arguments)])


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A data directory as schema version 2 left it, but for the columns."""
    tables = ("models", "aliases", "batch_shapes", "requests", "attempts")
    with closing(sqlite3.connect(tmp_path / "verifier.db")) as rows:
        for table in tables:
            rows.execute(f"CREATE TABLE {table} (x)")
        rows.execute("PRAGMA user_version = 2")
    return tmp_path


def test_an_old_database_is_told_refused_and_upgraded(old: Path) -> None:
    told = run("current", "--data-dir", old)
    assert (told.exit_code, told.stdout) == (0, "0002\n")
    assert told.stderr == f"this program needs {HEAD}: verifier db upgrade\n"
    refusal = CliRunner().invoke(main, ["models", "list", "--data-dir", str(old)])
    assert refusal.exit_code == 2
    command = refusal.stderr[refusal.stderr.index("verifier db") :].split()
    assert command == ["verifier", "db", "upgrade", "--data-dir", str(old)]
    done = run(*command[2:])
    assert (done.exit_code, done.stdout) == (0, f"{old}/verifier.db has schema {HEAD}, had 0002\n")
    assert run(*command[2:]).stdout == f"{old}/verifier.db has schema {HEAD} already\n"
    assert run("current", "--data-dir", old).stdout == f"{HEAD}\n"


def test_the_directory_must_be_nobody_s(old: Path) -> None:
    lock = DirectoryLock(old, exclusive=False)
    busy = run("upgrade", "--data-dir", old)
    lock.release()
    assert busy.exit_code == 4
    assert "in use by" in busy.stderr
    assert run("current", "--data-dir", old).stdout == "0002\n"


@pytest.mark.parametrize("command", ["current", "upgrade"])
def test_nothing_is_made_where_nothing_is(tmp_path: Path, command: str) -> None:
    for missing in (tmp_path, tmp_path / "nowhere"):
        refusal = run(command, "--data-dir", missing)
        assert refusal.exit_code == 2
        assert "there is no d" in refusal.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_place_is_said_once(tmp_path: Path) -> None:
    refusal = run("current", "--data-dir", tmp_path, "--database-url", "postgresql://me@127.0.0.1:1/jobs")
    assert (refusal.exit_code, refusal.stderr.count("not both")) == (2, 1)


def test_the_environment_names_the_place_where_no_option_does(old: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    Database(other).close()
    url = f"sqlite:///{other}"
    assert run("current", VERIFIER_DATABASE_URL=url).stdout == f"{HEAD}\n"
    assert run("current", "--data-dir", old, VERIFIER_DATABASE_URL=url).stdout == "0002\n"
    assert run("current", VERIFIER_DATA_DIR=str(old)).stdout == "0002\n"


def test_a_server_is_upgraded_by_its_url(postgres_url: str) -> None:
    assert run("current", "--database-url", postgres_url).stdout == "empty\n"
    done = run("upgrade", VERIFIER_DATABASE_URL=postgres_url)
    assert done.stdout.endswith(f"has schema {HEAD}, had none\n")
    assert run("current", "--database-url", postgres_url).stdout == f"{HEAD}\n"


def test_a_password_is_not_shown() -> None:
    refusal = run("current", VERIFIER_DATABASE_URL="postgresql://me:s3cret@127.0.0.1:1/jobs")
    assert refusal.exit_code == 4
    assert "cannot be reached" in refusal.stderr
    assert "s3cret" not in refusal.output
