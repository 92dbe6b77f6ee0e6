"""What the bounds are to reach, per network, and the tables that say whether they do."""

from collections.abc import Iterator, Mapping
from typing import Any

from benchmarks.bound_networks import StoredNetwork

BATCHES = ("1", "32", "256")
IBP_SHARE = 0.6
RIGOROUS_SHARES = {False: (1.0, 1.0, 1.5), True: (1.0, 2.0, 4.0)}
"""Of their IBP, at batch 1, 32, 256: of dense networks, and of convolutional ones."""
CROWN_SHARE = 0.6
LEAST_RADIUS = 0.999
MOST_LOSS = 1e-5
MOST_KIB = 4 * 2**20
ACCURACY_SLACK, ACCURACY_SECONDS = 0.001, 5.0

THEIR_NAMES = {"ibp": "IBP", "ibp_rigorous": "IBP", "crown-ibp": "CROWN-IBP", "crown": "CROWN"}
"""What each of our methods is compared with."""

Verdict = dict[str, Any]


def verdict(target: str, network: str, ours: float | None, limit: float, *, at_most: bool = True) -> Verdict:
    """Whether a figure reaches its target; the factor is < 1 where it does, and None where nothing was measured."""
    factor = None if ours is None else ours / limit if at_most else limit / max(ours, 1e-12)
    met = None if factor is None else factor <= 1
    return {"target": target, "network": network, "ours": ours, "limit": limit, "factor": factor, "met": met}


def judge(figures: Mapping[str, Any], networks: Mapping[str, StoredNetwork]) -> list[Verdict]:
    """Every target, for every network that was measured."""
    verdicts: list[Verdict] = []
    for name, measured in figures["networks"].items():
        verdicts += _of_times(measured, networks[name])
        verdicts += _of_radii(measured, name)
    accuracy = figures["accuracy"]
    off = abs(accuracy["accuracy"] - accuracy["plain"])
    verdicts.append(verdict("IBP certified accuracy off by at most", "mnist_small_ibp_e01", off, ACCURACY_SLACK))
    return [*verdicts, verdict("its seconds", "mnist_small_ibp_e01", accuracy["seconds"], ACCURACY_SECONDS)]


def _of_times(measured: Mapping[str, Any], stored: StoredNetwork) -> Iterator[Verdict]:
    convolutional = measured["convolutional"]
    for batch, rigorous in zip(BATCHES, RIGOROUS_SHARES[convolutional], strict=True):
        limit = their_time(stored, "IBP", batch)
        if limit is not None:
            yield verdict(f"float32 IBP, batch {batch}", stored.name, ours(measured, batch, "ibp"), IBP_SHARE * limit)
            found = ours(measured, batch, "ibp_rigorous")
            yield verdict(f"rigorous IBP, batch {batch}", stored.name, found, rigorous * limit)
    if convolutional:
        best = min(time for batch in BATCHES if (time := their_time(stored, "CROWN", batch)) is not None)
        yield verdict("CROWN, batch 32", stored.name, ours(measured, "32", "crown"), CROWN_SHARE * best)


def _of_radii(measured: Mapping[str, Any], name: str) -> Iterator[Verdict]:
    radii = measured["radii"]
    if "IBP" in radii:
        limit = min(radii["IBP"]["their_seconds"], radii["IBP"]["their_seconds_quiet"] or float("inf"))
        yield verdict("IBP radius search, seconds", name, radii["IBP"]["seconds"], limit)
    if "CROWN" in radii and not radii["CROWN"]["stopped"]:
        yield verdict("CROWN radius, least ratio", name, radii["CROWN"]["least_ratio"], LEAST_RADIUS, at_most=False)
    for bound, loss in measured["loss"].items():
        yield verdict(f"loss to outward rounding, {bound}", name, loss["most"], MOST_LOSS)
    if "memory" in measured:
        memory = measured["memory"]
        yield verdict(
            "KiB of CROWN, batch 256", name, memory and memory.get("device_kib", memory["peak_kib"]), MOST_KIB
        )


def their_time(stored: StoredNetwork, bound: str, batch: str) -> float | None:
    """Their milliseconds per input; None where they could not."""
    entry = stored.times.get(f"{bound}_b{batch}")
    return entry["per_input_ms"] if isinstance(entry, dict) else None


def ours(measured: Mapping[str, Any], batch: str, method: str) -> float | None:
    """Our milliseconds per input; None where it was left out."""
    times = measured["times"][batch].get(method)
    return times["per_input_ms"] if times else None


def print_tables(figures: Mapping[str, Any]) -> None:
    """For reading."""
    machine = ("device_name", "threads", "verifier", "torch", "numpy", "python", "seed")
    print(", ".join(f"{key} {figures[key]}" for key in machine))
    for target in figures["networks"]:
        _print_network(target, figures["networks"][target], figures)
    print(f"\nIBP certified accuracy at eps 0.1: {figures['accuracy']}")
    for line in figures.get("cases", []):
        print(line)
    print("\n| target | met | worst factor (1 = just met) | where |\n|---|---|---|---|")
    for line in summary(figures["targets"]):
        print(line)


def _print_network(name: str, measured: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    kind = "convolutional" if measured["convolutional"] else "dense"
    print(f"\n## {name} ({kind}, eps {measured['eps']:.5f}): ms per input, x forward time, best of the turns")
    for method in measured["times"]["1"]:
        print(f"  {method:15s}", "".join(f"{_cell(measured, batch, method):>28s}" for batch in BATCHES))
    targets = [one for one in figures["targets"] if one["network"] == name]
    for bound, radii in measured["radii"].items():
        print(f"  radius {bound}: {radii}")
    print(f"  loss {measured['loss']}, memory {measured.get('memory')}")
    for one in targets:
        if one["met"] is not True:
            print(f"  MISSED {one['target']}: {one['ours']}, limit {one['limit']}, factor {one['factor']}")


def _cell(measured: Mapping[str, Any], batch: str, method: str) -> str:
    found, forward = ours(measured, batch, method), ours(measured, batch, "forward")
    return "-" if found is None or not forward else f"{found:.4f} x{found / forward:.1f}"


def summary(targets: list[Verdict]) -> Iterator[str]:
    """One row for each kind of target."""
    for kind in dict.fromkeys(one["target"] for one in targets):
        these = [one for one in targets if one["target"] == kind and one["factor"] is not None]
        if these:
            worst = max(these, key=lambda one: float(one["factor"]))
            met = sum(bool(one["met"]) for one in these)
            print_worst = f"{worst['factor']:.3g}"
            yield f"| {kind} | {met} of {len(these)} | {print_worst} | {worst['network']} |"
