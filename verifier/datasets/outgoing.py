"""A data set on its way out: the bytes that `Incoming.append_bytes` takes, of any source."""

import hashlib
import tempfile
from collections.abc import Iterator

import numpy as np

from verifier.datasets.source import CHUNK_BYTES, Source


class Outgoing:
    """The bytes of a source, and what can be said about them once all were given.

    Args:
        source: to be sent.
    """

    def __init__(self, source: Source) -> None:
        self.extent = source.extent
        self.faults: dict[int, str] = {}
        """Why inputs cannot be used, by index; complete after the last chunk."""
        self._source = source
        self._hash = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """Of the bytes given so far."""
        return self._hash.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """All inputs, then all labels, in pieces of at most `CHUNK_BYTES`. Once only."""
        first = 0
        with tempfile.TemporaryFile() as labels:  # they come with the inputs and leave after them
            for x, classes, faults in self._source.chunks(self.extent.chunk_rows):
                self.faults |= {first + offset: reason for offset, reason in faults.items()}
                first += len(x)
                if classes is not None:
                    labels.write(classes.astype("<i8").tobytes())
                yield from self._hashed(np.ascontiguousarray(x, dtype="<f4").tobytes())
            labels.seek(0)
            while piece := labels.read(CHUNK_BYTES):
                yield from self._hashed(piece)

    def _hashed(self, data: bytes) -> Iterator[bytes]:
        self._hash.update(data)
        for start in range(0, len(data), CHUNK_BYTES):
            yield data[start : start + CHUNK_BYTES]
