"""How close certification comes to the raw forward rate of the model, and how far it leaves a plain loop behind.

    python -m benchmarks.sampling --json -

All rates are rows (draws, forward passes) a second. Within a case the raw forward pass, certification and the
plain loop take turns, so that a noisy machine disturbs all three alike; figures are medians over the turns.

- raw forward: the form of the model that certification runs, inference mode, at the best batch size found, the
  better of one batch on all threads and one batch a thread.
- certify: `verifier.local().certify(...)`, from the call to the last certificate, models loaded and tuned.
- reference loop: `benchmarks/reference_loop.py`, the plain module, batches of 1000.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import safetensors.torch
import torch
from torch import Tensor, nn

import verifier
from benchmarks import reference_loop
from benchmarks.machine import machine, spread
from verifier.backends.device import Device
from verifier.client.client import Client
from verifier.methods import Precision
from verifier.models.architectures import build, find_architecture
from verifier.models.compiled import compile_model
from verifier.models.handle import ModelHandle

SEED = 2026
SIGMA = 0.25
ALPHA = 1e-3
N0 = 100


class Case:
    """One network and one shape of request.

    Args:
        name: of the case.
        architecture: "cnn", "resnet20" or "resnet50".
        inputs, n: of the request.
        precision: of the forward pass.
        turns: how often raw, certify and reference take turns.
        reference_inputs: how many inputs the plain loop does in a turn.
    """

    def __init__(
        self,
        name: str,
        architecture: str,
        inputs: int,
        n: int,
        *,
        precision: Precision = Precision.FLOAT32,
        turns: int = 5,
        reference_inputs: int = 2,
    ) -> None:
        self.name = name
        self.architecture = architecture
        self.inputs = inputs
        self.n = n
        self.precision = precision
        self.turns = turns
        self.reference_inputs = reference_inputs

    @property
    def method(self) -> verifier.Smoothing:
        return verifier.Smoothing(sigma=SIGMA, n0=N0, n=self.n, alpha=ALPHA, precision=self.precision)


CPU_CASES = (
    Case("cnn_28x28_40x10000", "cnn", 40, 10_000),
    Case("cnn_28x28_40x250", "cnn", 40, 250, turns=15, reference_inputs=20),
    Case("resnet20_cifar", "resnet20", 4, 1_000, reference_inputs=1),
)
GPU_CASES = (
    Case("cnn_28x28_40x10000", "cnn", 40, 10_000),
    Case("cnn_28x28_40x250", "cnn", 40, 250, turns=15),
    Case("resnet20_cifar", "resnet20", 40, 10_000),
    Case("resnet50_224_float32", "resnet50", 4, 5_000, reference_inputs=1),
    Case("resnet50_224_bfloat16", "resnet50", 4, 10_000, precision=Precision.BFLOAT16, reference_inputs=1),
)


def network(name: str) -> tuple[nn.Module, tuple[int, ...]]:
    """An untrained network with its default configuration, and the shape of its inputs.

    Rates do not depend on the weights.
    """
    torch.manual_seed(SEED)
    module, shape = build(find_architecture(name), {})
    return module.eval(), shape


def inputs_of(case: Case, shape: tuple[int, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(SEED).random((case.inputs, *shape), dtype=np.float32)


def measure(case: Case, client: Client, device: Device) -> dict[str, Any]:
    """The figures of one case."""
    module, shape = network(case.architecture)
    model = register(client, case.architecture, module)
    module = module.to(device.device).requires_grad_(False)
    x = inputs_of(case, shape)
    raw = best_raw(ModelHandle(model.digest, module, shape, model.manifest.classes, device.device), case, device)
    warm_up = verifier.Smoothing(sigma=SIGMA, n0=N0, n=1000, alpha=ALPHA, precision=case.precision)
    list(client.certify(model, x[:2], warm_up, seed=SEED))
    rates: dict[str, list[float]] = {"raw": [], "certify": [], "reference": []}
    certificates: list[verifier.Certificate] = []
    for _ in range(case.turns):
        rates["raw"].append(raw(min(case.inputs * case.method.draws, 200_000)))
        started = time.perf_counter()
        certificates = list(client.certify(model, x, case.method, seed=SEED))
        rates["certify"].append(case.inputs * case.method.draws / (time.perf_counter() - started))
        rates["reference"].append(reference(module, x[: case.reference_inputs], case, device.device))
    ratio = [certify / raw for certify, raw in zip(rates["certify"], rates["raw"], strict=True)]
    speedup = [certify / plain for certify, plain in zip(rates["certify"], rates["reference"], strict=True)]
    return {
        "raw_forward_per_s": round(spread(rates["raw"])["median"]),
        "certify_per_s": round(spread(rates["certify"])["median"]),
        "efficiency": round(spread(ratio)["median"], 4),
        "efficiency_quartiles": [round(spread(ratio)[key], 4) for key in ("q25", "q75")],
        "reference_loop_per_s": round(spread(rates["reference"])["median"]),
        "speedup": round(spread(speedup)["median"], 3),
        "inputs": case.inputs,
        "n0": N0,
        "n": case.n,
        "precision": case.precision.value,
        "batch_rows": certificates[0].execution.batch_rows,
        "form": certificates[0].execution.form,
    }


def register(client: Client, name: str, module: nn.Module) -> verifier.ModelInfo:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(module.state_dict(), file)
        return client.models.add(name, weights=file, architecture=name)


def reference(module: nn.Module, x: np.ndarray[Any, Any], case: Case, device: torch.device) -> float:
    """Rate of the plain loop over the inputs."""
    rows = torch.from_numpy(x).to(device)
    started = time.perf_counter()
    for row in rows:
        reference_loop.certify(module, row, SIGMA, N0, case.n, ALPHA)
    return len(rows) * case.method.draws / (time.perf_counter() - started)


def best_raw(handle: ModelHandle, case: Case, device: Device) -> Callable[[int], float]:
    """The raw forward pass in its best arrangement and batch size, as a function rows -> rate."""
    best: tuple[float, Callable[[int], float]] = (0.0, float)
    for rows in (16, 32, 64, 128, 256, 512, 1024, 2048):
        if case.architecture == "resnet50" and rows > 512:
            break
        for lanes in {1, device.lanes}:
            run = raw_forward(handle, case.precision, rows, lanes, device)
            rate = max(run(rows * lanes) for _ in range(3))
            seconds = rows * lanes / rate
            rate = max(run(max(rows * lanes, int(0.2 / seconds) * rows * lanes)) for _ in range(2))
            if rate > best[0]:
                best = rate, run
        if rows / best[0] > 2.0:
            break
    return best[1]


def raw_forward(
    handle: ModelHandle, precision: Precision, rows: int, lanes: int, device: Device
) -> Callable[[int], float]:
    """Forward passes of `rows` rows on so many lanes of the device, or, with one lane, on all threads together."""
    x = torch.randn((rows, *handle.input_shape), generator=torch.Generator().manual_seed(SEED)).to(handle.device)

    def passes(forward: Callable[[Tensor], Tensor], count: int) -> None:
        with torch.inference_mode():
            for _ in range(count):
                forward(x)
        if handle.device.type == "cuda":
            torch.cuda.synchronize()

    pool = device.pool if lanes > 1 else _HERE
    forward, _ = pool.submit(compile_model, handle, precision, rows, device.form).result()
    pool.submit(passes, forward, 3).result()

    def run(total: int) -> float:
        count = max(1, round(total / (rows * lanes)))
        started = time.perf_counter()
        for future in [pool.submit(passes, forward, count) for _ in range(lanes)]:
            future.result()
        return count * rows * lanes / (time.perf_counter() - started)

    return run


_HERE = ThreadPoolExecutor(1)
"""One thread with torch's own threads below it, for forward passes that are spread over the cores."""


def over_grpc(client: Client) -> dict[str, Any]:
    """Rate over a real server on loopback against the embedded one, 100 inputs, taking turns."""
    case = Case("grpc", "cnn", 100, 2_000)
    module, shape = network(case.architecture)
    x = inputs_of(case, shape)
    rates: dict[str, list[float]] = {"embedded": [], "grpc": []}
    with _server() as address, verifier.connect(address) as remote:
        doors = {"embedded": client, "grpc": remote}
        models = {door: register(one, case.architecture, module) for door, one in doors.items()}
        for turn in range(6):
            for door, one in doors.items():
                started = time.perf_counter()
                list(one.certify(models[door], x, case.method, seed=SEED))
                if turn:  # the first one warms up
                    rates[door].append(case.inputs * case.method.draws / (time.perf_counter() - started))
    ratio = [grpc / embedded for grpc, embedded in zip(rates["grpc"], rates["embedded"], strict=True)]
    return {
        "embedded_per_s": round(spread(rates["embedded"])["median"]),
        "grpc_per_s": round(spread(rates["grpc"])["median"]),
        "ratio": round(spread(ratio)["median"], 4),
        "ratio_quartiles": [round(spread(ratio)[key], 4) for key in ("q25", "q75")],
    }


@contextmanager
def _server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "verifier", "serve", "--listen", "127.0.0.1:0", "--data-dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split("serving on ")[1].split(",")[0]
        finally:
            process.terminate()
            process.wait()


def memory() -> dict[str, Any]:
    """Peak memory of a process that certifies one input with n = 1e4 and with n = 1e6, the batch shape tuned before."""
    peaks = {}
    with tempfile.TemporaryDirectory() as folder:
        for n in (1_000, 10_000, 1_000_000):  # the first tunes
            command = [sys.executable, "-m", "benchmarks.sampling", "--peak-of", str(n), "--data-dir", folder]
            peaks[n] = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "peak_kib_n_1e4": peaks[10_000],
        "peak_kib_n_1e6": peaks[1_000_000],
        "ratio": round(peaks[1_000_000] / peaks[10_000], 4),
    }


def print_peak(n: int, data_dir: str) -> None:
    """Certify one input with n draws in this process; print its peak memory in KiB."""
    case = Case("memory", "cnn", 1, n)
    module, shape = network(case.architecture)
    with verifier.local(data_dir=data_dir, device="cpu") as client:
        model = register(client, case.architecture, module)
        list(client.certify(model, inputs_of(case, shape), case.method, seed=SEED))
    print(_peak_kib())


def _peak_kib() -> int:
    """Peak resident memory of this process alone (ru_maxrss would remember the parent's)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


@click.command()
@click.option("--json", "out", default="-", help="Where the figures go; - is standard output.")
@click.option("--device", "name", default="auto")
@click.option("--only", help="Just the cases whose name begins so.")
@click.option("--peak-of", type=int, hidden=True)
@click.option("--data-dir", default="", hidden=True)
def main(out: str, name: str, only: str | None, peak_of: int | None, data_dir: str) -> None:
    """Measure and print."""
    if peak_of is not None:
        print_peak(peak_of, data_dir)
        return
    device = Device(name)
    cases = [
        case for case in (GPU_CASES if device.device.type == "cuda" else CPU_CASES) if case.name.startswith(only or "")
    ]
    figures: dict[str, Any] = {**machine(device.device), "seed": SEED, "sigma": SIGMA, "alpha": ALPHA}
    results: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder, verifier.local(data_dir=folder, device=name) as client:
        for case in cases:
            results[case.name] = measure(case, client, device)
            print(case.name, results[case.name], file=sys.stderr, flush=True)
        if only is None:
            figures["grpc"] = over_grpc(client)
    if only is None:
        figures["memory"] = memory()
    device.close()
    top: dict[str, Any] = next(iter(results.values()), {})
    keys = ("raw_forward_per_s", "certify_per_s", "efficiency", "reference_loop_per_s", "speedup")
    text = json.dumps(figures | {key: top[key] for key in keys if key in top} | {"cases": results}, indent=2)
    if out == "-":
        print(text)
    else:
        Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main()
