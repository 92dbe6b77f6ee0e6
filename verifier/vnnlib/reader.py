"""VNN-LIB 1.0, as the competition's files have it: declarations of inputs X_i and outputs Y_j, then assertions.

    (declare-const X_0 Real)                    ; also Y_0; numbered from 0 without gaps
    (assert (<= X_0 0.5))                       ; an input and a number
    (assert (or (and (>= Y_0 Y_3)) (<= (+ Y_0 (* -2.0 Y_1)) 1e-3)))

The assertions together describe the counterexamples. Whatever is not understood is refused with its place: a reader
that skips what it does not know answers another question.

Source: VNN-LIB standard 1.0 (vnnlib.org), and the rules of VNN-COMP 2021 to 2025.
"""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

from verifier.errors import InvalidProblem, Unsupported
from verifier.properties import Property
from verifier.vnnlib.cases import Formula, cases_of, check_size, conjunction, disjunction
from verifier.vnnlib.terms import Term, added, bound, literal, multiplied, number, subtracted
from verifier.vnnlib.tokens import Token, text_of, tokens

MAX_DEPTH = 100
"""Parentheses within each other. The competition's properties have 5."""

_VARIABLE = re.compile(r"[XY]_(0|[1-9][0-9]{0,8})")

Item = Token | Term | Formula
"""What stands in a list: a word, or what a list within it was reduced to."""


def read(source: Path | bytes) -> Property:
    """The property that a file states.

    Exactly: (x, y) fulfils all assertions iff `Property.violated_by(x, y)`, in rational arithmetic.

    Args:
        source: a file, or the content of one; plain text or gzip, told apart by the first bytes.
    Raises:
        InvalidProblem: not a well-formed property, or one that leaves an input unbounded; with line and column, what
            was expected and what came.
        Unsupported: well-formed, but not boxes of inputs with linear conditions on outputs, or too many cases.
    """
    script = _Script()
    for token in tokens(text_of(source)):
        script.take(token)
    return script.result()


class _Script:
    """A text as far as it was read. Each list is reduced when it is closed, so nothing here recurses."""

    def __init__(self) -> None:
        self.declared: set[str] = set()
        self.asserted: list[Formula] = []
        self.open: list[list[Item]] = []  # each begins with its parenthesis
        self.multiplied = 0  # literals that only multiplying out has made
        self.end = Token("", "", 0)

    def take(self, token: Token) -> None:
        """One more token."""
        if token.text == "(":
            if len(self.open) == MAX_DEPTH:
                raise token.invalid(f"expected at most {MAX_DEPTH} parentheses within each other, got one more")
            self.open.append([token])
        elif token.text == ")":
            if not self.open:
                raise token.expected("a command such as (assert ...)")
            self._close(token)
        elif self.open:
            if not token.text:
                raise token.expected("')'")
            self.open[-1].append(token)
        elif token.text:
            raise token.expected("'('")
        else:
            self.end = token

    def result(self) -> Property:
        """The property, after the last token."""
        inputs, outputs = self._count("X"), self._count("Y")
        return Property(inputs, outputs, cases_of(self.end, self.asserted, inputs))

    def _close(self, end: Token) -> None:
        parenthesis, *items = self.open.pop()
        head = items[0] if items else end
        if not isinstance(head, Token) or head is end:
            assert isinstance(parenthesis, Token)
            raise parenthesis.invalid("expected an operator after '(', got another parenthesis")
        if self.open:
            self.open[-1].append(self._reduced(head, items[1:]))
        elif head.text == "declare-const":
            self._declare(head, items[1:])
        elif head.text == "assert":
            _check_count(head, items[1:], 1, 1)
            self.asserted.append(_formula(head, items[1]))
        else:
            raise head.expected("'declare-const' or 'assert'")

    def _declare(self, head: Token, items: Sequence[Item]) -> None:
        _check_count(head, items, 2, 2)
        name, sort = items
        if not isinstance(name, Token) or not _VARIABLE.fullmatch(name.text):
            raise (name if isinstance(name, Token) else head).expected("a variable X_i or Y_j")
        if not isinstance(sort, Token) or sort.text != "Real":
            raise (sort if isinstance(sort, Token) else head).expected("the sort 'Real'")
        if name.text in self.declared:
            raise name.invalid(f"{name.text} is declared twice")
        self.declared.add(name.text)

    def _count(self, kind: str) -> int:
        """How many inputs (X) or outputs (Y) there are."""
        names = [name for name in self.declared if name.startswith(kind)]
        for i in range(max(len(names), 1)):
            if f"{kind}_{i}" not in self.declared:
                raise InvalidProblem(
                    f"expected {kind}_0, {kind}_1, ... without gaps, got no (declare-const {kind}_{i} Real)",
                    reason="INVALID_PROPERTY",
                )
        return len(names)

    def _reduced(self, head: Token, items: Sequence[Item]) -> Term | Formula:
        """What an operator makes of its arguments."""
        if head.text in _CONNECTIVES:
            _check_count(head, items, 1)
            return self._connected(head, [_formula(head, item) for item in items])
        if head.text in ("<=", ">="):
            _check_count(head, items, 2, 2)
            plain = self._plain_bound(head, *items)
            if plain is not None:
                return plain
            left, right = (self._term(head, item) for item in items)
            lesser, greater = (left, right) if head.text == "<=" else (right, left)
            return _comparison(head, subtracted(head, [lesser, greater]))
        if head.text in _OPERATIONS:
            fewest, operation = _OPERATIONS[head.text]
            _check_count(head, items, fewest)
            return operation(head, [self._term(head, item) for item in items])
        raise _unknown(head)

    def _plain_bound(self, head: Token, left: Item, right: Item) -> Formula | None:
        """X_i compared with a number, as nearly all lines of most files do: read in half the time."""
        if not (isinstance(left, Token) and isinstance(right, Token)):
            return None
        if left.text[0] != "X" or left.text not in self.declared:
            return None
        value = number(right)
        return None if value is None else Formula([[bound(head, left.text, head.text == "<=", value)]])

    def _connected(self, head: Token, formulas: Sequence[Formula]) -> Formula:
        """The conjunction or disjunction, within what all of them together may multiply to."""
        if len(formulas) == 1:  # not copied, so that long nests of them stay cheap
            return formulas[0]
        formula = _CONNECTIVES[head.text](head, formulas)
        self.multiplied += max(0, formula.size - sum(part.size for part in formulas))
        check_size(head, len(formula.alternatives), self.multiplied)
        return formula

    def _term(self, head: Token, item: Item) -> Term:
        if isinstance(item, Term):
            return item
        if isinstance(item, Formula):
            raise head.invalid(f"expected terms as arguments of '{head.text}', got a formula")
        if item.text in self.declared:
            return Term({item.text: Fraction(1)}, Fraction(0))
        value = number(item)
        if value is None:
            raise item.expected("a number or a declared variable")
        return Term({}, value)


def _formula(head: Token, item: Item) -> Formula:
    if isinstance(item, Formula):
        return item
    if isinstance(item, Token):
        raise item.expected(f"a formula in parentheses as argument of '{head.text}'")
    raise head.invalid(f"expected a formula as argument of '{head.text}', got a term")


def _comparison(head: Token, term: Term) -> Formula:
    """The formula `term <= 0`."""
    said = literal(head, term)
    if isinstance(said, bool):
        return Formula([[]] if said else [])
    return Formula([[said]])


def _check_count(head: Token, items: Sequence[Item], fewest: int, most: int | None = None) -> None:
    if len(items) < fewest or (most is not None and len(items) > most):
        wanted = f"{fewest}" if fewest == most else f"at least {fewest}"
        raise head.invalid(f"expected {wanted} after '{head.text}', got {len(items)}")


def _unknown(head: Token) -> Unsupported | InvalidProblem:
    known = ", ".join((*_CONNECTIVES, "<=", ">=", *_OPERATIONS))
    if head.text in _OTHERS:
        return head.unsupported(f"'{head.text}' is not supported, only {known}")
    return head.expected(f"one of {known}")


_CONNECTIVES: dict[str, Callable[[Token, Sequence[Formula]], Formula]] = {"and": conjunction, "or": disjunction}

_OPERATIONS: dict[str, tuple[int, Callable[[Token, Sequence[Term]], Term]]] = {
    "+": (2, added),
    "-": (1, subtracted),
    "*": (2, multiplied),
}
"""The fewest arguments of each operation on terms, and what it makes of them."""

_OTHERS = {"<", ">", "=", "distinct", "not", "=>", "xor", "ite", "let", "/", "abs", "forall", "exists"}
"""What SMT-LIB has beyond it: strict comparisons too, for a counterexample at the edge of one would be none."""
