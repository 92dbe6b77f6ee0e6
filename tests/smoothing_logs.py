"""Logs of smoothing as the field makes them: from vote counts, by SciPy's inversions, printed by Python."""

import decimal
from collections.abc import Callable, Iterable, Sequence

from scipy.stats import beta, norm

from verifier.rounding import format_down

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"

Print = Callable[[float], str]


def field_radius(k: int, n: int, alpha: float, sigma: float) -> float:
    """What certify.py of Cohen et al. computes; 0 where it abstains."""
    p_a_lower = float(beta.ppf(alpha, k, n - k + 1)) if k else 0.0
    return float(sigma * norm.ppf(p_a_lower)) if p_a_lower > 0.5 else 0.0


def three_digits(radius: float) -> str:
    """The field's way: three significant digits, rounded to nearest."""
    return f"{radius:.3}"


def down_to(decimals: int) -> Print:
    """Our way."""
    return lambda radius: format_down(radius, decimals)


def three_digits_towards(rounding: str) -> Print:
    """Three significant digits, rounded another way."""
    context = decimal.Context(prec=3, rounding=rounding)
    return lambda radius: f"{float(context.create_decimal(decimal.Decimal(radius)))!r}"


def lines_of(votes: Iterable[int], n: int, alpha: float, sigma: float, show: Print, *, skip: int = 1) -> list[str]:
    """The log of inputs with these votes; every third is wrong."""
    lines = [HEADER]
    for number, k in enumerate(votes):
        radius = field_radius(k, n, alpha, sigma)
        if radius > 0:
            label, cells = 3, ("3" if number % 3 else "4", show(radius), "1" if number % 3 else "0")
        else:
            label, cells = 3, ("-1", "0.0", "0")
        lines.append("\t".join([str(number * skip), str(label), *cells, "0:00:14.086097"]))
    return lines


def changed(lines: Sequence[str], line: int, **cells: str) -> list[str]:
    """The log with other cells in one line, counted from 1 as in messages."""
    names = HEADER.split("\t")
    row = lines[line - 1].split("\t")
    for name, text in cells.items():
        row[names.index(name)] = text
    return [*lines[: line - 1], "\t".join(row), *lines[line:]]
