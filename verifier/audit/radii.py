"""Which radii of a log cannot be: larger than any, off the lattice of possible ones, or rounded up."""

import math
from collections.abc import Iterator, Sequence

import numpy as np

from verifier.audit.digits import Integers, PrintedRadii
from verifier.audit.findings import Finding, Kind, finding
from verifier.audit.lattice import Lattice, Place
from verifier.audit.log import Row
from verifier.rounding import format_down

_DIGITS = 6
"""Digits to which a radius of one sigma is told in messages and written to logs."""


def format_radius(radius: float, sigma: float) -> str:
    """A radius rounded down to at least six decimals, and to a millionth of sigma."""
    return format_down(radius, _DIGITS + max(0, -math.floor(math.log10(sigma))))


def radius_findings(
    rows: Sequence[Row], printed: PrintedRadii, stated: Lattice, made: Lattice | None
) -> Iterator[Finding]:
    """What is wrong with the radii.

    Args:
        rows: of the log.
        printed: its radii.
        stated: the lattice that the log claims to be on.
        made: the one on which its rows lie, where that is known. Roundings are judged there, else on the stated one.
    """
    claimed = stated.places(printed)
    actual = claimed if made is None else made.places(printed)
    reasons: list[list[tuple[Kind, str]]] = [
        _reasons(value, Place(there), Place(here), stated, made or stated)
        for value, there, here in zip(printed.values, claimed, actual, strict=True)
    ]
    for row, position in zip(rows, printed.of_row, strict=True):
        for kind, message in reasons[position] if position >= 0 else ():
            yield finding(kind, row, f"radius {row.printed} {message}")


def largest_only_findings(rows: Sequence[Row], printed: PrintedRadii, stated: Lattice) -> Iterator[Finding]:
    """Radii that are larger than any; all that can be said where the bound was two-sided."""
    above = stated.places(printed) == Place.ABOVE
    for row, position in zip(rows, printed.of_row, strict=True):
        if position >= 0 and above[position]:
            yield finding(Kind.ABOVE_LARGEST, row, f"radius {row.printed} {_above(stated)}")


def undecided_roundings(printed: PrintedRadii, lattice: Lattice) -> int:
    """How many rows have radii in whose digits both larger and smaller possible radii lie: any rounding would do."""
    low, high = printed.values - printed.units, printed.values + printed.units
    at = lattice.least_votes_from(printed.values)
    both = (lattice.least_votes_from(low) < at) & (at < lattice.least_votes(high + lattice.slack(high)))
    return int(both[printed.of_row[printed.of_row >= 0]].sum())


def _reasons(value: float, claimed: Place, actual: Place, stated: Lattice, made: Lattice) -> list[tuple[Kind, str]]:
    reasons = []
    if claimed is Place.ABOVE:
        reasons.append((Kind.ABOVE_LARGEST, _above(stated)))
    elif claimed is Place.OFF:
        reasons.append((Kind.OFF_LATTICE, _off(value, stated)))
    elif actual in (Place.OFF, Place.ABOVE):
        reasons.append((Kind.OFF_LATTICE, f"{_off(value, made)}, at which the other rows were made"))
    if actual is Place.ROUNDED_UP:
        reasons.append((Kind.ROUNDED_UP, _rounded_up(value, made)))
    return reasons


def _above(lattice: Lattice) -> str:
    return (
        f"is impossible: {lattice.n} agreeing draws at alpha {lattice.alpha:g} prove no more than "
        f"{format_radius(lattice.largest, lattice.sigma)}"
    )


def _off(value: float, lattice: Lattice) -> str:
    if value == 0:
        return f"is impossible for a predicted class: it is > 0, or the procedure abstains, at alpha {lattice.alpha:g}"
    below, above = _neighbours(value, lattice)
    between = f"between {below} and {above}" if below else f"below {above}"
    return f"is impossible: no number of votes gives a radius {between} at alpha {lattice.alpha:g}"


def _rounded_up(value: float, lattice: Lattice) -> str:
    below, _ = _neighbours(value, lattice)
    return f"is rounded up: the votes prove {below} (alpha {lattice.alpha:g})"


def _neighbours(value: float, lattice: Lattice) -> tuple[str, str]:
    """The possible radii next to a value; "" below the least."""
    votes = lattice.least_votes_from(np.array([value]))
    below, above = lattice.radii(np.clip(np.concatenate([votes - 1, votes]), 0, lattice.n))
    return format_radius(below, lattice.sigma) if below > 0 else "", format_radius(above, lattice.sigma)


# -- rescoring -------------------------------------------------------------------------------------------


def votes_behind(printed: PrintedRadii, lattice: Lattice, *, at_least: bool) -> Integers:
    """The number of votes that each radius needs, [D]; 0 where no number of votes gives it.

    Args:
        printed: the radii of a log.
        lattice: on which they lie.
        at_least: grant no more votes than the log proves, whichever way its radii were rounded. Otherwise each radius
            is taken as it is printed.
    """
    taken = printed.values - printed.units if at_least else printed.values
    votes = np.minimum(lattice.least_votes_from(taken) if at_least else lattice.least_votes(taken), lattice.n)
    return np.where(lattice.places(printed) <= Place.ROUNDED_UP, votes, 0)
