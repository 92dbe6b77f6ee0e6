"""Which undecided inputs get how many rows of the next device step. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

NEWCOMER_STEPS = 8
"""Whole steps that a request may take as a newcomer."""

_NEWCOMERS_SHARE = 0.75
"""Of a step, what newcomers get before those that have had their turn, as far as they want it."""


@dataclass(frozen=True)
class Demand:
    """What one request could do with rows of the next step.

    Args:
        wanted: for each of its first undecided inputs, the rows that bring it to where something may be decided, >= 0.
        welcome: for each of them, the rows that may help if there is room, >= wanted.
        received: rows that the request had so far.
        priority: larger goes first; who is below takes what is left.
    """

    wanted: Sequence[int]
    welcome: Sequence[int]
    received: int = 0
    priority: int = 0


def plan(demands: Sequence[Demand], budget: int, round_rows: int = 1) -> list[list[int]]:
    """Rows given to each input of each request.

    Requests of higher priority come first. Among equals, newcomers share three quarters of a step, so that a small
    request is not stuck behind large ones, and nobody is left without rows; shares are equal, and what one does not
    need goes to the others. Within a request the inputs are served in order, so that the first ones finish early.
    Nothing is given beyond what is welcome, and nothing of the budget stays unused while something is wanted. A last
    round that would be computed only partly is filled with what is welcome.

    Args:
        demands: of each request.
        budget: rows of the step, >= 0.
        round_rows: rows that take no longer than one of them, >= 1.
    Returns:
        for each request, for each input: 0 <= given <= welcome; sum(given) >= min(budget, sum(wanted)), less than one
        round above sum(wanted) unless a newcomer draws ahead, and at most the budget.
    """
    shares = [0] * len(demands)
    order = sorted(range(len(demands)), key=lambda number: -demands[number].priority)
    left = budget
    for _, numbers in groupby(order, key=lambda number: demands[number].priority):
        left = _share(list(numbers), demands, shares, left, budget)
    given = [_in_order(demand, share) for demand, share in zip(demands, shares, strict=True)]
    total = sum(map(sum, given))
    _fill(demands, given, min(budget, -(-total // round_rows) * round_rows) - total)
    return given


def _share(numbers: Sequence[int], demands: Sequence[Demand], shares: list[int], left: int, budget: int) -> int:
    """Divide what is left among requests of one priority; what is left then."""
    newcomers = [number for number in numbers if demands[number].received < NEWCOMER_STEPS * budget]
    others = [number for number in numbers if number not in newcomers]
    theirs = int(_NEWCOMERS_SHARE * left) if others else left
    limit = int(_NEWCOMERS_SHARE * budget)
    wanted = {number: sum(demands[number].wanted) for number in numbers}
    ahead = {number: max(wanted[number], min(sum(demands[number].welcome), limit)) for number in newcomers}
    busy = sum(wanted.values()) > left  # otherwise everybody gets what is wanted, and drawing ahead buys no time
    left -= _divide(newcomers, ahead if busy else wanted, shares, min(theirs, left))
    left -= _divide(others, wanted, shares, left)
    unmet = {number: max(0, wanted[number] - shares[number]) for number in newcomers}
    return left - _divide(newcomers, unmet, shares, left)


def _divide(numbers: Sequence[int], wanted: dict[int, int], shares: list[int], budget: int) -> int:
    """Add a max-min fair division of the budget to the shares; what was given.

    The smallest demands first, each getting an equal part of what is left, rounded up, so that nobody waits for ever
    where there are more requests than rows.
    """
    before = budget
    waiting = sorted(numbers, key=wanted.__getitem__)
    for position, number in enumerate(waiting):
        given = min(wanted[number], -(-budget // (len(waiting) - position)))
        shares[number] += given
        budget -= given
    return before - budget


def _in_order(demand: Demand, budget: int) -> list[int]:
    """A request's share among its inputs: first what they want, then what is welcome."""
    given = list(_taken(demand.wanted, budget))
    rest = budget - sum(given)
    room = [most - got for most, got in zip(demand.welcome, given, strict=True)]
    return [got + more for got, more in zip(given, _taken(room, rest), strict=True)] if rest else given


def _taken(wanted: Sequence[int], budget: int) -> Iterator[int]:
    for rows in wanted:
        taken = min(rows, budget)
        budget -= taken
        yield taken


def _fill(demands: Sequence[Demand], given: list[list[int]], room: int) -> None:
    """Give what room there is to inputs that may have use for it, in order."""
    for demand, rows in zip(demands, given, strict=True):
        for number, most in enumerate(demand.welcome):
            if room <= 0:
                return
            more = min(most - rows[number], room)
            rows[number] += more
            room -= more
