"""Which undecided inputs get how many rows of the next device step. Pure."""

from collections.abc import Sequence


def plan(wanted: Sequence[Sequence[int]], budget: int) -> list[list[int]]:
    """Rows given to each input of each request.

    Every request gets an equal share of the budget, what it does not need goes to the others; within a
    request the inputs are served in order, so that the first ones finish early. Nothing is given beyond
    what is wanted, and nothing of the budget stays unused while something is wanted.

    Args:
        wanted: for each request, for each of its undecided inputs, how many rows would help it, >= 0.
        budget: rows of the step, >= 0.
    Returns:
        the same shape, 0 <= given <= wanted, sum(given) = min(budget, sum(wanted)).
    """
    shares = _fair_shares([sum(inputs) for inputs in wanted], budget)
    return [_in_order(inputs, share) for inputs, share in zip(wanted, shares, strict=True)]


def _fair_shares(wanted: Sequence[int], budget: int) -> list[int]:
    """Max-min fair division: the smallest demands first, each getting an equal part of what is left, rounded up.

    Rounded up, so that nobody waits for ever where there are more requests than rows.
    """
    shares = [0] * len(wanted)
    waiting = sorted(range(len(wanted)), key=wanted.__getitem__)
    for position, request in enumerate(waiting):
        shares[request] = min(wanted[request], -(-budget // (len(waiting) - position)))
        budget -= shares[request]
    return shares


def _in_order(wanted: Sequence[int], budget: int) -> list[int]:
    given = []
    for rows in wanted:
        given.append(min(rows, budget))
        budget -= given[-1]
    return given
