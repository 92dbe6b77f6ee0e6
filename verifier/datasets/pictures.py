"""PNG and JPEG pictures as inputs: bytes to [channels, height, width], and a folder of them as a source.

The values of a JPEG depend on the decoder's release; those of a PNG do not. A picture that does not fit is a fault of
its row. The shape is that of most of the first pictures, so that one odd picture in front condemns only itself.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.arrays import (
    GZIP_MAGIC,
    LABELS_NAMES,
    NPY_MAGIC,
    ZIP_MAGIC,
    check_labels,
    class_blocks,
    damaged,
    first_bytes,
    open_array,
)
from verifier.datasets.source import (
    MAX_INPUT_BYTES,
    Chunk,
    Extent,
    Reading,
    Source,
    check_labels_length,
    check_rows,
    checked_labels,
    needed,
)
from verifier.errors import InvalidProblem

SUFFIXES = (".png", ".jpg", ".jpeg")

LOOKED_AT = 100
"""How many pictures decide the shape."""

_CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "PA": 3, "RGB": 3, "RGBA": 3}

_PLACES = re.compile("<.*>")
"""Addresses and paths in a decoder's message."""

Shape = tuple[int, ...]
Pixels = NDArray[np.uint8]


def shape_of(stream: IO[bytes]) -> Shape | str:
    """[channels, height, width] of a picture, from its header alone; or why it has none."""
    image = needed("PIL.Image", "images")
    try:
        with image.open(stream, formats=("PNG", "JPEG")) as picture:
            return _shape(picture)
    except MemoryError:
        raise
    except Exception as error:  # whatever a decoder makes of bytes that nobody has checked
        return _unreadable(error)


def decode(stream: IO[bytes], shape: Shape) -> Pixels | str:
    """The pixels of a picture of this shape; or why it cannot be used.

    A grey picture among coloured ones gets three equal channels. Nothing else is converted.
    """
    image = needed("PIL.Image", "images")
    try:
        with image.open(stream, formats=("PNG", "JPEG")) as picture:
            got = _shape(picture)
            if isinstance(got, str):
                return got
            if got != shape and (got[0], shape[0], got[1:]) != (1, 3, shape[1:]):
                return f"the picture has shape {list(got)}, the data set {list(shape)}"
            return _pixels(picture, shape)
    except MemoryError:
        raise
    except Exception as error:  # as above
        return _unreadable(error)


def common_shape(shapes: Iterable[Shape | str], name: str) -> Shape:
    """What most of the first usable pictures have; of equally many, the earliest.

    Raises:
        InvalidProblem: none is usable.
    """
    first_reason = ""
    counts: Counter[Shape] = Counter()
    for number, shape in enumerate(shapes):
        if not isinstance(shape, str):
            counts[shape] += 1
        first_reason = first_reason or (shape if isinstance(shape, str) else "")
        if counts and number + 1 >= LOOKED_AT:
            break
    if not counts:
        raise InvalidProblem(
            f"{name} has no picture that can be used; the first one: {first_reason or 'there is none'}; expected PNG "
            "or JPEG with 8 bits a channel",
            field="inputs",
        )
    return counts.most_common(1)[0][0]


def checked_shape(shape: Shape, name: Path) -> Shape:
    """The shape itself, where every picture is said to have it; InvalidProblem if none can."""
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise InvalidProblem(
            f"the pictures in {name} are [channels, height, width] with 1 or 3 channels, got shape {list(shape)}",
            field="shape",
        )
    return shape


def picture_block(streams: Iterable[IO[bytes] | str], shape: Shape, rows: int) -> tuple[NDArray[Any], dict[int, str]]:
    """The pixels of some pictures, [rows, *shape] of uint8, 0 where there is a fault, and the faults."""
    block = np.zeros((rows, *shape), np.uint8)
    faults: dict[int, str] = {}
    for offset, stream in enumerate(streams):
        if isinstance(stream, str):
            faults[offset] = stream
            continue
        with closing(stream):
            pixels = decode(stream, shape)
        if isinstance(pixels, str):
            faults[offset] = pixels
        else:
            block[offset] = pixels
    return block, faults


def as_pixels(how: Reading) -> Reading:
    """The same for what `decode` gives, whose channels are first whatever the file has."""
    return replace(how, channels_last=False)


def fault_chunk(
    block: NDArray[Any], faults: dict[int, str], labels: NDArray[np.int64] | None, shape: Shape, how: Reading
) -> Chunk:
    """Rows as a chunk: NaN where there is a fault."""
    x = how.inputs(block, shape)
    x[list(faults)] = np.nan
    return Chunk(x, labels, faults)


class Pictures(Source):
    """A folder of PNG and JPEG files. Their names and labels are in memory, their pixels are not.

    Args:
        folder: where they lie; its own files only, in the order of their names, unless the labels name others in it.
        labels: of each: a CSV of `file,label`, which then says which files there are and in which order; or one label
            a line, or an array file, in the order of the files' names. None: they have none.
        how: to understand them; its shape is the one that every picture must have.
    Raises:
        InvalidProblem: no pictures, labels that do not fit, a name that leads out of the folder.
        Unsupported: Pillow is not installed.
    """

    def __init__(self, folder: Path, labels: Path | None, how: Reading) -> None:
        needed("PIL.Image", "images")
        self._folder = folder
        self._labels: NDArray[np.int64] | None = None
        if labels is None:
            self._names = _pictures_in(folder)
        else:
            self._names, self._labels = _labelled(folder, labels)
        shape = common_shape(self._shapes(), str(folder)) if how.shape is None else checked_shape(how.shape, folder)
        super().__init__(Extent(shape, len(self._names), labels is not None))
        self.extent.check(how.max_bytes)
        self._how = as_pixels(how)

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """See `Source`."""
        check_rows(rows)
        for first in range(0, self.size, rows):
            names = self._names[first : first + rows]
            labels = None if self._labels is None else self._labels[first : first + rows].copy()
            block, faults = picture_block(map(self._opened, names), self.shape, len(names))
            named = {offset: f"{names[offset]}: {reason}" for offset, reason in faults.items()}
            yield fault_chunk(block, named, labels, self.shape, self._how)

    def _shapes(self) -> Iterator[Shape | str]:
        for stream in map(self._opened, self._names):
            if isinstance(stream, str):
                yield stream
                continue
            with stream:
                yield shape_of(stream)

    def _opened(self, name: str) -> IO[bytes] | str:
        try:
            return (self._folder / name).open("rb")
        except OSError as error:
            return _unreadable(error)


def _shape(picture: Any) -> Shape | str:
    channels = _CHANNELS.get(picture.mode)
    if channels is None:
        return f"the picture has pixels of kind {picture.mode}: expected grey or RGB with 8 bits a channel"
    shape = (channels, picture.height, picture.width)
    if 4 * channels * picture.height * picture.width > MAX_INPUT_BYTES:
        return f"the picture has shape {list(shape)}, more than {MAX_INPUT_BYTES} bytes as float32"
    return shape


def _pixels(picture: Any, shape: Shape) -> Pixels | str:
    if "A" in picture.mode or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        if picture.getchannel("A").getextrema() != (255, 255):
            return "the picture is transparent in places: what lies behind it is unknown"
        picture = picture.getchannel("R") if shape[0] == 1 else picture.convert("RGB")
    pixels = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"), dtype=np.uint8)
    return np.moveaxis(pixels.reshape(*shape[1:], shape[0]), -1, 0)


def _unreadable(error: Exception) -> str:
    """Why, in words that are the same wherever the file lies: they are part of the data set, hence of its digest."""
    if isinstance(error, needed("PIL", "images").UnidentifiedImageError):
        reason = "it is neither PNG nor JPEG"
    else:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else _PLACES.sub("", str(error))
    return f"the picture cannot be read ({reason or type(error).__name__})"


def _pictures_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES))
    except OSError as error:
        raise damaged(str(folder), "inputs", str(error)) from error
    if not names:
        raise InvalidProblem(
            f"{folder} has no file that ends with {', '.join(SUFFIXES)}: expected a folder of pictures",
            field="inputs",
            reason="EMPTY_DATASET",
        )
    root = folder.resolve()
    for name in names:
        _check_inside(root, folder / name, str(folder))
    return names


def _check_inside(root: Path, path: Path, said_by: str) -> None:
    """Refuse what is no file of the folder."""
    target = path.resolve()
    if not target.is_relative_to(root):
        raise InvalidProblem(
            f"{said_by} has {path}, which leads out of the folder, to {target}: copy the picture into the folder",
            field="inputs",
            reason="OUTSIDE_OF_FOLDER",
        )
    if not target.is_file():
        raise InvalidProblem(f"{said_by} has {path}, which is no file: leave it out, or put it there", field="inputs")


def _labelled(folder: Path, path: Path) -> tuple[list[str], NDArray[np.int64]]:
    """(names, labels) as a file of labels says."""
    if first_bytes(path, "labels").startswith((NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC, b"\0\0", b"\x80")):
        stored = open_array(path, "labels", LABELS_NAMES)
        names = _pictures_in(folder)
        check_labels(stored, str(folder), len(names))
        return names, np.concatenate(list(class_blocks(stored, 2**16)))
    rows = list(_lines(path))
    if rows and len(rows[0][1]) == 2:
        names = [name for _, (name, _) in rows]
        _check_names(folder, path, names)
    else:
        names = _pictures_in(folder)
        check_labels_length(str(folder), len(names), str(path), len(rows))
    numbers = [_number(path, line, fields[-1]) for line, fields in rows]
    return names, checked_labels(np.array(numbers, np.int64), str(path), 0)


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, fields) of a CSV, all with one field or all with two; a heading is left out."""
    width = None
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            for row in reader:
                fields = [field.strip() for field in row]
                heading = reader.line_num == 1 and [field.lower() for field in fields] in (["file", "label"], ["label"])
                if not any(fields) or heading:
                    continue
                width = width or len(fields)
                if len(fields) != width or width > 2:
                    raise InvalidProblem(
                        f"{path}, line {reader.line_num}: expected `file,label` on every line, or one label, got "
                        f"{len(fields)} fields",
                        field="labels",
                    )
                yield reader.line_num, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise damaged(str(path), "labels", str(error)) from error


def _check_names(folder: Path, path: Path, names: list[str]) -> None:
    counts = Counter(names)
    if len(counts) < len(names):
        raise InvalidProblem(
            f"{path} names {counts.most_common(1)[0][0]} more than once: once is right", field="labels"
        )
    root = folder.resolve()
    for name in names:
        _check_inside(root, folder / name, str(path))


def _number(path: Path, line: int, text: str) -> int:
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) < 19):
        raise InvalidProblem(f"{path}, line {line}: a label is a whole number, got {text[:50]!r}", field="labels")
    return int(text)
