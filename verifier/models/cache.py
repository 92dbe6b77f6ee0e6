"""Loaded models that are kept, by the bytes of their tensors."""

import threading
from collections import OrderedDict
from itertools import chain

import torch

from verifier.models.handle import ModelHandle


class HandleCache:
    """The least recently used handles go first, once all together hold more than `max_bytes`.

    Thread-safe. A handle in use elsewhere stays alive there; one larger than the whole cache is not kept.

    Args:
        max_bytes: of parameters and buffers, over all devices together.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._handles: OrderedDict[tuple[str, torch.device], ModelHandle] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, digest: str, device: torch.device) -> ModelHandle | None:
        """The handle, if it is kept; it counts as used now."""
        with self._lock:
            handle = self._handles.get((digest, device))
            if handle is not None:
                self._handles.move_to_end((digest, device))
            return handle

    def put(self, handle: ModelHandle) -> None:
        """Keep a handle, in place of the one kept for its digest and device."""
        key = (handle.digest, handle.device)
        with self._lock:
            self._forget(key)
            self._handles[key] = handle
            self._bytes += tensor_bytes(handle)
            while self._bytes > self._max_bytes:
                self._forget(next(iter(self._handles)))

    def drop(self, digest: str) -> None:
        """Forget a digest on every device."""
        with self._lock:
            for key in [key for key in self._handles if key[0] == digest]:
                self._forget(key)

    def _forget(self, key: tuple[str, torch.device]) -> None:
        handle = self._handles.pop(key, None)
        if handle is not None:
            self._bytes -= tensor_bytes(handle)


def tensor_bytes(handle: ModelHandle) -> int:
    """Bytes of a model's parameters and buffers."""
    return sum(tensor.nbytes for tensor in chain(handle.module.parameters(), handle.module.buffers()))
