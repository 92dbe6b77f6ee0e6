"""Does a certificate whose draws ended early say what its looks prove?

The boundaries are computed again from the method alone, and every stated look is put against them.
"""

from collections.abc import Iterator
from itertools import pairwise

from verifier import guarantee
from verifier.certificate import Certificate, SequentialEvidence, Stopped, Verdict
from verifier.chain import PLAN, Chain, Reached, chain_of
from verifier.errors import InvalidProblem
from verifier.methods import Stopping


def sequential_claims(c: Certificate) -> Iterator[str]:
    """Every reason why a claim does not follow from the looks; none where it holds.

    Args:
        c: its words and counts are in order.
    """
    stated = c.sampling.sequential
    if stated is None:
        yield f"draws that end by {c.smoothing.stopping.value} are looked at on the way, but no looks are stated"
        return
    if stated.plan != PLAN:
        yield f"plan {stated.plan!r} is none that can be computed again here, only {PLAN!r}"
        return
    radii = chain_of(c.smoothing)
    wrong = list(_looks(c, stated, radii))
    if wrong:
        yield from wrong
        return
    try:
        reached = radii.replay(stated.counts)
    except InvalidProblem as error:
        yield error.message
        return
    yield from _draws(c, stated, radii, reached)
    yield from _decisions(c, stated, radii, reached)


def _looks(c: Certificate, stated: SequentialEvidence, radii: Chain) -> Iterator[str]:
    """Whether the looks are those of the plan, and the counts can have been counted at them."""
    votes = c.sampling.estimation
    if stated.looks != radii.looks[: len(stated.looks)] or len(stated.counts) != len(stated.looks):
        yield "the stated looks are not those of the plan, with a count for each"
        return
    pairs = pairwise(zip((0, *stated.looks), (0, *stated.counts), strict=True))
    if not all(0 <= count - before <= look - drawn for (drawn, before), (look, count) in pairs):
        yield "the stated counts do not grow by at most the draws between two looks"
    last, count = (0, *stated.looks)[-1], (0, *stated.counts)[-1]
    if not 0 <= votes.top_count - count <= votes.n - last:
        yield f"{votes.top_count} of {votes.n} votes cannot have come from {count} of {last} at the last look"


def _draws(c: Certificate, stated: SequentialEvidence, radii: Chain, reached: Reached) -> Iterator[str]:
    """Whether the draws ended where they had to, for the stated reason."""
    votes, selection = c.sampling.estimation, c.sampling.selection
    chosen = votes.top is not None
    following = radii.next_look(reached) if chosen else None
    selected = selection is None or selection.n == c.smoothing.n0
    if stated.looks and not selected:
        yield "looks were taken before the class was selected"
    if votes.n > ((0, *stated.looks)[-1] if following is None else following - 1):
        yield f"{votes.n} draws are stated where the last look was at {(0, *stated.looks)[-1]}"
    ended = following is None and selected
    decided = not chosen or reached.given_up or reached.certified == len(radii)
    due = Stopped.EARLY if not ended else Stopped.DECIDED if decided else Stopped.DRAWS
    if stated.stopped is not due:
        yield f"the draws are said to have ended by {stated.stopped.value}: {due.value} follows from the looks"


def _decisions(c: Certificate, stated: SequentialEvidence, radii: Chain, reached: Reached) -> Iterator[str]:
    """Whether decisions, radius, bound and verdict follow."""
    if stated.decisions != radii.decisions(stated.counts):
        yield "the stated decisions do not follow from the counts at the looks"
    radius = radii.radius(reached.certified - 1) if reached.certified else 0.0
    proved = guarantee.class_probability(c.smoothing.radius_sigma, radius) if radius else 0.0
    if not 0 <= c.radius <= radius:
        yield f"radius {c.radius} is claimed, the looks prove {radius}"
    if not 0 <= c.sampling.p_a_lower <= proved or c.sampling.p_b_upper is not None:
        yield f"p_a_lower = {c.sampling.p_a_lower} is stated, the looks prove {proved}"
    claimed = c.sampling.estimation.top if c.radius > 0 else None
    if c.prediction != claimed:
        yield f"radius {c.radius} of class {c.sampling.estimation.top} allows prediction {claimed}, not {c.prediction}"
    if c.eps is not None:
        yield f"eps = {c.eps} is stated: {c.smoothing.stopping.value} asks about radii of its own"
    due = _verdict(c, stated, reached)
    if c.verdict is not due:
        yield f"verdict {c.verdict.value} does not follow from the looks: {due.value} would"


def _verdict(c: Certificate, stated: SequentialEvidence, reached: Reached) -> Verdict:
    if c.radius > 0:
        return Verdict.CERTIFIED
    no_class = c.sampling.estimation.top is None and stated.stopped is Stopped.DECIDED
    everything = c.smoothing.stopping is Stopping.ANYTIME and c.sampling.estimation.n == c.smoothing.n
    return Verdict.ABSTAINED if no_class or reached.given_up or everything else Verdict.UNKNOWN
