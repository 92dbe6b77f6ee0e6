"""The engine on a real device: everything is answered once, nothing is mixed, and nobody waits for long."""

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from fakes import Bands, Failing, Gated, Watched, handle_of, one_lane_device

from verifier.backends.base import Result
from verifier.backends.device import Device
from verifier.backends.smoothing import SmoothingBackend
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.engine.engine import Delivery, Engine, Request
from verifier.engine.executor import LocalExecutor
from verifier.errors import InternalError, WorkerLost
from verifier.methods import Prediction, Selection, Smoothing
from verifier.models.handle import ModelHandle
from verifier.problem import Norm, Problem
from verifier.seeds import Seed

BACKEND = SmoothingBackend()
Sampling = Smoothing | Prediction
PATIENCE = 20.0
EDGES = [-0.5, 0.25, 1.0]


class Caller:
    """Somebody who asks, and keeps all that is delivered."""

    def __init__(
        self, device: Device, handle: ModelHandle, firsts: list[float], method: Sampling, seed: int = 1
    ) -> None:
        x = np.zeros((len(firsts), 3), dtype=np.float32)
        x[:, 0] = firsts
        states = BACKEND.begin(handle, Problem(x, Norm.L2), method, Seed(seed, "client"), device)
        self.finished = threading.Event()
        self.deliveries: list[Delivery] = []
        self.request = Request(BACKEND, handle, method, deque(states), self.deliver)

    def deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        if delivery.finished:
            self.finished.set()

    def results(self) -> list[Result]:
        assert self.finished.wait(PATIENCE)
        assert [delivery.finished for delivery in self.deliveries] == [False] * (len(self.deliveries) - 1) + [True]
        assert self.error is None
        return [result for delivery in self.deliveries for result in delivery.results]

    @property
    def error(self) -> Exception | None:
        return self.deliveries[-1].error

    @property
    def passes(self) -> int:
        return sum(delivery.forward_passes for delivery in self.deliveries)


@pytest.fixture
def device() -> Device:
    return one_lane_device()


Start = Callable[..., tuple[Engine, Watched]]


@pytest.fixture
def start(device: Device) -> Iterator[Start]:
    """Engines that are closed at the end, and their executors."""
    engines: list[Engine] = []

    def start(rows: int | None = None) -> tuple[Engine, Watched]:
        executor = Watched(LocalExecutor(device), rows)
        engines.append(Engine(executor))
        return engines[-1], executor

    yield start
    for engine in engines:
        engine.close()
    device.close()


def counts_of(results: list[Result]) -> list[Any]:
    return [(r.sampling.selection, r.sampling.estimation) if isinstance(r, Certificate) else r.votes for r in results]


def inputs(count: int, seed: int = 3) -> list[float]:
    return [float(first) for first in np.random.default_rng(seed).normal(size=count)]


# -- answers


@pytest.mark.parametrize("rows", [None, 1, 7, 100, 5000], ids=repr)
def test_every_input_is_answered_once(device: Device, start: Start, rows: int | None) -> None:
    engine, executor = start(rows)
    caller = Caller(device, handle_of(Bands(EDGES), (3,), 4), inputs(5), Smoothing(0.5, n0=8, n=50))
    engine.submit(caller.request)
    results = caller.results()
    assert [result.index for result in results] == list(range(5))  # first come, first answered
    assert caller.passes == 5 * 58
    if rows is not None:
        assert all(sum(work.rows for work in step) <= rows for step in executor.steps)


METHODS: list[Sampling] = [
    Smoothing(0.5, n0=30, n=500, alpha=0.001),
    Smoothing(0.5, n0=20, n=400, alpha=0.1),
    Smoothing(2.0, n0=30, n=500, alpha=0.001),
    Smoothing(0.25, n=600, alpha=0.01, selection=Selection.SINGLE_STAGE),
    Smoothing(1.0, n0=10, n=300, alpha=0.01, runner_up=True),
    Prediction(0.7, n=350, alpha=0.05),
]


def test_requests_share_steps_and_keep_their_parameters(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    handle = handle_of(module, (3,), 4)
    engine, executor = start(256)
    executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    callers = [Caller(device, handle, inputs(4), method) for method in METHODS]
    engine.submit(callers[0].request)
    assert module.entered.wait(PATIENCE)  # the others come while the first step runs
    for caller in callers[1:]:
        engine.submit(caller.request)
    module.open()
    together = [caller.results() for caller in callers]
    sharing = [{work.state.method for work in step} for step in executor.steps]
    assert max(map(len, sharing)) == len(METHODS)

    for method, results in zip(METHODS, together, strict=True):
        alone = Caller(device, handle, inputs(4), method)
        engine.submit(alone.request)
        assert counts_of(alone.results()) == counts_of(results)
        for result, other in zip(results, alone.results(), strict=True):
            assert result.subject.sigma == method.sigma
            if isinstance(result, Certificate):
                assert isinstance(other, Certificate)
                assert isinstance(method, Smoothing)
                assert (result.smoothing.alpha, result.smoothing.n, result.smoothing.n0) == (
                    method.alpha,
                    method.n,
                    method.n0,
                )
                assert (result.radius, result.verdict) == (other.radius, other.verdict)
            else:
                assert isinstance(other, SmoothedPrediction)
                assert (result.alpha, result.prediction) == (method.alpha, other.prediction)


def test_models_do_not_share_steps(device: Device, start: Start) -> None:
    engine, executor = start(128)
    handles = [handle_of(Bands([edge]), (3,)) for edge in (-0.3, 0.0, 0.3)]
    callers = [Caller(device, handle, inputs(3), METHODS[0]) for handle in handles]
    for caller in callers:
        engine.submit(caller.request)
    for caller, handle in zip(callers, handles, strict=True):
        assert {result.subject.model_digest for result in caller.results()} == {handle.digest}
    assert all(len({work.state.model_digest for work in step}) == 1 for step in executor.steps)


def test_many_callers_at_once(device: Device, start: Start) -> None:
    engine, _ = start()
    handles = [handle_of(Bands(EDGES), (3,), 4) for _ in range(2)]
    callers = [Caller(device, handles[i % 2], inputs(3, i), METHODS[i % len(METHODS)], seed=i) for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda caller: engine.submit(caller.request), callers))
    for i, caller in enumerate(callers):
        assert len(caller.results()) == 3
        assert caller.passes == 3 * METHODS[i % len(METHODS)].draws


# -- turns


def test_a_small_request_beside_a_large_one_ends_soon(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    handle = handle_of(module, (3,), 4)
    rows = 256
    engine, executor = start(rows)
    executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    large = Caller(device, handle, inputs(3), Smoothing(0.5, n=10**8))
    large.request.received = 10**6  # had its turn
    small = Caller(device, handle, inputs(2), Smoothing(0.5, n0=100, n=1000))
    engine.submit(large.request)
    assert module.entered.wait(PATIENCE)
    engine.submit(small.request)
    module.open()
    small.results()
    engine.cancel(large.request)
    # Three quarters of every step, after the one that was running; the last one may be counted before it is looked at.
    mine = [step for step in executor.steps if any(work.state.method.n == 1000 for work in step)]
    assert len(mine) == math.ceil(2 * 1100 / (rows * 3 // 4))
    assert executor.steps.index(mine[0]) == 1
    assert executor.steps.index(mine[-1]) == len(mine)


def test_models_take_turns(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    slow, quick = handle_of(module, (3,), 4), handle_of(Bands(EDGES), (3,), 4)
    engine, executor = start(256)
    for handle in (slow, quick):
        executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    large = Caller(device, slow, inputs(1), Smoothing(0.5, n=10**8))
    small = Caller(device, quick, inputs(1), Smoothing(0.5, n0=24, n=1000))
    engine.submit(large.request)
    assert module.entered.wait(PATIENCE)
    engine.submit(small.request)
    module.open()
    small.results()
    engine.cancel(large.request)
    digests = [step[0].state.model_digest for step in executor.steps]
    last = max(number for number, digest in enumerate(digests) if digest == quick.digest)
    assert digests.count(quick.digest) == 4
    assert last <= 2 * 4


def test_a_small_request_gets_its_turn_on_a_device_of_few_rows(device: Device, start: Start) -> None:
    """The budget is less than one row for each request: the small one must not wait for the large ones to end."""
    module = Gated(Bands(EDGES))
    handle = handle_of(module, (3,), 4)
    engine, executor = start(2)
    executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    large = [Caller(device, handle, [0.5], Prediction(0.5, n=300), seed) for seed in range(2)]
    small = Caller(device, handle, [0.5], Prediction(0.5, n=1))
    for caller in [*large, small]:
        engine.submit(caller.request)
    assert module.entered.wait(PATIENCE)
    module.open()
    small.results()
    mine = next(n for n, step in enumerate(executor.steps) if any(work.state.method.n == 1 for work in step))
    assert mine <= 6


# -- cancelling


def test_a_cancelled_request_leaves_the_device_within_its_step(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    handle, other = handle_of(module, (3,), 4), handle_of(Bands(EDGES), (3,), 4)
    engine, executor = start(64)
    for model in (handle, other):
        executor.prepare(BACKEND, model, METHODS[0])
    module.close()
    module.calls = 0
    cancelled = Caller(device, handle, inputs(2), Smoothing(0.5, n=10**8))
    engine.submit(cancelled.request)
    assert module.entered.wait(PATIENCE)
    engine.cancel(cancelled.request)
    module.open()
    after = Caller(device, other, inputs(2), Prediction(0.5, n=10))
    engine.submit(after.request)
    after.results()
    assert cancelled.deliveries == []
    assert module.calls == 1  # the step that was running, of one batch
    assert [step[0].state.model_digest for step in executor.steps].count(handle.digest) == 1


def test_a_request_cancelled_in_the_queue_never_runs(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    handle = handle_of(module, (3,), 4)
    engine, executor = start(64)
    executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    first = Caller(device, handle, inputs(1), Prediction(0.5, n=500))
    queued = Caller(device, handle, inputs(1), Prediction(0.5, n=501))
    engine.submit(first.request)
    assert module.entered.wait(PATIENCE)
    engine.submit(queued.request)
    engine.cancel(queued.request)
    engine.cancel(queued.request)  # twice is no harm
    module.open()
    first.results()
    assert queued.deliveries == []
    assert {work.state.method.n for step in executor.steps for work in step} == {500}


def test_cancelling_one_changes_nothing_for_its_company(device: Device, start: Start) -> None:
    module = Gated(Bands(EDGES))
    handle = handle_of(module, (3,), 4)
    engine, executor = start(100)
    executor.prepare(BACKEND, handle, METHODS[0])
    module.close()
    kept = Caller(device, handle, inputs(3), METHODS[0])
    cancelled = Caller(device, handle, inputs(3), METHODS[2])
    for caller in (cancelled, kept):
        engine.submit(caller.request)
    assert module.entered.wait(PATIENCE)
    engine.cancel(cancelled.request)
    module.open()
    results = kept.results()
    again = Caller(device, handle, inputs(3), METHODS[0])
    engine.submit(again.request)
    assert counts_of(again.results()) == counts_of(results)


# -- errors


def test_an_error_ends_the_requests_in_its_step_and_no_others(device: Device, start: Start) -> None:
    failing = Failing(Bands(EDGES))
    bad, good = handle_of(failing, (3,), 4), handle_of(Bands(EDGES), (3,), 4)
    engine, executor = start(256)
    for handle in (bad, good):
        executor.prepare(BACKEND, handle, METHODS[0])
    failing.arm(1)
    lost = Caller(device, bad, inputs(2), METHODS[0])
    fine = Caller(device, good, inputs(2), METHODS[0])
    for caller in (lost, fine):
        engine.submit(caller.request)
    assert len(fine.results()) == 2
    assert lost.finished.wait(PATIENCE)
    assert isinstance(lost.error, InternalError)
    assert len(lost.deliveries) == 1
    assert lost.deliveries[0].results == ()
    # The engine goes on, with the same model too.
    again = Caller(device, bad, inputs(2), METHODS[0])
    engine.submit(again.request)
    assert counts_of(again.results()) == counts_of(fine.results())


def test_a_model_that_cannot_be_made_ready_ends_its_requests(device: Device, start: Start) -> None:
    engine, _ = start()
    bad = Caller(device, handle_of(Failing(Bands(EDGES), limit=-1.0), (3,), 4), inputs(1), METHODS[0])
    good = Caller(device, handle_of(Bands(EDGES), (3,), 4), inputs(1), METHODS[0])
    for caller in (bad, good):
        engine.submit(caller.request)
    assert len(good.results()) == 1
    assert bad.finished.wait(PATIENCE)
    assert isinstance(bad.error, InternalError)


@pytest.mark.parametrize(("bad_draws", "good_draws"), [(9, 3), (3, 9)], ids=repr)
def test_a_request_that_was_not_in_the_failed_step_goes_on(
    device: Device, start: Start, bad_draws: int, good_draws: int
) -> None:
    """A poisoned input fails the model; the other request had no row in that step of one row."""
    failing = Failing(Gated(Bands(EDGES)), limit=50.0)
    assert isinstance(failing.inner, Gated)
    handle = handle_of(failing, (3,), 4)
    engine, executor = start(1)
    executor.prepare(BACKEND, handle, METHODS[0])
    failing.inner.close()
    first = Caller(device, handle, [0.5], Prediction(0.5, n=1))
    engine.submit(first.request)
    assert failing.inner.entered.wait(PATIENCE)
    poisoned = Caller(device, handle, [100.0], Prediction(0.5, n=bad_draws))
    bystander = Caller(device, handle, [0.5], Prediction(0.5, n=good_draws))
    for caller in (poisoned, bystander):
        engine.submit(caller.request)
    failing.inner.open()
    assert poisoned.finished.wait(PATIENCE)
    assert isinstance(poisoned.error, InternalError)
    assert bystander.finished.wait(PATIENCE)
    failed = next(step for step in executor.steps if any(work.state.method.n == bad_draws for work in step))
    assert [work.state.method.n for work in failed] == [bad_draws]
    assert bystander.error is None


def test_a_caller_whose_delivery_raises_harms_nobody_else(device: Device, start: Start) -> None:
    """A closed event loop, say. The engine's one thread must outlive it."""
    engine, _ = start(100)
    handle = handle_of(Bands(EDGES), (3,), 4)
    called = threading.Event()

    def deliver(_delivery: Delivery) -> None:
        called.set()
        raise RuntimeError("Event loop is closed")

    broken = Caller(device, handle, inputs(1), METHODS[0])
    broken.request.deliver = deliver
    engine.submit(broken.request)
    assert called.wait(PATIENCE)
    fine = Caller(device, handle_of(Bands(EDGES), (3,), 4), inputs(1), METHODS[0])
    engine.submit(fine.request)
    assert fine.finished.wait(5), "the engine's thread has died"
    assert fine.error is None


# -- closing


def test_close_tells_the_queued_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    device = one_lane_device()
    module = Gated(Bands(EDGES))
    handle, other = handle_of(module, (3,), 4), handle_of(Bands(EDGES), (3,), 4)
    executor = Watched(LocalExecutor(device), 64)
    executor.prepare(BACKEND, handle, METHODS[0])
    engine = Engine(executor)
    module.close()
    running = Caller(device, handle, inputs(1), Smoothing(0.5, n=10**9))
    queued = [Caller(device, model, inputs(1), Smoothing(0.5, n=10**9)) for model in (handle, other)]
    engine.submit(running.request)
    assert module.entered.wait(PATIENCE)
    for caller in queued:
        engine.submit(caller.request)
    closer = threading.Thread(target=engine.close)
    closer.start()
    module.open()
    closer.join(PATIENCE)
    assert not closer.is_alive()
    for caller in [running, *queued]:
        assert caller.finished.is_set()
        assert isinstance(caller.error, WorkerLost)
        assert [delivery.finished for delivery in caller.deliveries].count(True) == 1
    assert executor.closed
    assert set(threading.enumerate()) <= before
    with pytest.raises(WorkerLost, match="shutting down"):
        engine.submit(Caller(device, handle, inputs(1), METHODS[0]).request)


def test_closing_an_idle_engine_twice() -> None:
    device = one_lane_device()
    engine = Engine(LocalExecutor(device))
    engine.close()
    engine.close()
