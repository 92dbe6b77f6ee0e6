"""What a client needs of a service, wherever it runs."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Protocol

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import SmoothedPrediction
from verifier.methods import CertifyingMethod, Prediction
from verifier.model import ModelInfo, ModelSource
from verifier.problem import Problem


class ServiceFace(Protocol):
    """A service: behind a channel (`remote.py`) or in this process (`embedded.py`)."""

    async def add_model(self, file: Path, source: ModelSource, alias: str, move_alias: bool) -> ModelInfo:
        """Register a file."""
        ...

    async def get_model(self, name: str) -> ModelInfo:
        """A version by alias, digest or digest prefix."""
        ...

    async def list_models(self) -> list[ModelInfo]:
        """All versions."""
        ...

    async def remove_model(self, name: str) -> None:
        """Remove an alias or a version."""
        ...

    async def methods(self) -> list[MethodInfo]:
        """What it can certify."""
        ...

    async def price(self, model: str, problem: Problem, method: CertifyingMethod) -> Price:
        """Check a request and price it."""
        ...

    def certify(
        self,
        model: str,
        problem: Problem,
        method: CertifyingMethod,
        seed: int | None,
        timeout: float | None,
        *,
        partial: bool,
    ) -> AsyncGenerator[Progress]:
        """Certificates as they are decided; with `partial`, also of undecided inputs, as their radii grow."""
        ...

    async def predict(
        self, model: str, problem: Problem, method: Prediction, seed: int | None, timeout: float | None
    ) -> list[SmoothedPrediction]:
        """Answers of the smoothed classifier, in the order of the inputs."""
        ...

    async def close(self) -> None:
        """Let go of everything."""
        ...
