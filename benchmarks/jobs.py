"""What a job costs beside certifying the same inputs directly, and what the store can take.

    python -m benchmarks.jobs --json -

- store: rows a second through `JobStore.commit_rows`, by rows a commit, on SQLite and on PostgreSQL (its URL in
  $VERIFIER_DATABASE_URL, else left out).
- overhead: a job over a data set against `verifier.local().certify(...)` on the same inputs, taking turns.
- memory: peak resident memory of a server that runs a job of 1e4 and of 1e6 inputs, a linear model with n = 16.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
import safetensors.torch
import torch

import verifier
from benchmarks.machine import machine, spread
from benchmarks.sampling import network, register
from verifier.backends.device import STEP_SECONDS
from verifier.job import Job, JobRow, JobState, JobTotals
from verifier.jobs.store import JobStore
from verifier.methods import Smoothing
from verifier.models.architectures import MLP
from verifier.storage.database import Database

SEED = 2026
ROWS = 20_000
FEATURES, CLASSES = 16, 4


def store(place: Path | str) -> dict[str, Any]:
    """Rows a second, with certificates of 1.2 KB."""
    database = Database(place)
    figures = {}
    try:
        jobs = JobStore(database)
        for rows in (100, 256, 1000):
            made = Job(
                os.urandom(16).hex(), "default", "{}", "m", "d", 0, JobState.QUEUED, "", JobTotals(ROWS), time.time()
            )
            jobs.create(made)
            lease = jobs.claim("benchmark", time.time(), 600.0)
            assert lease is not None
            started = time.perf_counter()
            for first in range(0, ROWS, rows):
                jobs.commit_rows(lease, [_row(position) for position in range(first, min(ROWS, first + rows))])
            figures[f"{rows} rows a commit"] = round(ROWS / (time.perf_counter() - started))
            jobs.finish(lease, JobState.SUCCEEDED)
            jobs.delete(made.id)
    finally:
        database.close()
    return figures


def _row(position: int) -> JobRow:
    return JobRow(position, position, "certified", True, 0.5, 1100, bytes(1200))


def overhead(turns: int, inputs: int, n: int) -> dict[str, Any]:
    """Rate of a job over the rate of the embedded call on the same inputs."""
    method = Smoothing(sigma=0.25, n=n)
    x = np.random.default_rng(SEED).random((inputs, 1, 28, 28), dtype=np.float32)
    ratios, rates = [], {"embedded": list[float](), "job": list[float]()}
    with tempfile.TemporaryDirectory() as folder, verifier.local(data_dir=folder, device="cpu") as client:
        torch.manual_seed(SEED)
        model = register(client, "cnn", network("cnn")[0])
        np.save(f"{folder}/x.npy", x)
        client.datasets.add("inputs", f"{folder}/x.npy")
        list(client.certify(model, x[:4], Smoothing(sigma=0.25, n=2000)))
        for turn in range(turns + 1):
            started = time.perf_counter()
            list(client.certify(model, x, method, seed=turn))
            embedded = inputs * method.draws / (time.perf_counter() - started)
            job = client.jobs.submit(model, "inputs", method, seed=100 + turn)
            started = time.perf_counter()
            last = list(client.jobs.watch(job.id))[-1].job
            assert last.state is JobState.SUCCEEDED
            assert last.started is not None
            assert last.finished is not None
            by_job = inputs * method.draws / (last.finished - last.started)
            if turn:  # the first one warms up
                rates["embedded"].append(embedded)
                rates["job"].append(by_job)
                ratios.append(by_job / embedded)
    return {
        "inputs": inputs,
        "n": n,
        **{f"{name}_per_s": round(spread(values)["median"]) for name, values in rates.items()},
        "ratio": {name: round(value, 4) for name, value in spread(ratios).items()},
    }


def latency(requests: int) -> dict[str, Any]:
    """Seconds of a call about one input, alone and beside a job; the difference in steps."""
    method = Smoothing(sigma=0.25, n=1000)
    x = np.random.default_rng(SEED).random((100, 1, 28, 28), dtype=np.float32)
    with (
        tempfile.TemporaryDirectory() as folder,
        _server(Path(folder) / "data") as (address, _),
        verifier.connect(address) as client,
    ):
        model = register(client, "cnn", network("cnn")[0])
        np.save(f"{folder}/x.npy", x)
        client.datasets.add("inputs", f"{folder}/x.npy")
        ask(client, model, x, method, 3)
        alone = ask(client, model, x, method, requests)
        job = client.jobs.submit(model, "inputs", Smoothing(sigma=0.25, n=1_000_000))
        time.sleep(2.0)
        beside = ask(client, model, x, method, requests)
        client.jobs.cancel(job.id)
    return {
        "alone_p50_p99_s": [round(float(np.percentile(alone, q)), 4) for q in (50, 99)],
        "beside_p50_p99_s": [round(float(np.percentile(beside, q)), 4) for q in (50, 99)],
        "p99_difference_in_steps": round(float(np.percentile(beside, 99) - np.percentile(alone, 99)) / STEP_SECONDS, 2),
    }


def ask(client: Any, model: Any, x: Any, method: Smoothing, requests: int) -> list[float]:
    seconds = []
    for number in range(requests):
        started = time.perf_counter()
        list(client.certify(model, x[number % len(x)][None], method))
        seconds.append(time.perf_counter() - started)
    return seconds


def memory(sizes: tuple[int, ...]) -> dict[str, Any]:
    """Peak memory of servers that ran a job of so many inputs, and their rates."""
    figures: dict[str, Any] = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as folder:
            figures[f"{size:,} inputs"] = _peak(Path(folder), size)
            print(size, figures[f"{size:,} inputs"], file=sys.stderr, flush=True)
    peaks = [figure["peak_kib"] for figure in figures.values()]
    return figures | {"largest_over_smallest": round(max(peaks) / min(peaks), 4)}


def _peak(folder: Path, size: int) -> dict[str, Any]:
    x = np.random.default_rng(SEED).random((size, FEATURES), dtype=np.float32)
    np.save(folder / "x.npy", x)
    config = {"input_shape": [FEATURES], "hidden": [], "classes": CLASSES}
    torch.manual_seed(SEED)
    safetensors.torch.save_file(MLP.build(config).state_dict(), folder / "linear.safetensors")
    with _server(folder / "data") as (address, pid), verifier.connect(address) as client:
        model = client.models.add("linear", weights=folder / "linear.safetensors", architecture="mlp", config=config)
        client.datasets.add("many", folder / "x.npy")
        started = time.perf_counter()
        job = client.jobs.submit(model, "many", Smoothing(sigma=0.5, n0=4, n=16), seed=1)
        last = list(client.jobs.watch(job.id))[-1].job
        assert last.state is JobState.SUCCEEDED, last
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{pid}/status").read_text()
        peak = int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]
    return {"peak_kib": peak, "inputs_per_s": round(size / seconds)}


@contextmanager
def _server(data_dir: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "verifier", "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    try:
        yield process.stdout.readline().split("serving on ")[1].split(",")[0], process.pid
    finally:
        process.terminate()
        process.wait()


@click.command()
@click.option("--json", "out", default="-", help="Where the figures go; - is standard output.")
@click.option("--turns", default=5, show_default=True)
@click.option("--quick", is_flag=True, help="Fewer inputs, and at most 1e5 of them for the memory.")
def main(out: str, turns: int, quick: bool) -> None:
    """Measure and print."""
    figures: dict[str, Any] = {**machine(torch.device("cpu")), "seed": SEED}
    with tempfile.TemporaryDirectory() as folder:
        figures["store"] = {"sqlite": store(Path(folder) / "verifier.db")}
    if url := os.environ.get("VERIFIER_DATABASE_URL"):
        figures["store"]["postgresql"] = store(url)
    figures["overhead"] = overhead(turns, 100 if quick else 300, 2_000)
    figures["latency"] = latency(20 if quick else 100)
    figures["memory"] = memory((10_000, 100_000) if quick else (10_000, 1_000_000))
    text = json.dumps(figures, indent=2)
    if out == "-":
        print(text)
    else:
        Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main()
