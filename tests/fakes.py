"""Small classifiers whose answers are known in closed form, and executors that show what an engine does.

Those that act on the moment (`Gated`, `Slow`, `Failing`, `Counting`) act only where Python runs them: use
`Device("cpu", form=Form.EAGER)`, as a traced form keeps no more than their arithmetic.
"""

import hashlib
import itertools
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import norm
from torch import Tensor, nn

from verifier.backends.base import Backend, Ready, Work
from verifier.backends.device import Device, ReadyModel, Shape
from verifier.engine.executor import Executor
from verifier.methods import Method
from verifier.models.compiled import Form
from verifier.models.handle import ModelHandle

CPU = torch.device("cpu")
_NUMBERS = itertools.count()


def handle_of(
    module: nn.Module, shape: Sequence[int], classes: int = 2, input_range: tuple[float, float] | None = None
) -> ModelHandle:
    """A model version around a module: every call makes another one, with a digest of its own."""
    digest = hashlib.sha256(f"fake model {next(_NUMBERS)}".encode()).hexdigest()
    return ModelHandle(digest, module.eval(), tuple(shape), classes, CPU, input_range)


class HalfSpace(nn.Module):
    """Class 1 where direction . x > offset, else class 0: the exact radius is the distance to the plane.

    With a direction along an axis and one nonzero entry that is a power of two its logits are exact, whatever the
    batch; otherwise they round, which matters within about 1e-6 of the plane only.
    """

    def __init__(self, direction: Sequence[float] | NDArray[np.float64], offset: float = 0.0) -> None:
        super().__init__()
        self.register_buffer("direction", torch.tensor(np.asarray(direction), dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        side = x.flatten(1) @ self.get_buffer("direction") - self.get_buffer("offset")
        return torch.stack([-side, side], dim=1)

    def distances(self, x: NDArray[np.float32]) -> NDArray[np.float64]:
        """Signed distances [B] to the plane, > 0 in class 1; float64, from the float32 numbers of the model."""
        direction = self.get_buffer("direction").double().numpy()
        side = x.reshape(len(x), -1).astype(np.float64) @ direction - float(self.get_buffer("offset"))
        distances: NDArray[np.float64] = side / np.linalg.norm(direction)
        return distances

    def p_one(self, x: NDArray[np.float32], sigma: float) -> NDArray[np.float64]:
        """P[class 1] [B] under Gaussian noise."""
        p: NDArray[np.float64] = norm.cdf(self.distances(x) / sigma)
        return p


class Bands(nn.Module):
    """The class is the number of edges that the first coordinate exceeds: exact in any batch, on any device."""

    def __init__(self, edges: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("edges", torch.tensor(edges, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        above = (x.flatten(1)[:, :1] > self.get_buffer("edges")).to(x.dtype)  # [B, K - 1], ones first
        ones = torch.ones_like(above[:, :1])
        return torch.cat([ones, above], dim=1) - torch.cat([above, 0 * ones], dim=1)


class Constant(nn.Module):
    """One class, whatever comes."""

    def __init__(self, classes: int, answer: int) -> None:
        super().__init__()
        self.register_buffer("logits", torch.eye(classes)[answer])

    def forward(self, x: Tensor) -> Tensor:
        return self.get_buffer("logits").expand(len(x), -1) + 0 * x.flatten(1)[:, :1]


class Broken(nn.Module):
    """Another module whose logits become `value` (NaN, an infinity) where the first coordinate exceeds a limit.

    Args:
        column: the one logit that becomes so.
    """

    def __init__(self, inner: nn.Module, limit: float, value: float = float("nan"), column: int = 0) -> None:
        super().__init__()
        self.inner = inner
        self.limit, self.value, self.column = limit, value, column

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x).clone()
        logits[:, self.column] = torch.where(x.flatten(1)[:, 0] > self.limit, self.value, logits[:, self.column])
        return logits


class Interacting(nn.Module):
    """Rows interact: class 1 where the first coordinate reaches the batch's largest, or, `smooth`, its mean."""

    def __init__(self, smooth: bool = True) -> None:
        super().__init__()
        self.smooth = smooth

    def forward(self, x: Tensor) -> Tensor:
        first = x.flatten(1)[:, 0]
        side = first - (first.mean() if self.smooth else first.max())
        return torch.stack([-side, side], dim=1)


class FloatTrap(nn.Module):
    """Class 1 where fl(fl(z - a) + a) == z in every coordinate: a function of roundings alone."""

    def __init__(self, a: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("a", torch.from_numpy(a))

    def forward(self, x: Tensor) -> Tensor:
        a = self.get_buffer("a")
        same = ((x - a) + a == x).flatten(1).all(dim=1).to(x.dtype)
        return torch.stack([1 - same, same], dim=1)


class Counting(nn.Module):
    """Another module that notes the rows of every call."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.rows: list[int] = []
        self.dtypes: set[torch.dtype] = set()

    def forward(self, x: Tensor) -> Tensor:
        self.rows.append(len(x))  # atomic
        self.dtypes.add(x.dtype)
        logits: Tensor = self.inner(x)
        return logits


class Gated(nn.Module):
    """Another module that waits at a gate, open at first. `entered` is set by whoever comes to a closed gate."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.gate, self.entered = threading.Event(), threading.Event()
        self.gate.set()
        self.calls = 0

    def close(self) -> None:
        self.entered.clear()
        self.gate.clear()

    def open(self) -> None:
        self.gate.set()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if not self.gate.is_set():
            self.entered.set()
            assert self.gate.wait(20), "nobody opened the gate"
        logits: Tensor = self.inner(x)
        return logits


class Slow(nn.Module):
    """Another module that takes at least so many seconds a call."""

    def __init__(self, inner: nn.Module, seconds: float) -> None:
        super().__init__()
        self.inner, self.seconds = inner, seconds

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        logits: Tensor = self.inner(x)
        return logits


class Failing(nn.Module):
    """Another module that raises at the n-th call after `arm(n)`, or wherever the first coordinate exceeds a limit."""

    def __init__(self, inner: nn.Module, limit: float = float("inf")) -> None:
        super().__init__()
        self.inner, self.limit = inner, limit
        self._left: int | None = None

    def arm(self, calls: int) -> None:
        self._left = calls

    def forward(self, x: Tensor) -> Tensor:
        if self._left is not None:
            self._left -= 1
            if self._left == 0:
                raise RuntimeError("armed")
        if bool((x.flatten(1)[:, 0] > self.limit).any()):
            raise RuntimeError("over the limit")
        logits: Tensor = self.inner(x)
        return logits


def one_lane_device() -> Device:
    """A CPU device that runs one batch at a time, whatever the machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return Device("cpu", form=Form.EAGER)
    finally:
        torch.set_num_threads(threads)


class Watched:
    """An executor whose steps are noted, and may be of fixed size.

    Args:
        rows: of a batch; every step is then one batch a lane. None leaves it to the executor inside.
    """

    def __init__(self, inner: Executor, rows: int | None = None) -> None:
        self._inner = inner
        self._shape = None if rows is None else Shape(rows, Form.EAGER)
        self.steps: list[list[Work]] = []
        self.closed = False

    def prepare(self, backend: Backend, model: ModelHandle, method: Method, shape: Shape | None = None) -> Ready:
        ready = self._inner.prepare(backend, model, method, shape or self._shape)
        if self._shape is not None and isinstance(ready, ReadyModel):
            ready.rate = 0.0  # so slow that a step is as short as can be
        return ready

    def step(self, backend: Backend, model: Ready, work: Sequence[Work]) -> list[Any]:
        self.steps.append(list(work))
        return self._inner.step(backend, model, work)

    def close(self) -> None:
        self.closed = True
        self._inner.close()
