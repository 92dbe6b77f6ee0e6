"""What a data set is read from: chunks of inputs with their labels, whatever file they lie in."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from verifier.dataset import MAX_INPUTS
from verifier.errors import InvalidProblem, Unsupported

FLOAT_BYTES, LABEL_BYTES = 4, 8
MAX_LABEL = 2**31 - 1
MAX_AXES = 16
MAX_INPUT_BYTES = 64 * 2**20
"""Of one input: a reader holds a chunk, hence at least one input, in memory."""
MAX_DATASET_BYTES = 256 * 2**30
"""Of a data set's inputs and labels as they are stored, however small the file that they are packed in."""

CHUNK_BYTES = 2**20
"""How much is read, sent or hashed at once."""


@dataclass(frozen=True)
class Extent:
    """How much a data set is. Valid by construction.

    Args:
        shape: of one input, 1 to `MAX_AXES` axes, every axis >= 1.
        size: inputs, >= 1.
        labelled: whether every input has a label.
    Raises:
        InvalidProblem: a value out of range; reasons SHAPE_INVALID, EMPTY_DATASET, INPUT_TOO_LARGE.
    """

    shape: tuple[int, ...]
    size: int
    labelled: bool

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(map(int, self.shape)))
        if not 1 <= len(self.shape) <= MAX_AXES or min(self.shape) < 1:
            raise InvalidProblem(
                f"an input needs 1 to {MAX_AXES} axes, and each axis a length >= 1, got shape "
                f"{list(self.shape[: MAX_AXES + 1])}: save inputs as [size, ...]",
                field="inputs.shape",
                reason="SHAPE_INVALID",
            )
        if not 1 <= self.size <= MAX_INPUTS:
            raise InvalidProblem(
                f"a data set has 1 to {MAX_INPUTS} inputs, got {self.size}",
                field="inputs.shape",
                reason="EMPTY_DATASET",
            )
        if self.row_bytes > MAX_INPUT_BYTES:
            raise InvalidProblem(
                f"one input may have at most {MAX_INPUT_BYTES} bytes as float32, got {self.row_bytes} with shape "
                f"{list(self.shape)}",
                field="inputs.shape",
                reason="INPUT_TOO_LARGE",
            )

    @property
    def row_bytes(self) -> int:
        """Of one input."""
        return FLOAT_BYTES * math.prod(self.shape)

    @property
    def input_bytes(self) -> int:
        """Of all inputs."""
        return self.row_bytes * self.size

    @property
    def bytes(self) -> int:
        """Of all inputs and labels."""
        return self.input_bytes + LABEL_BYTES * self.size * self.labelled

    @property
    def chunk_rows(self) -> int:
        """How many inputs make a chunk of about `CHUNK_BYTES`, at least 1."""
        return max(1, CHUNK_BYTES // self.row_bytes)

    def check(self, max_bytes: int) -> None:
        """Refuse a data set of more bytes; reason DATASET_TOO_LARGE."""
        if self.bytes > max_bytes:
            raise InvalidProblem(
                f"a data set may have at most {max_bytes} bytes, got {self.bytes}: {self.size} inputs of shape "
                f"{list(self.shape)}; store it in parts",
                field="inputs",
                reason="DATASET_TOO_LARGE",
            )


@dataclass(frozen=True)
class Reading:
    """How a file is to be understood, where it does not say so itself.

    Args:
        scale: uint8 inputs are pixels and are divided by 255, in float32, so that they lie in [0, 1]; otherwise they
            stay 0..255. Inputs of any other datatype must be float32 and are never touched.
        shape: of one input: its values, in row-major order, are laid out so. None: as in the file, where an idx file's
            pictures [height, width] get a channel axis before them, and a Parquet list is flat.
        channels_last: the last axis is moved to the front of each input, before `shape` applies.
        inputs_names: the member of an .npz (default: inputs, or x) or the columns of a Parquet file (default: inputs,
            x, or image; several columns of numbers make the features of an input).
        labels_name: as well, of labels (default: labels, y, or label).
        max_bytes: of the inputs and labels as they would be stored; a file that promises more is refused unread.
    """

    scale: bool = True
    shape: tuple[int, ...] | None = None
    channels_last: bool = False
    inputs_names: tuple[str, ...] = ()
    labels_name: str | None = None
    max_bytes: int = MAX_DATASET_BYTES

    def laid_out(self, shape: tuple[int, ...], name: str) -> tuple[int, ...]:
        """The shape of an input that the file has in `shape`."""
        moved = (*shape[-1:], *shape[:-1]) if self.channels_last else shape
        if self.shape is None:
            return moved
        if math.prod(self.shape) != math.prod(shape) or min(self.shape, default=1) < 1:
            raise InvalidProblem(
                f"the inputs of {name} have {math.prod(shape)} values (shape {list(shape)}), which cannot be laid out "
                f"as {list(self.shape)}: give a shape of as many values",
                field="shape",
            )
        return self.shape

    def inputs(self, block: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Rows of the file, uint8 or float32, as inputs [b, *shape], in memory of their own."""
        if self.channels_last:
            block = np.moveaxis(block, -1, 1)
        x = np.array(block, dtype=np.float32, order="C").reshape(-1, *shape)
        if block.dtype == np.uint8 and self.scale:
            x /= np.float32(255)
        return x


class Chunk(NamedTuple):
    """Some consecutive inputs.

    Args:
        x: the inputs, [b, *shape]; NaN throughout where one has a fault.
        labels: their classes, [b], >= 0; None in a data set without labels.
        faults: why an input cannot be used, by its offset in the chunk.
    """

    x: NDArray[np.float32]
    labels: NDArray[np.int64] | None
    faults: dict[int, str]


class Source(ABC):
    """Something that a data set can be read from, any number of times.

    Whatever it is, `chunks` gives every input once, in order, and never holds more than a chunk of them. A NaN is a
    value like another here. An input that cannot be read is a fault of that row; a file that is wrong as a whole is
    InvalidProblem, from opening it or from `chunks`.

    Args:
        extent: how much there is.
    """

    def __init__(self, extent: Extent) -> None:
        self.extent = extent

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return self.extent.shape

    @property
    def size(self) -> int:
        """How many inputs."""
        return self.extent.size

    @property
    def labelled(self) -> bool:
        """Whether they have labels."""
        return self.extent.labelled

    @abstractmethod
    def chunks(self, rows: int) -> Iterator[Chunk]:
        """All inputs, in chunks of that many; the last one may be smaller.

        Raises:
            InvalidProblem: the file is not what it promised.
        """


def check_input_dtype(dtype: np.dtype[Any], name: str) -> None:
    """Refuse what is neither float32 nor uint8."""
    if dtype.kind == "O":
        raise InvalidProblem(
            f"{name} holds Python objects, which are pickled, hence code: expected float32 or uint8; save plain "
            "numbers with numpy.save(..., allow_pickle=False)",
            field="inputs",
            reason="PICKLED",
        )
    if dtype.newbyteorder("=") not in (np.dtype(np.float32), np.dtype(np.uint8)):
        raise InvalidProblem(
            f"inputs must be float32, or uint8 for pixels, got {dtype} in {name}; convert them deliberately "
            "(x.astype(numpy.float32)): the certificates speak about the very numbers that are stored",
            field="inputs.datatype",
        )


def check_label_dtype(dtype: np.dtype[Any], name: str) -> None:
    """Refuse what is no integer."""
    if dtype.kind not in "iu":
        raise InvalidProblem(
            f"labels must be integers, got {dtype} in {name}: save them with y.astype(numpy.int64)",
            field="labels.datatype",
        )


def checked_labels(labels: NDArray[Any], name: str, first: int) -> NDArray[np.int64]:
    """Integers as classes.

    Args:
        labels: [b], of an integer datatype.
        name: of their file, for the message.
        first: the index of the first of them, for the message.
    Raises:
        InvalidProblem: one of them is negative or too large.
    """
    wrong = (labels < 0) | (labels > MAX_LABEL)
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise InvalidProblem(
            f"labels must be 0..{MAX_LABEL}, got {int(labels[at])} for input {first + at} in {name}: leave inputs "
            "without a class out",
            field=f"labels[{first + at}]",
        )
    return labels.astype(np.int64)


def check_labels_length(inputs: str, size: int, labels: str, got: int) -> None:
    """Refuse labels that are not one for each input."""
    if size != got:
        raise InvalidProblem(
            f"labels must have one class per input: {inputs} has {size} inputs, {labels} has {got} labels",
            field="labels",
        )


def check_rows(rows: int) -> None:
    """Refuse chunks of nothing."""
    if rows < 1:
        raise InvalidProblem(f"a chunk has at least 1 row, got {rows}", field="rows")


def needed(module: str, extra: str) -> Any:
    """A module that comes with one of our extras.

    Raises:
        Unsupported: it is not installed; reason EXTRA_NOT_INSTALLED.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise Unsupported(
            f"this file is read with {module.partition('.')[0]}, which is not installed ({error}): "
            f"pip install 'verifier[{extra}]'",
            reason="EXTRA_NOT_INSTALLED",
        ) from error
