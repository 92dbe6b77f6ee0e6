"""Parquet files as a source: lists of numbers with a shape, columns of numbers, or pictures as bytes."""

import io
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from verifier.datasets.arrays import StoredArray, check_labels, class_blocks, damaged
from verifier.datasets.pictures import as_pixels, checked_shape, common_shape, fault_chunk, picture_block, shape_of
from verifier.datasets.source import (
    CHUNK_BYTES,
    FLOAT_BYTES,
    MAX_INPUT_BYTES,
    Chunk,
    Extent,
    Reading,
    Source,
    check_input_dtype,
    check_label_dtype,
    check_rows,
    checked_labels,
    needed,
)
from verifier.errors import InvalidProblem

MAGIC = b"PAR1"
INPUTS_NAMES = ("inputs", "x", "image")
LABELS_NAMES = ("labels", "y", "label")


class ParquetSource(Source):
    """Inputs, and labels where it has them, of a Parquet file.

    Inputs are one of: a column of lists of float32 or uint8, whose shape is in the metadata `shape` (JSON) of the
    column or the file, or in `how`, or else that of the first list; a column of pictures, as bytes or as structs with
    a field `bytes`; or columns of float32 or uint8, the features of an input. A list of another length, a null, or a
    picture that does not fit is a fault of its row.

    Args:
        path: of the file.
        labels: of another file; None takes them from this one, if it has any.
        how: to understand it.
    Raises:
        InvalidProblem: none of these, or damaged.
        Unsupported: pyarrow (or for pictures, Pillow) is not installed.
    """

    def __init__(self, path: Path, labels: StoredArray | None, how: Reading) -> None:
        self._path = path
        self._how = how
        self._labels = labels
        with self._opened() as file:
            schema, size = file.schema_arrow, file.metadata.num_rows
            self._columns = _chosen(schema.names, how.inputs_names, INPUTS_NAMES, path, "inputs", required=True)
            wanted = (how.labels_name,) if how.labels_name else ()
            own = _chosen(schema.names, wanted, LABELS_NAMES, path, "labels", required=bool(wanted))
            self._class_column = own[0] if own and labels is None else None
            fields = [schema.field(name) for name in self._columns]
            self._pictures = len(fields) == 1 and _is_pictures(fields[0].type)
            if self._pictures:
                self._how = how = as_pixels(how)
            stored = self._stored_shape(file, fields, schema.metadata)
            labelled = labels is not None or self._class_column is not None
            super().__init__(Extent(how.laid_out(stored, str(path)), size, labelled))
            self.extent.check(how.max_bytes)
            self._check_columns(file, fields, schema)
        self._stored = stored

    def chunks(self, rows: int) -> Iterator[Chunk]:
        """See `Source`."""
        check_rows(rows)
        classes = class_blocks(self._labels, rows) if self._labels is not None else None
        for first, batch in self._batches(rows):
            labels = self._classes(batch, first) if classes is None else next(classes)
            if self._pictures:
                block, faults = picture_block(_streams(batch.column(0)), self._stored, len(batch))
            else:
                block, faults = self._numbers(batch)
            if len(block) != min(rows, self.size - first):
                raise damaged(str(self._path), "inputs", f"rows {first} and following have {len(block)} values")
            yield fault_chunk(block, faults, labels, self.shape, self._how)

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file, its pages read as they are needed; its faults in the words of the house."""
        parquet, arrow = needed("pyarrow.parquet", "parquet"), needed("pyarrow", "parquet")
        try:
            with parquet.ParquetFile(self._path, pre_buffer=False, buffer_size=CHUNK_BYTES) as file:
                yield file
        except (arrow.ArrowException, OSError, ValueError) as error:  # the last: from damaged names and lengths
            raise damaged(str(self._path), "inputs", str(error)) from error

    def _batches(self, rows: int) -> Iterator[tuple[int, Any]]:
        """(index of the first row, batch) of so many rows each, the inputs' columns before that of the labels."""
        names = [*self._columns, *([self._class_column] if self._class_column else [])]
        arrow, first, waiting = needed("pyarrow", "parquet"), 0, []
        with self._opened() as file:
            for batch in chain(file.iter_batches(rows, columns=names, use_threads=False), [None]):
                waiting += [] if batch is None else [batch]  # arrow cuts where a row group ends, we do not
                held = sum(map(len, waiting))
                if first + held > self.size:
                    raise damaged(str(self._path), "inputs", f"it promises {self.size} rows and has more")
                while held >= rows or (batch is None and held):
                    table = arrow.Table.from_batches(waiting).select(names).combine_chunks()
                    whole = table.to_batches()[0]
                    if len(whole) != held:
                        raise damaged(str(self._path), "inputs", f"of {held} rows {len(whole)} can be read")
                    yield first, whole.slice(0, rows)
                    waiting = [rest] if len(rest := whole.slice(rows)) else []
                    first, held = first + min(rows, held), max(0, held - rows)
        if first != self.size:
            raise damaged(str(self._path), "inputs", f"it promises {self.size} rows and has {first}")

    def _stored_shape(self, file: Any, fields: list[Any], metadata: dict[bytes, bytes] | None) -> tuple[int, ...]:
        """Of one input, before it is laid out."""
        if self._pictures and self._how.shape is not None:
            return checked_shape(self._how.shape, self._path)
        if self._pictures:
            batches = file.iter_batches(16, columns=self._columns, use_threads=False)
            streams = (stream for batch in batches for stream in _streams(batch.column(0)))
            shapes = (stream if isinstance(stream, str) else shape_of(stream) for stream in streams)
            return common_shape(shapes, str(self._path))
        if not _is_list(fields[0].type):
            return (len(fields),)
        said = (fields[0].metadata or {}).get(b"shape") or (metadata or {}).get(b"shape")
        if said is not None:
            return _parsed_shape(said, self._path)
        if self._how.shape is not None:
            return (math.prod(self._how.shape),)
        for batch in file.iter_batches(1, columns=self._columns, use_threads=False):
            if batch.column(0).null_count == 0:
                return (len(batch.column(0)[0]),)
        raise InvalidProblem(f"{self._path} has no input in {self._columns[0]}", field="inputs", reason="EMPTY_DATASET")

    def _check_columns(self, file: Any, fields: list[Any], schema: Any) -> None:
        """Refuse other datatypes, and more values than the rows can have."""
        kinds = {str(field.type) for field in fields}
        if len(kinds) > 1 or (len(fields) > 1 and _is_list(fields[0].type)):
            raise InvalidProblem(
                f"{self._path}: several columns must hold numbers of one datatype, got {', '.join(sorted(kinds))}: "
                "convert them, or name one column",
                field="inputs.datatype",
            )
        for field in () if self._pictures else fields:
            kind = field.type.value_type if _is_list(field.type) else field.type
            check_input_dtype(_dtype(kind, f"{self._path}[{field.name}]"), f"{self._path}[{field.name}]")
        if self._class_column is not None:
            name = f"{self._path}[{self._class_column}]"
            kind = schema.field(self._class_column).type
            check_label_dtype(_dtype(kind, name, "labels"), name)
        elif self._labels is not None:
            check_labels(self._labels, str(self._path), self.size)
        self._check_values(file.metadata)

    def _check_values(self, metadata: Any) -> None:
        """A few packed bytes may promise any number of values: refuse many more than the shape accounts for."""
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            expected = group.num_rows * self.extent.row_bytes
            for column in map(group.column, range(group.num_columns)):
                chosen = column.path_in_schema.split(".")[0] in self._columns
                got = column.total_uncompressed_size if self._pictures else FLOAT_BYTES * column.num_values
                if chosen and got > 2 * expected + MAX_INPUT_BYTES:
                    raise InvalidProblem(
                        f"{self._path} promises {got} bytes for {group.num_rows} inputs of shape "
                        f"{list(self.shape)}: far more than they can have",
                        field="inputs",
                        reason="DATASET_TOO_LARGE",
                    )

    def _classes(self, batch: Any, first: int) -> NDArray[np.int64] | None:
        if self._class_column is None:
            return None
        column = batch.column(len(self._columns))
        name = f"{self._path}[{self._class_column}]"
        if column.null_count:
            raise InvalidProblem(
                f"labels must be there for each input, or for none: {name} has {column.null_count} nulls from row "
                f"{first} on; leave inputs without a class out",
                field="labels",
            )
        return checked_labels(column.to_numpy(zero_copy_only=False), name, first)

    def _numbers(self, batch: Any) -> tuple[NDArray[Any], dict[int, str]]:
        """(values [b, *stored], 0 where there is a fault; faults)."""
        columns = [batch.column(number) for number in range(len(self._columns))]
        if not _is_list(columns[0].type):
            nulls = np.array([column.is_null().to_numpy(zero_copy_only=False) for column in columns]).T
            faults = {int(row): "a value is null" for row in np.flatnonzero(nulls.any(axis=1))}
            values = [column.fill_null(0).to_numpy(zero_copy_only=False) for column in columns]
            return np.stack(values, axis=1).reshape(len(batch), *self._stored), faults
        return _lists(columns[0], self._stored)


def _lists(column: Any, shape: tuple[int, ...]) -> tuple[NDArray[Any], dict[int, str]]:
    """A column of lists as an array, 0 where one does not fit, and why not."""
    compute = needed("pyarrow.compute", "parquet")
    expected = math.prod(shape)
    lengths = compute.list_value_length(column).fill_null(-1).to_numpy(zero_copy_only=False)
    faults = {
        int(row): "the input is null" if lengths[row] < 0 else f"the input has {lengths[row]} values, not {expected}"
        for row in np.flatnonzero(lengths != expected)
    }
    values = column.flatten()
    if values.null_count:
        for row in set(range(len(column))) - faults.keys():
            if column[row].values.null_count:
                faults[row] = "a value is null"
    fits = np.ones(len(column), bool)
    fits[list(faults)] = False
    if faults:
        values = column.filter(needed("pyarrow", "parquet").array(fits)).flatten()
    numbers = values.to_numpy(zero_copy_only=False).reshape(-1, *shape)
    block = np.zeros((len(column), *shape), numbers.dtype)
    block[fits] = numbers
    return block, faults


def _streams(column: Any) -> Iterator[IO[bytes] | str]:
    """The pictures of a column, each as a file."""
    if needed("pyarrow.types", "parquet").is_struct(column.type):
        column = column.field("bytes")
    for value in column:
        yield io.BytesIO(value.as_buffer()) if value.is_valid else "the picture is null"


def _is_list(kind: Any) -> bool:
    types = needed("pyarrow.types", "parquet")
    return bool(types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind))


def _is_pictures(kind: Any) -> bool:
    types = needed("pyarrow.types", "parquet")
    if types.is_struct(kind):
        index = kind.get_field_index("bytes")
        return index >= 0 and _is_pictures(kind.field(index).type)
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def _dtype(kind: Any, name: str, field: str = "inputs") -> np.dtype[Any]:
    """Numpy's word for a column's datatype."""
    try:
        dtype: np.dtype[Any] = np.dtype(kind.to_pandas_dtype())
    except (NotImplementedError, TypeError):
        dtype = np.dtype(object)
    if dtype.kind == "O":
        raise InvalidProblem(
            f"{name} must hold numbers, lists of them, or pictures as bytes, got {kind}", field=f"{field}.datatype"
        )
    return dtype


def _chosen(
    there: list[str], wanted: tuple[str, ...], usual: tuple[str, ...], path: Path, field: str, *, required: bool
) -> list[str]:
    """The columns that are meant."""
    found = [name for name in wanted or usual if name in there]
    if wanted and len(found) == len(wanted):
        return found
    if not wanted and (len(found) == 1 or not (found or required)):
        return found
    raise InvalidProblem(
        f"{path} must have {'the columns' if wanted else 'one column of'} {', '.join(wanted or usual)}, got "
        f"{', '.join(there[:20])}: name the columns of the {field}",
        field=field,
    )


def _parsed_shape(text: bytes, path: Path) -> tuple[int, ...]:
    try:
        lengths = json.loads(text)
        return Extent(tuple(lengths), 1, False).shape
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidProblem(
            f"{path} says in its metadata that the shape is {text[:50]!r}: expected JSON such as [3, 32, 32]",
            field="inputs.shape",
        ) from error
