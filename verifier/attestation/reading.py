"""From a stranger's JSON to frozen dataclasses, strictly: every field, no other, each of its type."""

import json
import math
import types
import typing
from dataclasses import fields, is_dataclass
from enum import StrEnum
from typing import Any

from verifier.errors import InvalidProblem


def parse(data: bytes, what: str) -> dict[str, Any]:
    """The JSON object that these bytes are; no name twice, no NaN, no infinity.

    Raises:
        InvalidProblem: they are none.
    """
    try:
        values = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InvalidProblem(f"{what} is not JSON: {str(error)[:200]}", field=what) from None
    if not isinstance(values, dict):
        raise InvalidProblem(f"{what} is no JSON object", field=what)
    return values


def read(kind: Any, value: Any, path: str) -> Any:
    """A value as the type that an annotation names.

    Args:
        kind: int, float, str, bool, a StrEnum, a dataclass of these, tuple[..., ...], dict[str, ...], or
            any of these | None.
        value: from `parse`.
        path: of the value, for messages.
    Raises:
        InvalidProblem: it is another.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        (inner,) = [argument for argument in arguments if argument is not type(None)]
        return None if value is None else read(inner, value, path)
    if origin is tuple and isinstance(value, list):
        return tuple(read(arguments[0], entry, f"{path}[{number}]") for number, entry in enumerate(value))
    if origin is dict and isinstance(value, dict):
        return {name: read(arguments[1], entry, f"{path}.{name}") for name, entry in value.items()}
    if isinstance(kind, type):
        if is_dataclass(kind) and isinstance(value, dict):
            return _dataclass(kind, value, path)
        if issubclass(kind, StrEnum) and isinstance(value, str) and value in list(kind):
            return kind(value)
        if type(value) is kind:
            return value
        if kind is float and type(value) is int and abs(value) <= 2**53:
            return float(value)
    raise InvalidProblem(f"{path} cannot be {_short(value)}", field=path)


def _dataclass(kind: type[Any], values: dict[str, Any], path: str) -> Any:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in fields(kind)]
    if set(values) != set(names):
        wrong = sorted(set(values) ^ set(names))
        raise InvalidProblem(f"{path} must have exactly its own fields; missing or unknown: {wrong[:8]}", field=path)
    return kind(**{name: read(hints[name], values[name], f"{path}.{name}") for name in names})


def difference(stated: Any, derived: Any, path: str) -> str | None:
    """Where two JSON values first differ, in words; None where they are the same."""
    if isinstance(stated, dict) and isinstance(derived, dict):
        for name in sorted(set(stated) | set(derived)):
            if name not in stated or name not in derived:
                return f"{path}.{name[:80]} {'is missing' if name in derived else 'does not belong there'}"
            if (found := difference(stated[name], derived[name], f"{path}.{name}")) is not None:
                return found
        return None
    if isinstance(stated, list) and isinstance(derived, list) and len(stated) == len(derived):
        pairs = enumerate(zip(stated, derived, strict=True))
        return next((found for n, (a, b) in pairs if (found := difference(a, b, f"{path}[{n}]")) is not None), None)
    if stated == derived and isinstance(stated, bool) == isinstance(derived, bool):
        return None
    return f"{path} must be {_short(derived)}, got {_short(stated)}"


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice in one object")
    return values


def _no_number(constant: str) -> float:
    raise ValueError(f"{constant} is no number")


def _short(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
