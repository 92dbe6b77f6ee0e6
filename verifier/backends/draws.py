"""One input on its way through its draws: which it wants next, and what their votes make of it. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from verifier.certificate import Attempt, Execution, Votes
from verifier.chain import Chain, Reached, chain_of
from verifier.methods import LOOK_STEP, Prediction, Rng, Smoothing, Stopping, Target
from verifier.problem import Problem
from verifier.seeds import Phase, Seed, Stream
from verifier.smoothing.sampler import Segment

_LEAST_AHEAD, _AHEAD = 20 * LOOK_STEP, 3
"""How many draws ahead may be worth while: most inputs are decided by the first number; then so many times those taken.
They bring a small request to its end in few steps where the device is busy."""


@dataclass(frozen=True, eq=False)
class SmoothingState:
    """One input on its way.

    Args:
        problem, row: where the input comes from.
        input_digest: SHA-256 of the input.
        x: the input [*shape] on the device.
        method: as asked, its rng resolved.
        drawn: rows that count so far, over all phases in their order.
        votes: [phases, K + 1] int64, of these rows.
        execution: of the last step, without times; before the first, of no step.
        passes: rows computed so far: those that count, and those drawn ahead of a look that ended the draws.
        counts: votes for the class at each look taken.
        reached: what these decide.
        attempt: on this input, as the ledger has it.
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
    execution: Execution
    passes: int = 0
    counts: tuple[int, ...] = ()
    reached: Reached = field(default_factory=Reached)
    attempt: Attempt | None = None


@dataclass(frozen=True)
class Piece:
    """Consecutive draws of one phase, that end at a look or before one.

    Args:
        phase: its number among the method's phases.
        purpose: what it is for.
        first: of the draws, counted within the phase.
        rows: >= 1.
    """

    phase: int
    purpose: Phase
    first: int
    rows: int


def phases(method: Smoothing | Prediction) -> list[tuple[Phase, int]]:
    """The phases of a method with their draws. Their draws are independent, so their order is free."""
    if isinstance(method, Prediction):
        return [(Phase.PREDICT, method.n)]
    if not method.selection_draws:
        return [(Phase.ESTIMATE, method.n)]
    return [(Phase.SELECT, method.n0), (Phase.ESTIMATE, method.n)]


def chain(method: Smoothing | Prediction) -> Chain | None:
    """The radii that are decided while the draws come; None for a fixed number of draws."""
    if isinstance(method, Prediction) or method.stopping is Stopping.FIXED:
        return None
    return chain_of(method)


def is_settled(state: SmoothingState) -> bool:
    """Whether no further draw would help."""
    return wanted(state) == 0


def wanted(state: SmoothingState) -> int:
    """Draws until something may be decided: of a fixed number, all that are left; otherwise up to the next look."""
    radii = chain(state.method)
    if radii is None:
        return state.method.draws - state.drawn
    selecting = _selection_draws(state)
    if state.drawn >= selecting and chosen_class(state) is None:
        return 0  # no draw was valid: there is no class to test
    look = radii.next_look(state.reached)
    return 0 if look is None else selecting + look - state.drawn


def welcome(state: SmoothingState) -> int:
    """Draws that may help if there is room for them: those wanted, and further looks, the more the later it is."""
    needed = wanted(state)
    if not needed or chain(state.method) is None:
        return needed
    ahead = max(needed, _LEAST_AHEAD, _AHEAD * state.drawn)
    return min(ahead, state.method.draws - state.drawn)


def pieces(state: SmoothingState, rows: int) -> list[Piece]:
    """The next `rows` draws of an input, cut where a phase ends and at every look."""
    radii = chain(state.method)
    cut: list[Piece] = []
    offset, position, end = 0, state.drawn, state.drawn + rows
    for number, (purpose, draws) in enumerate(phases(state.method)):
        stops = [draws] if radii is None or purpose is Phase.SELECT else radii.looks
        for stop in stops:
            until = min(end, offset + stop)
            if position < until:
                cut.append(Piece(number, purpose, position - offset, until - position))
                position = until
        offset += draws
    return cut


def segments_of(state: SmoothingState, rows: int, slot: int) -> Iterator[Segment]:
    """The next `rows` draws of an input; piece number p of them is counted in row slot + p of the vote table."""
    index = state.problem.index(state.row)
    for number, piece in enumerate(pieces(state, rows)):
        stream = Stream(state.seed.value, state.input_digest, index, piece.purpose)
        yield Segment(state.x, state.method.sigma, stream, piece.first, piece.rows, slot + number)


def counted(state: SmoothingState, rows: int, votes: NDArray[np.int64], execution: Execution) -> SmoothingState:
    """The state after its next `rows` draws.

    Each look is taken at its very number of draws, in order; draws beyond the one that ends them are dropped unseen, so
    that the result does not depend on how many rows came at once.

    Args:
        votes: of each of its `pieces`, [P, K + 1].
    """
    state = replace(state, passes=state.passes + rows, execution=execution)
    radii = chain(state.method)
    for piece, counts in zip(pieces(state, rows), votes, strict=False):
        if is_settled(state):
            break
        together = state.votes.copy()
        together[piece.phase] += counts
        state = replace(state, votes=together, drawn=state.drawn + piece.rows)
        if radii is not None and piece.purpose is Phase.ESTIMATE:
            state = _looked_at(state, radii)
    return state


def _looked_at(state: SmoothingState, radii: Chain) -> SmoothingState:
    """The state after its next look, if that is where it stands."""
    chosen = chosen_class(state)
    if chosen is None or state.drawn - _selection_draws(state) != radii.next_look(state.reached):
        return state
    count = int(state.votes[-1, chosen])
    return replace(state, counts=(*state.counts, count), reached=radii.advance(state.reached, count))


def _selection_draws(state: SmoothingState) -> int:
    return state.method.selection_draws if isinstance(state.method, Smoothing) else 0


def selection_votes(state: SmoothingState) -> NDArray[np.int64] | None:
    """Counts [K + 1] of the draws that only select; None where there are none."""
    return state.votes[0] if _selection_draws(state) else None


def chosen_class(state: SmoothingState) -> int | None:
    """The class that is bounded.

    The label where that is the target, otherwise the most voted of the selection draws, or of the estimation draws
    themselves.
    """
    method = state.method
    if isinstance(method, Smoothing) and method.target is Target.LABEL:
        return state.problem.label(state.row)
    return top_class(state.votes[0])


def is_complete(state: SmoothingState) -> bool:
    """Whether the fixed number of draws was taken. Before that they prove nothing."""
    method = state.method
    return state.drawn == sum(draws for _, draws in phases(method))


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


def make_states(
    problem: Problem,
    x: Tensor,
    method: Smoothing | Prediction,
    seed: Seed,
    rng: Rng,
    model_digest: str,
    classes: int,
    execution: Execution,
    attempts: Sequence[Attempt | None],
) -> list[SmoothingState]:
    """A fresh state for each input of a problem, nothing drawn yet; arguments as in `SmoothingState`."""
    votes = np.zeros((len(phases(method)), classes + 1), dtype=np.int64)
    return [
        SmoothingState(
            problem, row, digest, x[row], method, seed, rng, model_digest, 0, votes, execution, attempt=attempt
        )
        for row, (digest, attempt) in enumerate(zip(problem.digests, attempts, strict=True))
    ]
