"""What a message may not say, and the field that the refusal names."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from verifier.certificate import (
    BoundEvidence,
    Certificate,
    Execution,
    Grade,
    Guarantee,
    RegionKind,
    RegionNote,
    Subject,
    Verdict,
)
from verifier.errors import InvalidProblem
from verifier.methods import BOUND_METHODS, AlphaCrown, BoundMethod, Crown, Ibp, Ladder
from verifier.problem import Box, Norm, Problem
from verifier.v1 import certificate_pb2, certification_pb2, methods_pb2, tensor_pb2
from verifier.wire import certificates as wire
from verifier.wire import questions
from verifier.wire.methods import from_method, to_method
from verifier.wire.tensors import from_tensor, to_tensor

BALLS = Problem(
    np.full((2, 3), 0.5, np.float32),
    Norm.LINF,
    np.array([0, 1]),
    0.1,
    domain=Box(np.asarray(0.0), np.asarray(1.0), "bounds"),
    weights=np.ones(3),
)
BOXES = Problem.of_boxes(Box(np.zeros((2, 3)), np.ones((2, 3))), np.array([0, 1]))


@dataclass(frozen=True)
class Case:
    """A message that is wrong in one thing, and the field that must be named.

    Args:
        name: of the test.
        change: makes a good message wrong.
        field: of the violation.
        says: a part of the message.
    """

    name: str
    change: Callable[[Any], object]
    field: str
    says: str = ""

    def __str__(self) -> str:
        return self.name


def assert_refused(read: Callable[[], object], case: Case) -> None:
    with pytest.raises(InvalidProblem) as refused:
        pytest.fail(f"read as {read()}")
    assert [violation.field for violation in refused.value.violations] == [case.field]
    assert case.says in refused.value.message


# -- methods ---------------------------------------------------------------------------------------------


def option(name: str, value: Any) -> Callable[[Any], object]:
    """Another value in the options of alpha-CROWN."""
    return lambda message: setattr(message.alpha_crown.options, name, value)


METHODS = [
    Case("none", lambda m: m.ClearField("alpha_crown"), "method", "ListMethods"),
    Case("semantics 99", option("semantics", 99), "bounds.semantics", "SEMANTICS_FLOAT32_EXEC"),
    Case("rounding 99", option("rounding", 99), "bounds.rounding", "ROUNDING_NEAREST"),
    Case("rounding -1", option("rounding", -1), "bounds.rounding"),
    Case("tolerance 0", option("tolerance", 0.0), "bounds.tolerance", "got 0.0"),
    Case("tolerance NaN", option("tolerance", math.nan), "bounds.tolerance"),
    Case("tolerance 2", option("tolerance", 2.0), "bounds.tolerance"),
    Case("audit -1", option("audit", -1), "bounds.audit", "got -1"),
    Case("audit too many", option("audit", 2**21), "bounds.audit"),
    Case("memory 0", option("memory_bytes", 0), "bounds.memory_bytes"),
    Case("memory -1", option("memory_bytes", -1), "bounds.memory_bytes", "got -1"),
    Case("seconds 0", option("max_seconds", 0.0), "bounds.max_seconds"),
    Case("seconds -1", option("max_seconds", -1.0), "bounds.max_seconds"),
    Case("seconds infinite", option("max_seconds", math.inf), "bounds.max_seconds"),
    Case("steps 0", lambda m: setattr(m.alpha_crown, "steps", 0), "bounds.steps"),
    Case("steps -3", lambda m: setattr(m.alpha_crown, "steps", -3), "bounds.steps", "got -3"),
    Case("rate NaN", lambda m: setattr(m.alpha_crown, "learning_rate", math.nan), "bounds.learning_rate"),
]


@pytest.mark.parametrize("case", METHODS, ids=str)
def test_methods(case: Case) -> None:
    message = to_method(AlphaCrown())
    case.change(message)
    assert_refused(lambda: from_method(message, "method"), case)


@pytest.mark.parametrize("method", [kind() for kind in BOUND_METHODS], ids=lambda method: method.name)
def test_every_method_without_options(method: BoundMethod) -> None:
    message = to_method(method)
    getattr(message, method.name.replace("-", "_")).ClearField("options")
    assert from_method(message, "method") == method


# -- tensors ---------------------------------------------------------------------------------------------


def test_scalars_only_where_they_mean_something() -> None:
    scalar = to_tensor(np.asarray(0.25))
    assert list(scalar.shape) == []
    assert from_tensor(scalar, "FP64", "bounds.lower", scalar=True) == 0.25
    assert_refused(lambda: from_tensor(scalar, "FP64", "weights"), Case("", id, "weights.shape", "shape []"))
    scalar.data = b""
    assert_refused(
        lambda: from_tensor(scalar, "FP64", "weights", scalar=True),
        Case("", id, "weights.data", "needs 8 bytes, got 0"),
    )


# -- questions -------------------------------------------------------------------------------------------


@dataclass
class Request:
    """A specification with inputs."""

    spec: certification_pb2.CertifySpec
    inline: certification_pb2.InlineInputs

    def read(self) -> Problem:
        return questions.from_spec(self.spec).problem(self.inline)


def request(problem: Problem) -> Request:
    return Request(questions.to_spec("m", problem, Ibp(), 7), questions.to_inline(problem))


def fp64(*shape: int, value: float = 0.0) -> tensor_pb2.Tensor:
    return to_tensor(np.full(shape, value))


def fp32(*shape: int) -> tensor_pb2.Tensor:
    return to_tensor(np.zeros(shape, np.float32))


def put(part: str, tensor: tensor_pb2.Tensor) -> Callable[[Request], object]:
    """Another tensor at a path below the request."""

    def change(request: Request) -> None:
        target: Any = request
        for name in part.split("."):
            target = getattr(target, name)
        target.CopyFrom(tensor)

    return change


BALL_REQUESTS = [
    Case("domain without ends", lambda r: r.spec.domain.Clear(), "bounds.lower.datatype", "'none'"),
    Case("domain half", lambda r: r.spec.domain.ClearField("upper"), "bounds.upper.datatype"),
    Case("domain in float32", put("spec.domain.lower", fp32(3)), "bounds.lower.datatype", "FP64"),
    Case("domain of two shapes", put("spec.domain.upper", fp64(3, value=1.0)), "bounds.upper", "same"),
    Case("domain upside down", put("spec.domain.lower", fp64(value=2.0)), "bounds.lower", "lower must be <= upper"),
    Case("domain NaN", put("spec.domain.lower", fp64(value=math.nan)), "bounds.lower", "NaN"),
    Case("inputs outside", put("spec.domain.lower", fp64(value=0.75)), "inputs[0]", "outside of the domain"),
    Case("weights in float32", put("spec.weights", fp32(3)), "weights.datatype"),
    Case("weights scalar", put("spec.weights", fp64()), "weights.shape"),
    Case("weights of another shape", put("spec.weights", fp64(4, value=1.0)), "weights", "[3]"),
    Case("weights 0", put("spec.weights", fp64(3)), "weights", "not all 0"),
    Case("weights -1", put("spec.weights", fp64(3, value=-1.0)), "weights"),
    Case("weights in L2", lambda r: setattr(r.spec, "norm", methods_pb2.NORM_L2), "weights", "linf"),
    Case("boxes too", put("inline.lower", fp64(2, 3)), "inputs", "either x, or"),
    Case("no inputs", lambda r: r.inline.ClearField("x"), "inputs.datatype"),
    Case("eps NaN", lambda r: setattr(r.spec, "eps", math.nan), "eps"),
    Case("norm 0", lambda r: r.spec.ClearField("norm"), "spec.norm", "NORM_LINF"),
    Case("no method", lambda r: r.spec.ClearField("method"), "spec.method", "ListMethods"),
    Case("no model", lambda r: r.spec.ClearField("model"), "spec.model"),
]

BOX_REQUESTS = [
    Case("half", lambda r: r.inline.ClearField("upper"), "inputs", "both lower and upper"),
    Case("the other half", lambda r: r.inline.ClearField("lower"), "inputs", "both lower and upper"),
    Case("inputs too", put("inline.x", fp32(2, 3)), "inputs", "either x, or"),
    Case("in float32", put("inline.lower", fp32(2, 3)), "box.lower.datatype"),
    Case("of two shapes", put("inline.upper", fp64(2, 4, value=1.0)), "box.upper"),
    Case("upside down", put("inline.lower", fp64(2, 3, value=2.0)), "box.lower", "flat position 0"),
    Case("infinite", put("inline.upper", fp64(2, 3, value=math.inf)), "box.lower", "finite"),
    Case(
        "without batch axis",
        lambda r: (put("inline.lower", fp64(3))(r), put("inline.upper", fp64(3))(r)),
        "inputs.shape",
    ),
    Case("eps", lambda r: setattr(r.spec, "eps", 0.1), "spec.eps", "eps"),
    Case("norm", lambda r: setattr(r.spec, "norm", methods_pb2.NORM_L2), "spec.norm", "linf"),
    Case("domain", put("spec.domain.lower", fp64()), "bounds.upper.datatype"),
    Case("weights", put("spec.weights", fp64(3, value=1.0)), "spec.weights", "weights"),
    Case("too many labels", put("inline.labels", to_tensor(np.arange(3))), "labels", "[2]"),
]


@pytest.mark.parametrize("case", BALL_REQUESTS, ids=str)
def test_balls(case: Case) -> None:
    question = request(BALLS)
    assert len(question.read()) == 2
    case.change(question)
    assert_refused(question.read, case)


@pytest.mark.parametrize("case", BOX_REQUESTS, ids=str)
def test_boxes(case: Case) -> None:
    question = request(BOXES)
    assert len(question.read()) == 2
    case.change(question)
    assert_refused(question.read, case)


def test_predict_takes_no_boxes() -> None:
    message = certification_pb2.PredictRequest(model="projects/default/models/m", inputs=questions.to_inline(BOXES))
    assert_refused(lambda: questions.from_predict_request(message), Case("", id, "inputs.lower", "boxes"))


# -- certificates ----------------------------------------------------------------------------------------

PROVED = Certificate(
    index=3,
    input_digest="1" * 64,
    label=None,
    verdict=Verdict.CERTIFIED,
    prediction=2,
    norm=Norm.LINF,
    radius=0.05,
    eps=0.05,
    subject=Subject("c0ffee" + 58 * "0", "real"),
    guarantee=Guarantee(Grade.FLOAT_SOUND),
    method=Ladder(),
    evidence=BoundEvidence("crown", 0.05, (0.25, 1.5), RegionNote(domain=(0.0, 1.0)), 3, 9, 16),
    execution=Execution("cpu", "a processor", 0, "bounds", False, {"torch": "2"}, 1.0, 2.0),
)


def smoothing_evidence(message: Any) -> None:
    message.sampling.CopyFrom(certificate_pb2.SamplingEvidence(rng="aes128ctr-boxmuller-1"))


CERTIFICATES = [
    Case("no evidence", lambda c: c.ClearField("evidence"), "evidence", "must be bounds, got none"),
    Case("votes for bounds", smoothing_evidence, "evidence", "must be bounds, got sampling"),
    Case("no method", lambda c: c.ClearField("method"), "method"),
    Case("verdict 0", lambda c: c.ClearField("verdict"), "verdict"),
    Case("verdict 99", lambda c: setattr(c, "verdict", 99), "verdict"),
    Case("grade 0", lambda c: c.guarantee.ClearField("grade"), "grade"),
    Case("norm 99", lambda c: setattr(c, "norm", 99), "norm"),
    Case("precision 99", lambda c: setattr(c.subject, "precision", 99), "subject.precision"),
    Case("no region", lambda c: c.bounds.ClearField("region"), "bounds.region.kind", "REGION_KIND_BALL"),
    Case("region 99", lambda c: setattr(c.bounds.region, "kind", 99), "bounds.region.kind", "99"),
    Case("no bound", lambda c: c.bounds.ClearField("bound"), "bounds.bound", "crown-ibp"),
    Case("the ladder's bound", lambda c: setattr(c.bounds, "bound", "ladder"), "bounds.bound"),
    Case("bound eps NaN", lambda c: setattr(c.bounds, "eps", math.nan), "bounds.eps"),
    Case("bound eps -1", lambda c: setattr(c.bounds, "eps", -1.0), "bounds.eps"),
    Case("classes -1", lambda c: setattr(c.bounds, "classes", -1), "bounds.classes"),
    Case("evaluations -1", lambda c: setattr(c.bounds, "evaluations", -1), "bounds.evaluations"),
    Case("audited -1", lambda c: setattr(c.bounds, "audited", -1), "bounds.audited"),
    Case("radius NaN", lambda c: setattr(c, "radius", math.nan), "certificate"),
    Case("radius -1", lambda c: setattr(c, "radius", -1.0), "certificate"),
    Case("certified at radius 0", lambda c: setattr(c, "radius", 0.0), "certificate"),
    Case("certified without a class", lambda c: c.ClearField("prediction"), "certificate"),
    Case("box with a radius", lambda c: setattr(c.bounds.region, "kind", 2), "certificate", "no radius"),
]


@pytest.mark.parametrize("case", CERTIFICATES, ids=str)
def test_certificates(case: Case) -> None:
    message = wire.to_certificate(PROVED)
    assert wire.from_certificate(message) == PROVED
    case.change(message)
    assert_refused(lambda: wire.from_certificate(message), case)


def test_bounds_for_votes_are_refused() -> None:
    message = wire.to_certificate(PROVED)
    message.method.smoothing.CopyFrom(methods_pb2.Smoothing())
    assert_refused(lambda: wire.from_certificate(message), Case("", id, "smoothing.noise"))


def test_a_box_is_certified_without_a_radius() -> None:
    evidence = replace(PROVED.bounds, eps=0.0, region=RegionNote(RegionKind.BOX))
    box = replace(PROVED, radius=0.0, eps=None, method=Crown(), evidence=evidence)
    assert wire.from_certificate(wire.to_certificate(box)) == box
    assert wire.certificate_from_json(wire.certificate_to_json(box)) == box


def test_margins_that_are_no_numbers_survive_text() -> None:
    margins = (-math.inf, -0.0, 5e-324, math.inf, math.nan)
    proved = replace(PROVED, evidence=replace(PROVED.bounds, margins=margins))
    line = wire.certificate_to_json(proved)
    assert '"margins": ["-Infinity", -0.0, 5e-324, "Infinity", "NaN"]' in line
    assert repr(wire.certificate_from_json(line).bounds.margins) == repr(margins)


def test_lines_are_named() -> None:
    good = wire.certificate_to_json(PROVED)
    assert wire.certificates_from_lines([good, "", good]) == [PROVED, PROVED]
    bad = good.replace("crown", "clown")
    assert_refused(lambda: wire.certificates_from_lines([good, "", bad]), Case("", id, "line[3]", "line 3: "))
