"""The field's log of smoothing: one line an input, tab-separated `idx label predict radius correct time`.

Written by the certify.py of Cohen et al. 2019 and all that follow it. What is no log is an error here; what is a log,
but says what cannot be, is read as it stands and left to `rows` and `radii` to find.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from verifier.errors import InvalidProblem

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
ABSTAINED = -1
"""What `predict` says where no class was proved."""

_NUMBER = re.compile(r"[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,4})?|nan|inf|infinity)", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,18}", re.ASCII)


@dataclass(frozen=True)
class Row:
    """One line of a log, as it stands.

    Args:
        line: in the file, from 1.
        idx: of the input in its data set, >= 0.
        label: the true class, >= 0; None where it was not given, which only our own certificates leave out.
        predict: the class, or -1 where the procedure abstained.
        radius: as a float64; may be nonsense (negative, NaN, infinite).
        printed: the radius as it is written; "" where it is no text, but a certificate's float64.
        correct: what the log counts.
        time: as it is written; "" where there is none.
    """

    line: int
    idx: int
    label: int | None
    predict: int
    radius: float
    printed: str
    correct: bool
    time: str

    @property
    def abstained(self) -> bool:
        """Whether the row states no class."""
        return self.predict == ABSTAINED


def read_log(lines: Iterable[str]) -> tuple[Row, ...]:
    """The rows of a log. Blank lines are skipped, further columns ignored, and the order of the columns is free.

    Raises:
        InvalidProblem: a line that is none of a log, or no rows at all; the message names line and column.
    """
    numbered = [(number, line.rstrip("\r\n")) for number, line in enumerate(lines, start=1) if line.strip()]
    if not numbered:
        raise InvalidProblem(f"the log is empty; expected a header line: {' '.join(COLUMNS)}", field="line[1]")
    number, header = numbered[0]
    names = _columns(number, header.removeprefix("\ufeff"))
    rows = tuple(_row(number, names, line.split("\t")) for number, line in numbered[1:])
    if not rows:
        raise InvalidProblem("the log has a header line, but no rows", field="line[2]")
    return rows


def _columns(number: int, header: str) -> list[str]:
    names = [name.strip() for name in header.split("\t")]
    missing = [name for name in COLUMNS if name not in names]
    if missing:
        raise InvalidProblem(
            f"line {number}: the header has no column {', '.join(missing)}; expected, separated by tabs: "
            f"{' '.join(COLUMNS)}; got {header[:80]!r}",
            field=f"line[{number}]",
        )
    for name in COLUMNS:
        if names.count(name) > 1:
            raise InvalidProblem(f"line {number}: the header has column {name} twice", field=f"line[{number}].{name}")
    return names


def _row(number: int, names: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) != len(names):
        raise InvalidProblem(
            f"line {number}: expected {len(names)} columns separated by tabs, got {len(cells)}; was the file cut off?",
            field=f"line[{number}]",
        )
    texts = {name: text.strip() for name, text in zip(names, cells, strict=True)}
    return Row(
        line=number,
        idx=_integer(number, "idx", texts["idx"], least=0),
        label=_integer(number, "label", texts["label"], least=0),
        predict=_integer(number, "predict", texts["predict"], least=ABSTAINED),
        radius=_number(number, "radius", texts["radius"]),
        printed=texts["radius"],
        correct=bool(_integer(number, "correct", texts["correct"], least=0, most=1)),
        time=texts["time"],
    )


def _integer(number: int, column: str, text: str, *, least: int, most: int | None = None) -> int:
    value = int(text) if _INTEGER.fullmatch(text) else None
    if value is None or value < least or (most is not None and value > most):
        wanted = f"an integer >= {least}" if most is None else f"{least} or {most}"
        raise _wrong(number, column, wanted, text)
    return value


def _number(number: int, column: str, text: str) -> float:
    if not _NUMBER.fullmatch(text):
        raise _wrong(number, column, "a number", text)
    return float(text)


def _wrong(number: int, column: str, wanted: str, text: str) -> InvalidProblem:
    return InvalidProblem(
        f"line {number}, column {column}: expected {wanted}, got {text[:40]!r}", field=f"line[{number}].{column}"
    )
