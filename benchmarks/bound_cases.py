"""Networks and properties with known answers, and what our methods answer to them.

`cases()` reads ../shared/cases/index.csv. Those about the label of an input are asked through the backends
(`ask_backend`), general properties are read from their VNN-LIB files and bounded case by case (`refutes`).
"""

import csv
import hashlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.bound_networks import SHARED, certify
from verifier.backends.device import Device
from verifier.bounds.arithmetic import RIGOROUS
from verifier.bounds.interval import Setting
from verifier.bounds.margin import Bound, Budget, lower_margins
from verifier.bounds.network import Network
from verifier.bounds.region import box
from verifier.bounds.trace import trace
from verifier.methods import BoundMethod, Crown, CrownIbp, Ibp, Semantics
from verifier.models.handle import ModelHandle
from verifier.models.onnx_graph import import_onnx
from verifier.problem import Box, Norm, Problem
from verifier.properties import Case as PropertyCase
from verifier.properties import Property
from verifier.vnnlib.reader import read

FOLDER = SHARED / "cases"


@dataclass(frozen=True)
class Case:
    """One question with a known answer.

    Args:
        row: of the index.
    """

    row: dict[str, str]

    @property
    def name(self) -> str:
        return self.row["id"]

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    @property
    def model(self) -> str:
        return self.row["model"]

    @property
    def label(self) -> int:
        return int(self.row["label"])

    @property
    def norm(self) -> Norm:
        return Norm(self.row["norm"])

    @property
    def exact_radius(self) -> float | None:
        """As close as float64 comes to the closed form, or the distance of a witness; None where it is not known."""
        return float(self.row["exact_radius"]) if self.row["exact_radius"] else None

    @property
    def is_for_backends(self) -> bool:
        """Whether its region is stored as an array, and its property is that the label beats all rivals."""
        return bool(self.row["npz"]) and self.row["property"] == "robust-all-classes"

    @property
    def has_box(self) -> bool:
        """Whether its region is stored as two corners, and not as a centre and a radius."""
        return "lo" in _arrays(self.row["npz"])

    def answer(self, semantics: Semantics = Semantics.REAL) -> str:
        """unsat: it holds; sat: it does not; open: nobody knows. real:A/f32:B depends on the semantics."""
        text = self.row["answer"]
        if "/" not in text:
            return text
        answers = dict(part.split(":") for part in text.split("/"))
        if semantics is Semantics.REAL:
            return answers["real"]
        return "sat" if "sat" in answers.values() else "unsat"  # both executions are meant

    def array(self, key: str) -> NDArray[Any]:
        """Its row of an array."""
        array: NDArray[Any] = _arrays(self.row["npz"])[key][int(self.row["npz_row"])]
        return array


@dataclass(frozen=True)
class Opinion:
    """What a method says about a case.

    Args:
        case: which.
        semantics: that were asked for.
        holds: whether the property is proved.
        radius: that is certified; 0 for boxes and general properties.
    """

    case: Case
    semantics: Semantics
    holds: bool
    radius: float = 0.0

    @property
    def is_wrong(self) -> bool:
        """Whether what is proved is false."""
        return self.holds and self.case.answer(self.semantics) == "sat"


@cache
def cases() -> tuple[Case, ...]:
    """All of the index; none where it is not there."""
    path = FOLDER / "index.csv"
    if not path.exists():
        return ()
    with path.open(newline="") as lines:
        return tuple(Case(row) for row in csv.DictReader(lines, restkey="more"))


@cache
def handle_of(model: str, device: torch.device) -> ModelHandle:
    """A network of the cases."""
    imported = import_onnx((FOLDER / model).read_bytes())
    digest = hashlib.sha256(model.encode()).hexdigest()
    return ModelHandle(digest, imported.module.to(device), imported.input_shape, imported.classes, device)


def groups(chosen: Sequence[Case], *, searching: bool = False) -> Iterator[list[Case]]:
    """Cases for backends that can be asked about together: of one network and norm, and one eps where it matters."""

    def key(case: Case) -> tuple[str, bool, str, str]:
        return case.model, case.has_box, case.norm.value, "" if case.has_box or searching else case.row["eps"]

    for _, group in groupby(sorted((case for case in chosen if case.is_for_backends), key=key), key):
        yield list(group)


def problem_of(group: Sequence[Case], shape: tuple[int, ...], *, searching: bool = False) -> Problem:
    """Their question.

    Args:
        group: of `groups`.
        shape: of an input of the network.
        searching: for the largest radius, and not at the stated one; for balls.
    """
    if group[0].has_box:
        lower, upper = (np.stack([case.array(end) for case in group]).reshape(-1, *shape) for end in ("lo", "hi"))
        return Problem.of_boxes(Box(lower, upper))
    x = np.stack([case.array("x") for case in group]).astype(np.float32).reshape(-1, *shape)
    eps = None if searching else float(group[0].row["eps"])
    return Problem(x, group[0].norm, eps=eps)


def ask_backend(
    group: Sequence[Case], method: BoundMethod, device: Device, *, searching: bool = False
) -> list[Opinion]:
    """What a method says about the cases of a group, at their eps or about their boxes; or their radii.

    That a class other than the label is certified says that the property is false, and proves nothing.
    """
    handle = handle_of(group[0].model, device.device)
    answers = certify(handle, problem_of(group, handle.input_shape, searching=searching), method, device)
    pairs = zip(group, answers.certificates, strict=True)
    return [
        Opinion(case, method.semantics, one.certified and one.prediction == case.label, one.radius)
        for case, one in pairs
    ]


@cache
def network_of(model: str, device: torch.device) -> Network:
    """Its graph."""
    handle = handle_of(model, device)
    return Network(trace(handle.module, handle.input_shape), device)


def refutes(case: Case, bound: Bound, device: Device) -> Opinion:
    """Whether no point of any box of the case's VNN-LIB file is a counterexample, by one bound, rigorously."""
    network = network_of(case.model, device.device)
    statement = _statement(case.row["vnnlib"])
    boxes = groupby(statement.cases, key=lambda one: id(one.box))
    holds = all(_refuted(network, list(same), statement.outputs, bound) for _, same in boxes)
    return Opinion(case, Semantics.REAL, holds)


def _refuted(network: Network, same: list[PropertyCase], outputs: int, bound: Bound) -> bool:
    """Whether each of some cases with the same box has a condition that no point of the box fulfils."""
    stated = [one.rows(outputs) for one in same]
    if not all(len(rows.C) and rows.exact for rows in stated):
        return False
    ends = same[0].box.outward
    shape = (1, *network.graph.nodes[0].shape)
    lower, upper = (torch.tensor(end).reshape(shape).to(network.device) for end in (ends.lower, ends.upper))
    matrix = torch.tensor(np.concatenate([rows.C for rows in stated]))[None].to(network.device)
    with torch.no_grad():
        found = lower_margins(network, box(lower, upper, RIGOROUS), matrix, bound, Setting(RIGOROUS), Budget(2**30))
    above = found[0].cpu() > torch.tensor(np.concatenate([rows.thresholds for rows in stated]))
    return all(bool(part.any()) for part in above.split([len(rows.C) for rows in stated]))


def survey(device: Device, methods: Sequence[BoundMethod] = (Ibp(), CrownIbp(), Crown())) -> list[dict[str, Any]]:
    """What each method proves of each family, with times; wrong answers are counted, and there must be none."""
    families: dict[str, list[Case]] = {}
    for case in cases():
        families.setdefault(case.family, []).append(case)
    return [tally(family, members, method, device) for family, members in families.items() for method in methods]


def tally(family: str, members: Sequence[Case], method: BoundMethod, device: Device) -> dict[str, Any]:
    """One line of the survey."""
    started = time.perf_counter()
    said = [opinion for group in groups(members) for opinion in ask_backend(group, method, device)]
    said += [refutes(case, Bound(method.name), device) for case in members if not case.is_for_backends]
    return {
        "family": family,
        "method": method.name,
        "cases": len(said),
        "true": sum(opinion.case.answer(method.semantics) == "unsat" for opinion in said),
        "proved": sum(opinion.holds for opinion in said),
        "wrong": sum(opinion.is_wrong for opinion in said),
        "seconds": round(time.perf_counter() - started, 2),
    }


@cache
def _statement(path: str) -> Property:
    return read(FOLDER / path)


@cache
def _arrays(path: str) -> dict[str, NDArray[Any]]:
    with np.load(FOLDER / path, allow_pickle=False) as arrays:
        return {key: arrays[key] for key in arrays.files}
