"""Linear terms in exact rationals, and the literals that comparisons of them are."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from verifier.properties import LinearConstraint, in_range
from verifier.vnnlib.tokens import Token

MAX_DIGITS = 1000
"""Characters of a number, and the size of its exponent. float64 needs 17 digits and exponents up to 324."""

MAX_BITS = 2**14
"""Of the numerator or denominator of what is computed from numbers: sums and products cannot grow beyond use."""

NUMBER = re.compile(r"([+-]?)(\d+\.?\d*|\.\d+)(?:[eE]([+-]?\d+))?", re.ASCII)
"""A decimal number: sign, digits with or without a point, exponent."""


@dataclass(frozen=True)
class Term:
    """sum of coefficients[v] v + constant over variables v, exactly; a coefficient may be 0."""

    coefficients: dict[str, Fraction]
    constant: Fraction


class Bound(NamedTuple):
    """X_feature <= value where `is_upper`, X_feature >= value otherwise."""

    feature: int
    is_upper: bool
    value: Fraction


Literal = Bound | LinearConstraint
"""What a comparison says: about one input, or about the outputs."""


def number(token: Token) -> Fraction | None:
    """The exact value of a decimal number; None where the token is none.

    Raises:
        InvalidProblem: too long a number, or too large an exponent, to be meant for float64.
    """
    match = NUMBER.fullmatch(token.text)
    if match is None:
        return None
    sign, digits, exponent = match.groups(default="0")
    if len(token.text) > MAX_DIGITS or abs(int(exponent)) > MAX_DIGITS:
        raise token.invalid(f"a number must have at most {MAX_DIGITS} characters and an exponent within +-{MAX_DIGITS}")
    whole, _, decimals = digits.partition(".")
    scale = int(exponent) - len(decimals)
    value = int(whole + decimals) * (-1 if sign == "-" else 1)
    return Fraction(value * 10**scale) if scale >= 0 else Fraction(value, 10**-scale)


def added(at: Token, terms: Sequence[Term]) -> Term:
    """The sum, of at least one."""
    coefficients = dict(terms[0].coefficients)
    for variable, coefficient in (pair for term in terms[1:] for pair in term.coefficients.items()):
        old = coefficients.get(variable)
        coefficients[variable] = coefficient if old is None else _small(at, old + coefficient)
    constant = terms[0].constant
    for term in terms[1:]:
        constant = _small(at, constant + term.constant)
    return Term(coefficients, constant)


def scaled(at: Token, term: Term, factor: Fraction) -> Term:
    """factor * term."""
    coefficients = {variable: _small(at, factor * c) for variable, c in term.coefficients.items()}
    return Term(coefficients, _small(at, factor * term.constant))


def subtracted(at: Token, terms: Sequence[Term]) -> Term:
    """The first minus the others; the negative of a single one."""
    if len(terms) == 1:
        return scaled(at, terms[0], Fraction(-1))
    return added(at, [terms[0], *(scaled(at, term, Fraction(-1)) for term in terms[1:])])


def multiplied(at: Token, terms: Sequence[Term]) -> Term:
    """The product, of which at most one factor may have variables.

    Raises:
        Unsupported: a product of variables.
    """
    product = terms[0]
    for term in terms[1:]:
        if product.coefficients and term.coefficients:
            names = f"{min(product.coefficients)} and {min(term.coefficients)}"
            raise at.unsupported(f"a product of terms with {names} is not linear; only linear properties are supported")
        linear, factor = (product, term) if product.coefficients else (term, product)
        product = scaled(at, linear, factor.constant)
    return product


def bound(at: Token, variable: str, is_upper: bool, value: Fraction) -> Bound:
    """What a comparison of an input with a number says, in which there is nothing to work out.

    Raises:
        InvalidProblem: a number beyond float64.
    """
    _check_range(at, [value])
    return Bound(int(variable[2:]), is_upper, value)


def literal(at: Token, term: Term) -> Literal | bool:
    """What `term <= 0` says; whether it is true where it has no variables left.

    Raises:
        Unsupported: inputs and outputs in one comparison, or several inputs.
        InvalidProblem: a number beyond float64.
    """
    inputs = dict(_indexed(term, "X"))
    outputs = dict(_indexed(term, "Y"))
    if inputs and outputs:
        raise at.unsupported(
            f"X_{min(inputs)} and Y_{min(outputs)} stand in one comparison; only boxes of inputs and linear "
            "conditions on outputs are supported, each comparison about one of them"
        )
    if len(inputs) > 1:
        first, second = sorted(inputs)[:2]
        raise at.unsupported(
            f"X_{first} and X_{second} stand in one comparison; only boxes are supported, one input bounded by a number"
        )
    if inputs:
        ((feature, coefficient),) = inputs.items()
        value = -term.constant / coefficient
        _check_range(at, [value])
        return Bound(feature, coefficient > 0, value)
    if not outputs:
        return term.constant <= 0
    _check_range(at, [*outputs.values(), term.constant])
    return LinearConstraint(tuple(sorted(outputs.items())), -term.constant)


def _indexed(term: Term, kind: str) -> Iterator[tuple[int, Fraction]]:
    """Index and coefficient of each input (X) or output (Y) that the term depends on."""
    return ((int(v[2:]), c) for v, c in term.coefficients.items() if c and v.startswith(kind))


def _small(at: Token, value: Fraction) -> Fraction:
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MAX_BITS:
        raise at.invalid(f"the numbers make one of more than {MAX_BITS} bits; write them shorter")
    return value


def _check_range(at: Token, values: Sequence[Fraction]) -> None:
    if not all(map(in_range, values)):
        raise at.invalid("expected numbers that float64 holds, got one beyond 1.8e308")
