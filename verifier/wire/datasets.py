"""Data sets to messages and back."""

import datetime

from verifier.dataset import DatasetInfo, Selection
from verifier.v1 import datasets_pb2, jobs_pb2
from verifier.wire.names import resource_name


def to_dataset(info: DatasetInfo) -> datasets_pb2.Dataset:
    """A stored data set as a message."""
    message = datasets_pb2.Dataset(
        name=resource_name("datasets", info.digest),
        digest=info.digest,
        aliases=info.names,
        size=info.size,
        shape=info.shape,
        labelled=info.labelled,
        classes=info.classes,
        faults=info.faults,
        bytes=info.bytes,
    )
    message.create_time.FromDatetime(datetime.datetime.fromtimestamp(info.created, datetime.UTC))
    return message


def from_dataset(message: datasets_pb2.Dataset) -> DatasetInfo:
    """A stored data set from a message."""
    return DatasetInfo(
        digest=message.digest,
        names=tuple(message.aliases),
        size=message.size,
        shape=tuple(message.shape),
        labelled=message.labelled,
        classes=message.classes if message.HasField("classes") else None,
        faults=message.faults,
        bytes=message.bytes,
        created=message.create_time.ToNanoseconds() / 1e9,
    )


def to_selection(selection: Selection) -> jobs_pb2.DatasetSelection:
    """Which inputs, as a message."""
    return jobs_pb2.DatasetSelection(
        start=selection.start,
        stop=selection.stop,
        stride=selection.stride,
        sample=selection.sample,
        sample_seed=selection.seed,
    )


def from_selection(message: jobs_pb2.DatasetSelection) -> Selection:
    """Which inputs, from a message."""
    return Selection(
        start=message.start,
        stop=message.stop if message.HasField("stop") else None,
        stride=message.stride or 1,
        sample=message.sample if message.HasField("sample") else None,
        seed=message.sample_seed if message.HasField("sample_seed") else None,
    )
