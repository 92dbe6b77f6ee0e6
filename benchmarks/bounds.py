"""How long deterministic bounds take, how large the radii are, beside an independent verifier's.

    python -m benchmarks.bounds --json -

For every stored network (benchmarks/bound_networks.py):

- times: the network's own float32 forward pass, and bounds at a fixed eps in batches of 1, 32 and 256 (the stored
  inputs, repeated), all methods taking turns, so that a noisy machine disturbs them alike. Medians, and the best turn.
  float32 is what a step of the search costs; rigorous is float64 with every rounding paid for, what proves.
- radii: certified by the backends, from the call to the last certificate: search, proof and audit.
- loss: of the radius to outward rounding.
- memory: peak of a process that bounds one batch of 256 by CROWN, where the other verifier ran out of it.

Stored times are from a quiet machine with two cores; targets (benchmarks/bound_targets.py) compare our best turn.
"""

import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmarks import bound_cases, reference_ibp
from benchmarks.bound_networks import (
    SEED,
    STATED_ACCURACY,
    Answers,
    StoredNetwork,
    certify,
    entries,
    ibp_trained,
    is_there,
    load,
    mnist_test,
    pixels,
)
from benchmarks.bound_targets import judge, print_tables
from benchmarks.machine import machine
from verifier.backends.bounder import plain_kernels
from verifier.backends.device import Device
from verifier.bounds.alpha import Ascent, alpha_margins
from verifier.bounds.arithmetic import FAST, RIGOROUS, Arithmetic
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, lower_margins
from verifier.bounds.network import Network
from verifier.methods import AlphaCrown, BoundMethod, Crown, CrownIbp, Ibp, Rounding
from verifier.problem import Box, Norm, Problem

BATCHES = (1, 32, 256)
BUDGET = Budget(2**30)
MOST_TURNS = 15
CHEAP = ("forward", "ibp", "ibp_rigorous")
"""Measured always."""

Task = Callable[[], object]


@dataclass(frozen=True)
class Effort:
    """How much time is spent.

    Args:
        turn_seconds: for the turns of all methods at one batch.
        longest: tasks that would take longer are left out.
        radii: seconds for one method's search; a search that is cut is marked so.
        loss_inputs: of which the loss to outward rounding is measured, by IBP and by CROWN (where it is quick).
        quick: whether alpha-CROWN and the memory are left out.
    """

    turn_seconds: float
    longest: float
    radii: float
    loss_inputs: tuple[int, int]
    quick: bool = False


FULL = Effort(3.0, 5.0, 8.0, (20, 3))
QUICK = Effort(0.3, 0.5, 0.8, (5, 0), quick=True)


def measure(stored: StoredNetwork, device: Device, effort: Effort) -> dict[str, Any]:
    """The figures of one network."""
    with torch.no_grad(), plain_kernels(device.device):
        times = measure_times(stored, device, effort)
    radii = measure_radii(stored, device, effort)
    slow = radii.get("CROWN", {"seconds": np.inf})["seconds"] > effort.radii / 2
    counts = (effort.loss_inputs[0], 0 if slow else effort.loss_inputs[1])
    figures: dict[str, Any] = {
        "convolutional": stored.is_convolutional,
        "eps": stored.eps,
        "times": times,
        "radii": radii,
        "loss": measure_loss(stored, device, counts),
    }
    if their_batch_dies(stored) and not effort.quick:
        figures["memory"] = measure_memory(stored.name, device)
    return figures


def their_batch_dies(stored: StoredNetwork) -> bool:
    """Whether the other verifier could not bound 256 inputs by CROWN."""
    return not isinstance(stored.times["CROWN_b256"], dict) or stored.times["CROWN_b256"]["per_input_ms"] is None


def measure_times(stored: StoredNetwork, device: Device, effort: Effort) -> dict[str, Any]:
    """Milliseconds of a batch, by batch size and method; null where it would have taken too long."""
    figures: dict[str, dict[str, Any]] = {}
    network = stored.network_on(device.device)
    expected = dict[str, float]()
    for batch in BATCHES:
        every = tasks(stored, network, batch, device)
        chosen = {
            name: task for name, task in every.items() if expected.get(name, 0.0) <= effort.longest or name in CHEAP
        }
        seconds = take_turns(chosen, effort.turn_seconds, device)
        expected |= {name: min(values) * 8 for name, values in seconds.items()}
        expected |= {name: np.inf for name in every if name not in seconds}
        figures[str(batch)] = {name: _times(seconds.get(name), batch) for name in every}
    return figures


def _times(seconds: list[float] | None, batch: int) -> dict[str, float] | None:
    if seconds is None:
        return None
    return {
        "ms": round(1000 * statistics.median(seconds), 4),
        "best_ms": round(1000 * min(seconds), 4),
        "per_input_ms": round(1000 * min(seconds) / batch, 4),
        "turns": len(seconds),
    }


def tasks(stored: StoredNetwork, network: Network, batch: int, device: Device) -> dict[str, Task]:
    """What takes turns: the forward pass and each bound of one batch, regions and margin rows included."""
    chosen = [number % len(stored.x) for number in range(batch)]
    module, x = stored.module.to(device.device), stored.x[chosen].to(device.device)

    def bound(kind: Bound, arithmetic: Arithmetic) -> Task:
        def run() -> None:
            region, rows = stored.question(stored.eps, arithmetic, chosen, device.device)
            lower_margins(network, region, rows, kind, Setting(arithmetic), BUDGET)

        return run

    def alpha() -> None:
        region, rows = stored.question(stored.eps, FAST, chosen, device.device)
        ascent = Ascent(AlphaCrown().steps, AlphaCrown().learning_rate)
        alpha_margins(network, region, rows, Setting(FAST), BUDGET, ascent)

    return {
        "forward": lambda: module(x),
        "ibp": bound(Bound.IBP, FAST),
        "ibp_rigorous": bound(Bound.IBP, RIGOROUS),
        "crown-ibp": bound(Bound.CROWN_IBP, FAST),
        "crown": bound(Bound.CROWN, FAST),
        "crown_rigorous": bound(Bound.CROWN, RIGOROUS),
        "alpha-crown": alpha,
    }


def take_turns(chosen: dict[str, Task], seconds: float, device: Device) -> dict[str, list[float]]:
    """Times of each task, after one run to warm up; tasks that use their share of the seconds up drop out."""
    share = seconds / len(chosen)
    first = {name: _time(task, device) for name, task in chosen.items()}
    times: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(MOST_TURNS):
        for name, task in chosen.items():
            if sum(times[name]) + first[name] <= share or (not times[name] and first[name] <= seconds):
                times[name].append(_time(task, device))
    return {name: values or [first[name]] for name, values in times.items()}


def _time(task: Task, device: Device) -> float:
    started = time.perf_counter()
    task()
    if device.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def searches(effort: Effort) -> Iterator[tuple[str, BoundMethod]]:
    """The stored name of each bound, and our method."""
    yield "IBP", Ibp(max_seconds=effort.radii)
    yield "CROWN-IBP", CrownIbp(max_seconds=effort.radii)
    yield "CROWN", Crown(max_seconds=effort.radii)
    if not effort.quick:
        yield "alpha", AlphaCrown(max_seconds=effort.radii)


def measure_radii(stored: StoredNetwork, device: Device, effort: Effort) -> dict[str, Any]:
    """Certified radii of the inputs whose radii are stored, and the time of the whole search."""
    handle = stored.handle(device.device)
    figures = {}
    for bound, method in searches(effort):
        theirs, _ = stored.theirs(bound)
        if not len(theirs) or (effort.quick and bound == "CROWN" and stored.is_convolutional):
            continue
        problem = pixels(stored, len(theirs))
        answers = certify(handle, problem, method, device)
        for _ in range(4):
            if answers.seconds < effort.turn_seconds / 4:
                answers = min(answers, certify(handle, problem, method, device), key=lambda one: one.seconds)
        figures[bound] = _radii(answers, stored, bound) | {"stopped": answers.seconds >= effort.radii}
    return figures


def _radii(answers: Answers, stored: StoredNetwork, bound: str) -> dict[str, Any]:
    theirs, _ = stored.theirs(bound)
    entry = stored.entry["radius_linf"][bound]
    ratio = answers.radii[theirs > 0] / theirs[theirs > 0]
    return {
        "inputs": len(theirs),
        "mean": round(float(answers.radii.mean()), 7),
        "their_mean": round(float(theirs.mean()), 7),
        "least_ratio": round(float(ratio.min()), 5),
        "inputs_below": int((ratio < 0.999).sum()),
        "seconds": round(answers.seconds, 4),
        "their_seconds": entry["seconds"],
        "their_seconds_quiet": _quiet_seconds(stored, bound, entry["steps"], len(theirs)),
        "evaluations": round(answers.evaluations, 1),
    }


def _quiet_seconds(stored: StoredNetwork, bound: str, steps: int, count: int) -> float | None:
    """Their steps at their quiet times: between a batch of 1 and one of 32."""
    times = [stored.times.get(f"{bound}_b{batch}") for batch in (1, 32)]
    if not all(isinstance(one, dict) for one in times):
        return None
    one, many = (float(entry["per_input_ms"]) * batch for entry, batch in zip(times, (1, 32), strict=True) if entry)
    return round(steps * (one + (many - one) * (count - 1) / 31) / 1000, 4)


def measure_loss(stored: StoredNetwork, device: Device, counts: tuple[int, int]) -> dict[str, Any]:
    """Relative loss of radii above 1e-4 to outward rounding, the search ending at a relative 1e-6.

    Args:
        counts: of inputs, by IBP and by CROWN.
    """
    handle = stored.handle(device.device)
    methods: tuple[BoundMethod, ...] = (Ibp(tolerance=1e-6), Crown(tolerance=1e-6))
    figures = {}
    for method, count in zip(methods, counts, strict=True):
        if count:
            outward = certify(handle, pixels(stored, count), method, device).radii
            nearest = certify(handle, pixels(stored, count), replace(method, rounding=Rounding.NEAREST), device).radii
            large = nearest > 1e-4
            loss = (nearest[large] - outward[large]) / nearest[large]
            figures[method.name] = {"inputs": int(large.sum()), "most": float(loss.max(initial=0.0))}
    return figures


def measure_memory(name: str, device: Device) -> dict[str, Any] | None:
    """Peak of a process that bounds one batch of 256 by CROWN, in float32 and then rigorously."""
    command = [sys.executable, "-m", "benchmarks.bounds", "--peak-of", name, "--device", str(device.device)]
    try:
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired:
        return None
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def print_peak(name: str, device: Device) -> None:
    """Bound a batch of 256 by CROWN in this process; print seconds and peak memory."""
    stored = load(name)
    network = stored.network_on(device.device)
    before = _peak_kib()
    started = time.perf_counter()
    with torch.no_grad(), plain_kernels(device.device):
        tasks(stored, network, 256, device)["crown"]()
    seconds = time.perf_counter() - started
    peak = {"seconds": round(seconds, 2), "before_kib": before, "peak_kib": _peak_kib()}
    if device.device.type == "cuda":
        peak["device_kib"] = torch.cuda.max_memory_allocated() // 1024
    print(json.dumps(peak))


def _peak_kib() -> int:
    """Peak resident memory of this process alone."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


def measure_accuracy(device: Device) -> dict[str, Any]:
    """IBP-certified accuracy at eps 0.1, pixels in [0, 1], of the network that was trained for it."""
    x, labels = mnist_test()
    handle = ibp_trained(device.device)
    problem = Problem(x, Norm.LINF, labels, eps=0.1, domain=Box(np.array(0.0), np.array(1.0)))
    runs = [certify(handle, problem, Ibp(), device) for _ in range(2)]
    right = sum(one.certified and one.prediction == one.label for one in runs[0].certificates)
    return {
        "images": len(x),
        "accuracy": right / len(x),
        "plain": reference_ibp.accuracy(handle.module, torch.tensor(x), torch.tensor(labels), 0.1),
        "of_10000": STATED_ACCURACY,
        "seconds": round(min(run.seconds for run in runs), 2),
    }


@click.command()
@click.option("--json", "as_json", help="Print the figures as JSON there, and no table; - is standard output.")
@click.option("--out", type=click.Path(dir_okay=False), help="Also write the JSON to this file.")
@click.option("--device", "name", default="cpu")
@click.option("--networks", help="Just those whose names contain one of these words, with commas between.")
@click.option("--quick", is_flag=True, help="A look in a minute; slow bounds are left out.")
@click.option("--cases", "with_cases", is_flag=True, help="Also ask about the cases with known answers.")
@click.option("--peak-of", hidden=True)
def main(
    as_json: str | None,
    out: str | None,
    name: str,
    networks: str | None,
    quick: bool,
    with_cases: bool,
    peak_of: str | None,
) -> None:
    """Measure and print."""
    if not is_there():
        raise click.ClickException("the stored bounds lie in ../shared beside the checkout, and are not there")
    device = Device(name)
    if peak_of:
        print_peak(peak_of, device)
        return
    effort = QUICK if quick else FULL
    figures: dict[str, Any] = {**machine(device.device), "seed": SEED, "quick": quick, "networks": {}}
    words = networks.split(",") if networks else [""]
    for key in [key for key in entries() if any(word in key for word in words)]:
        started = time.perf_counter()
        figures["networks"][key] = measure(load(key), device, effort)
        print(f"{key}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    figures["accuracy"] = measure_accuracy(device)
    if with_cases:
        figures["cases"] = bound_cases.survey(device)
    figures["targets"] = judge(figures, {key: load(key) for key in figures["networks"]})
    _write(figures, as_json, out)
    device.close()


def _write(figures: dict[str, Any], as_json: str | None, out: str | None) -> None:
    text = json.dumps(figures, indent=2)
    for path in {as_json, out} - {None, "-"}:
        Path(str(path)).write_text(text + "\n")
    if as_json == "-":
        print(text)
    elif as_json is None:
        print_tables(figures)


if __name__ == "__main__":
    main()
