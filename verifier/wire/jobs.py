"""Jobs, their results and their progress, to messages and back."""

import datetime
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import DecodeError

from verifier.certificate import Certificate
from verifier.errors import Unsound
from verifier.job import Job, JobProgress, JobResult, JobRow, JobSpec, JobState, JobTotals
from verifier.problem import Norm
from verifier.seeds import Seed, seed_or_fresh
from verifier.v1 import certificate_pb2, jobs_pb2, methods_pb2
from verifier.wire.certificates import from_certificate, to_certificate
from verifier.wire.datasets import from_selection, to_selection
from verifier.wire.enums import from_enum, to_enum
from verifier.wire.evidence import from_origin, to_origin
from verifier.wire.methods import from_method, to_method
from verifier.wire.names import model_name, parse_model_name, parse_name, resource_name


def to_spec(spec: JobSpec, *, fresh_seed: bool = False) -> jobs_pb2.JobSpec:
    """What a job does, as a message.

    Args:
        fresh_seed: leave the seed to the server.
    """
    domain = spec.domain and certificate_pb2.Range(lower=spec.domain[0], upper=spec.domain[1])
    return jobs_pb2.JobSpec(
        model=model_name(spec.model),
        dataset=resource_name("datasets", spec.dataset),
        selection=to_selection(spec.selection),
        norm=to_enum(methods_pb2.Norm, "NORM", spec.norm),
        method=to_method(spec.method),
        eps=spec.eps,
        domain=domain,
        seed=None if fresh_seed else spec.seed.value,
        seed_origin=None if fresh_seed else to_origin(spec.seed.origin),
        priority=spec.priority,
    )


def from_spec(message: jobs_pb2.JobSpec, *, stored: bool = False) -> JobSpec:
    """What a job does, from a message.

    Args:
        stored: whether it is a stored one, which says where its seed came from; a client's comes from the client.
    """
    if stored:
        seed = Seed(message.seed, from_origin(message.seed_origin))
    else:
        seed = seed_or_fresh(message.seed if message.HasField("seed") else None)
    return JobSpec(
        model=parse_model_name(message.model, "spec.model"),
        dataset=parse_name("datasets", message.dataset, "spec.dataset"),
        method=from_method(message.method, "spec.method"),
        norm=from_enum(methods_pb2.Norm, "NORM", message.norm, Norm, "spec.norm"),
        seed=seed,
        selection=from_selection(message.selection),
        eps=message.eps if message.HasField("eps") else None,
        domain=(message.domain.lower, message.domain.upper) if message.HasField("domain") else None,
        priority=message.priority,
    )


def spec_to_json(spec: JobSpec, *, fresh_seed: bool = False) -> str:
    """The one canonical text of a specification; arguments as in `to_spec`."""
    text: str = json_format.MessageToJson(to_spec(spec, fresh_seed=fresh_seed), indent=None, sort_keys=True)
    return text


def spec_from_json(text: str) -> JobSpec:
    """The specification of a stored job."""
    return from_spec(json_format.Parse(text, jobs_pb2.JobSpec()), stored=True)


def to_job(job: Job) -> jobs_pb2.Job:
    """A job as a message."""
    message = jobs_pb2.Job(
        name=resource_name("jobs", job.id) if job.id else "",
        spec=json_format.Parse(job.spec, jobs_pb2.JobSpec()),
        state=to_enum(jobs_pb2.JobState, "JOB_STATE", job.state),
        reason=job.reason,
        totals=jobs_pb2.JobTotals(**vars(job.totals)),
        attempt=job.attempt,
    )
    for name, seconds in (("create_time", job.created), ("start_time", job.started), ("end_time", job.finished)):
        if seconds is not None:
            getattr(message, name).FromDatetime(datetime.datetime.fromtimestamp(seconds, datetime.UTC))
    return message


def from_job(message: jobs_pb2.Job) -> Job:
    """A job from a message."""
    spec, totals = message.spec, message.totals
    return Job(
        id=parse_name("jobs", message.name) if message.name else "",
        project="default",
        spec=json_format.MessageToJson(spec, indent=None, sort_keys=True),
        model_digest=parse_model_name(spec.model),
        dataset_digest=parse_name("datasets", spec.dataset),
        priority=spec.priority,
        state=from_enum(jobs_pb2.JobState, "JOB_STATE", message.state, JobState, "state"),
        reason=message.reason,
        totals=JobTotals(
            totals.inputs, totals.done, totals.certified, totals.abstained, totals.failed, totals.forward_passes
        ),
        created=message.create_time.ToNanoseconds() / 1e9,
        started=message.start_time.ToNanoseconds() / 1e9 if message.HasField("start_time") else None,
        finished=message.end_time.ToNanoseconds() / 1e9 if message.HasField("end_time") else None,
        attempt=message.attempt,
    )


def from_states(numbers: Any) -> tuple[JobState, ...]:
    """States to filter by."""
    return tuple(from_enum(jobs_pb2.JobState, "JOB_STATE", number, JobState, "states") for number in numbers)


def to_states(states: Any) -> list[Any]:
    """States to filter by, as numbers."""
    return [to_enum(jobs_pb2.JobState, "JOB_STATE", state) for state in states]


def certificate_to_bytes(certificate: Certificate) -> bytes:
    """A certificate's message, the same bytes for the same certificate."""
    data: bytes = to_certificate(certificate).SerializeToString(deterministic=True)
    return data


def certificate_from_bytes(data: bytes) -> Certificate:
    """The inverse; Unsound where the bytes are none, which the store never wrote."""
    try:
        return from_certificate(certificate_pb2.Certificate.FromString(data))
    except DecodeError as error:
        raise Unsound(f"a stored certificate cannot be read: {error}", reason="ROW_CORRUPT") from None


def row_to_result(row: JobRow) -> jobs_pb2.JobResult:
    """A stored row as a message; its certificate is handed on as it is."""
    message = jobs_pb2.JobResult(position=row.position, index=row.index)
    if row.certificate:
        message.certificate.ParseFromString(row.certificate)
    else:
        message.error = row.error
    return message


def row_to_word(row: JobRow) -> JobResult:
    """A stored row as users see it."""
    certificate = certificate_from_bytes(row.certificate) if row.certificate else None
    return JobResult(row.position, row.index, certificate, row.error)


def from_result(message: jobs_pb2.JobResult) -> JobResult:
    """A result from a message."""
    certificate = from_certificate(message.certificate) if message.HasField("certificate") else None
    return JobResult(message.position, message.index, certificate, message.error)


def to_progress(progress: JobProgress) -> jobs_pb2.WatchJobResponse:
    """How a job gets on, as a message."""
    return jobs_pb2.WatchJobResponse(
        job=to_job(progress.job),
        rate=progress.rate,
        seconds_left=progress.seconds_left,
        running_certified=progress.running_certified,
        running_inputs=progress.running_inputs,
        running_lower=progress.running_lower,
    )


def from_progress(message: jobs_pb2.WatchJobResponse) -> JobProgress:
    """How a job gets on, from a message."""
    return JobProgress(
        job=from_job(message.job),
        rate=message.rate if message.HasField("rate") else None,
        seconds_left=message.seconds_left if message.HasField("seconds_left") else None,
        running_certified=message.running_certified,
        running_inputs=message.running_inputs,
        running_lower=message.running_lower if message.HasField("running_lower") else None,
    )
