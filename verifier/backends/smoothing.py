"""Randomised smoothing: CERTIFY and PREDICT of Cohen et al. 2019, one device step at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verifier import guarantee
from verifier.backends.base import Result, Work, check_inputs
from verifier.backends.device import Device, ReadyModel, Shape
from verifier.catalogue import MethodInfo, Price
from verifier.certificate import (
    Certificate,
    Execution,
    Grade,
    Guarantee,
    NoiseModel,
    SamplingEvidence,
    SmoothedPrediction,
    Subject,
    Verdict,
    Votes,
)
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Method, Precision, Prediction, Rng, Selection, Smoothing
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem
from verifier.rounding import format_down
from verifier.seeds import Phase, Seed, Stream
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.smoothing.sampler import Segment
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, two_sided_p_value

INFO = MethodInfo(
    name="smoothing",
    summary="Monte Carlo randomised smoothing with Clopper-Pearson bounds (Cohen et al. 2019, CERTIFY).",
    norms=(Norm.L2,),
    grade=Grade.STATISTICAL,
    guarantee=(
        "For each input alone, with probability at least 1 - alpha over the draws, the smoothed classifier "
        "g(x) = argmax_c P[f(x + noise) = c] answers the prediction everywhere within the radius."
    ),
    parameters={
        "sigma": "standard deviation of the Gaussian noise, in the units of the input; > 0",
        "n0": "draws for selecting the class; default 100",
        "n": "draws for the bound; default 10000",
        "alpha": "failure probability per input; in (0, 0.5], default 0.001",
        "selection": "n0 (separate draws) or single_stage (the n draws themselves, the bound at alpha/2)",
        "runner_up": "also bound the runner-up: larger radii where no class is near 1; default off",
        "precision": "float32 (default), tf32 (CUDA), bfloat16: part of the certified classifier",
        "rng": "generator of the noise; default aes128ctr-boxmuller-1 on CPUs, cuda-philox-1 on GPUs",
        "eps": "the radius asked about; default: the largest that can be proved",
    },
)

FEW_SELECTION_DRAWS = 30
"""Below, the wrong class is selected so often that a warning is due."""


@dataclass(frozen=True, eq=False)
class SmoothingState:
    """One input on its way.

    Args:
        problem, row: where the input comes from.
        input_digest: SHA-256 of the input.
        x: the input [*shape] on the device.
        method: as asked, its rng resolved.
        drawn: rows taken so far, over all phases in their order.
        votes: [phases, K + 1] int64, counted so far.
        execution: of the last step, without times; None before the first.
    """

    problem: Problem
    row: int
    input_digest: str
    x: Tensor
    method: Smoothing | Prediction
    seed: Seed
    rng: Rng
    model_digest: str
    drawn: int
    votes: NDArray[np.int64]
    execution: Execution | None = None


SMOOTHING_METHODS = (Smoothing, Prediction)


class SmoothingBackend:
    """See `INFO`; fixed n: nothing is proved before the last draw."""

    info = INFO

    def check(self, model: ModelHandle, problem: Problem, method: Method, device: Device) -> Price:
        """See `Backend.check`."""
        assert isinstance(method, SMOOTHING_METHODS)
        _check_region(problem)
        if problem.norm is not Norm.L2:
            raise Unsupported(
                f"smoothing with Gaussian noise certifies norm l2, got {problem.norm.value}; "
                "for another norm use a method that `verifier methods` lists for it"
            )
        check_inputs(model, problem)
        device.rng(method.rng)
        rate = device.rate(model.digest, method.precision)
        passes = len(problem) * method.draws
        seconds = passes / rate if rate else None
        if isinstance(method, Prediction):
            return Price(passes, 0.0, seconds)
        largest = guarantee.largest_radius(method.radius_sigma, method.n, method.bound_alpha)
        if problem.eps is not None and largest < problem.eps:
            raise InvalidProblem(_out_of_reach(method, problem.eps, largest), field="spec.eps", reason="INFEASIBLE")
        return Price(passes, largest, seconds, tuple(_warnings(method, largest)))

    def prepare(self, model: ModelHandle, method: Method, shape: Shape | None, device: Device) -> ReadyModel:
        """See `Backend.prepare`."""
        return device.prepare(model, method.precision, shape)

    def group(self, method: Method) -> Precision:
        """See `Backend.group`: one arithmetic shares batches, parameters stay with each input."""
        return method.precision

    def begin(
        self,
        model: ModelHandle,
        problem: Problem,
        method: Method,
        seed: Seed,
        device: Device,
        _seconds_left: float | None = None,
    ) -> list[SmoothingState]:
        """See `Backend.begin`."""
        assert isinstance(method, SMOOTHING_METHODS)
        x = torch.tensor(problem.x, device=model.device)
        votes = np.zeros((len(phases(method)), model.classes + 1), dtype=np.int64)
        rng = device.rng(method.rng)
        method = replace(method, rng=rng)
        return [
            SmoothingState(problem, row, digest, x[row], method, seed, rng, model.digest, 0, votes)
            for row, digest in enumerate(problem.digests)
        ]

    def wanted(self, state: SmoothingState) -> int:
        """See `Backend.wanted`."""
        return state.method.draws - state.drawn

    def spent(self, state: SmoothingState) -> int:
        """See `Backend.spent`."""
        return state.drawn

    def step(self, model: ReadyModel, work: Sequence[Work]) -> list[SmoothingState]:
        """See `Backend.step`."""
        votes = [np.zeros_like(item.state.votes) for item in work]
        for rng in {item.state.rng for item in work}:
            chosen = [number for number, item in enumerate(work) if item.state.rng is rng]
            width = max(len(votes[number]) for number in chosen)
            segments = [
                segment
                for slot, number in enumerate(chosen)
                for segment in segments_of(work[number].state, work[number].rows, slot * width)
            ]
            counts = model.count(segments, len(chosen) * width, rng).reshape(len(chosen), width, -1)
            for slot, number in enumerate(chosen):
                votes[number] = counts[slot, : len(votes[number])]
        return [
            replace(
                item.state,
                drawn=item.state.drawn + item.rows,
                votes=item.state.votes + counted,
                execution=model.execution,
            )
            for item, counted in zip(work, votes, strict=True)
        ]

    def conclude(self, states: Sequence[SmoothingState], started: float, seconds: float) -> list[Result | None]:
        """See `Backend.conclude`."""
        decided = [state for state in states if self.wanted(state) == 0]
        answers = iter(self.so_far(decided, started, seconds))
        return [next(answers) if self.wanted(state) == 0 else None for state in states]

    def so_far(self, states: Sequence[SmoothingState], started: float, seconds: float) -> list[Result]:
        """See `Backend.so_far`."""
        answers: list[Result] = []
        for state, proof in zip(states, prove(states), strict=True):
            assert state.execution is not None, "nothing was drawn yet"
            execution = replace(state.execution, started=started, seconds=seconds)
            if isinstance(state.method, Prediction):
                answers.append(predict(state, state.method, execution))
            else:
                answers.append(certify(state, state.method, proof, execution))
        return answers


@dataclass(frozen=True)
class Proof:
    """What complete votes prove; radius 0 where it is nothing."""

    p_a_lower: float = 0.0
    p_b_upper: float | None = None
    radius: float = 0.0


NOTHING = Proof()


def prove(states: Sequence[SmoothingState]) -> list[Proof]:
    """The proof of each state: votes become a bound, the bound a radius.

    NOTHING where draws are missing, or where no draw was valid when a class was to be chosen.

    States of one method are proved together, because the bounds are array functions.
    """
    proofs = [NOTHING] * len(states)
    groups: dict[Smoothing, list[int]] = {}
    for number, state in enumerate(states):
        complete = state.drawn == state.method.draws and chosen_class(state) is not None
        if complete and isinstance(state.method, Smoothing):
            groups.setdefault(state.method, []).append(number)
    for method, numbers in groups.items():
        votes = [describe(states[number].votes[-1], chosen_class(states[number])) for number in numbers]
        for number, proof in zip(numbers, bounds(votes, method), strict=True):
            proofs[number] = proof
    return proofs


def bounds(votes: Sequence[Votes], method: Smoothing) -> list[Proof]:
    """What complete estimation votes prove."""
    top = np.array([counted.top_count for counted in votes])
    lower = clopper_pearson_lower(top, method.n, method.bound_alpha)
    if not method.runner_up:
        radii = l2_radius(method.radius_sigma, lower.q)
        return [Proof(float(p), None, float(radius)) for p, radius in zip(lower.p, radii, strict=True)]
    runner_up = np.array([counted.runner_up_count for counted in votes])
    upper = clopper_pearson_upper(runner_up, method.n, method.bound_alpha)
    radii = l2_radius_two_sided(method.radius_sigma, lower.p, upper.p)
    return [Proof(*map(float, numbers)) for numbers in zip(lower.p, upper.p, radii, strict=True)]


def chosen_class(state: SmoothingState) -> int | None:
    """The class that is bounded: the most voted of the selection draws, or of the estimation draws themselves."""
    return top_class(state.votes[0])


def certify(state: SmoothingState, method: Smoothing, proof: Proof, execution: Execution) -> Certificate:
    """CERTIFY's last lines: what is proved becomes a verdict, with its evidence."""
    selection = state.votes[0] if method.selection is Selection.N0 else None
    chosen = chosen_class(state)
    proved = proof.radius > 0
    reached = proved and (state.problem.eps is None or proof.radius >= state.problem.eps)
    incomplete_or_loose = Verdict.UNKNOWN if proved or state.drawn < method.draws else Verdict.ABSTAINED
    return Certificate(
        index=state.problem.first_index + state.row,
        input_digest=state.input_digest,
        label=state.problem.label(state.row),
        verdict=Verdict.CERTIFIED if reached else incomplete_or_loose,
        prediction=chosen if proved else None,
        norm=state.problem.norm,
        radius=proof.radius,
        eps=state.problem.eps,
        subject=_subject(state),
        guarantee=Guarantee(Grade.STATISTICAL, method.alpha, NoiseModel.IDEAL),
        method=method,
        evidence=SamplingEvidence(
            selection=None if selection is None else describe(selection, chosen),
            estimation=describe(state.votes[-1], chosen),
            p_a_lower=proof.p_a_lower,
            p_b_upper=proof.p_b_upper,
            classes=len(state.votes[-1]) - 1,
            seed=state.seed.value,
            seed_origin=state.seed.origin,
            rng=state.rng,
        ),
        execution=execution,
    )


def predict(state: SmoothingState, method: Prediction, execution: Execution) -> SmoothedPrediction:
    """PREDICT's last lines: the top two counts are compared."""
    counts = state.votes[-1]
    chosen = top_class(counts)
    votes = describe(counts, chosen)
    p_value = 1.0
    if chosen is not None and votes.runner_up_count <= votes.top_count and state.drawn == method.draws:
        p_value = float(two_sided_p_value(np.array([votes.top_count]), np.array([votes.runner_up_count]))[0])
    return SmoothedPrediction(
        index=state.problem.first_index + state.row,
        input_digest=state.input_digest,
        label=state.problem.label(state.row),
        prediction=chosen if p_value <= method.alpha else None,
        p_value=p_value,
        votes=votes,
        subject=_subject(state),
        alpha=method.alpha,
        seed=state.seed.value,
        seed_origin=state.seed.origin,
        rng=state.rng,
        execution=execution,
    )


def top_class(counts: NDArray[np.int64]) -> int | None:
    """The most voted class of counts [K + 1], the lowest among equals; None where every draw was invalid."""
    top = int(counts[:-1].argmax())
    return top if counts[top] > 0 else None


def describe(counts: NDArray[np.int64], top: int | None) -> Votes:
    """Counts [K + 1] as a certificate tells them: the top class, and its strongest rival.

    The last column, draws with NaN or infinite logits, is a rival like any other class.
    """
    rivals = counts.copy()
    if top is not None:
        rivals[top] = 0
    strongest = int(rivals.argmax())
    is_class = strongest < len(counts) - 1 and rivals[strongest] > 0
    return Votes(
        n=int(counts.sum()),
        top=top,
        top_count=0 if top is None else int(counts[top]),
        runner_up=strongest if is_class else None,
        runner_up_count=int(rivals[strongest]),
        invalid_count=int(counts[-1]),
    )


def phases(method: Smoothing | Prediction) -> list[tuple[Phase, int]]:
    """The phases of a method with their draws. Their draws are independent, so their order is free."""
    if isinstance(method, Prediction):
        return [(Phase.PREDICT, method.n)]
    if method.selection is Selection.SINGLE_STAGE:
        return [(Phase.ESTIMATE, method.n)]
    return [(Phase.SELECT, method.n0), (Phase.ESTIMATE, method.n)]


def segments_of(state: SmoothingState, rows: int, slot: int) -> Iterator[Segment]:
    """The next `rows` draws of an input; phase number p is counted in row slot + p of the vote table."""
    first, end = state.drawn, state.drawn + rows
    offset = 0
    index = state.problem.first_index + state.row
    for number, (phase, draws) in enumerate(phases(state.method)):
        start, stop = max(first, offset), min(end, offset + draws)
        if start < stop:
            stream = Stream(state.seed.value, state.input_digest, index, phase)
            yield Segment(state.x, state.method.sigma, stream, start - offset, stop - start, slot + number)
        offset += draws


def _check_region(problem: Problem) -> None:
    given = [name for name in ("boxes", "domain", "weights") if getattr(problem, name) is not None]
    if given:
        raise Unsupported(
            f"smoothing certifies whole balls, and was asked about {' and '.join(given)}: leave them out, or use a "
            "deterministic method (verifier methods)"
        )


def _subject(state: SmoothingState) -> Subject:
    method = state.method
    return Subject(state.model_digest, method.precision.value, method.noise.value, method.sigma)


def _out_of_reach(method: Smoothing, eps: float, largest: float) -> str:
    needed = guarantee.draws_for_radius(method.radius_sigma, eps, method.bound_alpha)
    remedy = f"n = {needed} would do" if needed else "no number of draws would do at this sigma and alpha"
    return (
        f"eps = {eps:g} is out of reach: n = {method.n} draws at alpha = {method.alpha:g} and sigma = {method.sigma:g} "
        f"prove at most {format_down(largest, 6)}, even if all agree; {remedy}"
    )


def _warnings(method: Smoothing, largest: float) -> Iterator[str]:
    if 0 < method.selection_draws < FEW_SELECTION_DRAWS:
        yield (
            f"n0 = {method.n0} draws often select the wrong class, which ends in abstention; "
            "100 cost little, selection='single_stage' needs none"
        )
    if largest < method.radius_sigma:
        needed = guarantee.draws_for_radius(method.radius_sigma, 2 * method.radius_sigma, method.bound_alpha)
        yield (
            f"n = {method.n} draws prove at most {format_down(largest, 6)}, less than sigma; "
            f"n = {needed} would allow {2 * method.sigma:g}"
        )
