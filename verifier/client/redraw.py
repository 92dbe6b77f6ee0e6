"""Draw certificates again with their seeds, in this process, and compare the votes."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.certificate import Certificate, Execution
from verifier.client.client import Client
from verifier.errors import InvalidProblem
from verifier.problem import Problem, digest_of


@dataclass(frozen=True)
class Redrawn:
    """What drawing one certificate again showed.

    Args:
        index: of the input.
        equal: whether all votes are the same.
        comparable: whether they must be: same device, batch shape, form and torch, on rows that do not interact.
        difference: in words; empty where equal.
    """

    index: int
    equal: bool
    comparable: bool
    difference: str


def redraw(client: Client, model: str | Path, x: NDArray[Any], certificates: Sequence[Certificate]) -> list[Redrawn]:
    """Draw each certificate's votes again: same seed, same stream, same batch shape.

    Args:
        client: of an embedded service.
        model: name, digest or .onnx file; it must be the certificates' subject.
        x: the inputs that were certified, [B, ...]; certificate i speaks about x[i.index].
    Raises:
        InvalidProblem: another model, or an input that is not the one that was certified.
    """
    digest = client.resolve(model)
    groups: dict[Any, list[Certificate]] = defaultdict(list)
    for certificate in certificates:
        _check_same(certificate, digest, x)
        execution = certificate.execution
        groups[certificate.method, certificate.evidence.seed, execution.batch_rows, execution.form].append(certificate)
    answers = []
    for (method, seed, batch_rows, form), group in groups.items():
        problems = [Problem(x[c.index : c.index + 1], c.norm, eps=c.eps, first_index=c.index) for c in group]
        again = {c.index: c for c in client.redraw(digest, problems, method, seed, batch_rows, form)}
        answers += [_compare(certificate, again[certificate.index]) for certificate in group]
    return sorted(answers, key=lambda answer: answer.index)


def _check_same(certificate: Certificate, digest: str, x: NDArray[Any]) -> None:
    index = certificate.index
    if certificate.subject.model_digest != digest:
        raise InvalidProblem(
            f"certificate {index} speaks about model {certificate.subject.model_digest[:16]}, this is {digest[:16]}",
            field="model",
        )
    if index >= len(x) or digest_of(np.asarray(x[index])) != certificate.input_digest:
        raise InvalidProblem(
            f"input {index} is not the one that was certified: its digest differs", field=f"inputs[{index}]"
        )


def _compare(old: Certificate, new: Certificate) -> Redrawn:
    before = (old.evidence.selection, old.evidence.estimation)
    after = (new.evidence.selection, new.evidence.estimation)
    comparable = _identity(old.execution) == _identity(new.execution) and old.execution.row_exact
    if before == after:
        return Redrawn(old.index, True, comparable, "")
    reason = "" if comparable else f" (drawn on {_told(old.execution)}, now on {_told(new.execution)})"
    difference = (
        f"votes differ: {old.evidence.estimation.top_count} of {old.evidence.estimation.n} then, "
        f"{new.evidence.estimation.top_count} now{reason}"
    )
    return Redrawn(old.index, False, comparable, difference)


def _identity(execution: Execution) -> tuple[object, ...]:
    return execution.device_name, execution.batch_rows, execution.form, execution.versions.get("torch")


def _told(execution: Execution) -> str:
    return f"{execution.device_name}, torch {execution.versions.get('torch')}, {execution.form}"
