"""A property in VNN-LIB and a network in ONNX, decided in this process."""

import hashlib
import time
from pathlib import Path
from typing import Any

from verifier.backends.bounder import make_ready
from verifier.backends.device import find_device
from verifier.backends.property import Decision, decide
from verifier.methods import BoundMethod
from verifier.models.handle import ModelHandle
from verifier.models.onnx_graph import import_onnx
from verifier.vnnlib.reader import read
from verifier.vnnlib.result import Answer, Counterexample, Result, to_text


def decide_files(
    network: bytes, specification: Path | bytes, method: BoundMethod, timeout: float | None = None, device: str = "auto"
) -> tuple[str, dict[str, Any]]:
    """(the competition's result, the same and more as plain JSON values).

    Args:
        network: content of the .onnx file.
        specification: path or content of the .vnnlib, possibly gzipped.
        method: bounds to use.
        timeout: seconds for everything, reading included; None: as long as it takes.
        device: "auto", "cpu" or "cuda:N".
    Raises:
        InvalidProblem, Unsupported: a file that cannot be read, or an operation that has no bounds.
    """
    started = time.perf_counter()
    asked = read(specification)
    imported = import_onnx(network)
    place = find_device(device)
    digest = hashlib.sha256(network).hexdigest()
    handle = ModelHandle(digest, imported.module.to(place), imported.input_shape, imported.classes, place)
    ready = make_ready(handle)
    left = None if timeout is None else timeout - (time.perf_counter() - started)
    decision = decide(ready, asked, method, left)
    result = _result(decision)
    facts: dict[str, Any] = {
        "answer": result.answer.value,
        "method": method.name,
        "bound": decision.bound,
        "cases": decision.cases,
        "refuted": decision.refuted,
        "seconds": time.perf_counter() - started,
        "network": digest,
    }
    if result.counterexample is not None:
        facts |= {"x": list(result.counterexample.x), "y": list(result.counterexample.y)}
    return to_text(result), facts


def _result(decision: Decision) -> Result:
    if decision.holds:
        return Result(Answer.UNSAT)
    if decision.holds is False and decision.x is not None and decision.y is not None:
        return Result(Answer.SAT, Counterexample.of(decision.x, decision.y))
    return Result(Answer.UNKNOWN if decision.in_time else Answer.TIMEOUT)
