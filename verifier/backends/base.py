"""The common dress of certification methods: anytime machines that the engine runs in dense batches."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from verifier.backends.device import Device, Shape
from verifier.catalogue import MethodInfo, Price
from verifier.certificate import Attempt, Certificate, SmoothedPrediction
from verifier.errors import InvalidProblem
from verifier.methods import Method
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


class Ready(Protocol):
    """A model prepared by a backend on a device."""

    @property
    def rows_per_step(self) -> int:
        """Rows of a step, over all inputs together."""
        ...

    @property
    def rows_per_round(self) -> int:
        """Rows that take no longer than one of them: steps are filled up to a multiple."""
        ...


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

    def prepare(self, model: ModelHandle, method: Method, shape: Shape | None, device: Device, /) -> Any:
        """The model made `Ready` for `step`; kept by the device.

        Args:
            shape: batch shape to round with, to redraw a certificate; None takes the tuned one.
        """
        ...

    def group(self, method: Method) -> Hashable:
        """Requests of one model and one group share steps."""
        ...

    def seconds(self, method: Method, seconds_left: float | None) -> float | None:
        """After how long a request is to be answered with `so_far`; None: when it is done, or by the method itself.

        Args:
            seconds_left: until the caller's deadline, or None.
        """
        ...

    def begin(
        self,
        model: ModelHandle,
        problem: Problem,
        method: Method,
        seed: Seed,
        device: Device,
        seconds_left: float | None = None,
        attempts: Sequence[Attempt | None] = (),
        /,
    ) -> list[Any]:
        """One state per input; cheap.

        Args:
            seconds_left: until the caller's deadline; methods that can answer early do so before it.
            attempts: on each input, as the ledger has them, where the method spends alpha.
        """
        ...

    def wanted(self, state: Any) -> int:
        """How many more rows would help this input; 0 once it is decided."""
        ...

    def welcome(self, state: Any) -> int:
        """How many rows may help where there is room for them, >= `wanted`; they never change the answer."""
        ...

    def grew(self, before: Any, after: Any) -> bool:
        """Whether an input has proved more than before."""
        ...

    def spent(self, state: Any) -> int:
        """Forward passes done for this input, about."""
        ...

    def step(self, model: Any, work: Sequence[Work]) -> list[Any]:
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


def check_inputs(model: ModelHandle, problem: Problem) -> None:
    """Refuse inputs of another shape or range than the model's, and labels that are none of its classes."""
    shape = problem.x.shape[1:]
    if shape != model.input_shape:
        raise InvalidProblem(
            f"this model takes inputs of shape {list(model.input_shape)}, got {list(shape)} (after the batch axis)",
            field="inputs.shape",
        )
    if model.input_range is not None:
        low, high = np.float32(model.input_range[0]), np.float32(model.input_range[1])
        outside = ((problem.x < low) | (problem.x > high)).reshape(len(problem), -1).any(axis=1)
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise InvalidProblem(
                f"input {problem.index(first)} has values outside of this model's range [{low}, {high}]; "
                "send inputs in the units that the model was registered with",
                field=f"inputs[{problem.index(first)}]",
            )
    if problem.labels is not None and (problem.labels >= model.classes).any():
        first = int(np.flatnonzero(problem.labels >= model.classes)[0])
        raise InvalidProblem(
            f"labels must be in 0..{model.classes - 1} for this model, got {int(problem.labels[first])} "
            f"at {problem.index(first)}",
            field=f"labels[{problem.index(first)}]",
        )
