"""Randomised smoothing: CERTIFY and PREDICT of Cohen et al. 2019, one device step at a time."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from verifier import guarantee
from verifier.backends import draws
from verifier.backends.base import Result, Work, check_inputs
from verifier.backends.conclusion import certify, predict, prove
from verifier.backends.device import Device, ReadyModel, Shape
from verifier.backends.draws import SmoothingState, segments_of
from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Attempt, Grade
from verifier.chain import FINEST_GRID
from verifier.errors import Conflict, InvalidProblem, Unsupported
from verifier.methods import LOOK_STEP, Method, Precision, Prediction, Smoothing, Stopping, Target
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem
from verifier.rounding import format_down
from verifier.seeds import Seed

INFO = MethodInfo(
    name="smoothing",
    summary="Monte Carlo randomised smoothing (Cohen et al. 2019, CERTIFY), with as few draws as the question needs.",
    norms=(Norm.L2,),
    grade=Grade.STATISTICAL,
    guarantee=(
        "For each input alone, with probability at least 1 - alpha over the draws, the smoothed classifier "
        "g(x) = argmax_c P[f(x + noise) = c] answers the prediction everywhere within the radius."
    ),
    parameters={
        "sigma": "standard deviation of the Gaussian noise, in the units of the input; > 0",
        "n0": "draws for selecting the class; default 100",
        "n": "draws for the bound; default 10000; with decide, grid or anytime the most, default 100000",
        "alpha": "failure probability per input; in (0, 0.5], default 0.001",
        "decide": "radii, rising: each is certified, given up or undecided, with as few draws as that takes",
        "grid": "a step: the largest multiple of it that can be certified",
        "anytime": "the radius grows with the draws and is proved at each look; default off",
        "futility": "a radius is given up where such draws had at most this probability, were it true; default 0.05",
        "max_forward_passes": "of one input, selection included: then the best proved so far",
        "max_seconds": "for the request: then the best proved so far",
        "target": "top (default), or label: whether the input's label is certified, which needs no selection",
        "selection": "n0 (separate draws) or single_stage (the n draws themselves, the bound at alpha/2)",
        "runner_up": "also bound the runner-up: larger radii where no class is near 1; default off",
        "precision": "float32 (default), tf32 (CUDA), bfloat16: part of the certified classifier",
        "rng": "generator of the noise; default aes128ctr-boxmuller-1 on CPUs, cuda-philox-1 on GPUs",
        "eps": "the radius asked about of a fixed number of draws; default: the largest that can be proved",
    },
)

FEW_SELECTION_DRAWS = 30
"""Below, the wrong class is selected so often that a warning is due."""


_RESERVE, _RESERVED_SHARE = 0.5, 0.25
"""Seconds kept for answering before a deadline, but not more than this share of what is left."""

_FEWEST_EXPECTED, _EXPECTED_PART = 20 * LOOK_STEP, 20
"""On published networks a decision takes 1,300 to 7,700 of 100,000 draws on average."""

SMOOTHING_METHODS = (Smoothing, Prediction)


class SmoothingBackend:
    """See `INFO`."""

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
        if isinstance(method, Prediction):
            return Price(passes, 0.0, passes / rate if rate else None)
        largest = guarantee.largest_radius(method.radius_sigma, method.n, method.bound_alpha)
        _check_question(problem, method, largest)
        expected = len(problem) * _expected_draws(method)
        seconds = expected / rate if rate else None
        early = None if expected == passes else expected
        return Price(passes, largest, seconds, tuple(_warnings(method, largest)), early)

    def prepare(self, model: ModelHandle, method: Method, shape: Shape | None, device: Device) -> ReadyModel:
        """See `Backend.prepare`."""
        return device.prepare(model, method.precision, shape)

    def group(self, method: Method) -> Precision:
        """See `Backend.group`: one arithmetic shares batches, parameters stay with each input."""
        return method.precision

    def seconds(self, method: Method, seconds_left: float | None) -> float | None:
        """See `Backend.seconds`; PREDICT has nothing to say before its last draw."""
        if isinstance(method, Prediction):
            return None
        assert isinstance(method, Smoothing)
        before_deadline = None if seconds_left is None else seconds_left - min(_RESERVE, _RESERVED_SHARE * seconds_left)
        return min((limit for limit in (method.max_seconds, before_deadline) if limit is not None), default=None)

    def begin(
        self,
        model: ModelHandle,
        problem: Problem,
        method: Method,
        seed: Seed,
        device: Device,
        _seconds_left: float | None = None,
        attempts: Sequence[Attempt | None] = (),
    ) -> list[SmoothingState]:
        """See `Backend.begin`."""
        assert isinstance(method, SMOOTHING_METHODS)
        rng = device.rng(method.rng)
        return draws.make_states(
            problem,
            torch.tensor(problem.x, device=model.device),
            replace(method, rng=rng),
            seed,
            rng,
            model.digest,
            model.classes,
            device.execution,
            attempts or [None] * len(problem),
        )

    def wanted(self, state: SmoothingState) -> int:
        """See `Backend.wanted`."""
        return draws.wanted(state)

    def welcome(self, state: SmoothingState) -> int:
        """See `Backend.welcome`."""
        return draws.welcome(state)

    def spent(self, state: SmoothingState) -> int:
        """See `Backend.spent`."""
        return state.passes

    def grew(self, before: SmoothingState, after: SmoothingState) -> bool:
        """See `Backend.grew`."""
        return after.reached.certified > before.reached.certified

    def step(self, model: ReadyModel, work: Sequence[Work]) -> list[SmoothingState]:
        """See `Backend.step`.

        Raises:
            Conflict: draws for an input that has all of its own. To look on after the end is another test.
        """
        for item in work:
            _check_unfinished(item.state)
        states: dict[int, SmoothingState] = {}
        for rng in {item.state.rng for item in work}:
            chosen = [number for number, item in enumerate(work) if item.state.rng is rng]
            votes = _count(model, [work[number] for number in chosen])
            for number, counts in zip(chosen, votes, strict=True):
                states[number] = draws.counted(work[number].state, work[number].rows, counts, model.execution)
        return [states[number] for number in range(len(work))]

    def conclude(self, states: Sequence[SmoothingState], started: float, seconds: float) -> list[Result | None]:
        """See `Backend.conclude`."""
        settled = [draws.is_settled(state) for state in states]
        decided = [state for state, done in zip(states, settled, strict=True) if done]
        answers = iter(self.so_far(decided, started, seconds))
        return [next(answers) if done else None for done in settled]

    def so_far(self, states: Sequence[SmoothingState], started: float, seconds: float) -> list[Result]:
        """See `Backend.so_far`."""
        answers: list[Result] = []
        for state, proof in zip(states, prove(states), strict=True):
            execution = replace(state.execution, started=started, seconds=seconds)
            if isinstance(state.method, Prediction):
                answers.append(predict(state, state.method, execution))
            else:
                answers.append(certify(state, state.method, proof, execution))
        return answers


def _count(model: ReadyModel, work: Sequence[Work]) -> list[NDArray[np.int64]]:
    """The votes of each input's pieces, [P, K + 1], all drawn with one generator."""
    width = max(len(draws.pieces(item.state, item.rows)) for item in work)
    segments = [
        segment for slot, item in enumerate(work) for segment in segments_of(item.state, item.rows, slot * width)
    ]
    counts = model.count(segments, len(work) * width, work[0].state.rng)
    return list(counts.reshape(len(work), width, -1))


def _check_unfinished(state: SmoothingState) -> None:
    if draws.is_settled(state):
        raise Conflict(
            f"input {state.problem.index(state.row)} has all of its draws: looking on after the end is another "
            "test, with another alpha; ask again, with another seed",
            reason="FINISHED",
        )


def _check_region(problem: Problem) -> None:
    given = [name for name in ("boxes", "domain", "weights") if getattr(problem, name) is not None]
    if given:
        raise Unsupported(
            f"smoothing certifies whole balls, and was asked about {' and '.join(given)}: leave them out, or use a "
            "deterministic method (verifier methods)"
        )


def _check_question(problem: Problem, method: Smoothing, largest: float) -> None:
    """Refuse what no draws could answer."""
    if problem.eps is not None and method.stopping is not Stopping.FIXED:
        raise InvalidProblem(
            f"eps asks about one radius, {method.stopping.value} too: leave eps out (decide=[{problem.eps:g}] asks the "
            "same with the fewest draws)",
            field="spec.eps",
        )
    if method.target is Target.LABEL and problem.labels is None:
        raise InvalidProblem("target='label' certifies the inputs' labels: send them", field="labels")
    for name, radius in _asked(problem, method):
        if largest < radius:
            field = "spec.eps" if name == "eps" else f"smoothing.{name}"
            raise InvalidProblem(_out_of_reach(method, name, radius, largest), field=field, reason="INFEASIBLE")
    if method.grid is not None and largest / method.grid > FINEST_GRID:
        raise InvalidProblem(
            f"grid = {method.grid:g} has more than {FINEST_GRID} steps up to {format_down(largest, 6)}, the most that "
            f"n = {method.n} draws prove: take larger steps, or anytime",
            field="smoothing.grid",
        )


def _asked(problem: Problem, method: Smoothing) -> Iterator[tuple[str, float]]:
    """The radii that the question needs to be in reach, under the names of their fields."""
    if problem.eps is not None:
        yield "eps", problem.eps
    if method.grid is not None:
        yield "grid", method.grid
    for radius in method.decide:
        yield "decide", radius


def _expected_draws(method: Smoothing) -> int:
    """About the forward passes per input: where draws end early, what a hard question takes on average."""
    if method.stopping in (Stopping.FIXED, Stopping.ANYTIME):
        return method.draws
    return min(method.draws, method.selection_draws + max(_FEWEST_EXPECTED, method.n // _EXPECTED_PART))


def _out_of_reach(method: Smoothing, name: str, radius: float, largest: float) -> str:
    needed = guarantee.draws_for_radius(method.radius_sigma, radius, method.bound_alpha)
    remedy = f"n = {needed} would do" if needed else "no number of draws would do at this sigma and alpha"
    return (
        f"{name} = {radius:g} is out of reach: n = {method.n} draws at alpha = {method.alpha:g} and sigma = "
        f"{method.sigma:g} prove at most {format_down(largest, 6)}, even if all agree; {remedy}"
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
