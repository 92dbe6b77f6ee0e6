import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from verifier.errors import AlreadyExists, Conflict, InvalidProblem, NotFound, Overloaded, Unsound, Unsupported
from verifier.model import ModelInfo, ModelSource
from verifier.models import architectures
from verifier.models.cache import HandleCache, tensor_bytes
from verifier.models.loading import load
from verifier.models.registry import REMEMBERED_SECONDS, BatchKey, Registry
from verifier.storage import database as registry_database
from verifier.storage.database import Database

MakeWeights = Callable[[int], bytes]
CPU = torch.device("cpu")


def blob_files(data_dir: Path) -> list[Path]:
    return [path for path in (data_dir / "blobs").rglob("*") if path.is_file()]


class TestAdd:
    def test_a_model_is_there_under_its_name_and_its_digest(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        data = make_weights(0)
        before = time.time()
        added = registry.add(data, source, "prod")
        assert added.aliases == ("prod",)
        assert added.size == len(data)
        assert before <= added.created <= time.time()
        assert added.dry_run.batch_difference < 1e-5
        for name in ("prod", added.digest, added.digest[:8]):
            assert registry.get(name) == added

    def test_an_upload_in_chunks_is_the_same_model(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        data = make_weights(0)
        upload = registry.begin_upload()
        for start in range(0, len(data), 100):
            upload.write(data[start : start + 100])
        sha256 = upload.finish()
        info = registry.add(upload, source, "prod")
        assert info.manifest.weights_sha256 == sha256
        assert info == registry.add(data, source, "prod")
        assert len(blob_files(tmp_path / "data")) == 1

    def test_the_same_again_changes_nothing(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        assert registry.add(make_weights(0), source, "prod") == registry.add(make_weights(0), source, "prod")
        assert registry.add(make_weights(0), source, "canary").aliases == ("canary", "prod")
        assert len(registry.list()[0]) == 1

    def test_the_same_bytes_read_another_way_are_another_version(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        plain = registry.add(make_weights(0), source, "plain")
        ranged = registry.add(make_weights(0), replace(source, input_range=(0.0, 1.0)), "ranged")
        assert plain.digest != ranged.digest
        assert len(blob_files(tmp_path / "data")) == 1
        registry.remove("plain")
        assert registry.load(ranged.digest, CPU).input_range == (0.0, 1.0)

    def test_a_name_is_only_moved_on_request(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        old = registry.add(make_weights(0), source, "prod")
        with pytest.raises(AlreadyExists, match=f"'prod' belongs to version {old.digest}.*--move-alias") as caught:
            registry.add(make_weights(1), source, "prod")
        assert caught.value.reason == "ALIAS_TAKEN"
        new = registry.add(make_weights(1), source, "prod", move_alias=True)
        assert registry.get("prod") == new
        assert registry.get(old.digest).aliases == ()

    def test_a_refused_model_leaves_nothing(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        with pytest.raises(InvalidProblem, match="damaged"):
            registry.add(make_weights(0)[:-1], source, "prod")
        with pytest.raises(InvalidProblem, match="a model's name must be"):
            registry.add(make_weights(0), source, "Prod!")
        assert blob_files(tmp_path / "data") == []
        assert registry.list() == ((), "")

    def test_uploads_are_limited(self, tmp_path: Path, source: ModelSource, make_weights: MakeWeights) -> None:
        data = make_weights(0)
        with (
            Registry.open(tmp_path, exclusive=True, max_bytes=len(data) - 1) as registry,
            pytest.raises(InvalidProblem, match=f"at most {len(data) - 1} bytes"),
        ):
            registry.add(data, source, "prod")

    def test_threads_that_add_the_same_model_agree(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        data = make_weights(0)
        with ThreadPoolExecutor(8) as threads:
            infos = list(threads.map(lambda i: registry.add(data, source, f"name-{i % 4}"), range(16)))
        assert len({info.digest for info in infos}) == 1
        assert registry.get("name-0").aliases == ("name-0", "name-1", "name-2", "name-3")
        assert len(blob_files(tmp_path / "data")) == 1

    def test_threads_that_add_and_remove_the_same_file_never_lose_it(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        data = make_weights(0)

        def churn(i: int) -> None:
            registry.add(data, replace(source, input_range=(0.0, 1.0 + i)), f"name-{i}")
            registry.remove(f"name-{i}")

        kept = registry.add(data, source, "kept")
        registry.remove("kept")
        with ThreadPoolExecutor(4) as threads:
            churning = [threads.submit(churn, i) for i in range(12)]
            kept = registry.add(data, source, "kept")
            for future in churning:
                future.result()
        assert registry.load(kept.digest, CPU).digest == kept.digest

    def test_projects_do_not_see_each_other(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        mine = registry.add(make_weights(0), source, "prod", project="mine")
        registry.add(make_weights(0), source, "prod", project="yours")
        with pytest.raises(NotFound):
            registry.get("prod")
        registry.remove("prod", project="yours")
        assert registry.get("prod", project="mine") == mine
        assert registry.load(mine.digest, CPU).digest == mine.digest


class TestGet:
    def test_an_unknown_name_suggests_its_likes(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        with pytest.raises(NotFound, match="no model 'prod'; none has a name: register one first"):
            registry.get("prod")
        for alias in ("mnist-cnn", "mnist-mlp", "prod", "z1", "z2", "z3"):
            registry.add(make_weights(0), source, alias)
        with pytest.raises(NotFound, match=r"no model 'mnist-cn'; did you mean mnist-cnn( or [a-z0-9-]+)*\?"):
            registry.get("mnist-cn")
        with pytest.raises(NotFound, match=r"known names: mnist-cnn, mnist-mlp, prod, z1, z2, \.\.\."):
            registry.get("0123456789abcdef")

    def test_a_prefix_must_be_long_enough_and_unambiguous(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        info = registry.add(make_weights(0), source, "prod")
        with pytest.raises(NotFound):
            registry.get(info.digest[:7])
        twin = info.digest[:10] + "".join("1" if digit == "0" else "0" for digit in info.digest[10:])
        with sqlite3.connect(tmp_path / "data" / "verifier.db") as rows:  # nobody can compute such a digest
            rows.execute(
                "INSERT INTO models SELECT NULL, project, ?, weights_sha256, manifest, size, created, "
                "batch_difference, reference_difference FROM models",
                (twin,),
            )
        rows.close()
        with pytest.raises(InvalidProblem, match=f"'{info.digest[:10]}' begins 2 digests, .*give more") as caught:
            registry.get(info.digest[:10])
        assert caught.value.reason == "AMBIGUOUS_NAME"
        assert registry.get(info.digest[:11]) == info


class TestList:
    @pytest.fixture(scope="class")
    @classmethod
    def shared(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
        with Registry.open(tmp_path_factory.mktemp("data"), exclusive=True) as registry:
            yield registry

    projects = count()

    @settings(max_examples=15, deadline=None)
    @given(data=st.data())
    def test_pages_give_every_version_that_stays_once(
        self, shared: Registry, source: ModelSource, make_weights: MakeWeights, data: st.DataObject
    ) -> None:
        project = f"project-{next(self.projects)}"

        def add(i: int) -> ModelInfo:
            return shared.add(make_weights(0), replace(source, input_range=(0.0, 1.0 + i)), f"m{i}", project=project)

        there = [add(i) for i in range(data.draw(st.integers(0, 6), label="versions"))]
        staying = {info.digest for info in there}
        listed: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            page, token = shared.list(data.draw(st.integers(1, 4), label="page size"), token, project)
            listed += [info.digest for info in page]
            if data.draw(st.booleans(), label="remove one") and there:
                gone = there.pop(data.draw(st.integers(0, len(there) - 1)))
                shared.remove(gone.digest, project)
                staying.discard(gone.digest)
            if data.draw(st.booleans(), label="add one") and pages < 3:
                there.append(add(100 + pages))
            pages += 1
        assert len(listed) == len(set(listed))
        assert staying <= set(listed)

    def test_pages_are_in_the_order_of_registration(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        added = [registry.add(make_weights(0), replace(source, input_range=(0.0, 1.0 + i)), f"m{i}") for i in range(3)]
        first, token = registry.list(page_size=2)
        second, end = registry.list(page_size=2, page_token=token)
        assert [*first, *second] == added
        assert end == ""
        assert registry.list(page_size=5000)[0] == tuple(added)

    @pytest.mark.parametrize("token", ["x", "-1", "1" * 30, "²"])
    def test_a_foreign_token_is_refused(self, registry: Registry, token: str) -> None:
        with pytest.raises(InvalidProblem, match="page_token must come from the page before"):
            registry.list(page_token=token)

    def test_a_negative_page_is_refused(self, registry: Registry) -> None:
        with pytest.raises(InvalidProblem, match="page_size must be >= 0, got -1"):
            registry.list(page_size=-1)


class TestRemove:
    def test_a_version_goes_with_its_last_name(
        self, tmp_path: Path, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        registry.add(make_weights(0), source, "prod")
        info = registry.add(make_weights(0), source, "canary")
        registry.remove("prod")
        assert registry.get(info.digest).aliases == ("canary",)
        registry.remove("canary")
        with pytest.raises(NotFound):
            registry.get(info.digest)
        assert blob_files(tmp_path / "data") == []

    def test_by_digest_all_names_go(self, registry: Registry, source: ModelSource, make_weights: MakeWeights) -> None:
        registry.add(make_weights(0), source, "prod")
        info = registry.add(make_weights(0), source, "canary")
        registry.load(info.digest, CPU)
        registry.remove(info.digest[:12])
        for name in ("prod", "canary", info.digest):
            with pytest.raises(NotFound):
                registry.remove(name)
        with pytest.raises(NotFound, match=f"no model version has the digest '{info.digest}'"):
            registry.load(info.digest, CPU)


class TestLoad:
    def test_the_function_is_the_one_registered(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        info = registry.add(make_weights(0), source, "prod")
        x = torch.rand(3, 4)
        handle = registry.load(info.digest, CPU)
        assert torch.equal(handle.logits(x), load(make_weights(0), source, CPU).handle.logits(x))
        assert registry.load(info.digest, CPU) is handle

    def test_threads_share_one_load(self, registry: Registry, source: ModelSource, make_weights: MakeWeights) -> None:
        digest = registry.add(make_weights(0), source, "prod").digest
        with ThreadPoolExecutor(8) as threads:
            assert len(set(threads.map(lambda _: registry.load(digest, CPU), range(16)))) == 1

    def test_a_corrupt_file_is_found_and_repaired_by_registering_again(
        self, registry: Registry, tmp_path: Path, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        info = registry.add(make_weights(0), source, "prod")
        (file,) = blob_files(tmp_path / "data")
        damaged = bytearray(file.read_bytes())
        damaged[-1] ^= 1
        file.write_bytes(damaged)
        with pytest.raises(Unsound, match="must have SHA-256") as caught:
            registry.load(info.digest, CPU)
        assert caught.value.reason == "MODEL_CORRUPT"
        registry.add(make_weights(0), source, "prod")
        assert registry.load(info.digest, CPU).digest == info.digest

    def test_another_version_of_the_architecture_is_another_function(
        self, registry: Registry, source: ModelSource, make_weights: MakeWeights, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        info = registry.add(make_weights(0), source, "prod")
        monkeypatch.setattr(architectures, "MLP", replace(architectures.MLP, version="2"))
        with pytest.raises(Unsupported, match="registered with mlp 1, but mlp 2 is installed") as caught:
            registry.load(info.digest, CPU)
        assert caught.value.reason == "MODEL_OUTDATED"

    def test_the_cache_keeps_the_latest_that_fit(self, source: ModelSource, make_weights: MakeWeights) -> None:
        first, second, third = (load(make_weights(seed), source, CPU).handle for seed in range(3))
        cache = HandleCache(max_bytes=2 * tensor_bytes(first))
        cache.put(first)
        cache.put(second)
        assert cache.get(first.digest, CPU) is first
        cache.put(third)
        assert cache.get(second.digest, CPU) is None
        assert cache.get(first.digest, CPU) is first
        assert cache.get(third.digest, CPU) is third
        cache.drop(first.digest)
        cache.put(second)
        assert cache.get(third.digest, CPU) is third
        assert tensor_bytes(first) == 4 * (4 * 8 + 8 + 8 * 3 + 3)

    def test_a_model_larger_than_the_cache_is_not_kept(self, source: ModelSource, make_weights: MakeWeights) -> None:
        handle = load(make_weights(0), source, CPU).handle
        cache = HandleCache(max_bytes=tensor_bytes(handle) - 1)
        cache.put(handle)
        assert cache.get(handle.digest, CPU) is None


class TestBatchShapes:
    KEY = BatchKey("ab" * 32, "cpu", "float32")

    def test_the_first_shape_stands(self, tmp_path: Path) -> None:
        with Registry.open(tmp_path, exclusive=True) as registry:
            assert registry.batch_rows(self.KEY) is None
            assert registry.store_batch_rows(self.KEY, 256) == 256
            assert registry.store_batch_rows(self.KEY, 512) == 256
        with Registry.open(tmp_path, exclusive=True) as registry:
            assert registry.batch_rows(self.KEY) == 256
            assert registry.batch_rows(replace(self.KEY, purpose="gradient")) is None

    def test_an_empty_batch_is_refused(self, registry: Registry) -> None:
        with pytest.raises(InvalidProblem, match="at least 1 row, got 0"):
            registry.store_batch_rows(self.KEY, 0)


class TestRequests:
    def test_the_same_request_has_one_answer(self, registry: Registry) -> None:
        assert registry.remembered("id", "body") is None
        assert registry.remember("id", "body", "first") == "first"
        assert registry.remember("id", "body", "second") == "first"
        assert registry.remembered("id", "body") == "first"

    def test_another_body_under_the_same_id_is_refused(self, registry: Registry) -> None:
        registry.remember("id", "body", "answer")
        with pytest.raises(AlreadyExists, match="'id' was used for another request") as caught:
            registry.remembered("id", "other")
        assert caught.value.reason == "REQUEST_ID_REUSED"
        with pytest.raises(AlreadyExists):
            registry.remember("id", "other", "answer")

    def test_answers_of_long_ago_are_forgotten(self, tmp_path: Path) -> None:
        with Registry.open(tmp_path, exclusive=True, clock=lambda: 0.0) as registry:
            registry.remember("old", "body", "answer")
        with Registry.open(tmp_path, exclusive=True, clock=lambda: REMEMBERED_SECONDS) as registry:
            assert registry.remembered("old", "body") == "answer"
        with Registry.open(tmp_path, exclusive=True, clock=lambda: REMEMBERED_SECONDS + 1) as registry:
            assert registry.remembered("old", "body") is None


class TestOpen:
    @pytest.mark.parametrize("below", [".", "sub"])
    def test_a_file_is_no_data_directory(self, tmp_path: Path, below: str) -> None:
        file = tmp_path / "file"
        file.touch()
        with pytest.raises(InvalidProblem, match=r"must be a directory that can be written, got .*--data-dir"):
            Registry.open(file / below, exclusive=True)

    def test_a_server_is_alone_and_embedded_users_are_not(self, tmp_path: Path) -> None:
        with Registry.open(tmp_path, exclusive=True), pytest.raises(Conflict, match="a server"):
            Registry.open(tmp_path, exclusive=False)
        with (
            Registry.open(tmp_path, exclusive=False),
            Registry.open(tmp_path, exclusive=False),
            pytest.raises(Conflict, match="an embedded user"),
        ):
            Registry.open(tmp_path, exclusive=True)
        Registry.open(tmp_path, exclusive=True).close()

    def test_embedded_users_see_each_others_models(
        self, tmp_path: Path, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        with Registry.open(tmp_path, exclusive=False) as one, Registry.open(tmp_path, exclusive=False) as other:
            info = one.add(make_weights(0), source, "prod")
            assert other.get("prod") == info
            assert other.load(info.digest, CPU).digest == info.digest

    @pytest.mark.parametrize(("version", "tables"), [(1, True), (0, True), (7, False)])
    def test_a_foreign_schema_is_refused_and_left_alone(self, tmp_path: Path, version: int, tables: bool) -> None:
        path = tmp_path / "verifier.db"
        rows = sqlite3.connect(path)
        rows.execute(f"PRAGMA user_version = {version}")
        if tables:
            rows.execute("CREATE TABLE something (x)")
        rows.close()
        with pytest.raises(InvalidProblem, match=r"must be empty or have a schema of .*: install") as caught:
            Registry.open(tmp_path, exclusive=True)
        assert caught.value.reason == "SCHEMA_VERSION"
        rows = sqlite3.connect(path)
        assert rows.execute("PRAGMA user_version").fetchone() == (version,)
        assert [name for (name,) in rows.execute("SELECT name FROM sqlite_master")] == ["something"] * tables
        rows.close()

    def test_what_is_no_database_is_refused_and_frees_the_directory(self, tmp_path: Path) -> None:
        (tmp_path / "verifier.db").write_bytes(b"not a database" * 100)
        for _ in range(2):
            with pytest.raises(InvalidProblem, match="is not a whole SQLite database") as caught:
                Registry.open(tmp_path, exclusive=True)
            assert caught.value.reason == "DATABASE_DAMAGED"

    def test_opening_sweeps_what_crashes_left(
        self, tmp_path: Path, source: ModelSource, make_weights: MakeWeights
    ) -> None:
        with Registry.open(tmp_path, exclusive=True) as registry:
            info = registry.add(make_weights(0), source, "prod")
            (kept,) = blob_files(tmp_path)
        orphan = tmp_path / "blobs" / "sha256" / "ab" / ("ab" * 32)
        unfinished = tmp_path / "blobs" / "incoming" / "tmpabc"
        for path in (orphan, unfinished):
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"left")
        with Registry.open(tmp_path, exclusive=False):
            assert orphan.exists()
        with Registry.open(tmp_path, exclusive=True) as registry:
            assert blob_files(tmp_path) == [kept]
            assert registry.list()[0] == (info,)


class TestDatabase:
    @pytest.fixture
    def database(self, tmp_path: Path) -> Iterator[Database]:
        database = Database(tmp_path / "verifier.db")
        yield database
        database.close()

    def test_a_full_database_is_a_full_disk(self, database: Database) -> None:
        with database.read() as rows:
            rows.exec_driver_sql("PRAGMA max_page_count = 1")  # it has more already: no room for another
        with pytest.raises(Overloaded, match="no room left") as caught, database.write() as rows:
            rows.exec_driver_sql("INSERT INTO requests VALUES ('id', 'body', ?, 0)", ("x" * 100_000,))
        assert caught.value.reason == "DISK_FULL"

    def test_a_writer_that_waits_too_long_may_retry(
        self, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry_database, "BUSY_SECONDS", 0.05)
        with closing(Database(tmp_path / "verifier.db")) as hasty, database.write():
            with hasty.read() as rows:  # readers never wait
                assert rows.exec_driver_sql("SELECT count(*) FROM models").scalar() == 0
            with pytest.raises(Overloaded, match=r"busy for 0\.05 s: retry") as caught, hasty.write():
                pass
        assert caught.value.reason == "REGISTRY_BUSY"

    def test_an_exception_undoes_the_transaction(self, database: Database) -> None:
        def fail(rows: Connection) -> None:
            rows.exec_driver_sql("INSERT INTO requests VALUES ('id', 'body', 'answer', 0)")
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), database.write() as rows:
            fail(rows)
        with database.read() as rows:
            assert rows.exec_driver_sql("SELECT count(*) FROM requests").scalar() == 0


CRASH = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from verifier.model import ModelFormat, ModelSource
from verifier.models.registry import Registry

data_dir, weights, moment = Path(sys.argv[1]), Path(sys.argv[2]).read_bytes(), sys.argv[3]
config = {"input_shape": [4], "hidden": [8], "classes": 3}

def source(i):
    return ModelSource(ModelFormat.SAFETENSORS, architecture="mlp", config=config, input_range=(0.0, 1.0 + i))

registry = Registry.open(data_dir, exclusive=True)
if moment == "before commit":
    registry.begin_upload().write(weights[:100])
    event.listen(Engine, "commit", lambda connection: os.kill(os.getpid(), signal.SIGKILL))
for i in range(10**6):
    print(registry.add(weights[:-8] + i.to_bytes(2, "little") + weights[-6:], source(i), f"m{i}").digest, flush=True)
    if i % 3 == 2:
        registry.remove(f"m{i}")
"""


class TestCrash:
    def crashing(self, data_dir: Path, weights: bytes, moment: str) -> "subprocess.Popen[str]":
        file = data_dir.parent / "weights.safetensors"
        file.write_bytes(weights)
        command = [sys.executable, "-c", CRASH, str(data_dir), str(file), moment]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def test_killed_between_file_and_row(self, tmp_path: Path, make_weights: MakeWeights) -> None:
        data_dir = tmp_path / "data"
        with self.crashing(data_dir, make_weights(0), "before commit") as process:
            assert process.wait() == -signal.SIGKILL
        assert len(blob_files(data_dir)) == 2  # the unfinished upload, and a whole file without a row
        with Registry.open(data_dir, exclusive=True) as registry:
            assert registry.list() == ((), "")
            assert blob_files(data_dir) == []

    def test_killed_at_any_moment(self, tmp_path: Path, make_weights: MakeWeights) -> None:
        data_dir = tmp_path / "data"
        with self.crashing(data_dir, make_weights(0), "any") as process:
            assert process.stdout is not None
            answered = [process.stdout.readline().strip() for _ in range(5)]
            time.sleep(random.uniform(0, 0.05))
            process.kill()
            answered += process.stdout.read().split()
        with Registry.open(data_dir, exclusive=True) as registry:
            there = registry.list(page_size=1000)[0]
            digests = [info.digest for info in there]
            kept = [digest for i, digest in enumerate(answered) if i % 3 != 2]
            assert [digest for digest in digests if digest in kept] == kept
            assert len(digests) <= len(kept) + 2  # one that was committed but not told, one not yet removed
            assert {path.name for path in blob_files(data_dir)} == {info.manifest.weights_sha256 for info in there}
            for info in there:
                assert info.aliases
                assert registry.load(info.digest, CPU).digest == info.digest
