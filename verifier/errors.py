"""What can go wrong, in the words of the house.

Every error that a user may meet is one of the kinds below. Each message says what was expected, what
came, and what to do. `wire/status.py` maps the kinds to gRPC codes, both ways, so that a client raises
the very kind that the server raised.
"""

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class FieldViolation:
    """One field of a request that is wrong: its path in the message, and why."""

    field: str
    description: str


class VerifierError(Exception):
    """Base of all errors of this project.

    Args:
        message: expected, got and remedy, in one or two sentences.
        field: path of the offending request field, where there is one ("smoothing.sigma").
        violations: several fields at once, instead of `field`.
        reason: machine-readable UPPER_SNAKE_CASE word, finer than the kind.
        retry_after: seconds after which the same call may succeed, where that is known.
    """

    default_reason: ClassVar[str] = "INTERNAL_ERROR"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        violations: tuple[FieldViolation, ...] = (),
        reason: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.violations = (FieldViolation(field, message),) if field is not None else violations
        self.reason = reason or self.default_reason
        self.retry_after = retry_after


class InvalidProblem(VerifierError):
    """The request itself is wrong. Never retry it unchanged."""

    default_reason = "INVALID_PROBLEM"


class Unsupported(VerifierError):
    """This method cannot treat this model or norm; the message names the layer or the norm."""

    default_reason = "UNSUPPORTED"


class NotFound(VerifierError):
    """No such model, alias or job."""

    default_reason = "NOT_FOUND"


class AlreadyExists(VerifierError):
    """The name is taken by something else."""

    default_reason = "ALREADY_EXISTS"


class Conflict(VerifierError):
    """The thing moved while it was being used. Read it again, then retry."""

    default_reason = "CONFLICT"


class Overloaded(VerifierError):
    """The server has as much work as it accepts. Retry after `retry_after` seconds."""

    default_reason = "OVERLOADED"


class WorkerLost(VerifierError):
    """The server or a device went away. Safe to retry: the same seed gives the same certificate."""

    default_reason = "WORKER_LOST"


class DeadlineExceeded(VerifierError):
    """The call's deadline passed, or is too short for the work that it asks for."""

    default_reason = "DEADLINE_EXCEEDED"


class Unsound(VerifierError):
    """Two statements that cannot both be true. Stop, and keep the evidence."""

    default_reason = "UNSOUND"


class InternalError(VerifierError):
    """An unexpected failure. It is logged whole on the server under the id in the message."""

    default_reason = "INTERNAL_ERROR"
