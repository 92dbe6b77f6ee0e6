"""Deciding a property of a network: bounds refute its cases, points of its boxes may prove one."""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from verifier.backends.bounder import ReadyNetwork, leaves_out_softmax, plain_kernels
from verifier.backends.course import rungs
from verifier.bounds.alpha import Ascent, alpha_margins
from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.audit import pattern, points_of
from verifier.bounds.interval import Setting, propagate
from verifier.bounds.margin import Bound, Budget, lower_margins
from verifier.bounds.region import Region, box
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import AlphaCrown, BoundMethod, Rounding, Semantics
from verifier.models.handle import ModelHandle
from verifier.problem import Norm
from verifier.properties import Case, Property
from verifier.vnnlib.result import satisfies

CORNERS = 64
"""Corners and points of each box at which the network is evaluated in search of a counterexample."""

_BATCH = 64
"""Boxes bounded between two looks at the clock."""

_NOTHING = -1e30
"""Threshold of rows that only fill up."""

_SETTING = Setting(RIGOROUS)


@dataclass(frozen=True, eq=False)
class Decision:
    """What was found about a property.

    Args:
        holds: True: proved over the reals, every rounding accounted for; False: there is a counterexample; None: open.
        x, y: the counterexample and its logits as float32 execution gives them, where holds is False.
        in_time: whether the work came to its end before the time was over.
        refuted, cases: how many of the cases were refuted.
        bound: the strongest bound that was used; "" where none was.
    """

    holds: bool | None
    x: NDArray[np.float32] | None = None
    y: NDArray[np.float32] | None = None
    in_time: bool = True
    refuted: int = 0
    cases: int = 0
    bound: str = ""


@dataclass(frozen=True, eq=False)
class _Group:
    """Cases of one box, whose constraints are rows of one specification.

    Args:
        lower, upper: of the box, float64, outwards, [n].
        cases: numbers of the cases, and which rows are each one's.
        rows, thresholds, errors: of all of them, see `properties.Rows`.
    """

    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    cases: tuple[tuple[int, slice], ...]
    rows: NDArray[np.float64]
    thresholds: NDArray[np.float64]
    errors: NDArray[np.float64]


def decide(ready: ReadyNetwork, asked: Property, method: BoundMethod, timeout: float | None = None) -> Decision:
    """Whether a property holds: every case is refuted by a bound, or a point is a counterexample, or neither.

    Guarantee: holds=True only where for no case there is a real input in its box whose real outputs fulfil it;
    holds=False only where the stated x fulfils a case, both over the reals and as executed.

    Args:
        ready: the network, inputs flattened row-major to [n].
        method: the bounds to use; the ladder climbs no further than it must.
        timeout: seconds, or None.
    Raises:
        InvalidProblem: another number of inputs or outputs than the network's, or options that a property has not.
        Unsupported: values of outputs are constrained, and the network ends with a softmax, which bounds leave out.
    """
    until = None if timeout is None else time.perf_counter() + timeout
    _check(ready, asked, method)
    groups = _groups(asked)
    with torch.no_grad(), plain_kernels(ready.handle.device):
        found = _counterexample(ready.handle, ready, asked, groups, until)
        if found is not None:
            return Decision(False, *found, cases=len(asked.cases))
        return _refute(ready, asked, groups, method, until)


def _check(ready: ReadyNetwork, asked: Property, method: BoundMethod) -> None:
    handle = ready.handle
    elements = int(np.prod(handle.input_shape))
    if (asked.inputs, asked.outputs) != (elements, handle.classes):
        raise InvalidProblem(
            f"the property has {asked.inputs} inputs and {asked.outputs} outputs, the network {elements} and "
            f"{handle.classes}: is it the property of another network?",
            field="property",
        )
    if method.semantics is not Semantics.REAL or method.rounding is not Rounding.OUTWARD:
        raise InvalidProblem("properties are decided over the reals, rounding outwards", field="bounds.semantics")
    if not all(_is_order(case) for case in asked.cases) and leaves_out_softmax(ready):
        raise Unsupported(
            "the network ends with a softmax, and the property constrains values of its outputs, not only their "
            "order: export the network's logits, and constrain these"
        )


def _is_order(case: Case) -> bool:
    """Whether a case only says which outputs are larger."""
    return all(
        constraint.bound == 0 and sorted(c for _, c in constraint.coefficients) == [Fraction(-1), Fraction(1)]
        for constraint in case.constraints
    )


def _groups(asked: Property) -> list[_Group]:
    """The cases by their boxes."""
    boxes: dict[tuple[tuple[Fraction, ...], tuple[Fraction, ...]], list[int]] = {}
    for number, case in enumerate(asked.cases):
        boxes.setdefault((case.box.lower, case.box.upper), []).append(number)
    return [_group(asked, numbers) for numbers in boxes.values()]


def _group(asked: Property, numbers: Sequence[int]) -> _Group:
    rows = [asked.cases[number].rows(asked.outputs) for number in numbers]
    ends = np.cumsum([0, *(len(part.C) for part in rows)]).tolist()
    places = tuple(zip(numbers, itertools.starmap(slice, itertools.pairwise(ends)), strict=True))
    ends_of_box = asked.cases[numbers[0]].box.outward
    return _Group(
        ends_of_box.lower,
        ends_of_box.upper,
        places,
        np.concatenate([part.C for part in rows]),
        np.concatenate([part.thresholds for part in rows]),
        np.concatenate([part.errors for part in rows]),
    )


def _region(groups: Sequence[_Group], handle: ModelHandle) -> Region:
    """[G, *shape] float64."""
    shape = (len(groups), *handle.input_shape)
    lower, upper = (torch.from_numpy(np.stack([getattr(g, end) for g in groups])) for end in ("lower", "upper"))
    return box(lower.reshape(shape).to(handle.device), upper.reshape(shape).to(handle.device), RIGOROUS)


# -- counterexamples -----------------------------------------------------------------------------------


def _counterexample(
    handle: ModelHandle, ready: ReadyNetwork, asked: Property, groups: Sequence[_Group], until: float | None
) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """A point that fulfils a case for certain, among centres, corners and random points; or None."""
    places = _places(asked.inputs)
    for group in groups:
        if until is not None and time.perf_counter() >= until:
            return None
        region = _region([group], handle)
        points = points_of(region, places.reshape(len(places), *handle.input_shape).to(handle.device))[0]
        points = _held_by_float32(points, region)
        inside = ((points.double() >= region.lower) & (points.double() <= region.upper)).flatten(1).all(1)
        points = points[inside]
        if len(points) == 0:
            continue
        logits = handle.logits(points)
        for number, place in group.cases:
            alone = Property(asked.inputs, asked.outputs, (asked.cases[number],))
            values = logits.double().cpu() @ torch.from_numpy(group.rows[place]).T
            fulfilled = (values <= torch.from_numpy(group.thresholds[place])).all(1)
            for point in fulfilled.nonzero()[:, 0].tolist():
                x, y = points[point], logits[point]
                if _is_certain(ready, group, place, x) and satisfies(alone, x.cpu().numpy(), y.cpu().numpy()):
                    return x.cpu().numpy(), y.cpu().numpy()
    return None


def _held_by_float32(points: Tensor, region: Region) -> Tensor:
    """The points rounded to float32, into the box wherever it holds a float32 number."""
    low, high = region.lower.float(), region.upper.float()
    up, down = torch.full_like(low, torch.inf), torch.full_like(low, -torch.inf)
    low = torch.where(low.double() < region.lower, torch.nextafter(low, up), low)
    high = torch.where(high.double() > region.upper, torch.nextafter(high, down), high)
    return torch.minimum(torch.maximum(points.float(), low), high)


def _places(inputs: int) -> Tensor:
    """The centre, corners (all of them in few dimensions) and random points of the unit box, [n, inputs]."""
    if inputs <= 6:
        corners = torch.tensor(list(itertools.product((0.0, 1.0), repeat=inputs)), dtype=torch.float64)
    else:
        corners = torch.stack([torch.zeros(inputs), torch.ones(inputs)]).double()
    spread = pattern(CORNERS, (inputs,), Norm.LINF, 0, ball=False)
    return torch.cat([torch.full((1, inputs), 0.5, dtype=torch.float64), corners, spread])


def _is_certain(ready: ReadyNetwork, group: _Group, place: slice, x: Tensor) -> bool:
    """Whether the real outputs at a point fulfil the rows for certain."""
    here = x.double()[None]
    rows = -torch.from_numpy(group.rows[place])[None].to(here)
    if group.errors[place].any() or rows.shape[1] == 0:
        return rows.shape[1] == 0
    budget = Budget(2**30)
    upper = -lower_margins(ready.network, Region(here, here), rows, Bound.IBP, _SETTING, budget)[0]
    return bool((upper <= torch.from_numpy(_lowered(group.thresholds[place])).to(upper)).all())


def _lowered(thresholds: NDArray[np.float64]) -> NDArray[np.float64]:
    """Thresholds were rounded up; a step down they are at most the exact ones."""
    return np.nextafter(thresholds, -np.inf)


# -- proofs --------------------------------------------------------------------------------------------


def _refute(
    ready: ReadyNetwork, asked: Property, groups: Sequence[_Group], method: BoundMethod, until: float | None
) -> Decision:
    total, refuted, used = len(asked.cases), set[int](), ""
    bounds = rungs(method)[-1:] if type(method) is AlphaCrown else rungs(method)
    waiting = list(groups)
    for bound in bounds:
        left = []
        for first in range(0, len(waiting), _BATCH):
            if until is not None and time.perf_counter() >= until:
                return Decision(None, in_time=False, refuted=len(refuted), cases=total, bound=used)
            batch, used = waiting[first : first + _BATCH], bound
            for group, proved in zip(batch, _proved(ready, batch, bound, method, until), strict=True):
                refuted.update(number for number, place in group.cases if bool(proved[place].any()))
                if any(number not in refuted for number, _ in group.cases):
                    left.append(group)
        waiting = left
        if not waiting:
            return Decision(True, refuted=total, cases=total, bound=used)
    in_time = until is None or time.perf_counter() < until
    return Decision(None if waiting else True, in_time=in_time, refuted=len(refuted), cases=total, bound=used)


def _proved(
    ready: ReadyNetwork, groups: Sequence[_Group], bound: str, method: BoundMethod, until: float | None
) -> list[NDArray[np.bool_]]:
    """For each row of each group, whether it exceeds its threshold over the whole box. NaN does not."""
    region = _region(groups, ready.handle)
    widest = max(1, *(len(group.rows) for group in groups))
    rows = torch.zeros(len(groups), widest, ready.handle.classes, dtype=torch.float64, device=ready.handle.device)
    wanted = torch.full((len(groups), widest), _NOTHING, dtype=torch.float64, device=ready.handle.device)
    for number, group in enumerate(groups):
        rows[number, : len(group.rows)] = torch.from_numpy(group.rows)
        wanted[number, : len(group.rows)] = torch.from_numpy(group.thresholds)
    wanted = wanted + _unrepresented(ready, region, groups, widest)
    budget = Budget(method.memory_bytes)
    if bound == AlphaCrown.name:
        assert isinstance(method, AlphaCrown)
        ascent = Ascent(method.steps, method.learning_rate, until)
        margins = alpha_margins(ready.network, region, rows, _SETTING, budget, ascent, wanted)
    else:
        margins = lower_margins(ready.network, region, rows, Bound(bound), _SETTING, budget)
    above = ((margins > wanted) & margins.isfinite()).cpu().numpy()
    return [above[number, : len(group.rows)] for number, group in enumerate(groups)]


def _unrepresented(ready: ReadyNetwork, region: Region, groups: Sequence[_Group], widest: int) -> Tensor:
    """What coefficients that float64 cannot hold may add to a row, [G, S]; nearly always nothing."""
    lost = torch.zeros(len(groups), widest, dtype=torch.float64, device=ready.handle.device)
    if not any(group.errors.any() for group in groups):
        return lost
    size = propagate(ready.network.on(RIGOROUS), region, _SETTING)[-1].magnitude()
    for number, group in enumerate(groups):
        errors = torch.from_numpy(group.errors).to(size)
        lost[number, : len(group.rows)] = RIGOROUS.up(errors @ size[number], size.shape[1])
    return RIGOROUS.up(lost, 2)
