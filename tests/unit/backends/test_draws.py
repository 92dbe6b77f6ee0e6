"""Inputs on their way: looks are taken at their places however the draws come, and nothing follows from the others."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fakes import Bands, Broken, Constant, handle_of
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier import guarantee
from verifier.backends.base import Work
from verifier.backends.device import Device, Shape
from verifier.backends.draws import SmoothingState, is_settled, pieces, wanted, welcome
from verifier.backends.smoothing import SmoothingBackend
from verifier.certificate import Attempt, Certificate, RadiusVerdict, Stopped, Verdict
from verifier.chain import chain_of
from verifier.check import check_certificate
from verifier.errors import Conflict, InvalidProblem
from verifier.methods import Precision, Smoothing, Target
from verifier.models.compiled import Form
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem
from verifier.seeds import Phase, Seed

BACKEND = SmoothingBackend()
SEED = Seed(99, "client")
BANDS = handle_of(Bands([-0.5, 0.25, 1.0]), (3,), classes=4)
SHAPE = Shape(16, Form.EAGER)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device("cpu")
    yield device
    device.close()


def problem_of(*firsts: float, labels: Any = None, **more: Any) -> Problem:
    x = np.zeros((len(firsts), 3), dtype=np.float32)
    x[:, 0] = firsts
    return Problem(x, Norm.L2, None if labels is None else np.array(labels), **more)


def begin(device: Device, method: Smoothing, *firsts: float, handle: ModelHandle = BANDS, **more: Any) -> list[Any]:
    return BACKEND.begin(handle, problem_of(*firsts, **more), method, SEED, device)


def finish(device: Device, state: SmoothingState, rows_of: Any = None, handle: ModelHandle = BANDS) -> SmoothingState:
    """The state after its last draw; `rows_of` says how many rows come at once, else as many as are wanted."""
    model = device.prepare(handle, Precision.FLOAT32, SHAPE)
    while not is_settled(state):
        rows = wanted(state) if rows_of is None else min(rows_of(state), welcome(state))
        (state,) = BACKEND.step(model, [Work(state, rows)])
    return state


def conclude(state: SmoothingState) -> Certificate:
    (answer,) = BACKEND.conclude([state], 0, 0)
    assert isinstance(answer, Certificate)
    assert check_certificate(answer) == ()
    return answer


METHODS = [
    Smoothing(0.25, n0=20, decide=(0.1,), n=2000),
    Smoothing(0.25, n0=20, decide=(0.05, 0.1, 0.3), n=2000),
    Smoothing(0.25, n0=20, grid=0.05, n=2000),
    Smoothing(0.25, n0=20, anytime=True, n=600),
    Smoothing(0.25, decide=(0.1,), target=Target.LABEL, n=2000),
    Smoothing(0.25, n0=20, grid=0.05, n=2000, max_forward_passes=500),
]


@settings(deadline=None, max_examples=40)
@given(st.data(), st.sampled_from(METHODS), st.sampled_from([-0.45, -0.1, 0.2, 0.6, 1.4]))
def test_how_the_draws_come_changes_nothing(
    device: Device, data: st.DataObject, method: Smoothing, first: float
) -> None:
    """Not the votes, not the looks, not the certificate; drawing ahead costs passes, and these are counted."""
    (state,) = begin(device, method, first, labels=[2])
    plain = finish(device, state)
    cut = finish(device, state, lambda state: data.draw(st.integers(1, 700)))
    assert (cut.votes == plain.votes).all()
    assert (cut.counts, cut.reached, cut.drawn) == (plain.counts, plain.reached, plain.drawn)
    assert conclude(cut) == conclude(plain)
    assert plain.passes == plain.drawn
    assert cut.drawn <= cut.passes <= method.draws


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_company_changes_nothing(device: Device, method: Smoothing) -> None:
    firsts = [-0.45, 0.3, 0.6, 2.0]
    together = begin(device, method, *firsts, labels=[1, 2, 2, 3])
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    while left := [number for number, state in enumerate(together) if not is_settled(state)]:
        stepped = BACKEND.step(model, [Work(together[number], wanted(together[number])) for number in left])
        for number, state in zip(left, stepped, strict=True):
            together[number] = state
    for state, alone in zip(together, begin(device, method, *firsts, labels=[1, 2, 2, 3]), strict=True):
        assert conclude(state) == conclude(finish(device, alone))


def test_pieces_end_at_phases_and_looks(device: Device) -> None:
    (state,) = begin(device, METHODS[0], 0.6)
    cut = pieces(state, 20 + 50 + 50 + 7)
    assert [(piece.purpose, piece.first, piece.rows) for piece in cut] == [
        (Phase.SELECT, 0, 20),
        (Phase.ESTIMATE, 0, 50),
        (Phase.ESTIMATE, 50, 50),
        (Phase.ESTIMATE, 100, 7),
    ]


def test_a_decided_radius_stops_at_its_look(device: Device) -> None:
    """In the middle of a band all votes agree: the first look at which that suffices ends the draws."""
    answer = conclude(finish(device, begin(device, Smoothing(0.25, n0=20, decide=(0.1,)), 5.0)[0]))
    assert (answer.verdict, answer.radius, answer.prediction) == (Verdict.CERTIFIED, 0.1, 3)
    sequential = answer.sampling.sequential
    assert sequential is not None
    assert (sequential.looks, sequential.counts) == ((50,), (50,))
    assert sequential.stopped is Stopped.DECIDED
    assert [(d.radius, d.verdict, d.draws) for d in sequential.decisions] == [(0.1, RadiusVerdict.CERTIFIED, 50)]
    assert answer.sampling.p_a_lower == guarantee.class_probability(0.25, 0.1)


def test_what_is_not_certified_is_given_up(device: Device) -> None:
    """On the edge of a band: p_A = 1/2."""
    answer = conclude(finish(device, begin(device, Smoothing(0.25, decide=(0.2, 0.4)), 1.0)[0]))
    assert (answer.verdict, answer.radius, answer.prediction) == (Verdict.ABSTAINED, 0.0, None)
    assert answer.sampling.sequential is not None
    assert {d.verdict for d in answer.sampling.sequential.decisions} == {RadiusVerdict.NOT_CERTIFIED}
    assert answer.sampling.estimation.n < 1000


def test_the_label_is_what_is_certified(device: Device) -> None:
    method = Smoothing(0.25, decide=(0.1,), target=Target.LABEL)
    right, wrong = (conclude(finish(device, state)) for state in begin(device, method, 5.0, 5.0, labels=[3, 0]))
    assert (right.prediction, right.correct, right.sampling.selection) == (3, True, None)
    assert (wrong.prediction, wrong.verdict, wrong.sampling.estimation.top) == (None, Verdict.ABSTAINED, 0)
    fixed = Smoothing(0.25, n=500, target=Target.LABEL)
    answers = [conclude(finish(device, state)) for state in begin(device, fixed, 5.0, 5.0, labels=[3, 0])]
    assert [answer.prediction for answer in answers] == [3, None]
    assert answers[0].radius == guarantee.largest_radius(0.25, 500, 1e-3)


def test_a_budget_ends_with_what_is_proved(device: Device) -> None:
    method = Smoothing(0.25, n0=20, anytime=True, n=10**6, max_forward_passes=20 + 400)
    answer = conclude(finish(device, begin(device, method, 5.0)[0]))
    assert answer.sampling.estimation.n == 400
    assert answer.verdict is Verdict.CERTIFIED
    assert answer.sampling.sequential is not None
    assert answer.sampling.sequential.stopped is Stopped.DRAWS
    undecided = Smoothing(0.25, n0=20, decide=(0.7,), max_forward_passes=20 + 400)
    answer = conclude(finish(device, begin(device, undecided, 5.0)[0]))
    assert (answer.verdict, answer.radius) == (Verdict.UNKNOWN, 0.0)


def test_at_any_time_there_is_a_certificate_that_grows(device: Device) -> None:
    (state,) = begin(device, Smoothing(0.25, n0=20, anytime=True, n=2000), 5.0)
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    radii = []
    while not is_settled(state):
        before = state
        (state,) = BACKEND.step(model, [Work(state, wanted(state))])
        (answer,) = BACKEND.so_far([state], 0, 0)
        assert isinstance(answer, Certificate)
        assert check_certificate(answer) == ()
        radii.append(answer.radius)
        assert BACKEND.grew(before, state) == (len(radii) == 1 or radii[-1] > radii[-2])
    assert radii[0] > 0
    assert radii == sorted(radii)
    assert guarantee.largest_radius(0.25, 2000, 1e-3) * 0.98 < radii[-1] <= guarantee.largest_radius(0.25, 2000, 1e-3)


def test_before_any_draw_there_is_an_answer(device: Device) -> None:
    for method in (*METHODS, Smoothing(0.25)):
        (answer,) = BACKEND.so_far(begin(device, method, 5.0, labels=[3]), 0, 0)
        assert isinstance(answer, Certificate)
        assert (answer.verdict, answer.radius, answer.execution.batch_rows) == (Verdict.UNKNOWN, 0.0, 0)
        assert check_certificate(answer) == ()


def test_no_valid_draw_is_no_class(device: Device) -> None:
    handle = handle_of(Broken(Constant(4, 1), limit=-1e9), (3,), classes=4)
    for method in METHODS[:4]:
        answer = conclude(finish(device, begin(device, method, 0.0, handle=handle)[0], handle=handle))
        assert (answer.verdict, answer.sampling.estimation.n) == (Verdict.ABSTAINED, 0)


@pytest.mark.parametrize("method", [*METHODS, Smoothing(0.25, n=100)], ids=repr)
def test_drawing_on_after_the_end_is_refused(device: Device, method: Smoothing) -> None:
    state = finish(device, begin(device, method, 5.0, labels=[3])[0])
    with pytest.raises(Conflict, match="input 0 has all of its draws") as caught:
        BACKEND.step(device.prepare(BANDS, Precision.FLOAT32, SHAPE), [Work(state, 1)])
    assert caught.value.reason == "FINISHED"


def test_attempts_are_told(device: Device) -> None:
    states = BACKEND.begin(BANDS, problem_of(5.0), METHODS[0], SEED, device, None, [Attempt(3, 0.004)])
    assert conclude(finish(device, states[0])).sampling.attempt == Attempt(3, 0.004)


# -- what is refused before any draw


@pytest.mark.parametrize(
    ("method", "more", "field", "says"),
    [
        (Smoothing(0.5, decide=(0.5, 3.0)), {}, "smoothing.decide", r"decide = 3 is out of reach.*n = 700\d+ would do"),
        (Smoothing(0.5, decide=(9.0,)), {}, "smoothing.decide", "no number of draws would do"),
        (Smoothing(0.5, grid=2.0), {}, "smoothing.grid", "grid = 2 is out of reach"),
        (Smoothing(0.5, grid=1e-4), {}, "smoothing.grid", "more than 1000 steps up to 1.9057.*anytime"),
        (Smoothing(0.5, decide=(0.5,)), {"eps": 0.5}, "spec.eps", r"leave eps out \(decide=\[0.5\] asks the same"),
        (Smoothing(0.5, anytime=True), {"eps": 0.5}, "spec.eps", "leave eps out"),
        (Smoothing(0.5, target=Target.LABEL), {}, "labels", "certifies the inputs' labels: send them"),
    ],
    ids=repr,
)
def test_what_cannot_be_answered_is_refused(
    device: Device, method: Smoothing, more: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(InvalidProblem, match=says) as caught:
        BACKEND.check(BANDS, problem_of(0.0, **more), method, device)
    assert caught.value.violations[0].field == field


def test_prices_say_most_and_about(device: Device) -> None:
    price = BACKEND.check(BANDS, problem_of(0.0, 1.0), Smoothing(0.5, decide=(0.5,)), device)
    assert (price.forward_passes, price.passes) == (2 * 100_100, 2 * 5100)
    assert price.largest_radius == guarantee.largest_radius(0.5, 100_000, 1e-3)
    fixed = BACKEND.check(BANDS, problem_of(0.0, 1.0), Smoothing(0.5), device)
    assert (fixed.forward_passes, fixed.expected_passes) == (2 * 10_100, None)


def test_the_last_look_is_no_further_than_n() -> None:
    for n in (50, 51, 999, 12_345):
        assert chain_of(Smoothing(0.5, decide=(0.1,), n=n)).looks[-1] == n
