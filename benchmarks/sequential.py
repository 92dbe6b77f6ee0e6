"""How many draws, and how much time, a decision takes beside a fixed number of draws.

    python -m benchmarks.sequential --json -

- draws: for the class probabilities of published certification logs (../shared/data/smoothing_logs, beside the
  checkout; else a stated mixture), the distribution of draws and the fraction certified of each rule, computed from the
  binomial distribution, not sampled.
- bounds: radii that grow with the draws, by three time-uniform bounds, on simulated votes.
- network: seconds and certified accuracy on real images, through the same engine, with the share of batches that draws
  filled.
- company: how long a request of one input takes beside one of many, in steps of the device.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

import verifier
from benchmarks.bound_networks import mnist_test
from benchmarks.decision_rules import Rule, betting, fixed, spending, union_bound
from benchmarks.growing_bounds import compare
from benchmarks.logged_votes import LOGS, mixture, of_log
from benchmarks.machine import machine, spread
from benchmarks.speed_picture import Race, draw
from verifier.backends.device import STEP_SECONDS
from verifier.client.batch_embedded import EmbeddedBatch
from verifier.client.embedded import EmbeddedService
from verifier.demo import digits
from verifier.methods import Precision, Smoothing
from verifier.methods import Target as Certified
from verifier.model import ModelFormat
from verifier.settings import Settings

SEED = 2026
ALPHA, CAP = 1e-3, 100_000

SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "data"
_TRAINED = SHARED / "trained" / "mnist_small_gauss050.safetensors"


@dataclass(frozen=True)
class Target:
    """What is to be reached on a log: mean draws of exact spending, as the design notes have them.

    Args:
        sigma, radius: the question.
        draws: at most, within 5 %.
    """

    sigma: float
    radius: float
    draws: int


TARGETS = (
    Target(0.25, 0.25, 1310),
    Target(0.25, 0.5, 1576),
    Target(0.25, 0.75, 7741),
    Target(0.5, 0.5, 1754),
    Target(0.5, 1.0, 1963),
)


# -- draws


def rules(sigma: float, radius: float) -> dict[str, Rule]:
    """Every way to decide one radius."""
    return {
        "spending": spending(sigma, radius, ALPHA, CAP),
        "spending_futility_0.001": spending(sigma, radius, ALPHA, CAP, futility=1e-3),
        "union_bound": union_bound(sigma, radius, ALPHA, CAP),
        "betting": betting(sigma, radius, ALPHA, CAP),
        "fixed_10k": fixed(sigma, radius, ALPHA, 10_000),
        "fixed_100k": fixed(sigma, radius, ALPHA, CAP),
    }


def draws() -> dict[str, Any]:
    """The figures of every rule on every question."""
    figures: dict[str, Any] = {}
    for target in TARGETS:
        votes = of_log(SHARED, target.sigma) or mixture()
        found = {name: rule.on(votes) for name, rule in rules(target.sigma, target.radius).items()}
        ours, reference = found["spending"], found["fixed_100k"]
        figures[f"sigma {target.sigma:g}, r {target.radius:g}"] = found | {
            "votes": votes.source,
            "target_mean_draws": target.draws,
            "of_target": round(ours["mean"] / target.draws, 3) if votes.source in LOGS.values() else None,
            "certified_below_fixed_100k": round(reference["certified"] - ours["certified"], 4),
        }
    return figures


# -- a real network


@dataclass(frozen=True)
class Images:
    """A model's file, and inputs with labels for it."""

    name: str
    source: dict[str, Any]
    x: NDArray[np.float32]
    y: NDArray[np.int64]


def images(count: int) -> Images:
    """MNIST where it lies beside the checkout, else the shipped digits."""
    if not _TRAINED.exists():
        x, y = digits.test_images()
        onnx = digits.network("digits_gauss050", ModelFormat.ONNX)
        return Images("digits_gauss050, scikit-learn's digits", {"onnx": onnx}, x[:count], y[:count])
    chosen = slice(0, None, 8000 // count)
    x, y = mnist_test()
    source = {"weights": _TRAINED, "architecture": "cnn"}
    return Images("mnist_small_gauss050, MNIST", source, x[chosen], y[chosen])


class Runner:
    """A service in this process, asked as a client asks; fresh seeds, so that nothing is drawn twice."""

    def __init__(self, folder: str, device: str) -> None:
        self._embedded = EmbeddedService(Settings(data_dir=Path(folder), device=device))
        self._client = verifier.AsyncClient(self._embedded, EmbeddedBatch(self._embedded))
        self._seed = SEED

    async def register(self, data: Images) -> verifier.ModelInfo:
        return await self._client.models.add("model", **data.source, input_range=(0.0, 1.0))

    async def race(self, model: verifier.ModelInfo, data: Images, method: Smoothing, radii: Sequence[float]) -> Race:
        """When each certificate came, and at which radii it counts."""
        self._seed += 1
        started = time.perf_counter()
        came: list[tuple[float, float]] = []
        passes = 0
        async for c in self._client.certify(model, data.x, method, labels=data.y, seed=self._seed):
            assert c.sampling.attempt is not None
            came.append((time.perf_counter() - started, c.radius if c.correct else -1.0))
            passes += c.sampling.estimation.n + (c.sampling.selection.n if c.sampling.selection else 0)
        return Race(time.perf_counter() - started, passes, tuple(came), tuple(radii))

    async def seconds(self, model: verifier.ModelInfo, x: NDArray[np.float32], method: Smoothing) -> float:
        """How long a call takes."""
        self._seed += 1
        started = time.perf_counter()
        async for _ in self._client.certify(model, x, method, seed=self._seed):
            pass
        return time.perf_counter() - started

    async def fill(self, model: verifier.ModelInfo) -> tuple[int, int]:
        """(draws, rows of batches) computed so far for the model."""
        service = await self._embedded.opened()
        return service.device.rows(model.digest, Precision.FLOAT32)

    def ask(self, model: verifier.ModelInfo, x: NDArray[np.float32], method: Smoothing) -> Any:
        return self._client.certify(model, x, method, seed=1)

    async def close(self) -> None:
        await self._client.close()


NETWORK_RADII = (0.5, 1.0, 1.5)
LABEL = Certified.LABEL


async def network(runner: Runner, data: Images, turns: int, quick: bool) -> tuple[dict[str, Any], dict[str, Race]]:
    """Seconds and certified accuracy: each radius decided, by at most 10,000 draws, and two fixed numbers of draws.

    They take turns; the 100,000 come once.
    """
    model = await runner.register(data)
    await runner.race(model, data, Smoothing(0.5, n=2000), ())  # tunes, warms up
    ways = {f"decide {r:g}": Smoothing(0.5, decide=(r,), n=10_000) for r in NETWORK_RADII}
    ways["decide 0.5 of the label"] = Smoothing(0.5, decide=(0.5,), n=10_000, target=LABEL)
    ways["decide 0.5, cap 100,000"] = Smoothing(0.5, decide=(0.5,))
    ways["decide all three"] = Smoothing(0.5, decide=NETWORK_RADII, n=10_000)
    ways["fixed 10,000"] = Smoothing(0.5, n=10_000)
    races: dict[str, list[Race]] = {name: [] for name in ways}
    filled: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, method in ways.items():
            before = await runner.fill(model)
            races[name].append(await runner.race(model, data, method, NETWORK_RADII))
            after = await runner.fill(model)
            filled[name].append((after[0] - before[0]) / (after[1] - before[1]))
            print(name, f"{races[name][-1].seconds:.3f} s", file=sys.stderr, flush=True)
    if not quick:
        races["fixed 100,000"] = [await runner.race(model, data, Smoothing(0.5, n=CAP), NETWORK_RADII)]
    figures: dict[str, Any] = {"images": len(data.x), "network": data.name}
    for name, found in races.items():
        seconds = spread([race.seconds for race in found])
        figures[name] = {
            "seconds": {key: round(value, 3) for key, value in seconds.items()},
            "draws_per_input": round(np.mean([race.passes for race in found]) / len(data.x)),
            "certified_accuracy": {
                f"{r:g}": round(float(np.mean([race.accuracy(r) for race in found])), 4) for r in NETWORK_RADII
            },
        }
        if name in filled:
            figures[name]["fill"] = round(float(np.mean(filled[name])), 4)
    for name in ways:
        ratio = [b.seconds / a.seconds for a, b in zip(races[name], races["fixed 10,000"], strict=True)]
        figures[name]["times as fast as fixed 10,000"] = {k: round(v, 2) for k, v in spread(ratio).items()}
    return figures, {name: found[0] for name, found in races.items()}


async def company(runner: Runner, data: Images, requests: int) -> dict[str, Any]:
    """Seconds of a request of one input, alone and while one of 1,000 inputs runs; the difference in steps."""
    model = await runner.register(data)
    many = np.concatenate([data.x] * -(-1000 // len(data.x)))[:1000]
    questions = {"fixed 1,000": Smoothing(0.5, n=1000), "decide 0.5": Smoothing(0.5, decide=(0.5,))}
    figures: dict[str, Any] = {}
    for name, method in questions.items():
        inputs = [data.x[number % len(data.x)][None] for number in range(requests)]
        alone = [await runner.seconds(model, x, method) for x in inputs]
        large = aiter(runner.ask(model, many, Smoothing(0.5, n=900_000)))
        await anext(large)  # now it has had its turn as a newcomer
        beside = [await runner.seconds(model, x, method) for x in inputs]
        await large.aclose()
        figures[name] = {
            "alone_p50_p99_s": [round(float(np.percentile(alone, q)), 4) for q in (50, 99)],
            "beside_p50_p99_s": [round(float(np.percentile(beside, q)), 4) for q in (50, 99)],
            "p99_difference_in_steps": round(
                float(np.percentile(beside, 99) - np.percentile(alone, 99)) / STEP_SECONDS, 2
            ),
        }
    return figures


async def measured(device: str, turns: int, quick: bool) -> tuple[dict[str, Any], dict[str, Race]]:
    data = images(50 if quick else 200)
    with tempfile.TemporaryDirectory() as folder:
        runner = Runner(folder, device)
        try:
            figures, races = await network(runner, data, turns, quick)
            return {"network": figures, "company": await company(runner, data, 20 if quick else 100)}, races
        finally:
            await runner.close()


@click.command()
@click.option("--json", "out", default="-", help="Where the figures go; - is standard output.")
@click.option("--device", default="auto")
@click.option("--turns", default=5, show_default=True)
@click.option("--quick", is_flag=True, help="Fewer images, and not 100,000 draws.")
@click.option("--draws-only", is_flag=True, help="Without the network.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw certified accuracy against seconds there.")
def main(out: str, device: str, turns: int, quick: bool, draws_only: bool, picture: Path | None) -> None:
    """Measure and print."""
    from verifier.backends.device import find_device

    figures: dict[str, Any] = {**machine(find_device(device)), "seed": SEED, "alpha": ALPHA, "cap": CAP}
    figures["draws"] = draws()
    figures["bounds"] = compare([of_log(SHARED, 0.25) or mixture(), of_log(SHARED, 0.5) or mixture()], ALPHA, SEED)
    if not draws_only:
        found, races = asyncio.run(measured(device, turns, quick))
        figures |= found
        if picture is not None:
            draw(races, NETWORK_RADII[0], picture)
    text = json.dumps(figures, indent=2)
    if out == "-":
        print(text)
    else:
        Path(out).write_text(text + "\n")


if __name__ == "__main__":
    main()
