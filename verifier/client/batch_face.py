"""What clients need of a service for data sets, jobs and gates, wherever it runs."""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Protocol

from verifier.catalogue import Price
from verifier.client.asked import ReadingOptions
from verifier.dataset import DatasetInfo
from verifier.gating import GateEvidence, GateProgress, GateRun
from verifier.job import Job, JobProgress, JobResult, JobSpec, JobState


class BatchFace(Protocol):
    """Implemented by `RemoteBatch` (gRPC) and `EmbeddedBatch` (this process)."""

    async def add_dataset(
        self, name: str, inputs: Path, labels: Path | None, reading: ReadingOptions, move_name: bool
    ) -> DatasetInfo:
        """Store a data set read from files, and point the name at it."""
        ...

    async def get_dataset(self, name: str) -> DatasetInfo:
        """A data set by name, digest or digest prefix."""
        ...

    async def list_datasets(self) -> list[DatasetInfo]:
        """All data sets."""
        ...

    async def remove_dataset(self, name: str) -> None:
        """Remove a name or a data set."""
        ...

    async def submit(self, spec: JobSpec, *, fresh_seed: bool, request_id: str) -> tuple[Job, Price]:
        """Queue a job."""
        ...

    async def price_job(self, spec: JobSpec) -> Price:
        """Check and price a job."""
        ...

    async def get_job(self, job_id: str) -> Job:
        """A job."""
        ...

    async def list_jobs(self, states: Sequence[JobState]) -> list[Job]:
        """All jobs in these states, all without any; the newest first."""
        ...

    async def cancel_job(self, job_id: str) -> Job:
        """End a job."""
        ...

    async def resume_job(self, job_id: str) -> Job:
        """Queue a job again."""
        ...

    async def delete_job(self, job_id: str) -> None:
        """Forget a job."""
        ...

    def watch_job(self, job_id: str) -> AsyncGenerator[JobProgress]:
        """How a job gets on, until it has ended."""
        ...

    def job_results(self, job_id: str, from_position: int) -> AsyncGenerator[JobResult]:
        """The results there are, in the job's order."""
        ...

    def run_gate(self, policy: str, model: str, baseline: str, *, force: bool) -> AsyncGenerator[GateProgress]:
        """Decide; the last progress has the run."""
        ...

    async def get_gate_run(self, run_id: str) -> GateRun:
        """A stored run."""
        ...

    async def list_gate_runs(self) -> list[GateRun]:
        """All stored runs, the newest first."""
        ...

    async def gate_evidence(self, run_id: str) -> GateEvidence:
        """What a stored run rests on."""
        ...
