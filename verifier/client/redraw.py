"""Compute certificates again, in this process: draw votes with their seeds, bound margins at their radii."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.certificate import BoundEvidence, Certificate, Execution, SamplingEvidence, Stopped
from verifier.client.asked import Asked, Regions
from verifier.client.client import Client
from verifier.errors import InvalidProblem
from verifier.methods import BOUND_METHODS, AlphaCrown, BoundMethod, Ladder
from verifier.problem import Box, Problem, box_digest, digest_of


@dataclass(frozen=True)
class Redrawn:
    """What computing one certificate again showed.

    Args:
        index: of the input.
        equal: whether all votes are the same, or the bounds certify the radius again.
        comparable: whether they must: for votes, same device, batch shape, form and torch, on rows that do not
            interact; for bounds, same device and versions, and no ascent.
        difference: in words; empty where equal.
    """

    index: int
    equal: bool
    comparable: bool
    difference: str


def redraw(
    client: Client,
    model: str | Path,
    x: NDArray[Any] | None,
    certificates: Sequence[Certificate],
    regions: Regions | None = None,
) -> list[Redrawn]:
    """Compute each certificate again: votes from the same seed, stream and batch shape; bounds at the stated radius.

    Deterministic certificates that certify nothing have nothing to compute again, and are left out; so are votes that a
    deadline cut off before the first look.

    Args:
        client: of an embedded service.
        model: name, digest or .onnx file; it must be the certificates' subject.
        x: the inputs that were certified, [B, ...]; certificate i speaks about x[i.index]. None for boxes.
        regions: domain, weights, boxes, where the certificates have them; a scalar domain stands in the certificate.
            Boxes [B, *shape]: certificate i speaks about box i.index.
    Raises:
        InvalidProblem: another model, or an input or region that is not the one that was certified.
    """
    digest = client.resolve(model)
    sampled = [c for c in certificates if isinstance(c.evidence, SamplingEvidence) and _has_draws(c)]
    proved = [c for c in certificates if isinstance(c.evidence, BoundEvidence) and c.certified]
    answers = [*_redraw(client, digest, x, sampled), *_recompute(client, digest, x, proved, regions or Regions())]
    return sorted(answers, key=lambda answer: answer.index)


def _redraw(client: Client, digest: str, x: NDArray[Any] | None, certificates: Sequence[Certificate]) -> list[Redrawn]:
    groups: dict[Any, list[Certificate]] = defaultdict(list)
    for certificate in certificates:
        _check_model(certificate, digest)
        _check_input(certificate, x)
        execution = certificate.execution
        method = replace(certificate.smoothing, max_seconds=None)
        groups[method, certificate.sampling.seed, execution.batch_rows, execution.form].append(certificate)
    answers = []
    for (method, seed, batch_rows, form), group in groups.items():
        problems = [Problem(_row(x, c.index), c.norm, _labels(c), c.eps, c.index) for c in group]
        again = {c.index: c for c in client.redraw(digest, problems, method, seed, batch_rows, form)}
        answers += [_compare(certificate, again[certificate.index]) for certificate in group]
    return answers


def _recompute(
    client: Client, digest: str, x: NDArray[Any] | None, certificates: Sequence[Certificate], regions: Regions
) -> list[Redrawn]:
    """Certificates of one bound, radius and kind of region are computed together; all are checked before any work."""
    groups: dict[Any, list[Certificate]] = defaultdict(list)
    for certificate in certificates:
        _check_model(certificate, digest)
        note = certificate.bounds.region
        groups[_proving(certificate), certificate.norm, certificate.radius, note].append(certificate)
    questions = [(method, group, *_question(group, x, regions)) for (method, *_), group in groups.items()]
    answers = []
    for method, group, rows, asked in questions:
        again = {new.index: new for new in client.certify(digest, rows, method, **asked)}
        answers += [_compare_bounds(old, again[row]) for row, old in enumerate(group)]
    return answers


def _proving(certificate: Certificate) -> BoundMethod:
    """The method whose bound is stated, with the parameters of the one that found it; however long it takes."""
    kinds = {kind.name: kind for kind in BOUND_METHODS if kind is not Ladder}
    kind = kinds.get(certificate.bounds.bound)
    if kind is None:
        raise InvalidProblem(
            f"certificate {certificate.index} states a bound by {certificate.bounds.bound!r}, "
            f"which is none of {', '.join(kinds)}",
            field="bounds.bound",
        )
    names = [field.name for field in fields(kind) if hasattr(certificate.method, field.name)]
    parameters = {name: getattr(certificate.method, name) for name in names} | {"max_seconds": None}
    if issubclass(kind, AlphaCrown):  # an ascent may end elsewhere: it gets more time to arrive
        parameters["steps"] = min(5 * parameters.get("steps", AlphaCrown.steps), 10_000)
    return kind(**parameters)


def _question(
    group: Sequence[Certificate], x: NDArray[Any] | None, regions: Regions
) -> tuple[NDArray[Any] | None, Asked]:
    """(inputs [G, *shape] or None for boxes, what is asked) of certificates that differ in their inputs only."""
    first, indices = group[0], [certificate.index for certificate in group]
    if first.is_box:
        boxes = _boxes(regions, first.index)
        for certificate in group:
            _check_box(certificate, boxes)
        return None, {"lower": boxes.lower[indices], "upper": boxes.upper[indices]}
    for certificate in group:
        _check_input(certificate, x)
    assert x is not None
    asked: Asked = {"norm": first.norm.value, "eps": first.radius}
    return x[indices], asked | _domain(first, regions) | _weights(first, regions)


def _boxes(regions: Regions, index: int) -> Box:
    """The boxes of all inputs, [B, *shape]."""
    if regions.lower is None or regions.upper is None:
        message = f"certificate {index} is about a box: give the ends of all boxes (--lower, --upper)"
        raise InvalidProblem(message, field="box.lower")
    boxes = Box(regions.lower, regions.upper)
    if boxes.lower.ndim < 2:
        raise InvalidProblem(
            f"boxes need a batch axis and at least one more, got shape {list(boxes.lower.shape)}", field="box.lower"
        )
    return boxes


def _check_box(certificate: Certificate, boxes: Box) -> None:
    index = certificate.index
    there = 0 <= index < len(boxes.lower)
    digest = box_digest(boxes.lower[index], boxes.upper[index]) if there else ""
    _check_digest(digest, certificate.input_digest, f"box {index}", f"box.lower[{index}]")


def _domain(certificate: Certificate, regions: Regions) -> Asked:
    """The domain as an argument: that of the note where it stands there, else the caller's."""
    note, given = certificate.bounds.region, None
    if regions.domain is not None:
        given = Box(*regions.domain, "bounds")
    if note.domain is not None:
        lower, upper = note.domain
        if given is not None and not ((given.lower == lower).all() and (given.upper == upper).all()):
            raise InvalidProblem(
                f"certificate {certificate.index} holds within the domain [{lower}, {upper}], which is not the one "
                "that was given",
                field="bounds",
            )
        return {"domain": (lower, upper)}
    if not note.domain_digest:
        return {}
    if given is None:
        message = f"certificate {certificate.index} holds within a domain: give its ends (--bounds)"
        raise InvalidProblem(message, field="bounds")
    _check_digest(box_digest(given.lower, given.upper), note.domain_digest, "the domain", "bounds")
    return {"domain": (given.lower, given.upper)}


def _weights(certificate: Certificate, regions: Regions) -> Asked:
    """The weights as an argument, where the region has some."""
    stated = certificate.bounds.region.weights_digest
    if not stated:
        return {}
    if regions.weights is None:
        raise InvalidProblem(
            f"certificate {certificate.index} is about a weighted box: give the weights", field="weights"
        )
    weights = np.asarray(regions.weights).astype(np.float64)
    _check_digest(digest_of(weights), stated, "the weights", "weights")
    return {"weights": weights}


def _check_digest(given: str, stated: str, what: str, field: str) -> None:
    if given != stated:
        raise InvalidProblem(f"{what}: not what was certified, the digest differs", field=field)


def _compare_bounds(old: Certificate, new: Certificate) -> Redrawn:
    """alpha-CROWN's lines depend on where its ascent began: missing the radius by them proves nothing against it."""
    if new.certified and new.prediction == old.prediction:
        return Redrawn(old.index, True, True, "")
    before, after = old.execution, new.execution
    same = (before.device_name, before.versions) == (after.device_name, after.versions)
    comparable = same and old.bounds.bound != AlphaCrown.name
    reason = "" if same else f" (computed on {_told(before)}, now on {_told(after)})"
    region = "the box" if old.is_box else f"radius {old.radius:.6g}"
    return Redrawn(old.index, False, comparable, f"{old.bounds.bound} {_found(old, new)} over {region}{reason}")


def _found(old: Certificate, new: Certificate) -> str:
    """What the bounds say now."""
    if new.certified:
        return f"certifies class {new.prediction}, not {old.prediction},"
    least = min(new.bounds.margins, default=float("nan"))
    return f"does not certify class {old.prediction} again, its least margin being {least:.3g},"


def _has_draws(certificate: Certificate) -> bool:
    """Whether there are votes that the same draws, taken again to their end, have to show again."""
    evidence = certificate.sampling
    if evidence.sequential is None:
        return evidence.estimation.n == certificate.smoothing.n
    return bool(evidence.sequential.counts)


def _labels(certificate: Certificate) -> NDArray[np.int64] | None:
    return None if certificate.label is None else np.array([certificate.label])


def _row(x: NDArray[Any] | None, index: int) -> NDArray[Any]:
    assert x is not None
    return x[index : index + 1]


def _check_model(certificate: Certificate, digest: str) -> None:
    if certificate.subject.model_digest != digest:
        raise InvalidProblem(
            f"certificate {certificate.index} speaks about model {certificate.subject.model_digest[:16]}, "
            f"this is {digest[:16]}",
            field="model",
        )


def _check_input(certificate: Certificate, x: NDArray[Any] | None) -> None:
    index = certificate.index
    if x is None:
        raise InvalidProblem(f"certificate {index} is about an input: give the inputs", field="inputs")
    if not 0 <= index < len(x) or digest_of(np.asarray(x[index])) != certificate.input_digest:
        raise InvalidProblem(
            f"input {index} is not the one that was certified: its digest differs", field=f"inputs[{index}]"
        )


def _compare(old: Certificate, new: Certificate) -> Redrawn:
    before, after = _votes(old), _votes(new)
    if old.sampling.sequential and new.sampling.sequential and old.sampling.sequential.stopped is Stopped.EARLY:
        looks = old.sampling.sequential.counts  # the draws went on this time
        before, after = looks, new.sampling.sequential.counts[: len(looks)]
    comparable = _identity(old.execution) == _identity(new.execution) and old.execution.row_exact
    if before == after:
        return Redrawn(old.index, True, comparable, "")
    reason = "" if comparable else f" (drawn on {_told(old.execution)}, now on {_told(new.execution)})"
    difference = (
        f"votes differ: {old.sampling.estimation.top_count} of {old.sampling.estimation.n} then, "
        f"{new.sampling.estimation.top_count} now{reason}"
    )
    return Redrawn(old.index, False, comparable, difference)


def _votes(certificate: Certificate) -> tuple[object, ...]:
    return certificate.sampling.selection, certificate.sampling.estimation


def _identity(execution: Execution) -> tuple[object, ...]:
    return execution.device_name, execution.batch_rows, execution.form, execution.versions.get("torch")


def _told(execution: Execution) -> str:
    return f"{execution.device_name}, torch {execution.versions.get('torch')}, {execution.form}"
