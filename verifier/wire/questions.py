"""What is asked, to messages and back. Nonsense is refused by the constructors."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import CertifyingMethod, Prediction
from verifier.problem import Box, Norm, Problem
from verifier.seeds import Seed, seed_or_fresh
from verifier.v1 import certification_pb2, methods_pb2
from verifier.wire.enums import from_enum, to_enum
from verifier.wire.methods import from_method, from_noise, from_precision, from_rng, to_method, to_noise
from verifier.wire.names import model_name, parse_model_name
from verifier.wire.tensors import from_tensor, to_tensor


@dataclass(frozen=True)
class Question:
    """What a certification request asks, without its inputs.

    Args:
        model: alias or digest.
        norm, method, eps, domain, weights: see `Problem` and `CertifyingMethod`.
        seed: the client's, or a fresh one.
        validate_only: price and check, do not run.
        partial: whether undecided inputs are told of.
    """

    model: str
    norm: Norm
    method: CertifyingMethod
    eps: float | None
    seed: Seed
    validate_only: bool
    domain: Box | None = None
    weights: NDArray[np.float64] | None = None
    partial: bool = False

    def problem(self, inputs: certification_pb2.InlineInputs, first_index: int = 0) -> Problem:
        """The inputs of a message, or its boxes, under this question.

        Args:
            first_index: of the first of them in the caller's numbering.
        Raises:
            InvalidProblem: both x and boxes, half a box, or what `Problem` and `Box` refuse.
        """
        labels = from_tensor(inputs.labels, "INT64", "labels") if inputs.HasField("labels") else None
        if not (inputs.HasField("lower") or inputs.HasField("upper")):
            x = from_tensor(inputs.x, "FP32", "inputs")
            return Problem(x, self.norm, labels, self.eps, first_index, self.domain, self.weights)
        self._check_boxes(inputs)
        boxes = Box(from_tensor(inputs.lower, "FP64", "box.lower"), from_tensor(inputs.upper, "FP64", "box.upper"))
        return Problem.of_boxes(boxes, labels, first_index)

    def _check_boxes(self, inputs: certification_pb2.InlineInputs) -> None:
        if inputs.HasField("x") or not (inputs.HasField("lower") and inputs.HasField("upper")):
            raise InvalidProblem("give either x, or both lower and upper ends of boxes", field="inputs")
        given = [name for name in ("eps", "domain", "weights") if getattr(self, name) is not None]
        if given or self.norm is not Norm.LINF:
            raise InvalidProblem(
                f"a box is the whole region: its norm is linf, and it takes no {', '.join(given) or 'other norm'}",
                field=f"spec.{given[0]}" if given else "spec.norm",
            )


def to_spec(
    model: str,
    problem: Problem,
    method: CertifyingMethod,
    seed: int | None,
    *,
    validate_only: bool = False,
    partial: bool = False,
) -> certification_pb2.CertifySpec:
    """What to certify, without the inputs of the problem, as a message."""
    domain = None
    if problem.domain is not None:
        lower, upper = to_tensor(problem.domain.lower), to_tensor(problem.domain.upper)
        domain = certification_pb2.Domain(lower=lower, upper=upper)
    return certification_pb2.CertifySpec(
        model=model_name(model),
        norm=to_enum(methods_pb2.Norm, "NORM", problem.norm),
        method=to_method(method),
        eps=problem.eps,
        seed=seed,
        validate_only=validate_only,
        domain=domain,
        weights=None if problem.weights is None else to_tensor(problem.weights),
        partial=partial,
    )


def from_spec(spec: certification_pb2.CertifySpec) -> Question:
    """The question of a message."""
    method = from_method(spec.method, "spec.method")
    return Question(
        model=parse_model_name(spec.model, "spec.model"),
        norm=from_enum(methods_pb2.Norm, "NORM", spec.norm, Norm, "spec.norm"),
        method=method,
        eps=spec.eps if spec.HasField("eps") else None,
        seed=seed_or_fresh(spec.seed if spec.HasField("seed") else None),
        validate_only=spec.validate_only,
        domain=_from_domain(spec.domain) if spec.HasField("domain") else None,
        weights=from_tensor(spec.weights, "FP64", "weights") if spec.HasField("weights") else None,
        partial=spec.partial,
    )


def _from_domain(domain: certification_pb2.Domain) -> Box:
    lower = from_tensor(domain.lower, "FP64", "bounds.lower", scalar=True)
    return Box(lower, from_tensor(domain.upper, "FP64", "bounds.upper", scalar=True), "bounds")


def inline_inputs(
    request: certification_pb2.CertifyRequest | certification_pb2.StreamCertifyRequest,
) -> certification_pb2.InlineInputs:
    """The inputs in the message itself; data sets on the server are not there yet."""
    kind = request.WhichOneof("inputs")
    if kind == "dataset":
        raise Unsupported("inputs.dataset: this version has no data sets; send the inputs inline")
    if kind is None:
        raise InvalidProblem("the request has no inputs: set inputs.inline", field="inputs")
    return request.inline


def to_inline(problem: Problem) -> certification_pb2.InlineInputs:
    """The inputs of a problem, or its boxes, with labels where it has them."""
    labels = None if problem.labels is None else to_tensor(problem.labels)
    if problem.boxes is not None:
        lower, upper = to_tensor(problem.boxes.lower), to_tensor(problem.boxes.upper)
        return certification_pb2.InlineInputs(lower=lower, upper=upper, labels=labels)
    return certification_pb2.InlineInputs(x=to_tensor(problem.x), labels=labels)


def to_predict_request(
    model: str, problem: Problem, method: Prediction, seed: int | None
) -> certification_pb2.PredictRequest:
    """A question to the smoothed classifier as a message."""
    return certification_pb2.PredictRequest(
        model=model_name(model),
        noise=to_noise(method.noise, method.sigma),
        n=method.n,
        alpha=method.alpha,
        precision=to_enum(methods_pb2.Precision, "PRECISION", method.precision),
        rng=method.rng.value if method.rng else "",
        seed=seed,
        inputs=to_inline(problem),
    )


def from_predict_request(request: certification_pb2.PredictRequest) -> tuple[str, Problem, Prediction, Seed]:
    """(alias or digest, inputs, parameters, seed) of a message."""
    if request.inputs.HasField("lower") or request.inputs.HasField("upper"):
        raise InvalidProblem("predict answers for inputs, not for boxes: send x alone", field="inputs.lower")
    family, sigma = from_noise(request.noise)
    method = Prediction(
        sigma=sigma,
        n=request.n,
        alpha=request.alpha,
        precision=from_precision(request.precision),
        rng=from_rng(request.rng),
        noise=family,
    )
    labels = from_tensor(request.inputs.labels, "INT64", "labels") if request.inputs.HasField("labels") else None
    problem = Problem(from_tensor(request.inputs.x, "FP32", "inputs"), Norm.L2, labels)
    seed = seed_or_fresh(request.seed if request.HasField("seed") else None)
    return parse_model_name(request.model, "model"), problem, method, seed
