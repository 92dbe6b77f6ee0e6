import hashlib
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from verifier.datasets.files import DatasetFiles
from verifier.datasets.incoming import MAX_FAULTS, MAX_REASON, Incoming, fill
from verifier.datasets.manifest import DatasetManifest
from verifier.datasets.outgoing import Outgoing
from verifier.datasets.source import CHUNK_BYTES, Chunk, Extent, Source
from verifier.errors import InvalidProblem, NotFound, Overloaded, Unsound

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array([0, 3, 1, 2])
EXTENT = Extent((2, 3), 4, True)


class Arrays(Source):
    """Arrays in memory."""

    def __init__(
        self, x: NDArray[np.float32], labels: NDArray[np.int64] | None = None, faults: dict[int, str] | None = None
    ) -> None:
        super().__init__(Extent(x.shape[1:], len(x), labels is not None))
        self._arrays = x, labels, faults or {}

    def chunks(self, rows: int) -> Iterator[Chunk]:
        x, labels, faults = self._arrays
        for first in range(0, self.size, rows):
            there = {i - first: reason for i, reason in faults.items() if first <= i < first + rows}
            part = x[first : first + rows].copy()
            part[list(there)] = np.nan
            yield Chunk(part, None if labels is None else labels[first : first + rows], there)


def written(files: DatasetFiles, x: NDArray[np.float32] = X, labels: Any = Y, faults: Any = None) -> Incoming:
    """Finished, not yet placed."""
    incoming = files.begin(Extent(x.shape[1:], len(x), labels is not None))
    fill(incoming, Arrays(x, labels, faults))
    return incoming


def stored(files: DatasetFiles, *content: Any) -> str:
    return files.place(written(files, *content))


def visible(files: DatasetFiles) -> list[str]:
    """Everything under the data sets' directory but the lock."""
    root = files.path("0" * 64).parent
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.name not in ("lock", "incoming"))


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes: the kernel fails the write, as it does on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


CONTENT = st.integers(1, 12).flatmap(
    lambda size: st.tuples(
        arrays.arrays(
            np.float32,
            arrays.array_shapes(min_dims=1, max_dims=3, max_side=4).map(lambda shape: (size, *shape)),
            elements=st.floats(width=32),
        ),
        st.none() | arrays.arrays(np.int64, size, elements=st.integers(0, 2**31 - 1)),
        st.dictionaries(st.integers(0, size - 1), st.text(max_size=20)),
    )
)


class TestContent:
    @settings(max_examples=100, deadline=None)
    @given(content=CONTENT, data=st.data())
    def test_what_was_written_is_read_and_the_chunking_leaves_no_trace(
        self, tmp_path_factory: pytest.TempPathFactory, content: tuple[Any, ...], data: st.DataObject
    ) -> None:
        files = DatasetFiles(tmp_path_factory.mktemp("data"))
        x, labels, faults = content
        source = Arrays(*content)
        outgoing = Outgoing(source)
        raw = b"".join(outgoing.chunks())
        rows = data.draw(st.integers(1, 13), label="rows")
        cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=6), label="cuts"))
        faults_first = data.draw(st.booleans(), label="faults first")
        with files.begin(source.extent) as by_rows, files.begin(source.extent) as by_bytes:
            for chunk in source.chunks(rows):
                by_rows.append(*chunk)
            digest = by_rows.finish()
            if faults_first:
                by_bytes.declare_faults(outgoing.faults)
            for begin, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
                by_bytes.append_bytes(raw[begin:end])
            by_bytes.declare_faults(outgoing.faults)
            assert by_bytes.finish(outgoing.sha256.upper()) == digest
            assert files.place(by_rows) == files.place(by_bytes) == digest
        wanted = x.copy()
        wanted[list(faults)] = np.nan
        indices = data.draw(st.lists(st.integers(0, len(x) - 1), max_size=20), label="indices")
        with files.open(digest) as dataset:
            got, classes = dataset.rows(indices)
            assert got.tobytes() == wanted[indices].tobytes()
            assert got.shape == (len(indices), *x.shape[1:])
            assert got.flags.writeable
            assert (None if classes is None else classes.tolist()) == (
                None if labels is None else labels[indices].tolist()
            )
            assert {i: dataset.fault(i) for i in range(len(x)) if dataset.fault(i) is not None} == faults
            assert len(dataset) == len(x)
            dataset.verify()

    @settings(max_examples=100, deadline=None)
    @given(content=CONTENT, other=CONTENT)
    def test_another_content_is_another_digest(
        self, tmp_path_factory: pytest.TempPathFactory, content: tuple[Any, ...], other: tuple[Any, ...]
    ) -> None:
        def seen(x: NDArray[np.float32], labels: Any, faults: dict[int, str]) -> tuple[Any, ...]:
            rows = tuple(None if i in faults else row.tobytes() for i, row in enumerate(x))
            return x.shape, rows, None if labels is None else tuple(labels.tolist()), sorted(faults.items())

        files = DatasetFiles(tmp_path_factory.mktemp("data"))
        same = seen(*content) == seen(*other)
        assert (stored(files, *content) == stored(files, *other)) == same

    def test_a_row_with_a_fault_is_nan_whatever_was_there(self, files: DatasetFiles) -> None:
        x = X.copy()
        with files.begin(EXTENT) as incoming:
            incoming.append(x[:1], Y[:1])
            incoming.append(x[1:], Y[1:], {1: "torn"})
            incoming.finish()
            digest = files.place(incoming)
        assert digest == stored(files, X, Y, {2: "torn"})
        assert np.array_equal(x, X), "the caller's array is his own"
        with files.open(digest) as dataset:
            rows, _ = dataset.rows(range(4))
            assert np.isnan(rows[2]).all()
            assert np.array_equal(rows[[0, 1, 3]], X[[0, 1, 3]])
            assert (dataset.fault(1), dataset.fault(2)) == (None, "torn")

    def test_the_form_is_the_documented_one(self, files: DatasetFiles) -> None:
        digest = stored(files, X, Y, {2: "torn"})
        directory = files.path(digest)
        x = X.copy()
        x[2] = np.nan
        assert (directory / "inputs.f32").read_bytes() == x.astype("<f4").tobytes()
        assert (directory / "labels.i64").read_bytes() == Y.astype("<i8").tobytes()
        assert json.loads((directory / "faults.json").read_bytes()) == [[2, "torn"]]
        manifest = (directory / "manifest.json").read_bytes()
        assert hashlib.sha256(manifest).hexdigest() == digest
        assert json.loads(manifest) == {
            "dataset": 1,
            "shape": [2, 3],
            "size": 4,
            "labelled": True,
            "classes": 4,
            "faults": 1,
            "sha256": {
                name: hashlib.sha256((directory / name).read_bytes()).hexdigest()
                for name in ("inputs.f32", "labels.i64", "faults.json")
            },
        }
        assert DatasetManifest.from_json(manifest.decode()).to_json().encode() == manifest

    def test_a_known_answer(self, files: DatasetFiles) -> None:
        assert stored(files) == "7185227d851f32add0f537a2a3a48274835966bdca89edcf1043b446e6bfa538"

    def test_rows_out_of_range(self, files: DatasetFiles) -> None:
        with files.open(stored(files)) as dataset:
            for index in (-1, 4, 2**62):
                with pytest.raises(InvalidProblem, match=rf"must be in 0\.\.3, got {index}"):
                    dataset.rows([0, index])

    def test_threads_read_the_same(self, files: DatasetFiles) -> None:
        with files.open(stored(files)) as dataset, ThreadPoolExecutor(4) as threads:
            for x, _ in threads.map(lambda i: dataset.rows([i % 4, 3]), range(200)):
                assert np.array_equal(x[1], X[3])


class TestPlacing:
    def test_it_is_invisible_until_placed(self, files: DatasetFiles) -> None:
        incoming = written(files)
        digest = incoming.manifest.digest
        with pytest.raises(NotFound):
            files.open(digest)
        files.place(incoming)
        names = ("faults.json", "inputs.f32", "labels.i64", "manifest.json")
        assert visible(files) == [digest, *(f"{digest}/{name}" for name in names)]

    def test_the_same_again_costs_no_second_copy(self, files: DatasetFiles) -> None:
        digest = stored(files)
        before = files.path(digest).stat().st_ino, visible(files)
        assert stored(files) == digest
        assert (files.path(digest).stat().st_ino, visible(files)) == before

    def test_aborting_leaves_nothing_and_may_come_twice(self, files: DatasetFiles) -> None:
        incoming = written(files)
        incoming.abort()
        incoming.abort()
        unfinished = files.begin(EXTENT)
        unfinished.append(X[:1], Y[:1])
        unfinished.abort()
        assert visible(files) == []

    def test_aborting_after_placing_keeps_it(self, files: DatasetFiles) -> None:
        incoming = written(files)
        digest = files.place(incoming)
        incoming.abort()
        files.open(digest).close()

    def test_deleting(self, files: DatasetFiles) -> None:
        digest = stored(files)
        with files.open(digest) as dataset:
            files.delete(digest)
            files.delete(digest)
            assert np.array_equal(dataset.rows([1])[0], X[1:2]), "whoever has it open reads on"
        assert visible(files) == []
        with pytest.raises(NotFound, match=f"no data set has the digest '{digest}'"):
            files.open(digest)

    @pytest.mark.parametrize("name", ["", "incoming", "../x", "A" * 64, "0" * 63])
    def test_only_digests_are_looked_up(self, files: DatasetFiles, name: str) -> None:
        with pytest.raises(NotFound):
            files.open(name)

    def test_sweeping_takes_the_dead_and_leaves_the_living(self, tmp_path: Path, files: DatasetFiles) -> None:
        kept, orphan = stored(files), stored(files, X + 1)
        living = files.begin(EXTENT)
        living.append(X[:2], Y[:2])
        (tmp_path / "data" / "datasets" / "incoming" / "dead").mkdir()
        (tmp_path / "data" / "datasets" / "incoming" / "dead" / "inputs.f32").touch()
        assert DatasetFiles(tmp_path / "data").sweep(keep={kept}) == 2
        assert files.sweep(keep={kept}) == 0
        living.append(X[2:], Y[2:])
        assert living.finish() == kept
        assert files.place(living) == kept
        with pytest.raises(NotFound):
            files.open(orphan)

    def test_writers_in_many_threads(self, tmp_path: Path, files: DatasetFiles) -> None:
        other = DatasetFiles(tmp_path / "data")

        def churn(number: int) -> str:
            own = (files, other)[number % 2]
            digest = stored(own, X + number % 3)
            own.sweep(keep=AnyDigest())
            return digest

        with ThreadPoolExecutor(8) as threads:
            digests = set(threads.map(churn, range(40)))
        assert len(digests) == 3
        assert {name for name in visible(files) if "/" not in name} == digests
        assert not any(files.damaged(digest) for digest in digests)


def test_nothing_appears_or_goes_while_another_one_has_the_lock(tmp_path: Path, files: DatasetFiles) -> None:
    digest = stored(files)
    incoming = written(files, X + 1)
    other = DatasetFiles(tmp_path / "data")
    changes = [
        lambda: other.delete(digest),
        lambda: other.sweep(keep=()),
        lambda: other.place(incoming),
        lambda: other.begin(EXTENT).abort(),
    ]
    with ThreadPoolExecutor(len(changes)) as threads:
        with files.locked(), files.locked():
            changing = [threads.submit(change) for change in changes]
            assert wait(changing, timeout=0.3).done == set()
            files.open(digest).close()
        for future in changing:
            future.result()


class AnyDigest:
    def __contains__(self, digest: object) -> bool:
        return True


def verify(files: DatasetFiles, digest: str) -> None:
    with files.open(digest) as dataset:
        dataset.verify()


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


class TestCorruption:
    @pytest.mark.parametrize("name", ["inputs.f32", "labels.i64", "faults.json", "manifest.json"])
    @pytest.mark.parametrize(
        "harm",
        [flip, Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:-1]), lambda path: path.write_bytes(b"")],
        ids=["flipped", "gone", "cut", "emptied"],
    )
    def test_any_is_found_and_adding_the_same_again_repairs_it(
        self, files: DatasetFiles, name: str, harm: Callable[[Path], Any]
    ) -> None:
        digest = stored(files, X, Y, {2: "torn"})
        assert not files.damaged(digest)
        harm(files.path(digest) / name)
        with pytest.raises(Unsound, match=f"not what was stored: .*{name}.*add the same data again") as caught:
            verify(files, digest)
        assert caught.value.reason == "DATASET_CORRUPT"
        assert files.damaged(digest)
        assert files.place(written(files, X, Y, {2: "torn"}), replace=True) == digest
        assert not files.damaged(digest)

    def test_a_file_cut_while_it_is_open(self, files: DatasetFiles) -> None:
        digest = stored(files)
        with files.open(digest) as dataset:
            with (files.path(digest) / "inputs.f32").open("r+b") as file:
                file.truncate(30)
            assert np.array_equal(dataset.rows([0])[0], X[:1])
            with pytest.raises(Unsound, match=r"inputs\.f32 ends at 30"):
                dataset.rows([1])

    def test_another_release_wrote_it(self, files: DatasetFiles) -> None:
        directory = files.path(stored(files))
        manifest = (directory / "manifest.json").read_bytes().replace(b'"dataset":1', b'"dataset":2')
        (directory / "manifest.json").write_bytes(manifest)
        renamed = files.path(hashlib.sha256(manifest).hexdigest())
        shutil.move(directory, renamed)
        with pytest.raises(Unsound, match="must have format 1, got 2"):
            files.open(renamed.name)

    def test_what_is_nowhere_is_not_damaged(self, files: DatasetFiles) -> None:
        assert not files.damaged("0" * 64)


class TestRefusals:
    """Every refusal forgets what was written so far."""

    @pytest.mark.parametrize(
        ("x", "labels", "message"),
        [
            (X.astype(np.float64), Y, r"must be float32 \[b, 2, 3\], got float64 \[4, 2, 3\]"),
            (X.reshape(4, 3, 2), Y, r"must be float32 \[b, 2, 3\], got float32 \[4, 3, 2\]"),
            (np.concatenate([X, X]), None, "4 inputs of shape .* were announced, got at least 8"),
            (X, None, "labels must be as announced, one for each of 4 inputs, got none"),
            (X, Y[:3], r"one for each of 4 inputs, got shape \[3\]"),
            (X, Y - 1, "labels must be 0..2147483647, got -1 for input 0"),
            (X, Y.astype(float), "labels must be integers, got float64"),
        ],
        ids=["dtype", "shape", "more", "unlabelled", "short", "negative", "floats"],
    )
    def test_rows_that_do_not_fit(self, files: DatasetFiles, x: Any, labels: Any, message: str) -> None:
        incoming = files.begin(EXTENT)
        with pytest.raises(InvalidProblem, match=message):
            incoming.append(x, labels)
        assert visible(files) == []

    def test_labels_that_nobody_announced(self, files: DatasetFiles) -> None:
        with pytest.raises(InvalidProblem, match="as announced, none, got shape"):
            files.begin(Extent((2, 3), 4, False)).append(X, Y)

    @pytest.mark.parametrize(
        ("raw", "reason"),
        [
            (b"", "UPLOAD_TRUNCATED"),
            (X.tobytes(), "UPLOAD_TRUNCATED"),
            (X.tobytes() + Y.tobytes()[:-1], "UPLOAD_TRUNCATED"),
            (X.tobytes() + Y.tobytes() + b"x", "UPLOAD_TOO_LARGE"),
            (X.tobytes() + (Y - 1).tobytes(), "INVALID_PROBLEM"),
            (X.tobytes() + (Y + 2**31).tobytes(), "INVALID_PROBLEM"),
            (bytes(CHUNK_BYTES + 1), "CHUNK_TOO_LARGE"),
        ],
        ids=["nothing", "no labels", "a byte less", "a byte more", "negative", "large label", "large chunk"],
    )
    def test_bytes_that_do_not_fit(self, files: DatasetFiles, raw: bytes, reason: str) -> None:
        incoming = files.begin(EXTENT)
        with pytest.raises(InvalidProblem) as caught:  # noqa: PT012 - either may find it
            incoming.append_bytes(raw)
            incoming.finish()
        assert caught.value.reason == reason
        assert visible(files) == []

    def test_other_bytes_than_were_sent(self, files: DatasetFiles) -> None:
        incoming = files.begin(EXTENT)
        incoming.append_bytes(X.tobytes() + Y.tobytes())
        with pytest.raises(
            InvalidProblem, match=f"must be {'0' * 64}, got .* over 128 bytes: .*send it again"
        ) as caught:
            incoming.finish("0" * 64)
        assert caught.value.reason == "DIGEST_MISMATCH"
        assert visible(files) == []

    def test_a_fault_that_is_not_nan(self, files: DatasetFiles) -> None:
        incoming = files.begin(EXTENT)
        incoming.append_bytes(X.tobytes() + Y.tobytes())
        incoming.declare_faults({1: "torn"})
        with pytest.raises(
            InvalidProblem, match=r"input 1 has a fault \(torn\), so each of its values must be NaN"
        ) as caught:
            incoming.finish()
        assert caught.value.reason == "FAULT_MISMATCH"

    @pytest.mark.parametrize("index", [-1, 4])
    def test_faults_out_of_range(self, files: DatasetFiles, index: int) -> None:
        with pytest.raises(InvalidProblem, match=rf"must be in 0\.\.3, got {index}"):
            files.begin(EXTENT).declare_faults({index: "x"})

    def test_too_many_faults(self, files: DatasetFiles) -> None:
        incoming = files.begin(Extent((1,), MAX_FAULTS + 1, False))
        incoming.declare_faults(dict.fromkeys(range(MAX_FAULTS), "torn"))
        with pytest.raises(
            InvalidProblem, match=f"more than {MAX_FAULTS} inputs .* the first of them, 0, .*torn"
        ) as caught:
            incoming.declare_faults({MAX_FAULTS: "torn"})
        assert caught.value.reason == "TOO_MANY_FAULTS"
        assert visible(files) == []

    def test_long_reasons_are_cut(self, files: DatasetFiles) -> None:
        with files.open(stored(files, X, Y, {0: "x" * 10_000})) as dataset:
            assert dataset.fault(0) == "x" * MAX_REASON

    @pytest.mark.parametrize(
        ("extent", "reason"),
        [
            (((2, 0), 4, True), "SHAPE_INVALID"),
            (((-2, -2), 4, True), "SHAPE_INVALID"),
            (((), 4, True), "SHAPE_INVALID"),
            (((1,) * 17, 4, True), "SHAPE_INVALID"),
            (((2,), 0, True), "EMPTY_DATASET"),
            (((2,), 2**31, True), "EMPTY_DATASET"),
            (((2**24 + 1,), 1, True), "INPUT_TOO_LARGE"),
        ],
        ids=repr,
    )
    def test_extents_that_are_none(self, extent: tuple[Any, ...], reason: str) -> None:
        with pytest.raises(InvalidProblem) as caught:
            Extent(*extent)
        assert caught.value.reason == reason

    def test_larger_than_is_accepted(self, tmp_path: Path) -> None:
        DatasetFiles(tmp_path, max_bytes=128).begin(EXTENT).abort()
        with pytest.raises(InvalidProblem, match="at most 127 bytes, got 128") as caught:
            DatasetFiles(tmp_path, max_bytes=127).begin(EXTENT)
        assert caught.value.reason == "DATASET_TOO_LARGE"

    def test_a_full_disk(self, files: DatasetFiles) -> None:
        for size in (0, 50, 100):  # in the first write, in a later one, in the manifest
            with room_for(size), pytest.raises(Overloaded, match="no room left") as caught:
                written(files)
            assert caught.value.reason == "DISK_FULL"
            assert visible(files) == []
