"""Take, plan, run, deliver: one thread that keeps the device busy with the undecided inputs of many requests."""

import itertools
import logging
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from verifier.backends.base import Backend, Result, Work
from verifier.backends.device import Shape
from verifier.engine.executor import Executor
from verifier.engine.plan import plan
from verifier.errors import InternalError, VerifierError, WorkerLost
from verifier.methods import Method
from verifier.models.handle import ModelHandle

logger = logging.getLogger(__name__)

Group = tuple[str, Backend, Hashable, Shape | None]


@dataclass(frozen=True)
class Delivery:
    """What a step brought to one request.

    Args:
        results: of the inputs decided in this step.
        forward_passes: done for the request in this step.
        finished: whether nothing is left of the request.
        error: what ended the request, or None.
    """

    results: Sequence[Result]
    forward_passes: int
    finished: bool
    error: VerifierError | None = None


@dataclass(eq=False)
class Request:
    """Inputs of one caller, on their way through the engine.

    Args:
        backend, model, method: how and with what they are treated.
        states: one per undecided input, in order.
        deliver: called on the engine's thread after each step that touched the request; must not block.
        shape: batch shape to round with, to redraw a certificate; None takes the tuned one.
    """

    backend: Backend
    model: ModelHandle
    method: Method
    states: deque[Any]
    deliver: Callable[[Delivery], None]
    shape: Shape | None = None
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)

    @property
    def group(self) -> Group:
        """Requests of one group share device steps."""
        return self.model.digest, self.backend, self.backend.group(self.method), self.shape


class Engine:
    """Runs requests on an executor, a bounded step at a time.

    Requests of one group (`Backend.group`) share steps; groups take turns. A cancelled request leaves the
    queue at once and the device within one step. An error of a step ends the requests that were in it, and
    no others.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._requests: list[Request] = []
        self._changed = threading.Condition()
        self._closing = False
        self._turn = itertools.count()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def submit(self, request: Request) -> None:
        """Queue a request; its deliveries come from the engine's thread until one is finished.

        Raises:
            WorkerLost: the engine is closing.
        """
        with self._changed:
            if self._closing:
                raise WorkerLost("the server is shutting down; ask again when it is back, or ask another")
            self._requests.append(request)
            self._changed.notify()

    def cancel(self, request: Request) -> None:
        """Forget a request; nothing is delivered for it after the step that is running."""
        with self._changed:
            if request in self._requests:
                self._requests.remove(request)

    def close(self) -> None:
        """End the thread after the running step; what is still queued is told that the worker is lost. Once or more."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join()
        self._executor.close()

    def _run(self) -> None:
        while (group := self._next_group()) is not None:
            with self._failing(group):
                self._step(group)
        with self._changed:
            left = list(self._requests)
        self._fail(left, WorkerLost("the server shut down before the work was done; it is safe to ask again"))

    @contextmanager
    def _failing(self, requests: Sequence[Request]) -> Iterator[None]:
        """Whatever goes wrong in the block ends these requests, and not the thread."""
        try:
            yield
        except VerifierError as error:
            self._fail(requests, error)
        except Exception as error:
            call_id = secrets.token_hex(8)
            logger.exception("unexpected failure %s in a device step", call_id)
            message = (
                f"unexpected failure in a device step ({type(error).__name__}); it is logged under the id {call_id}"
            )
            self._fail(requests, InternalError(message, reason="UNEXPECTED"))

    def _next_group(self) -> list[Request] | None:
        """The requests of the group whose turn it is; waits for one; None when closing."""
        with self._changed:
            while not self._requests and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            groups: dict[Group, list[Request]] = {}
            for request in self._requests:
                groups.setdefault(request.group, []).append(request)
            return list(groups.values())[next(self._turn) % len(groups)]

    def _step(self, requests: Sequence[Request]) -> None:
        first = requests[0]
        model = self._executor.prepare(first.backend, first.model, first.method, first.shape)
        budget = model.rows_per_step
        given = plan([_wanted(request, budget) for request in requests], budget)
        served = [(request, [rows for rows in shares if rows]) for request, shares in zip(requests, given, strict=True)]
        served = [(request, shares) for request, shares in served if shares]
        work = [
            Work(state, rows)
            for request, shares in served
            for state, rows in zip(itertools.islice(request.states, len(shares)), shares, strict=True)
        ]
        with self._failing([request for request, _ in served]):
            states = iter(self._executor.step(first.backend, model, work))
            for request, shares in served:
                self._advance(request, list(itertools.islice(states, len(shares))))

    def _advance(self, request: Request, states: Sequence[Any]) -> None:
        """Put back the states of a step, take out the decided ones, and tell the caller."""
        before = itertools.islice(request.states, len(states))
        spent = sum(map(request.backend.spent, states)) - sum(map(request.backend.spent, before))
        seconds = time.perf_counter() - request.clock
        answers = request.backend.conclude(states, request.started, seconds)
        undecided = [state for state, answer in zip(states, answers, strict=True) if answer is None]
        results = [answer for answer in answers if answer is not None]
        for _ in states:
            request.states.popleft()
        request.states.extendleft(reversed(undecided))
        self._deliver(request, Delivery(results, spent, finished=not request.states))

    def _deliver(self, request: Request, delivery: Delivery) -> None:
        with self._changed:
            if request not in self._requests:
                return
            if delivery.finished:
                self._requests.remove(request)
        try:
            request.deliver(delivery)
        except Exception:  # the caller's mistake must not stop the others
            logger.exception("a delivery failed; its request is dropped")
            self.cancel(request)

    def _fail(self, requests: Sequence[Request], error: VerifierError) -> None:
        for request in requests:
            self._deliver(request, Delivery((), 0, finished=True, error=error))


def _wanted(request: Request, budget: int) -> list[int]:
    """What the first undecided inputs want, as far as the budget could reach."""
    wanted: list[int] = []
    total = 0
    for state in request.states:
        if total >= budget:
            break
        wanted.append(request.backend.wanted(state))
        total += wanted[-1]
    return wanted
