"""What the votes of an input prove, and the certificate or the prediction that says so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier import guarantee
from verifier.backends.draws import (
    SmoothingState,
    chain,
    chosen_class,
    describe,
    is_complete,
    is_settled,
    selection_votes,
    top_class,
)
from verifier.certificate import (
    Certificate,
    Execution,
    Grade,
    Guarantee,
    NoiseModel,
    SamplingEvidence,
    SequentialEvidence,
    SmoothedPrediction,
    Stopped,
    Subject,
    Verdict,
    Votes,
)
from verifier.chain import PLAN, Chain
from verifier.methods import Prediction, Smoothing, Stopping
from verifier.smoothing.radius import l2_radius, l2_radius_two_sided
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper, two_sided_p_value


@dataclass(frozen=True)
class Proof:
    """What votes prove; radius 0 where it is nothing."""

    p_a_lower: float = 0.0
    p_b_upper: float | None = None
    radius: float = 0.0


NOTHING = Proof()


def prove(states: Sequence[SmoothingState]) -> list[Proof]:
    """The proof of each state.

    NOTHING where a fixed number of draws is not complete, where no radius was certified at a look, or where no draw was
    valid when a class was to be chosen.

    States of one method are proved together, because the bounds are array functions.
    """
    proofs = [NOTHING] * len(states)
    groups: dict[Smoothing, list[int]] = {}
    for number, state in enumerate(states):
        method = state.method
        if isinstance(method, Prediction) or chosen_class(state) is None:
            continue
        if (radii := chain(method)) is not None:
            proofs[number] = _at_looks(state, method, radii)
        elif is_complete(state):
            groups.setdefault(method, []).append(number)
    for method, numbers in groups.items():
        votes = [describe(states[number].votes[-1], chosen_class(states[number])) for number in numbers]
        for number, proof in zip(numbers, bounds(votes, method), strict=True):
            proofs[number] = proof
    return proofs


def bounds(votes: Sequence[Votes], method: Smoothing) -> list[Proof]:
    """What complete estimation votes of a fixed number of draws prove."""
    top = np.array([counted.top_count for counted in votes])
    lower = clopper_pearson_lower(top, method.n, method.bound_alpha)
    if not method.runner_up:
        radii = l2_radius(method.radius_sigma, lower.q)
        return [Proof(float(p), None, float(radius)) for p, radius in zip(lower.p, radii, strict=True)]
    runner_up = np.array([counted.runner_up_count for counted in votes])
    upper = clopper_pearson_upper(runner_up, method.n, method.bound_alpha)
    radii = l2_radius_two_sided(method.radius_sigma, lower.p, upper.p)
    return [Proof(*map(float, numbers)) for numbers in zip(lower.p, upper.p, radii, strict=True)]


def _at_looks(state: SmoothingState, method: Smoothing, radii: Chain) -> Proof:
    """The largest radius that the looks certified."""
    if not state.reached.certified:
        return NOTHING
    radius = radii.radius(state.reached.certified - 1)
    return Proof(guarantee.class_probability(method.radius_sigma, radius), None, radius)


def certify(state: SmoothingState, method: Smoothing, proof: Proof, execution: Execution) -> Certificate:
    """CERTIFY's last lines: what is proved becomes a verdict, with its evidence."""
    selection = selection_votes(state)
    chosen = chosen_class(state)
    proved = proof.radius > 0
    reached = proved and (state.problem.eps is None or proof.radius >= state.problem.eps)
    unproved = Verdict.ABSTAINED if _was_in_vain(state, method) else Verdict.UNKNOWN
    return Certificate(
        index=state.problem.index(state.row),
        input_digest=state.input_digest,
        label=state.problem.label(state.row),
        verdict=Verdict.CERTIFIED if reached else Verdict.UNKNOWN if proved else unproved,
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
            sequential=_sequential(state, method),
            attempt=state.attempt,
        ),
        execution=execution,
    )


def _was_in_vain(state: SmoothingState, method: Smoothing) -> bool:
    """Whether all draws were taken that the question may take, or a radius was given up, where nothing is proved."""
    if method.stopping is Stopping.FIXED:
        return is_complete(state)
    if chosen_class(state) is None:
        return is_settled(state)
    return state.reached.given_up or (method.stopping is Stopping.ANYTIME and is_complete(state))


def _sequential(state: SmoothingState, method: Smoothing) -> SequentialEvidence | None:
    """How the draws ended."""
    radii = chain(method)
    if radii is None:
        return None
    decided = state.reached.given_up or state.reached.certified == len(radii) or chosen_class(state) is None
    return SequentialEvidence(
        plan=PLAN,
        looks=radii.looks[: len(state.counts)],
        counts=state.counts,
        decisions=radii.decisions(state.counts),
        stopped=Stopped.EARLY if not is_settled(state) else Stopped.DECIDED if decided else Stopped.DRAWS,
    )


def predict(state: SmoothingState, method: Prediction, execution: Execution) -> SmoothedPrediction:
    """PREDICT's last lines: the top two counts are compared."""
    counts = state.votes[-1]
    chosen = top_class(counts)
    votes = describe(counts, chosen)
    p_value = 1.0
    if chosen is not None and votes.runner_up_count <= votes.top_count and is_complete(state):
        p_value = float(two_sided_p_value(np.array([votes.top_count]), np.array([votes.runner_up_count]))[0])
    return SmoothedPrediction(
        index=state.problem.index(state.row),
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


def _subject(state: SmoothingState) -> Subject:
    method = state.method
    return Subject(state.model_digest, method.precision.value, method.noise.value, method.sigma)
