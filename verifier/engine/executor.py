"""Where steps run. The engine plans; an executor knows devices."""

from collections.abc import Sequence
from typing import Any, Protocol

from verifier.backends.base import Backend, Ready, Work
from verifier.backends.device import Device, Shape
from verifier.methods import Method
from verifier.models.handle import ModelHandle


class Executor(Protocol):
    """Makes models ready and runs steps, one at a time."""

    def prepare(self, backend: Backend, model: ModelHandle, method: Method, shape: Shape | None) -> Ready:
        """The model made ready; see `Backend.prepare`."""
        ...

    def step(self, backend: Backend, model: Ready, work: Sequence[Work]) -> list[Any]:
        """The states after the step, in the order of the work."""
        ...

    def close(self) -> None:
        """Free the devices."""
        ...


class LocalExecutor:
    """One device of this process."""

    def __init__(self, device: Device) -> None:
        self._device = device

    def prepare(self, backend: Backend, model: ModelHandle, method: Method, shape: Shape | None) -> Ready:
        """See `Executor.prepare`."""
        ready: Ready = backend.prepare(model, method, shape, self._device)
        return ready

    def step(self, backend: Backend, model: Ready, work: Sequence[Work]) -> list[Any]:
        """See `Executor.step`."""
        return backend.step(model, work)

    def close(self) -> None:
        """See `Executor.close`."""
        self._device.close()
