"""What is wrong with a log: one finding for each thing that cannot be, with the line where it stands."""

import itertools
import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from verifier.audit.log import Row


class Kind(StrEnum):
    """Kinds of findings."""

    WRONG_ALPHA = "wrong_alpha"
    """The lattice says that the radii were made at another alpha than the stated one."""
    ABOVE_LARGEST = "above_largest"
    """A radius larger than n agreeing votes prove at the stated alpha."""
    OFF_LATTICE = "off_lattice"
    """A radius that no number of votes gives."""
    ROUNDED_UP = "rounded_up"
    """A radius printed larger than the one that was proved."""
    NOT_A_RADIUS = "not_a_radius"
    """A negative or infinite radius, or NaN."""
    ABSTENTION_CORRECT = "abstention_correct"
    """An abstention that is counted as right."""
    ABSTENTION_RADIUS = "abstention_radius"
    """An abstention with a radius."""
    CORRECT_DISAGREES = "correct_disagrees"
    """`correct` is not whether `predict` is `label`."""
    DUPLICATE = "duplicate"
    """Several rows for one input."""
    MISSING = "missing"
    """Inputs between others that have no row."""
    MALFORMED_TIME = "malformed_time"
    """A time that is none."""
    OTHER_PARAMETERS = "other_parameters"
    """A certificate that was made with another sigma, n or alpha than stated."""
    DOES_NOT_HOLD = "does_not_hold"
    """A certificate that does not follow from its own votes."""


@dataclass(frozen=True)
class Finding:
    """One thing that cannot be.

    Args:
        kind: what kind of thing.
        line: of the row in the file, from 1; None where it concerns the whole log.
        idx: of the row's input; None where it concerns the whole log.
        message: expected and got, in words.
    """

    kind: Kind
    line: int | None
    idx: int | None
    message: str


def finding(kind: Kind, row: Row, message: str) -> Finding:
    """A finding about one row."""
    return Finding(kind, row.line, row.idx, message)


# -- single rows ---------------------------------------------------------------------------------------


def row_findings(row: Row) -> Iterator[Finding]:
    """What is wrong with one row by itself, whatever its radius could be."""
    if not (math.isfinite(row.radius) and row.radius >= 0):
        yield finding(Kind.NOT_A_RADIUS, row, f"a radius must be a finite number >= 0, got {row.printed or row.radius}")
    if row.abstained and row.correct:
        yield finding(Kind.ABSTENTION_CORRECT, row, "it abstained (predict = -1), but is counted as correct")
    if row.abstained and row.radius > 0:
        yield finding(Kind.ABSTENTION_RADIUS, row, f"it abstained (predict = -1), but states a radius of {row.printed}")
    if not row.abstained and row.label is not None and row.correct != (row.predict == row.label):
        yield finding(
            Kind.CORRECT_DISAGREES,
            row,
            f"correct is {row.correct:d}, but predict is {row.predict} and label is {row.label}",
        )
    if row.printed and not _is_time(row.time):
        yield finding(Kind.MALFORMED_TIME, row, f"expected seconds or H:MM:SS, got {row.time[:40]!r}")


_SECONDS = re.compile(r"\d+(?:\.\d*)?(?:e[+-]?\d{1,2})?", re.IGNORECASE | re.ASCII)
_CLOCK = re.compile(r"(?:\d+ days?, )?\d+:[0-5]\d:[0-5]\d(?:\.\d+)?", re.ASCII)


def _is_time(text: str) -> bool:
    return bool(_SECONDS.fullmatch(text) or _CLOCK.fullmatch(text))


# -- rows against each other -----------------------------------------------------------------------------


def repeated_rows(rows: Sequence[Row]) -> Iterator[Finding]:
    """Every further row of an input that has one already."""
    first: dict[int, Row] = {}
    for row in rows:
        original = first.setdefault(row.idx, row)
        if original is not row:
            same = _says(row) == _says(original)
            told = "repeats" if same else "contradicts"
            yield finding(Kind.DUPLICATE, row, f"{told} the row of the same idx in line {original.line}")


def _says(row: Row) -> tuple[object, ...]:
    return row.label, row.predict, row.printed or row.radius, row.correct


def missing_rows(rows: Sequence[Row]) -> Iterator[Finding]:
    """Gaps in idx, where the rows otherwise come at a constant distance."""
    skip = constant_skip(rows)
    if skip is None:
        return
    by_idx = {row.idx: row for row in reversed(rows)}
    present = sorted(by_idx)
    for before, after in itertools.pairwise(present):
        if after - before != skip:
            yield finding(Kind.MISSING, by_idx[after], _told_gap(before, after, skip))


def _told_gap(before: int, after: int, skip: int) -> str:
    gone = (after - before - 1) // skip
    if gone == 0:
        return f"idx {after} follows {before}, though rows come every {skip}"
    listed = f"idx {before + skip}" if gone == 1 else f"{gone} rows, idx {before + skip} to {before + gone * skip},"
    return f"{listed} missing before idx {after}: rows come every {skip}"


def constant_skip(rows: Sequence[Row]) -> int | None:
    """The distance between at least half of the neighbouring idx; None where there is no such."""
    present = sorted({row.idx for row in rows})
    distances = Counter(after - before for before, after in itertools.pairwise(present))
    if not distances:
        return None
    skip, count = min(distances.items(), key=lambda item: (-item[1], item[0]))
    return skip if 2 * count >= distances.total() else None


def by_idx(rows: Sequence[Row]) -> dict[int, list[int]]:
    """idx -> positions of its rows."""
    positions: dict[int, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        positions[row.idx].append(position)
    return positions
