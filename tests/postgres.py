"""PostgreSQL for tests: a server that ends with the session, and a database of its own for each test.

The server is the one of $VERIFIER_TEST_POSTGRES_URL, whose user may create databases; else one that is made by
`initdb` in a temporary directory and listens on a socket there; else the tests are skipped with the reason.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import URL, make_url

URL_VARIABLE = "VERIFIER_TEST_POSTGRES_URL"
SECONDS_TO_START = 60.0
USER = "verifier"

_RUN = """
"$1" -D "$2" -k "$2" -c listen_addresses= -c fsync=off > "$2/log" 2>&1 &
server=$!
cat > /dev/null
kill -INT $server
wait $server
"""
"""Runs the server until standard input ends: by us, or by our death, however that comes."""


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[URL]:
    """The URL of a server's database `postgres`."""
    if given := os.environ.get(URL_VARIABLE):
        yield make_url(given).set(drivername="postgresql")
        return
    initdb = shutil.which("initdb")
    if initdb is None:
        pytest.skip(f"PostgreSQL: neither ${URL_VARIABLE} nor initdb on the PATH")
    if os.geteuid() == 0 and not shutil.which("runuser"):
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser")
    with _own_server(Path(initdb).resolve().parent) as url:
        yield url


@pytest.fixture
def postgres_url(postgres_server: URL) -> Iterator[str]:
    """The URL of an empty database, gone after the test."""
    with new_database(postgres_server) as url:
        yield url


@contextmanager
def new_database(server: URL) -> Iterator[str]:
    """The URL of an empty database on the server, gone at the end of the block."""
    name = f"verifier_test_{uuid4().hex}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    try:
        yield server.set(database=name).render_as_string(hide_password=False)
    finally:
        execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def execute(server: URL | str, statement: str) -> None:
    """Run a statement outside of any transaction."""
    import psycopg

    url = make_url(server).render_as_string(hide_password=False)
    with closing(psycopg.connect(url, autocommit=True)) as connection:
        connection.execute(statement.encode())


@contextmanager
def _own_server(programs: Path) -> Iterator[URL]:
    as_postgres = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    directory = tempfile.mkdtemp(prefix="pg-")  # pytest's own are too long for the name of a socket
    try:
        if as_postgres:
            shutil.chown(directory, "postgres", "postgres")
        _run([*as_postgres, str(programs / "initdb"), "-D", directory, "-U", USER, "-A", "trust", "-E", "UTF8", "-N"])
        command = [*as_postgres, "sh", "-c", _RUN, "sh", str(programs / "postgres"), directory]
        with subprocess.Popen(command, stdin=subprocess.PIPE) as server:  # which closes its input at the end, and waits
            url = URL.create("postgresql", username=USER, database="postgres", query={"host": directory})
            _wait(server, url, Path(directory))
            yield url
    finally:
        shutil.rmtree(directory)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 0, done.stdout + done.stderr


def _wait(server: "subprocess.Popen[bytes]", url: URL, directory: Path) -> None:
    import psycopg

    end = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < end:
        with suppress(psycopg.OperationalError):
            return execute(url, "SELECT 1")
        assert server.poll() is None, (directory / "log").read_text()
        time.sleep(0.05)
    raise AssertionError(f"no PostgreSQL after {SECONDS_TO_START:g} s: {(directory / 'log').read_text()}")
