"""Gates: certificates of a model's inputs, in a committed order, until the policy's thresholds are decided.

Outcomes are consumed in the committed order only, however the device finishes them (`gate.course`). A run is stored
before its first draw, with its seeds; a call that dies leaves it open, and the next one comes to the same outcomes.
"""

import asyncio
import base64
import contextlib
import hashlib
import json
import platform
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.batch import problem_of
from verifier.certificate import Certificate, SmoothedPrediction, Verdict
from verifier.dataset import DatasetInfo
from verifier.datasets.files import Dataset
from verifier.datasets.registry import Datasets
from verifier.errors import Conflict, InvalidProblem, Unsound
from verifier.gate.course import GateCourse, InOrder
from verifier.gate.order import Census, committed_order
from verifier.gate.outcomes import Record
from verifier.gate.policy import Policy, parse_policy
from verifier.gate.reports import weakest
from verifier.gating import Decision, GateEvidence, GateProgress, GateRun, Outcome
from verifier.job import JobSpec
from verifier.jobs.gate_runs import GateRuns, StoredRun
from verifier.methods import BoundMethod, Method
from verifier.model import ModelInfo
from verifier.problem import Norm, Problem
from verifier.seeds import Seed
from verifier.service import Service
from verifier.stats.multiplicity import attempt_delta
from verifier.version import __version__
from verifier.wire.certificates import certificate_to_json, certificates_from_lines
from verifier.wire.gates import run_from_json, run_to_json

_FIRST_PART, _LARGEST_PART = 32, 512
"""Inputs that are asked about at once: few at first, since a clear gate is decided soon."""

SHOWN = 12
"""Inputs with the smallest radii that a report shows."""


class Gatekeeper:
    """The gates of one project, on one event loop.

    Args:
        service: that certifies.
        datasets, runs: what is consumed, and where decisions are kept.
        clock: seconds since the epoch.
    """

    def __init__(
        self, service: Service, datasets: Datasets, runs: GateRuns, clock: Callable[[], float] = time.time
    ) -> None:
        self._service = service
        self._datasets = datasets
        self._runs = runs
        self._clock = clock

    async def run(
        self, policy_text: str, model: str, baseline: str = "", *, force: bool = False
    ) -> AsyncGenerator[GateProgress]:
        """Decide, or answer the stored decision; the last progress has the run.

        Args:
            policy_text: TOML.
            model, baseline: alias or digest; the baseline exactly where the policy compares.
            force: make a further attempt, with a smaller delta, although there is a decision.
        Raises:
            InvalidProblem: the policy, with every mistake in it; or what does not fit it.
            VerifierError: what certifying raises; the run stays open.
        """
        policy = parse_policy(policy_text)
        question = await self._question(policy, model, baseline)
        stored = await asyncio.to_thread(self._runs.begin, question.key, force=force)
        if stored.decision:
            run = run_from_json(json.loads(stored.body)["run"])
            yield GateProgress(run.used, run.inputs, run.forward_passes, run, stored=True)
            return
        dataset = await asyncio.to_thread(self._datasets.open, question.data.digest)
        try:
            trial = await asyncio.to_thread(_Trial.of, self._service, question, stored, dataset)
            async with contextlib.aclosing(trial.outcomes()) as outcomes:
                async for _ in outcomes:
                    yield GateProgress(trial.course.used, trial.census.inputs, trial.course.forward_passes)
            run = trial.decided(self._clock())
            body = await asyncio.to_thread(trial.body, run)
        finally:
            await asyncio.to_thread(dataset.close)
        standing = await asyncio.to_thread(self._runs.decide, stored.id, run.decision.value, body)
        run = run_from_json(json.loads(standing.body)["run"])
        yield GateProgress(run.used, run.inputs, run.forward_passes, run)

    async def get(self, run_id: str) -> GateRun:
        """A stored run; NotFound where there is none, Conflict where it is open."""
        return run_from_json((await self._body(run_id))["run"])

    async def list(self, page_size: int, page_token: str) -> tuple[tuple[GateRun, ...], str]:
        """A page of stored runs, the newest first, and the token of the next page."""
        page, token = await asyncio.to_thread(self._runs.list, page_size, page_token)
        return tuple(run_from_json(json.loads(stored.body)["run"]) for stored in page), token

    async def evidence(self, run_id: str) -> GateEvidence:
        """What a stored run rests on."""
        body = await self._body(run_id)
        run = run_from_json(body["run"])
        lines = zlib.decompress(base64.b64decode(body["certificates"])).decode().splitlines()
        certificates = await asyncio.to_thread(certificates_from_lines, lines)
        shown = await asyncio.to_thread(self._shown, run.dataset_digest, certificates)
        return GateEvidence(body["record"], tuple(certificates), shown, body["manifest"], body["dataset_size"])

    async def _body(self, run_id: str) -> dict[str, Any]:
        stored = await asyncio.to_thread(self._runs.get, run_id)
        if not stored.decision:
            raise Conflict(f"gate run {run_id} is open: run its gate again to go on with it", reason="RUN_OPEN")
        body: dict[str, Any] = json.loads(stored.body)
        return body

    def _shown(
        self, dataset_digest: str, certificates: Sequence[Certificate]
    ) -> tuple[tuple[int, NDArray[np.float32], int], ...]:
        chosen = [certificate.index for certificate in weakest(certificates, SHOWN)]
        if not chosen:
            return ()
        with self._datasets.open(dataset_digest) as dataset:
            x, labels = dataset.rows(chosen)
        assert labels is not None
        return tuple((index, row, int(label)) for index, row, label in zip(chosen, x, labels, strict=True))

    async def _question(self, policy: Policy, model: str, baseline: str) -> "_Question":
        """What the names stand for now."""
        if policy.needs_baseline != bool(baseline):
            needed = "compares with a baseline: name one (--baseline)" if policy.needs_baseline else "compares nothing"
            raise InvalidProblem(f"policy {policy.name!r} {needed}", field="baseline")
        data = await asyncio.to_thread(self._datasets.get, policy.dataset)
        if not data.labelled:
            raise InvalidProblem(f"a gate needs labels, and data set {policy.dataset!r} has none", field="dataset")
        info = await self._service.get_model(model)
        other = await self._service.get_model(baseline) if baseline else None
        return _Question(policy, model, info, baseline, other, data)


@dataclass(frozen=True)
class _Question:
    """A gate, its names resolved."""

    policy: Policy
    model: str
    info: ModelInfo
    baseline: str
    other: ModelInfo | None
    data: DatasetInfo

    @property
    def key(self) -> str:
        """Digest of what the decision is about."""
        parts = (self.info.digest, self.other.digest if self.other else "", self.data.digest, self.policy.digest)
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def norm(self) -> Norm:
        return self.policy.norm or Norm.L2

    @property
    def eps(self) -> float | None:
        """One radius is asked about by itself; of several, the largest that can be proved is."""
        bounds = isinstance(self.policy.method, BoundMethod)
        return self.policy.radii[0] if bounds and len(self.policy.radii) == 1 else None


@dataclass(frozen=True)
class _Ask:
    """One question that every input is asked: of which model, by which method."""

    kind: str
    info: ModelInfo
    method: Method


@dataclass(eq=False)
class _Trial:
    """One run of a gate on its way.

    Args:
        order: indices in the committed order.
        labels: of these.
        answers: kind -> what came, by position, and is not consumed yet.
        faults: position -> why the input cannot be treated.
        kept: certificates of the model by position.
    """

    service: Service
    question: _Question
    stored: StoredRun
    dataset: Dataset
    order: NDArray[np.int64]
    labels: NDArray[np.int64]
    census: Census
    course: GateCourse
    answers: dict[str, dict[int, Any]] = field(default_factory=dict)
    faults: dict[int, str] = field(default_factory=dict)
    kept: dict[int, Certificate] = field(default_factory=dict)
    consumed: list[Outcome] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, service: Service, question: _Question, stored: StoredRun, dataset: Dataset) -> "_Trial":
        """Before the first outcome."""
        policy, classes = question.policy, question.info.manifest.classes
        order = committed_order(policy, len(dataset), stored.seed("order"))
        labels = dataset.labels(order)
        if labels.max() >= classes:
            raise InvalidProblem(
                f"data set {question.data.digest[:12]} has label {labels.max()}, the model {classes} classes",
                field="dataset",
            )
        census = Census.of(policy, order.tolist(), labels.tolist(), classes)
        course = GateCourse(policy, census, attempt_delta(policy.delta, stored.attempt))
        trial = cls(service, question, stored, dataset, order, labels, census, course)
        trial.places = {index: position for position, index in enumerate(order.tolist())}
        return trial

    @property
    def asks(self) -> tuple[_Ask, ...]:
        """What every input is asked. An own answer is always needed: abstentions and errors show in it."""
        policy, info = self.question.policy, self.question.info
        asks = [_Ask("model", info, policy.method)] if policy.needs_certificates else []
        if policy.needs_clean:
            asks.append(_Ask("clean", info, policy.predict or policy.method))
        if self.question.other is not None:
            asks.append(_Ask("baseline", self.question.other, policy.method))
        return tuple(asks)

    async def outcomes(self) -> AsyncGenerator[int]:
        """Consume outcomes until the gate is decided; yields how many there are, now and then."""
        arrived: asyncio.Queue[Exception | bool] = asyncio.Queue()
        self.answers = {ask.kind: {} for ask in self.asks}
        tasks = [asyncio.create_task(self._listen(ask, arrived)) for ask in self.asks]
        buffer, open_tasks = InOrder(), len(tasks)
        released = 0
        try:
            while self.course.decision is None and open_tasks:
                news = await arrived.get()
                if isinstance(news, Exception):
                    raise news
                open_tasks -= news
                while (outcome := self._outcome(released)) is not None and self.course.decision is None:
                    for next_one in buffer.put(outcome):
                        if self.course.decision is None:
                            await asyncio.to_thread(self.course.feed, next_one)
                            self.consumed.append(next_one)
                    released += 1
                yield self.course.used
            if self.course.decision is None:
                raise Unsound(f"gate run {self.stored.id} ended with {self.course.used} of {len(self.order)} outcomes")
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, ask: _Ask, arrived: "asyncio.Queue[Exception | bool]") -> None:
        """Put the answers to one question where they belong; tell of each group, and whether it was the last."""
        try:
            if isinstance(ask.method, BoundMethod) and ask.kind == "clean":
                await self._plain_answers(ask, arrived)
            else:
                seed = Seed(self.stored.seed(f"noise.{ask.kind}"), "server")
                groups = self.service.certify(ask.info.digest, self._parts(ask), ask.method, seed)
                async with contextlib.aclosing(groups):
                    async for group in groups:
                        for result in group.results:
                            self.answers[ask.kind][self.places[result.index]] = result
                        if group.results:
                            arrived.put_nowait(False)
            arrived.put_nowait(True)
        except Exception as error:
            arrived.put_nowait(error)

    async def _plain_answers(self, ask: _Ask, arrived: "asyncio.Queue[Exception | bool]") -> None:
        """What the network itself answers."""
        async for problem in self._parts(ask):
            tops = await self.service.answers(ask.info.digest, problem.x)
            for row, top in enumerate(tops):
                self.answers[ask.kind][self.places[problem.index(row)]] = top
            arrived.put_nowait(False)

    async def _parts(self, ask: _Ask) -> AsyncIterator[Problem]:
        """The inputs in the committed order, few at first."""
        start, rows = 0, _FIRST_PART
        question = self.question
        spec = JobSpec(
            ask.info.digest,
            question.data.digest,
            question.policy.method,
            question.norm if ask.kind != "clean" else Norm.L2,
            Seed(0, "server"),
            eps=question.eps if ask.kind != "clean" else None,
        )
        while start < len(self.order):
            chosen = self.order[start : start + rows]
            problem, faults = await asyncio.to_thread(problem_of, self.dataset, spec, ask.info.manifest, chosen)
            self.faults |= {self.places[index]: reason for index, reason in faults.items()}
            start, rows = start + len(chosen), min(_LARGEST_PART, rows + rows // 2)
            if problem is not None:
                yield problem

    def _outcome(self, position: int) -> Outcome | None:
        """The outcome of a position, once all answers to it are there."""
        if position >= len(self.order):
            return None
        index, label = int(self.order[position]), int(self.labels[position])
        if position in self.faults:
            radius = 0.0 if self.question.other else None
            return Outcome(position, index, label, None, 0.0, abstained=False, failed=True, baseline_radius=radius)
        if any(position not in answers for answers in self.answers.values()):
            return None
        found = {kind: answers.pop(position) for kind, answers in self.answers.items()}
        mine, other, clean = found.get("model"), found.get("baseline"), found.get("clean")
        if mine is not None:
            self.kept[position] = mine
        spent = sum(_spent(answer) for answer in found.values())
        return Outcome(
            position=position,
            index=index,
            label=label,
            prediction=None if mine is None else mine.prediction,
            radius=0.0 if mine is None else float(mine.radius),
            abstained=mine is not None and mine.verdict is Verdict.ABSTAINED,
            clean=clean.prediction if isinstance(clean, SmoothedPrediction) else clean,
            baseline_prediction=None if other is None else other.prediction,
            baseline_radius=None if other is None else float(other.radius),
            forward_passes=spent,
        )

    def decided(self, now: float) -> GateRun:
        """The run, once the course has its decision."""
        question, course = self.question, self.course
        assert course.decision is not None
        used = max(1, course.used)
        return GateRun(
            id=self.stored.id,
            project="default",
            policy_name=question.policy.name,
            policy_digest=question.policy.digest,
            policy_text=question.policy.text,
            model=question.model,
            model_digest=question.info.digest,
            baseline=question.baseline,
            baseline_digest=question.other.digest if question.other else "",
            dataset=question.policy.dataset,
            dataset_digest=question.data.digest,
            order_seed=self.stored.seed("order"),
            attempt=self.stored.attempt,
            delta=course.delta,
            alpha=question.policy.alpha,
            decision=Decision(course.decision),
            reason=course.reason,
            thresholds=course.results(),
            inputs=self.census.inputs,
            used=course.used,
            forward_passes=course.forward_passes,
            forward_passes_all=round(course.forward_passes / used * self.census.inputs),
            counts_digest=self.record.digest,
            started=self.stored.created,
            seconds=max(0.0, now - self.stored.created),
            versions={"verifier": __version__, "numpy": np.__version__, "python": platform.python_version()},
        )

    @property
    def record(self) -> Record:
        """Of the outcomes consumed."""
        return Record(self.census, tuple(self.consumed))

    def body(self, run: GateRun) -> str:
        """All that is stored of a decided run."""
        kept = [self.kept[position] for position in range(run.used) if position in self.kept]
        lines = "".join(certificate_to_json(certificate) + "\n" for certificate in kept)
        return json.dumps(
            {
                "run": run_to_json(run),
                "record": self.record.to_text(),
                "certificates": base64.b64encode(zlib.compress(lines.encode())).decode(),
                "manifest": self.question.info.manifest.to_json(),
                "dataset_size": len(self.dataset),
            }
        )


def _spent(answer: Any) -> int:
    """Forward passes of an answer."""
    if isinstance(answer, Certificate):
        return answer.spent
    if isinstance(answer, SmoothedPrediction):
        return answer.votes.n
    return 1
