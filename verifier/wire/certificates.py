"""Certificates and predictions to messages and to JSON, and back."""

import datetime
from collections.abc import Iterable
from typing import Any

from google.protobuf import json_format

from verifier.certificate import (
    Certificate,
    Execution,
    Grade,
    Guarantee,
    NoiseModel,
    SmoothedPrediction,
    Subject,
    Verdict,
)
from verifier.errors import InvalidProblem, VerifierError
from verifier.methods import NoiseFamily, Precision
from verifier.problem import Norm
from verifier.v1 import certificate_pb2, methods_pb2
from verifier.wire.enums import from_enum, to_enum
from verifier.wire.evidence import from_evidence, from_origin, from_votes, require_rng, to_evidence, to_origin, to_votes
from verifier.wire.methods import from_method, from_noise, from_precision, to_method, to_noise
from verifier.wire.names import model_name, parse_model_name


def _to_subject(subject: Subject) -> certificate_pb2.Subject:
    noise = None
    if subject.noise is not None and subject.sigma is not None:
        noise = to_noise(NoiseFamily(subject.noise), subject.sigma)
    return certificate_pb2.Subject(
        model=model_name(subject.model_digest),
        precision=to_enum(methods_pb2.Precision, "PRECISION", Precision(subject.precision)),
        noise=noise,
    )


def _from_subject(message: certificate_pb2.Subject) -> Subject:
    digest = parse_model_name(message.model, "subject.model")
    precision = from_precision(message.precision, "subject.precision").value
    if not message.HasField("noise"):
        return Subject(digest, precision)
    family, sigma = from_noise(message.noise)
    return Subject(digest, precision, family.value, sigma)


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
    guarantee = certificate.guarantee
    return certificate_pb2.Certificate(
        index=certificate.index,
        input_digest=certificate.input_digest,
        label=certificate.label,
        verdict=to_enum(certificate_pb2.Verdict, "VERDICT", certificate.verdict),
        prediction=certificate.prediction,
        norm=to_enum(methods_pb2.Norm, "NORM", certificate.norm),
        radius=certificate.radius,
        eps=certificate.eps,
        subject=_to_subject(certificate.subject),
        guarantee=certificate_pb2.Guarantee(
            grade=to_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", guarantee.grade),
            alpha=guarantee.alpha,
            noise_model=to_enum(certificate_pb2.NoiseModel, "NOISE_MODEL", guarantee.noise_model)
            if guarantee.noise_model
            else None,
        ),
        method=to_method(certificate.method),
        execution=_to_execution(certificate.execution),
        **to_evidence(certificate.evidence),
    )


def from_certificate(message: certificate_pb2.Certificate) -> Certificate:
    """A certificate from a message.

    Raises:
        InvalidProblem: an unknown word, a missing part, or a claim that no certificate can make.
    """
    guarantee = message.guarantee
    try:
        return Certificate(
            index=message.index,
            input_digest=message.input_digest,
            label=message.label if message.HasField("label") else None,
            verdict=from_enum(certificate_pb2.Verdict, "VERDICT", message.verdict, Verdict, "verdict"),
            prediction=message.prediction if message.HasField("prediction") else None,
            norm=from_enum(methods_pb2.Norm, "NORM", message.norm, Norm, "norm"),
            radius=message.radius,
            eps=message.eps if message.HasField("eps") else None,
            subject=_from_subject(message.subject),
            guarantee=Guarantee(
                grade=from_enum(certificate_pb2.GuaranteeGrade, "GUARANTEE_GRADE", guarantee.grade, Grade, "grade"),
                alpha=guarantee.alpha if guarantee.HasField("alpha") else None,
                noise_model=from_enum(
                    certificate_pb2.NoiseModel, "NOISE_MODEL", guarantee.noise_model, NoiseModel, "noise_model"
                )
                if guarantee.noise_model
                else None,
            ),
            method=from_method(message.method, "method"),
            evidence=from_evidence(message),
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
        votes=to_votes(prediction.votes),
        subject=_to_subject(prediction.subject),
        alpha=prediction.alpha,
        seed=prediction.seed,
        seed_origin=to_origin(prediction.seed_origin),
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
        votes=from_votes(message.votes),
        subject=_from_subject(message.subject),
        alpha=message.alpha,
        seed=message.seed,
        seed_origin=from_origin(message.seed_origin),
        rng=require_rng(message.rng),
        execution=_from_execution(message.execution),
    )


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
