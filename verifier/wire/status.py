"""Errors to gRPC status and back: one table, read forwards by the server and backwards by the client."""

from collections.abc import Iterable

import grpc
from google.protobuf import any_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from verifier.errors import (
    AlreadyExists,
    Conflict,
    DeadlineExceeded,
    FieldViolation,
    InternalError,
    InvalidProblem,
    NotFound,
    Overloaded,
    Unsound,
    Unsupported,
    VerifierError,
    WorkerLost,
)
from verifier.wire.limits import MAX_MESSAGE_BYTES

DOMAIN = "verifier.v1"
DETAILS_KEY = "grpc-status-details-bin"

MAX_VIOLATIONS = 3
"""Wrong fields that a status tells of."""

CODES: dict[type[VerifierError], grpc.StatusCode] = {
    InvalidProblem: grpc.StatusCode.INVALID_ARGUMENT,
    Unsupported: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    Conflict: grpc.StatusCode.ABORTED,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    WorkerLost: grpc.StatusCode.UNAVAILABLE,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    Unsound: grpc.StatusCode.INTERNAL,
    InternalError: grpc.StatusCode.INTERNAL,
}

_KINDS = {code: kind for kind, code in CODES.items()}
_TRANSPORT_MESSAGES = {
    grpc.StatusCode.UNAVAILABLE: "no server answers: is it running, is the address right, do both sides use TLS?",
    grpc.StatusCode.DEADLINE_EXCEEDED: "the deadline passed before the answer came: allow more time or ask for less",
}


def to_status(error: VerifierError) -> tuple[grpc.StatusCode, status_pb2.Status]:
    """The gRPC code and the rich status (ErrorInfo always; BadRequest, RetryInfo, ... where they apply)."""
    code = CODES[type(error)]
    message = _cut(error.message)
    details: list[any_pb2.Any] = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN))]
    details += [_packed(detail) for detail in _details(error, message)]
    number = code_pb2.Code.Value(code.name)
    return code, status_pb2.Status(code=number, message=message, details=details)


def _details(error: VerifierError, message: str) -> Iterable[object]:
    if isinstance(error, InvalidProblem) and error.violations:
        bad = error_details_pb2.BadRequest()
        for violation in error.violations[:MAX_VIOLATIONS]:
            bad.field_violations.add(field=_cut(violation.field, 100), description=_cut(violation.description, 500))
        yield bad
    if isinstance(error, Unsupported):
        failure = error_details_pb2.PreconditionFailure()
        failure.violations.add(type=error.reason, subject="method", description=message)
        yield failure
    if isinstance(error, Overloaded):
        quota = error_details_pb2.QuotaFailure()
        quota.violations.add(subject="server", description=message)
        yield quota
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(error.retry_after * 1000))
        yield retry


def _cut(text: str, most: int = 1000) -> str:
    """At most so many bytes of a text: a status travels in trailers, of which clients read 8 to 16 kB in all."""
    data = text.encode(errors="replace")
    return text if len(data) <= most else data[:most].decode(errors="ignore") + " ..."


def _packed(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed


def from_status(code: grpc.StatusCode, text: str, details: bytes | None) -> VerifierError:
    """The very error that the server raised; for statuses of the transport itself, the nearest kind.

    Args:
        code: of the failed call.
        text: its message.
        details: the serialised google.rpc.Status of the trailing metadata, or None.
    """
    if details is None:
        return _from_transport(code, text)
    status = status_pb2.Status.FromString(details)
    reason, violations, retry_after = None, [], None
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            violations = [FieldViolation(item.field, item.description) for item in bad.field_violations]
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    kind = Unsound if reason in _UNSOUND_REASONS else _KINDS.get(code, InternalError)
    return kind(status.message, violations=tuple(violations), reason=reason, retry_after=retry_after)


_UNSOUND_REASONS = frozenset({Unsound.default_reason, "MODEL_CORRUPT"})


def _from_transport(code: grpc.StatusCode, text: str) -> VerifierError:
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in text:
        return InvalidProblem(
            f"a message holds at most {MAX_MESSAGE_BYTES:,} bytes ({text}): send fewer or smaller inputs at a time",
            field="inputs",
            reason="MESSAGE_TOO_LARGE",
        )
    kind = _KINDS.get(code, InternalError)
    hint = _TRANSPORT_MESSAGES.get(code)
    message = f"{hint} ({text})" if hint else f"{code.name}: {text}"
    return kind(message, reason=code.name)
