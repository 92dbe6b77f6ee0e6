"""What was tried on an input, by whom it was asked: the account of alpha over several attempts.

Whoever asks k times about one input and keeps the best answer is wrong with probability up to the sum of the k alphas.
The ledger counts attempts under (project, model version, input, noise family and scale), whatever their number of
draws, method or seed, and writes each down before its first draw: an attempt whose answer is thrown away counts too.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

from sqlalchemy import Connection, insert, select

from verifier.certificate import Attempt
from verifier.errors import AlreadyExists
from verifier.methods import Smoothing, Target
from verifier.problem import Problem
from verifier.rounding import up
from verifier.seeds import Seed
from verifier.storage.database import ATTEMPTS, Database

_AT_ONCE = 500
"""Inputs of one statement; SQLite takes a limited number of parameters."""

_NOT_PART_OF_THE_TEST = ("futility", "max_seconds", "max_forward_passes")
"""Parameters that only end the draws: they change neither these nor what their votes prove at a look."""


@dataclass(frozen=True)
class _Entry:
    """One attempt, as far as it is known.

    Args:
        digest: of the input.
        name: of the attempt: the same question with the same seed has the same name.
    """

    digest: str
    name: str


class Ledger:
    """Attempts of one project.

    Args:
        database: where they are kept, for ever.
        refuse: whether a further attempt on an input is refused.
        clock: seconds since the epoch.
    """

    def __init__(
        self,
        database: Database,
        *,
        refuse: bool = False,
        project: str = "default",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._refuse = refuse
        self._project = project
        self._clock = clock

    def enter(self, model_digest: str, problem: Problem, method: Smoothing, seed: Seed) -> list[Attempt]:
        """Write down an attempt on each input, durably, and say which one it is.

        Args:
            method: its rng resolved.

        Asking the same with the same seed, at the same index, again is no new attempt: it has the same draws.

        Raises:
            AlreadyExists: reason ATTEMPT_REPEATED: an input was tried before, and that is refused here.
        """
        entries = [_Entry(digest, _name(method, seed, problem, row)) for row, digest in enumerate(problem.digests)]
        answers: list[Attempt] = []
        with self._database.write() as rows:
            for start in range(0, len(entries), _AT_ONCE):
                answers += self._enter(rows, model_digest, entries[start : start + _AT_ONCE], method, start, problem)
        return answers

    def _enter(
        self,
        rows: Connection,
        model_digest: str,
        entries: Sequence[_Entry],
        method: Smoothing,
        start: int,
        problem: Problem,
    ) -> list[Attempt]:
        key = {
            "project": self._project,
            "model_digest": model_digest,
            "noise": method.noise.value,
            "sigma": method.sigma,
        }
        before = self._before(rows, key, {entry.digest for entry in entries})
        new: list[dict[str, Any]] = []
        answers = []
        for number, entry in enumerate(entries):
            attempts = before.setdefault(entry.digest, {})
            if entry.name not in attempts:
                if attempts and self._refuse:
                    raise _repeated(problem.index(start + number), attempts, method)
                attempts[entry.name] = method.alpha
                row = {"input_digest": entry.digest, "attempt": entry.name, "alpha": method.alpha}
                new.append(key | row | {"created": self._clock()})
            answers.append(Attempt(list(attempts).index(entry.name) + 1, _total(attempts.values())))
        if new:
            rows.execute(insert(ATTEMPTS), new)
        return answers

    def _before(self, rows: Connection, key: dict[str, Any], digests: set[str]) -> dict[str, dict[str, float]]:
        """For each input, its attempts by name, the oldest first, with the alpha of each."""
        found = rows.execute(
            select(ATTEMPTS.c.input_digest, ATTEMPTS.c.attempt, ATTEMPTS.c.alpha)
            .where(*(ATTEMPTS.c[name] == value for name, value in key.items()), ATTEMPTS.c.input_digest.in_(digests))
            .order_by(ATTEMPTS.c.created, ATTEMPTS.c.attempt)
        )
        attempts: dict[str, dict[str, float]] = {}
        for digest, name, alpha in found:
            attempts.setdefault(digest, {})[name] = alpha
        return attempts


def _name(method: Smoothing, seed: Seed, problem: Problem, row: int) -> str:
    """SHA-256 of all that decides an attempt's draws and what they prove."""
    return hashlib.sha256("\0".join(_parts(method, seed, problem, row)).encode()).hexdigest()


def _parts(method: Smoothing, seed: Seed, problem: Problem, row: int) -> Iterator[str]:
    yield "verifier.attempt.1"
    yield str(seed.value)
    yield str(problem.index(row))
    if method.target is Target.LABEL:
        yield f"label={problem.label(row)}"
    for field in fields(method):
        if field.name not in _NOT_PART_OF_THE_TEST:
            yield f"{field.name}={getattr(method, field.name)!r}"


def _total(alphas: Any) -> float:
    """The sum of alphas, rounded up, at most 1."""
    values = list(alphas)
    return values[0] if len(values) == 1 else min(1.0, float(up(math.fsum(values))))


def _repeated(index: int, attempts: dict[str, float], method: Smoothing) -> AlreadyExists:
    spent = _total([*attempts.values(), method.alpha])
    return AlreadyExists(
        f"input {index} was tried before ({len(attempts)} times, with this model and noise): another attempt would "
        f"raise the probability that one of its certificates is false to {spent:.3g}, and this server refuses that; "
        "ask the same with the same seed, which is no new attempt, or use the certificate that you have",
        reason="ATTEMPT_REPEATED",
    )
