"""Bounds and radii against those of an independent verifier: shared/reference/bounds.json, beside the checkout.

Its bounds are in float32, and recomputed in float64; what the two differ by is its float32 error. Its radii are from
bisections in float32, on the certified side.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import reference_ibp
from benchmarks.bound_networks import (
    STATED_ACCURACY,
    StoredNetwork,
    certify,
    entries,
    ibp_trained,
    is_there,
    load,
    mnist_test,
    pixels,
)
from verifier.backends.device import Device
from verifier.bounds.arithmetic import NEAREST, RIGOROUS, Arithmetic
from verifier.bounds.interval import Setting, propagate
from verifier.bounds.margin import Bound, Budget, lower_margins
from verifier.bounds.region import Region
from verifier.methods import BoundMethod, Crown, CrownIbp, Ibp, Rounding
from verifier.problem import Box, Norm, Problem

pytestmark = pytest.mark.skipif(
    not is_there(), reason="the stored bounds lie in ../shared beside the checkout, and are not there"
)

UNIT = 2.0**-24
"""The stored float64 bounds are of boxes whose ends were rounded to float32."""

SIGMOID = "eran21_ffnnSIGMOID_6x200"
"""Lines of S-shaped functions can be chosen in many ways: its CROWN bounds are about theirs, not the same."""

LOOSER = {SIGMOID: 0.01}
"""Of CROWN's largest margin: S-shaped functions leave a choice of lines, and none is the better everywhere."""

LEAST_RATIO = 0.999
MISSED = {(SIGMOID, "CROWN"): 0.95}  # other lines: 17 of 20 radii are larger than theirs, 3 are smaller
"""Where inputs fall below that ratio to their radii, and how far."""

MOST_LOSS = 1e-5

NETWORKS = list(entries())
DENSE = [name for name in NETWORKS if "fc_" in name]


def stored_bounds() -> list[Any]:
    """Each network, method and eps; CROWN at the larger ones is slow."""
    found = []
    for name, entry in entries().items():
        for number, bound in enumerate(entry["bounds"]):
            marks = [pytest.mark.slow] if bound["method"] == "CROWN" and number > 1 else []
            found.append(pytest.param(name, bound, marks=marks, id=f"{name}-{bound['method']}-{bound['eps']:.4f}"))
    return found


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device("cpu")
    yield device
    device.close()


def chosen(stored: StoredNetwork, bound: dict[str, Any]) -> list[int]:
    """Rows of the inputs whose bounds are stored."""
    return [stored.entry["input_index"].index(number) for number in bound["inputs"]]


def margins(stored: StoredNetwork, bound: dict[str, Any], arithmetic: Arithmetic) -> tuple[Tensor, Region, Tensor]:
    """Ours: (margins [B, 9], regions, margin rows)."""
    region, rows = stored.question(bound["eps"], arithmetic, chosen(stored, bound))
    kind = Bound(bound["method"].lower())
    with torch.no_grad():
        found = lower_margins(stored.network, region, rows, kind, Setting(arithmetic), Budget(2**30))
    return found, region, rows


def their_error(single: Any, double: Any) -> float:
    """Of their float32 bounds, and of the region that both are about."""
    double = np.array(double)
    return float(np.abs(np.array(single) - double).max() + 8 * UNIT * np.abs(double).max())


def worst_points(stored: StoredNetwork, region: Region, rows: Tensor) -> Tensor:
    """Corners to which the margins' gradients point, and random points, [B, n, *shape]."""
    graph = stored.network.on(NEAREST)
    middle = ((region.lower + region.upper) / 2).unsqueeze(1).expand(-1, rows.shape[1], *region.lower.shape[1:])
    x = middle.flatten(0, 1).clone().requires_grad_()
    found = torch.einsum("bsk,bsk->bs", graph.evaluate(x).unflatten(0, rows.shape[:2]), rows)
    (gradient,) = torch.autograd.grad(found.sum(), x)
    lower, upper = region.lower.unsqueeze(1), region.upper.unsqueeze(1)
    corners = torch.where(gradient.unflatten(0, rows.shape[:2]) > 0, lower, upper)
    shares = torch.rand(len(region), 32, *region.lower.shape[1:], generator=torch.Generator().manual_seed(7))
    return torch.cat([corners, lower + shares * (upper - lower)], dim=1)


@pytest.mark.parametrize(("name", "bound"), stored_bounds())
def test_margins_equal_theirs_or_are_tighter_and_sound(name: str, bound: dict[str, Any]) -> None:
    """Tighter: C is merged into the last layer also where theirs was not, and CROWN's intervals are met with IBP's."""
    stored = load(name)
    ours, region, rows = margins(stored, bound, NEAREST)
    theirs = torch.tensor(bound["margin_lb_f64"])
    error = their_error(bound["margin_lb_f32"], bound["margin_lb_f64"])
    if bound["method"] == "CROWN":
        error += LOOSER.get(name, 0.0) * float(theirs.abs().max())
    assert float((ours - theirs).min()) >= -error
    points = worst_points(stored, region, rows)
    with torch.no_grad():
        logits = stored.network.on(NEAREST).evaluate(points.flatten(0, 1)).unflatten(0, points.shape[:2])
    smallest = torch.einsum("bnk,bsk->bns", logits, rows).amin(1)
    scale = float(theirs.abs().max())
    assert float((smallest - ours).min()) >= -1e-9 * scale


@pytest.mark.parametrize("name", NETWORKS)
def test_interval_bounds_of_logits_equal_theirs(name: str) -> None:
    """Where no margins are merged there is nothing to choose: both ends are the same."""
    stored = load(name)
    for bound in (one for one in stored.entry["bounds"] if one["method"] == "IBP"):
        region, _ = stored.question(bound["eps"], NEAREST, chosen(stored, bound))
        logits = propagate(stored.network.on(NEAREST), region, Setting(NEAREST))[-1]
        for end, ours in (("lb", logits.lower), ("ub", logits.upper)):
            theirs = torch.tensor(bound[f"{end}_f64"])
            error = abs(bound["f32_lb_above_f64_max"]) + abs(bound["f32_ub_below_f64_max"])
            assert float((ours - theirs).abs().max()) <= error + 16 * UNIT * float(theirs.abs().max())


@pytest.mark.parametrize(("name", "bound"), stored_bounds())
def test_outward_margins_lie_just_below_the_nearest(name: str, bound: dict[str, Any]) -> None:
    stored = load(name)
    nearest, _, _ = margins(stored, bound, NEAREST)
    rigorous, _, _ = margins(stored, bound, RIGOROUS)
    scale = max(1.0, float(nearest.abs().max()))
    above = 1e-9 * scale if name == SIGMOID else 0.0  # where tangents touch is found by search, in either arithmetic
    assert float((rigorous - nearest).max()) <= above
    assert float((nearest - rigorous).max()) <= 1e-9 * scale


def radii_cases() -> list[Any]:
    """(network, stored bound, our method, inputs): a few of each by default, all of them in the slow set."""
    methods: dict[str, BoundMethod] = {"IBP": Ibp(), "CROWN-IBP": CrownIbp(), "CROWN": Crown()}
    found = []
    for name, entry in entries().items():
        for bound, method in methods.items():
            every = len(entry["radius_linf"][bound]["lo"])
            few = {"IBP": 5, "CROWN-IBP": 3, "CROWN": 3 if name in DENSE else 1}[bound]
            for count, marks in ((few, []), (every, [pytest.mark.slow])):
                found.append(pytest.param(name, bound, method, count, marks=marks, id=f"{name}-{bound}-{count}"))
    return found


@pytest.mark.parametrize(("name", "bound", "method", "count"), radii_cases())
def test_radii_are_not_smaller_than_theirs(
    name: str, bound: str, method: BoundMethod, count: int, device: Device
) -> None:
    stored = load(name)
    theirs = stored.theirs(bound)[0][:count]
    ours = certify(stored.handle(device.device), pixels(stored, count), method, device).radii
    small = np.flatnonzero(ours < MISSED.get((name, bound), LEAST_RATIO) * theirs)
    unproved = [number for number in small if has_their_radius(stored, int(number), theirs[number], Bound(method.name))]
    assert not unproved, (ours / theirs).round(4)


def has_their_radius(stored: StoredNetwork, number: int, radius: float, bound: Bound) -> bool:
    """Whether a radius of theirs, found in float32, is one: our bound there is not just below 0, by float32's error."""
    region, rows = stored.question(radius, NEAREST, [number])
    with torch.no_grad():
        found = lower_margins(stored.network, region, rows, bound, Setting(NEAREST), Budget(2**30))
        scale = float(stored.module(stored.x[[number]]).abs().max())
    return not -1e-5 * scale <= float(found.min()) <= 0


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, Ibp(tolerance=1e-7)) for name in NETWORKS),
        *((name, Crown(tolerance=1e-7)) for name in DENSE[:2]),
        *(pytest.param(name, Crown(tolerance=1e-7), marks=pytest.mark.slow) for name in NETWORKS if name not in DENSE),
    ],
    ids=lambda value: value if isinstance(value, str) else value.name,
)
def test_outward_rounding_costs_next_to_nothing(name: str, method: BoundMethod, device: Device) -> None:
    stored = load(name)
    handle, problem = stored.handle(device.device), pixels(stored, 3)
    outward = certify(handle, problem, method, device).radii
    nearest = certify(handle, problem, type(method)(tolerance=1e-7, rounding=Rounding.NEAREST), device).radii
    large = nearest > 1e-4
    assert large.any() or nearest.max() > 0
    assert (outward[large] >= nearest[large] * (1 - MOST_LOSS)).all()


@pytest.mark.slow
def test_certified_accuracy_of_the_network_trained_for_it(device: Device) -> None:
    """As plain float64 intervals have it, and as is stated of 10,000 images, of which the first 8,000 are here."""
    x, labels = mnist_test()
    handle = ibp_trained(device.device)
    problem = Problem(x, Norm.LINF, labels, eps=0.1, domain=Box(np.array(0.0), np.array(1.0)))
    answers = certify(handle, problem, Ibp(), device)
    right = sum(one.certified and one.prediction == one.label for one in answers.certificates)
    plain = reference_ibp.accuracy(handle.module, torch.tensor(x), torch.tensor(labels), 0.1)
    assert right / len(x) == pytest.approx(plain, abs=0.001)
    assert STATED_ACCURACY * 10_000 - 2000 <= right <= STATED_ACCURACY * 10_000
