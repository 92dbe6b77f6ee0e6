"""What the product does: models are registered, questions are admitted, and answers come as they are decided."""

import asyncio
import contextlib
import hashlib
import json
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from verifier.admission import Admission
from verifier.backends.base import Backend
from verifier.backends.device import Device, Shape
from verifier.backends.table import backend_of, distinct_backends
from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Attempt, Certificate
from verifier.engine.engine import Delivery, Engine, Request
from verifier.errors import DeadlineExceeded
from verifier.ledger import Ledger
from verifier.methods import Method, Smoothing, Stopping
from verifier.model import ModelInfo, ModelSource
from verifier.models.handle import ModelHandle
from verifier.models.registry import Registry
from verifier.problem import Problem
from verifier.seeds import Seed
from verifier.storage.blobs import Upload

Answer = TypeVar("Answer")

PARTS_IN_FLIGHT = 2
"""Parts of one stream of inputs that are worked on at once; the next one waits on the wire."""


_BACKGROUND = -1
"""Priority in the engine of calls that take what others leave."""

_DEADLINE_DOUBT = 2.0
"""A call is refused up front only if it would take so many times longer than it has: rates are estimates."""


@dataclass(frozen=True)
class _Event:
    """What the reader of a call is told.

    Args:
        progress: of a part in the engine, or None.
        part_finished: whether the part brings nothing more.
        inputs_ended: whether the caller has no more inputs.
        error: what ended the call.
    """

    progress: Progress | None = None
    part_finished: bool = False
    inputs_ended: bool = False
    error: BaseException | None = None


@dataclass(eq=False)
class _Call:
    """A certification call on its way.

    Args:
        model, method, seed, shape: as asked.
        partial: whether undecided inputs are told of.
        background: whether it takes what others leave, and waits for room instead of being refused.
        deadline: on the loop's clock, or None.
        events: what its reader has not seen yet.
        owed: forward passes admitted and not done yet, for each part in the engine.
        unseen: parts whose last results the reader has not seen yet.
        room: taken by a part until the reader has seen its last results, so that these can't pile up.
    """

    model: ModelHandle
    method: Method
    seed: Seed
    deadline: float | None
    shape: Shape | None
    partial: bool
    background: bool
    events: "asyncio.Queue[_Event]" = field(default_factory=asyncio.Queue)
    owed: dict[Request, int] = field(default_factory=dict)
    unseen: int = 0
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARTS_IN_FLIGHT))
    inputs: int = 0
    forward_passes: int = 0
    price: Price = field(default_factory=lambda: Price(0, 0.0))


class Service:
    """The service below every door: the gRPC server and the embedded client call the same methods.

    Its coroutines belong to one event loop. Files, hashing and loading run in threads, devices in the engine.
    """

    def __init__(
        self, registry: Registry, device: Device, engine: Engine, ledger: Ledger, max_pending_passes: int
    ) -> None:
        self._registry = registry
        self._device = device
        self._engine = engine
        self._ledger = ledger
        self._admission = Admission(max_pending_passes)

    @property
    def device(self) -> Device:
        """Where models run."""
        return self._device

    # -- models

    def begin_upload(self) -> Upload:
        """Room for a model file; `write` to it and pass it to `add_model`, or abort it."""
        return self._registry.begin_upload()

    async def write(self, upload: Upload, chunk: bytes) -> None:
        """Append to an upload. A cancelled call waits until the chunk is written: the file is never used by two."""
        await _to_its_end(upload.write, chunk)

    async def add_model(
        self,
        upload: Upload,
        sha256: str | None,
        source: ModelSource,
        alias: str,
        *,
        move_alias: bool = False,
        request_id: str = "",
    ) -> ModelInfo:
        """Register an uploaded file whose SHA-256 the sender says; see `Registry.add`. The upload is used up.

        The same request_id with the same request answers as it did the first time. A cancelled call has
        registered the model whole or not at all.
        """
        return await _to_its_end(self._add_model, upload, sha256, source, alias, move_alias, request_id)

    def _add_model(
        self, upload: Upload, sha256: str | None, source: ModelSource, alias: str, move_alias: bool, request_id: str
    ) -> ModelInfo:
        try:
            fingerprint = _fingerprint("add", upload.finish(sha256), repr(source), alias, str(move_alias))
            stored = self._registry.remembered(request_id, fingerprint) if request_id else None
            if stored is not None:
                return ModelInfo.from_dict(json.loads(stored))
            info = self._registry.add(upload, source, alias, move_alias=move_alias)
            if request_id:
                self._registry.remember(request_id, fingerprint, json.dumps(info.to_dict()))
            return info
        finally:
            upload.abort()

    async def get_model(self, name: str) -> ModelInfo:
        """A version by alias, digest or digest prefix."""
        return await asyncio.to_thread(self._registry.get, name)

    async def list_models(self, page_size: int, page_token: str) -> tuple[tuple[ModelInfo, ...], str]:
        """One page of versions, and the token of the next page, empty at the end."""
        return await asyncio.to_thread(self._registry.list, page_size, page_token)

    async def remove_model(self, name: str, request_id: str = "") -> None:
        """Remove an alias or a version; see `Registry.remove`. A repeated request_id is answered without doing it."""
        await asyncio.to_thread(self._remove_model, name, request_id)

    def _remove_model(self, name: str, request_id: str) -> None:
        fingerprint = _fingerprint("remove", name)
        if request_id and self._registry.remembered(request_id, fingerprint) is not None:
            return
        self._registry.remove(name)
        if request_id:
            self._registry.remember(request_id, fingerprint, "removed")

    async def stop_working(self) -> None:
        """End the engine: calls that are still waiting get WorkerLost."""
        await asyncio.to_thread(self._engine.close)

    async def answers(self, model: str, x: NDArray[np.float32]) -> list[int | None]:
        """The plain network's answers, None where its logits are not finite; in float32, one batch.

        Args:
            x: [B, *shape], as the model takes them.
        """
        handle = await self._load(model)
        return await asyncio.to_thread(_answers, handle, x)

    # -- certification

    def methods(self) -> list[MethodInfo]:
        """What this build can certify."""
        return [backend.info for backend in distinct_backends()]

    async def price(self, model: str, problem: Problem, method: Method) -> tuple[str, Price]:
        """(model digest, price) after every check that `certify` makes; no work is done."""
        handle = await self._load(model)
        price = await self._check(handle, problem, method)
        self._admission.check_size(price.passes)
        return handle.digest, price

    async def certify(
        self,
        model: str,
        problems: AsyncIterator[Problem],
        method: Method,
        seed: Seed,
        seconds_left: float | None = None,
        shape: Shape | None = None,
        *,
        partial: bool = False,
        background: bool = False,
    ) -> AsyncGenerator[Progress]:
        """Answers to one or more parts of inputs, as they are decided.

        Closing the iterator, or an error in it, takes back everything that is left from the engine.

        Args:
            model: alias or digest, resolved once.
            problems: parts, with consecutive `first_index`; the next is taken when there is room for it.
            method, seed: for all parts.
            seconds_left: until the caller's deadline. Inputs that are not decided shortly before it are answered with
                what they have proved.
            shape: batch shape to round with, to redraw a certificate, which is no attempt of its own; None takes the
                tuned one.
            partial: whether undecided inputs are told of, whenever they have proved more.
            background: take what other calls leave of the device, and wait for room instead of being refused.
        Raises:
            DeadlineExceeded: at the measured rate a part cannot be done in time, and would prove nothing before.
            VerifierError: what `Backend.check`, `Admission.admit`, `Ledger.enter` and the engine raise.
        """
        handle = await self._load(model)
        deadline = None if seconds_left is None else asyncio.get_running_loop().time() + seconds_left
        call = _Call(handle, method, seed, deadline, shape, partial, background)
        feeder = asyncio.create_task(self._feed(call, problems))
        try:
            ended = False
            while call.unseen or not ended:
                event = await call.events.get()
                if event.error is not None:
                    raise event.error
                if event.progress is not None:
                    yield event.progress
                if event.part_finished:
                    call.unseen -= 1
                    call.room.release()
                ended = ended or event.inputs_ended
        finally:
            feeder.cancel()
            for request in call.owed:
                self._engine.cancel(request)
            await asyncio.gather(feeder, return_exceptions=True)  # it reads `problems`, which the caller may close next
            self._admission.give_back(sum(call.owed.values()))
            call.owed.clear()

    async def _feed(self, call: _Call, problems: AsyncIterator[Problem]) -> None:
        """Check, admit and submit one part after another; the call learns how it ended."""
        try:
            async for problem in problems:
                await call.room.acquire()
                await self._submit(call, problem)
        except Exception as error:
            call.events.put_nowait(_Event(error=error))
        else:
            call.events.put_nowait(_Event(inputs_ended=True))

    async def _submit(self, call: _Call, problem: Problem) -> None:
        backend = backend_of(call.method)
        call.price = price = await self._check(call.model, problem, call.method)
        passes = price.passes
        self._admission.check_size(passes)
        self._check_deadline(price, call)
        if call.inputs == 0 and not call.background:
            self._admission.admit(passes, passes / price.seconds if price.seconds else None)
        else:
            await self._admission.wait(passes)
        try:
            attempts = await asyncio.to_thread(self._attempts, call, problem)
            left = self._seconds_left(call)
            states = await asyncio.to_thread(
                backend.begin, call.model, problem, call.method, call.seed, self._device, left, attempts
            )
            request = self._request(call, backend, deque(states))
            self._engine.submit(request)
            self._answer_after(backend.seconds(call.method, self._seconds_left(call)), request)
        except BaseException:
            self._admission.give_back(passes)
            raise
        call.inputs += len(problem)
        call.unseen += 1
        call.owed[request] = passes

    def _attempts(self, call: _Call, problem: Problem) -> list[Attempt]:
        """What the ledger says of this attempt on each input, where alpha is spent."""
        if not isinstance(call.method, Smoothing) or call.shape is not None:
            return []
        method = replace(call.method, rng=self._device.rng(call.method.rng))
        return self._ledger.enter(call.model.digest, problem, method, call.seed)

    def _seconds_left(self, call: _Call) -> float | None:
        return None if call.deadline is None else max(0.0, call.deadline - asyncio.get_running_loop().time())

    def _answer_after(self, seconds: float | None, request: Request) -> None:
        """End a request then with what it has proved, whatever the engine is busy with."""
        if seconds is None:
            return
        loop = asyncio.get_running_loop()

        def answer() -> None:
            loop.run_in_executor(None, self._engine.answer_now, request)

        loop.call_later(seconds, answer)

    def _request(self, call: _Call, backend: Backend, states: deque[Any]) -> Request:
        """A request whose deliveries are booked on the event loop."""
        loop = asyncio.get_running_loop()

        def deliver(delivery: Delivery) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed, and nobody waits any more
                loop.call_soon_threadsafe(self._book, call, request, delivery)

        priority = _BACKGROUND if call.background else 0
        request = Request(
            backend, call.model, call.method, states, deliver, call.shape, priority=priority, partial=call.partial
        )
        return request

    def _book(self, call: _Call, request: Request, delivery: Delivery) -> None:
        """What was done is owed no more, whether or not the reader keeps up; the reader is told."""
        if request not in call.owed:
            return  # the call has ended meanwhile
        done = call.owed.pop(request) if delivery.finished else min(delivery.forward_passes, call.owed[request])
        if not delivery.finished:
            call.owed[request] -= done
        self._admission.give_back(done)
        call.forward_passes += delivery.forward_passes
        progress = Progress(
            call.model.digest,
            tuple(delivery.results),
            call.inputs,
            call.forward_passes,
            call.price,
            tuple(result for result in delivery.partial if isinstance(result, Certificate)),
        )
        call.events.put_nowait(_Event(progress, part_finished=delivery.finished, error=delivery.error))

    async def _check(self, handle: ModelHandle, problem: Problem, method: Method) -> Price:
        """See `Backend.check`; in a thread, because some checks trace the model."""
        return await asyncio.to_thread(backend_of(method).check, handle, problem, method, self._device)

    def _check_deadline(self, price: Price, call: _Call) -> None:
        """Refuse what would not be done in time, unless what it proves before then is worth having."""
        left = self._seconds_left(call)
        early = isinstance(call.method, Smoothing) and call.method.stopping is not Stopping.FIXED
        if price.seconds is None or left is None or early:
            return
        if price.seconds > _DEADLINE_DOUBT * left:
            raise DeadlineExceeded(
                f"{price.forward_passes:,} forward passes take about {price.seconds:.3g} s on this device, "
                f"and the deadline is in {left:.3g} s: allow more time or ask for less",
                reason="DEADLINE_TOO_SHORT",
            )

    async def _load(self, model: str) -> ModelHandle:
        info = await self.get_model(model)
        return await asyncio.to_thread(self._registry.load, info.digest, self._device.device)


def _answers(handle: ModelHandle, x: NDArray[np.float32]) -> list[int | None]:
    with torch.inference_mode():
        logits = handle.logits(torch.tensor(x, device=handle.device))
    finite = logits.isfinite().all(dim=1).tolist()
    return [top if known else None for top, known in zip(logits.argmax(dim=1).tolist(), finite, strict=True)]


async def _to_its_end(function: Callable[..., Answer], *arguments: Any) -> Answer:
    """Run in a thread; a cancelled caller waits for its end, because a thread cannot be stopped half-way."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait({work})
        if not work.cancelled():
            work.exception()  # seen: nobody else will ask
        raise


def _fingerprint(*parts: str) -> str:
    """SHA-256 of a mutating request, to tell a repetition from another request under the same id."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
