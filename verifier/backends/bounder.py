"""A network made ready for bounds on a device, and the tasks that inputs on their course give it, batch by batch."""

import logging
import math
import time
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock

import numpy as np
import torch
from torch import Tensor

from verifier.backends.course import Course, Stage
from verifier.bounds.alpha import Ascent, alpha_margins
from verifier.bounds.arithmetic import FAST, NEAREST, RIGOROUS, Arithmetic
from verifier.bounds.audit import audit, pattern, points_of
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, lower_margins, margin_rows
from verifier.bounds.network import Network
from verifier.bounds.region import Region, around, box
from verifier.bounds.trace import trace
from verifier.certificate import Execution, RegionKind, RegionNote
from verifier.errors import Unsound, Unsupported
from verifier.methods import AlphaCrown, BoundMethod, Rounding, Semantics
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem

logger = logging.getLogger(__name__)

FIRST_BATCH = 32
"""Inputs of a kind of task that was not timed yet."""

_RATE_MEMORY = 0.5
"""Weight of the newest batch in the time per input."""


@dataclass(frozen=True, eq=False)
class Origin:
    """What the states of one request share.

    Args:
        model_digest, classes: of the model.
        cost: of one evaluation, in forward passes.
        execution: what certificates say about the machine.
    """

    model_digest: str
    classes: int
    cost: int
    execution: Execution


@dataclass(frozen=True, eq=False)
class BoundState:
    """One input on its way.

    Args:
        problem, row: where the input comes from.
        note: the rest of its region.
        course: where it is.
        origin: what the request's states share.
        seed: of the points of the audit.
        stop_at: on time.perf_counter's clock: when the best so far is to be answered; None: never.
    """

    problem: Problem
    row: int
    note: RegionNote
    course: Course
    origin: Origin
    seed: int
    stop_at: float | None

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.stop_at is not None and time.perf_counter() >= self.stop_at

    @property
    def task(self) -> Hashable:
        """What must agree for inputs to be treated in one batch."""
        course, method = self.course, self.course.method
        rung = course.bound if course.stage in (Stage.SEARCH, Stage.PROVE) else ""
        kind = (course.stage, rung, method.semantics, method.rounding, method.memory_bytes)
        ascent = (method.steps, method.learning_rate) if isinstance(method, AlphaCrown) else ()
        audited = (method.audit, self.seed) if course.stage is Stage.AUDIT else ()
        return kind, ascent, audited, self.problem.norm, self.note


@dataclass(eq=False)
class ReadyNetwork:
    """One model's graph on a device.

    Args:
        handle: of the model.
        network: its graph.
        seconds: per input, of each kind of task that was timed.
    """

    handle: ModelHandle
    network: Network
    seconds: dict[Hashable, float] = field(default_factory=dict)
    rows_per_step: int = 1024
    rows_per_round: int = 1

    def step(self, states: Sequence[BoundState], seconds: float) -> list[BoundState]:
        """Tasks for about so long, the one that most inputs wait for first."""
        states = list(states)
        until = time.perf_counter() + seconds
        waiting: dict[Hashable, list[int]] = {}
        _enqueue(waiting, states, range(len(states)))
        with torch.no_grad(), plain_kernels(self.handle.device):
            while waiting:
                task, queue = max(waiting.items(), key=lambda item: len(item[1]))
                left = until - time.perf_counter()
                expected = self.seconds.get(task)
                count = FIRST_BATCH if expected is None else max(1, int(left / expected))
                numbers, rest = queue[:count], queue[count:]
                waiting.pop(task)
                if rest:
                    waiting[task] = rest
                started = time.perf_counter()
                for number, state in zip(numbers, self._run([states[n] for n in numbers]), strict=True):
                    states[number] = state
                _enqueue(waiting, states, numbers)
                self._note(task, (time.perf_counter() - started) / len(numbers))
                if time.perf_counter() >= until:
                    break
        return states

    def _note(self, task: Hashable, seconds: float) -> None:
        before = self.seconds.get(task, seconds)
        self.seconds[task] = before + _RATE_MEMORY * (seconds - before)

    def _run(self, states: Sequence[BoundState]) -> list[BoundState]:
        match states[0].course.stage:
            case Stage.CENTRE:
                return self._centre(states)
            case Stage.SEARCH:
                return self._search(states)
            case Stage.PROVE:
                return self._prove(states)
            case _:
                return self._audit(states)

    def _centre(self, states: Sequence[BoundState]) -> list[BoundState]:
        """The class at each centre, its margin, and how far the gradient lets it reach.

        Nothing is proved here: that the class is the right one follows from the proof over the region around it.
        """
        x = _centres(states, self.handle.device)
        logits = self.network.on(NEAREST).evaluate(x)
        best = logits.topk(2, dim=1)
        margins = torch.where(logits.isfinite().all(1), best.values[:, 0] - best.values[:, 1], -1.0)
        labels = best.indices[:, 0]
        searching = any(state.course.eps is None for state in states)
        reach = _reach(self.network, x, labels, states[0].problem.norm) if searching else margins
        facts = zip(labels.tolist(), margins.tolist(), reach.tolist(), strict=True)
        return [
            _moved(state, state.course.after_centre(*fact, stop=state.is_over))
            for state, fact in zip(states, facts, strict=True)
        ]

    def _search(self, states: Sequence[BoundState]) -> list[BoundState]:
        margins = self._margins(states, FAST).amin(1).tolist()  # amin hands NaN on
        return [
            _moved(state, state.course.after_search(margin, stop=state.is_over))
            for state, margin in zip(states, margins, strict=True)
        ]

    def _prove(self, states: Sequence[BoundState]) -> list[BoundState]:
        margins = self._margins(states, _proving(states[0].course.method)).tolist()
        return [
            _moved(state, state.course.after_proof(tuple(values), stop=state.is_over))
            for state, values in zip(states, margins, strict=True)
        ]

    def _audit(self, states: Sequence[BoundState]) -> list[BoundState]:
        """Points inside every certified region; a refuted proof ends everything that was computed with it."""
        first = states[0]
        method = first.course.method
        ball = first.note.kind is RegionKind.BALL and first.problem.norm is not Norm.LINF
        places = pattern(method.audit, self.handle.input_shape, first.problem.norm, first.seed, ball=ball)
        places = places.to(self.handle.device)
        region = _regions(states, RIGOROUS, self.handle.device)
        stated = [state.course.proof.margins for state in states if state.course.proof]
        margins = torch.tensor(stated, dtype=torch.float64, device=self.handle.device)
        rows = self._rows(_predictions(states, self.handle.device), torch.float64)
        setting = _setting(method, _proving(method))
        found = audit(self.network, region, rows, margins, places, setting, _budget(states))
        doubtful = found.doubtful
        if method.semantics is Semantics.FLOAT32_EXEC:
            doubtful = doubtful | self._executes_otherwise(states, region, places)
        if len(found.refuted) and method.rounding is Rounding.OUTWARD:
            raise _unsound(self.handle, states, found.refuted.tolist(), region, places)
        return [
            _moved(state, state.course.after_audit(found.points, doubtful=doubt))
            for state, doubt in zip(states, doubtful.tolist(), strict=True)
        ]

    def _executes_otherwise(self, states: Sequence[BoundState], region: Region, places: Tensor) -> Tensor:
        """Whether the network, executed in float32, answers another class at some point, [B] bool."""
        points = points_of(region, places).float()
        answers = [self.handle.logits(chunk) for chunk in points.flatten(0, 1).split(FIRST_BATCH * len(places))]
        logits = torch.cat(answers)
        valid = logits.isfinite().all(1)
        agrees = (logits.argmax(1) == _predictions(states, logits.device).repeat_interleave(len(places))) & valid
        return ~agrees.reshape(len(states), -1).all(1)

    def _margins(self, states: Sequence[BoundState], arithmetic: Arithmetic) -> Tensor:
        course = states[0].course
        region = _regions(states, arithmetic, self.handle.device)
        rows = self._rows(_predictions(states, self.handle.device), arithmetic.dtype)
        setting, budget = _setting(course.method, arithmetic), _budget(states)
        if course.bound != AlphaCrown.name:
            return lower_margins(self.network, region, rows, Bound(course.bound), setting, budget)
        assert isinstance(course.method, AlphaCrown)
        stops = [state.stop_at for state in states if state.stop_at is not None]
        ascent = Ascent(course.method.steps, course.method.learning_rate, min(stops, default=None))
        return alpha_margins(self.network, region, rows, setting, budget, ascent)

    def _rows(self, labels: Tensor, dtype: torch.dtype) -> Tensor:
        return margin_rows(labels, self.handle.classes, dtype)


_TRACING = Lock()
"""torch.export keeps state of the whole process."""


def make_ready(handle: ModelHandle) -> ReadyNetwork:
    """The model's graph, traced and compared with it.

    Raises:
        Unsupported: naming the layer and the operation that has no bounds.
    """
    started = time.perf_counter()
    with _TRACING:
        graph = trace(handle.module, handle.input_shape)
    logger.info("model %s traced for bounds in %.2f s", handle.digest[:12], time.perf_counter() - started)
    return ReadyNetwork(handle, Network(graph, handle.device))


def leaves_out_softmax(ready: ReadyNetwork) -> bool:
    """Whether the network ends with a softmax that the graph leaves out: its values are then not the network's."""
    try:
        with _TRACING:
            whole = trace(ready.handle.module, ready.handle.input_shape, keep_softmax=True)
    except Unsupported:  # a last log_softmax, which has no bounds
        return True
    return len(whole.nodes) != len(ready.network.graph.nodes)


@contextmanager
def plain_kernels(device: torch.device) -> Iterator[None]:
    """On CUDA: no TF32, no Winograd or FFT convolutions, which the lemmas about rounding do not cover."""
    if device.type != "cuda":
        yield
        return
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = False
    try:
        with torch.backends.cudnn.flags(enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def _enqueue(waiting: dict[Hashable, list[int]], states: Sequence[BoundState], numbers: Sequence[int]) -> None:
    """Put the undecided among these states behind those that wait for the same task."""
    for number in numbers:
        if states[number].course.stage is not Stage.DONE:
            waiting.setdefault(states[number].task, []).append(number)


def _moved(state: BoundState, course: Course) -> BoundState:
    return replace(state, course=course)


def _proving(method: BoundMethod) -> Arithmetic:
    return RIGOROUS if method.rounding is Rounding.OUTWARD else NEAREST


def _setting(method: BoundMethod, arithmetic: Arithmetic) -> Setting:
    return Setting(arithmetic, method.semantics is Semantics.FLOAT32_EXEC)


def _budget(states: Sequence[BoundState]) -> Budget:
    return Budget(states[0].course.method.memory_bytes)


def _predictions(states: Sequence[BoundState], device: torch.device) -> Tensor:
    return torch.tensor([state.course.prediction for state in states], dtype=torch.int64, device=device)


def _centres(states: Sequence[BoundState], device: torch.device) -> Tensor:
    """[B, *shape] float64: the inputs, or the middles of the boxes."""
    if states[0].problem.boxes is None:
        x = np.stack([state.problem.x[state.row] for state in states])
        return torch.from_numpy(x).to(device, torch.float64)
    ends = _boxes(states, RIGOROUS, device)
    return torch.minimum(torch.maximum(ends.lower / 2 + ends.upper / 2, ends.lower), ends.upper)


def _boxes(states: Sequence[BoundState], arithmetic: Arithmetic, device: torch.device) -> Region:
    boxes = [(state.problem.boxes, state.row) for state in states]
    lower = np.stack([ends.lower[row] for ends, row in boxes if ends])
    upper = np.stack([ends.upper[row] for ends, row in boxes if ends])
    return box(torch.from_numpy(lower).to(device), torch.from_numpy(upper).to(device), arithmetic)


def _regions(states: Sequence[BoundState], arithmetic: Arithmetic, device: torch.device) -> Region:
    """The region of each input's next task."""
    problem = states[0].problem
    if problem.boxes is not None:
        return _boxes(states, arithmetic, device)
    eps = torch.tensor([state.course.next_eps for state in states], dtype=torch.float64, device=device)
    return around(_centres(states, device), eps, problem.norm, arithmetic, *frame(problem, device))


def frame(problem: Problem, device: torch.device) -> tuple[tuple[Tensor, Tensor] | None, Tensor | None]:
    """(domain, weights) of a problem on a device, float64."""
    domain, weights = problem.domain, problem.weights
    ends = None if domain is None else (torch.tensor(domain.lower).to(device), torch.tensor(domain.upper).to(device))
    return ends, None if weights is None else torch.tensor(weights).to(device)


def _reach(network: Network, x: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """Where the gradients of the margins at x would have used them up, [B]: a first guess, no bound."""
    with torch.enable_grad():
        x = x.to(FAST.dtype).clone().requires_grad_()
        logits = network.on(FAST).evaluate(x)
        own = logits.gather(1, labels[:, None])
        rivals = logits.scatter(1, labels[:, None], -torch.inf)
        margins = (own - rivals.amax(1, keepdim=True))[:, 0]
        (gradient,) = torch.autograd.grad(margins.sum(), x)
    dual = {Norm.LINF: 1.0, Norm.L2: 2.0, Norm.L1: math.inf}[norm]
    reach: Tensor = margins.detach() / torch.linalg.vector_norm(gradient.flatten(1), dual, dim=1)
    return reach


def _unsound(
    handle: ModelHandle,
    states: Sequence[BoundState],
    refuted: Sequence[Sequence[int]],
    region: Region,
    places: Tensor,
) -> Unsound:
    """The error for proofs that a point refuted; every one is logged with all that reproduces it."""
    for number, point in refuted:
        state = states[number]
        proof = state.course.proof
        exact = points_of(region.rows(slice(number, number + 1)), places[point : point + 1])
        logger.critical(
            "UNSOUND: model %s, input %s (index %d), %s in %s, %s: point %d of audit seed %d refutes it: %s",
            handle.digest, state.problem.digests[state.row], state.problem.index(state.row), proof,
            state.problem.norm.value, state.note, point, state.seed, exact.flatten().tolist(),
        )  # fmt: skip
    first = states[refuted[0][0]]
    return Unsound(
        f"the audit refuted {len(refuted)} bounds, the first of input {first.problem.index(first.row)}: nothing "
        "of this batch is certified; the points are in the server's log, please report them",
        reason="AUDIT_REFUTED",
    )
