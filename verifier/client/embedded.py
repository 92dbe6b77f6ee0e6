"""A service in this process: the same code below the door, without the door."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import ExitStack, aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.errors import DeadlineExceeded, InvalidProblem, Unsupported
from verifier.methods import CertifyingMethod, Method, Prediction, Smoothing
from verifier.model import ModelInfo, ModelSource
from verifier.problem import Problem
from verifier.seeds import Seed, seed_or_fresh
from verifier.settings import Settings
from verifier.wire.limits import CHUNK_BYTES

if TYPE_CHECKING:
    from verifier.composition import House
    from verifier.service import Service


class EmbeddedService:
    """See `ServiceFace`; opened on first use, because opening loads torch."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._closing = ExitStack()
        self._opening = asyncio.Lock()
        self._opened: House | None = None
        self._runner: asyncio.Task[None] | None = None

    async def opened(self) -> "Service":
        """The service itself."""
        return (await self.house()).service

    async def house(self) -> "House":
        """The service with all that belongs to it."""
        async with self._opening:
            if self._opened is None:
                self._opened = await asyncio.to_thread(self._open)
            return self._opened

    async def working(self) -> "House":
        """The same, with somebody who works on jobs until this client is closed."""
        house = await self.house()
        if self._runner is None:
            self._runner = asyncio.create_task(house.runner.run())
        return house

    def _open(self) -> "House":
        try:
            from verifier.composition import open_house
        except ModuleNotFoundError as error:
            raise Unsupported(
                f"certifying in this process needs {error.name}, which is not installed: "
                "pip install 'verifier[server]', or connect to a server"
            ) from None
        return self._closing.enter_context(open_house(self._settings, exclusive=False))

    async def add_model(self, file: Path, source: ModelSource, alias: str, move_alias: bool) -> ModelInfo:
        """See `ServiceFace`."""
        service = await self.opened()
        upload = service.begin_upload()
        try:
            with file.open("rb") as stream:
                while chunk := stream.read(CHUNK_BYTES):
                    await service.write(upload, chunk)
        except BaseException:
            upload.abort()
            raise
        return await service.add_model(upload, None, source, alias, move_alias=move_alias)

    async def get_model(self, name: str) -> ModelInfo:
        """See `ServiceFace`."""
        return await (await self.opened()).get_model(name)

    async def list_models(self) -> list[ModelInfo]:
        """See `ServiceFace`."""
        service = await self.opened()
        models, token = await service.list_models(0, "")
        listed = list(models)
        while token:
            models, token = await service.list_models(0, token)
            listed += models
        return listed

    async def remove_model(self, name: str) -> None:
        """See `ServiceFace`."""
        await (await self.opened()).remove_model(name)

    async def methods(self) -> list[MethodInfo]:
        """See `ServiceFace`."""
        return (await self.opened()).methods()

    async def price(self, model: str, problem: Problem, method: CertifyingMethod) -> Price:
        """See `ServiceFace`."""
        _, price = await (await self.opened()).price(model, problem, method)
        return price

    async def certify(
        self,
        model: str,
        problem: Problem,
        method: CertifyingMethod,
        seed: int | None,
        timeout: float | None,
        *,
        partial: bool,
    ) -> AsyncGenerator[Progress]:
        """See `ServiceFace`."""
        async with aclosing(self._run(model, problem, method, seed, timeout, partial)) as groups:
            async for group in groups:
                yield group

    async def predict(
        self, model: str, problem: Problem, method: Prediction, seed: int | None, timeout: float | None
    ) -> list[SmoothedPrediction]:
        """See `ServiceFace`."""
        async with aclosing(self._run(model, problem, method, seed, timeout)) as groups:
            answers = [
                answer async for group in groups for answer in group.results if isinstance(answer, SmoothedPrediction)
            ]
        return sorted(answers, key=lambda answer: answer.index)

    async def _run(
        self,
        model: str,
        problem: Problem,
        method: Method,
        seed: int | None,
        timeout: float | None,
        partial: bool = False,
    ) -> AsyncGenerator[Progress]:
        service = await self.opened()
        deadline = None if timeout is None else asyncio.get_running_loop().time() + timeout
        answers = service.certify(model, _each([problem]), method, seed_or_fresh(seed), timeout, partial=partial)
        async with aclosing(answers) as groups:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        group = await anext(groups, None)
                except TimeoutError:
                    message = f"not done within {timeout:g} s: allow more time or ask for less"
                    raise DeadlineExceeded(message) from None
                if group is None:
                    return
                yield group

    async def redraw(
        self, model: str, problems: Sequence[Problem], method: Smoothing, seed: int, batch_rows: int, form: str
    ) -> list[Certificate]:
        """Certificates of the problems drawn again, with the batch shape that the old ones name."""
        service = await self.opened()
        from verifier.backends.device import Shape
        from verifier.models.compiled import Form

        if batch_rows < 1 or form not in set(Form):
            raise InvalidProblem(
                f"a certificate names batches of {batch_rows} rows in the form {form!r}: there are no such",
                field="execution",
            )
        shape = Shape(batch_rows, Form(form))
        groups = service.certify(model, _each(problems), method, Seed(seed, "client"), shape=shape)
        async with aclosing(groups):
            return [result async for group in groups for result in group.results if isinstance(result, Certificate)]

    async def close(self) -> None:
        """See `ServiceFace`."""
        if self._runner is not None:
            self._runner.cancel()
            await asyncio.gather(self._runner, return_exceptions=True)
        await asyncio.to_thread(self._closing.close)


async def _each(problems: Sequence[Problem]) -> AsyncIterator[Problem]:
    for problem in problems:
        yield problem
