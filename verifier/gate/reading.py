"""Reading a TOML document strictly: every mistake is named with its line and its field, and all of them at once."""

import math
import tomllib
from collections.abc import Sequence
from typing import Any

from verifier.errors import FieldViolation, InvalidProblem
from verifier.gate.lines import Path, key_lines

REQUIRED = object()
"""Default of what must be given."""


class Document:
    """A TOML text, and what was found wrong with it so far.

    Args:
        text: of the document.
        name: of its file, as messages name it.
    Raises:
        InvalidProblem: the text is no TOML.
    """

    def __init__(self, text: str, name: str) -> None:
        self.name = name
        self._wrong: list[tuple[int, FieldViolation]] = []
        try:
            values = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise InvalidProblem(f"{name}: not TOML: {error}", field=name) from None
        self._lines = key_lines(text)
        self.root = Table(self, (), values)

    def wrong(self, path: Path, message: str) -> None:
        """Note that the field at the path must be otherwise; the message goes on after the field's name."""
        line = self._line(path)
        field = told_path(path)
        self._wrong.append((line, FieldViolation(field, f"{self.name}:{line}: {field} {message}")))

    def refuse(self) -> None:
        """Raise InvalidProblem with all that was found wrong, in the order of the lines, if anything was."""
        if self._wrong:
            violations = tuple(violation for _, violation in sorted(self._wrong, key=lambda wrong: wrong[0]))
            message = "\n".join(violation.description for violation in violations)
            raise InvalidProblem(message, violations=violations, reason="INVALID_POLICY")

    @property
    def sound(self) -> bool:
        """Whether nothing was found wrong so far."""
        return not self._wrong

    def _line(self, path: Path) -> int:
        """Of the path, or of the nearest that holds it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)


class Table:
    """A table of a document. Each reader takes one key and answers None where it is missing or wrong."""

    def __init__(self, document: Document, path: Path, values: dict[str, Any]) -> None:
        self.document = document
        self.path = path
        self.values = values
        self._taken: set[str] = set()

    def wrong(self, key: str | None, message: str) -> None:
        """Note that a key here (or the table itself) must be otherwise."""
        self.document.wrong(self.path if key is None else (*self.path, key), message)

    def has(self, key: str) -> bool:
        """Whether it is given."""
        return key in self.values

    def close(self, also: Sequence[str] = ()) -> None:
        """Note every key that nobody took."""
        known = sorted(self._taken | set(also))
        for key in self.values:
            if key not in self._taken:
                self.wrong(key, f"is not known here: use one of {', '.join(known)}, or drop it")

    def number(
        self, key: str, least: float, most: float, default: Any = REQUIRED, *, open_ends: bool = False
    ) -> float | None:
        """A number in least..most, without the ends where `open_ends`."""
        value = self._take(key, default)
        if value is None or value is default:
            return value if value is not REQUIRED else None
        inside = isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
        if not inside or (open_ends and value in (least, most)):
            between = f"between {least:g} and {most:g}, neither of them" if open_ends else f"in {least:g}..{most:g}"
            if most == math.inf:
                between = f"finite and {'>' if open_ends else '>='} {least:g}"
            self.wrong(key, f"must be a number {between}, got {value!r}")
            return None
        if not math.isfinite(value):
            self.wrong(key, f"must be a finite number, got {value!r}")
            return None
        return float(value)

    def integer(self, key: str, least: int, most: int, default: Any = REQUIRED) -> int | None:
        """An integer in least..most."""
        value = self._take(key, default)
        if value is None or value is default:
            return value if value is not REQUIRED else None
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            self.wrong(key, f"must be an integer in {least}..{most}, got {value!r}")
            return None
        return value

    def boolean(self, key: str, default: bool) -> bool:
        """True or false; the default where it is wrong."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            self.wrong(key, f"must be true or false, got {value!r}")
            return default
        return value

    def string(self, key: str, default: Any = REQUIRED) -> str | None:
        """A string that is not empty."""
        value = self._take(key, default)
        if value is None or value is default:
            return value if value is not REQUIRED else None
        if not isinstance(value, str) or not value.strip():
            self.wrong(key, f"must be a string that is not empty, got {value!r}")
            return None
        return value

    def choice(self, key: str, choices: Sequence[str]) -> str | None:
        """One of some words."""
        value = self._take(key, REQUIRED)
        if value is REQUIRED:
            return None
        if not isinstance(value, str) or value not in choices:
            self.wrong(key, f"must be one of {', '.join(choices)}, got {value!r}")
            return None
        return value

    def table(self, key: str, *, required: bool = False) -> "Table | None":
        """A table within this one."""
        value = self._take(key, REQUIRED if required else None)
        if value is None or value is REQUIRED:
            return None
        if not isinstance(value, dict):
            self.wrong(key, f"must be a table, [{told_path((*self.path, key))}], got {value!r}")
            return None
        return Table(self.document, (*self.path, key), value)

    def tables(self, key: str) -> "list[Table]":
        """An array of tables, one at least."""
        value = self._take(key, REQUIRED)
        if value is REQUIRED:
            return []
        header = f"[[{told_path((*self.path, key))}]]"
        if not isinstance(value, list) or not value or not all(isinstance(entry, dict) for entry in value):
            self.wrong(key, f"must be one or more tables {header}, got {value!r}")
            return []
        return [Table(self.document, (*self.path, key, number), entry) for number, entry in enumerate(value)]

    def take(self, key: str) -> Any:
        """A value as it is, which the caller judges; None where it is missing."""
        return self._take(key, None)

    def _take(self, key: str, default: Any) -> Any:
        self._taken.add(key)
        if key not in self.values and default is REQUIRED:
            self.wrong(key, "is missing")
        return self.values.get(key, default)


def told_path(path: Path) -> str:
    """("threshold", 1, "radius") -> threshold[1].radius; the document itself is "the file"."""
    told = ""
    for part in path:
        told += f"[{part}]" if isinstance(part, int) else f".{part}" if told else part
    return told or "the file"
