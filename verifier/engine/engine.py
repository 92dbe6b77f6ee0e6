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
from verifier.engine.plan import Demand, plan
from verifier.errors import InternalError, VerifierError, WorkerLost
from verifier.methods import Method
from verifier.models.handle import ModelHandle

logger = logging.getLogger(__name__)

_TURNS_OF_THE_FIRST = 8
"""Of so many steps, one is anybody's: groups of low priority are slowed down, not stopped."""

Group = tuple[str, Backend, Hashable, Shape | None]


@dataclass(frozen=True)
class Delivery:
    """What a step brought to one request.

    Args:
        results: of the inputs decided in this step.
        partial: what undecided inputs have proved by now, where the request asks for it and it has grown.
        forward_passes: done for the request in this step.
        finished: whether nothing is left of the request.
        error: what ended the request, or None.
    """

    results: Sequence[Result]
    forward_passes: int
    finished: bool
    error: VerifierError | None = None
    partial: Sequence[Result] = ()


@dataclass(eq=False)
class Request:
    """Inputs of one caller, on their way through the engine.

    Args:
        backend, model, method: how and with what they are treated.
        states: one per undecided input, in order.
        deliver: called on the engine's thread after each step that touched the request; must not block.
        shape: batch shape to round with, to redraw a certificate; None takes the tuned one.
        priority: larger goes first; requests below take what is left of a step.
        partial: whether undecided inputs are answered with what they have proved, whenever it has grown.
    """

    backend: Backend
    model: ModelHandle
    method: Method
    states: deque[Any]
    deliver: Callable[[Delivery], None]
    shape: Shape | None = None
    priority: int = 0
    partial: bool = False
    received: int = 0
    started: float = field(default_factory=time.time)
    clock: float = field(default_factory=time.perf_counter)

    @property
    def group(self) -> Group:
        """Requests of one group share device steps."""
        return self.model.digest, self.backend, self.backend.group(self.method), self.shape


class Engine:
    """Runs requests on an executor, a bounded step at a time.

    Requests of one group (`Backend.group`) share steps; groups take turns, those of the highest priority mostly. A
    cancelled request leaves the queue at once and the device within one step. An error of a step ends the requests that
    were in it, and no others.
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

    def answer_now(self, request: Request) -> None:
        """Answer what is undecided with what it has proved, and end the request; nothing where it has ended already.

        A step that is running does not count for it any more.
        """
        with self._changed:
            if request not in self._requests:
                return
            self._requests.remove(request)
            states = list(request.states)
        seconds = time.perf_counter() - request.clock
        try:
            delivery = Delivery(request.backend.so_far(states, request.started, seconds), 0, finished=True)
        except VerifierError as error:
            delivery = Delivery((), 0, finished=True, error=error)
        self._tell(request, delivery)

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
        """The requests of the group whose turn it is; waits for one; None when closing.

        Groups without a request of the highest priority get every eighth turn.
        """
        with self._changed:
            while not self._requests and not self._closing:
                self._changed.wait()
            if self._closing:
                return None
            groups: dict[Group, list[Request]] = {}
            for request in self._requests:
                groups.setdefault(request.group, []).append(request)
            turn = next(self._turn)
            waiting = list(groups.values())
            if turn % _TURNS_OF_THE_FIRST:
                first = max(request.priority for request in self._requests)
                waiting = [group for group in waiting if any(request.priority == first for request in group)]
            return waiting[turn % len(waiting)]

    def _step(self, requests: Sequence[Request]) -> None:
        first = requests[0]
        model = self._executor.prepare(first.backend, first.model, first.method, first.shape)
        budget = model.rows_per_step
        given = plan([_demand(request, budget) for request in requests], budget, model.rows_per_round)
        served = []
        for request, shares in zip(requests, given, strict=True):
            work = [Work(state, rows) for state, rows in zip(request.states, shares, strict=False) if rows]
            if work:
                served.append((request, work, len(shares)))
        with self._failing([request for request, _, _ in served]):
            states = iter(self._executor.step(first.backend, model, [item for _, work, _ in served for item in work]))
            for request, work, seen in served:
                self._advance(request, work, list(itertools.islice(states, len(work))), seen)

    def _advance(self, request: Request, work: Sequence[Work], states: Sequence[Any], seen: int) -> None:
        """Put the states after a step in the place of those before, take out the decided ones, and tell the caller.

        Args:
            seen: how many of the request's first states the work was chosen from.
        """
        backend, before = request.backend, [item.state for item in work]
        seconds = time.perf_counter() - request.clock
        answers = backend.conclude(states, request.started, seconds)
        undecided = {id(old): new for old, new, answer in zip(before, states, answers, strict=True) if answer is None}
        decided = {id(old) for old in before} - undecided.keys()
        grown = []
        if request.partial:
            grown = [
                new for old, new in zip(before, states, strict=True) if id(old) in undecided and backend.grew(old, new)
            ]
        with self._changed:
            if request not in self._requests:
                return
            request.received += sum(item.rows for item in work)
            first = [request.states.popleft() for _ in range(seen)]
            request.states.extendleft(undecided.get(id(old), old) for old in reversed(first) if id(old) not in decided)
        spent = sum(map(backend.spent, states)) - sum(map(backend.spent, before))
        results = [answer for answer in answers if answer is not None]
        partial = backend.so_far(grown, request.started, seconds)
        self._deliver(request, Delivery(results, spent, finished=not request.states, partial=partial))

    def _deliver(self, request: Request, delivery: Delivery) -> None:
        with self._changed:
            if request not in self._requests:
                return
            if delivery.finished:
                self._requests.remove(request)
        self._tell(request, delivery)

    def _tell(self, request: Request, delivery: Delivery) -> None:
        try:
            request.deliver(delivery)
        except Exception:  # the caller's mistake must not stop the others
            logger.exception("a delivery failed; its request is dropped")
            self.cancel(request)

    def _fail(self, requests: Sequence[Request], error: VerifierError) -> None:
        for request in requests:
            self._deliver(request, Delivery((), 0, finished=True, error=error))


def _demand(request: Request, budget: int) -> Demand:
    """What the first undecided inputs want, as far as the budget could reach."""
    wanted: list[int] = []
    welcome: list[int] = []
    total = 0
    for state in request.states:
        if total >= budget:
            break
        wanted.append(request.backend.wanted(state))
        welcome.append(request.backend.welcome(state))
        total += wanted[-1]
    return Demand(wanted, welcome, request.received, request.priority)
