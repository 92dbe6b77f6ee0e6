"""Works on jobs: takes one at a time, certifies what is missing, commits rows, and gives way when it must.

A restart submits again the positions without a row, with the same seed: the same noise, the same rows.
"""

import asyncio
import contextlib
import logging
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from verifier.batch import problem_of
from verifier.certificate import Certificate
from verifier.datasets.files import Dataset
from verifier.datasets.registry import Datasets
from verifier.errors import Conflict, Overloaded, VerifierError, WorkerLost
from verifier.job import JobRow, JobSpec, JobState
from verifier.jobs.store import JobStore, Lease
from verifier.model import Manifest
from verifier.problem import Problem
from verifier.service import Service
from verifier.wire.jobs import certificate_to_bytes, spec_from_json

logger = logging.getLogger(__name__)

ROWS_PER_COMMIT = 256
SECONDS_PER_COMMIT = 1.0
"""Rows are committed when so many are there, or after so long."""

RETRY_SECONDS = 15.0
"""After which a job is tried again that something outside of it has stopped."""

_PART_SECONDS = 2.0
_FIRST_PART, _LARGEST_PART = 64, 4096
_PART_BYTES = 64 * 2**20
"""A part of a job is about so much work, between so many inputs, and at most so many bytes."""


class Runner:
    """One server's work on jobs.

    Args:
        service: that certifies.
        datasets, store: what is treated, and where it is kept.
        lease_seconds: how long after the last sign of life another server takes a job over.
        poll_seconds: between two looks for work that others have queued.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        service: Service,
        datasets: Datasets,
        store: JobStore,
        *,
        lease_seconds: float = 30.0,
        poll_seconds: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._service = service
        self._datasets = datasets
        self._store = store
        self._lease_seconds = lease_seconds
        self._poll_seconds = poll_seconds
        self._clock = clock
        self._owner = f"server-{secrets.token_hex(4)}"
        self._wake = asyncio.Event()
        self._current: tuple[str, asyncio.Task[None]] | None = None

    def wake(self) -> None:
        """There may be work."""
        self._wake.set()

    def stop(self, job_id: str) -> None:
        """A job was cancelled: leave it, if it is the one that is worked on."""
        if self._current is not None and self._current[0] == job_id:
            self._current[1].cancel()

    async def run(self) -> None:
        """Take jobs, one after the other, until cancelled; the one in hand is then given back."""
        while True:
            lease = None
            try:
                lease = await asyncio.to_thread(self._store.claim, self._owner, self._clock(), self._lease_seconds)
            except VerifierError as error:
                logger.warning("no job can be taken: %s", error.message)
            if lease is None:
                self._wake.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), self._poll_seconds)
                continue
            await self._hold(lease)

    async def _hold(self, lease: Lease) -> None:
        """Work on a job, with a heart that beats meanwhile; whatever happens, the runner goes on."""
        work = asyncio.create_task(self._work(lease))
        heart = asyncio.create_task(self._beat(lease, work))
        self._current = lease.job.id, work
        try:
            await asyncio.shield(asyncio.wait({work}))
        except asyncio.CancelledError:  # the server stops
            work.cancel()
            await asyncio.wait({work})
            with contextlib.suppress(VerifierError):
                await asyncio.to_thread(self._store.release, lease)
            raise
        finally:
            self._current = None
            heart.cancel()
            await asyncio.gather(heart, return_exceptions=True)
        if not work.cancelled() and (error := work.exception()) is not None:
            await self._end(lease, error)

    async def _end(self, lease: Lease, error: BaseException) -> None:
        """What becomes of a job whose work has failed."""
        try:
            if isinstance(error, Conflict) and error.reason in ("LEASE_LOST", "JOB_CANCELLED"):
                logger.info("job %s: %s", lease.job.id, error.message)
            elif isinstance(error, Overloaded | WorkerLost):
                logger.warning("job %s is paused: %s", lease.job.id, error.message)
                retry_at = self._clock() + RETRY_SECONDS
                await asyncio.to_thread(self._store.pause, lease, error.message, retry_at)
            elif isinstance(error, VerifierError):
                logger.warning("job %s has failed: %s", lease.job.id, error.message)
                await asyncio.to_thread(self._store.finish, lease, JobState.FAILED, error.message)
            else:
                call_id = secrets.token_hex(8)
                logger.error("unexpected failure %s in job %s", call_id, lease.job.id, exc_info=error)
                reason = f"unexpected failure ({type(error).__name__}); the server logged it under the id {call_id}"
                await asyncio.to_thread(self._store.finish, lease, JobState.FAILED, reason)
        except VerifierError as failure:  # the store is away: the lease ends by itself, and the job is taken again
            logger.warning("job %s: %s", lease.job.id, failure.message)
            await asyncio.sleep(self._poll_seconds)

    async def _beat(self, lease: Lease, work: "asyncio.Task[None]") -> None:
        """Prolong the lease; stop the work where it is lost, or the job was cancelled elsewhere."""
        while True:
            await asyncio.sleep(min(1.0, self._lease_seconds / 5))
            try:
                await asyncio.to_thread(self._store.heartbeat, lease)
            except Conflict:
                work.cancel()
                return
            except VerifierError as error:
                logger.warning("job %s: %s", lease.job.id, error.message)

    async def _work(self, lease: Lease) -> None:
        spec = spec_from_json(lease.job.spec)
        info = await self._service.get_model(spec.model)
        dataset = await asyncio.to_thread(self._datasets.open, spec.dataset)
        try:
            indices = await asyncio.to_thread(spec.selection.indices, len(dataset))
            course = _Course(lease, spec, info.manifest, dataset, indices, self._store)
            parts = course.parts()
            async with contextlib.aclosing(parts):
                answers = self._service.certify(spec.model, parts, spec.method, spec.seed, background=True)
                async with contextlib.aclosing(answers):
                    async for progress in answers:
                        course.resize()
                        await course.take([c for c in progress.results if isinstance(c, Certificate)])
            await course.commit()
            await asyncio.to_thread(self._store.finish, lease, JobState.SUCCEEDED)
        finally:
            await asyncio.to_thread(dataset.close)


@dataclass(eq=False)
class _Course:
    """One job on its way: what is asked next, and what is to be committed."""

    lease: Lease
    spec: JobSpec
    manifest: Manifest
    dataset: Dataset
    indices: NDArray[np.int64]
    store: JobStore
    rows: list[JobRow] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)
    committed: float = field(default_factory=time.monotonic)
    started: float = field(default_factory=time.monotonic)
    part: int = _FIRST_PART
    answered: int = 0

    async def parts(self) -> AsyncGenerator[Problem]:
        """Questions about the inputs without a row; what cannot be asked becomes a failed row."""
        start = 0
        while positions := await asyncio.to_thread(
            self.store.missing_positions, self.lease.job.id, start, self._part_rows()
        ):
            start = positions[-1] + 1
            chosen = self.indices[list(positions)]
            problem, faults = await asyncio.to_thread(problem_of, self.dataset, self.spec, self.manifest, chosen)
            for position, index in zip(positions, chosen.tolist(), strict=True):
                if index in faults:
                    self.rows.append(JobRow(position, index, "failed", None, 0.0, 0, b"", faults[index]))
                else:
                    self.positions[index] = position
            if problem is not None:
                yield problem
            elif len(self.rows) >= ROWS_PER_COMMIT:
                await self.commit()

    async def take(self, certificates: list[Certificate]) -> None:
        """Certificates become rows; these are committed when there are enough of them."""
        self.answered += len(certificates)
        self.rows += await asyncio.to_thread(self._encoded, certificates)
        waited = time.monotonic() - self.committed
        if len(self.rows) >= ROWS_PER_COMMIT or (self.rows and waited >= SECONDS_PER_COMMIT):
            await self.commit()

    async def commit(self) -> None:
        """All rows at hand."""
        rows, self.rows = self.rows, []
        if rows:
            await asyncio.to_thread(self.store.commit_rows, self.lease, rows)
        self.committed = time.monotonic()

    def resize(self) -> None:
        """Size the next part by how fast inputs were answered so far."""
        seconds = time.monotonic() - self.started
        if self.answered and seconds > 0:
            self.part = round(min(_LARGEST_PART, max(_FIRST_PART, self.answered / seconds * _PART_SECONDS)))

    def _part_rows(self) -> int:
        return max(1, min(self.part, _PART_BYTES // self.dataset.extent.row_bytes))

    def _encoded(self, certificates: list[Certificate]) -> list[JobRow]:
        return [self._row(certificate) for certificate in certificates]

    def _row(self, certificate: Certificate) -> JobRow:
        """Without times: the same job gives the same bytes, however often it was interrupted."""
        timeless = replace(certificate, execution=replace(certificate.execution, started=0.0, seconds=0.0))
        return JobRow(
            position=self.positions.pop(certificate.index),
            index=certificate.index,
            verdict=certificate.verdict.value,
            correct=certificate.correct,
            radius=certificate.radius,
            forward_passes=certificate.spent,
            certificate=certificate_to_bytes(timeless),
        )
