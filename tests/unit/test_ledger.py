"""The account of alpha: what counts as an attempt, what it costs, and that it is written before any draw."""

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verifier.certificate import Attempt
from verifier.errors import AlreadyExists
from verifier.ledger import Ledger
from verifier.methods import Precision, Smoothing, Target
from verifier.problem import Norm, Problem
from verifier.seeds import Seed
from verifier.storage.database import Database

MODEL, OTHER = "a" * 64, "b" * 64
METHOD = Smoothing(0.5, n=1000, alpha=0.001)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path / "verifier.db")
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Ledger:
    clock = itertools.count(1.0)
    return Ledger(database, clock=lambda: next(clock))


def problem(*values: float, first_index: int = 0, labels: Any = None) -> Problem:
    x = np.array(values, dtype=np.float32)[:, None]
    return Problem(x, Norm.L2, None if labels is None else np.array(labels), first_index=first_index)


def enter(ledger: Ledger, method: Smoothing = METHOD, seed: int = 1, model: str = MODEL, **asked: Any) -> list[Attempt]:
    return ledger.enter(model, problem(0.5, **asked), method, Seed(seed, "client"))


def test_the_first_attempt_spends_its_alpha(ledger: Ledger) -> None:
    assert enter(ledger) == [Attempt(1, 0.001)]


def test_the_same_question_is_the_same_attempt(ledger: Ledger) -> None:
    again = replace(METHOD, max_seconds=3.0, futility=0.2)
    assert [enter(ledger), enter(ledger), enter(ledger, again)] == [[Attempt(1, 0.001)]] * 3


@pytest.mark.parametrize(
    "other",
    [
        {"seed": 2},
        {"method": replace(METHOD, n=2000)},
        {"method": replace(METHOD, decide=(0.5,))},
        {"method": replace(METHOD, anytime=True)},
        {"method": replace(METHOD, n0=7)},
        {"method": replace(METHOD, precision=Precision.BFLOAT16)},
        {"first_index": 3},
        {"method": replace(METHOD, target=Target.LABEL), "labels": [0]},
    ],
    ids=repr,
)
def test_another_seed_method_or_place_is_another_attempt(ledger: Ledger, other: dict[str, Any]) -> None:
    enter(ledger)
    (attempt,) = enter(ledger, **other)
    assert attempt.number == 2
    assert 0.002 <= attempt.alpha_spent < 0.002 * (1 + 1e-12)


def test_labels_are_questions_of_their_own(ledger: Ledger) -> None:
    method = replace(METHOD, target=Target.LABEL)
    numbers = [enter(ledger, method, labels=[label])[0].number for label in (0, 1, 0)]
    assert numbers == [1, 2, 1]


@pytest.mark.parametrize(
    "other",
    [{"model": OTHER}, {"method": replace(METHOD, sigma=0.25)}],
    ids=repr,
)
def test_other_models_and_noise_have_accounts_of_their_own(ledger: Ledger, other: dict[str, Any]) -> None:
    enter(ledger)
    assert enter(ledger, **other) == [Attempt(1, 0.001)]


def test_alphas_add_up_whatever_they_are(ledger: Ledger) -> None:
    spent = [enter(ledger, replace(METHOD, alpha=alpha))[0].alpha_spent for alpha in (0.001, 0.01, 0.25, 0.5, 0.4)]
    for found, exact in zip(spent, (0.001, 0.011, 0.261, 0.761, 1.0), strict=True):
        assert exact <= found <= min(1.0, exact * (1 + 1e-12))
    assert enter(ledger, replace(METHOD, alpha=0.01)) == [Attempt(2, 1.0)]  # its number stays, the account is of today


def test_equal_inputs_of_one_request_are_attempts_on_one(ledger: Ledger) -> None:
    attempts = ledger.enter(MODEL, problem(0.5, 0.25, 0.5), METHOD, Seed(1, "client"))
    assert [attempt.number for attempt in attempts] == [1, 1, 2]


def test_many_inputs(ledger: Ledger) -> None:
    many = Problem(np.arange(1300, dtype=np.float32)[:, None], Norm.L2)
    assert ledger.enter(MODEL, many, METHOD, Seed(1, "client")) == [Attempt(1, 0.001)] * 1300
    assert {a.number for a in ledger.enter(MODEL, many, METHOD, Seed(2, "client"))} == {2}


def test_it_outlives_the_process(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        database = Database(tmp_path / "verifier.db")
        assert enter(Ledger(database), seed=number)[0].number == number
        database.close()


def test_attempts_at_once_all_count(database: Database) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda seed: enter(Ledger(database), seed=seed)[0], range(24)))
    assert sorted(attempt.number for attempt in found) == list(range(1, 25))


def test_a_server_may_refuse_them(database: Database) -> None:
    strict = Ledger(database, refuse=True)
    enter(strict, first_index=7)
    assert enter(strict, first_index=7) == [Attempt(1, 0.001)]
    with pytest.raises(AlreadyExists, match=r"input 7 was tried before \(1 times.*false to 0.002.*same seed") as caught:
        enter(strict, first_index=7, seed=2)
    assert caught.value.reason == "ATTEMPT_REPEATED"
    assert enter(strict, first_index=7) == [Attempt(1, 0.001)]  # what was refused spent nothing
