"""What a gate asks of a model: a TOML file, read strictly into a policy that is valid by construction."""

import hashlib
import math
import re
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from fractions import Fraction
from typing import Any

from verifier.dataset import MAX_INPUTS
from verifier.errors import InvalidProblem
from verifier.gate.reading import Document, Table
from verifier.guarantee import largest_radius
from verifier.methods import BOUND_METHODS, MAX_DRAWS, CertifyingMethod, Prediction, Smoothing, Stopping
from verifier.problem import Norm
from verifier.rounding import format_down

SCHEMA_VERSION = 1

LEAST_CONFIDENCE, MOST_CONFIDENCE = 0.5, 1 - 1e-9

_MOST_PASSES = 2**62
_SLICE_NAME = re.compile(r"[A-Za-z0-9_-]+")
_RANGE = re.compile(r"(\d+):(\d+)")


class Metric(StrEnum):
    """What a threshold is about. The exact estimands are in docs/gates.md."""

    CERTIFIED_ACCURACY = "certified_accuracy"
    """Right, and constant within a radius."""
    CLEAN_ACCURACY = "clean_accuracy"
    """Right at the input itself; with smoothing, as PREDICT answers."""
    ABSTENTION_RATE = "abstention_rate"
    """No answer; inputs that could not be treated count as such."""
    REGRESSION = "regression"
    """How much less is certified than by the baseline, on the same inputs."""

    @property
    def has_radius(self) -> bool:
        """Whether it is about a ball."""
        return self in (Metric.CERTIFIED_ACCURACY, Metric.REGRESSION)

    @property
    def is_floor(self) -> bool:
        """Whether its threshold is an `at_least`; otherwise it is an `at_most`."""
        return self in (Metric.CERTIFIED_ACCURACY, Metric.CLEAN_ACCURACY)


@dataclass(frozen=True)
class Slice:
    """Some inputs of the data set, by their indices.

    Args:
        name: letters, digits, "_" and "-".
        ranges: half-open, disjoint, rising.
    """

    name: str
    ranges: tuple[tuple[int, int], ...]

    def __contains__(self, index: int) -> bool:
        return any(start <= index < stop for start, stop in self.ranges)

    @property
    def end(self) -> int:
        """One more than the largest index."""
        return self.ranges[-1][1]


@dataclass(frozen=True)
class PolicySelection:
    """Which inputs of the data set may be drawn: a slice of it, and how many of that at most.

    Args:
        start, stop, stride: as in Python's slices; stop None is the end.
        sample: how many are drawn at most, without replacement; None: all.
    """

    start: int = 0
    stop: int | None = None
    stride: int = 1
    sample: int | None = None


@dataclass(frozen=True)
class Threshold:
    """One entry of a policy.

    Args:
        metric: what it is about.
        bound: its `at_least` or `at_most`, whichever the metric has.
        radius: of certified accuracy and regressions; None otherwise.
        per_class: whether it is asked of every class by itself.
        within: the slice that it is asked of; None: all inputs.
    """

    metric: Metric
    bound: float
    radius: float | None = None
    per_class: bool = False
    within: Slice | None = None

    def criteria(self, norm: Norm, classes: int) -> "Iterator[Criterion]":
        """What it asks, of each class or of its one group."""
        stem = f"{self.metric.value}_{norm.value}_{self.radius!r}" if self.metric.has_radius else self.metric.value
        if self.per_class:
            for label in range(classes):
                yield Criterion(f"{stem}.class_{label}", self, f"class {label}", label)
        elif self.within is not None:
            yield Criterion(f"{stem}.slice_{self.within.name}", self, self.within.name)
        else:
            yield Criterion(stem, self)


@dataclass(frozen=True)
class Criterion:
    """A threshold on one group of inputs.

    Args:
        name: unique in its gate: "certified_accuracy_l2_0.5.class_3".
        threshold: that is asked.
        group: "" for all inputs, "class 3", or the name of a slice.
        label: of the inputs that count, where it is about one class.
    """

    name: str
    threshold: Threshold
    group: str = ""
    label: int | None = None

    def covers(self, index: int, label: int) -> bool:
        """Whether an input counts for it, by its place in the data set and its label alone."""
        if self.label is not None:
            return label == self.label
        return self.threshold.within is None or index in self.threshold.within


@dataclass(frozen=True)
class Policy:
    """What a gate asks. Made by `parse_policy`, which refuses everything that is not as described here.

    Args:
        name: of the policy. dataset: name or digest of the data set.
        confidence: one minus delta, the most probability of a false pass of a first attempt.
        selection: which inputs may be drawn.
        max_inputs, max_forward_passes: after which the gate ends inconclusive; None: no such limit.
        charge_predict_alpha: whether bounds also pay for the error of PREDICT.
        method: of the certificates.
        norm: of all radii; None where no threshold has one.
        predict: how clean accuracy is measured, and what a deployment answers by; None for deterministic methods.
        thresholds: in the order of the file, at least one.
        text: of the file. digest: SHA-256 of its bytes.
    """

    name: str
    dataset: str
    confidence: float
    selection: PolicySelection
    max_inputs: int | None
    max_forward_passes: int | None
    charge_predict_alpha: bool
    method: CertifyingMethod
    norm: Norm | None
    predict: Prediction | None
    thresholds: tuple[Threshold, ...]
    text: str
    digest: str

    @property
    def delta(self) -> float:
        """Of a first attempt: 1 - confidence, in the decimals of the file.

        The nearest float may lie 2^-53 of it above; `boundaries` sets aside 1e-11 of it and more for such things.
        """
        return float(1 - Fraction(repr(self.confidence)))

    @property
    def alpha(self) -> float:
        """Failure probability of each certificate; 0 for deterministic methods."""
        return self.method.alpha if isinstance(self.method, Smoothing) else 0.0

    @property
    def predict_alpha(self) -> float:
        """Failure probability of each PREDICT; 0 for deterministic methods, whose answer is the network's."""
        return self.predict.alpha if self.predict else 0.0

    @property
    def needs_baseline(self) -> bool:
        """Whether a threshold compares with another model."""
        return any(threshold.metric is Metric.REGRESSION for threshold in self.thresholds)

    @property
    def needs_clean(self) -> bool:
        """Whether every input must be predicted as well."""
        return any(threshold.metric is Metric.CLEAN_ACCURACY for threshold in self.thresholds)

    @property
    def needs_certificates(self) -> bool:
        """Whether every input must be certified."""
        return any(threshold.metric is not Metric.CLEAN_ACCURACY for threshold in self.thresholds)

    @property
    def radii(self) -> tuple[float, ...]:
        """All radii that thresholds ask about, rising."""
        return tuple(sorted({threshold.radius for threshold in self.thresholds if threshold.radius is not None}))

    @property
    def slices(self) -> tuple[Slice, ...]:
        """Those that thresholds are asked of, each once."""
        return tuple(dict.fromkeys(threshold.within for threshold in self.thresholds if threshold.within is not None))

    def criteria(self, classes: int) -> tuple[Criterion, ...]:
        """Its thresholds, expanded over the classes of the data set, in the order of the file."""
        norm = self.norm or Norm.L2  # where it is None, no name holds it
        return tuple(each for threshold in self.thresholds for each in threshold.criteria(norm, classes))


def parse_policy(text: str, file: str = "gate.toml") -> Policy:
    """The policy that a TOML text states.

    Args:
        text: of the file.
        file: its name, for messages.
    Raises:
        InvalidProblem: with one violation for each mistake; each names the line and the field.
    """
    document = Document(text, file)
    root = document.root
    root.integer("schema_version", SCHEMA_VERSION, SCHEMA_VERSION)
    name, dataset = root.string("name"), root.string("dataset")
    confidence = root.number("confidence", LEAST_CONFIDENCE, MOST_CONFIDENCE)
    selection = _selection(root)
    max_inputs = root.integer("max_inputs", 1, MAX_INPUTS, None)
    max_passes = root.integer("max_forward_passes", 1, _MOST_PASSES, None)
    charge = root.boolean("charge_predict_alpha", default=True)
    method = _method(root)
    predict = _predict(root, method)
    slices = _slices(root)
    norm, thresholds = _thresholds(root, method, slices)
    root.close()
    document.refuse()
    assert name is not None
    assert dataset is not None
    assert confidence is not None
    assert method is not None
    return Policy(
        name=name,
        dataset=dataset,
        confidence=confidence,
        selection=selection,
        max_inputs=max_inputs,
        max_forward_passes=max_passes,
        charge_predict_alpha=charge,
        method=method,
        norm=norm,
        predict=predict,
        thresholds=thresholds,
        text=text,
        digest=hashlib.sha256(text.encode()).hexdigest(),
    )


def _selection(root: Table) -> PolicySelection:
    table = root.table("selection")
    if table is None:
        return PolicySelection()
    start = table.integer("start", 0, MAX_INPUTS, 0)
    stop = table.integer("stop", 1, MAX_INPUTS, None)
    stride = table.integer("stride", 1, MAX_INPUTS, 1)
    sample = table.integer("sample", 1, MAX_INPUTS, None)
    if start is not None and stop is not None and stop <= start:
        table.wrong("stop", f"must be above start = {start}, got {stop}")
    table.close()
    return PolicySelection(start or 0, stop, stride or 1, sample)


# The method.

_CERTIFYING: tuple[type[CertifyingMethod], ...] = (Smoothing, *BOUND_METHODS)
_METHODS = {kind.name: kind for kind in _CERTIFYING}
_KINDS = {bool: "true or false", int: "an integer", float: "a number", str: "a string"}


def _method(root: Table) -> CertifyingMethod | None:
    table = root.table("method", required=True)
    if table is None:
        return None
    name = table.choice("name", list(_METHODS))
    if name is None:
        return None
    kind = _METHODS[name]
    given = {field.name: table.take(field.name) for field in fields(kind) if table.has(field.name)}
    table.close([field.name for field in fields(kind)])
    missing = [field.name for field in fields(kind) if field.default is MISSING and field.name not in given]
    for key in missing:
        table.wrong(key, f"is missing: {name} needs it")
    typed = [_has_kind(table, field.name, field.type, given) for field in fields(kind)]
    return None if missing or not all(typed) else _built(table, kind, given)


def _has_kind(table: Table, key: str, annotation: Any, given: dict[str, Any]) -> bool:
    """Whether a parameter has the type of its field; the method itself judges the value."""
    if key not in given:
        return True
    if "tuple" in str(annotation):
        return _has_numbers(table, key, given[key])
    kind = next((kind for kind in (bool, int, float) if kind is annotation or kind.__name__ in str(annotation)), str)
    accepted = (int, float) if kind is float else (kind,)
    value = given[key]
    right = isinstance(value, accepted) and (kind is bool or not isinstance(value, bool))
    if not right:
        table.wrong(key, f"must be {_KINDS[kind]}, got {value!r}")
    return right


def _has_numbers(table: Table, key: str, value: Any) -> bool:
    right = isinstance(value, list) and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
    if not right:
        table.wrong(key, f"must be a list of numbers, got {value!r}")
    return right


def _built(table: Table, kind: type[Any], given: dict[str, Any]) -> Any:
    """The method of these parameters; None where it refuses one, which is then noted."""
    try:
        return kind(**given)
    except InvalidProblem as error:
        for violation in error.violations:
            key = violation.field.rpartition(".")[2]
            table.wrong(key if table.has(key) else None, f"is refused: {violation.description}")
        return None


def _predict(root: Table, method: CertifyingMethod | None) -> Prediction | None:
    table = root.table("predict")
    smoothing = method if isinstance(method, Smoothing) else None
    if table is None:
        return _prediction_like(smoothing, smoothing.alpha) if smoothing else None
    n = table.integer("n", 1, MAX_DRAWS, Prediction.n)
    alpha = table.number("alpha", 1e-100, 0.5, smoothing.alpha if smoothing else None)
    table.close()
    if method is not None and smoothing is None:
        table.wrong(None, f"is for smoothing: {method.name} answers with the network itself; drop the table")
    if smoothing is None or n is None or alpha is None:
        return None
    return _prediction_like(smoothing, alpha, n)


def _prediction_like(method: Smoothing, alpha: float, n: int = Prediction.n) -> Prediction:
    return Prediction(method.sigma, n, alpha, method.precision, method.rng, method.noise)


# Slices.


def _slices(root: Table) -> dict[str, Slice]:
    """All that can be read; None of those that cannot."""
    table = root.table("slices")
    if table is None:
        return {}
    found = {}
    for name in table.values:
        entries = table.take(name)
        if not _SLICE_NAME.fullmatch(name):
            table.wrong(name, 'is no name of a slice: use letters, digits, "_" and "-"')
        elif not isinstance(entries, list) or not entries:
            table.wrong(name, f'must list indices or ranges, such as [3, "0:100"], got {entries!r}')
        else:
            ranges = [_range(table, name, number, entry) for number, entry in enumerate(entries)]
            found[name] = Slice(name, _joined([each for each in ranges if each]) or ((0, 1),))
    return found


def _range(table: Table, name: str, number: int, entry: Any) -> tuple[int, int] | None:
    """An index or "start:stop" as a half-open range; None where it is neither, which is noted."""
    if isinstance(entry, int) and not isinstance(entry, bool) and 0 <= entry < MAX_INPUTS:
        return entry, entry + 1
    match = _RANGE.fullmatch(entry) if isinstance(entry, str) else None
    if match and int(match[1]) < int(match[2]) <= MAX_INPUTS:
        return int(match[1]), int(match[2])
    table.document.wrong(
        (*table.path, name, number),
        f'must be an index >= 0 or a range "start:stop" with start < stop, got {entry!r}',
    )
    return None


def _joined(ranges: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """The same indices as disjoint, rising ranges."""
    joined: list[tuple[int, int]] = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return tuple(joined)


# Thresholds.


def _thresholds(
    root: Table, method: CertifyingMethod | None, slices: dict[str, Slice]
) -> tuple[Norm | None, tuple[Threshold, ...]]:
    """The norm that all of them share, and those that can be read."""
    norms: dict[str, str] = {}
    seen: dict[str, str] = {}
    found = []
    for table in root.tables("threshold"):
        name = table.choice("metric", [metric.value for metric in Metric])
        if name is None:
            continue
        metric = Metric(name)
        norm, radius = _ball(table, metric, method)
        threshold = _threshold(table, metric, radius, slices)
        table.close()
        if metric is Metric.ABSTENTION_RATE and method is not None and not isinstance(method, Smoothing):
            table.wrong("metric", f"is never above 0 with {method.name}, which does not abstain: drop the threshold")
        early = isinstance(method, Smoothing) and method.stopping in (Stopping.DECIDE, Stopping.GRID)
        if metric is Metric.ABSTENTION_RATE and early:
            table.wrong(
                "metric", "is not measured by decide or grid, which give up radii: draw a fixed number, or drop it"
            )
        if norm is not None and norm != next(iter(norms), norm):
            table.wrong("norm", f"must be {next(iter(norms))} as in the first threshold with a norm, got {norm}")
        norms |= {norm: name} if norm is not None else {}
        if threshold is not None:
            _note_twin(table, threshold, seen)
            found.append(threshold)
    return (Norm(next(iter(norms))) if norms else None), tuple(found)


def _ball(table: Table, metric: Metric, method: CertifyingMethod | None) -> tuple[str | None, float | None]:
    """Norm and radius of a threshold; None each where it has none, or a wrong one."""
    if not metric.has_radius:
        for key in ("norm", "radius"):
            if table.has(key):
                table.take(key)
                table.wrong(key, f"does not belong to {metric.value}: drop it")
        return None, None
    norm = table.choice("norm", [norm.value for norm in Norm])
    radius = table.number("radius", 0, math.inf, open_ends=True)
    if isinstance(method, Smoothing) and norm is not None and norm != Norm.L2:
        table.wrong("norm", f"must be l2, the norm of Gaussian smoothing, got {norm!r}")
    if isinstance(method, Smoothing) and method.decide and radius is not None and radius > method.decide[-1]:
        table.wrong(
            "radius", f"must be at most {method.decide[-1]:g}, the largest that the method decides, got {radius:g}"
        )
    elif isinstance(method, Smoothing) and radius is not None:
        largest = largest_radius(method.radius_sigma, method.n, method.bound_alpha)
        if radius > largest:
            table.wrong(
                "radius",
                f"must be at most {format_down(largest, 4)}, the largest that n = {method.n} draws can prove at "
                f"alpha = {method.alpha:g} and sigma = {method.sigma:g}, got {radius:g}: ask for less, or draw more",
            )
    return norm, radius


def _threshold(table: Table, metric: Metric, radius: float | None, slices: dict[str, Slice]) -> Threshold | None:
    bound = _bound(table, metric)
    per_class = table.boolean("per_class", default=False)
    named = table.string("slice", None)
    if named is not None and per_class:
        table.wrong("slice", "and per_class exclude each other: ask for one of them a threshold")
    if named is not None and named not in slices:
        known = ", ".join(slices) or "none is defined under [slices]"
        table.wrong("slice", f"must be the name of a slice ({known}), got {named!r}")
        return None
    if bound is None or (metric.has_radius and radius is None):
        return None
    return Threshold(metric, bound, radius, per_class, slices[named] if named is not None else None)


def _bound(table: Table, metric: Metric) -> float | None:
    """The one bound that belongs to the metric."""
    right, wrong = ("at_least", "at_most") if metric.is_floor else ("at_most", "at_least")
    if table.has(wrong):
        table.take(wrong)
        table.wrong(wrong, f"does not belong to {metric.value}: use {right}")
        if not table.has(right):
            table.take(right)
            return None
    if metric is Metric.REGRESSION:  # 0 is asked of a model that must be better
        bound = table.number(right, 0, 1)
        if bound == 1:
            table.wrong(right, "must be below 1, or every model passes")
            return None
        return bound
    return table.number(right, 0, 1, open_ends=True)


def _note_twin(table: Table, threshold: Threshold, seen: dict[str, str]) -> None:
    """Refuse a second threshold that would bear the name of a first."""
    name = next(threshold.criteria(Norm.L2, 1)).name
    here = f"threshold[{table.path[-1]}]"
    if name in seen:
        table.wrong(None, f"asks the same as {seen[name]}, of the same inputs: keep one of them")
    seen.setdefault(name, here)
