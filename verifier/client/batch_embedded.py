"""Data sets, jobs and gates in this process: the same code below the door, without the door."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from verifier.catalogue import Price
from verifier.client.asked import ReadingOptions
from verifier.client.batch_remote import open_files
from verifier.client.embedded import EmbeddedService
from verifier.dataset import DatasetInfo
from verifier.gating import GateEvidence, GateProgress, GateRun
from verifier.job import Job, JobProgress, JobResult, JobSpec, JobState
from verifier.wire.jobs import row_to_word, spec_to_json


class EmbeddedBatch:
    """See `BatchFace`; this client works on jobs while it watches one."""

    def __init__(self, embedded: EmbeddedService) -> None:
        self._embedded = embedded

    async def add_dataset(
        self, name: str, inputs: Path, labels: Path | None, reading: ReadingOptions, move_name: bool
    ) -> DatasetInfo:
        """See `BatchFace`."""
        datasets = (await self._embedded.house()).datasets

        def add() -> DatasetInfo:
            from verifier.datasets.incoming import fill

            source = open_files(inputs, labels, reading)
            with datasets.begin(source.extent) as incoming:
                fill(incoming, source)
                return datasets.add(name, incoming, move_name=move_name)

        return await asyncio.to_thread(add)

    async def get_dataset(self, name: str) -> DatasetInfo:
        """See `BatchFace`."""
        return await asyncio.to_thread((await self._embedded.house()).datasets.get, name)

    async def list_datasets(self) -> list[DatasetInfo]:
        """See `BatchFace`."""
        datasets = (await self._embedded.house()).datasets
        page, token = await asyncio.to_thread(datasets.list)
        found = list(page)
        while token:
            page, token = await asyncio.to_thread(datasets.list, 0, token)
            found += page
        return found

    async def remove_dataset(self, name: str) -> None:
        """See `BatchFace`."""
        await asyncio.to_thread((await self._embedded.house()).datasets.remove, name)

    async def submit(self, spec: JobSpec, *, fresh_seed: bool, request_id: str) -> tuple[Job, Price]:
        """See `BatchFace`."""
        body = hashlib.sha256(spec_to_json(spec, fresh_seed=fresh_seed).encode()).hexdigest()
        return await (await self._embedded.house()).batch.create(spec, request_id, body)

    async def price_job(self, spec: JobSpec) -> Price:
        """See `BatchFace`."""
        return (await (await self._embedded.house()).batch.price(spec))[1]

    async def get_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        return await (await self._embedded.house()).batch.get(job_id)

    async def list_jobs(self, states: Sequence[JobState]) -> list[Job]:
        """See `BatchFace`."""
        batch = (await self._embedded.house()).batch
        page, token = await batch.list(0, "", states)
        found = list(page)
        while token:
            page, token = await batch.list(0, token, states)
            found += page
        return found

    async def cancel_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        return await (await self._embedded.house()).batch.cancel(job_id)

    async def resume_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        return await (await self._embedded.house()).batch.resume(job_id)

    async def delete_job(self, job_id: str) -> None:
        """See `BatchFace`."""
        await (await self._embedded.house()).batch.delete(job_id)

    async def watch_job(self, job_id: str) -> AsyncGenerator[JobProgress]:
        """See `BatchFace`."""
        house = await self._embedded.working()
        async with aclosing(house.batch.watch(job_id)) as progresses:
            async for progress in progresses:
                yield progress

    async def job_results(self, job_id: str, from_position: int) -> AsyncGenerator[JobResult]:
        """See `BatchFace`."""
        batch = (await self._embedded.house()).batch
        await batch.get(job_id)
        async with aclosing(batch.stream(job_id, from_position)) as groups:
            async for rows in groups:
                for row in rows:
                    yield row_to_word(row)

    async def run_gate(self, policy: str, model: str, baseline: str, *, force: bool) -> AsyncGenerator[GateProgress]:
        """See `BatchFace`."""
        house = await self._embedded.house()
        async with aclosing(house.gatekeeper.run(policy, model, baseline, force=force)) as progresses:
            async for progress in progresses:
                yield progress

    async def get_gate_run(self, run_id: str) -> GateRun:
        """See `BatchFace`."""
        return await (await self._embedded.house()).gatekeeper.get(run_id)

    async def list_gate_runs(self) -> list[GateRun]:
        """See `BatchFace`."""
        gatekeeper = (await self._embedded.house()).gatekeeper
        page, token = await gatekeeper.list(0, "")
        found = list(page)
        while token:
            page, token = await gatekeeper.list(0, token)
            found += page
        return found

    async def gate_evidence(self, run_id: str) -> GateEvidence:
        """See `BatchFace`."""
        return await (await self._embedded.house()).gatekeeper.evidence(run_id)
