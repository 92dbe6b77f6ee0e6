"""A second reading of every file, by code that is not ours, before anything may be certified on the first."""

import hashlib
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import onnx.version_converter
import torch
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from torch import nn

from verifier.errors import Unsupported
from verifier.models.onnx_file import OnnxFile

RELATIVE_TOLERANCE = 1e-4
ABSOLUTE_TOLERANCE = 1e-6

# The reference evaluator reads operators of older sets by their newer meaning (Softmax), or not at all.
_OLDEST_EVALUATED = 13
_CONVERTED_TO = 18

Floats = NDArray[np.float32]
Evaluate = Callable[[Floats], Floats]


def compare(file: OnnxFile, data: bytes, module: nn.Module) -> float:
    """The largest difference of a logit between our module and the second reading.

    Every logit of three random inputs, alone and in one batch, agrees within RELATIVE_TOLERANCE times the
    largest logit plus ABSOLUTE_TOLERANCE. Where the file itself takes a batch, its own batch agrees too.

    Args:
        file: what was read.
        data: its bytes; their SHA-256 seeds the inputs.
        module: our reading, [B, K] from [B, *shape].
    Raises:
        Unsupported: the readings differ (reason IMPORT_MISMATCH), or there is no second one (IMPORT_UNCHECKED).
    """
    x = _inputs(file.input.shape, data)
    evaluate, expected = _first_that_works(file, x)
    with torch.no_grad():
        alone = np.concatenate([module(torch.from_numpy(row[None])).numpy() for row in x])
        together = module(torch.from_numpy(x)).numpy()
    if not np.isfinite(expected).all():
        raise _mismatch("logits of random inputs must be finite, the reference evaluator finds NaN or infinity")
    if expected.shape != alone.shape:
        raise _mismatch(f"shape of the logits of {len(x)} inputs: {alone.shape}, by the reference {expected.shape}")
    tolerance = RELATIVE_TOLERANCE * float(np.abs(expected).max()) + ABSOLUTE_TOLERANCE
    difference = _difference(alone, expected)
    found = {"the reference": difference, "a batch": _difference(alone, together)}
    if file.input.symbolic:
        found["the reference on a batch"] = _batch_difference(evaluate, x, alone)
    for other, gap in found.items():
        if not gap <= tolerance:
            raise _mismatch(f"logits must agree within {tolerance:.3g}, our reading and {other} differ by {gap:.3g}")
    return difference


def _inputs(shape: tuple[int, ...], data: bytes) -> Floats:
    generator = np.random.default_rng(int.from_bytes(hashlib.sha256(data).digest()))
    image, centred, wide = generator.random(shape), generator.uniform(-1, 1, shape), generator.standard_normal(shape)
    return np.stack([image, centred, wide]).astype(np.float32)


def _first_that_works(file: OnnxFile, x: Floats) -> tuple[Evaluate, Floats]:
    """A second reading, and its logits of each input alone."""
    failures = []
    for name, prepare in _readings(file):
        try:
            evaluate = prepare()
            rows = x[:, None] if file.input.batch_axis else x
            return evaluate, np.stack([evaluate(row).reshape(-1) for row in rows])
        except Exception as error:
            failures.append(f"{name}: {str(error)[:100]}")
    raise Unsupported(
        "every model is checked against a second reading, and none can compute this one "
        f"({'; '.join(failures)}); export it for a newer operator set",
        field="model",
        reason="IMPORT_UNCHECKED",
    )


def _readings(file: OnnxFile) -> Iterator[tuple[str, Callable[[], Evaluate]]]:
    if file.opset >= _OLDEST_EVALUATED:
        yield "reference evaluator", lambda: _reference(file, file.model)
    else:
        yield "reference evaluator after conversion", lambda: _reference(file, _newer(file))
    yield "onnxruntime", lambda: _runtime(file)


def _newer(file: OnnxFile) -> Any:
    """The model for a newer operator set; the converter wants to know the size of every axis."""
    model = type(file.model)()
    model.CopyFrom(file.model)
    del model.graph.value_info[:]
    for value in model.graph.input:
        if value.name == file.input.name and file.input.symbolic:
            value.type.tensor_type.shape.dim[0].dim_value = 1
    return onnx.version_converter.convert_version(model, _CONVERTED_TO)


def _reference(file: OnnxFile, model: Any) -> Evaluate:
    evaluator = ReferenceEvaluator(model)

    def evaluate(x: Floats) -> Floats:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            return np.asarray(evaluator.run([file.output], {file.input.name: x})[0])

    return evaluate


def _runtime(file: OnnxFile) -> Evaluate:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.model.SerializeToString(), options, ["CPUExecutionProvider"])
    return lambda x: np.asarray(session.run([file.output], {file.input.name: x})[0])


def _batch_difference(evaluate: Evaluate, x: Floats, alone: Floats) -> float:
    """How far the file's own batch is from its rows; 0 where the file cannot compute a batch after all."""
    try:
        together = evaluate(x)
    except Exception:
        return 0.0
    return _difference(alone, together.reshape(alone.shape)) if together.size == alone.size else 0.0


def _difference(ours: Floats, theirs: Floats) -> float:
    return float(np.abs(ours.astype(np.float64) - theirs).max())


def _mismatch(why: str) -> Unsupported:
    return Unsupported(
        f"our reading of the model must agree with a second one: {why}; export it in another form",
        field="model",
        reason="IMPORT_MISMATCH",
    )
