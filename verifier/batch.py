"""Jobs as their owners use them: priced, queued, watched, read. Who works on them is `batch_runner`."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from verifier.catalogue import Price
from verifier.dataset import DatasetInfo
from verifier.datasets.files import Dataset
from verifier.datasets.registry import Datasets
from verifier.errors import InvalidProblem
from verifier.job import Job, JobProgress, JobRow, JobSpec, JobState, JobTotals
from verifier.jobs.store import JobStore
from verifier.methods import Smoothing, Target
from verifier.model import Manifest
from verifier.problem import Box, Norm, Problem
from verifier.service import Service
from verifier.stats.population import RunningBound, claims_from_below
from verifier.stats.sequential import geometric_plan
from verifier.wire.jobs import spec_from_json, spec_to_json

ENDED = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED})

WATCH_SECONDS = 0.5
"""Between two looks at a job that is watched."""

_PRICED = 64
"""Inputs of a data set that are priced for all."""

_ROWS_AT_ONCE = 1000

_CONFIDENCE, _LOOK_STEP, _MOST_BOUNDED = 0.95, 10, 100_000
"""Of running bounds; looks at multiples of so many inputs; of larger jobs there is none, since it would take long."""


class Batch:
    """Jobs of one project, on one event loop.

    Args:
        service: that prices them.
        datasets, store: what they treat, and where they are kept.
        wake: called when there may be work; and `stop`, with the id of a job that was cancelled.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        service: Service,
        datasets: Datasets,
        store: JobStore,
        wake: Callable[[], None],
        stop: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._datasets = datasets
        self._store = store
        self._wake = wake
        self._stop = stop
        self._clock = clock

    async def price(self, spec: JobSpec) -> tuple[Job, Price]:
        """The job as it would be, without an id, and what it would cost; after every check that `create` makes.

        Raises:
            VerifierError: what naming the model or the data set, the selection, or `Service.price` raises.
        """
        info = await self._service.get_model(spec.model)
        stored = await asyncio.to_thread(self._datasets.get, spec.dataset)
        indices = await asyncio.to_thread(spec.selection.indices, stored.size)
        _check_labels(spec, stored)
        resolved = replace(spec, model=info.digest, dataset=stored.digest)
        some = await asyncio.to_thread(self._first, stored, resolved, indices, info.manifest)
        price = Price(0, 0.0)
        if some is not None:
            _, price = await self._service.price(info.digest, some, spec.method)
            price = _scaled(price, len(indices) / len(some))
        job = Job(
            id="",
            project="default",
            spec=spec_to_json(resolved),
            model_digest=info.digest,
            dataset_digest=stored.digest,
            priority=spec.priority,
            state=JobState.QUEUED,
            reason="",
            totals=JobTotals(len(indices)),
            created=self._clock(),
        )
        return job, price

    async def create(self, spec: JobSpec, request_id: str = "", body: str = "") -> tuple[Job, Price]:
        """Queue a job. The same request_id with the same body again answers with the job that it made.

        Args:
            body: of the request, as it came: what a repetition has to repeat.
        """
        job, price = await self.price(spec)
        fingerprint = hashlib.sha256(f"job\0{body}".encode()).hexdigest()
        new = replace(job, id=secrets.token_hex(16))
        stored = await asyncio.to_thread(self._store.create, new, request_id, fingerprint)
        self._wake()
        return stored, price

    async def get(self, job_id: str) -> Job:
        """See `JobStore.get`."""
        return await asyncio.to_thread(self._store.get, job_id)

    async def list(
        self, page_size: int, page_token: str, states: Sequence[JobState] = ()
    ) -> tuple[tuple[Job, ...], str]:
        """See `JobStore.list`."""
        return await asyncio.to_thread(self._store.list, page_size, page_token, states)

    async def cancel(self, job_id: str) -> Job:
        """See `JobStore.cancel`; a server that works on it here stops within a device step."""
        job = await asyncio.to_thread(self._store.cancel, job_id)
        self._stop(job_id)
        return job

    async def resume(self, job_id: str) -> Job:
        """See `JobStore.resume`."""
        job = await asyncio.to_thread(self._store.resume, job_id)
        self._wake()
        return job

    async def delete(self, job_id: str) -> None:
        """See `JobStore.delete`."""
        await asyncio.to_thread(self._store.delete, job_id)

    async def rows(self, job_id: str, from_position: int, limit: int) -> tuple[JobRow, ...]:
        """See `JobStore.rows`."""
        return await asyncio.to_thread(self._store.rows, job_id, from_position, limit)

    async def stream(self, job_id: str, from_position: int) -> AsyncGenerator[tuple[JobRow, ...]]:
        """The rows that there are, from a position on, in order."""
        while rows := await self.rows(job_id, from_position, _ROWS_AT_ONCE):
            yield rows
            from_position = rows[-1].position + 1

    async def watch(self, job_id: str) -> AsyncGenerator[JobProgress]:
        """How a job gets on, now and then until it has ended; the last one tells the end."""
        job = await self.get(job_id)
        running = _Running(spec_from_json(job.spec), job.totals.inputs)
        last_seconds, last_done, rate = time.monotonic(), job.totals.done, None
        while True:
            while rows := await self.rows(job_id, running.inputs, _ROWS_AT_ONCE):
                if not await asyncio.to_thread(running.extend, rows):
                    break
            job = await self.get(job_id)
            now, done = time.monotonic(), job.totals.done
            if done > last_done:
                rate = (done - last_done) / (now - last_seconds)
                last_seconds, last_done = now, done
            left = (job.totals.inputs - done) / rate if rate else None
            yield JobProgress(job, rate, left, running.certified, running.inputs, running.lower)
            if job.state in ENDED:
                return
            await asyncio.sleep(WATCH_SECONDS)

    def _first(
        self, stored: DatasetInfo, spec: JobSpec, indices: NDArray[np.int64], manifest: Manifest
    ) -> Problem | None:
        """The question about the first inputs that can be treated; None where none of them can."""
        with self._datasets.open(stored.digest) as dataset:
            problem, _ = problem_of(dataset, spec, manifest, indices[:_PRICED])
            return problem


class _Running:
    """Certified accuracy over the rows in the job's order, without a gap."""

    def __init__(self, spec: JobSpec, inputs: int) -> None:
        self.certified = 0
        self.inputs = 0
        self._bound: RunningBound | None = None
        if spec.selection.sample is not None and inputs <= _MOST_BOUNDED:
            claims = claims_from_below(inputs, 0.5)
            self._bound = RunningBound(claims, geometric_plan(inputs, _LOOK_STEP), 1 - _CONFIDENCE)

    @property
    def lower(self) -> float | None:
        """A 95 % bound that holds at all times; None unless the order is random."""
        return None if self._bound is None else self._bound.value

    def extend(self, rows: Sequence[JobRow]) -> bool:
        """Count on as far as there is no gap; whether there was none."""
        for row in rows:
            if row.position != self.inputs:
                return False
            hit = row.verdict == "certified" and row.correct is not False
            self.inputs += 1
            self.certified += hit
            if self._bound is not None:
                self._bound.feed(hit)
        return True


def problem_of(
    dataset: Dataset, spec: JobSpec, manifest: Manifest, indices: NDArray[np.int64]
) -> tuple[Problem | None, dict[int, str]]:
    """(the question about those inputs that can be treated, None where none can; why the others cannot, by index).

    Args:
        dataset: open.
        spec: of the job.
        manifest: of its model.
        indices: in the data set, [b].
    """
    x, labels = dataset.rows(indices)
    faults = {}
    for row, index in enumerate(indices.tolist()):
        reason = dataset.fault(index) or _fault(x[row], None if labels is None else int(labels[row]), spec, manifest)
        if reason:
            faults[index] = reason
    good = np.array([index not in faults for index in indices.tolist()], dtype=bool)
    if not good.any():
        return None, faults
    return Problem(
        x[good],
        spec.norm,
        None if labels is None else labels[good],
        spec.eps,
        domain=None if spec.domain is None else Box(np.asarray(spec.domain[0]), np.asarray(spec.domain[1]), "bounds"),
        indices=indices[good],
    ), faults


def _fault(x: NDArray[np.float32], label: int | None, spec: JobSpec, manifest: Manifest) -> str:
    """Why one input cannot be treated, where it is the input's own fault; "" where it can."""
    if not np.isfinite(x).all():
        return f"{int((~np.isfinite(x)).sum())} of its {x.size} values are NaN or infinite"
    for name, limits in (("the model's range", manifest.source.input_range), ("the domain", spec.domain)):
        if limits is not None and (x.min() < np.float32(limits[0]) or x.max() > np.float32(limits[1])):
            return f"its values lie in [{x.min():g}, {x.max():g}], outside of {name} [{limits[0]:g}, {limits[1]:g}]"
    if label is not None and not 0 <= label < manifest.classes:
        return f"its label {label} is none of the model's {manifest.classes} classes"
    return ""


def _check_labels(spec: JobSpec, stored: DatasetInfo) -> None:
    if isinstance(spec.method, Smoothing) and spec.method.target is Target.LABEL and not stored.labelled:
        raise InvalidProblem(
            f"target='label' certifies labels, and data set {stored.digest[:12]} has none: add it with labels",
            field="smoothing.target",
        )
    if isinstance(spec.method, Smoothing) and spec.norm is not Norm.L2:
        raise InvalidProblem(f"smoothing certifies norm l2, got {spec.norm.value}", field="spec.norm")


def _scaled(price: Price, factor: float) -> Price:
    return replace(
        price,
        forward_passes=round(price.forward_passes * factor),
        seconds=None if price.seconds is None else price.seconds * factor,
        expected_passes=None if price.expected_passes is None else round(price.expected_passes * factor),
    )
