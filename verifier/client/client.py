"""The sync face of the client, and how clients are made."""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

from numpy.typing import ArrayLike

from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.client.aio import AsyncClient, AsyncModels, OnProgress, PathLike
from verifier.client.asked import Asked
from verifier.client.batch import Datasets, Gates, Jobs
from verifier.client.batch_embedded import EmbeddedBatch
from verifier.client.batch_remote import RemoteBatch
from verifier.client.connection import open_channel
from verifier.client.embedded import EmbeddedService
from verifier.client.remote import RemoteService
from verifier.errors import WorkerLost
from verifier.methods import CertifyingMethod, Prediction, Smoothing
from verifier.model import ModelInfo
from verifier.problem import Problem
from verifier.settings import Settings

Item = TypeVar("Item")


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

    def __init__(self, make_client: Callable[[], AsyncClient]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="verifier-client", daemon=True)
        self._thread.start()
        self._pumps: set[_Pump] = set()
        self._client: AsyncClient = self._run(_made(make_client))
        self.models = Models(self._client.models, self._run)
        self.datasets = Datasets(self._client.datasets, self._run)
        self.jobs = Jobs(self._client.jobs, self._run, self._each)
        self.gates = Gates(self._client.gates, self._run, self._each)

    def certify(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike | None,
        method: CertifyingMethod,
        *,
        seed: int | None = None,
        timeout: float | None = None,
        on_progress: OnProgress | None = None,
        partial: bool = False,
        **asked: Unpack[Asked],
    ) -> Iterator[Certificate]:
        """See `AsyncClient.certify`. Leaving the loop early cancels the rest."""
        groups = self._client._groups(model, x, method, asked, seed, timeout, on_progress, partial)
        for group in self._each(groups):
            yield from group

    def predict(
        self, model: str | Path | ModelInfo, x: ArrayLike, method: Prediction, **options: Any
    ) -> list[SmoothedPrediction]:
        """See `AsyncClient.predict`."""
        answers: list[SmoothedPrediction] = self._run(self._client.predict(model, x, method, **options))
        return answers

    def price(
        self, model: str | Path | ModelInfo, x: ArrayLike | None, method: CertifyingMethod, **asked: Unpack[Asked]
    ) -> Price:
        """See `AsyncClient.price`."""
        price: Price = self._run(self._client.price(model, x, method, **asked))
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

    def _each(self, items: AsyncGenerator[Item]) -> Iterator[Item]:
        """The items of an async generator; leaving the loop closes it."""
        if self._loop.is_closed():
            raise WorkerLost("this client is closed: open another")
        with _Pump(items, self._loop) as pump:
            self._pumps.add(pump)
            try:
                yield from pump
            finally:
                self._pumps.discard(pump)

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        if self._loop.is_closed():
            work.close()
            raise WorkerLost("this client is closed: open another")
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class _Pump:
    """Carries the items of an async generator from its loop to this thread; leaving the block closes the generator."""

    def __init__(self, items: AsyncGenerator[Any], loop: asyncio.AbstractEventLoop) -> None:
        self._items = items
        self._loop = loop
        self._arrived: queue.SimpleQueue[Any] = queue.SimpleQueue()
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

    def __iter__(self) -> Iterator[Any]:
        while (item := self._arrived.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    async def _start(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self._carry())
        task.add_done_callback(self._finish)
        return task

    async def _carry(self) -> None:
        async with aclosing(self._items):
            async for item in self._items:
                self._arrived.put(item)

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
    return _remote(target, ca, certificate, key)


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
    return _embedded(data_dir, device, form)


def _remote(target: str, ca: PathLike | None, certificate: PathLike | None, key: PathLike | None) -> AsyncClient:
    paths = {name: Path(path) for name, path in (("ca", ca), ("certificate", certificate), ("key", key)) if path}
    channel = open_channel(target, **paths)
    return AsyncClient(RemoteService(channel), RemoteBatch(channel))


def _embedded(data_dir: PathLike | None, device: str, form: str) -> AsyncClient:
    service = EmbeddedService(Settings.read(data_dir=data_dir, device=device, form=form or None))
    return AsyncClient(service, EmbeddedBatch(service))


async def _made(make_client: Callable[[], AsyncClient]) -> AsyncClient:
    """Made on the loop that will use it: a channel belongs to one."""
    return make_client()
