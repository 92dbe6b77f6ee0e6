"""What the product does: models are registered, questions are admitted, and answers come as they are decided."""

import asyncio
import contextlib
import hashlib
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass, field

from verifier.admission import Admission
from verifier.backends.device import Device, Shape
from verifier.backends.table import backend_of, distinct_backends
from verifier.catalogue import MethodInfo, Price, Progress
from verifier.engine.engine import Delivery, Engine, Request
from verifier.errors import DeadlineExceeded
from verifier.methods import Method
from verifier.model import ModelInfo, ModelSource
from verifier.models.blobs import Upload
from verifier.models.handle import ModelHandle
from verifier.models.registry import Registry
from verifier.problem import Problem
from verifier.seeds import Seed

PARTS_IN_FLIGHT = 2
"""Parts of one stream of inputs that are worked on at once; the next one waits on the wire."""


@dataclass(frozen=True)
class _InputsEnded:
    """The caller has no more inputs, or failed to send them."""

    error: BaseException | None = None


@dataclass(eq=False)
class _Call:
    """A certification call on its way.

    Args:
        model, method, seed, seconds_left, shape: as asked.
        events: deliveries of the engine, and at last the end of the inputs.
        owed: forward passes admitted and not done yet, for each part in the engine.
    """

    model: ModelHandle
    method: Method
    seed: Seed
    seconds_left: float | None
    shape: Shape | None
    events: "asyncio.Queue[tuple[Request, Delivery] | _InputsEnded]" = field(default_factory=asyncio.Queue)
    owed: dict[Request, int] = field(default_factory=dict)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PARTS_IN_FLIGHT))
    inputs: int = 0
    forward_passes: int = 0
    price: Price = field(default_factory=lambda: Price(0, 0.0))


class Service:
    """The service below every door: the gRPC server and the embedded client call the same methods.

    Its coroutines belong to one event loop. Files, hashing and loading run in threads, devices in the engine.
    """

    def __init__(self, registry: Registry, device: Device, engine: Engine, max_pending_passes: int) -> None:
        self._registry = registry
        self._device = device
        self._engine = engine
        self._admission = Admission(max_pending_passes)

    # -- models

    async def begin_upload(self) -> Upload:
        """Room for a model file; write to it and pass it to `add_model`, or abort it."""
        return await asyncio.to_thread(self._registry.begin_upload)

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
        """Register an uploaded file whose SHA-256 the sender says; see `Registry.add`.

        The same request_id with the same request answers as it did the first time.
        """
        return await asyncio.to_thread(self._add_model, upload, sha256, source, alias, move_alias, request_id)

    def _add_model(
        self, upload: Upload, sha256: str | None, source: ModelSource, alias: str, move_alias: bool, request_id: str
    ) -> ModelInfo:
        fingerprint = _fingerprint("add", upload.finish(sha256), repr(source), alias, str(move_alias))
        stored = self._registry.remembered(request_id, fingerprint) if request_id else None
        if stored is not None:
            upload.abort()
            return self._registry.get(stored)
        info = self._registry.add(upload, source, alias, move_alias=move_alias)
        if request_id:
            self._registry.remember(request_id, fingerprint, info.digest)
        return info

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

    # -- certification

    def methods(self) -> list[MethodInfo]:
        """What this build can certify."""
        return [backend.info for backend in distinct_backends()]

    async def price(self, model: str, problem: Problem, method: Method) -> tuple[str, Price]:
        """(model digest, price) after every check that `certify` makes; no work is done."""
        handle = await self._load(model)
        return handle.digest, self._check(handle, problem, method)

    async def certify(
        self,
        model: str,
        problems: AsyncIterator[Problem],
        method: Method,
        seed: Seed,
        seconds_left: float | None = None,
        shape: Shape | None = None,
    ) -> AsyncGenerator[Progress]:
        """Answers to one or more parts of inputs, as they are decided.

        Closing the iterator, or an error in it, takes back everything that is left from the engine.

        Args:
            model: alias or digest, resolved once.
            problems: parts, with consecutive `first_index`; the next is taken when there is room for it.
            method, seed: for all parts.
            seconds_left: until the caller's deadline.
            shape: batch shape to round with, to redraw a certificate; None takes the tuned one.
        Raises:
            DeadlineExceeded: at the measured rate a part cannot be done in time.
            VerifierError: what `Backend.check`, `Admission.admit` and the engine raise.
        """
        handle = await self._load(model)
        call = _Call(handle, method, seed, seconds_left, shape)
        feeder = asyncio.create_task(self._feed(call, problems))
        try:
            ended = False
            while call.owed or not ended:
                event = await call.events.get()
                if isinstance(event, _InputsEnded):
                    if event.error is not None:
                        raise event.error
                    ended = True
                else:
                    yield await self._account(call, *event)
        finally:
            feeder.cancel()
            for request in call.owed:
                self._engine.cancel(request)
            await self._admission.give_back(sum(call.owed.values()))

    async def _feed(self, call: _Call, problems: AsyncIterator[Problem]) -> None:
        """Check, admit and submit one part after another; the call learns how it ended."""
        try:
            async for problem in problems:
                await call.room.acquire()
                await self._submit(call, problem)
        except Exception as error:
            call.events.put_nowait(_InputsEnded(error))
        else:
            call.events.put_nowait(_InputsEnded())

    async def _submit(self, call: _Call, problem: Problem) -> None:
        backend = backend_of(call.method)
        call.price = price = self._check(call.model, problem, call.method)
        _check_deadline(price, call.seconds_left)
        states = await asyncio.to_thread(backend.begin, call.model, problem, call.method, call.seed, self._device)
        if call.inputs == 0:
            self._admission.admit(price.forward_passes, self._device.rate(call.model.digest, call.method.precision))
        else:
            await self._admission.wait(price.forward_passes)
        loop = asyncio.get_running_loop()

        def deliver(delivery: Delivery) -> None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed, and nobody waits any more
                loop.call_soon_threadsafe(call.events.put_nowait, (request, delivery))

        precision = backend.precision(call.method)
        request = Request(backend, call.model, precision, deque(states), deliver, call.shape)
        call.inputs += len(problem)
        call.owed[request] = price.forward_passes
        self._engine.submit(request)

    async def _account(self, call: _Call, request: Request, delivery: Delivery) -> Progress:
        """Book a delivery: what was done is owed no more, a finished part makes room for the next."""
        done = call.owed.pop(request) if delivery.finished else delivery.forward_passes
        if delivery.finished:
            call.room.release()
        else:
            call.owed[request] -= done
        await self._admission.give_back(done)
        if delivery.error is not None:
            raise delivery.error
        call.forward_passes += delivery.forward_passes
        return Progress(call.model.digest, tuple(delivery.results), call.inputs, call.forward_passes, call.price)

    def _check(self, handle: ModelHandle, problem: Problem, method: Method) -> Price:
        return backend_of(method).check(handle, problem, method, self._device)

    async def _load(self, model: str) -> ModelHandle:
        info = await self.get_model(model)
        return await asyncio.to_thread(self._registry.load, info.digest, self._device.device)


def _fingerprint(*parts: str) -> str:
    """SHA-256 of a mutating request, to tell a repetition from another request under the same id."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _check_deadline(price: Price, seconds_left: float | None) -> None:
    if price.seconds is not None and seconds_left is not None and price.seconds > seconds_left:
        raise DeadlineExceeded(
            f"{price.forward_passes:,} forward passes take about {price.seconds:.3g} s on this device, "
            f"and the deadline is in {seconds_left:.3g} s: allow more time or ask for less",
            reason="DEADLINE_TOO_SHORT",
        )
