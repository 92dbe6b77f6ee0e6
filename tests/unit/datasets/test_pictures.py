import os
import sys
import zlib
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
from verifier.datasets.pictures import LOOKED_AT, common_shape
from verifier.datasets.source import Reading
from verifier.errors import InvalidProblem, Unsupported

Image: Any = pytest.importorskip("PIL.Image")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (4, 5, 6), dtype=np.uint8)
RGB = RNG.integers(0, 256, (3, 5, 6, 3), dtype=np.uint8)


def folder_of(path: Path, pictures: NDArray[np.uint8], suffix: str = ".png") -> Path:
    path.mkdir()
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(path / f"{number:03}{suffix}")
    return path


def as_inputs(pictures: NDArray[np.uint8], white: int = 255) -> NDArray[Any]:
    """[n, h, w] or [n, h, w, 3] as [n, c, h, w] in [0, 1]."""
    channels = pictures[:, None] if pictures.ndim == 3 else np.moveaxis(pictures, 3, 1)
    return channels / np.float32(white)


class TestAgreesWithNumpy:
    @settings(max_examples=30, deadline=None)
    @given(
        pictures=arrays.arrays(
            np.uint8,
            st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)).flatmap(
                lambda shape: st.sampled_from([shape, (*shape, 3)])
            ),
        ),
        rows=st.integers(1, 5),
        scale=st.booleans(),
    )
    def test_png(
        self, tmp_path_factory: pytest.TempPathFactory, pictures: NDArray[np.uint8], rows: int, scale: bool
    ) -> None:
        folder = folder_of(tmp_path_factory.mktemp("png") / "folder", pictures)
        got, labels, faults = whole(open_source(folder, how=Reading(scale=scale)), rows)
        assert (labels, faults) == (None, {})
        assert got.tobytes() == as_inputs(pictures, 255 if scale else 1).tobytes()

    def test_jpeg_is_what_the_decoder_says(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", RGB, ".jpeg")
        got, _, faults = whole(open_source(folder), 2)
        decoded = np.stack([np.asarray(Image.open(path)) for path in sorted(folder.iterdir())])
        assert faults == {}
        assert np.array_equal(got, as_inputs(decoded))

    def test_palettes_bits_and_opaque_alpha_lose_nothing(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", RGB[:1])
        opaque = np.dstack([RGB[1], np.full((5, 6), 255, np.uint8)])
        Image.fromarray(opaque).save(folder / "001.png")
        palette = Image.fromarray(RGB[2]).quantize(30)
        palette.save(folder / "002.png")
        Image.fromarray(GREY[0] > 127).save(folder / "003.png")
        got, _, faults = whole(open_source(folder), 4)
        assert faults == {}
        wanted = np.stack([RGB[0], RGB[1], np.asarray(palette.convert("RGB")), np.dstack(3 * [(GREY[0] > 127) * 255])])
        assert np.array_equal(got, as_inputs(wanted.astype(np.uint8)))

    def test_grey_among_colours_has_equal_channels(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", RGB)
        Image.fromarray(GREY[0]).save(folder / "000.png")
        got, _, faults = whole(open_source(folder), 2)
        assert faults == {}
        assert np.array_equal(got[0], np.stack(3 * [GREY[0] / np.float32(255)]))


class TestFaults:
    """What is wrong with one picture is no fault of the others."""

    def test_each_keeps_its_reason_and_its_row_is_nan(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        png = (folder / "001.png").read_bytes()
        Image.fromarray(GREY[0][:3]).save(folder / "000.png")
        (folder / "004.png").write_bytes(png[:-40])
        (folder / "005.png").write_bytes(b"")
        (folder / "006.jpg").write_bytes(b"GIF89a" + bytes(50))
        Image.fromarray(np.dstack([RGB[0], np.full((5, 6), 254, np.uint8)])).save(folder / "007.png")
        Image.fromarray(np.zeros((5, 6), np.uint16)).save(folder / "008.png")
        Image.fromarray(RGB[0]).save(folder / "009.png")
        Image.new("CMYK", (6, 5)).save(folder / "010.jpg")
        got, _, faults = whole(open_source(folder), 3)
        assert sorted(faults) == [0, 4, 5, 6, 7, 8, 9, 10]
        for index, reason in (
            (0, r"000.png: the picture has shape [1, 3, 6], the data set [1, 5, 6]"),
            (4, "004.png: the picture cannot be read ("),
            (5, "005.png: the picture cannot be read ("),
            (6, "006.jpg: the picture cannot be read (it is neither PNG nor JPEG)"),
            (7, "007.png: the picture has shape [3, 5, 6], the data set [1, 5, 6]"),
            (8, "008.png: the picture has pixels of kind I;16"),
            (9, "009.png: the picture has shape [3, 5, 6]"),
            (10, "010.jpg: the picture has pixels of kind CMYK"),
        ):
            assert faults[index].startswith(reason)
            assert np.isnan(got[index]).all()
        assert np.array_equal(got[1:4], as_inputs(GREY[1:4]))
        assert str(folder) not in "".join(faults.values()), "paths of the client stay with the client"

    @pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
    def test_what_lies_behind_a_transparent_picture_is_unknown(self, tmp_path: Path, mode: str) -> None:
        folder = folder_of(tmp_path / "folder", RGB)
        alpha = np.full((5, 6), 255, np.uint8)
        alpha[0, 0] = 254
        if mode == "P":
            Image.fromarray(RGB[0]).quantize(8).save(folder / "000.png", transparency=0)
        else:
            shown = RGB[0] if mode == "RGBA" else GREY[0]
            Image.fromarray(np.dstack([shown, alpha])).save(folder / "000.png")
        _, _, faults = whole(open_source(folder), 3)
        assert faults == {0: "000.png: the picture is transparent in places: what lies behind it is unknown"}

    @settings(max_examples=150, deadline=None)
    @given(data=st.data())
    def test_no_bytes_break_the_others(self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
        folder = folder_of(tmp_path_factory.mktemp("x") / "folder", RGB, data.draw(st.sampled_from([".png", ".jpg"])))
        path = min(folder.iterdir())
        good = whole(open_source(folder), 3)[0][1:]
        damaged = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(damaged[: data.draw(st.integers(1, len(damaged)))])
        got, _, faults = whole(open_source(folder), 2)
        assert faults.keys() <= {0}
        assert np.array_equal(got[1:], good)
        assert not faults or np.isnan(got[0]).all()

    def test_a_bomb_is_measured_not_decoded(self, tmp_path: Path) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

        folder = folder_of(tmp_path / "folder", GREY)
        head = (8000).to_bytes(4) + (8000).to_bytes(4) + bytes([8, 0, 0, 0, 0])
        rows = zlib.compress(bytes(8001 * 8000))
        bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
        assert len(bomb) < 100_000
        (folder / "000.png").write_bytes(bomb)
        _, _, faults = whole(open_source(folder), 4)
        assert faults == {0: "000.png: the picture has shape [1, 8000, 8000], more than 67108864 bytes as float32"}


class TestShape:
    def test_the_majority_of_the_first_decides(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        Image.fromarray(RGB[0]).save(folder / "000.png")
        assert open_source(folder).shape == (1, 5, 6)
        Image.fromarray(RGB[0]).save(folder / "001.png")
        assert open_source(folder).shape == (3, 5, 6), "of equally many, the earliest"

    def test_it_looks_no_further_than_it_must(self) -> None:
        seen = []

        def shapes() -> Any:
            for number in range(10 * LOOKED_AT):
                seen.append(number)
                yield (1, 2, 3) if number >= 2 * LOOKED_AT else "unreadable"

        assert common_shape(shapes(), "x") == (1, 2, 3)
        assert len(seen) == 2 * LOOKED_AT + 1

    def test_it_can_be_said(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        assert sorted(whole(open_source(folder, how=Reading(shape=(1, 4, 4))), 4)[2]) == [0, 1, 2, 3]
        with pytest.raises(InvalidProblem, match=r"1 or 3 channels, got shape \[30\]"):
            open_source(folder, how=Reading(shape=(30,)))

    def test_none_that_can_be_used(self, tmp_path: Path) -> None:
        folder = tmp_path / "folder"
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
        with pytest.raises(InvalidProblem, match=r"no picture that can be used; the first one: the picture cannot"):
            open_source(folder)


class TestLabels:
    @pytest.mark.parametrize("heading", ["", "file,label\n", "File, Label\n", "\ufefffile,label\n"], ids=repr)
    def test_a_csv_says_which_pictures_and_in_which_order(self, tmp_path: Path, heading: str) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        (folder / "sub").mkdir()
        (folder / "003.png").rename(folder / "sub" / "x.png")
        csv = tmp_path / "labels.csv"
        csv.write_text(heading + "002.png,7\nsub/x.png, 0\n\n000.png,7\n", encoding="utf-8")
        got, labels, _ = whole(open_source(folder, csv), 2)
        assert np.array_equal(got, as_inputs(GREY[[2, 3, 0]]))
        assert np.array_equal(labels, [7, 0, 7])

    @pytest.mark.parametrize("heading", ["", "label\n"], ids=repr)
    def test_one_label_a_line_in_the_order_of_the_names(self, tmp_path: Path, heading: str) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        (folder / "labels.txt").write_text(heading + "3\n1\n\n2\n0")
        got, labels, _ = whole(open_source(folder, folder / "labels.txt"), 3)
        assert np.array_equal(got, as_inputs(GREY))
        assert np.array_equal(labels, [3, 1, 2, 0])

    def test_an_array_of_labels(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        labels = whole(open_source(folder, saved(tmp_path / "y.npy", np.array([3, 1, 2, 0]))), 3)[1]
        assert np.array_equal(labels, [3, 1, 2, 0])

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("1\n2\n3\n", "has 4 inputs, .* has 3 labels"),
            ("label\n", "has 4 inputs, .* has 0 labels"),
            ("000.png,1,2\n", "line 1: expected `file,label` on every line, or one label, got 3 fields"),
            ("000.png,1\n1\n", "line 2: expected .* got 1 fields"),
            ("000.png,cat\n", "line 1: a label is a whole number, got 'cat'"),
            ("file,label\n000.png,1.0\n", "line 2: a label is a whole number, got '1.0'"),
            ("000.png,99999999999999999999\n", "line 1: a label is a whole number"),
            ("000.png,\N{SUPERSCRIPT TWO}\n", "line 1: a label is a whole number"),
            ("000.png,-1\n", "must be 0..2147483647, got -1 for input 0"),
            ("000.png,1\n000.png,1\n", r"names 000\.png more than once"),
            ("nowhere.png,1\n", r"nowhere\.png, which is no file"),
            (",1\n", "which is no file"),
            ("../labels.csv,1\n", "leads out of the folder"),
            ("/etc/hostname,1\n", "leads out of the folder"),
            ("000.png,1\n" + "x" * 200_000, "cannot be read whole .*field larger"),
        ],
        ids=lambda value: value[:12],
    )
    def test_refusals_name_file_and_line(self, tmp_path: Path, text: str, message: str) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(InvalidProblem, match=rf"{message}") as caught:
            open_source(folder, tmp_path / "labels.csv")
        assert "labels.csv" in caught.value.message

    def test_no_text(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        (tmp_path / "labels.csv").write_bytes(b"a\xff\xfe")
        with pytest.raises(InvalidProblem, match=r"cannot be read whole .*utf-8"):
            open_source(folder, tmp_path / "labels.csv")


class TestFolder:
    def test_a_link_may_stay_inside_but_not_lead_out(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        outside = tmp_path / "secret.png"
        Image.fromarray(GREY[0]).save(outside)
        (folder / "004.png").symlink_to("000.png")
        assert open_source(folder).size == 5
        (folder / "005.png").symlink_to(outside)
        with pytest.raises(
            InvalidProblem, match=r"005\.png, which leads out of the folder, to .*secret\.png"
        ) as caught:
            open_source(folder)
        assert caught.value.reason == "OUTSIDE_OF_FOLDER"
        (tmp_path / "labels.csv").write_text("005.png,1\n")
        with pytest.raises(InvalidProblem, match="leads out"):
            open_source(folder, tmp_path / "labels.csv")

    def test_a_folder_of_links_out_is_no_way_around(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        other = folder_of(tmp_path / "other", GREY)
        (folder / "sub").symlink_to(other)
        (tmp_path / "labels.csv").write_text("sub/000.png,1\n")
        with pytest.raises(InvalidProblem, match="leads out"):
            open_source(folder, tmp_path / "labels.csv")

    def test_pipes_are_no_pictures(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        os.mkfifo(folder / "004.png")
        with pytest.raises(InvalidProblem, match=r"004\.png, which is no file"):
            open_source(folder)

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        (tmp_path / "x.txt").touch()
        with pytest.raises(InvalidProblem, match=r"no file that ends with \.png, \.jpg, \.jpeg") as caught:
            open_source(tmp_path)
        assert caught.value.reason == "EMPTY_DATASET"

    def test_names_in_their_order_whatever_their_case(self, tmp_path: Path) -> None:
        folder = folder_of(tmp_path / "folder", GREY[:0])
        for name, picture in zip(["b.PNG", "a.png", "B.png"], GREY, strict=False):
            Image.fromarray(picture).save(folder / name)
        assert np.array_equal(whole(open_source(folder), 3)[0], as_inputs(GREY[[2, 1, 0]]))

    def test_a_picture_that_goes_meanwhile_is_a_fault(self, tmp_path: Path) -> None:
        source = open_source(folder_of(tmp_path / "folder", GREY))
        (tmp_path / "folder" / "002.png").unlink()
        assert whole(source, 4)[2] == {2: "002.png: the picture cannot be read (No such file or directory)"}

    def test_without_pillow(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = folder_of(tmp_path / "folder", GREY)
        monkeypatch.setitem(sys.modules, "PIL.Image", None)
        with pytest.raises(
            Unsupported, match=r"PIL, which is not installed .*pip install 'verifier\[images\]'"
        ) as caught:
            open_source(folder)
        assert caught.value.reason == "EXTRA_NOT_INSTALLED"
