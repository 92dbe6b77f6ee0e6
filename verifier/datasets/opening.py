"""Which reader a file is for."""

from pathlib import Path

from verifier.datasets import parquet, pictures
from verifier.datasets.arrays import (
    INPUTS_NAMES,
    LABELS_NAMES,
    ArraySource,
    StoredArray,
    first_bytes,
    members,
    open_array,
)
from verifier.datasets.source import Reading, Source


def open_source(inputs: Path, labels: Path | None = None, how: Reading = Reading()) -> Source:  # noqa: B008 - frozen
    """What a data set can be read from; told by the first bytes of the files, not by their names.

    Args:
        inputs: an .npy or .npz, an idx or idx.gz, a Parquet file, or a folder of PNG and JPEG files. An .npz and a
            Parquet file may have the labels too.
        labels: an .npy, .npz, idx or idx.gz; with a folder also a CSV of `file,label`, or one label a line. None:
            there are none but those beside the inputs.
        how: to understand them, where they do not say so themselves.
    Raises:
        InvalidProblem: a file that is missing, damaged, of another format or datatype, or does not fit the other one.
        Unsupported: what reads such a file is not installed; reason EXTRA_NOT_INSTALLED.
    """
    if inputs.is_dir():
        return pictures.Pictures(inputs, labels, how)
    if first_bytes(inputs, "inputs").startswith(parquet.MAGIC):
        return parquet.ParquetSource(inputs, _labels(labels, how) if labels else None, how)
    array = open_array(inputs, "inputs", how.inputs_names or INPUTS_NAMES)
    return ArraySource(array, _labels(labels, how) if labels else _labels_beside(inputs, how), how)


def _labels(path: Path, how: Reading) -> StoredArray:
    return open_array(path, "labels", (how.labels_name,) if how.labels_name else LABELS_NAMES)


def _labels_beside(inputs: Path, how: Reading) -> StoredArray | None:
    """Those in the same .npz, if there are any."""
    names = {how.labels_name} if how.labels_name else set(LABELS_NAMES)
    return _labels(inputs, how) if names & members(inputs) or (how.labels_name and members(inputs)) else None
