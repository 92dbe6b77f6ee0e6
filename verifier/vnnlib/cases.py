"""Formulas in disjunctive normal form, and the cases of a property that they are.

A formula is a list of alternatives, each a list of literals that hold together: no alternatives is false, an
alternative without literals is true.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from verifier.errors import InvalidProblem
from verifier.properties import Case, InputBox, LinearConstraint
from verifier.vnnlib.terms import Bound, Literal
from verifier.vnnlib.tokens import Token

MAX_CASES = 2**16
"""Alternatives of a formula. The competition's properties have up to some ten thousand."""

MAX_LITERALS = 2**22
"""Literals of a formula, and numbers of all boxes together: bounds the memory of what a short text multiplies to."""

Alternative = list[Literal]


@dataclass(frozen=True)
class Formula:
    """Alternatives, of which at least one holds where the formula does."""

    alternatives: list[Alternative]

    @property
    def size(self) -> int:
        """What it holds: literals and alternatives."""
        return len(self.alternatives) + sum(map(len, self.alternatives))


def disjunction(at: Token, formulas: Sequence[Formula]) -> Formula:
    """At least one of them holds."""
    alternatives = [alternative for formula in formulas for alternative in formula.alternatives]
    check_size(at, len(alternatives), 0)
    return Formula(alternatives)


def conjunction(at: Token, formulas: Sequence[Formula]) -> Formula:
    """All of them hold: every way to choose one alternative of each.

    Raises:
        Unsupported: more than `MAX_CASES` ways, or `MAX_LITERALS` literals in them; before they are made.
    """
    plain, branching = _parted(formulas)
    if not all(formula.alternatives for formula in branching):
        return Formula([])
    ways = [plain]
    for formula in branching:
        more = formula.alternatives
        literals = sum(map(len, ways)) * len(more) + sum(map(len, more)) * len(ways)
        check_size(at, len(ways) * len(more), literals)
        ways = [way + alternative for way in ways for alternative in more]
    return Formula(ways)


def cases_of(at: Token, asserted: Sequence[Formula], inputs: int) -> tuple[Case, ...]:
    """The cases in which all assertions hold, without those whose box is empty.

    What is asserted without alternatives is common to all cases; a case that adds no bound shares the common box.

    Args:
        at: place to name where there are too many cases.
        asserted: formulas, all of which hold.
        inputs: n; bounds are about X_0..X_{n-1}.
    Raises:
        InvalidProblem: an input without an upper or lower bound in some case, named.
        Unsupported: too many cases.
    """
    plain, branching = _parted(asserted)
    ways = conjunction(at, branching).alternatives
    bounds, constraints = _divided(plain)
    common = _Ends([None] * inputs, [None] * inputs).tightened(bounds)
    own = [_divided(way) for way in ways]
    size = sum(2 * inputs if own_bounds else 0 for own_bounds, _ in own) + len(constraints) * len(ways)
    check_size(at, len(ways), size)
    sharing = [i for i, (own_bounds, _) in enumerate(own, 1) if not own_bounds]
    shared = common.box(sharing[0]) if sharing else None
    boxes = [common.tightened(own_bounds).box(i) if own_bounds else shared for i, (own_bounds, _) in enumerate(own, 1)]
    return tuple(
        Case(box, (*constraints, *own_constraints))
        for box, (_, own_constraints) in zip(boxes, own, strict=True)
        if box is not None
    )


def check_size(at: Token, cases: int, literals: int) -> None:
    """Raise Unsupported where there are more than `MAX_CASES` or `MAX_LITERALS`."""
    if cases > MAX_CASES or literals > MAX_LITERALS:
        raise at.unsupported(
            f"the formula has {cases} cases with {literals} literals when its alternatives are multiplied out; at most "
            f"{MAX_CASES} and {MAX_LITERALS} are supported; split the property into several"
        )


@dataclass(frozen=True)
class _Ends:
    """The ends of a box so far, [n] each; None where there is none yet."""

    lower: list[Fraction | None]
    upper: list[Fraction | None]

    def tightened(self, bounds: Iterable[Bound]) -> "_Ends":
        """The intersection with some bounds."""
        lower, upper = self.lower.copy(), self.upper.copy()
        for feature, is_upper, value in bounds:
            ends = upper if is_upper else lower
            old = ends[feature]
            if old is None or (value < old if is_upper else value > old):
                ends[feature] = value
        return _Ends(lower, upper)

    def box(self, number: int) -> InputBox | None:
        """The box, None where it is empty; `number` is its case's, for the message where an end is missing."""
        lower = [end for end in self.lower if end is not None]
        upper = [end for end in self.upper if end is not None]
        for side, sign, ends, found in (("lower", ">=", self.lower, lower), ("upper", "<=", self.upper, upper)):
            if len(found) < len(ends):
                missing = ends.index(None)
                raise InvalidProblem(
                    f"X_{missing} has no {side} bound in case {number}: every input must be bounded on both sides; "
                    f"assert ({sign} X_{missing} number)",
                    reason="INVALID_PROPERTY",
                )
        if any(low > high for low, high in zip(lower, upper, strict=True)):
            return None
        return InputBox(tuple(lower), tuple(upper))


def _parted(formulas: Sequence[Formula]) -> tuple[Alternative, list[Formula]]:
    """The literals of all formulas that have one alternative, and the other formulas."""
    plain = [literal for f in formulas if len(f.alternatives) == 1 for literal in f.alternatives[0]]
    return plain, [f for f in formulas if len(f.alternatives) != 1]


def _divided(literals: Alternative) -> tuple[list[Bound], list[LinearConstraint]]:
    bounds = [literal for literal in literals if isinstance(literal, Bound)]
    constraints = [literal for literal in literals if isinstance(literal, LinearConstraint)]
    return bounds, constraints
