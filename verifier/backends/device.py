"""A device of this process, and models made ready on it: fused, batch shape tuned, lanes with their buffers."""

import logging
import math
import platform
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier, RLock
from typing import Any, TypeVar

import numpy as np
import psutil
import scipy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from verifier.certificate import Execution
from verifier.errors import InvalidProblem, Overloaded, Unsupported
from verifier.methods import Precision, Rng
from verifier.models.compiled import Form, Forward, compile_model, default_form, is_row_exact
from verifier.models.handle import ModelHandle
from verifier.models.registry import BatchKey, Registry
from verifier.seeds import Phase, Stream
from verifier.smoothing.sampler import Lane, Segment, count
from verifier.smoothing.streams import default_rng
from verifier.version import __version__

logger = logging.getLogger(__name__)

Made = TypeVar("Made")

STEP_SECONDS = 0.2
"""Aimed time of one device step: how long a cancelled call may still hold the device."""

MAX_BATCH_ROWS = 2048
"""Largest batch that is tried when tuning."""

MAX_REDRAWN_ROWS = 2**16
"""Largest batch that a certificate may name to be drawn again."""

MAX_READY_MODELS = 8
"""Models kept ready; the least recently used goes first."""

_MEMORY_SHARE = 0.25
"""Of the free memory, what the batches of all lanes may take."""
_IDLE_SHARE = 0.25
"""Of a batch's time, what a lane loses at the end of a step, waiting for the others or computing padding."""
_RATE_MEMORY = 0.3
"""Weight of the newest step in the measured rate."""
_MEASURE_SECONDS = 0.03
"""Least time of one measurement of a batch shape, after the first batches."""


@dataclass(frozen=True)
class Shape:
    """What decides how a forward pass rounds: rows of a batch, and form of the model."""

    batch_rows: int
    form: Form


class ReadyModel:
    """One model on one device in one arithmetic, ready to count votes.

    Args:
        device, handle, precision: which.
        forward: its fused form.
        shape: batch rows and form.
        row_exact: see `Execution.row_exact`.

    Attributes:
        rate: rows a second of all lanes together, as measured last.
        execution: what certificates say about how they were computed, but for the times.
        drawn, computed: draws taken, and rows of the batches that took them.
    """

    def __init__(
        self,
        device: "Device",
        handle: ModelHandle,
        precision: Precision,
        forward: Forward,
        shape: Shape,
        row_exact: bool = False,
    ) -> None:
        self.handle = handle
        self.precision = precision
        self.shape = shape
        self.rate = 0.0
        self.execution = replace(
            device.execution, batch_rows=shape.batch_rows, form=shape.form.value, row_exact=row_exact
        )
        self.drawn = self.computed = 0
        self._device = device
        self._forward = forward
        self._lanes: dict[Rng, list[Lane]] = {}

    @property
    def rows_per_round(self) -> int:
        """Rows of one batch on every lane."""
        return self.shape.batch_rows * self._device.lanes

    @property
    def rows_per_step(self) -> int:
        """Rows of a device step: whole batches on every lane, about `STEP_SECONDS` long."""
        return self.rows_per_round * max(1, round(self.rate * STEP_SECONDS / self.rows_per_round))

    def count(self, segments: Sequence[Segment], slots: int, rng: Rng) -> NDArray[np.int64]:
        """Votes [slots, K + 1] of the segments; see `sampler.count`."""
        started = time.perf_counter()
        with _arithmetic(self.handle.device, self.precision):
            votes = count(self._lanes_of(rng), self._device.pool, segments, self.shape.batch_rows, slots)
        rows = sum(segment.rows for segment in segments)
        self.drawn += rows
        self.computed += -(-rows // self.shape.batch_rows) * self.shape.batch_rows
        if rows >= self.shape.batch_rows * self._device.lanes:
            self.rate += _RATE_MEMORY * (rows / (time.perf_counter() - started) - self.rate)
        return votes

    def measure(self) -> float:
        """Rows a second of the sampling loop: the best of a few runs on made-up inputs."""
        handle, rows = self.handle, self.shape.batch_rows * self._device.lanes
        x = torch.zeros(handle.input_shape, device=handle.device)
        segment = Segment(x, 1.0, Stream(0, "", 0, Phase.SELECT), 0, rows, 0)
        seconds: list[float] = []
        self.count([segment], 1, self._device.rng(None))  # builds the lanes, warms the caches
        while len(seconds) < 3 or sum(seconds) < _MEASURE_SECONDS:
            started = time.perf_counter()
            self.count([segment], 1, self._device.rng(None))
            seconds.append(time.perf_counter() - started)
            if sum(seconds) > 5 * STEP_SECONDS:
                break
        return rows / min(seconds)

    def _lanes_of(self, rng: Rng) -> list[Lane]:
        if rng not in self._lanes:
            handle = self.handle
            self._lanes[rng] = [
                Lane(self._forward, handle.input_shape, handle.classes, self.shape.batch_rows, rng, handle.device)
                for _ in range(self._device.lanes)
            ]
        return self._lanes[rng]


class Device:
    """Where models run. On a CPU every core is a lane with batches of its own; a GPU is one lane.

    Lanes beat one batch spread over the cores (measured: 1.2 times on a small network), and a lane's
    roundings do not depend on the number of cores.

    Args:
        name: "auto", "cpu", "cuda" or "cuda:0"; auto takes a GPU where there is one.
        registry: keeps the tuned batch shapes, so that a restarted server rounds as it did before; or None.
        form: executed form of the models; None takes the device's default.
    Attributes:
        execution: of what was never run: no batch, no form.
    Raises:
        Unsupported: no such device on this machine.
    """

    def __init__(self, name: str = "auto", registry: Registry | None = None, form: Form | None = None) -> None:
        self.device = find_device(name)
        self.name = device_name(self.device)
        self.form = form or default_form(self.device)
        self.versions = {
            "verifier": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "scipy": scipy.__version__,
            "python": platform.python_version(),
        }
        self.execution = Execution(str(self.device), self.name, 0, "", False, self.versions, 0.0, 0.0)
        self._registry = registry
        self.lanes = torch.get_num_threads() if self.device.type == "cpu" else 1
        self.pool = _lane_pool(self.lanes, self.device)
        self._ready: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = RLock()

    def rng(self, chosen: Rng | None) -> Rng:
        """The generator to use; InvalidProblem where the chosen one needs another device."""
        if chosen is Rng.CUDA_PHILOX and self.device.type != "cuda":
            raise InvalidProblem(
                f"rng {chosen.value} needs a CUDA device, this one is {self.device}; "
                f"leave it out, or use {Rng.AES128_CTR_BOX_MULLER.value}",
                field="smoothing.rng",
            )
        return chosen or default_rng(self.device)

    def rate(self, digest: str, precision: Precision) -> float | None:
        """Rows a second measured last for this model, or None where it was not run yet."""
        ready = self._ready.get((digest, precision, None))
        return ready.rate if ready else None

    def rows(self, digest: str, precision: Precision) -> tuple[int, int]:
        """(draws, rows of batches) computed for this model since it was made ready."""
        ready = self._ready.get((digest, precision, None))
        return (ready.drawn, ready.computed) if ready else (0, 0)

    def prepare(self, handle: ModelHandle, precision: Precision, shape: Shape | None = None) -> ReadyModel:
        """The model made ready; tuned on first use, unless a shape is asked for (to redraw a certificate).

        Raises:
            Unsupported: the device cannot compute in this precision.
            Overloaded: the device's memory cannot hold a single row.
        """
        key = (handle.digest, precision, shape)
        return self.keep(key, lambda: self._make_ready(handle, precision, shape))

    def keep(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What was made under this key, as long as it is among the last `MAX_READY_MODELS` used.

        Args:
            make: makes it; what it raises is handed on, and nothing is kept.
        """
        with self._lock:
            if key not in self._ready:
                self._ready[key] = make()
                while len(self._ready) > MAX_READY_MODELS:
                    self._ready.popitem(last=False)
            self._ready.move_to_end(key)
            made: Made = self._ready[key]
            return made

    def close(self) -> None:
        """End the lanes."""
        self.pool.shutdown()

    def _make_ready(self, handle: ModelHandle, precision: Precision, shape: Shape | None) -> ReadyModel:
        if shape and shape.batch_rows > MAX_REDRAWN_ROWS:
            raise InvalidProblem(
                f"batches have at most {MAX_REDRAWN_ROWS} rows, got {shape.batch_rows}", field="execution.batch_rows"
            )
        rows = shape.batch_rows if shape else self._tuned_rows(handle, precision)
        forward, form = self._compile(handle, precision, rows, shape.form if shape else self.form)
        with _arithmetic(self.device, precision):
            row_exact = self.pool.submit(is_row_exact, forward, rows, handle.input_shape, self.device).result()
        ready = ReadyModel(self, handle, precision, forward, Shape(rows, form), row_exact)
        ready.rate = ready.measure()
        logger.info(
            "model %s ready on %s: %s, %s, batches of %d rows, about %.0f rows/s",
            handle.digest[:12], self.device, precision.value, form.value, rows, ready.rate,
        )  # fmt: skip
        return ready

    def _compile(self, handle: ModelHandle, precision: Precision, rows: int, form: Form) -> tuple[Forward, Form]:
        """See `compile_model`; in a lane, where forward passes run: fusing depends on the thread's settings."""
        with _arithmetic(self.device, precision):
            return self.pool.submit(compile_model, handle, precision, rows, form).result()

    def _tuned_rows(self, handle: ModelHandle, precision: Precision) -> int:
        """The stored batch shape of this model, device and arithmetic, or a newly tuned one."""
        purpose = f"{self.form.value}, {self.lanes} lanes, torch {torch.__version__}"
        key = BatchKey(handle.digest, self.name, precision.value, purpose)
        stored = self._registry.batch_rows(key) if self._registry else None
        if stored is not None:
            return stored
        rows = self._tune(handle, precision)
        return self._registry.store_batch_rows(key, rows) if self._registry else rows

    def _tune(self, handle: ModelHandle, precision: Precision) -> int:
        """The batch with the best rate of the whole sampling loop, on all lanes at once.

        Noise, activations and the lanes compete for caches and memory, so the forward pass alone would
        choose another one. Sizes grow until they reach a share of the memory or take half a step.
        """
        limit = min(MAX_BATCH_ROWS, self._rows_in_memory(handle))
        rows, values = 1, dict[int, float]()
        while rows <= limit:
            forward, form = self._compile(handle, precision, rows, self.form)
            rate = ReadyModel(self, handle, precision, forward, Shape(rows, form)).measure()
            seconds = rows * self.lanes / rate
            values[rows] = rate / (1 + _IDLE_SHARE * seconds / STEP_SECONDS)
            if seconds > STEP_SECONDS / 2:
                break
            rows *= 4 if rows < 16 else 2
        return max(values, key=values.__getitem__)

    def _rows_in_memory(self, handle: ModelHandle) -> int:
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
        else:
            free = psutil.virtual_memory().available
        rows = int(free * _MEMORY_SHARE / (self.lanes * row_bytes(handle)))
        if rows < 1:
            raise Overloaded(
                f"one row of this model needs about {row_bytes(handle):,} bytes and {free:,} are free on {self.device}",
                reason="OUT_OF_MEMORY",
            )
        return rows


def row_bytes(handle: ModelHandle) -> int:
    """About the bytes that one row takes: its input, its noise, and the two largest neighbouring activations."""
    sizes: list[int] = []

    def note(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            sizes.append(output.numel())

    hooks = [module.register_forward_hook(note) for module in handle.module.modules()]
    try:
        with torch.inference_mode():
            handle.logits(torch.zeros((1, *handle.input_shape), device=handle.device))
    finally:
        for hook in hooks:
            hook.remove()
    return 4 * (3 * math.prod(handle.input_shape) + 3 * max(sizes))


_ARITHMETIC = RLock()
"""torch's switches for TF32 belong to the whole process: who needs them in one position holds this."""


@contextmanager
def _arithmetic(device: torch.device, precision: Precision) -> Iterator[None]:
    """TF32 off, unless it is the precision asked for; nothing to do on a CPU."""
    if device.type != "cuda":
        yield
        return
    with _ARITHMETIC:
        torch.backends.cuda.matmul.allow_tf32 = precision is Precision.TF32
        torch.backends.cudnn.allow_tf32 = precision is Precision.TF32
        yield


def _lane_pool(lanes: int, device: torch.device) -> ThreadPoolExecutor:
    if device.type != "cpu":
        return ThreadPoolExecutor(lanes, thread_name_prefix="lane")
    threads = torch.get_num_threads()
    all_started = Barrier(lanes + 1)
    pool = ThreadPoolExecutor(lanes, thread_name_prefix="lane", initializer=_run_single_threaded)
    for _ in range(lanes):
        pool.submit(all_started.wait)
    all_started.wait()
    torch.set_num_threads(threads)  # what threads started later by others begin with
    return pool


def _run_single_threaded() -> None:
    torch.set_num_threads(1)
    torch.get_num_threads()  # the thread's first use of the number would otherwise read it again, from all threads


def find_device(name: str) -> torch.device:
    """The device of a name: "auto", "cpu", "cuda" or "cuda:N"; Unsupported where this machine has none such."""
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise Unsupported(f"device must be auto, cpu or cuda:N, got {name!r}") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda" or not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count():
        raise Unsupported(f"device {name!r} is not there; this machine has {_available()}: use --device auto")
    return torch.device("cuda", device.index or 0)


def _available() -> str:
    return ", ".join(["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])


def device_name(device: torch.device) -> str:
    """The processor's own name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
