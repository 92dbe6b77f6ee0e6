"""Words of the house to enumerations of the API and back: the message's name is the word's, with the type's prefix."""

from enum import Enum
from typing import Any, TypeVar

from verifier.errors import InvalidProblem

Word = TypeVar("Word", bound=Enum)


def to_enum(enum: Any, prefix: str, word: Enum) -> Any:
    """The number of a word."""
    return enum.Value(f"{prefix}_{word.name}")


def from_enum(enum: Any, prefix: str, number: int, kind: type[Word], field: str, default: Word | None = None) -> Word:
    """The word of a number, the default for 0; InvalidProblem lists the names where there is none."""
    if number == 0 and default is not None:
        return default
    names = [member.name for member in kind]
    name = enum.Name(number).removeprefix(f"{prefix}_") if number in enum.values() else str(number)
    if name not in names:
        choices = ", ".join(f"{prefix}_{name}" for name in names)
        raise InvalidProblem(f"{field} must be one of {choices}, got {name}", field=field)
    return kind[name]
