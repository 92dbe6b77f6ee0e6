"""Data sets, jobs and gates behind a gRPC channel."""

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import grpc

from verifier.catalogue import Price
from verifier.client.asked import ReadingOptions
from verifier.client.connection import errors_of_the_house, messages
from verifier.dataset import DatasetInfo
from verifier.gating import GateEvidence, GateProgress, GateRun
from verifier.job import Job, JobProgress, JobResult, JobSpec, JobState
from verifier.v1 import datasets_pb2 as ds
from verifier.v1 import datasets_pb2_grpc, gates_pb2_grpc, jobs_pb2_grpc
from verifier.v1 import gates_pb2 as gt
from verifier.v1 import jobs_pb2 as jb
from verifier.wire import catalogue, certificates, gates, jobs
from verifier.wire.datasets import from_dataset
from verifier.wire.names import model_name, project_name, resource_name
from verifier.wire.tensors import from_tensor

PAGE_SIZE = 200


class RemoteBatch:
    """See `BatchFace`; errors are those that the server raised."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._datasets = datasets_pb2_grpc.DatasetServiceStub(channel)
        self._jobs = jobs_pb2_grpc.JobServiceStub(channel)
        self._gates = gates_pb2_grpc.GateServiceStub(channel)

    async def add_dataset(
        self, name: str, inputs: Path, labels: Path | None, reading: ReadingOptions, move_name: bool
    ) -> DatasetInfo:
        """See `BatchFace`; the files are read here, and travel in chunks."""
        source = open_files(inputs, labels, reading)
        header = ds.UploadDatasetRequest.Header(
            parent=project_name(),
            alias=name,
            shape=source.shape,
            size=source.size,
            labelled=source.labelled,
            move_alias=move_name,
            request_id=str(uuid.uuid4()),
        )
        with errors_of_the_house():
            return from_dataset(await self._datasets.UploadDataset(_upload(header, source)))

    async def get_dataset(self, name: str) -> DatasetInfo:
        """See `BatchFace`."""
        request = ds.GetDatasetRequest(name=resource_name("datasets", name))
        with errors_of_the_house():
            return from_dataset(await self._datasets.GetDataset(request))

    async def list_datasets(self) -> list[DatasetInfo]:
        """See `BatchFace`; page by page."""
        found: list[DatasetInfo] = []
        token = ""
        while True:
            request = ds.ListDatasetsRequest(parent=project_name(), page_size=PAGE_SIZE, page_token=token)
            with errors_of_the_house():
                page = await self._datasets.ListDatasets(request)
            found += [from_dataset(message) for message in page.datasets]
            token = page.next_page_token
            if not token:
                return found

    async def remove_dataset(self, name: str) -> None:
        """See `BatchFace`."""
        request = ds.DeleteDatasetRequest(name=resource_name("datasets", name), request_id=str(uuid.uuid4()))
        with errors_of_the_house():
            await self._datasets.DeleteDataset(request)

    async def submit(self, spec: JobSpec, *, fresh_seed: bool, request_id: str) -> tuple[Job, Price]:
        """See `BatchFace`."""
        message = jobs.to_spec(spec, fresh_seed=fresh_seed)
        request = jb.CreateJobRequest(parent=project_name(), spec=message, request_id=request_id)
        with errors_of_the_house():
            answer = await self._jobs.CreateJob(request)
        return jobs.from_job(answer.job), catalogue.from_price(answer.price)

    async def price_job(self, spec: JobSpec) -> Price:
        """See `BatchFace`."""
        request = jb.CreateJobRequest(parent=project_name(), spec=jobs.to_spec(spec), validate_only=True)
        with errors_of_the_house():
            return catalogue.from_price((await self._jobs.CreateJob(request)).price)

    async def get_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        with errors_of_the_house():
            return jobs.from_job(await self._jobs.GetJob(jb.GetJobRequest(name=resource_name("jobs", job_id))))

    async def list_jobs(self, states: Sequence[JobState]) -> list[Job]:
        """See `BatchFace`; page by page."""
        found: list[Job] = []
        token = ""
        while True:
            request = jb.ListJobsRequest(
                parent=project_name(), page_size=PAGE_SIZE, page_token=token, states=jobs.to_states(states)
            )
            with errors_of_the_house():
                page = await self._jobs.ListJobs(request)
            found += [jobs.from_job(message) for message in page.jobs]
            token = page.next_page_token
            if not token:
                return found

    async def cancel_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        with errors_of_the_house():
            return jobs.from_job(await self._jobs.CancelJob(jb.CancelJobRequest(name=resource_name("jobs", job_id))))

    async def resume_job(self, job_id: str) -> Job:
        """See `BatchFace`."""
        with errors_of_the_house():
            return jobs.from_job(await self._jobs.ResumeJob(jb.ResumeJobRequest(name=resource_name("jobs", job_id))))

    async def delete_job(self, job_id: str) -> None:
        """See `BatchFace`."""
        with errors_of_the_house():
            await self._jobs.DeleteJob(jb.DeleteJobRequest(name=resource_name("jobs", job_id)))

    async def watch_job(self, job_id: str) -> AsyncGenerator[JobProgress]:
        """See `BatchFace`."""
        call = self._jobs.WatchJob(jb.WatchJobRequest(name=resource_name("jobs", job_id)))
        async with aclosing(messages(call)) as answers:
            async for message in answers:
                yield jobs.from_progress(message)

    async def job_results(self, job_id: str, from_position: int) -> AsyncGenerator[JobResult]:
        """See `BatchFace`."""
        request = jb.StreamJobResultsRequest(name=resource_name("jobs", job_id), from_position=from_position)
        async with aclosing(messages(self._jobs.StreamJobResults(request))) as answers:
            async for message in answers:
                for result in message.results:
                    yield jobs.from_result(result)

    async def run_gate(self, policy: str, model: str, baseline: str, *, force: bool) -> AsyncGenerator[GateProgress]:
        """See `BatchFace`."""
        request = gt.RunGateRequest(
            parent=project_name(),
            policy=policy,
            model=model_name(model),
            baseline=model_name(baseline) if baseline else "",
            force=force,
        )
        async with aclosing(messages(self._gates.RunGate(request))) as answers:
            async for message in answers:
                run = gates.from_run(message.run) if message.HasField("run") else None
                yield GateProgress(message.used, message.inputs, message.forward_passes, run, message.stored)

    async def get_gate_run(self, run_id: str) -> GateRun:
        """See `BatchFace`."""
        request = gt.GetGateRunRequest(name=resource_name("gateRuns", run_id))
        with errors_of_the_house():
            return gates.from_run(await self._gates.GetGateRun(request))

    async def list_gate_runs(self) -> list[GateRun]:
        """See `BatchFace`; page by page."""
        found: list[GateRun] = []
        token = ""
        while True:
            request = gt.ListGateRunsRequest(parent=project_name(), page_size=PAGE_SIZE, page_token=token)
            with errors_of_the_house():
                page = await self._gates.ListGateRuns(request)
            found += [gates.from_run(message) for message in page.runs]
            token = page.next_page_token
            if not token:
                return found

    async def gate_evidence(self, run_id: str) -> GateEvidence:
        """See `BatchFace`."""
        record: list[str] = []
        found: list[Any] = []
        shown: list[Any] = []
        manifest, size = "", 0
        request = gt.StreamGateEvidenceRequest(name=resource_name("gateRuns", run_id))
        async with aclosing(messages(self._gates.StreamGateEvidence(request))) as answers:
            async for message in answers:
                manifest, size = manifest or message.model_manifest, size or message.dataset_size
                record.append(message.record)
                found += [certificates.from_certificate(certificate) for certificate in message.certificates]
                shown += [(one.index, from_tensor(one.x, "FP32", "shown"), one.label) for one in message.shown]
        return GateEvidence("".join(record), tuple(found), tuple(shown), manifest, size)


def open_files(inputs: Path, labels: Path | None, reading: ReadingOptions) -> Any:
    """What a data set is read from."""
    from verifier.datasets.opening import open_source
    from verifier.datasets.source import Reading

    return open_source(inputs, labels, Reading(**vars(reading)))


async def _upload(header: ds.UploadDatasetRequest.Header, source: Any) -> AsyncIterator[ds.UploadDatasetRequest]:
    from verifier.datasets.outgoing import Outgoing

    outgoing = Outgoing(source)
    yield ds.UploadDatasetRequest(header=header)
    for chunk in outgoing.chunks():
        yield ds.UploadDatasetRequest(chunk=chunk)
    faults = [ds.UploadDatasetRequest.Fault(index=index, reason=reason) for index, reason in outgoing.faults.items()]
    yield ds.UploadDatasetRequest(trailer=ds.UploadDatasetRequest.Trailer(sha256=outgoing.sha256, faults=faults))
