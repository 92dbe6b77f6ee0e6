"""Jobs as users see them: states, their legal moves, and how far one has come."""

from dataclasses import dataclass, field
from enum import StrEnum

from verifier.certificate import Certificate
from verifier.dataset import Selection
from verifier.errors import InvalidProblem
from verifier.methods import CertifyingMethod
from verifier.problem import Norm
from verifier.seeds import Seed

LARGEST_PRIORITY = 1000


class JobState(StrEnum):
    """Where a job is in its life."""

    QUEUED = "queued"
    """Nobody works on it yet, or whoever did has died: it will be taken."""
    RUNNING = "running"
    """A server holds its lease."""
    PAUSED = "paused"
    """Something outside of it is wrong, as `reason` says. Tried again by itself, or by resume."""
    CANCELLED = "cancelled"
    """By its owner; what was done stays readable, and resume goes on with the rest."""
    SUCCEEDED = "succeeded"
    """Every input has its row; some of the rows may be failures of their input."""
    FAILED = "failed"
    """It cannot be done; `reason` says why. Resume tries again."""


LEGAL_MOVES: dict[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset(
        {JobState.QUEUED, JobState.PAUSED, JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}
    ),
    JobState.PAUSED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
}
"""Which state may follow which. A queued job is claimed, a resumed one is queued again."""


@dataclass(frozen=True)
class JobTotals:
    """How far a job has come; every count is of committed rows.

    Args:
        inputs: that it has to treat.
        done: rows there are; certified, abstained and failed of them.
        failed: rows that say why their input could not be treated.
        forward_passes: spent on the rows.
    """

    inputs: int
    done: int = 0
    certified: int = 0
    abstained: int = 0
    failed: int = 0
    forward_passes: int = 0


@dataclass(frozen=True)
class JobSpec:
    """What a job does.

    Args:
        model: alias or digest; of a stored job the digest.
        dataset: name or digest; of a stored job the digest.
        selection: which inputs, in which order.
        norm, method, eps: see `Problem` and `CertifyingMethod`.
        domain: (lowest, highest) valid value of every feature; deterministic methods only.
        seed: of the noise; of a stored job the one that is used.
        priority: larger goes first, -1000..1000.
    Raises:
        InvalidProblem: a priority out of range.
    """

    model: str
    dataset: str
    method: CertifyingMethod
    norm: Norm
    seed: Seed
    selection: Selection = field(default_factory=Selection)
    eps: float | None = None
    domain: tuple[float, float] | None = None
    priority: int = 0

    def __post_init__(self) -> None:
        if not -LARGEST_PRIORITY <= self.priority <= LARGEST_PRIORITY:
            raise InvalidProblem(
                f"priority must be in -{LARGEST_PRIORITY}..{LARGEST_PRIORITY}, got {self.priority}",
                field="spec.priority",
            )


@dataclass(frozen=True)
class Job:
    """A batch certification.

    Args:
        id: 32 hex digits, drawn by the server.
        project: whose.
        spec: what is asked, as JSON in one canonical form (the wire's CertifyJobSpec); opaque to the store.
        model_digest, dataset_digest: what `spec` resolved to.
        priority: larger goes first, -1000..1000.
        state: and `reason`, why it is paused or failed; "" otherwise.
        totals: how far it has come.
        created, started, finished: seconds since the epoch; None before.
        attempt: how often it was claimed.
    """

    id: str
    project: str
    spec: str
    model_digest: str
    dataset_digest: str
    priority: int
    state: JobState
    reason: str
    totals: JobTotals
    created: float
    started: float | None = None
    finished: float | None = None
    attempt: int = 0


@dataclass(frozen=True)
class JobRow:
    """What came out for one input of a job.

    Args:
        position: in the job's order, 0..inputs-1; (job, position) is the key.
        index: of the input in its data set.
        verdict: "certified", "abstained", "unknown", "falsified", or "failed".
        correct: whether the prediction is the label; None without labels, and for failed rows.
        radius: proved; 0 where nothing is.
        forward_passes: spent.
        certificate: its message, serialised; b"" for failed rows.
        error: why the input could not be treated; "" otherwise.
    """

    position: int
    index: int
    verdict: str
    correct: bool | None
    radius: float
    forward_passes: int
    certificate: bytes
    error: str = ""


@dataclass(frozen=True)
class JobResult:
    """What came out for one input, as users see it.

    Args:
        position: in the job's order.
        index: of the input in its data set.
        certificate: its execution without times, so that a repeated job gives the same; None for a failed one.
        error: why the input could not be treated; "" otherwise.
    """

    position: int
    index: int
    certificate: Certificate | None
    error: str = ""


@dataclass(frozen=True)
class JobProgress:
    """How a job gets on.

    Args:
        job: as it is now.
        rate: results a second, of late; None before two looks at it.
        seconds_left: at this rate; None where it is not known.
        running_certified: certified (with labels: and right) inputs among the first `running_inputs` without a gap.
        running_lower: 95 % lower bound of that share, valid at all times at once, in the population of which the inputs
            are a random sample; None unless the job's order is one.
    """

    job: Job
    rate: float | None
    seconds_left: float | None
    running_certified: int
    running_inputs: int
    running_lower: float | None
