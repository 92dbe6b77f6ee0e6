"""Deterministic methods: IBP, CROWN-IBP, CROWN, alpha-CROWN and the ladder of them, one device step at a time."""

import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from verifier.backends.base import Result, Work, check_inputs
from verifier.backends.bounder import BoundState, Origin, ReadyNetwork, frame, make_ready
from verifier.backends.course import Course, Proof, Stage, rungs
from verifier.backends.device import STEP_SECONDS, Device, Shape
from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.graph import Product
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Budget
from verifier.bounds.network import refinable
from verifier.bounds.region import covering_radius
from verifier.catalogue import MethodInfo, Price
from verifier.certificate import (
    Attempt,
    BoundEvidence,
    Certificate,
    Execution,
    Grade,
    Guarantee,
    RegionKind,
    RegionNote,
    Subject,
    Verdict,
)
from verifier.errors import Unsupported
from verifier.methods import (
    AlphaCrown,
    BoundMethod,
    Crown,
    CrownIbp,
    Ibp,
    Ladder,
    Method,
    Rounding,
    Semantics,
)
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem, box_digest, digest_of
from verifier.seeds import Seed

_COMMON = {
    "semantics": "real (default), or float32_exec: also every float32 execution by plain kernels",
    "rounding": "outward (default), or nearest for comparison: grade real_arithmetic",
    "tolerance": "relative width at which the search for the radius ends; default 1e-4",
    "audit": "points of each certified region at which the network is evaluated; default 16",
    "memory_bytes": "of temporary tensors; default 1 GiB",
    "max_seconds": "after which the best that is proved is answered; default: no limit",
    "eps": "the radius asked about; default: the largest that can be proved",
}
_ASCENT = {
    "steps": "of the ascent, for each evaluation; default 20",
    "learning_rate": "of the ascent; default 0.25",
}
_SUMMARIES: dict[type[BoundMethod], str] = {
    Ibp: "Interval bound propagation (Gowal et al. 2018): as cheap as two forward passes.",
    CrownIbp: "CROWN over intermediate bounds by IBP (Zhang et al. 2019).",
    Crown: "CROWN: linear bounds carried backwards, intermediate bounds likewise (Zhang et al. 2018).",
    AlphaCrown: "CROWN with optimised lower lines (Xu et al. 2021).",
    Ladder: "IBP, CROWN-IBP, CROWN, alpha-CROWN in order of cost; the best bound is answered.",
}

_EVALUATIONS = 12
"""About the bounds that the search for a radius computes on each rung."""

_UNSTABLE_SHARE = 0.1
"""About the share of neurons that CROWN bounds one by one."""

_SHARE_OF_DEADLINE = 0.8
"""Of the time that a caller has: what is left is for the last proof and the way back."""

_ASCENT_COST = 0.3
"""About the cost of a step of an ascent, in CROWN's evaluations."""


class BoundsBackend:
    """One deterministic method; see its `info`.

    Args:
        kind: the method's class.
    """

    def __init__(self, kind: type[BoundMethod]) -> None:
        self.info = MethodInfo(
            name=kind.name,
            summary=_SUMMARIES[kind],
            norms=(Norm.LINF, Norm.L2, Norm.L1),
            grade=Grade.FLOAT_SOUND,
            guarantee=(
                "The network itself answers the prediction at every input of the ball (within the domain) or box: a "
                "theorem about the network over the reals, every rounding accounted for; with "
                "semantics=float32_exec about its float32 executions too."
            ),
            parameters=_COMMON | (_ASCENT if issubclass(kind, AlphaCrown) else {}),
        )

    def check(self, model: ModelHandle, problem: Problem, method: Method, device: Device) -> Price:
        """See `Backend.check`."""
        assert isinstance(method, BoundMethod)
        check_inputs(model, problem)
        ready = self._ready(model, device)
        Budget(method.memory_bytes).inputs(ready.network, Setting(RIGOROUS), model.classes - 1)  # or it is refused
        _check_semantics(ready, method)
        passes = len(problem) * _passes(ready, method, searching=problem.eps is None and problem.boxes is None)
        return Price(passes, float(_limits(problem).max()))

    def prepare(self, model: ModelHandle, _method: Method, shape: Shape | None, device: Device) -> ReadyNetwork:
        """See `Backend.prepare`."""
        if shape is not None:
            raise Unsupported("deterministic certificates are computed again, not drawn again: leave the shape out")
        return self._ready(model, device)

    def group(self, method: Method) -> Method:
        """See `Backend.group`: methods take turns, each in batches of its own."""
        return method

    def seconds(self, _method: Method, _seconds_left: float | None) -> float | None:
        """See `Backend.seconds`: a state knows its own end."""
        return None

    def begin(
        self,
        model: ModelHandle,
        problem: Problem,
        method: Method,
        seed: Seed,
        device: Device,
        seconds_left: float | None = None,
        _attempts: Sequence[Attempt | None] = (),
    ) -> list[BoundState]:
        """See `Backend.begin`."""
        assert isinstance(method, BoundMethod)
        note = region_note(problem)
        stop_at = _stop_at(method, seconds_left)
        eps = 0.0 if problem.boxes is not None else problem.eps
        cost = _passes(self._ready(model, device), method, searching=False)
        origin = Origin(model.digest, model.classes, cost, execution(device, model))
        return [
            BoundState(problem, row, note, Course(method, eps, limit), origin, seed.value, stop_at)
            for row, limit in enumerate(_limits(problem).tolist())
        ]

    def wanted(self, state: BoundState) -> int:
        """See `Backend.wanted`."""
        return 0 if state.course.stage is Stage.DONE else 1

    def welcome(self, state: BoundState) -> int:
        """See `Backend.welcome`."""
        return self.wanted(state)

    def grew(self, _before: BoundState, _after: BoundState) -> bool:
        """See `Backend.grew`: nothing is proved before the audit, which is the last step."""
        return False

    def spent(self, state: BoundState) -> int:
        """See `Backend.spent`."""
        return state.course.evaluations * state.origin.cost

    def step(self, model: ReadyNetwork, work: Sequence[Work]) -> list[BoundState]:
        """See `Backend.step`."""
        return model.step([item.state for item in work], STEP_SECONDS)

    def conclude(self, states: Sequence[BoundState], started: float, seconds: float) -> list[Result | None]:
        """See `Backend.conclude`."""
        return [certificate(state, started, seconds) if state.course.stage is Stage.DONE else None for state in states]

    def so_far(self, states: Sequence[BoundState], started: float, seconds: float) -> list[Result]:
        """See `Backend.so_far`."""
        return [certificate(state, started, seconds) for state in states]

    def _ready(self, model: ModelHandle, device: Device) -> ReadyNetwork:
        return device.keep(("bounds", model.digest), lambda: make_ready(model))


def certificate(state: BoundState, started: float, seconds: float) -> Certificate:
    """What the course of an input has proved. While the audit is due, nothing is."""
    problem, course = state.problem, state.course
    stands = course.certified and course.stage is Stage.DONE
    proof = course.proof if course.proof and (stands or not course.proof.holds) else None
    return Certificate(
        index=problem.index(state.row),
        input_digest=problem.digests[state.row],
        label=problem.label(state.row),
        verdict=Verdict.CERTIFIED if stands else Verdict.UNKNOWN,
        prediction=course.prediction if stands else None,
        norm=problem.norm,
        radius=proof.eps if proof and stands else 0.0,
        eps=problem.eps,
        subject=Subject(state.origin.model_digest, course.method.precision.value),
        guarantee=Guarantee(Grade.FLOAT_SOUND if course.method.rounding is Rounding.OUTWARD else Grade.REAL_ARITHMETIC),
        method=course.method,
        evidence=_evidence(state, proof),
        execution=replace(state.origin.execution, started=started, seconds=seconds),
    )


def execution(device: Device, model: ModelHandle) -> Execution:
    """What certificates say about how they were computed, but for the times; batches leave no trace in a theorem."""
    return Execution(
        device=str(model.device),
        device_name=device.name,
        batch_rows=0,
        form="bounds",
        row_exact=False,
        versions=device.versions,
        started=0.0,
        seconds=0.0,
    )


def _check_semantics(ready: ReadyNetwork, method: BoundMethod) -> None:
    """Refuse what no bound on float32 kernels is known for: they may subtract large sums of squares."""
    if method.semantics is Semantics.REAL:
        return
    for node in ready.network.graph.nodes:
        if isinstance(node.operation, Product):
            raise Unsupported(
                f"semantics float32_exec does not cover layer {node.layer}: how its kernels round a product of "
                "branches (layer norm, group norm, attention) is not known; ask for semantics real"
            )


def region_note(problem: Problem) -> RegionNote:
    """What else decides the regions of a problem's inputs."""
    if problem.boxes is not None:
        return RegionNote(RegionKind.BOX)
    weights = "" if problem.weights is None else digest_of(problem.weights)
    domain = problem.domain
    if domain is None:
        return RegionNote(weights_digest=weights)
    if domain.lower.shape == ():
        return RegionNote(domain=(float(domain.lower), float(domain.upper)), weights_digest=weights)
    return RegionNote(domain_digest=box_digest(domain.lower, domain.upper), weights_digest=weights)


def _evidence(state: BoundState, proof: Proof | None) -> BoundEvidence:
    course = state.course
    return BoundEvidence(
        bound=proof.bound if proof else course.bound,
        eps=proof.eps if proof else 0.0,
        margins=proof.margins if proof else (),
        region=state.note,
        classes=state.origin.classes,
        evaluations=course.evaluations,
        audited=course.audited,
    )


def _limits(problem: Problem) -> torch.Tensor:
    """Radius at which each input's ball covers its domain, [B] float64."""
    limits = covering_radius(torch.tensor(problem.x), problem.norm, *frame(problem, torch.device("cpu")))
    return limits.clamp(min=float(np.finfo(np.float32).tiny))


def _stop_at(method: BoundMethod, seconds_left: float | None) -> float | None:
    """When the best so far is to be answered: early enough to be proved and to arrive before the deadline."""
    limits = [method.max_seconds, None if seconds_left is None else seconds_left * _SHARE_OF_DEADLINE]
    given = [limit for limit in limits if limit is not None]
    return time.perf_counter() + min(given) if given else None


def _passes(ready: ReadyNetwork, method: BoundMethod, *, searching: bool) -> int:
    """About the forward passes that one input's bounds cost: rows walk backwards at about the price of one each."""
    graph, rivals = ready.network.graph, ready.handle.classes
    elements = sum(math.prod(graph.nodes[number].shape) for number in refinable(graph))
    crown = 2 + rivals + 2 * int(_UNSTABLE_SHARE * elements)
    costs = {"ibp": 2, "crown-ibp": 2 + rivals, "crown": crown}
    if isinstance(method, AlphaCrown):
        costs["alpha-crown"] = crown + int(_ASCENT_COST * method.steps * rivals)
    return sum(costs[bound] for bound in rungs(method)) * (_EVALUATIONS if searching else 1)
