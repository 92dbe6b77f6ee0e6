"""Messages to words of the house and back, for certification. Nonsense is refused by the constructors."""

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar

import numpy as np
from google.protobuf import json_format
from numpy.typing import NDArray

from verifier.catalogue import MethodInfo, Price
from verifier.certificate import (
    Certificate,
    Execution,
    Grade,
    Guarantee,
    NoiseModel,
    SamplingEvidence,
    SmoothedPrediction,
    Subject,
    Verdict,
    Votes,
)
from verifier.errors import InvalidProblem, Unsupported, VerifierError
from verifier.methods import NoiseFamily, Precision, Prediction, Rng, Selection, Smoothing
from verifier.problem import Norm, Problem
from verifier.seeds import Seed, seed_or_fresh
from verifier.v1 import certificate_pb2, certification_pb2, methods_pb2, tensor_pb2
from verifier.wire.names import model_name, parse_model_name

_DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "INT64": np.dtype("<i8")}
_NAMES = {dtype: name for name, dtype in _DATATYPES.items()}

Word = TypeVar("Word", bound=Enum)


# -- tensors ------------------------------------------------------------------------------------------


def to_tensor(array: NDArray[Any]) -> tensor_pb2.Tensor:
    """A float32 or int64 array as a message."""
    dtype = array.dtype.newbyteorder("<")
    data = np.ascontiguousarray(array, dtype=dtype).tobytes()
    return tensor_pb2.Tensor(datatype=_NAMES[dtype], shape=array.shape, data=data)


def from_tensor(tensor: tensor_pb2.Tensor, datatype: str, field: str) -> NDArray[Any]:
    """The array of a message; InvalidProblem where datatype, shape and number of bytes do not fit."""
    if tensor.datatype != datatype:
        raise InvalidProblem(
            f"{field} must have datatype {datatype}, got {tensor.datatype or 'none'!r}", field=f"{field}.datatype"
        )
    shape = tuple(tensor.shape)
    if not shape or any(length < 0 for length in shape):
        raise InvalidProblem(f"{field} must have axes of length >= 0, got shape {list(shape)}", field=f"{field}.shape")
    dtype = _DATATYPES[datatype]
    expected = math.prod(shape) * dtype.itemsize
    if len(tensor.data) != expected:
        raise InvalidProblem(
            f"{field} of shape {list(shape)} needs {expected} bytes, got {len(tensor.data)}", field=f"{field}.data"
        )
    return np.frombuffer(tensor.data, dtype=dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def to_inline(problem: Problem) -> certification_pb2.InlineInputs:
    """The inputs of a problem, with labels where it has them."""
    labels = None if problem.labels is None else to_tensor(problem.labels)
    return certification_pb2.InlineInputs(x=to_tensor(problem.x), labels=labels)


# -- enumerations: the message's name is the word's, with the type's prefix ----------------------------


def _to_enum(enum: Any, prefix: str, word: Enum) -> Any:
    return enum.Value(f"{prefix}_{word.name}")


def _from_enum(enum: Any, prefix: str, number: int, kind: type[Word], field: str, default: Word | None = None) -> Word:
    if number == 0 and default is not None:
        return default
    names = [member.name for member in kind]
    name = enum.Name(number).removeprefix(f"{prefix}_") if number in enum.values() else str(number)
    if name not in names:
        choices = ", ".join(f"{prefix}_{name}" for name in names)
        raise InvalidProblem(f"{field} must be one of {choices}, got {name}", field=field)
    return kind[name]


# -- questions -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What a certification request asks, without its inputs.

    Args:
        model: alias or digest.
        norm, method, eps: see `Problem` and `Smoothing`.
        seed: the client's, or a fresh one.
        validate_only: price and check, do not run.
    """

    model: str
    norm: Norm
    method: Smoothing
    eps: float | None
    seed: Seed
    validate_only: bool

    def problem(self, inputs: certification_pb2.InlineInputs, first_index: int = 0) -> Problem:
        """The inputs of a message under this question."""
        return _problem(inputs, self.norm, self.eps, first_index)


def _problem(inputs: certification_pb2.InlineInputs, norm: Norm, eps: float | None, first_index: int) -> Problem:
    x = from_tensor(inputs.x, "FP32", "inputs")
    labels = from_tensor(inputs.labels, "INT64", "labels") if inputs.HasField("labels") else None
    return Problem(x, norm, labels, eps, first_index)


def to_spec(
    model: str, norm: Norm, method: Smoothing, eps: float | None, seed: int | None, *, validate_only: bool = False
) -> certification_pb2.CertifySpec:
    """What to certify, as a message."""
    return certification_pb2.CertifySpec(
        model=model_name(model),
        norm=_to_enum(methods_pb2.Norm, "NORM", norm),
        method=methods_pb2.Method(smoothing=to_smoothing(method)),
        eps=eps,
        seed=seed,
        validate_only=validate_only,
    )


def from_spec(spec: certification_pb2.CertifySpec) -> Question:
    """The question of a message."""
    if spec.method.WhichOneof("method") is None:
        raise InvalidProblem("spec.method must name a method; see ListMethods", field="spec.method")
    return Question(
        model=parse_model_name(spec.model, "spec.model"),
        norm=_from_enum(methods_pb2.Norm, "NORM", spec.norm, Norm, "spec.norm"),
        method=from_smoothing(spec.method.smoothing),
        eps=spec.eps if spec.HasField("eps") else None,
        seed=seed_or_fresh(spec.seed if spec.HasField("seed") else None),
        validate_only=spec.validate_only,
    )


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


def _to_noise(family: NoiseFamily, sigma: float) -> methods_pb2.NoiseParameters:
    return methods_pb2.NoiseParameters(**{family.value: methods_pb2.GaussianNoise(sigma=sigma)})


def _from_noise(noise: methods_pb2.NoiseParameters) -> tuple[NoiseFamily, float]:
    family = noise.WhichOneof("noise")
    if family is None:
        raise InvalidProblem("smoothing.noise must name a family, such as gaussian", field="smoothing.noise")
    return NoiseFamily(family), noise.gaussian.sigma


def _from_rng(name: str) -> Rng | None:
    if not name:
        return None
    try:
        return Rng(name)
    except ValueError:
        names = ", ".join(rng.value for rng in Rng)
        raise InvalidProblem(f"rng must be one of {names}, got {name!r}", field="smoothing.rng") from None


def to_smoothing(method: Smoothing) -> methods_pb2.Smoothing:
    """Parameters of smoothing as a message."""
    return methods_pb2.Smoothing(
        noise=_to_noise(method.noise, method.sigma),
        n0=method.n0,
        alpha=method.alpha,
        fixed=methods_pb2.FixedStopping(n=method.n),
        selection=_to_enum(methods_pb2.Selection, "SELECTION", method.selection),
        runner_up=method.runner_up,
        precision=_to_enum(methods_pb2.Precision, "PRECISION", method.precision),
        rng=method.rng.value if method.rng else "",
    )


def from_smoothing(message: methods_pb2.Smoothing) -> Smoothing:
    """Parameters of smoothing from a message."""
    stopping = message.WhichOneof("stopping")
    if stopping not in ("fixed", None):
        raise Unsupported(f"stopping.{stopping}: this version draws a fixed number; set stopping.fixed")
    family, sigma = _from_noise(message.noise)
    return Smoothing(
        sigma=sigma,
        n0=message.n0,
        n=message.fixed.n,
        alpha=message.alpha,
        selection=_from_enum(
            methods_pb2.Selection, "SELECTION", message.selection, Selection, "smoothing.selection", Selection.N0
        ),
        runner_up=message.runner_up,
        precision=_from_precision(message.precision),
        rng=_from_rng(message.rng),
        noise=family,
    )


def _from_precision(number: int) -> Precision:
    return _from_enum(methods_pb2.Precision, "PRECISION", number, Precision, "smoothing.precision", Precision.FLOAT32)


def to_predict_request(
    model: str, problem: Problem, method: Prediction, seed: int | None
) -> certification_pb2.PredictRequest:
    """A question to the smoothed classifier as a message."""
    return certification_pb2.PredictRequest(
        model=model_name(model),
        noise=_to_noise(method.noise, method.sigma),
        n=method.n,
        alpha=method.alpha,
        precision=_to_enum(methods_pb2.Precision, "PRECISION", method.precision),
        rng=method.rng.value if method.rng else "",
        seed=seed,
        inputs=to_inline(problem),
    )


def from_predict_request(request: certification_pb2.PredictRequest) -> tuple[str, Problem, Prediction, Seed]:
    """(alias or digest, inputs, parameters, seed) of a message."""
    family, sigma = _from_noise(request.noise)
    method = Prediction(
        sigma=sigma,
        n=request.n,
        alpha=request.alpha,
        precision=_from_precision(request.precision),
        rng=_from_rng(request.rng),
        noise=family,
    )
    problem = _problem(request.inputs, Norm.L2, None, 0)
    seed = seed_or_fresh(request.seed if request.HasField("seed") else None)
    return parse_model_name(request.model, "model"), problem, method, seed


# -- answers -------------------------------------------------------------------------------------------


def to_price(price: Price) -> certification_pb2.Price:
    """A price as a message."""
    return certification_pb2.Price(
        forward_passes=price.forward_passes,
        largest_radius=price.largest_radius,
        seconds=price.seconds,
        warnings=price.warnings,
    )


def from_price(message: certification_pb2.Price) -> Price:
    """A price from a message."""
    seconds = message.seconds if message.HasField("seconds") else None
    return Price(message.forward_passes, message.largest_radius, seconds, tuple(message.warnings))


def to_method_info(info: MethodInfo) -> certification_pb2.MethodInfo:
    """A method's description as a message."""
    return certification_pb2.MethodInfo(
        name=info.name,
        summary=info.summary,
        norms=[_to_enum(methods_pb2.Norm, "NORM", norm) for norm in info.norms],
        grade=_to_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", info.grade),
        guarantee=info.guarantee,
        parameters=[
            certification_pb2.MethodParameter(name=name, description=text) for name, text in info.parameters.items()
        ],
    )


def from_method_info(message: certification_pb2.MethodInfo) -> MethodInfo:
    """A method's description from a message."""
    return MethodInfo(
        name=message.name,
        summary=message.summary,
        norms=tuple(_from_enum(methods_pb2.Norm, "NORM", norm, Norm, "norms") for norm in message.norms),
        grade=_from_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", message.grade, Grade, "grade"),
        guarantee=message.guarantee,
        parameters={item.name: item.description for item in message.parameters},
    )


def _to_votes(votes: Votes) -> certificate_pb2.Votes:
    return certificate_pb2.Votes(
        n=votes.n,
        top=votes.top,
        top_count=votes.top_count,
        runner_up=votes.runner_up,
        runner_up_count=votes.runner_up_count,
        invalid_count=votes.invalid_count,
    )


def _from_votes(message: certificate_pb2.Votes) -> Votes:
    return Votes(
        n=message.n,
        top=message.top if message.HasField("top") else None,
        top_count=message.top_count,
        runner_up=message.runner_up if message.HasField("runner_up") else None,
        runner_up_count=message.runner_up_count,
        invalid_count=message.invalid_count,
    )


def _to_subject(subject: Subject) -> certificate_pb2.Subject:
    noise = None
    if subject.noise is not None and subject.sigma is not None:
        noise = _to_noise(NoiseFamily(subject.noise), subject.sigma)
    return certificate_pb2.Subject(
        model=model_name(subject.model_digest),
        precision=_to_enum(methods_pb2.Precision, "PRECISION", Precision(subject.precision)),
        noise=noise,
    )


def _from_subject(message: certificate_pb2.Subject) -> Subject:
    digest = parse_model_name(message.model, "subject.model")
    precision = _from_precision(message.precision).value
    if not message.HasField("noise"):
        return Subject(digest, precision)
    family, sigma = _from_noise(message.noise)
    return Subject(digest, precision, family.value, sigma)


def _to_origin(origin: str) -> Any:
    return certificate_pb2.SeedOrigin.Value(f"SEED_ORIGIN_{origin.upper()}")


def _from_origin(number: int) -> str:
    if number not in certificate_pb2.SeedOrigin.values() or number == 0:
        raise InvalidProblem("seed_origin must be SEED_ORIGIN_CLIENT or SEED_ORIGIN_SERVER", field="seed_origin")
    name: str = certificate_pb2.SeedOrigin.Name(number)
    return name.removeprefix("SEED_ORIGIN_").lower()


def _require_rng(name: str) -> Rng:
    rng = _from_rng(name)
    if rng is None:
        raise InvalidProblem("the certificate does not name its rng", field="rng")
    return rng


def _to_execution(execution: Execution) -> certificate_pb2.Execution:
    message = certificate_pb2.Execution(
        device=execution.device,
        device_name=execution.device_name,
        batch_rows=execution.batch_rows,
        form=execution.form,
        row_exact=execution.row_exact,
        versions=execution.versions,
    )
    message.start_time.FromDatetime(datetime.datetime.fromtimestamp(execution.started, datetime.UTC))
    message.elapsed.FromNanoseconds(round(execution.seconds * 1e9))
    return message


def _from_execution(message: certificate_pb2.Execution) -> Execution:
    return Execution(
        device=message.device,
        device_name=message.device_name,
        batch_rows=message.batch_rows,
        form=message.form,
        row_exact=message.row_exact,
        versions=dict(message.versions),
        started=message.start_time.ToNanoseconds() / 1e9,
        seconds=message.elapsed.ToNanoseconds() / 1e9,
    )


def to_certificate(certificate: Certificate) -> certificate_pb2.Certificate:
    """A certificate as a message; the radius travels as float64, unchanged."""
    evidence = certificate.evidence
    guarantee = certificate.guarantee
    return certificate_pb2.Certificate(
        index=certificate.index,
        input_digest=certificate.input_digest,
        label=certificate.label,
        verdict=_to_enum(certificate_pb2.Verdict, "VERDICT", certificate.verdict),
        prediction=certificate.prediction,
        norm=_to_enum(methods_pb2.Norm, "NORM", certificate.norm),
        radius=certificate.radius,
        eps=certificate.eps,
        subject=_to_subject(certificate.subject),
        guarantee=certificate_pb2.Guarantee(
            grade=_to_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", guarantee.grade),
            alpha=guarantee.alpha,
            noise_model=_to_enum(certificate_pb2.NoiseModel, "NOISE_MODEL", guarantee.noise_model)
            if guarantee.noise_model
            else None,
        ),
        method=methods_pb2.Method(smoothing=to_smoothing(certificate.method)),
        sampling=certificate_pb2.SamplingEvidence(
            selection=_to_votes(evidence.selection) if evidence.selection else None,
            estimation=_to_votes(evidence.estimation),
            p_a_lower=evidence.p_a_lower,
            p_b_upper=evidence.p_b_upper,
            classes=evidence.classes,
            seed=evidence.seed,
            seed_origin=_to_origin(evidence.seed_origin),
            rng=evidence.rng.value,
        ),
        execution=_to_execution(certificate.execution),
    )


def from_certificate(message: certificate_pb2.Certificate) -> Certificate:
    """A certificate from a message.

    Raises:
        InvalidProblem: an unknown word, a missing part, or a claim that no certificate can make.
    """
    if message.WhichOneof("evidence") != "sampling" or message.method.WhichOneof("method") != "smoothing":
        raise InvalidProblem("the certificate's method or evidence is missing or unknown", field="evidence")
    sampling, guarantee = message.sampling, message.guarantee
    try:
        return Certificate(
            index=message.index,
            input_digest=message.input_digest,
            label=message.label if message.HasField("label") else None,
            verdict=_from_enum(certificate_pb2.Verdict, "VERDICT", message.verdict, Verdict, "verdict"),
            prediction=message.prediction if message.HasField("prediction") else None,
            norm=_from_enum(methods_pb2.Norm, "NORM", message.norm, Norm, "norm"),
            radius=message.radius,
            eps=message.eps if message.HasField("eps") else None,
            subject=_from_subject(message.subject),
            guarantee=Guarantee(
                grade=_from_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", guarantee.grade, Grade, "grade"),
                alpha=guarantee.alpha if guarantee.HasField("alpha") else None,
                noise_model=_from_enum(
                    certificate_pb2.NoiseModel, "NOISE_MODEL", guarantee.noise_model, NoiseModel, "noise_model"
                )
                if guarantee.noise_model
                else None,
            ),
            method=from_smoothing(message.method.smoothing),
            evidence=SamplingEvidence(
                selection=_from_votes(sampling.selection) if sampling.HasField("selection") else None,
                estimation=_from_votes(sampling.estimation),
                p_a_lower=sampling.p_a_lower,
                p_b_upper=sampling.p_b_upper if sampling.HasField("p_b_upper") else None,
                classes=sampling.classes,
                seed=sampling.seed,
                seed_origin=_from_origin(sampling.seed_origin),
                rng=_require_rng(sampling.rng),
            ),
            execution=_from_execution(message.execution),
        )
    except ValueError as error:
        raise InvalidProblem(f"not a possible certificate: {error}", field="certificate") from None


def to_prediction(prediction: SmoothedPrediction) -> certificate_pb2.Prediction:
    """PREDICT's answer as a message."""
    return certificate_pb2.Prediction(
        index=prediction.index,
        input_digest=prediction.input_digest,
        label=prediction.label,
        prediction=prediction.prediction,
        p_value=prediction.p_value,
        votes=_to_votes(prediction.votes),
        subject=_to_subject(prediction.subject),
        alpha=prediction.alpha,
        seed=prediction.seed,
        seed_origin=_to_origin(prediction.seed_origin),
        rng=prediction.rng.value,
        execution=_to_execution(prediction.execution),
    )


def from_prediction(message: certificate_pb2.Prediction) -> SmoothedPrediction:
    """PREDICT's answer from a message."""
    return SmoothedPrediction(
        index=message.index,
        input_digest=message.input_digest,
        label=message.label if message.HasField("label") else None,
        prediction=message.prediction if message.HasField("prediction") else None,
        p_value=message.p_value,
        votes=_from_votes(message.votes),
        subject=_from_subject(message.subject),
        alpha=message.alpha,
        seed=message.seed,
        seed_origin=_from_origin(message.seed_origin),
        rng=_require_rng(message.rng),
        execution=_from_execution(message.execution),
    )


# -- text ----------------------------------------------------------------------------------------------


def certificate_to_json(certificate: Certificate) -> str:
    """One line of proto3 JSON. Numbers are written so that reading them gives the same float64 back."""
    return _to_json(to_certificate(certificate))


def certificate_from_json(line: str) -> Certificate:
    """The inverse of `certificate_to_json`; InvalidProblem where the line is no certificate."""
    try:
        message = json_format.Parse(line, certificate_pb2.Certificate())
    except json_format.ParseError as error:
        raise InvalidProblem(f"not a certificate in proto3 JSON: {error}", field="certificate") from None
    return from_certificate(message)


def prediction_to_json(prediction: SmoothedPrediction) -> str:
    """One line of proto3 JSON."""
    return _to_json(to_prediction(prediction))


def _to_json(message: Any) -> str:
    """One line, zeros written too: a reader should not need to know the defaults."""
    text: str = json_format.MessageToJson(message, indent=None, always_print_fields_with_no_presence=True)
    return text


def certificates_from_lines(lines: Iterable[str]) -> list[Certificate]:
    """The certificates of a .jsonl file, blank lines skipped; errors name the line."""
    certificates = []
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                certificates.append(certificate_from_json(line))
            except VerifierError as error:
                raise InvalidProblem(f"line {number}: {error.message}", field=f"line[{number}]") from None
    return certificates
