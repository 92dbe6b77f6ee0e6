"""Who works on jobs, when what is around them fails: the disk is full, a model is gone, somebody else takes over."""

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifier.batch import Batch
from verifier.batch_runner import Runner
from verifier.composition import House, open_house
from verifier.dataset import Selection
from verifier.datasets.source import Extent
from verifier.demo import digits
from verifier.demo.digits import network
from verifier.errors import Overloaded
from verifier.job import Job, JobRow, JobSpec, JobState
from verifier.jobs.store import JobStore, Lease
from verifier.methods import Smoothing
from verifier.model import ModelFormat, ModelSource
from verifier.problem import Norm
from verifier.seeds import Seed
from verifier.settings import Settings

PATIENCE = 30.0
METHOD = Smoothing(0.5, n0=10, n=100)


class FullDisk(JobStore):
    """A store that finds no room for rows, for as long as `full`."""

    full = True

    def commit_rows(self, lease: Lease, rows: Sequence[JobRow]) -> int:
        if self.full:
            raise Overloaded(
                "no room left on the disk: free space in the data directory, then retry", reason="DISK_FULL"
            )
        return super().commit_rows(lease, rows)


@asynccontextmanager
async def working(folder: Path, kind: type[JobStore] = JobStore) -> AsyncIterator[tuple[House, Batch, Any]]:
    """A house with a network and 20 digits, somebody who works there, and the store."""
    with open_house(Settings(data_dir=folder, device="cpu"), exclusive=True) as house:
        upload = house.service.begin_upload()
        await house.service.write(upload, network("digits_gauss050", ModelFormat.ONNX).read_bytes())
        await house.service.add_model(upload, None, ModelSource(ModelFormat.ONNX, input_range=(0.0, 1.0)), "mine")
        x, y = digits.test_images()
        with house.datasets.begin(Extent((1, 8, 8), 20, True)) as incoming:
            incoming.append(x[:20], y[:20])
            incoming.finish()
            house.datasets.add("digits", incoming)
        store = kind(house.database)
        runner = Runner(house.service, house.datasets, store, poll_seconds=0.05, lease_seconds=1.0)
        batch = Batch(house.service, house.datasets, store, runner.wake, runner.stop)
        task = asyncio.create_task(runner.run())
        try:
            yield house, batch, store
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def spec(**changes: Any) -> JobSpec:
    return dataclasses.replace(JobSpec("mine", "digits", METHOD, Norm.L2, Seed(1, "client")), **changes)


async def until(batch: Batch, job: Job, *states: JobState) -> Job:
    async with asyncio.timeout(PATIENCE):
        while (now := await batch.get(job.id)).state not in states:
            await asyncio.sleep(0.02)
    return now


async def test_a_full_disk_pauses_the_job_and_loses_nothing(tmp_path: Path) -> None:
    async with working(tmp_path, FullDisk) as (_, batch, store):
        job, _ = await batch.create(spec())
        paused = await until(batch, job, JobState.PAUSED)
        assert "no room left on the disk" in paused.reason
        assert paused.totals.done == 0
        store.full = False
        await batch.resume(job.id)
        ended = await until(batch, job, JobState.SUCCEEDED)
        assert ended.totals.done == 20
        assert [row.position for row in await batch.rows(job.id, 0, 100)] == list(range(20))


async def test_a_model_that_is_gone_fails_the_job(tmp_path: Path) -> None:
    async with working(tmp_path, FullDisk) as (house, batch, store):
        job, _ = await batch.create(spec())
        await until(batch, job, JobState.PAUSED)
        await house.service.remove_model("mine")
        store.full = False
        await batch.resume(job.id)
        failed = await until(batch, job, JobState.FAILED)
        assert "no model" in failed.reason


async def test_after_a_failed_job_come_the_others(tmp_path: Path) -> None:
    async with working(tmp_path) as (house, batch, _):
        first, _ = await batch.create(spec(priority=5))
        second, _ = await batch.create(spec(selection=Selection(stride=2)))
        assert (await until(batch, first, JobState.SUCCEEDED)).totals.done == 20
        assert (await until(batch, second, JobState.SUCCEEDED)).totals.done == 10
        assert house.batch is not batch


async def test_a_job_that_is_taken_over_is_left(tmp_path: Path) -> None:
    """Another server has it by a later claim: this one writes nothing more, and goes on with other jobs."""
    async with working(tmp_path) as (_, batch, store):
        job, _ = await batch.create(spec(method=dataclasses.replace(METHOD, n=400_000)))
        await until(batch, job, JobState.RUNNING)
        thief = await asyncio.to_thread(store.claim, "another", store._clock() + 1000.0, 1000.0)
        assert thief is not None
        assert thief.job.id == job.id
        other, _ = await batch.create(spec())
        assert (await until(batch, other, JobState.SUCCEEDED)).totals.done == 20
        assert (await batch.get(job.id)).state is JobState.RUNNING
        assert (await batch.get(job.id)).attempt == thief.token


async def test_a_data_set_of_nothing_but_poison_succeeds_with_failed_rows(tmp_path: Path) -> None:
    async with working(tmp_path) as (house, batch, _):
        with house.datasets.begin(Extent((1, 8, 8), 5, False)) as incoming:
            incoming.append(np.full((5, 1, 8, 8), np.nan, dtype=np.float32))
            incoming.finish()
            house.datasets.add("poison", incoming)
        job, price = await batch.create(spec(dataset="poison"))
        assert price.forward_passes == 0
        ended = await until(batch, job, JobState.SUCCEEDED)
        assert (ended.totals.done, ended.totals.failed) == (5, 5)


@pytest.mark.parametrize("priority", [-1001, 1001])
def test_priorities_out_of_range_are_refused(priority: int) -> None:
    with pytest.raises(Exception, match="priority must be"):
        spec(priority=priority)
