import gzip
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_files import idx_bytes, saved, whole, write_idx
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from verifier.datasets.opening import open_source
from verifier.datasets.source import Reading
from verifier.errors import InvalidProblem

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array([0, 3, 1, 2])

SHAPES = arrays.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=7)
INPUTS = st.one_of(arrays.arrays(np.float32, SHAPES), arrays.arrays(np.uint8, SHAPES))


def npy(path: Path, x: NDArray[Any]) -> Path:
    return saved(path / "x.npy", x)


def npy_columns_first(path: Path, x: NDArray[Any]) -> Path:
    return saved(path / "f.npy", np.asfortranarray(x))


def npy_big_endian(path: Path, x: NDArray[Any]) -> Path:
    return saved(path / "b.npy", x.astype(x.dtype.newbyteorder(">")))


def npz(path: Path, x: NDArray[Any]) -> Path:
    np.savez(path / "x.npz", inputs=x)
    return path / "x.npz"


def npz_packed(path: Path, x: NDArray[Any]) -> Path:
    np.savez_compressed(path / "p.npz", x=x, other=np.zeros(3))
    return path / "p.npz"


def idx(path: Path, x: NDArray[Any]) -> Path:
    return write_idx(path / "x-idx-ubyte", x)


def idx_packed(path: Path, x: NDArray[Any]) -> Path:
    return write_idx(path / "x.idx.gz", x)


WRITERS = (npy, npy_columns_first, npy_big_endian, npz, npz_packed, idx, idx_packed)


def expected(x: NDArray[Any], scale: bool = True) -> NDArray[Any]:
    return x / np.float32(255) if x.dtype == np.uint8 and scale else x.astype(np.float32)


class TestAgreesWithNumpy:
    @settings(max_examples=25, deadline=None)
    @given(x=INPUTS, rows=st.integers(1, 9), scale=st.booleans())
    @pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
    def test_inputs(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        writer: Callable[[Path, NDArray[Any]], Path],
        x: NDArray[Any],
        rows: int,
        scale: bool,
    ) -> None:
        source = open_source(writer(tmp_path_factory.mktemp("x"), x), how=Reading(scale=scale))
        got, labels, faults = whole(source, rows)
        wanted = expected(x, scale)
        channelled = writer in (idx, idx_packed) and x.ndim == 3
        assert source.shape == ((1, *x.shape[1:]) if channelled else x.shape[1:])
        assert (source.size, source.labelled, labels, faults) == (len(x), False, None, {})
        assert got.tobytes() == wanted.tobytes()

    @settings(max_examples=25, deadline=None)
    @given(
        y=arrays.arrays(arrays.integer_dtypes() | arrays.unsigned_integer_dtypes(), st.integers(1, 20)).filter(
            lambda y: bool((y >= 0).all() and (y < 2**31).all())
        ),
        rows=st.integers(1, 9),
    )
    def test_labels(self, tmp_path_factory: pytest.TempPathFactory, y: NDArray[Any], rows: int) -> None:
        path = tmp_path_factory.mktemp("y")
        x = saved(path / "x.npy", np.zeros((len(y), 2), np.float32))
        np.savez(path / "both.npz", x=np.zeros((len(y), 2), np.float32), y=y)
        for source in (open_source(x, saved(path / "y.npy", y)), open_source(path / "both.npz")):
            assert source.labelled
            _, labels, _ = whole(source, rows)
            assert np.array_equal(labels, y)

    @pytest.mark.parametrize("name", ["y.npy", "y.npz", "y.idx", "y.idx.gz"])
    def test_labels_in_every_format(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        if path.suffix == ".npy":
            np.save(path, Y)
        elif path.suffix == ".npz":
            np.savez(path, labels=Y)
        else:
            write_idx(path, Y.astype(np.uint8))
        _, labels, _ = whole(open_source(saved(tmp_path / "x.npy", X), path), 3)
        assert np.array_equal(labels, Y)

    def test_any_number_of_times_and_several_at_once(self, tmp_path: Path) -> None:
        source = open_source(npz_packed(tmp_path, X))
        for one, other in zip(source.chunks(1), source.chunks(1), strict=True):
            assert np.array_equal(one.x, other.x)
        abandoned = source.chunks(1)
        next(abandoned)
        del abandoned  # closes its file: an open one would be a ResourceWarning, hence an error


class TestReading:
    def test_a_shape_lays_the_values_out(self, tmp_path: Path) -> None:
        source = open_source(npy(tmp_path, X), how=Reading(shape=(1, 6)))
        assert np.array_equal(whole(source, 3)[0], X.reshape(4, 1, 6))
        assert open_source(idx(tmp_path, X), how=Reading(shape=(6,))).shape == (6,)

    def test_channels_move_to_the_front(self, tmp_path: Path) -> None:
        pictures = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
        source = open_source(npy(tmp_path, pictures), how=Reading(channels_last=True))
        assert np.array_equal(whole(source, 2)[0], np.moveaxis(pictures, 3, 1) / np.float32(255))

    @pytest.mark.parametrize("shape", [(5,), (7,), (), (-6,), (-2, -3), (0,)], ids=repr)
    def test_a_shape_of_other_values_is_refused(self, tmp_path: Path, shape: tuple[int, ...]) -> None:
        with pytest.raises(InvalidProblem, match=r"have 6 values .* cannot be laid out"):
            open_source(npy(tmp_path, X), how=Reading(shape=shape))

    def test_members_by_name(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "m.npz", x=X, train=X + 1, x_label=Y, y=Y[::-1])
        source = open_source(tmp_path / "m.npz", how=Reading(inputs_names=("train",), labels_name="x_label"))
        got, labels, _ = whole(source, 4)
        assert np.array_equal(got, X + 1)
        assert np.array_equal(labels, Y)

    def test_pixels_become_0_to_1_only_where_they_are_uint8(self, tmp_path: Path) -> None:
        pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
        (got, _, _) = whole(open_source(npy(tmp_path, pixels)), 5)
        assert (got.min(), got.max()) == (0.0, 1.0)
        assert np.array_equal(np.rint(got * 255).astype(np.uint8), pixels)
        assert np.array_equal(whole(open_source(npy(tmp_path, pixels.astype(np.float32))), 5)[0], pixels)


class TestRefusals:
    """Each names the file, what was expected, what came, and what to do."""

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((2, 3)), r"float32, or uint8 for pixels, got float64 in .*x\.npy.*astype\(numpy\.float32\)"),
            (np.zeros((2, 3), np.int64), "got int64"),
            (np.zeros((2, 3), bool), "got bool"),
            (np.zeros((2, 3), np.complex64), "got complex64"),
            (np.zeros((2, 3), "U4"), "got <U4"),
            (np.zeros(2, [("a", "f4")]), "got .*'a'"),
            (np.zeros(3, np.float32), r"must be \[size, \.\.\.\], got shape \[3\]"),
            (np.float32(1), r"got shape \[\]"),
            (np.zeros((0, 3), np.float32), "1 to 2147483647 inputs, got 0"),
            (np.zeros((3, 0), np.float32), r"each axis a length >= 1, got shape \[0\]"),
        ],
        ids=lambda value: f"{value.dtype}{value.shape}" if isinstance(value, np.ndarray | np.generic) else None,
    )
    def test_arrays_that_are_no_inputs(self, tmp_path: Path, array: NDArray[Any], message: str) -> None:
        with pytest.raises(InvalidProblem, match=message):
            open_source(npy(tmp_path, array))

    @pytest.mark.parametrize("writer", [npy, npz], ids=lambda writer: writer.__name__)
    def test_objects_are_code(self, tmp_path: Path, writer: Callable[[Path, NDArray[Any]], Path]) -> None:
        with pytest.raises(InvalidProblem, match=r"holds Python objects.*allow_pickle=False") as caught:
            open_source(writer(tmp_path, np.array([[1, "a"]], dtype=object)))
        assert caught.value.reason == "PICKLED"

    def test_a_pickle_is_not_opened(self, tmp_path: Path) -> None:
        class Bomb:
            def __reduce__(self) -> tuple[Any, ...]:
                return (tmp_path.joinpath("ran").touch, ())

        (tmp_path / "x.npy").write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(InvalidProblem, match="is a pickle, which is code") as caught:
            open_source(tmp_path / "x.npy")
        assert caught.value.reason == "PICKLED"
        assert not (tmp_path / "ran").exists()

    @pytest.mark.parametrize(
        ("labels", "message"),
        [
            (Y[:3], r"one class per input: .*x\.npy has 4 inputs, .*y\.npy has 3 labels"),
            (np.append(Y, 0), "has 4 inputs, .* has 5 labels"),
            (Y.astype(np.float32), r"labels must be integers, got float32 in .*y\.npy.*astype\(numpy\.int64\)"),
            (Y.astype(bool), "must be integers, got bool"),
            (Y[:, None], r"labels must be \[size\], got shape \[4, 1\]"),
        ],
        ids=["short", "long", "float", "bool", "column"],
    )
    def test_labels_that_do_not_fit(self, tmp_path: Path, labels: NDArray[Any], message: str) -> None:
        with pytest.raises(InvalidProblem, match=message):
            open_source(npy(tmp_path, X), saved(tmp_path / "y.npy", labels))

    @pytest.mark.parametrize("wrong", [-1, 2**31, 2**62])
    def test_labels_out_of_range_are_found_where_they_are(self, tmp_path: Path, wrong: int) -> None:
        source = open_source(npy(tmp_path, X), saved(tmp_path / "y.npy", np.array([0, 0, 0, wrong])))
        chunks = source.chunks(2)
        next(chunks)
        with pytest.raises(InvalidProblem, match=f"must be 0..2147483647, got {wrong} for input 3 in .*y.npy"):
            next(chunks)

    def test_labels_beyond_int64(self, tmp_path: Path) -> None:
        source = open_source(npy(tmp_path, X), saved(tmp_path / "y.npy", np.full(4, 2**64 - 1, np.uint64)))
        with pytest.raises(InvalidProblem, match=f"got {2**64 - 1} for input 0"):
            next(source.chunks(1))

    @pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
    def test_every_truncation_is_found(self, tmp_path: Path, writer: Callable[[Path, NDArray[Any]], Path]) -> None:
        path = writer(tmp_path, X)
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            with pytest.raises(InvalidProblem):
                whole(open_source(path), 3)

    @pytest.mark.parametrize("writer", [npy, npy_columns_first, idx, idx_packed], ids=lambda writer: writer.__name__)
    def test_trailing_bytes_are_found(self, tmp_path: Path, writer: Callable[[Path, NDArray[Any]], Path]) -> None:
        path = writer(tmp_path, X)
        data = path.read_bytes()
        path.write_bytes(gzip.compress(gzip.decompress(data) + b"x") if path.suffix == ".gz" else data + b"x")
        with pytest.raises(InvalidProblem, match=r"cannot be read whole.*copy it again") as caught:
            whole(open_source(path), 3)
        assert caught.value.reason == "FILE_DAMAGED"

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    @pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.__name__)
    def test_damage_gives_a_typed_error_or_other_numbers(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        writer: Callable[[Path, NDArray[Any]], Path],
        data: st.DataObject,
    ) -> None:
        path = writer(tmp_path_factory.mktemp("x"), X)
        damaged = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged)
        with suppress(InvalidProblem):  # and nothing else
            whole(open_source(path, how=Reading(max_bytes=2**20)), 3)

    def test_a_bomb_is_refused_by_what_it_promises(self, tmp_path: Path) -> None:
        path = tmp_path / "x.idx.gz"
        path.write_bytes(gzip.compress(idx_bytes(np.zeros((4096, 64, 64), np.uint8))))
        assert path.stat().st_size < 20_000
        with pytest.raises(InvalidProblem, match=f"at most 1000000 bytes, got {4 * 4096 * 64 * 64}") as caught:
            open_source(path, how=Reading(max_bytes=1_000_000))
        assert caught.value.reason == "DATASET_TOO_LARGE"

    def test_a_bomb_behind_a_modest_promise_is_not_unpacked(self, tmp_path: Path) -> None:
        path = tmp_path / "x.idx.gz"
        path.write_bytes(gzip.compress(idx_bytes(X) + bytes(2**26)))
        with pytest.raises(InvalidProblem, match="goes on after its 4 rows"):
            whole(open_source(path), 3)

    def test_one_input_is_bounded_too(self, tmp_path: Path) -> None:
        path = tmp_path / "x.idx"
        path.write_bytes(b"\0\0\x08\x02" + (1).to_bytes(4) + (2**32 - 1).to_bytes(4))
        with pytest.raises(InvalidProblem, match="needs 4294967307 bytes, got 12"):
            open_source(path)
        path.with_suffix(".gz").write_bytes(gzip.compress(path.read_bytes()))
        with pytest.raises(InvalidProblem, match="one input may have at most 67108864 bytes") as caught:
            open_source(path.with_suffix(".gz"))
        assert caught.value.reason == "INPUT_TOO_LARGE"

    def test_archives(self, tmp_path: Path) -> None:
        path = tmp_path / "x.npz"
        np.savez(path, a=X, b=X)
        with pytest.raises(InvalidProblem, match=r"one array named inputs or x, got a, b: say which one"):
            open_source(path)
        np.savez(path, x=X, inputs=X)
        with pytest.raises(InvalidProblem, match="one array named inputs or x, got inputs, x"):
            open_source(path)
        with pytest.raises(InvalidProblem, match=r"one array named labels or y, got inputs, x: .* holds the labels"):
            open_source(npy(tmp_path, X), path)
        np.savez(path, x=np.asfortranarray(X))
        with pytest.raises(InvalidProblem, match=r"column by column.*ascontiguousarray"):
            open_source(path)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
            archive.writestr("x.npy", npy(tmp_path, X).read_bytes())
        with pytest.raises(InvalidProblem, match=r"numpy\.savez"):
            open_source(path)

    def test_what_is_no_array(self, tmp_path: Path) -> None:
        (tmp_path / "x.csv").write_text("1,2,3\n")
        (tmp_path / "empty").touch()
        (tmp_path / "x.gz").write_bytes(gzip.compress(b"1,2,3"))
        for name, message in (
            ("x.csv", r"no \.npy, \.npz, idx or idx\.gz: it begins with b'1,2,3\\n'; save"),
            ("empty", "it is empty"),
            ("x.gz", "is no idx file"),
            ("nowhere", "there is no file .*nowhere"),
        ):
            with pytest.raises(InvalidProblem, match=message):
                open_source(tmp_path / name)
        with pytest.raises(InvalidProblem, match="is no file"):
            open_source(npy(tmp_path, X), tmp_path)

    def test_reading_needs_little(self) -> None:
        code = (
            "import sys, verifier.datasets.opening, verifier.datasets.outgoing; "
            "print(*{'torch', 'sqlalchemy', 'PIL', 'pyarrow'} & set(sys.modules))"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert done.stdout.split() == []

    def test_chunks_of_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidProblem, match="at least 1 row, got 0"):
            next(open_source(npy(tmp_path, X)).chunks(0))
