"""Arrays in files, read from their first row to the last: .npy, members of .npz, idx and idx.gz.

Nothing in them is ever executed, and no more is unpacked than the file's own header promises.
"""

import gzip
import io
import math
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from zipfile import ZIP_DEFLATED, ZIP_STORED, BadZipFile, ZipFile

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.source import (
    Chunk,
    Extent,
    Reading,
    Source,
    check_input_dtype,
    check_label_dtype,
    check_labels_length,
    check_rows,
    checked_labels,
)
from verifier.errors import InvalidProblem

NPY_MAGIC, ZIP_MAGIC, GZIP_MAGIC = b"\x93NUMPY", b"PK", b"\x1f\x8b"
INPUTS_NAMES = ("inputs", "x")
LABELS_NAMES = ("labels", "y")

_HEADER_BYTES = 2**16
"""How far into a file its header may reach."""

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


class Readable(Protocol):
    """Bytes in order, as plain and as unpacking files give them."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes, at most so many; b"" at the end."""


Opener = Callable[[], AbstractContextManager[Readable]]


class StoredArray(ABC):
    """An array in a file, read in order.

    Args:
        name: of the file, for messages.
        field: "inputs" or "labels", for errors.
        dtype: as stored.
        shape: of the whole.
        idx: whether it is an idx file.
    """

    def __init__(self, name: str, field: str, dtype: np.dtype[Any], shape: tuple[int, ...], idx: bool = False) -> None:
        self.name = name
        self.field = field
        self.dtype = dtype
        self.shape = shape
        self.idx = idx

    def __len__(self) -> int:
        return self.shape[0]

    @abstractmethod
    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """All rows, so many at a time: [b, *shape[1:]], as stored.

        Raises:
            InvalidProblem: it ends early, goes on beyond its end, or is damaged; reason FILE_DAMAGED.
        """


class Streamed(StoredArray):
    """One that lies row by row.

    Args:
        opener: gives the file's bytes from the first row on.
        others: see `StoredArray`.
    """

    def __init__(
        self, opener: Opener, name: str, field: str, dtype: np.dtype[Any], shape: tuple[int, ...], idx: bool = False
    ) -> None:
        super().__init__(name, field, dtype, shape, idx)
        self._open = opener

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """See `StoredArray`."""
        with ExitStack() as stack:
            with reading(self.name, self.field):
                stream = stack.enter_context(self._open())
            for first in range(0, len(self), rows):
                count = min(rows, len(self) - first)
                with reading(self.name, self.field):
                    block = self._read(stream, count, first)
                    more = first + count == len(self) and stream.read(1)
                if more:
                    raise damaged(self.name, self.field, f"it goes on after its {len(self)} rows")
                yield block

    def _read(self, stream: Readable, count: int, first: int) -> NDArray[Any]:
        length = count * math.prod(self.shape[1:]) * self.dtype.itemsize
        data = bytearray(length)
        filled = 0
        while filled < length:
            part = stream.read(min(length - filled, 2**20))
            if not part:
                missing = f"{length - filled} bytes are missing of rows {first} to {first + count - 1}"
                raise damaged(self.name, self.field, f"it has {len(self)} rows, and {missing}")
            data[filled : filled + len(part)] = part
            filled += len(part)
        return np.frombuffer(data, self.dtype).reshape(count, *self.shape[1:])


class Mapped(StoredArray):
    """One in Fortran's order: a row lies scattered over the whole file, so the file is mapped, not streamed.

    Args:
        path: of the .npy.
        offset: where the array begins.
        others: see `StoredArray`.
    """

    def __init__(self, path: Path, offset: int, field: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
        super().__init__(str(path), field, dtype, shape)
        self._path = path
        self._offset = offset

    def blocks(self, rows: int) -> Iterator[NDArray[Any]]:
        """See `StoredArray`."""
        with reading(self.name, self.field):
            mapped: NDArray[Any] = np.memmap(self._path, self.dtype, "r", self._offset, self.shape, order="F")
        for first in range(0, len(self), rows):
            yield np.array(mapped[first : first + rows], order="C")


class ArraySource(Source):
    """Inputs and labels that are arrays in files.

    Args:
        inputs: float32 or uint8, [size, ...].
        labels: integers, [size].
        how: to understand them.
    Raises:
        InvalidProblem: other datatypes, lengths that differ, nothing, or too much.
    """

    def __init__(self, inputs: StoredArray, labels: StoredArray | None, how: Reading) -> None:
        check_input_dtype(inputs.dtype, inputs.name)
        if len(inputs.shape) < 2:
            raise InvalidProblem(
                f"inputs must be [size, ...], got shape {list(inputs.shape)} in {inputs.name}", field="inputs.shape"
            )
        shape = inputs.shape[1:]
        if inputs.idx and len(shape) == 2 and not how.channels_last:
            shape = (1, *shape)
        super().__init__(Extent(how.laid_out(shape, inputs.name), len(inputs), labels is not None))
        self.extent.check(how.max_bytes)
        if labels is not None:
            check_labels(labels, inputs.name, len(inputs))
        self._inputs = inputs
        self._labels = labels
        self._how = how

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """See `Source`."""
        check_rows(rows)
        labels: Iterator[NDArray[np.int64] | None] = repeat(None, -(-self.size // rows))
        if self._labels is not None:
            labels = class_blocks(self._labels, rows)
        for block, classes in zip(self._inputs.blocks(rows), labels, strict=True):
            yield Chunk(self._how.inputs(block, self.shape), classes, {})


def check_labels(labels: StoredArray, inputs: str, size: int) -> None:
    """Refuse an array that is not one integer per input."""
    check_label_dtype(labels.dtype, labels.name)
    if len(labels.shape) != 1:
        raise InvalidProblem(
            f"labels must be [size], got shape {list(labels.shape)} in {labels.name}", field="labels.shape"
        )
    check_labels_length(inputs, size, labels.name, len(labels))


def class_blocks(labels: StoredArray, rows: int) -> Iterator[NDArray[np.int64]]:
    """The classes of checked labels, so many at a time."""
    for number, block in enumerate(labels.blocks(rows)):
        yield checked_labels(block, labels.name, number * rows)


def open_array(path: Path, field: str, names: tuple[str, ...]) -> StoredArray:
    """The array of a file, told by its first bytes.

    Args:
        path: of an .npy, .npz, idx or idx.gz.
        field: "inputs" or "labels".
        names: that the member of an .npz may have.
    Raises:
        InvalidProblem: something else, or a damaged file.
    """
    magic = first_bytes(path, field)
    if magic.startswith(NPY_MAGIC):
        return _npy(path, field)
    if magic.startswith(ZIP_MAGIC):
        return _npz(path, field, names)
    if magic.startswith((GZIP_MAGIC, b"\0\0")):
        return _idx(path, field, packed=magic.startswith(GZIP_MAGIC))
    if magic.startswith(b"\x80"):
        raise InvalidProblem(
            f"{path} is a pickle, which is code: expected .npy, .npz, idx or idx.gz; save plain numbers by numpy.save",
            field=field,
            reason="PICKLED",
        )
    raise InvalidProblem(
        f"{path} is no .npy, .npz, idx or idx.gz: it begins with {magic!r}; save the array with numpy.save", field=field
    )


def members(path: Path) -> frozenset[str]:
    """What the arrays in an .npz are called; nothing for another file."""
    if not first_bytes(path, "inputs").startswith(ZIP_MAGIC):
        return frozenset()
    with reading(str(path), "inputs"), ZipFile(path) as archive:
        return frozenset(name.removesuffix(".npy") for name in archive.namelist())


def first_bytes(path: Path, field: str) -> bytes:
    """The first few bytes of a file."""
    if not path.exists():
        raise InvalidProblem(f"there is no file {path}", field=field)
    if not path.is_file():
        raise InvalidProblem(f"{path} is no file: expected one with {field}", field=field)
    with reading(str(path), field), path.open("rb") as stream:
        magic = stream.read(8)
    if not magic:
        raise damaged(str(path), field, "it is empty")
    return magic


@contextmanager
def reading(name: str, field: str) -> Iterator[None]:
    """What goes wrong while a file is read and unpacked, in the words of the house."""
    try:
        yield
    except (OSError, EOFError, zlib.error, BadZipFile, NotImplementedError, RuntimeError) as error:
        raise damaged(name, field, str(error)) from error


def damaged(name: str, field: str, why: str) -> InvalidProblem:
    """The error to raise for a file that is not whole."""
    return InvalidProblem(
        f"{name} cannot be read whole ({why}): it is damaged or truncated, copy it again",
        field=field,
        reason="FILE_DAMAGED",
    )


def _npy(path: Path, field: str) -> StoredArray:
    with reading(str(path), field), path.open("rb") as stream:
        dtype, shape, columns_first, offset = _npy_header(stream, str(path), field)
    _check_length(path, field, path.stat().st_size, offset, dtype, shape)

    def rows() -> BinaryIO:
        stream = path.open("rb")
        stream.seek(offset)
        return stream

    if columns_first:
        return Mapped(path, offset, field, dtype, shape)
    return Streamed(rows, str(path), field, dtype, shape)


def _npz(path: Path, field: str, names: tuple[str, ...]) -> StoredArray:
    there = members(path)
    chosen = [name for name in names if name in there]
    if len(chosen) != 1:
        got = ", ".join(sorted(there)[:10]) or "none"
        raise InvalidProblem(
            f"{path} must have one array named {' or '.join(names)}, got {got}: say which one holds the {field}",
            field=field,
        )
    member = f"{chosen[0]}.npy"
    name = f"{path}[{chosen[0]}]"
    with reading(name, field), ZipFile(path) as archive, archive.open(member) as stream:
        info = archive.getinfo(member)
        dtype, shape, columns_first, offset = _npy_header(stream, name, field)
    if info.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        raise InvalidProblem(f"{name} is packed in a way that numpy never does: save it with numpy.savez", field=field)
    if columns_first:
        raise InvalidProblem(
            f"{name} is stored column by column and cannot be streamed: save numpy.ascontiguousarray of it", field=field
        )
    _check_length(name, field, info.file_size, offset, dtype, shape)

    @contextmanager
    def rows() -> Iterator[Readable]:
        with ZipFile(path) as archive, archive.open(member) as stream:
            stream.read(offset)
            yield stream

    return Streamed(rows, name, field, dtype, shape)


def _npy_header(stream: Readable, name: str, field: str) -> tuple[np.dtype[Any], tuple[int, ...], bool, int]:
    """(datatype, shape, whether in Fortran's order, where the rows begin)."""
    head = io.BytesIO(stream.read(_HEADER_BYTES))
    try:
        version = np.lib.format.read_magic(head)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}[version]
        shape, columns_first, dtype = read(head)
    except Exception as error:  # whatever a parser makes of bytes that nobody has checked
        raise damaged(name, field, f"its .npy header is wrong: {error}") from error
    if dtype.hasobject:
        raise InvalidProblem(
            f"{name} holds Python objects, which are pickled, hence code: expected plain numbers; save them with "
            "numpy.save(..., allow_pickle=False)",
            field=field,
            reason="PICKLED",
        )
    if any(length < 0 for length in shape):
        raise damaged(name, field, f"its .npy header says shape {shape}")
    return dtype, shape, columns_first, head.tell()


def _idx(path: Path, field: str, packed: bool) -> StoredArray:
    def opened() -> AbstractContextManager[Readable]:
        return gzip.open(path) if packed else path.open("rb")

    with reading(str(path), field), opened() as stream:
        head = stream.read(4)
        code, axes = (head[2], head[3]) if len(head) == 4 else (0, 0)
        if head[:2] != b"\0\0" or code not in _IDX_TYPES or not axes:
            raise InvalidProblem(f"{path} is no idx file: it begins with {head!r}", field=field)
        lengths = stream.read(4 * axes)
    if len(lengths) < 4 * axes:
        raise damaged(str(path), field, "its idx header is cut")
    dtype, shape, offset = np.dtype(_IDX_TYPES[code]), struct.unpack(f">{axes}I", lengths), 4 + 4 * axes
    if not packed:
        _check_length(path, field, path.stat().st_size, offset, dtype, shape)

    @contextmanager
    def rows() -> Iterator[Readable]:
        with opened() as stream:
            stream.read(offset)
            yield stream

    return Streamed(rows, str(path), field, dtype, shape, idx=True)


def _check_length(
    name: str | Path, field: str, got: int, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> None:
    """Refuse a file whose length is not the one that its header promises."""
    expected = offset + math.prod(shape) * dtype.itemsize
    if got != expected:
        raise damaged(str(name), field, f"{list(shape)} of {dtype} needs {expected} bytes, got {got}")
