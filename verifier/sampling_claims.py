"""Does a sampling certificate say what its own counts prove?

Nothing is computed again the way it was made. Every stated number is taken as given and put into the forward
functions: the radius gives the probability that it needs, the probability the binomial tail, and the tail must fit
into alpha (`guarantee`, `stats.binomial`). In any doubt the answer is "does not hold".
"""

import math
from collections.abc import Iterator

import numpy as np

from verifier import guarantee
from verifier.certificate import SHA256, Certificate, Grade, NoiseModel, Verdict, Votes
from verifier.methods import Stopping, Target
from verifier.problem import Norm
from verifier.seeds import SEED_BITS
from verifier.sequential_claims import sequential_claims
from verifier.stats import binomial


def sampling_claims(c: Certificate) -> tuple[str, ...]:
    """Every reason why the claim does not follow from the counts; empty where it holds. See `check`."""
    malformed = [*_words(c), *_counts(c)]
    if malformed:
        return tuple(malformed)
    if c.smoothing.stopping is not Stopping.FIXED:
        return tuple(sequential_claims(c))
    if c.sampling.sequential is not None:
        return ("a fixed number of draws is looked at once, but looks are stated",)
    return (*_verdict(c), *_bounds(c), *_radius(c))


# -- words: does the certificate say which statement it makes? ------------------------------------------


def _words(c: Certificate) -> Iterator[str]:
    yield from _subject(c)
    yield from _guarantee(c)
    if c.norm is not Norm.L2:
        yield f"Gaussian noise proves radii in norm l2, not in {c.norm.value}"
    if not (math.isfinite(c.radius) and c.radius >= 0):
        yield f"radius must be finite and >= 0, not {c.radius}"
    if c.eps is not None and not (math.isfinite(c.eps) and c.eps > 0):
        yield f"eps must be finite and > 0, not {c.eps}"
    if not SHA256.fullmatch(c.input_digest):
        yield f"input digest {c.input_digest!r} is no SHA-256: it does not say which input"
    if c.index < 0 or not 0 <= c.sampling.seed < 2**SEED_BITS or c.sampling.seed_origin not in ("client", "server"):
        yield f"index {c.index} and seed {c.sampling.seed} from {c.sampling.seed_origin!r} are none to draw again with"
    yield from _attempt(c)
    if c.sampling.rng is not c.smoothing.rng:
        yield f"the noise was drawn with rng {c.sampling.rng.value}, but the method states {c.smoothing.rng}"


def _subject(c: Certificate) -> Iterator[str]:
    if not SHA256.fullmatch(c.subject.model_digest):
        yield f"model digest {c.subject.model_digest!r} is no SHA-256: it does not say which model"
    for name in ("sigma", "noise", "precision"):
        stated, used = getattr(c.subject, name), getattr(c.method, name)
        if stated != used:
            yield f"the subject's {name} is {stated}, but the votes were drawn with {used}"


def _guarantee(c: Certificate) -> Iterator[str]:
    if c.guarantee.grade is not Grade.STATISTICAL:
        yield f"grade {c.guarantee.grade.value} is more than draws can prove: only {Grade.STATISTICAL.value}"
    if c.guarantee.noise_model is not NoiseModel.IDEAL:
        yield f"rng {c.sampling.rng.value} allows noise model {NoiseModel.IDEAL.value}, not {c.guarantee.noise_model}"
    if c.guarantee.alpha != c.smoothing.alpha:
        yield f"the guarantee's alpha is {c.guarantee.alpha}, but the bounds were made with {c.smoothing.alpha}"


def _attempt(c: Certificate) -> Iterator[str]:
    attempt = c.sampling.attempt
    if attempt is not None and not (attempt.number >= 1 and attempt.alpha_spent >= c.smoothing.alpha):
        yield f"attempt {attempt.number} cannot have spent {attempt.alpha_spent} in all, one alone spends its alpha"


# -- counts: can they have been counted? ----------------------------------------------------------------


def _counts(c: Certificate) -> Iterator[str]:
    selection, estimation = c.sampling.selection, c.sampling.estimation
    classes = c.sampling.classes
    if classes < 2:
        yield f"a classifier has at least 2 classes, {classes} are stated"
    yield from _votes("estimation", estimation, c.smoothing.n, classes)
    if (selection is not None) != (c.smoothing.selection_draws > 0):
        stated = "states no selection votes" if selection is None else "states selection votes"
        chosen = f"selection is {c.smoothing.selection.value}, its target {c.smoothing.target.value}"
        yield f"the method's {chosen}, but the evidence {stated}"
    if selection is not None:
        yield from _votes("selection", selection, c.smoothing.n0, classes)
        if selection.top != estimation.top:
            yield f"class {selection.top} was selected, but votes for class {estimation.top} are stated"
    if c.smoothing.target is Target.LABEL:
        if c.label is None or estimation.top != c.label:
            yield f"the label {c.label} was to be certified, but votes for class {estimation.top} are stated"
    elif not _is_most_voted(estimation if selection is None else selection):
        yield "the class whose votes are stated is not the one that was voted for most where it was chosen"


def _votes(phase: str, votes: Votes, draws: int, classes: int) -> Iterator[str]:
    counts = (votes.top_count, votes.runner_up_count, votes.invalid_count)
    if not 0 <= votes.n <= draws:
        yield f"{phase} counts {votes.n} draws where the method takes {draws}"
    if min(counts) < 0 or max(counts) > votes.n or not _adds_up(votes, classes):
        yield f"{phase} votes do not add up: {votes}"


def _adds_up(votes: Votes, classes: int) -> bool:
    """Whether some table of the classes and invalid draws has these as its top, its strongest rival and its total.

    What neither `top` nor the named rival nor invalid draws have got must fit into the other classes, none of which
    may have more than the strongest rival: an understated rival is found out.
    """
    rivals = votes.n - votes.top_count
    named_classes = [votes.top or 0, votes.runner_up or 0]
    if min(named_classes) < 0 or max(named_classes) >= classes or (votes.top is None and votes.top_count > 0):
        return False
    if votes.runner_up is None:  # invalid draws are the strongest rival, or there is none
        strongest, others = votes.invalid_count, rivals - votes.invalid_count
        unnamed = classes - (votes.top is not None)
        return votes.runner_up_count == strongest and 0 <= others <= unnamed * strongest
    named = votes.runner_up != votes.top and votes.invalid_count <= votes.runner_up_count
    others = rivals - votes.runner_up_count - votes.invalid_count
    unnamed = classes - 1 - (votes.top is not None)
    return named and votes.runner_up_count > 0 and 0 <= others <= unnamed * votes.runner_up_count


def _is_most_voted(votes: Votes) -> bool:
    """Whether no other class has more votes than `top`; invalid draws may have. No class at all: none has any."""
    if votes.top is None:
        return votes.runner_up is None
    return votes.top_count > 0 and (votes.runner_up is None or votes.top_count >= votes.runner_up_count)


# -- claims: do they follow from the counts? ------------------------------------------------------------


def _complete(c: Certificate) -> bool:
    """Whether every draw was taken. Before that nothing is proved: looking early and going on is not fixed n."""
    selection = c.sampling.selection
    return c.sampling.estimation.n == c.smoothing.n and (selection is None or selection.n == c.smoothing.n0)


def _taken(c: Certificate) -> int:
    return c.sampling.estimation.n + (0 if c.sampling.selection is None else c.sampling.selection.n)


def _verdict(c: Certificate) -> Iterator[str]:
    claimed = c.sampling.estimation.top if c.radius > 0 else None
    if c.prediction != claimed:
        yield f"radius {c.radius} of class {c.sampling.estimation.top} allows prediction {claimed}, not {c.prediction}"
    if c.radius > 0:
        due = Verdict.CERTIFIED if c.eps is None or c.radius >= c.eps else Verdict.UNKNOWN
    else:
        due = Verdict.ABSTAINED if _complete(c) else Verdict.UNKNOWN
    if c.verdict is not due:
        yield f"verdict {c.verdict.value} does not follow from radius {c.radius} and eps {c.eps}: {due.value} would"


def _bounds(c: Certificate) -> Iterator[str]:
    votes, p_a_lower, p_b_upper = c.sampling.estimation, c.sampling.p_a_lower, c.sampling.p_b_upper
    if not _complete(c):
        if p_a_lower != 0 or p_b_upper is not None:
            yield f"a bound after {_taken(c)} of {c.smoothing.draws} draws: who may look early and go on has no bound"
        return
    if not _one(binomial.holds([votes.top_count], votes.n, c.smoothing.bound_alpha, [p_a_lower])):
        yield f"{votes.top_count} of {votes.n} votes do not prove p_a_lower = {p_a_lower}"
    if (p_b_upper is not None) != (c.smoothing.runner_up and votes.top is not None):
        yield f"p_b_upper = {p_b_upper} does not fit a method with runner_up = {c.smoothing.runner_up}"
    elif p_b_upper is not None and not _one(
        binomial.upper_holds([votes.runner_up_count], votes.n, c.smoothing.bound_alpha, [p_b_upper])
    ):
        yield f"{votes.runner_up_count} of {votes.n} votes for the runner-up do not prove p_b_upper = {p_b_upper}"


def _radius(c: Certificate) -> Iterator[str]:
    votes = c.sampling.estimation
    if c.radius == 0:
        return
    if not _complete(c):
        yield f"a radius after {_taken(c)} of {c.smoothing.draws} draws: nothing is proved before the last one"
        return
    if not c.smoothing.runner_up and not c.sampling.p_a_lower > 0.5:
        yield f"a radius without a bound on the runner-up needs p_a_lower above 1/2, not {c.sampling.p_a_lower}"
    if not (_two_sided_holds(c) if c.smoothing.runner_up else _one_sided_holds(c)):
        yield f"{votes.top_count} of {votes.n} votes do not prove radius {c.radius} at alpha = {c.smoothing.alpha:g}"


def _one_sided_holds(c: Certificate) -> bool:
    method, votes = c.smoothing, c.sampling.estimation
    radius, k = np.array([c.radius]), np.array([votes.top_count])
    return _one(guarantee.radius_holds(method.radius_sigma, radius, k, votes.n, method.bound_alpha))


def _two_sided_holds(c: Certificate) -> bool:
    method, votes, p_b_upper = c.smoothing, c.sampling.estimation, c.sampling.p_b_upper
    if p_b_upper is None:
        return False
    return _one(
        guarantee.two_sided_radius_holds(
            method.radius_sigma,
            np.array([c.radius]),
            np.array([votes.top_count]),
            np.array([votes.runner_up_count]),
            votes.n,
            method.bound_alpha,
            np.array([c.sampling.p_a_lower]),
            np.array([p_b_upper]),
        )
    )


def _one(answers: binomial.Booleans) -> bool:
    return bool(answers[0])
