"""Draw, forward, argmax, count: the sampling loop, in dense batches of rows from many inputs."""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, wait
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verifier.methods import Rng
from verifier.seeds import Stream
from verifier.smoothing.streams import Draw, Normals, make_normals

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Segment:
    """Consecutive draws of one input for one purpose.

    Args:
        x: the input [*shape], on the device.
        sigma: standard deviation of its noise.
        stream, first, rows: which rows of which stream.
        slot: row of the vote table in which they are counted.
    """

    x: Tensor
    sigma: float
    stream: Stream
    first: int
    rows: int
    slot: int


class Lane:
    """The buffers of one worker: one forward pass after another, nothing allocated per pass.

    Not thread-safe; a device has as many lanes as it runs forward passes at once.
    """

    def __init__(
        self, forward: Forward, shape: tuple[int, ...], classes: int, batch_rows: int, rng: Rng, device: torch.device
    ) -> None:
        self._forward = forward
        self._classes = classes
        self._device = device
        self._shape = (batch_rows, *shape)
        self._normals: Normals = make_normals(rng, math.prod(shape), batch_rows, device)

    def count(self, batches: Iterator[Sequence[Segment]], slots: int) -> Tensor | None:
        """Votes [slots, K + 1] int64 of the batches taken from the iterator, without waiting for the device.

        Column K counts the draws with NaN or infinite logits: a class of their own, never A.
        """
        logits: list[Tensor] = []
        segments: list[Segment] = []
        with torch.inference_mode():
            for batch in batches:
                logits.append(self._logits(batch))
                segments += batch
            if not segments:
                return None
            owners = np.repeat([segment.slot for segment in segments], [segment.rows for segment in segments])
            return tally(torch.cat(logits), torch.from_numpy(owners).to(self._device), slots, self._classes)

    def _logits(self, batch: Sequence[Segment]) -> Tensor:
        """Logits of x + sigma * z for the batch's rows; rows beyond them hold older numbers and are dropped."""
        noisy = self._normals.fill([Draw(s.stream, s.first, s.rows) for s in batch])
        start = 0
        for segment in batch:
            rows = noisy[start : start + segment.rows]
            torch.add(segment.x.view(1, -1), rows, alpha=segment.sigma, out=rows)
            start += segment.rows
        # A copy: a model may answer with its own input, or with a buffer that it uses again.
        return self._forward(noisy.reshape(self._shape))[:start].clone()


def tally(logits: Tensor, owners: Tensor, slots: int, classes: int) -> Tensor:
    """Votes [slots, K + 1] int64 from logits [M, K] and the slot [M] that each row belongs to.

    A row votes for its largest logit, the lowest class among equals; for K where a logit is NaN or infinite.
    """
    finite = logits.isfinite().all(dim=1)
    answers = torch.where(finite, logits.argmax(dim=1), classes)
    votes = torch.zeros(slots * (classes + 1), dtype=torch.int64, device=logits.device)
    votes.index_add_(0, owners * (classes + 1) + answers, torch.ones_like(answers))
    return votes.view(slots, classes + 1)


def pack(segments: Sequence[Segment], batch_rows: int) -> list[list[Segment]]:
    """Segments cut and packed densely into batches of at most `batch_rows` rows; only the last may be short."""
    batches: list[list[Segment]] = []
    room = 0
    for segment in segments:
        first, left = segment.first, segment.rows
        while left:
            if not room:
                batches.append([])
                room = batch_rows
            rows = min(room, left)
            batches[-1].append(Segment(segment.x, segment.sigma, segment.stream, first, rows, segment.slot))
            first, left, room = first + rows, left - rows, room - rows
    return batches


def count(
    lanes: Sequence[Lane], pool: Executor, segments: Sequence[Segment], batch_rows: int, slots: int
) -> NDArray[np.int64]:
    """Votes [slots, K + 1] of all segments. Waits for the device once, at the end.

    The lanes share one queue of batches. Votes are sums of integers: neither the cut into batches nor which
    lane took which changes them.
    """
    batches = iter(pack(segments, batch_rows))  # next() on a list's iterator is atomic
    futures = [pool.submit(lane.count, batches, slots) for lane in lanes]
    wait(futures)  # also where one failed: no lane may still be running when its buffers are used again
    votes = [part.cpu().numpy() for part in (future.result() for future in futures) if part is not None]
    total: NDArray[np.int64] = np.sum(votes, axis=0, dtype=np.int64)
    return total
