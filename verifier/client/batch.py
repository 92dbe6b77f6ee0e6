"""Data sets, jobs and gates as users of a client meet them: async, and the same in sync."""

import uuid
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

from verifier.catalogue import Price
from verifier.client.asked import ReadingOptions
from verifier.client.batch_face import BatchFace
from verifier.dataset import DatasetInfo, Selection
from verifier.errors import InvalidProblem
from verifier.gating import GateEvidence, GateProgress, GateRun
from verifier.job import Job, JobProgress, JobResult, JobSpec, JobState
from verifier.methods import BoundMethod, CertifyingMethod
from verifier.model import ModelInfo
from verifier.problem import Norm
from verifier.seeds import seed_or_fresh

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Each = Callable[[AsyncGenerator[Any]], Iterator[Any]]


class AsyncDatasets:
    """The data sets of a service."""

    def __init__(self, face: BatchFace) -> None:
        self._face = face

    async def add(
        self,
        name: str,
        inputs: str | Path,
        labels: str | Path | None = None,
        *,
        move_name: bool = False,
        **reading: Any,
    ) -> DatasetInfo:
        """Store a data set under a name. The same content again answers with the same data set.

        Args:
            name: 1 to 63 of a-z 0-9 . _ -.
            inputs: .npy, .npz, idx or idx.gz, Parquet, or a folder of PNG and JPEG files.
            labels: likewise; for a folder also a CSV of file,label. None: none, or those beside the inputs.
            move_name: whether the name may be taken from another data set.
            reading: see `ReadingOptions`: scale, shape, channels_last, inputs_names, labels_name.
        Raises:
            InvalidProblem, Unsupported: the files are not accepted; the message says why.
            AlreadyExists: the name belongs to another data set.
        """
        options = ReadingOptions(**reading)
        return await self._face.add_dataset(name, Path(inputs), Path(labels) if labels else None, options, move_name)

    async def get(self, name: str) -> DatasetInfo:
        """By name, digest, or digest prefix of at least 8 characters; NotFound where there is none."""
        return await self._face.get_dataset(name)

    async def list(self) -> "list[DatasetInfo]":
        """All, the oldest first."""
        return await self._face.list_datasets()

    async def remove(self, name: str) -> None:
        """Remove a name, and its data set with the last name; or, by digest, a data set with all its names."""
        await self._face.remove_dataset(name)


class AsyncJobs:
    """The jobs of a service."""

    def __init__(self, face: BatchFace) -> None:
        self._face = face

    async def submit(
        self,
        model: str | ModelInfo,
        dataset: str | DatasetInfo,
        method: CertifyingMethod,
        *,
        norm: str | None = None,
        eps: float | None = None,
        domain: tuple[float, float] | None = None,
        selection: Selection | None = None,
        seed: int | None = None,
        priority: int = 0,
        request_id: str | None = None,
    ) -> Job:
        """Queue a job.

        Args:
            model, dataset: name or digest.
            method, norm, eps, domain: as in `AsyncClient.certify`.
            selection: which inputs, in which order; default: all.
            seed: 0..2^63-1; default: a fresh one.
            priority: larger goes first.
            request_id: UUID4; the same id with the same arguments again gives the same job. Default: a fresh one.
        Raises:
            VerifierError: what the checks before a job raise; see `price`.
        """
        spec = _spec(model, dataset, method, norm, eps, domain, selection, seed, priority)
        made, _ = await self._face.submit(spec, fresh_seed=seed is None, request_id=request_id or str(uuid.uuid4()))
        return made

    async def price(
        self, model: str | ModelInfo, dataset: str | DatasetInfo, method: CertifyingMethod, **asked: Any
    ) -> Price:
        """Check a job and price it, without queuing it; arguments as in `submit`."""
        asked = {"norm": None, "eps": None, "domain": None, "selection": None, "seed": None, "priority": 0} | asked
        return await self._face.price_job(_spec(model, dataset, method, **asked))

    async def get(self, job_id: str) -> Job:
        """A job by its id; NotFound where there is none."""
        return await self._face.get_job(job_id)

    async def list(self, states: Sequence[JobState | str] = ()) -> "list[Job]":
        """All jobs, or those in some states; the newest first."""
        return await self._face.list_jobs([JobState(state) for state in states])

    async def cancel(self, job_id: str) -> Job:
        """End a job within a device step; its results stay."""
        return await self._face.cancel_job(job_id)

    async def resume(self, job_id: str) -> Job:
        """Queue a paused, cancelled or failed job again; it does what is missing."""
        return await self._face.resume_job(job_id)

    async def delete(self, job_id: str) -> None:
        """Forget a job that does not run, and its results."""
        await self._face.delete_job(job_id)

    def watch(self, job_id: str) -> AsyncGenerator[JobProgress]:
        """How a job gets on, until it has ended. An embedded client works on jobs from then on until it is closed."""
        return self._face.watch_job(job_id)

    def results(self, job_id: str, from_position: int = 0) -> AsyncGenerator[JobResult]:
        """The results there are, in the job's order."""
        return self._face.job_results(job_id, from_position)


class AsyncGates:
    """The gates of a service."""

    def __init__(self, face: BatchFace) -> None:
        self._face = face

    def run(
        self, policy: str, model: str | ModelInfo, baseline: str | ModelInfo = "", *, force: bool = False
    ) -> AsyncGenerator[GateProgress]:
        """Decide whether a model may go live; the last progress has the run.

        Running again on the same model, baseline, data and policy answers with the stored decision.

        Args:
            policy: text of the policy (docs/gates.md).
            model, baseline: name or digest.
            force: make a further attempt, with a smaller delta.
        """
        return self._face.run_gate(policy, _named(model), _named(baseline), force=force)

    async def get(self, run_id: str) -> GateRun:
        """A stored run; NotFound where there is none."""
        return await self._face.get_gate_run(run_id)

    async def list(self) -> "list[GateRun]":
        """All stored runs, the newest first."""
        return await self._face.list_gate_runs()

    async def evidence(self, run_id: str) -> GateEvidence:
        """What a stored run rests on."""
        return await self._face.gate_evidence(run_id)


class Datasets:
    """The sync face of `AsyncDatasets`."""

    def __init__(self, datasets: AsyncDatasets, run: Run) -> None:
        self._datasets = datasets
        self._run = run

    def add(self, name: str, inputs: str | Path, labels: str | Path | None = None, **options: Any) -> DatasetInfo:
        """See `AsyncDatasets.add`."""
        info: DatasetInfo = self._run(self._datasets.add(name, inputs, labels, **options))
        return info

    def get(self, name: str) -> DatasetInfo:
        """See `AsyncDatasets.get`."""
        info: DatasetInfo = self._run(self._datasets.get(name))
        return info

    def list(self) -> "list[DatasetInfo]":
        """See `AsyncDatasets.list`."""
        found: list[DatasetInfo] = self._run(self._datasets.list())
        return found

    def remove(self, name: str) -> None:
        """See `AsyncDatasets.remove`."""
        self._run(self._datasets.remove(name))


class Jobs:
    """The sync face of `AsyncJobs`."""

    def __init__(self, jobs: AsyncJobs, run: Run, each: Each) -> None:
        self._jobs = jobs
        self._run = run
        self._each = each

    def submit(self, model: str | ModelInfo, dataset: str | DatasetInfo, method: CertifyingMethod, **asked: Any) -> Job:
        """See `AsyncJobs.submit`."""
        job: Job = self._run(self._jobs.submit(model, dataset, method, **asked))
        return job

    def price(
        self, model: str | ModelInfo, dataset: str | DatasetInfo, method: CertifyingMethod, **asked: Any
    ) -> Price:
        """See `AsyncJobs.price`."""
        price: Price = self._run(self._jobs.price(model, dataset, method, **asked))
        return price

    def get(self, job_id: str) -> Job:
        """See `AsyncJobs.get`."""
        job: Job = self._run(self._jobs.get(job_id))
        return job

    def list(self, states: Sequence[JobState | str] = ()) -> "list[Job]":
        """See `AsyncJobs.list`."""
        jobs: list[Job] = self._run(self._jobs.list(states))
        return jobs

    def cancel(self, job_id: str) -> Job:
        """See `AsyncJobs.cancel`."""
        job: Job = self._run(self._jobs.cancel(job_id))
        return job

    def resume(self, job_id: str) -> Job:
        """See `AsyncJobs.resume`."""
        job: Job = self._run(self._jobs.resume(job_id))
        return job

    def delete(self, job_id: str) -> None:
        """See `AsyncJobs.delete`."""
        self._run(self._jobs.delete(job_id))

    def watch(self, job_id: str) -> Iterator[JobProgress]:
        """See `AsyncJobs.watch`."""
        return self._each(self._jobs.watch(job_id))

    def results(self, job_id: str, from_position: int = 0) -> Iterator[JobResult]:
        """See `AsyncJobs.results`."""
        return self._each(self._jobs.results(job_id, from_position))


class Gates:
    """The sync face of `AsyncGates`."""

    def __init__(self, gates: AsyncGates, run: Run, each: Each) -> None:
        self._gates = gates
        self._run = run
        self._each = each

    def run(
        self, policy: str, model: str | ModelInfo, baseline: str | ModelInfo = "", *, force: bool = False
    ) -> Iterator[GateProgress]:
        """See `AsyncGates.run`."""
        return self._each(self._gates.run(policy, model, baseline, force=force))

    def get(self, run_id: str) -> GateRun:
        """See `AsyncGates.get`."""
        run: GateRun = self._run(self._gates.get(run_id))
        return run

    def list(self) -> "list[GateRun]":
        """See `AsyncGates.list`."""
        runs: list[GateRun] = self._run(self._gates.list())
        return runs

    def evidence(self, run_id: str) -> GateEvidence:
        """See `AsyncGates.evidence`."""
        evidence: GateEvidence = self._run(self._gates.evidence(run_id))
        return evidence


def _named(model: str | ModelInfo) -> str:
    return model.digest if isinstance(model, ModelInfo) else model


def _spec(
    model: str | ModelInfo,
    dataset: str | DatasetInfo,
    method: CertifyingMethod,
    norm: str | None,
    eps: float | None,
    domain: tuple[float, float] | None,
    selection: Selection | None,
    seed: int | None,
    priority: int,
) -> JobSpec:
    if eps is not None and not eps > 0:
        raise InvalidProblem(f"eps must be finite and > 0, got {eps}", field="spec.eps")
    default = Norm.LINF if isinstance(method, BoundMethod) else Norm.L2
    return JobSpec(
        model=_named(model),
        dataset=dataset.digest if isinstance(dataset, DatasetInfo) else dataset,
        method=method,
        norm=Norm.parse(norm) if norm is not None else default,
        seed=seed_or_fresh(seed),
        selection=selection or Selection(),
        eps=eps,
        domain=domain,
        priority=priority,
    )
