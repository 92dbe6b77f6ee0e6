import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from array_files import saved, whole
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from verifier.datasets.opening import open_source
from verifier.datasets.source import Reading
from verifier.errors import InvalidProblem, Unsupported

pa: Any = pytest.importorskip("pyarrow")
pq: Any = pytest.importorskip("pyarrow.parquet")
Image: Any = pytest.importorskip("PIL.Image")

X = np.arange(24, dtype=np.float32).reshape(4, 2, 3)
Y = np.array([0, 3, 1, 2])
RGB = np.random.default_rng(0).integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)

LISTS: dict[str, Any] = {
    "list": lambda kind, _width: pa.list_(kind),
    "large_list": lambda kind, _width: pa.large_list(kind),
    "fixed_size_list": lambda kind, width: pa.list_(kind, width),
}


def png(picture: NDArray[np.uint8]) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "PNG")
    return stream.getvalue()


def write(path: Path, columns: dict[str, Any], metadata: dict[str, str] | None = None, rows: int = 1000) -> Path:
    table = pa.table(columns)
    pq.write_table(table.replace_schema_metadata(metadata), path, row_group_size=rows)
    return path


class TestAgreesWithNumpy:
    @settings(max_examples=40, deadline=None)
    @given(
        x=arrays.arrays(
            st.sampled_from([np.float32, np.uint8]), arrays.array_shapes(min_dims=2, max_dims=4, max_side=7)
        ),
        kind=st.sampled_from(sorted(LISTS)),
        rows=st.integers(1, 9),
        group=st.integers(1, 5),
        where=st.sampled_from(["file", "column", "said"]),
    )
    def test_lists(
        self,
        tmp_path_factory: pytest.TempPathFactory,
        x: NDArray[Any],
        kind: str,
        rows: int,
        group: int,
        where: str,
    ) -> None:
        flat = x.reshape(len(x), -1)
        column = pa.array(list(flat), LISTS[kind](pa.from_numpy_dtype(x.dtype), flat.shape[1]))
        said = {"shape": json.dumps(x.shape[1:])}
        field = pa.field("inputs", column.type, metadata=said if where == "column" else None)
        table = pa.Table.from_arrays([column], schema=pa.schema([field], metadata=said if where == "file" else None))
        path = tmp_path_factory.mktemp("x") / "x.parquet"
        pq.write_table(table, path, row_group_size=group)
        source = open_source(path, how=Reading(shape=x.shape[1:] if where == "said" else None))
        got, labels, faults = whole(source, rows)
        wanted = x / np.float32(255) if x.dtype == np.uint8 else x
        assert (source.shape, labels, faults) == (x.shape[1:], None, {})
        assert got.tobytes() == wanted.tobytes()

    @pytest.mark.parametrize("rows", [1, 2, 3, 4, 9])
    @pytest.mark.parametrize("group", [1, 3, 100])
    def test_labels_and_row_groups(self, tmp_path: Path, rows: int, group: int) -> None:
        path = write(tmp_path / "x", {"label": Y, "x": list(X.reshape(4, 6)), "more": Y}, rows=group)
        got, labels, _ = whole(open_source(path), rows)
        assert np.array_equal(got, X.reshape(4, 6))
        assert np.array_equal(labels, Y)
        assert np.array_equal(whole(open_source(path, saved(tmp_path / "y.npy", Y[::-1])), rows)[1], Y[::-1])

    def test_columns_of_numbers_are_features(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x", {"a": X[:, 0, 0], "y": Y, "b": X[:, 0, 1], "c": X[:, 1, 1]})
        source = open_source(path, how=Reading(inputs_names=("c", "a")))
        got, labels, _ = whole(source, 3)
        assert np.array_equal(got, np.stack([X[:, 1, 1], X[:, 0, 0]], axis=1))
        assert np.array_equal(labels, Y)

    @pytest.mark.parametrize("wrapped", [False, True])
    def test_pictures(self, tmp_path: Path, wrapped: bool) -> None:
        pictures: list[Any] = [png(picture) for picture in RGB]
        if wrapped:
            pictures = [{"bytes": picture, "path": "x.png"} for picture in pictures]
        source = open_source(write(tmp_path / "x", {"image": pictures, "label": Y[:3]}, rows=2))
        got, labels, faults = whole(source, 2)
        assert np.array_equal(got, np.moveaxis(RGB, 3, 1) / np.float32(255))
        assert np.array_equal(labels, Y[:3])
        assert faults == {}

    def test_channels_move_to_the_front_of_lists_only(self, tmp_path: Path) -> None:
        how = Reading(channels_last=True)
        path = write(tmp_path / "x", {"x": list(RGB.reshape(3, -1))}, {"shape": "[5, 6, 3]"})
        wanted = np.moveaxis(RGB, 3, 1) / np.float32(255)
        assert np.array_equal(whole(open_source(path, how=how), 2)[0], wanted)
        assert np.array_equal(whole(open_source(write(path, {"x": [png(p) for p in RGB]}), how=how), 2)[0], wanted)


class TestFaults:
    def test_lists(self, tmp_path: Path) -> None:
        rows: list[Any] = [None, [1.0], [1.0, 2.0], [1.0, None], [], [3.0, float("nan")], [1.0, 2.0, 3.0]]
        path = write(tmp_path / "x", {"x": pa.array(rows, pa.list_(pa.float32()))}, {"shape": "[2]"})
        got, _, faults = whole(open_source(path), 3)
        assert faults == {
            0: "the input is null",
            1: "the input has 1 values, not 2",
            3: "a value is null",
            4: "the input has 0 values, not 2",
            6: "the input has 3 values, not 2",
        }
        assert np.array_equal(got[[2, 5]], [[1.0, 2.0], [3.0, np.nan]], equal_nan=True)
        assert np.isnan(got[sorted(faults)]).all()

    def test_pictures_of_another_shape_than_was_said(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x", {"image": [png(RGB[0]), png(RGB[1][:3])]})
        source = open_source(path, how=Reading(shape=(3, 3, 6)))
        got, _, faults = whole(source, 2)
        assert faults == {0: "the picture has shape [3, 5, 6], the data set [3, 3, 6]"}
        assert np.array_equal(got[1], np.moveaxis(RGB[1][:3], 2, 0) / np.float32(255))

    def test_fixed_size_lists(self, tmp_path: Path) -> None:
        rows = [[1.0, 2.0], None, [1.0, None], [3.0, 4.0]]
        path = write(tmp_path / "x", {"x": pa.array(rows, pa.list_(pa.float32(), 2))})
        got, _, faults = whole(open_source(path), 4)
        assert faults == {1: "the input is null", 2: "a value is null"}
        assert np.array_equal(got[[0, 3]], [[1, 2], [3, 4]])

    def test_columns(self, tmp_path: Path) -> None:
        columns = {"a": pa.array([1.0, None], pa.float32()), "b": pa.array([1.0, 2.0], pa.float32())}
        got, _, faults = whole(open_source(write(tmp_path / "x", columns), how=Reading(inputs_names=("a", "b"))), 2)
        assert faults == {1: "a value is null"}
        assert np.array_equal(got, [[1.0, 1.0], [np.nan, np.nan]], equal_nan=True)

    def test_pictures(self, tmp_path: Path) -> None:
        pictures: list[Any] = [None, png(RGB[0]), b"", png(RGB[0][:3]), png(RGB[1])]
        got, _, faults = whole(open_source(write(tmp_path / "x", {"image": pictures})), 2)
        assert sorted(faults) == [0, 2, 3]
        assert faults[0] == "the picture is null"
        assert faults[2].startswith("the picture cannot be read")
        assert np.array_equal(got[[1, 4]], np.moveaxis(RGB[:2], 3, 1) / np.float32(255))


TESTS = Path(__file__).resolve().parents[2]

READ_DAMAGED = """
import sys
from pathlib import Path
from array_files import whole
from verifier.datasets.opening import open_source
from verifier.datasets.source import Reading
from verifier.errors import InvalidProblem

path = Path(sys.argv[1])
data, copy = path.read_bytes(), path.with_name("damaged")
for place in range(int(sys.argv[2]), len(data)):
    print(place, flush=True)
    copy.write_bytes(data[:place] + bytes([10]) + data[place + 1 :])
    try:
        whole(open_source(copy, how=Reading(max_bytes=2**20)), 3)
    except InvalidProblem:
        continue
print("end")
"""


class TestRefusals:
    @pytest.mark.parametrize(
        ("columns", "how", "message"),
        [
            ({"a": Y}, Reading(), "one column of inputs, x, image, got a: name the columns of the inputs"),
            ({"x": Y, "image": Y}, Reading(), "one column of inputs, x, image, got x, image"),
            ({"x": Y}, Reading(inputs_names=("x", "z")), "the columns x, z, got x"),
            ({"x": X[:, 0, 0]}, Reading(labels_name="z"), "the columns z, got x: name the columns of the labels"),
            ({"x": X[:, 0, 0], "y": Y, "label": Y}, Reading(), "one column of labels, y, label, got x, y, label"),
            ({"x": X[:, 0, 0].astype(float)}, Reading(), r"float32, or uint8 for pixels, got float64 in .*\[x\]"),
            ({"x": list(X[:, 0].astype(float))}, Reading(), "got float64"),
            ({"x": ["a", "b"]}, Reading(), "must hold numbers, lists of them, or pictures as bytes, got string"),
            ({"x": [[[1.0]]]}, Reading(), "must hold numbers, lists of them, or pictures as bytes, got list"),
            ({"x": X[:, 0, 0], "y": X[:, 0, 0]}, Reading(), r"labels must be integers, got float32 in .*\[y\]"),
            ({"x": X[:, 0, 0], "y": ["a"] * 4}, Reading(), r"\[y\] must hold numbers"),
            (
                {"a": X[:, 0, 0], "b": X[:, 0, 0].astype(np.uint8)},
                Reading(inputs_names=("a", "b")),
                "numbers of one datatype, got float, uint8",
            ),
            ({"a": list(X[:, 0]), "b": list(X[:, 0])}, Reading(inputs_names=("a", "b")), "columns must hold numbers"),
            ({"x": list(X[:, 0])}, Reading(shape=(2,)), "has 3 values"),
            ({"x": pa.array([], pa.list_(pa.float32()))}, Reading(), "no input in x"),
            ({"x": pa.array([], pa.float32())}, Reading(), "1 to 2147483647 inputs, got 0"),
            ({"x": list(X[:, 0])}, Reading(max_bytes=47), "at most 47 bytes, got 48"),
        ],
        ids=lambda value: None if isinstance(value, dict | Reading) else value[:30],
    )
    def test_at_opening(self, tmp_path: Path, columns: dict[str, Any], how: Reading, message: str) -> None:
        path = write(tmp_path / "x", columns)
        if how.shape is not None:
            source = open_source(path, how=how)
            assert all(message.split()[-2] in reason for reason in whole(source, 4)[2].values())
            assert len(whole(source, 4)[2]) == 4
            return
        with pytest.raises(InvalidProblem, match=message):
            open_source(path, how=how)

    @pytest.mark.parametrize("said", ["x", "[3]", "[0, 6]", "6", "[" * 5000, '["a"]', "{}"], ids=lambda said: said[:9])
    def test_a_shape_that_is_none(self, tmp_path: Path, said: str) -> None:
        path = write(tmp_path / "x", {"x": list(X.reshape(4, 6))}, {"shape": said})
        if said == "[3]":
            assert len(whole(open_source(path), 2)[2]) == 4
            return
        with pytest.raises(InvalidProblem, match="shape"):
            open_source(path)

    def test_labels_for_all_or_for_none(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x", {"x": X[:, 0, 0], "y": pa.array([0, 1, None, 2])})
        with pytest.raises(InvalidProblem, match=r"\[y\] has 1 nulls from row 2 on"):
            whole(open_source(path), 2)
        path = write(tmp_path / "x", {"x": X[:, 0, 0], "y": [0, 1, 2, -3]})
        with pytest.raises(InvalidProblem, match=r"got -3 for input 3 in .*\[y\]"):
            whole(open_source(path), 2)
        with pytest.raises(InvalidProblem, match=r"has 4 inputs, .* has 3 labels"):
            open_source(path, saved(tmp_path / "y.npy", Y[:3]))

    def test_a_bomb_is_refused_by_what_it_promises(self, tmp_path: Path) -> None:
        wide = pa.array([np.zeros(2**26, np.uint8), np.zeros(1, np.uint8)], pa.list_(pa.uint8()))
        path = write(tmp_path / "x", {"x": wide}, {"shape": "[1]"})
        assert path.stat().st_size < 100_000
        with pytest.raises(InvalidProblem, match="promises 268435460 bytes for 2 inputs") as caught:
            open_source(path)
        assert caught.value.reason == "DATASET_TOO_LARGE"

    def test_every_truncation_is_found(self, tmp_path: Path) -> None:
        path = write(tmp_path / "x", {"x": list(X.reshape(4, 6)), "y": Y})
        data = path.read_bytes()
        for length in range(0, len(data), 7):
            path.write_bytes(data[:length])
            with pytest.raises(InvalidProblem):
                whole(open_source(path), 3)

    def test_damage_is_a_typed_error_or_a_change_of_values(self, tmp_path: Path) -> None:
        """In processes of their own: arrow's native code may crash on damage, which is why only clients read Parquet.

        One of the bytes is a length, after which arrow gives fewer values than rows and does not mind.
        """
        path = write(tmp_path / "x", {"x": list(X.reshape(4, 6)), "y": Y})
        start, crashes = 0, 0
        while True:
            command = [sys.executable, "-c", READ_DAMAGED, str(path), str(start)]
            done = subprocess.run(command, capture_output=True, text=True, cwd=TESTS, check=False)
            if done.returncode == 0:
                break
            assert done.returncode < 0, done.stderr  # ended by a signal, not by an exception of ours
            start, crashes = int(done.stdout.split()[-1]) + 1, crashes + 1
        assert done.stdout.split()[-1] == "end"
        assert crashes < 40

    def test_without_pyarrow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x", {"x": X[:, 0, 0]})
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
        with pytest.raises(Unsupported, match=r"pyarrow, which is not installed .*'verifier\[parquet\]'") as caught:
            open_source(path)
        assert caught.value.reason == "EXTRA_NOT_INSTALLED"

    def test_pictures_without_pillow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = write(tmp_path / "x", {"image": [png(RGB[0])]})
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        with pytest.raises(Unsupported, match=r"'verifier\[images\]'"):
            open_source(path)
