"""One face for both: a client of a server or of an embedded service, async and sync."""

import asyncio
import hashlib
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.client.backend import ServiceFace
from verifier.client.connection import open_channel
from verifier.client.embedded import EmbeddedService
from verifier.client.remote import RemoteService
from verifier.errors import InvalidProblem, WorkerLost
from verifier.methods import Prediction, Smoothing
from verifier.model import ModelFormat, ModelInfo, ModelSource, Normalization
from verifier.problem import Norm, Problem
from verifier.seeds import seed_or_fresh
from verifier.settings import Settings

OnProgress = Callable[[Progress], None]
PathLike = str | Path


class AsyncModels:
    """The models of a service."""

    def __init__(self, service: ServiceFace) -> None:
        self._service = service

    async def add(
        self,
        name: str,
        *,
        onnx: PathLike | None = None,
        weights: PathLike | None = None,
        architecture: str | None = None,
        config: Mapping[str, Any] | None = None,
        normalize: tuple[float | tuple[float, ...], float | tuple[float, ...]] | None = None,
        input_range: tuple[float, float] | None = None,
        move_alias: bool = False,
    ) -> ModelInfo:
        """Register a model file under a name. Registering the same file again answers with the same version.

        Args:
            name: alias of the version: 1 to 63 of a-z 0-9 . _ -.
            onnx: path of a single-file ONNX model; or
            weights: path of a safetensors file, with its architecture and the architecture's config.
            normalize: (mean, std) applied inside the model, numbers or one a channel.
            input_range: (lowest, highest) value of a valid input; others will be refused.
            move_alias: whether the name may be taken from another version.
        Raises:
            InvalidProblem, Unsupported: the file is not accepted; the message says why.
            AlreadyExists: the name belongs to another version.
        """
        if (onnx is None) == (weights is None):
            raise InvalidProblem("give either onnx=FILE or weights=FILE with architecture=NAME", field="source")
        source = ModelSource(
            format=ModelFormat.ONNX if onnx is not None else ModelFormat.SAFETENSORS,
            architecture=architecture,
            config=dict(config or {}),
            normalization=None if normalize is None else Normalization(*map(_as_tuple, normalize)),
            input_range=input_range,
        )
        file = Path(onnx if onnx is not None else weights or "")
        if not file.is_file():
            raise InvalidProblem(f"there is no file {file}", field="source")
        return await self._service.add_model(file, source, name, move_alias)

    async def get(self, name: str) -> ModelInfo:
        """A version by name, digest, or digest prefix of at least 8 characters; NotFound where there is none."""
        return await self._service.get_model(name)

    async def list(self) -> "list[ModelInfo]":
        """All versions, the oldest first."""
        return await self._service.list_models()

    async def remove(self, name: str) -> None:
        """Remove a name, and its version with the last name; or, by digest, a version with all its names."""
        await self._service.remove_model(name)


class AsyncClient:
    """Certifies inputs on a service. Made by `connect_async` and `local_async`; close it, or use it in `async with`."""

    def __init__(self, service: ServiceFace) -> None:
        self._service = service
        self.models = AsyncModels(service)

    async def certify(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike,
        method: Smoothing,
        *,
        labels: ArrayLike | None = None,
        norm: str = "l2",
        eps: float | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> AsyncGenerator[Certificate]:
        """Certificates, each as soon as it is decided, with the index of its input.

        Args:
            model: name or digest; or, on an embedded service, the path of an .onnx file.
            x: inputs [B, *shape], float32.
            method: how.
            labels: true classes [B]; certificates then say whether they are correct.
            norm: of the radius.
            eps: the radius asked about: certified then means radius >= eps. Default: the largest provable.
            seed: 0..2^63-1; the same seed, inputs and device give the same votes. Default: a fresh one.
            timeout: seconds for the whole call.
            on_progress: called with the progress after each group.
        Raises:
            VerifierError: see the kinds in `verifier.errors`. Certificates that came before stay valid.
        """
        groups = self._groups(model, x, method, labels, norm, eps, seed, timeout, on_progress)
        async with aclosing(groups):
            async for group in groups:
                for certificate in group:
                    yield certificate

    async def _groups(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike,
        method: Smoothing,
        labels: ArrayLike | None,
        norm: str,
        eps: float | None,
        seed: int | None,
        timeout: float | None,
        on_progress: OnProgress | None,
    ) -> AsyncGenerator[list[Certificate]]:
        if not isinstance(method, Smoothing):
            raise InvalidProblem(f"certify takes verifier.Smoothing, got {type(method).__name__}", field="spec.method")
        problem = _problem(x, labels, norm, eps)
        seed_or_fresh(seed)  # refused alike on both faces
        name = await self._resolve(model)
        async with aclosing(self._service.certify(name, problem, method, seed, timeout)) as groups:
            async for group in groups:
                if on_progress is not None:
                    on_progress(group)
                yield [result for result in group.results if isinstance(result, Certificate)]

    async def predict(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike,
        method: Prediction,
        *,
        labels: ArrayLike | None = None,
        seed: int | None = None,
        timeout: float | None = None,
    ) -> list[SmoothedPrediction]:
        """The smoothed classifier's answers, in the order of the inputs; arguments as in `certify`."""
        if not isinstance(method, Prediction):
            raise InvalidProblem(f"predict takes verifier.Prediction, got {type(method).__name__}", field="method")
        problem = _problem(x, labels, "l2", None)
        seed_or_fresh(seed)
        return await self._service.predict(await self._resolve(model), problem, method, seed, timeout)

    async def price(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike,
        method: Smoothing,
        *,
        norm: str = "l2",
        eps: float | None = None,
    ) -> Price:
        """Check a request and price it in forward passes, without running it; arguments as in `certify`."""
        return await self._service.price(await self._resolve(model), _problem(x, None, norm, eps), method)

    async def methods(self) -> list[MethodInfo]:
        """What the service can certify."""
        return await self._service.methods()

    async def resolve(self, model: str | Path | ModelInfo) -> str:
        """Digest of the version that a name, a digest or an .onnx file stands for."""
        return (await self.models.get(await self._resolve(model))).digest

    async def redraw(
        self, model: str, problems: Sequence[Problem], method: Smoothing, seed: int, batch_rows: int, form: str
    ) -> list[Certificate]:
        """Certify again with the batch shape of old certificates; see `verifier.client.redraw`."""
        if not isinstance(self._service, EmbeddedService):
            raise InvalidProblem("certificates are drawn again in this process: use verifier.local()")
        return await self._service.redraw(model, problems, method, seed, batch_rows, form)

    async def close(self) -> None:
        """Let go of the connection or of the embedded service."""
        await self._service.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _resolve(self, model: str | Path | ModelInfo) -> str:
        """Name or digest of a model; an .onnx file is registered under its own digest on an embedded service."""
        if isinstance(model, ModelInfo):
            return model.digest
        if not str(model).endswith(".onnx"):
            return str(model)
        if not isinstance(self._service, EmbeddedService):
            raise InvalidProblem(
                f"{model} is a file, and the server knows models by name: register it first (verifier models add)",
                field="model",
            )
        file = Path(model)
        if not file.is_file():
            raise InvalidProblem(f"there is no file {file}", field="model")
        alias = f"file-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
        return (await self.models.add(alias, onnx=file)).digest


class Models:
    """The models of a service; see `AsyncModels`."""

    def __init__(self, models: AsyncModels, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._models = models
        self._run = run

    def add(self, name: str, **source: Any) -> ModelInfo:
        """See `AsyncModels.add`."""
        info: ModelInfo = self._run(self._models.add(name, **source))
        return info

    def get(self, name: str) -> ModelInfo:
        """See `AsyncModels.get`."""
        info: ModelInfo = self._run(self._models.get(name))
        return info

    def list(self) -> "list[ModelInfo]":
        """See `AsyncModels.list`."""
        infos: list[ModelInfo] = self._run(self._models.list())
        return infos

    def remove(self, name: str) -> None:
        """See `AsyncModels.remove`."""
        self._run(self._models.remove(name))


class Client:
    """The sync face of `AsyncClient`: the same calls, on an event loop in a thread of its own."""

    def __init__(self, make_service: Callable[[], ServiceFace]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="verifier-client", daemon=True)
        self._thread.start()
        self._pumps: set[_Pump] = set()
        self._client: AsyncClient = self._run(_made(make_service))
        self.models = Models(self._client.models, self._run)

    def certify(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike,
        method: Smoothing,
        *,
        labels: ArrayLike | None = None,
        norm: str = "l2",
        eps: float | None = None,
        seed: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Certificate]:
        """See `AsyncClient.certify`. Leaving the loop early cancels the rest."""
        if self._loop.is_closed():
            raise WorkerLost("this client is closed: open another")
        groups = self._client._groups(model, x, method, labels, norm, eps, seed, timeout, on_progress)
        with _Pump(groups, self._loop) as pump:
            self._pumps.add(pump)
            try:
                for group in pump:
                    yield from group
            finally:
                self._pumps.discard(pump)

    def predict(
        self, model: str | Path | ModelInfo, x: ArrayLike, method: Prediction, **options: Any
    ) -> list[SmoothedPrediction]:
        """See `AsyncClient.predict`."""
        answers: list[SmoothedPrediction] = self._run(self._client.predict(model, x, method, **options))
        return answers

    def price(self, model: str | Path | ModelInfo, x: ArrayLike, method: Smoothing, **options: Any) -> Price:
        """See `AsyncClient.price`."""
        price: Price = self._run(self._client.price(model, x, method, **options))
        return price

    def methods(self) -> list[MethodInfo]:
        """See `AsyncClient.methods`."""
        methods: list[MethodInfo] = self._run(self._client.methods())
        return methods

    def resolve(self, model: str | Path | ModelInfo) -> str:
        """Digest of the version that a name, a digest or an .onnx file stands for."""
        digest: str = self._run(self._client.resolve(model))
        return digest

    def redraw(
        self, model: str, problems: Sequence[Problem], method: Smoothing, seed: int, batch_rows: int, form: str
    ) -> list[Certificate]:
        """See `AsyncClient.redraw`."""
        certificates: list[Certificate] = self._run(
            self._client.redraw(model, problems, method, seed, batch_rows, form)
        )
        return certificates

    def close(self) -> None:
        """See `AsyncClient.close`."""
        if self._loop.is_closed():
            return
        for pump in tuple(self._pumps):
            pump.close()
        self._run(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop.is_closed():
            work.close()
            raise WorkerLost("this client is closed: open another")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Pump:
    """Carries the groups of an async generator from its loop to this thread; leaving the block closes the generator."""

    def __init__(self, groups: AsyncGenerator[list[Certificate]], loop: asyncio.AbstractEventLoop) -> None:
        self._groups = groups
        self._loop = loop
        self._arrived: queue.SimpleQueue[list[Certificate] | BaseException | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._task: asyncio.Task[None] = asyncio.run_coroutine_threadsafe(self._start(), loop).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop carrying; whoever still reads is told."""
        if not self._ended.is_set():
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._ended.wait()

    def __iter__(self) -> Iterator[list[Certificate]]:
        while (group := self._arrived.get()) is not None:
            if isinstance(group, BaseException):
                raise group
            yield group

    async def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._carry())
        task.add_done_callback(self._finish)
        return task

    async def _carry(self) -> None:
        async with aclosing(self._groups):
            async for group in self._groups:
                self._arrived.put(group)

    def _finish(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self._arrived.put(WorkerLost("this client was closed before all answers came"))
        else:
            self._arrived.put(task.exception())
        self._ended.set()


def connect(
    target: str, *, ca: PathLike | None = None, certificate: PathLike | None = None, key: PathLike | None = None
) -> Client:
    """A client of the server at HOST:PORT.

    Args:
        ca: PEM file of the authority that signed the server's certificate; without it the connection is plain.
        certificate, key: PEM files of this client, where the server asks for them.
    """
    return Client(lambda: _remote(target, ca, certificate, key))


def connect_async(
    target: str, *, ca: PathLike | None = None, certificate: PathLike | None = None, key: PathLike | None = None
) -> AsyncClient:
    """The async client of the server at HOST:PORT; arguments as in `connect`."""
    return AsyncClient(_remote(target, ca, certificate, key))


def local(*, data_dir: PathLike | None = None, device: str = "auto", form: str = "") -> Client:
    """A client of a service embedded in this process.

    Args:
        data_dir: where models are kept; default $VERIFIER_DATA_DIR, else the user's data directory.
        device: "auto", "cpu" or "cuda:N".
        form: executed form of models: "torchscript", "eager", "inductor", or "" for the device's default.
    """
    return Client(lambda: _embedded(data_dir, device, form))


def local_async(*, data_dir: PathLike | None = None, device: str = "auto", form: str = "") -> AsyncClient:
    """The async client of a service embedded in this process; arguments as in `local`."""
    return AsyncClient(_embedded(data_dir, device, form))


def _remote(target: str, ca: PathLike | None, certificate: PathLike | None, key: PathLike | None) -> RemoteService:
    paths = {name: Path(path) for name, path in (("ca", ca), ("certificate", certificate), ("key", key)) if path}
    return RemoteService(open_channel(target, **paths))


def _embedded(data_dir: PathLike | None, device: str, form: str) -> EmbeddedService:
    return EmbeddedService(Settings.read(data_dir=data_dir, device=device, form=form or None))


async def _made(make_service: Callable[[], ServiceFace]) -> AsyncClient:
    """Made on the loop that will use it: a channel belongs to one."""
    return AsyncClient(make_service())


def _problem(x: ArrayLike, labels: ArrayLike | None, norm: str, eps: float | None) -> Problem:
    return Problem(np.asarray(x), Norm.parse(norm), None if labels is None else np.asarray(labels), eps)


def _as_tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (float(value),)
