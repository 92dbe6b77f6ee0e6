import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select

from verifier.dataset import DatasetInfo
from verifier.datasets.files import DatasetFiles
from verifier.datasets.incoming import Incoming
from verifier.datasets.registry import Datasets
from verifier.datasets.source import Extent
from verifier.errors import AlreadyExists, Conflict, InvalidProblem, NotFound, Unsound
from verifier.storage.database import Database
from verifier.storage.schema import DATASETS


def content(datasets: Datasets, value: float = 0, *, labelled: bool = True) -> Incoming:
    """A small data set, finished: another one for each value."""
    incoming = datasets.begin(Extent((2,), 3, labelled))
    incoming.append(np.full((3, 2), value, np.float32), np.array([4, 0, 1]) if labelled else None, {1: "torn"})
    incoming.finish()
    return incoming


def add(datasets: Datasets, name: str, value: float = 0, **options: Any) -> DatasetInfo:
    return datasets.add(name, content(datasets, value), **options)


def directories(files: DatasetFiles) -> set[str]:
    return {path.name for path in files.path("0" * 64).parent.iterdir()} - {"lock", "incoming"}


class TestAdd:
    def test_it_is_there_under_its_name_and_its_digest(self, datasets: Datasets, files: DatasetFiles) -> None:
        incoming = content(datasets)
        digest = incoming.manifest.digest
        added = datasets.add("test", incoming)
        size = sum(path.stat().st_size for path in files.path(digest).iterdir())
        assert added == DatasetInfo(digest, ("test",), 3, (2,), True, 5, 1, size, 1000.0)
        for name in ("test", digest, digest[:8]):
            assert datasets.get(name) == added
            with datasets.open(name) as dataset:
                assert dataset.digest == digest
                assert np.array_equal(dataset.rows([0])[0], [[0, 0]])

    def test_without_labels_there_are_no_classes(self, datasets: Datasets) -> None:
        added = datasets.add("test", content(datasets, labelled=False))
        assert (added.labelled, added.classes) == (False, None)

    def test_the_same_again_changes_nothing(self, datasets: Datasets, files: DatasetFiles) -> None:
        assert add(datasets, "test") == add(datasets, "test")
        assert add(datasets, "other").names == ("other", "test")
        assert len(datasets.list()[0]) == len(directories(files)) == 1

    def test_a_name_is_only_moved_on_request(self, datasets: Datasets) -> None:
        old = add(datasets, "test")
        with pytest.raises(AlreadyExists, match=f"'test' belongs to data set {old.digest}.*--move-name") as caught:
            add(datasets, "test", 1)
        assert caught.value.reason == "NAME_TAKEN"
        new = add(datasets, "test", 1, move_name=True)
        assert datasets.get("test") == new
        assert datasets.get(old.digest).names == ()

    @pytest.mark.parametrize("name", ["Test", "", "a/b", "x" * 64, "0" * 64, "-a"])
    def test_a_refused_one_leaves_nothing(self, datasets: Datasets, files: DatasetFiles, name: str) -> None:
        with pytest.raises(InvalidProblem, match="a data set's name must be 1 to 63 characters"):
            add(datasets, name)
        assert directories(files) == set()
        assert list((files.path("0" * 64).parent / "incoming").iterdir()) == []
        assert datasets.list() == ((), "")

    def test_adding_again_repairs(self, datasets: Datasets, files: DatasetFiles) -> None:
        digest = add(datasets, "test").digest
        (files.path(digest) / "inputs.f32").write_bytes(bytes(24))
        assert files.damaged(digest)
        add(datasets, "test")
        assert not files.damaged(digest)
        shutil.rmtree(files.path(digest))
        with pytest.raises(Unsound, match="there is no such directory") as caught:
            datasets.open("test")
        assert caught.value.reason == "DATASET_CORRUPT"
        add(datasets, "test")
        datasets.open("test").close()

    def test_threads_that_add_and_remove_the_same_never_lose_it(self, datasets: Datasets, files: DatasetFiles) -> None:
        def churn(number: int) -> None:
            add(datasets, f"name-{number}")
            datasets.remove(f"name-{number}")

        with ThreadPoolExecutor(4) as threads:
            churning = [threads.submit(churn, number) for number in range(12)]
            kept = add(datasets, "kept")
            for future in churning:
                future.result()
        assert datasets.get("kept").names == ("kept",)
        assert directories(files) == {kept.digest}
        assert not files.damaged(kept.digest)

    def test_projects_do_not_see_each_other(self, datasets: Datasets) -> None:
        mine = add(datasets, "test", project="mine")
        add(datasets, "test", project="yours")
        with pytest.raises(NotFound):
            datasets.get("test")
        datasets.remove("test", project="yours")
        assert datasets.get("test", project="mine") == mine
        datasets.open("test", project="mine").close()


class TestGet:
    def test_an_unknown_name_suggests_its_likes(self, datasets: Datasets) -> None:
        with pytest.raises(NotFound, match="no data set 'test'; none has a name: add one first"):
            datasets.get("test")
        for name in ("mnist-test", "mnist-train", "z1", "z2", "z3", "z4"):
            add(datasets, name)
        with pytest.raises(NotFound, match=r"no data set 'mnist-tes'; did you mean mnist-test( or [a-z0-9-]+)*\?"):
            datasets.get("mnist-tes")
        with pytest.raises(NotFound, match=r"known names: mnist-test, mnist-train, z1, z2, z3, \.\.\."):
            datasets.get("0123456789abcdef")

    def test_a_prefix_must_be_long_enough_and_unambiguous(self, datasets: Datasets, database: Database) -> None:
        info = add(datasets, "test")
        with pytest.raises(NotFound):
            datasets.get(info.digest[:7])
        twin = info.digest[:10] + "".join("1" if digit == "0" else "0" for digit in info.digest[10:])
        with database.write() as rows:  # nobody can compute such a digest
            row = rows.execute(select(DATASETS)).mappings().one()
            rows.execute(insert(DATASETS).values({**row, "sequence": row["sequence"] + 1, "digest": twin}))
        with pytest.raises(InvalidProblem, match=rf"'{info.digest[:10]}' begins 2 digests, .*give more") as caught:
            datasets.get(info.digest[:10])
        assert caught.value.reason == "AMBIGUOUS_NAME"
        assert datasets.get(info.digest[:11]) == info


class TestList:
    projects = count()

    @settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data())
    def test_pages_give_everything_that_stays_once(self, datasets: Datasets, data: st.DataObject) -> None:
        project = f"project-{next(self.projects)}"
        there = [add(datasets, f"d{i}", i, project=project) for i in range(data.draw(st.integers(0, 6)))]
        staying = {info.digest for info in there}
        listed: list[str] = []
        token, pages = "", 0
        while pages == 0 or token:
            page, token = datasets.list(data.draw(st.integers(1, 4), label="page size"), token, project)
            listed += [info.digest for info in page]
            if data.draw(st.booleans(), label="remove one") and there:
                gone = there.pop(data.draw(st.integers(0, len(there) - 1)))
                datasets.remove(gone.digest, project)
                staying.discard(gone.digest)
            if data.draw(st.booleans(), label="add one") and pages < 3:
                there.append(add(datasets, f"more{pages}", 100 + pages, project=project))
            pages += 1
        assert len(listed) == len(set(listed))
        assert staying <= set(listed)

    def test_pages_are_in_the_order_of_arrival(self, datasets: Datasets) -> None:
        added = [add(datasets, f"d{i}", i) for i in range(3)]
        first, token = datasets.list(page_size=2)
        second, end = datasets.list(page_size=2, page_token=token)
        assert [*first, *second] == added
        assert end == ""
        assert datasets.list(page_size=5000)[0] == tuple(added)

    def test_foreign_tokens_and_negative_pages_are_refused(self, datasets: Datasets) -> None:
        with pytest.raises(InvalidProblem, match="page_token must come from the page before"):
            datasets.list(page_token="x")
        with pytest.raises(InvalidProblem, match="page_size must be >= 0, got -1"):
            datasets.list(page_size=-1)


class TestRemove:
    def test_it_goes_with_its_last_name(self, datasets: Datasets, files: DatasetFiles) -> None:
        add(datasets, "one")
        info = add(datasets, "other")
        datasets.remove("one")
        assert datasets.get(info.digest).names == ("other",)
        with datasets.open("other") as dataset:
            datasets.remove("other")
            dataset.verify()
        with pytest.raises(NotFound):
            datasets.get(info.digest)
        assert directories(files) == set()

    def test_by_digest_all_names_go(self, datasets: Datasets) -> None:
        add(datasets, "one")
        info = add(datasets, "other")
        datasets.remove(info.digest[:12])
        for name in ("one", "other", info.digest):
            with pytest.raises(NotFound):
                datasets.remove(name)
            with pytest.raises(NotFound):
                datasets.open(name)

    def test_not_while_a_job_uses_it(self, database: Database, files: DatasetFiles) -> None:
        used: set[str] = set()
        datasets = Datasets(database, files, in_use=used.__contains__)
        add(datasets, "one")
        info = add(datasets, "other")
        used.add(info.digest)
        datasets.remove("one")  # a name is not the data set
        for name in ("other", info.digest):
            with pytest.raises(Conflict, match=f"a job uses the data set {info.digest}: delete the job") as caught:
                datasets.remove(name)
            assert caught.value.reason == "DATASET_IN_USE"
        assert datasets.get("other").names == ("other",), "nothing of a refused removal stays"
        datasets.open("other").close()
        used.clear()
        datasets.remove("other")
        assert directories(files) == set()


class TestSweep:
    def test_files_without_a_row_go_and_writers_stay(self, datasets: Datasets, files: DatasetFiles) -> None:
        kept = add(datasets, "kept").digest
        files.place(content(datasets, 1))
        living = content(datasets, 2)
        assert datasets.sweep() == 1
        assert directories(files) == {kept}
        assert datasets.add("living", living).names == ("living",)

    def test_it_may_come_at_any_time(self, datasets: Datasets, files: DatasetFiles) -> None:
        over = threading.Event()

        def sweep() -> None:
            while not over.is_set():
                datasets.sweep()

        with ThreadPoolExecutor(1) as threads:
            sweeping = threads.submit(sweep)
            try:
                digests = {add(datasets, f"d{i}", i).digest for i in range(30)}
            finally:
                over.set()
            sweeping.result()
        assert directories(files) == digests
        assert not any(files.damaged(digest) for digest in digests)


def test_names_are_kept_in_the_database_and_nowhere_else(
    tmp_path: Path, database: Database, datasets: Datasets, files: DatasetFiles
) -> None:
    added = add(datasets, "test")
    again = Datasets(database, DatasetFiles(tmp_path / "data"))
    assert again.get("test") == added
    with again.open("test") as dataset:
        assert dataset.digest == added.digest
