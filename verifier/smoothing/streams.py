"""Standard normal numbers from keyed streams: row r of a stream is the same whatever was drawn around it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from torch import Tensor

from verifier.methods import Rng
from verifier.seeds import Stream

WORDS_PER_BLOCK = 4
"""32-bit words in one AES block."""

CUDA_CHUNK_ROWS = 64
"""Rows that one call of the CUDA generator draws: its numbers depend on the size of the call."""


@dataclass(frozen=True)
class Draw:
    """Some rows of a stream: first, first + 1, ..., first + rows - 1."""

    stream: Stream
    first: int
    rows: int


class Normals(Protocol):
    """A source of standard normals for rows of `dim` numbers, with room for `capacity` rows."""

    def fill(self, draws: Sequence[Draw]) -> Tensor:
        """All the room, [capacity, dim] float32: first the rows of the draws, then whatever was there before.

        The caller may write into it; the next call overwrites it.
        """


class AesBoxMuller:
    """AES-128 in counter mode under the stream's key, 32 bits a number, made normal by Box and Muller.

    A row takes whole AES blocks, so every row has its own place in the stream: rows can be drawn in any
    order and split. The bits are the same on every device; the numbers agree up to the last bits of the
    device's logarithm and cosine. |z| <= 6.661 (2^-32 is the smallest uniform), where torch's own float32
    normals end at 5.77.

    Source: Box & Muller 1958; NIST SP 800-38A (CTR).
    """

    def __init__(self, dim: int, capacity: int, device: torch.device) -> None:
        self._dim = dim
        self._words = math.ceil(dim / WORDS_PER_BLOCK) * WORDS_PER_BLOCK
        self._normals = torch.zeros((capacity, self._words), dtype=torch.float32, device=device)
        self._cosine = torch.empty((capacity, self._words // 2), dtype=torch.float32, device=device)
        # On a CPU the words share the normals' memory, so that a batch fits the cache.
        on_cpu = device.type == "cpu"
        self._bits = (self._normals if on_cpu else torch.empty((capacity, self._words))).view(torch.int32)
        self._zeros = bytes(min(capacity, _ZERO_ROWS) * self._words * 4)

    def fill(self, draws: Sequence[Draw]) -> Tensor:
        """See `Normals`."""
        row = 0
        for draw in draws:
            self._keystream(draw, row)
            row += draw.rows
        normals = self._normals[:row]
        normals.copy_(self._bits[:row])
        _box_muller(normals, self._cosine[:row])
        return self._normals[:, : self._dim]

    def _keystream(self, draw: Draw, row: int) -> None:
        key = draw.stream.key()
        blocks_before = draw.first * (self._words // WORDS_PER_BLOCK)
        counter = (int.from_bytes(key[16:]) + blocks_before) % 2**128
        encryptor = Cipher(algorithms.AES(key[:16]), modes.CTR(counter.to_bytes(16))).encryptor()
        target = self._bits[row : row + draw.rows].numpy().data.cast("B")
        for start in range(0, len(target), len(self._zeros)):
            part = target[start : start + len(self._zeros)]
            encryptor.update_into(memoryview(self._zeros)[: len(part)], part)


_ZERO_ROWS = 128
"""Rows of plaintext (zeros) encrypted at once: few, to stay in the cache."""


def _box_muller(words: Tensor, cosine: Tensor) -> None:
    """Turn 32-bit words, held as float32, into standard normals in place: a row's left half pairs with its right.

    |k + 1/2| / 2^31 of a signed word k is uniform on 2^31 values in (0, 1], the smallest 2^-32; the right
    half gives the angle pi k / 2^31 in [-pi, pi). `cosine` is room for half of the numbers.
    """
    half = words.shape[1] // 2
    radius, angle = words[:, :half], words[:, half:]
    radius.add_(0.5).mul_(2.0**-31).pow_(-2).log_().sqrt_()  # sqrt(-2 ln |u|) in the fewest passes
    angle.mul_(math.pi * 2.0**-31)
    torch.cos(angle, out=cosine)
    angle.sin_().mul_(radius)
    radius.mul_(cosine)


class CudaPhilox:
    """torch's generator on a CUDA device, keyed by 64 bits of (stream, chunk), a fixed chunk of rows at a time.

    The numbers do not depend on how rows are split over calls, but they may differ between GPU models.
    """

    def __init__(self, dim: int, capacity: int, device: torch.device) -> None:
        self._generator = torch.Generator(device)
        self._chunk = torch.empty((CUDA_CHUNK_ROWS, dim), dtype=torch.float32, device=device)
        self._normals = torch.zeros((capacity, dim), dtype=torch.float32, device=device)

    def fill(self, draws: Sequence[Draw]) -> Tensor:
        """See `Normals`."""
        row = 0
        for draw in draws:
            position, end = draw.first, draw.first + draw.rows
            while position < end:
                chunk, offset = divmod(position, CUDA_CHUNK_ROWS)
                rows = min(CUDA_CHUNK_ROWS - offset, end - position)
                self._generator.manual_seed(int.from_bytes(draw.stream.key(chunk)[:8], signed=True))
                self._chunk.normal_(generator=self._generator)
                self._normals[row : row + rows] = self._chunk[offset : offset + rows]
                position += rows
                row += rows
        return self._normals


def default_rng(device: torch.device) -> Rng:
    """The generator that a device uses when a request names none."""
    return Rng.CUDA_PHILOX if device.type == "cuda" else Rng.AES128_CTR_BOX_MULLER


def make_normals(rng: Rng, dim: int, capacity: int, device: torch.device) -> Normals:
    """A source of normals for rows of `dim` numbers on this device."""
    kind = CudaPhilox if rng is Rng.CUDA_PHILOX else AesBoxMuller
    return kind(dim, capacity, device)
