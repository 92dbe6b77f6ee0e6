"""The gRPC methods of data sets, jobs and gates: decode, one call, encode."""

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import empty_pb2

from verifier.batch import Batch
from verifier.dataset import DatasetInfo
from verifier.datasets.incoming import Incoming
from verifier.datasets.registry import Datasets
from verifier.datasets.source import Extent
from verifier.errors import InvalidProblem
from verifier.gatekeeper import Gatekeeper
from verifier.job import JobRow
from verifier.server.checks import check_request_id
from verifier.v1 import datasets_pb2 as ds
from verifier.v1 import datasets_pb2_grpc, gates_pb2_grpc, jobs_pb2_grpc
from verifier.v1 import gates_pb2 as gt
from verifier.v1 import jobs_pb2 as jb
from verifier.wire import catalogue, certificates, gates, jobs
from verifier.wire.datasets import to_dataset
from verifier.wire.limits import CHUNK_BYTES
from verifier.wire.names import parse_model_name, parse_name, parse_project_name
from verifier.wire.tensors import to_tensor

RESULTS_PER_MESSAGE = 256
_RECORD_CHARACTERS = 2**20


class DatasetServicer(datasets_pb2_grpc.DatasetServiceServicer):
    """verifier.v1.DatasetService."""

    def __init__(self, datasets: Datasets) -> None:
        self._datasets = datasets

    async def UploadDataset(
        self, request_iterator: AsyncIterator[ds.UploadDatasetRequest], _context: Any
    ) -> ds.Dataset:
        """See the proto."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidProblem("an upload begins with its header", field="header")
        header = first.header
        parse_project_name(header.parent, "header.parent")
        check_request_id(header.request_id, "header.request_id")
        extent = Extent(tuple(header.shape), header.size, header.labelled)
        incoming = await asyncio.to_thread(self._datasets.begin, extent)
        try:
            await self._receive(incoming, requests)
            # A repeated upload has the same content under the same name: it changes nothing and answers the same.
            return to_dataset(await self._add(header.alias, incoming, move_name=header.move_alias))
        finally:
            await asyncio.shield(asyncio.to_thread(incoming.abort))

    async def _add(self, alias: str, incoming: Incoming, *, move_name: bool) -> DatasetInfo:
        return await asyncio.shield(asyncio.to_thread(self._datasets.add, alias, incoming, move_name=move_name))

    async def _receive(self, incoming: Incoming, requests: AsyncIterator[ds.UploadDatasetRequest]) -> None:
        """Write the chunks; what the trailer says is checked."""
        async for request in requests:
            part = request.WhichOneof("part")
            if part == "trailer":
                trailer = request.trailer
                if not trailer.sha256:
                    raise InvalidProblem("the trailer must say the SHA-256 of all chunks", field="trailer.sha256")
                if trailer.faults:
                    incoming.declare_faults({fault.index: fault.reason for fault in trailer.faults})
                await asyncio.to_thread(incoming.finish, trailer.sha256)
                return
            if part != "chunk":
                raise InvalidProblem(f"after the header come chunks and one trailer, got {part}", field="part")
            if len(request.chunk) > CHUNK_BYTES:
                raise InvalidProblem(f"a chunk has at most 1 MiB, got {len(request.chunk)} bytes", field="chunk")
            await asyncio.to_thread(incoming.append_bytes, request.chunk)
        raise InvalidProblem(
            "the upload ended before its trailer: it was cut off, and nothing was stored",
            field="trailer",
            reason="UPLOAD_TRUNCATED",
        )

    async def GetDataset(self, request: ds.GetDatasetRequest, _context: Any) -> ds.Dataset:
        """See the proto."""
        return to_dataset(await asyncio.to_thread(self._datasets.get, parse_name("datasets", request.name)))

    async def ListDatasets(self, request: ds.ListDatasetsRequest, _context: Any) -> ds.ListDatasetsResponse:
        """See the proto."""
        parse_project_name(request.parent)
        found, token = await asyncio.to_thread(self._datasets.list, request.page_size, request.page_token)
        return ds.ListDatasetsResponse(datasets=[to_dataset(info) for info in found], next_page_token=token)

    async def DeleteDataset(self, request: ds.DeleteDatasetRequest, _context: Any) -> empty_pb2.Empty:
        """See the proto."""
        check_request_id(request.request_id, "request_id")
        name = parse_name("datasets", request.name)
        await asyncio.to_thread(self._datasets.remove, name, request_id=request.request_id)
        return empty_pb2.Empty()


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """verifier.v1.JobService."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    async def CreateJob(self, request: jb.CreateJobRequest, _context: Any) -> jb.CreateJobResponse:
        """See the proto."""
        parse_project_name(request.parent)
        check_request_id(request.request_id, "request_id")
        spec = jobs.from_spec(request.spec)
        if request.validate_only:
            job, price = await self._batch.price(spec)
        else:
            body = hashlib.sha256(request.spec.SerializeToString(deterministic=True)).hexdigest()
            job, price = await self._batch.create(spec, request.request_id, body)
        return jb.CreateJobResponse(job=jobs.to_job(job), price=catalogue.to_price(price))

    async def GetJob(self, request: jb.GetJobRequest, _context: Any) -> jb.Job:
        """See the proto."""
        return jobs.to_job(await self._batch.get(parse_name("jobs", request.name)))

    async def ListJobs(self, request: jb.ListJobsRequest, _context: Any) -> jb.ListJobsResponse:
        """See the proto."""
        parse_project_name(request.parent)
        states = jobs.from_states(request.states)
        found, token = await self._batch.list(request.page_size, request.page_token, states)
        return jb.ListJobsResponse(jobs=[jobs.to_job(job) for job in found], next_page_token=token)

    async def CancelJob(self, request: jb.CancelJobRequest, _context: Any) -> jb.Job:
        """See the proto."""
        return jobs.to_job(await self._batch.cancel(parse_name("jobs", request.name)))

    async def ResumeJob(self, request: jb.ResumeJobRequest, _context: Any) -> jb.Job:
        """See the proto."""
        return jobs.to_job(await self._batch.resume(parse_name("jobs", request.name)))

    async def DeleteJob(self, request: jb.DeleteJobRequest, _context: Any) -> empty_pb2.Empty:
        """See the proto."""
        await self._batch.delete(parse_name("jobs", request.name))
        return empty_pb2.Empty()

    async def WatchJob(self, request: jb.WatchJobRequest, _context: Any) -> AsyncIterator[jb.WatchJobResponse]:
        """See the proto."""
        async with aclosing(self._batch.watch(parse_name("jobs", request.name))) as progresses:
            async for progress in progresses:
                yield jobs.to_progress(progress)

    async def ListJobResults(self, request: jb.ListJobResultsRequest, _context: Any) -> jb.ListJobResultsResponse:
        """See the proto."""
        size = min(request.page_size or RESULTS_PER_MESSAGE, 4 * RESULTS_PER_MESSAGE)
        token = request.page_token or "0"
        if size < 0 or not (token.isascii() and token.isdigit() and len(token) < 19):
            raise InvalidProblem("page_size must be >= 0, and page_token from the page before", field="page_token")
        first = int(token)
        rows = await self._batch.rows(parse_name("jobs", request.name), first, size)
        token = str(rows[-1].position + 1) if len(rows) == size else ""
        return jb.ListJobResultsResponse(results=await asyncio.to_thread(_results, rows), next_page_token=token)

    async def StreamJobResults(
        self, request: jb.StreamJobResultsRequest, _context: Any
    ) -> AsyncIterator[jb.StreamJobResultsResponse]:
        """See the proto."""
        if request.from_position < 0:
            raise InvalidProblem(f"from_position must be >= 0, got {request.from_position}", field="from_position")
        async with aclosing(self._batch.stream(parse_name("jobs", request.name), request.from_position)) as groups:
            async for rows in groups:
                for start in range(0, len(rows), RESULTS_PER_MESSAGE):
                    part = rows[start : start + RESULTS_PER_MESSAGE]
                    yield jb.StreamJobResultsResponse(results=await asyncio.to_thread(_results, part))


class GateServicer(gates_pb2_grpc.GateServiceServicer):
    """verifier.v1.GateService."""

    def __init__(self, gatekeeper: Gatekeeper) -> None:
        self._gatekeeper = gatekeeper

    async def RunGate(self, request: gt.RunGateRequest, _context: Any) -> AsyncIterator[gt.RunGateResponse]:
        """See the proto."""
        parse_project_name(request.parent)
        model = parse_model_name(request.model, "model")
        baseline = parse_model_name(request.baseline, "baseline") if request.baseline else ""
        progresses = self._gatekeeper.run(request.policy, model, baseline, force=request.force)
        async with aclosing(progresses):
            async for progress in progresses:
                yield gt.RunGateResponse(
                    used=progress.used,
                    inputs=progress.inputs,
                    forward_passes=progress.forward_passes,
                    run=gates.to_run(progress.run) if progress.run else None,
                    stored=progress.stored,
                )

    async def GetGateRun(self, request: gt.GetGateRunRequest, _context: Any) -> gt.GateRun:
        """See the proto."""
        return gates.to_run(await self._gatekeeper.get(parse_name("gateRuns", request.name)))

    async def ListGateRuns(self, request: gt.ListGateRunsRequest, _context: Any) -> gt.ListGateRunsResponse:
        """See the proto."""
        parse_project_name(request.parent)
        found, token = await self._gatekeeper.list(request.page_size, request.page_token)
        return gt.ListGateRunsResponse(runs=[gates.to_run(run) for run in found], next_page_token=token)

    async def StreamGateEvidence(
        self, request: gt.StreamGateEvidenceRequest, _context: Any
    ) -> AsyncGenerator[gt.StreamGateEvidenceResponse]:
        """See the proto."""
        evidence = await self._gatekeeper.evidence(parse_name("gateRuns", request.name))
        yield gt.StreamGateEvidenceResponse(
            model_manifest=evidence.manifest,
            dataset_size=evidence.dataset_size,
            shown=[gt.ShownInput(index=index, x=to_tensor(x), label=label) for index, x, label in evidence.shown],
        )
        for start in range(0, len(evidence.record), _RECORD_CHARACTERS):
            yield gt.StreamGateEvidenceResponse(record=evidence.record[start : start + _RECORD_CHARACTERS])
        for start in range(0, len(evidence.certificates), RESULTS_PER_MESSAGE):
            part = evidence.certificates[start : start + RESULTS_PER_MESSAGE]
            yield gt.StreamGateEvidenceResponse(certificates=[certificates.to_certificate(c) for c in part])


def _results(rows: tuple[JobRow, ...]) -> list[jb.JobResult]:
    return [jobs.row_to_result(row) for row in rows]
