"""Radii decided in order: by hand, and whatever the votes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier import guarantee
from verifier.certificate import RadiusDecision, RadiusVerdict
from verifier.chain import Reached, chain_of
from verifier.errors import InvalidProblem
from verifier.methods import Smoothing

CERTIFIED, GIVEN_UP, UNDECIDED = RadiusVerdict.CERTIFIED, RadiusVerdict.NOT_CERTIFIED, RadiusVerdict.UNDECIDED

METHODS = [
    Smoothing(0.5, decide=(0.25,), n=2000),
    Smoothing(0.5, decide=(0.25, 0.5, 1.0), n=2000),
    Smoothing(0.5, decide=(0.5,), n=2000, futility=0),
    Smoothing(0.5, grid=0.25, n=2000),
    Smoothing(0.5, anytime=True, n=2000),
]


@st.composite
def votes(draw: st.DrawFn) -> tuple[Smoothing, list[int]]:
    """A method, and votes at all looks that its draws reach."""
    method = draw(st.sampled_from(METHODS))
    chain, share = chain_of(method), draw(st.sampled_from([0.3, 0.6, 0.75, 0.9, 1.0]))
    counts: list[int] = []
    reached, drawn, count = Reached(), 0, 0
    while (look := chain.next_look(reached)) is not None:
        count += min(look - drawn, max(0, round(share * (look - drawn)) + draw(st.integers(-3, 3))))
        drawn = look
        counts.append(count)
        reached = chain.advance(reached, count)
    return method, counts


@settings(deadline=None)
@given(votes())
def test_what_is_certified_stays_certified(case: tuple[Smoothing, list[int]]) -> None:
    method, counts = case
    chain, reached, before = chain_of(method), Reached(), 0
    for count in counts:
        reached = chain.advance(reached, count)
        assert reached.certified >= before
        before = reached.certified
    assert chain.replay(counts) == reached
    assert chain.next_look(reached) is None


@settings(deadline=None)
@given(votes())
def test_decisions_are_in_order(case: tuple[Smoothing, list[int]]) -> None:
    """Certified ones first, then what was given up or not decided; each with the draws after which it was."""
    method, counts = case
    chain = chain_of(method)
    decisions = chain.decisions(counts)
    verdicts = [decision.verdict for decision in decisions]
    certified = verdicts.count(CERTIFIED)
    assert all(verdict is CERTIFIED for verdict in verdicts[:certified])
    assert len(set(verdicts[certified:])) <= 1
    radii, draws = [d.radius for d in decisions], [d.draws for d in decisions]
    assert radii == sorted(radii)
    assert draws == sorted(draws)
    if method.decide:
        assert radii == list(method.decide)
        assert certified == chain.replay(counts).certified
    if method.futility == 0 or method.anytime:
        assert GIVEN_UP not in verdicts


def test_all_agree_by_hand() -> None:
    """Radius 0.25 needs p > 0.6915, and 0.6915^50 = 1e-8 fits into what the first look may spend: 4e-6."""
    chain = chain_of(Smoothing(0.5, decide=(0.25, 1.5)))
    assert chain.advance(Reached(), 50) == Reached(1, 1, False)
    assert chain.advance(Reached(), 49) == Reached(1, 1, False)
    assert chain.advance(Reached(), 45) == Reached(1, 0, False)
    assert chain.advance(Reached(), 20) == Reached(1, 0, True)
    assert chain.decisions([50, 100]) == (
        RadiusDecision(0.25, CERTIFIED, 50),
        RadiusDecision(1.5, UNDECIDED, 100),
    )
    assert chain.decisions([50, 70]) == (RadiusDecision(0.25, CERTIFIED, 50), RadiusDecision(1.5, GIVEN_UP, 100))
    assert chain.decisions([20]) == (RadiusDecision(0.25, GIVEN_UP, 50), RadiusDecision(1.5, GIVEN_UP, 50))
    assert chain.decisions([]) == (RadiusDecision(0.25, UNDECIDED, 0), RadiusDecision(1.5, UNDECIDED, 0))


@pytest.mark.parametrize("n", [1000, 10_000, 100_000])
def test_agreement_to_the_end_proves_what_a_fixed_number_would(n: int) -> None:
    """Nothing is lost to the looks before: none of them could have ended the last test, which has all of alpha."""
    largest = guarantee.largest_radius(0.5, n, 1e-3)
    anytime = chain_of(Smoothing(0.5, anytime=True, n=n))
    reached = anytime.replay(anytime.looks)
    assert largest * 0.98 < anytime.radius(reached.certified - 1) <= largest
    exactly = chain_of(Smoothing(0.5, decide=(largest * (1 - 1e-9),), n=n))
    assert exactly.replay(exactly.looks).certified == 1


def test_grids_are_round_multiples_within_reach() -> None:
    chain = chain_of(Smoothing(1.0, grid=0.1, n=100))
    assert [chain.radius(number) for number in range(len(chain))] == [round(0.1 * i, 1) for i in range(1, 16)]


def test_a_budget_ends_at_the_last_look_within_it() -> None:
    chain = chain_of(Smoothing(0.5, anytime=True, max_forward_passes=100 + 399))
    reached, looks = Reached(), []
    while (look := chain.next_look(reached)) is not None:
        looks.append(look)
        reached = chain.advance(reached, look)
    assert looks == [50, 100, 150, 200, 250, 300, 350]


def test_votes_after_the_end_are_refused() -> None:
    chain = chain_of(Smoothing(0.5, decide=(0.25,)))
    with pytest.raises(InvalidProblem, match="ended at look 1, and 2 looks are stated"):
        chain.replay([50, 100])
