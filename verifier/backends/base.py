"""The common dress of certification methods: anytime machines that the engine runs in dense batches."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from verifier.backends.device import Device, ReadyModel
from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.methods import Method, Precision
from verifier.models.handle import ModelHandle
from verifier.problem import Problem
from verifier.seeds import Seed

Result = Certificate | SmoothedPrediction


@dataclass(frozen=True)
class Work:
    """Rows of the next device step, given to one input.

    Args:
        state: of the input, as its backend made it.
        rows: 1 <= rows <= backend.wanted(state).
    """

    state: Any
    rows: int


class Backend(Protocol):
    """One certification method: states in, states out, same order.

    A state is immutable and belongs to one input. It knows no job, store, queue or wire.
    """

    @property
    def info(self) -> MethodInfo:
        """What it certifies, for users."""
        ...

    def check(self, model: ModelHandle, problem: Problem, method: Method, device: Device) -> Price:
        """The price of the request; Unsupported or InvalidProblem, naming layer, norm or field, before any work."""
        ...

    def precision(self, method: Method) -> Precision:
        """Arithmetic in which the model must be made ready."""
        ...

    def begin(self, model: ModelHandle, problem: Problem, method: Method, seed: Seed, device: Device) -> list[Any]:
        """One state per input; cheap."""
        ...

    def wanted(self, state: Any) -> int:
        """How many more rows would help this input; 0 once it is decided."""
        ...

    def step(self, model: ReadyModel, work: Sequence[Work]) -> list[Any]:
        """One dense device step. Pure given model, states and seeds."""
        ...

    def conclude(self, states: Sequence[Any], started: float, seconds: float) -> list[Result | None]:
        """Each input's answer once decided; None while more steps would help.

        Args:
            started: when the request began, seconds since the epoch.
            seconds: from then to now.
        """
        ...

    def so_far(self, states: Sequence[Any], started: float, seconds: float) -> list[Result]:
        """Each input's best answer proved yet, for work that stops early."""
        ...
