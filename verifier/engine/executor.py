"""Where steps run. The engine plans; an executor knows devices."""

from collections.abc import Sequence
from typing import Any, Protocol

from verifier.backends.base import Backend, Work
from verifier.backends.device import Device, ReadyModel, Shape
from verifier.methods import Precision
from verifier.models.handle import ModelHandle


class Executor(Protocol):
    """Makes models ready and runs steps, one at a time."""

    def prepare(self, model: ModelHandle, precision: Precision, shape: Shape | None) -> ReadyModel:
        """The model made ready; see `Device.prepare`."""
        ...

    def step(self, backend: Backend, model: ReadyModel, work: Sequence[Work]) -> list[Any]:
        """The states after the step, in the order of the work."""
        ...

    def close(self) -> None:
        """Free the devices."""
        ...


class LocalExecutor:
    """One device of this process."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def prepare(self, model: ModelHandle, precision: Precision, shape: Shape | None) -> ReadyModel:
        """See `Executor.prepare`."""
        return self._device.prepare(model, precision, shape)

    def step(self, backend: Backend, model: ReadyModel, work: Sequence[Work]) -> list[Any]:
        """See `Executor.step`."""
        return backend.step(model, work)

    def close(self) -> None:
        """See `Executor.close`."""
        self._device.close()
