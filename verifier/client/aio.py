"""The async client of a server or of an embedded service."""

import hashlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import numpy as np
from numpy.typing import ArrayLike

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.client.asked import Asked, problem_of
from verifier.client.backend import ServiceFace
from verifier.client.batch import AsyncDatasets, AsyncGates, AsyncJobs
from verifier.client.batch_face import BatchFace
from verifier.client.embedded import EmbeddedService
from verifier.errors import InvalidProblem
from verifier.methods import CertifyingMethod, Prediction, Smoothing
from verifier.model import ModelFormat, ModelInfo, ModelSource, Normalization
from verifier.problem import Norm, Problem
from verifier.seeds import seed_or_fresh

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

    def __init__(self, service: ServiceFace, batch: BatchFace) -> None:
        self._service = service
        self.models = AsyncModels(service)
        self.datasets = AsyncDatasets(batch)
        self.jobs = AsyncJobs(batch)
        self.gates = AsyncGates(batch)

    async def certify(
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
    ) -> AsyncGenerator[Certificate]:
        """Certificates, each as soon as it is decided, with the index of its input.

        Args:
            model: name or digest; or, on an embedded service, the path of an .onnx file.
            x: inputs [B, *shape], float32; None where boxes are given.
            method: how.
            seed: 0..2^63-1; the same seed, inputs and device give the same votes. Default: a fresh one.
            timeout: seconds for the whole call. What is not decided shortly before is answered with what is proved.
            on_progress: called with the progress after each group.
            partial: whether the progress tells what undecided inputs have proved, as their radii grow.
            asked: labels, norm, eps; domain, weights, lower and upper (see `Asked`).
        Raises:
            VerifierError: see the kinds in `verifier.errors`. Certificates that came before stay valid.
        """
        groups = self._groups(model, x, method, asked, seed, timeout, on_progress, partial)
        async with aclosing(groups):
            async for group in groups:
                for certificate in group:
                    yield certificate

    async def _groups(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike | None,
        method: CertifyingMethod,
        asked: Asked,
        seed: int | None,
        timeout: float | None,
        on_progress: OnProgress | None,
        partial: bool,
    ) -> AsyncGenerator[list[Certificate]]:
        problem = problem_of(x, method, asked)
        seed_or_fresh(seed)  # refused alike on both faces
        name = await self._resolve(model)
        answers = self._service.certify(name, problem, method, seed, timeout, partial=partial)
        async with aclosing(answers) as groups:
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
        problem = Problem(np.asarray(x), Norm.L2, None if labels is None else np.asarray(labels))
        seed_or_fresh(seed)
        return await self._service.predict(await self._resolve(model), problem, method, seed, timeout)

    async def price(
        self,
        model: str | Path | ModelInfo,
        x: ArrayLike | None,
        method: CertifyingMethod,
        **asked: Unpack[Asked],
    ) -> Price:
        """Check a request and price it in forward passes, without running it; arguments as in `certify`."""
        problem = problem_of(x, method, asked)
        return await self._service.price(await self._resolve(model), problem, method)

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


def _as_tuple(value: float | tuple[float, ...]) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, tuple | list) else (float(value),)
