"""Draws that end early, from door to door: decisions, radii that grow, deadlines, attempts, company."""

import dataclasses
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from e2e.serving import PROMPTLY, server_in_thread

import verifier
from verifier import RadiusVerdict, Smoothing, Target, Verdict
from verifier.certificate import Attempt, Certificate, Stopped
from verifier.check import check_all
from verifier.client.redraw import redraw
from verifier.methods import Stopping

MODEL = "digits_gauss050"
DECIDE = Smoothing(0.5, n0=50, decide=(0.25, 0.5), n=5000)
METHODS = [
    DECIDE,
    Smoothing(0.5, n0=50, grid=0.25, n=5000),
    Smoothing(0.5, n0=50, anytime=True, n=2000),
    Smoothing(0.5, decide=(0.5,), n=5000, target=Target.LABEL),
    Smoothing(0.5, n0=50, anytime=True, max_forward_passes=1000),
]


def ask(client: verifier.Client, digits: Any, method: Smoothing, count: int = 8, **more: Any) -> list[Certificate]:
    answers = client.certify(MODEL, digits.x[:count], method, labels=digits.y[:count], **{"seed": 3, **more})
    return sorted(answers, key=lambda c: c.index)


def told(certificates: Sequence[Certificate]) -> list[Any]:
    """Everything but time, batch and attempt."""
    return [
        dataclasses.replace(
            c,
            execution=None,  # type: ignore[arg-type]
            evidence=dataclasses.replace(c.sampling, attempt=None),
        )
        for c in certificates
    ]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_every_way_to_stop_on_every_face(
    client: verifier.Client, embedded: verifier.Client, digits: Any, method: Smoothing
) -> None:
    answers = ask(client, digits, method)
    assert [c.index for c in answers] == list(range(8))
    assert told(ask(embedded, digits, method)) == told(answers)
    assert check_all(answers).holds
    for c in answers:
        assert c.sampling.sequential is not None
        assert c.sampling.sequential.stopped is not Stopped.EARLY
        assert c.sampling.sequential.looks[-1] == c.sampling.estimation.n
        assert (c.verdict is Verdict.CERTIFIED) == (c.radius > 0) == (c.prediction is not None)


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_they_can_be_drawn_again(embedded: verifier.Client, digits: Any, method: Smoothing) -> None:
    answers = ask(embedded, digits, method)
    found = redraw(embedded, MODEL, digits.x, answers)
    assert [(answer.index, answer.equal) for answer in found] == [(index, True) for index in range(8)]


def test_decisions_are_told_radius_by_radius(client: verifier.Client, digits: Any) -> None:
    answers = ask(client, digits, DECIDE, 40)
    for c in answers:
        assert c.sampling.sequential is not None
        decisions = c.sampling.sequential.decisions
        assert [decision.radius for decision in decisions] == [0.25, 0.5]
        certified = [decision.radius for decision in decisions if decision.verdict is RadiusVerdict.CERTIFIED]
        assert c.radius == max(certified, default=0.0)
    verdicts = {d.verdict for c in answers if c.sampling.sequential for d in c.sampling.sequential.decisions}
    assert {RadiusVerdict.CERTIFIED, RadiusVerdict.NOT_CERTIFIED} <= verdicts
    fixed = ask(client, digits, Smoothing(0.5, n=10_000), 40)
    draws = [sum(c.sampling.estimation.n for c in found) for found in (answers, fixed)]
    assert draws[0] < draws[1] / 5


def test_votes_do_not_depend_on_load(client: verifier.Client, digits: Any) -> None:
    """The same request alone, and among others that come and go."""
    alone = told(ask(client, digits, DECIDE))
    stop = threading.Event()

    def disturb(seed: int) -> None:
        while not stop.is_set():
            ask(client, digits, METHODS[seed % 3], count=1 + seed, seed=seed)

    others = [threading.Thread(target=disturb, args=(seed,)) for seed in (10, 11, 12)]
    for other in others:
        other.start()
    try:
        for _ in range(5):
            assert told(ask(client, digits, DECIDE)) == alone
    finally:
        stop.set()
        for other in others:
            other.join()


# -- time


def test_radii_grow_and_are_told(client: verifier.Client, embedded: verifier.Client, digits: Any) -> None:
    for v in (client, embedded):
        partial: list[Certificate] = []
        answers = ask(
            v,
            digits,
            Smoothing(0.5, anytime=True, n=200_000),
            2,
            partial=True,
            on_progress=lambda progress, kept=partial: kept.extend(progress.partial),
        )
        assert len(partial) >= 2
        assert check_all([*partial, *answers]).failures == ()
        for index in range(2):
            radii = [c.radius for c in [*partial, *answers] if c.index == index]
            assert radii == sorted(radii)
            assert radii[0] < radii[-1]


@pytest.mark.parametrize("how", ["deadline", "max_seconds"])
def test_time_ends_with_what_is_proved(
    client: verifier.Client, embedded: verifier.Client, digits: Any, how: str
) -> None:
    for v in (client, embedded):
        ask(v, digits, Smoothing(0.5, n=2000), 2)  # the model is ready
        method = Smoothing(0.5, anytime=True, n=3_000_000, max_seconds=1.0 if how == "max_seconds" else None)
        started = time.monotonic()
        answers = ask(v, digits, method, 6, timeout=2.0 if how == "deadline" else None)
        assert time.monotonic() - started < PROMPTLY
        assert check_all(answers).holds
        assert {c.sampling.sequential.stopped for c in answers if c.sampling.sequential} == {Stopped.EARLY}
        assert answers[0].verdict is Verdict.CERTIFIED
        assert answers[0].radius > 0.3


def test_a_fixed_number_that_time_cuts_off_proves_nothing(client: verifier.Client, digits: Any) -> None:
    (answer,) = ask(client, digits, Smoothing(0.5, n=2_000_000_000 // 200, max_seconds=0.5), 1)
    assert (answer.verdict, answer.radius, answer.prediction) == (Verdict.UNKNOWN, 0.0, None)
    assert 0 < answer.sampling.estimation.n < answer.smoothing.n
    assert check_all([answer]).holds


# -- attempts


def test_repeated_attempts_are_counted(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    with server_in_thread(tmp_path / "data") as address, verifier.connect(address) as v:
        register_digits(v)
        answers = [ask(v, digits, DECIDE, 2, seed=seed)[0] for seed in (1, 2, 1)]
        found = [c.sampling.attempt for c in answers]
        assert found[0] == Attempt(1, 0.001)
        assert [attempt.number for attempt in found if attempt] == [1, 2, 1]
        assert all(attempt is not None and 0.002 <= attempt.alpha_spent < 0.0020001 for attempt in found[1:])
        assert any("repeated attempts" in warning for warning in check_all(answers[1:2]).warnings)


def test_a_server_may_refuse_repeated_attempts(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    with server_in_thread(tmp_path / "data", repeated_attempts="refuse") as address, verifier.connect(address) as v:
        register_digits(v)
        first = ask(v, digits, DECIDE, 2, seed=1)
        assert told(ask(v, digits, DECIDE, 2, seed=1)) == told(first)
        with pytest.raises(verifier.AlreadyExists, match=r"input 0 was tried before.*refuses") as caught:
            ask(v, digits, DECIDE, 2, seed=2)
        assert caught.value.reason == "ATTEMPT_REPEATED"
        assert len(ask(v, digits, dataclasses.replace(DECIDE, sigma=0.4), 2, seed=2)) == 2


# -- company


def test_a_small_request_is_not_stuck_behind_a_large_one(embedded: verifier.Client, digits: Any) -> None:
    """Counted in steps of the large one, not in seconds: what it takes in all while a small one is answered."""
    assert embedded.resolve(MODEL)
    large = Smoothing(0.5, n=400_000)
    steps: list[int] = []
    many = np.concatenate([digits.x] * 3)[:1000]
    answers = embedded.certify(MODEL, many, large, seed=1, on_progress=lambda _: steps.append(1))
    next(answers)
    began = len(steps)
    for seed in range(5):
        list(embedded.certify(MODEL, digits.x[:1], Smoothing(0.5, n=1000), seed=seed))
    waited = (len(steps) - began) / 5
    answers.close()  # type: ignore[attr-defined]
    assert waited <= 5 + 1  # its own work, 1,100 rows, is less than a step


def test_stopping_is_told_by_its_name() -> None:
    assert [method.stopping for method in METHODS[:3]] == [Stopping.DECIDE, Stopping.GRID, Stopping.ANYTIME]
