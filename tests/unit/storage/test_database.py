"""The schema, its migrations, and what a database's refusals become: the same on SQLite and on PostgreSQL."""

import re
import sqlite3
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from postgres import execute
from sqlalchemy import Connection, create_engine, inspect, make_url, select, text
from sqlalchemy.exc import IntegrityError

from verifier.errors import InvalidProblem, NotFound, Overloaded, WorkerLost
from verifier.storage import database as module
from verifier.storage import postgres_server, revision
from verifier.storage.database import ALIASES, METADATA, MODELS, REQUESTS, Database, current
from verifier.storage.schema import HEAD, REVISIONS
from verifier.storage.upsert import insert

VERSION_1 = """
CREATE TABLE models (
    sequence INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
    project VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    weights_sha256 VARCHAR NOT NULL,
    manifest VARCHAR NOT NULL,
    size INTEGER NOT NULL,
    created FLOAT NOT NULL,
    batch_difference FLOAT NOT NULL,
    reference_difference FLOAT,
    UNIQUE (project, digest)
);
CREATE INDEX ix_models_weights_sha256 ON models (weights_sha256);
CREATE TABLE batch_shapes (
    digest VARCHAR NOT NULL,
    device VARCHAR NOT NULL,
    dtype VARCHAR NOT NULL,
    purpose VARCHAR NOT NULL,
    rows INTEGER NOT NULL,
    PRIMARY KEY (digest, device, dtype, purpose)
);
CREATE TABLE requests (
    request_id VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    response VARCHAR NOT NULL,
    created FLOAT NOT NULL,
    PRIMARY KEY (request_id)
);
CREATE INDEX ix_requests_created ON requests (created);
CREATE TABLE aliases (
    project VARCHAR NOT NULL,
    alias VARCHAR NOT NULL,
    digest VARCHAR NOT NULL,
    PRIMARY KEY (project, alias),
    FOREIGN KEY(project, digest) REFERENCES models (project, digest) ON DELETE CASCADE
);
CREATE INDEX ix_aliases_digest ON aliases (digest);
INSERT INTO models VALUES (7, 'default', 'ab', 'cd', '{}', 10, 1.5, 1e-7, NULL);
INSERT INTO aliases VALUES ('default', 'prod', 'ab');
INSERT INTO batch_shapes VALUES ('ab', 'cpu', 'float32', 'forward', 256);
INSERT INTO requests VALUES ('id', 'body', 'answer', 2.5);
PRAGMA user_version = 1;
"""
"""What the release with schema version 1 wrote."""

VERSION_2 = """
CREATE TABLE attempts (
    project VARCHAR NOT NULL,
    model_digest VARCHAR NOT NULL,
    input_digest VARCHAR NOT NULL,
    noise VARCHAR NOT NULL,
    sigma FLOAT NOT NULL,
    attempt VARCHAR NOT NULL,
    alpha FLOAT NOT NULL,
    created FLOAT NOT NULL,
    PRIMARY KEY (project, model_digest, input_digest, noise, sigma, attempt)
);
PRAGMA user_version = 2;
"""
"""What the release with schema version 2 added."""


def old_file(path: Path, version: int) -> Path:
    with closing(sqlite3.connect(path)) as rows:
        rows.executescript(VERSION_1 + (VERSION_2 if version == 2 else ""))
    return path


def definitions(path: Path) -> set[str]:
    """Every table and index of a SQLite file, as SQL that only differs where they do."""
    with closing(sqlite3.connect(path)) as rows:
        found = rows.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    return {re.sub(r"\s*([(),])\s*", r"\1", " ".join(sql.split())) for (sql,) in found}


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return tmp_path / "verifier.db"


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    with closing(Database(place)) as database:
        yield database


def differences(rows: Connection) -> list[object]:
    context = MigrationContext.configure(rows, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, METADATA))


class TestSchema:
    def test_the_scripts_end_at_the_schema_of_the_program(self) -> None:
        scripts = ScriptDirectory(str(revision.MIGRATIONS))
        assert scripts.get_heads() == [HEAD]
        assert tuple(script.revision for script in reversed(list(scripts.walk_revisions()))) == REVISIONS

    def test_a_new_database_is_at_the_head(self, database: Database, place: Path | str) -> None:
        assert current(place) == HEAD
        with database.read() as rows:
            assert differences(rows) == []

    def test_migrations_from_nothing_make_the_same(self, place: Path | str) -> None:
        with closing(Database(place, upgrade=True)) as database, database.read() as rows:
            assert MigrationContext.configure(rows).get_current_revision() == HEAD
            assert differences(rows) == []

    def test_migrations_and_creation_write_the_same_sql(self, tmp_path: Path) -> None:
        for name, upgrade in (("created", False), ("migrated", True)):
            Database(tmp_path / name, upgrade=upgrade).close()
        assert definitions(tmp_path / "created") == definitions(tmp_path / "migrated")

    def test_differences_are_seen(self, database: Database) -> None:
        with database.write() as rows:
            rows.execute(text("DROP TABLE gate_runs"))
            rows.execute(text("ALTER TABLE jobs ADD COLUMN more INTEGER"))
        with database.read() as rows:
            kinds = {difference[0] for difference in differences(rows)}  # type: ignore[index]
        assert {"add_table", "remove_column"} <= kinds

    def test_openers_at_once_agree(self, place: Path | str) -> None:
        with ThreadPoolExecutor(6) as threads:
            for database in threads.map(lambda _: Database(place), range(6)):
                database.close()
        assert current(place) == HEAD

    def test_whole_numbers_have_64_bits(self, database: Database) -> None:
        with database.write() as rows:
            version = {"project": "p", "digest": "d", "weights_sha256": "w", "manifest": "{}", "created": 0.0}
            rows.execute(insert(rows, MODELS).values(**version, size=2**40, batch_difference=5e-324))
            assert rows.execute(select(MODELS.c.size, MODELS.c.batch_difference)).one() == (2**40, 5e-324)

    def test_numbers_of_removed_rows_do_not_come_again(self, database: Database) -> None:
        numbers = []
        for _ in range(3):
            with database.write() as rows:
                version = {"project": "p", "digest": "d", "weights_sha256": "w", "manifest": "{}", "created": 0.0}
                rows.execute(insert(rows, MODELS).values(**version, size=1, batch_difference=0.0))
                numbers.append(rows.execute(select(MODELS.c.sequence)).scalar_one())
                rows.execute(MODELS.delete())
        assert numbers == sorted(set(numbers))

    def test_a_name_needs_its_model(self, database: Database) -> None:
        with pytest.raises(IntegrityError), database.write() as rows:
            rows.execute(insert(rows, ALIASES).values(project="p", alias="prod", digest="nothing"))


class TestOldSchema:
    @pytest.mark.parametrize("version", [1, 2])
    def test_it_is_refused_with_the_command_and_left_alone(self, tmp_path: Path, version: int) -> None:
        path = old_file(tmp_path / "verifier.db", version)
        before = definitions(path)
        remedy = f"must have schema {HEAD}, got 000{version}.*then run verifier db upgrade --data-dir {tmp_path}"
        with pytest.raises(InvalidProblem, match=remedy) as caught:
            Database(path)
        assert caught.value.reason == "SCHEMA_VERSION"
        assert definitions(path) == before
        assert current(path) == f"000{version}"

    @pytest.mark.parametrize("version", [1, 2])
    def test_upgrading_keeps_the_rows_and_makes_the_same_tables(self, tmp_path: Path, version: int) -> None:
        path = old_file(tmp_path / "verifier.db", version)
        with closing(Database(path, upgrade=True)) as database, database.read() as rows:
            assert rows.execute(select(MODELS)).all() == [(7, "default", "ab", "cd", "{}", 10, 1.5, 1e-7, None)]
            assert rows.execute(select(ALIASES)).all() == [("default", "prod", "ab")]
            assert rows.execute(select(REQUESTS)).all() == [("id", "body", "answer", 2.5)]
            assert rows.execute(text("SELECT rows FROM batch_shapes")).scalars().all() == [256]
            assert differences(rows) == []
        Database(tmp_path / "new.db").close()
        assert definitions(path) == definitions(tmp_path / "new.db")
        Database(path).close()

    def test_upgrading_twice_changes_nothing(self, database: Database, place: Path | str) -> None:
        with database.write() as rows:
            rows.execute(insert(rows, REQUESTS).values(request_id="id", fingerprint="f", response="r", created=1.0))
        with closing(Database(place, upgrade=True)) as again, again.read() as rows:
            assert rows.execute(select(REQUESTS.c.request_id)).scalars().all() == ["id"]

    def test_a_stamped_earlier_schema_is_upgraded_too(self, place: Path | str) -> None:
        self.downgrade_to_2(place)
        with pytest.raises(InvalidProblem, match=r"got 0002, .*verifier db upgrade --(data-dir|database-url)"):
            Database(place)
        Database(place, upgrade=True).close()
        assert current(place) == HEAD

    def test_a_failed_upgrade_changes_nothing(self, place: Path | str) -> None:
        self.downgrade_to_2(place)
        url = place.replace("postgresql:", "postgresql+psycopg:") if isinstance(place, str) else f"sqlite:///{place}"
        engine = create_engine(url)
        with engine.begin() as rows:
            rows.execute(text("CREATE VIEW job_rows AS SELECT 1 AS one"))  # in the way, half way through
        with pytest.raises(Exception, match="job_rows"):
            Database(place, upgrade=True)
        with engine.begin() as rows:
            assert inspect(rows).get_table_names().count("datasets") == 0
        engine.dispose()
        assert current(place) == "0002"

    def test_a_release_before_alembic_refuses_ours(self, tmp_path: Path) -> None:
        Database(tmp_path / "verifier.db").close()
        with closing(sqlite3.connect(tmp_path / "verifier.db")) as rows:
            assert rows.execute("PRAGMA user_version").fetchone() == (3,)  # it takes 1, or 2, or an empty file

    @staticmethod
    def downgrade_to_2(place: Path | str) -> None:
        with closing(Database(place)) as database, database.write() as rows:
            for table in ("job_rows", "jobs", "dataset_names", "datasets", "gate_runs"):
                rows.execute(text(f"DROP TABLE {table}"))
            rows.execute(text("UPDATE alembic_version SET version_num = '0002'"))


class TestForeign:
    @pytest.mark.parametrize("stamp", ["0004", "1f3a0c"], ids=repr)
    def test_a_later_schema_is_refused_and_not_upgraded(
        self, database: Database, place: Path | str, stamp: str
    ) -> None:
        with database.write() as rows:
            rows.execute(text(f"UPDATE alembic_version SET version_num = '{stamp}'"))
        for upgrade in (False, True):
            with pytest.raises(InvalidProblem, match=f"up to {HEAD}, got {stamp}: install the release") as caught:
                Database(place, upgrade=upgrade)
            assert caught.value.reason == "SCHEMA_VERSION"

    def test_another_program_s_tables_are_refused(self, place: Path | str) -> None:
        with closing(Database(place)) as database, database.write() as rows:
            METADATA.drop_all(rows)
            rows.execute(text("CREATE TABLE something (x INTEGER)"))
        for upgrade in (False, True):  # stamped as ours, by chance
            with pytest.raises(InvalidProblem, match=f"got {HEAD}: install") as caught:
                Database(place, upgrade=upgrade)
            assert caught.value.reason == "SCHEMA_VERSION"

    def test_a_file_that_is_not_there_is_not_made(self, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="there is no database"):
            current(tmp_path / "verifier.db")
        assert list(tmp_path.iterdir()) == []


class TestTransactions:
    def test_an_exception_undoes_everything(self, database: Database) -> None:
        def fail(rows: Connection) -> None:
            rows.execute(insert(rows, REQUESTS).values(request_id="id", fingerprint="f", response="r", created=1.0))
            raise ZeroDivisionError

        for alone in (True, False):
            with pytest.raises(ZeroDivisionError), database.write(alone=alone) as rows:
                fail(rows)
        with database.read() as rows:
            assert rows.execute(select(REQUESTS)).all() == []

    def test_a_reader_sees_one_state(self, database: Database) -> None:
        with database.read() as rows:
            assert rows.execute(select(REQUESTS)).all() == []
            with database.write() as others:
                others.execute(
                    insert(others, REQUESTS).values(request_id="id", fingerprint="f", response="r", created=1.0)
                )
            assert rows.execute(select(REQUESTS)).all() == []
        with database.read() as rows:
            assert len(rows.execute(select(REQUESTS)).all()) == 1

    def test_lone_writers_wait_for_each_other(self, database: Database) -> None:
        with database.write() as rows:
            rows.execute(insert(rows, REQUESTS).values(request_id="n", fingerprint="0", response="", created=1.0))

        def increment(_: int) -> None:
            with database.write() as rows:
                number = int(rows.execute(select(REQUESTS.c.fingerprint)).scalar_one())
                rows.execute(REQUESTS.update().values(fingerprint=str(number + 1)))

        with ThreadPoolExecutor(8) as threads:
            list(threads.map(increment, range(80)))
        with database.read() as rows:
            assert rows.execute(select(REQUESTS.c.fingerprint)).scalar_one() == "80"

    def test_a_writer_that_waits_too_long_may_retry(
        self, database: Database, place: Path | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "BUSY_SECONDS", 0.2)
        with closing(Database(place)) as hasty, database.write():
            with hasty.read() as rows:  # readers never wait
                assert rows.execute(select(REQUESTS)).all() == []
            with pytest.raises(Overloaded, match=r"busy for 0\.2 s.*: retry") as caught, hasty.write():
                pass
        assert caught.value.reason == "REGISTRY_BUSY"


class TestPostgres:
    def test_a_lost_connection_is_told_and_the_next_one_works(self, postgres_url: str) -> None:
        def lose(rows: Connection) -> None:
            rows.execute(insert(rows, REQUESTS).values(request_id="id", fingerprint="f", response="r", created=1.0))
            process = rows.execute(text("SELECT pg_backend_pid()")).scalar_one()
            execute(postgres_url, f"SELECT pg_terminate_backend({process})")
            rows.execute(select(REQUESTS))

        with closing(Database(postgres_url)) as database:
            with pytest.raises(WorkerLost, match=r"cannot be reached .*check") as caught, database.write() as rows:
                lose(rows)
            assert caught.value.reason == "DATABASE_UNAVAILABLE"
            with database.write() as rows:
                assert rows.execute(select(REQUESTS)).all() == []

    def test_connections_that_died_in_the_pool_are_replaced(self, postgres_url: str) -> None:
        with closing(Database(postgres_url)) as database:
            execute(
                postgres_url,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            with database.read() as rows:
                assert rows.execute(select(REQUESTS)).all() == []

    def test_a_transaction_whose_client_sleeps_is_ended(
        self, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def sleep(rows: Connection, database: Database) -> None:
            rows.execute(insert(rows, REQUESTS).values(request_id="id", fingerprint="f", response="r", created=1.0))
            with database.write() as others:  # waits for us, until the server has ended us
                assert others.execute(select(REQUESTS)).all() == []
            rows.execute(select(REQUESTS))

        monkeypatch.setattr(postgres_server, "IDLE_SECONDS", 0.3)
        with closing(Database(postgres_url)) as database:
            with pytest.raises(WorkerLost) as caught, database.write() as rows:
                sleep(rows, database)
            assert caught.value.reason == "DATABASE_UNAVAILABLE"

    def test_a_standby_is_no_database_to_write_to(self, postgres_url: str) -> None:
        def write(rows: Connection) -> None:
            rows.execute(text("SET TRANSACTION READ ONLY"))
            rows.execute(REQUESTS.delete())

        with closing(Database(postgres_url)) as database:
            with pytest.raises(WorkerLost) as caught, database.write() as rows:
                write(rows)
            assert caught.value.reason == "DATABASE_UNAVAILABLE"

    def test_a_user_who_may_not_write(self, postgres_url: str) -> None:
        name = f"reader_{uuid4().hex}"
        execute(postgres_url, f"CREATE ROLE {name} LOGIN PASSWORD 's3cret'")
        url = make_url(postgres_url).set(username=name, password="s3cret").render_as_string(hide_password=False)
        try:
            with pytest.raises(InvalidProblem, match=r"may not do what we need .*permission denied"):
                Database(url)
        finally:
            execute(postgres_url, f"DROP ROLE {name}")

    def test_a_database_that_does_not_exist(self, postgres_url: str) -> None:
        url = make_url(postgres_url).set(database="no_such_database").render_as_string(hide_password=False)
        with pytest.raises(WorkerLost, match=r"no_such_database.*does not exist") as caught:
            Database(url)
        assert caught.value.reason == "DATABASE_UNAVAILABLE"


class TestUrl:
    SECRET = "s3cret/%25"

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://me:s3cret%2F%2525@127.0.0.1:1/jobs",
            "postgresql+psycopg://me:s3cret%2F%2525@127.0.0.1:1/jobs",
            "postgresql://me@127.0.0.1:1/jobs?password=s3cret%2F%2525",
            "postgresql://me:s3cret%2F%2525@127.0.0.1:1/jobs?no_such_option=s3cret%2F%2525",
            "postgresql://me:s3cret%2F%2525@127.0.0.1:1/jobs?sslmode=s3cret%2F%2525",  # which libpq quotes
            "postgresql://me:s3cret%2F%2525@127.0.0.1:port/jobs",
            "mysql://me:s3cret%2F%2525@127.0.0.1/jobs",
            "s3cret%2F%2525",
            "sqlite://",
            "sqlite:///:memory:",
        ],
    )
    def test_no_message_and_no_traceback_shows_a_password(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level("DEBUG"), pytest.raises((WorkerLost, InvalidProblem)) as caught:
            Database(url)
        told = "".join(traceback.format_exception(caught.value)) + caplog.text
        assert not [secret for secret in (self.SECRET, "s3cret%2F", "s3cret") if secret in told]

    def test_a_server_that_is_not_there(self) -> None:
        with pytest.raises(WorkerLost, match=r"PostgreSQL database jobs at 127\.0\.0\.1 cannot be reached") as caught:
            Database("postgresql://me@127.0.0.1:1/jobs")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"

    def test_another_kind_of_database(self) -> None:
        with pytest.raises(InvalidProblem, match=r"must be postgresql://.* or sqlite:///FILE, got one of mysql"):
            Database("mysql://me@127.0.0.1/jobs")

    def test_a_file_by_url(self, tmp_path: Path) -> None:
        Database(f"sqlite:///{tmp_path / 'here.db'}").close()
        assert current(tmp_path / "here.db") == HEAD


class TestSqliteFile:
    @pytest.mark.parametrize("name", ["a b.db", "100%.db", "a?b.db", "a#b.db"])
    def test_any_name_will_do(self, tmp_path: Path, name: str) -> None:
        Database(tmp_path / name, upgrade=True).close()
        assert (tmp_path / name).exists()

    def test_a_directory_that_went_away(self, tmp_path: Path) -> None:
        with pytest.raises(WorkerLost, match="unable to open database file") as caught:
            Database(tmp_path / "gone" / "verifier.db")
        assert caught.value.reason == "DATABASE_UNAVAILABLE"

    def test_it_is_durable_and_checks_its_references(self, tmp_path: Path) -> None:
        with closing(Database(tmp_path / "verifier.db")) as database, database.read() as rows:
            settings = [rows.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")]
            assert settings == ["wal", 2]
            assert rows.execute(text("PRAGMA foreign_keys")).scalar() == 1
