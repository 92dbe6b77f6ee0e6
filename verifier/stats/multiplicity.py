"""How one permitted error is shared: among thresholds, and among attempts."""

import math
from fractions import Fraction

from verifier.errors import InvalidProblem


def rounded_down(value: Fraction) -> float:
    """The largest float64 that is at most this number; the number must be within their range."""
    nearest = float(value)
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def share(delta: float, parts: int) -> float:
    """Delta for each of so many statements, so that all of them hold with probability 1 - delta; rounded down.

    Args:
        delta: in (0, 1).
        parts: >= 1.
    """
    if not 0 < delta < 1 or parts < 1:
        raise InvalidProblem(f"delta must be in (0, 1) and shared by at least one, got {delta} for {parts}")
    return rounded_down(Fraction(delta) / parts)


def attempt_delta(delta: float, attempt: int) -> float:
    """What the j-th attempt on one question may err: delta at first, then delta / (j (j + 1)); rounded down.

    The first attempt errs with probability at most delta. All attempts together, however many and whatever makes
    somebody ask again, err with probability at most 3/2 delta: sum over j >= 2 of 1 / (j (j + 1)) = 1/2.

    Args:
        delta: of a first attempt, in (0, 1).
        attempt: 1, 2, 3, ...
    """
    if attempt < 1:
        raise InvalidProblem(f"attempts are counted from 1, got {attempt}", field="attempt")
    return share(delta, 1 if attempt == 1 else attempt * (attempt + 1))
