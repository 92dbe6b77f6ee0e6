"""Jobs and their rows in the database, shared by every server that has it open.

A server takes a job by a lease that ends unless it is renewed. Whoever finds it ended takes the job over, and from then
on nothing that the former holder sends is stored: every claim of a job has a larger *fencing token* than the one
before, and what a holder writes is checked against the latest in the same transaction. So rows and counters are right
whatever the clocks say, and however long a holder slept; clocks decide only when a job is taken over. They are those
of the servers: one that is ahead of another by more than a lease takes over jobs of the living, whose work since
their last commit is lost and done again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    Update,
    and_,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from verifier.errors import Conflict, InvalidProblem, NotFound
from verifier.job import LEGAL_MOVES, Job, JobRow, JobState, JobTotals
from verifier.storage import requests
from verifier.storage.database import JOB_ROWS, JOBS, Database
from verifier.storage.pages import page_of

LEASE_LOST = "LEASE_LOST"
"""Reason of the Conflict when the job is not this holder's any more: somebody else has it, or may take it."""

JOB_CANCELLED = "JOB_CANCELLED"
"""Reason of the Conflict when the job was cancelled, or deleted after that: stop, there is nothing to hand over."""

JOB_STATE = "JOB_STATE"
"""Reason of the Conflict when a job cannot go from its state to the one asked for."""

JOB_INCOMPLETE = "JOB_INCOMPLETE"
"""Reason of the Conflict when a job is said to have succeeded whose inputs have not all their rows."""

_FRESH = {"owner": None, "lease_until": None, "retry_at": None}
"""Of a job that nobody holds and that waits for no time."""


@dataclass(frozen=True)
class Lease:
    """A hold on a job.

    Args:
        job: as it was when it was claimed.
        owner: who holds it.
        token: of this claim; larger than those of every earlier claim of the job.
        until: seconds since the epoch; others may claim the job from then on.
        seconds: by which a heartbeat prolongs it.
    """

    job: Job
    owner: str
    token: int
    until: float
    seconds: float


class JobStore:
    """The jobs of a database; every method is one transaction, durable when it returns, and thread-safe.

    Whatever the holder of a lease does (`heartbeat`, `commit_rows`, `pause`, `finish`, `release`) may be done again
    after an error that leaves open whether it was done: the second time changes nothing.

    Args:
        database: with the tables; also other stores' of other processes.
        clock: seconds since the epoch.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock

    def create(self, job: Job, request_id: str = "", fingerprint: str = "") -> Job:
        """Store a new job, queued; or find the one that the same request made.

        Of any number of calls with one request_id, at once or one after the other, one stores its job, and all
        return it. The id is remembered for a week.

        Args:
            job: queued, without rows.
            request_id: chosen by the client; "" for a request that is not repeated.
            fingerprint: SHA-256 (hex) of the request's body.
        Returns:
            The job under that id as it is now.
        Raises:
            AlreadyExists: the request_id came with another body; reason REQUEST_ID_REUSED.
            NotFound: the job that the request made has been deleted since.
        """
        assert job.state is JobState.QUEUED, job.state
        assert job.totals == JobTotals(job.totals.inputs), job.totals
        with self._database.write(alone=False) as rows:
            if request_id:
                stands = requests.remember(rows, request_id, fingerprint, job.id, self._clock())
                if stands != job.id:
                    return _job(_found(rows, stands))
            rows.execute(insert(JOBS).values(_columns(job)))
        return job

    def get(self, job_id: str) -> Job:
        """The job as it is now.

        Raises:
            NotFound: there is none of this id.
        """
        with self._database.read() as rows:
            return _job(_found(rows, job_id))

    def list(
        self, page_size: int = 0, page_token: str = "", states: Sequence[JobState] = (), project: str = "default"
    ) -> tuple[tuple[Job, ...], str]:
        """A page of jobs, the newest first, and the token of the next page ("": this is the last).

        Following the tokens gives every job that stays, in a state that is asked for, exactly once.

        Args:
            page_size, page_token: see `pages.page_of`.
            states: in which they are; all without any.
            project: whose.
        """
        size, before = page_of(page_size, page_token)
        wanted = select(JOBS).where(JOBS.c.project == project)
        if before is not None:
            wanted = wanted.where(JOBS.c.sequence < before)
        if states:
            wanted = wanted.where(JOBS.c.state.in_([state.value for state in states]))
        with self._database.read() as rows:
            found = rows.execute(wanted.order_by(JOBS.c.sequence.desc()).limit(size + 1)).all()
        page = found[:size]
        return tuple(map(_job, page)), str(page[-1].sequence) if len(found) > size else ""

    def needs_dataset(self, digest: str) -> bool:
        """Whether a job that has not ended treats this data set, whoever's it is."""
        waits = JOBS.c.state.in_([JobState.QUEUED.value, JobState.RUNNING.value, JobState.PAUSED.value])
        with self._database.read() as rows:
            return rows.execute(select(JOBS.c.id).where(JOBS.c.dataset_digest == digest, waits)).first() is not None

    def claim(self, owner: str, now: float, lease_seconds: float) -> Lease | None:
        """Take the job of the highest priority, of several the oldest, that waits for somebody; None if none does.

        Those are: queued ones, running ones whose lease has ended, and paused ones whose time to retry has come.
        Of any number of claims at once no two take the same.

        Args:
            owner: who takes it, for people to read.
            now: seconds since the epoch, by the owner's clock.
            lease_seconds: for how long, > 0.
        """
        if lease_seconds <= 0:
            raise InvalidProblem(f"lease_seconds must be > 0, got {lease_seconds}")
        until = now + lease_seconds
        with self._database.write(alone=False) as rows:
            claimed = rows.execute(_claim(owner, now, until)).first()
        return None if claimed is None else Lease(_job(claimed), owner, claimed.attempt, until, lease_seconds)

    def heartbeat(self, lease: Lease) -> Lease:
        """Prolong a lease by its seconds from now on; also one that has ended, if nobody took the job meanwhile.

        Raises:
            Conflict: reason LEASE_LOST or JOB_CANCELLED.
        """
        until = self._clock() + lease.seconds
        with self._database.write(alone=False) as rows:
            _check(_locked(rows, lease.job.id), lease)
            rows.execute(_update(lease.job.id).values(lease_until=until))
        return replace(lease, until=until)

    def check(self, lease: Lease) -> None:
        """Whether the job is still this holder's to work on; changes nothing.

        Raises:
            Conflict: reason LEASE_LOST or JOB_CANCELLED.
        """
        with self._database.read() as rows:
            _check(rows.execute(select(JOBS).where(JOBS.c.id == lease.job.id)).first(), lease)

    def commit_rows(self, lease: Lease, rows: Sequence[JobRow]) -> int:
        """Store rows and count them, all or none; those whose position has a row already are left as they are.

        Args:
            lease: of the job.
            rows: of different positions in 0..inputs-1, in any order; up to some thousands.
        Returns:
            How many were new.
        Raises:
            Conflict: nothing was stored, since the job is somebody else's (LEASE_LOST) or was cancelled
                (JOB_CANCELLED).
        """
        given = {row.position: row for row in rows}
        assert len(given) == len(rows), "one row for each position"
        assert all(0 <= position < lease.job.totals.inputs for position in given), "positions of the job"
        with self._database.write(alone=False) as connection:
            job = _check(_locked(connection, lease.job.id), lease)
            there = _positions(connection, job.sequence, min(given, default=0), max(given, default=0))
            new = [row for position, row in given.items() if position not in there]
            if new:
                connection.execute(insert(JOB_ROWS), [_row_columns(job.sequence, row) for row in new])
                connection.execute(_update(lease.job.id).values(_counted(new)))
        return len(new)

    def pause(self, lease: Lease, reason: str, retry_at: float | None = None) -> None:
        """Give the job up since something outside it is wrong.

        Args:
            lease: of the job.
            reason: what is wrong.
            retry_at: seconds since the epoch, from when on it may be claimed again; None waits for `resume`.
        Raises:
            Conflict: reason LEASE_LOST or JOB_CANCELLED.
        """
        self._leave(lease, JobState.PAUSED, reason=reason, retry_at=retry_at)

    def finish(self, lease: Lease, state: JobState, reason: str = "") -> None:
        """End the job.

        Args:
            lease: of the job.
            state: SUCCEEDED, where every input has its row; or FAILED.
            reason: why it failed.
        Raises:
            Conflict: reason LEASE_LOST or JOB_CANCELLED; or JOB_INCOMPLETE, where rows are missing for success.
        """
        assert state in (JobState.SUCCEEDED, JobState.FAILED), state
        self._leave(lease, state, reason=reason, finished=self._clock())

    def release(self, lease: Lease) -> None:
        """Give the job back, for anybody to go on with it at once.

        Raises:
            Conflict: reason LEASE_LOST or JOB_CANCELLED.
        """
        self._leave(lease, JobState.QUEUED)

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended, at once; its holder learns it at the next thing it does. Rows stay.

        Returns:
            The job as it is then; a cancelled one is left as it is.
        Raises:
            NotFound: there is none of this id.
            Conflict: it has ended otherwise; reason JOB_STATE.
        """
        return self._move(job_id, JobState.CANCELLED, "cancelled", finished=self._clock())

    def resume(self, job_id: str) -> Job:
        """Queue a job that is paused, cancelled or failed; its rows stay, and what is missing will be done.

        Returns:
            The job as it is then; a queued one is left as it is.
        Raises:
            NotFound: there is none of this id.
            Conflict: it runs or has succeeded; reason JOB_STATE.
        """
        return self._move(job_id, JobState.QUEUED, "resumed", finished=None)

    def delete(self, job_id: str) -> None:
        """Forget a job and its rows.

        Raises:
            NotFound: there is none of this id.
            Conflict: it runs; reason JOB_STATE.
        """
        with self._database.write(alone=False) as rows:
            job = _known(_locked(rows, job_id), job_id)
            if job.state == JobState.RUNNING:
                raise Conflict(f"job {job_id} is running: cancel it first, then delete it", reason=JOB_STATE)
            rows.execute(delete(JOBS).where(JOBS.c.sequence == job.sequence))

    def missing_positions(self, job_id: str, start: int, limit: int) -> tuple[int, ...]:
        """The first positions without a row, in ascending order; empty where every later one has its row.

        One pass over the index of the rows from `start` on, inside the database: a second for a million rows.

        Args:
            job_id: of the job.
            start: the first position that is looked at.
            limit: how many at most.
        Raises:
            NotFound: there is no such job.
        """
        with self._database.read() as rows:
            job = _found(rows, job_id)
            last = rows.execute(_latest(job.sequence, start)).scalar()
            gaps = [(gap.first, gap.stop) for gap in rows.execute(_gaps(job.sequence, start, limit))]
        missing: list[int] = []
        for first, stop in (*gaps, (start if last is None else last + 1, job.inputs)):
            missing.extend(range(first, min(stop, first + limit - len(missing))))
        return tuple(missing)

    def rows(self, job_id: str, from_position: int, limit: int) -> tuple[JobRow, ...]:
        """Rows from a position on, by position; fewer than `limit` where there are no more yet.

        Raises:
            NotFound: there is no such job.
        """
        with self._database.read() as rows:
            job = _found(rows, job_id)
            wanted = select(JOB_ROWS).where(JOB_ROWS.c.job == job.sequence, JOB_ROWS.c.position >= from_position)
            return tuple(map(_row, rows.execute(wanted.order_by(JOB_ROWS.c.position).limit(limit))))

    def _leave(self, lease: Lease, state: JobState, **values: Any) -> None:
        """A move by the holder of the lease, who does not hold it afterwards."""
        with self._database.write(alone=False) as rows:
            job = _locked(rows, lease.job.id)
            if job is not None and (job.state, job.attempt) == (state, lease.token):
                return  # done before: the answer was lost
            job = _check(job, lease)
            if state is JobState.SUCCEEDED and job.done != job.inputs:
                raise Conflict(
                    f"job {lease.job.id} succeeds with {job.inputs} rows, got {job.done}: do the missing ones first",
                    reason=JOB_INCOMPLETE,
                )
            reason = _storable(values.pop("reason", ""))
            rows.execute(_update(lease.job.id).values(**{**_FRESH, **values}, state=state.value, reason=reason))

    def _move(self, job_id: str, state: JobState, wish: str, **values: Any) -> Job:
        """A move by the owner of the job; none where it is in that state already."""
        with self._database.write(alone=False) as rows:
            job = _known(_locked(rows, job_id), job_id)
            if job.state == state:
                return _job(job)
            if job.state not in (starts := _starts(state)):
                raise Conflict(
                    f"job {job_id} is {job.state}: it can be {wish} when it is {', '.join(starts)}", reason=JOB_STATE
                )
            changed = _update(job_id).values(**{**_FRESH, **values}, state=state.value, reason="")
            return _job(rows.execute(changed.returning(JOBS)).one())


def _claim(owner: str, now: float, until: float) -> Update:
    """One statement that finds and takes a job, so that nothing comes between.

    A lease that ended and a time to retry that came lead back to the queue by themselves: the statement makes both
    moves, to QUEUED and to RUNNING, at once.
    """
    waits: ColumnElement[bool] = or_(
        JOBS.c.state == JobState.QUEUED,
        and_(JOBS.c.state == JobState.RUNNING, JOBS.c.lease_until <= now),
        and_(JOBS.c.state == JobState.PAUSED, JOBS.c.retry_at <= now),
    )
    first = (
        select(JOBS.c.sequence)
        .where(waits)
        .order_by(JOBS.c.priority.desc(), JOBS.c.sequence)
        .limit(1)
        .correlate(None)
        .with_for_update(skip_locked=True)  # SQLite has one writer, and no such clause
    )
    return (
        update(JOBS)
        .where(JOBS.c.sequence == first.scalar_subquery())
        .values(
            state=JobState.RUNNING.value,
            reason="",
            owner=owner,
            lease_until=until,
            retry_at=None,
            attempt=JOBS.c.attempt + 1,
            started=func.coalesce(JOBS.c.started, now),
        )
        .returning(JOBS)
    )


def _positions(rows: Connection, sequence: int, first: int, last: int) -> set[int]:
    """The positions in first..last that have a row."""
    there = select(JOB_ROWS.c.position).where(JOB_ROWS.c.job == sequence, JOB_ROWS.c.position.between(first, last))
    return set(rows.execute(there).scalars())


def _latest(sequence: int, start: int) -> Select[Any]:
    """The last position from `start` on that has a row, NULL without one."""
    return select(func.max(JOB_ROWS.c.position)).where(JOB_ROWS.c.job == sequence, JOB_ROWS.c.position >= start)


def _gaps(sequence: int, start: int, limit: int) -> Select[Any]:
    """The first runs first..stop-1 of positions without a row, each with a row behind it."""
    position = JOB_ROWS.c.position
    before = func.lag(position, 1, start - 1).over(order_by=position)
    there = (
        select(position.label("stop"), (before + 1).label("first"))
        .where(JOB_ROWS.c.job == sequence, position >= start)
        .subquery()
    )
    return select(there).where(there.c.stop > there.c.first).order_by(there.c.stop).limit(limit)


def _update(job_id: str) -> Update:
    return update(JOBS).where(JOBS.c.id == job_id)


def _found(rows: Connection, job_id: str) -> Row[Any]:
    return _known(rows.execute(select(JOBS).where(JOBS.c.id == job_id)).first(), job_id)


def _locked(rows: Connection, job_id: str) -> Row[Any] | None:
    """The job's row, that stays as it is until the end of the transaction."""
    return rows.execute(select(JOBS).where(JOBS.c.id == job_id).with_for_update()).first()


def _known(job: Row[Any] | None, job_id: str) -> Row[Any]:
    if job is None:
        raise NotFound(f"no job {job_id!r}: list the jobs there are")
    return job


def _check(job: Row[Any] | None, lease: Lease) -> Row[Any]:
    """The row of a job that is still the holder's."""
    if job is None or (job.state == JobState.CANCELLED and job.attempt == lease.token):
        raise Conflict(f"job {lease.job.id} was cancelled: stop working on it", reason=JOB_CANCELLED)
    if job.state != JobState.RUNNING or job.attempt != lease.token:
        raise Conflict(
            f"{lease.owner} held job {lease.job.id} by its claim {lease.token}, and the job is {job.state} after claim "
            f"{job.attempt}{f' by {job.owner}' if job.owner else ''}: stop, whoever claims it goes on",
            reason=LEASE_LOST,
        )
    return job


def _starts(state: JobState) -> tuple[JobState, ...]:
    """From where the owner of a job may move it there; back to the queue from RUNNING only its holder may."""
    starts = (start for start, moves in LEGAL_MOVES.items() if state in moves)
    return tuple(start for start in starts if (start, state) != (JobState.RUNNING, JobState.QUEUED))


def _counted(rows: Sequence[JobRow]) -> dict[Any, Any]:
    """What new rows add to the counters of their job."""
    verdicts = [row.verdict for row in rows]
    more = {
        JOBS.c.done: len(rows),
        JOBS.c.certified: verdicts.count("certified"),
        JOBS.c.abstained: verdicts.count("abstained"),
        JOBS.c.failed: verdicts.count("failed"),
        JOBS.c.forward_passes: sum(row.forward_passes for row in rows),
    }
    return {column: column + number for column, number in more.items()}


def _storable(text: str) -> str:
    """Text that both databases take: without NUL, and whole Unicode (names of files may be neither)."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _row_columns(sequence: int, row: JobRow) -> dict[str, Any]:
    return {
        "job": sequence,
        "position": row.position,
        "input_index": row.index,
        "verdict": row.verdict,
        "correct": row.correct,
        "radius": row.radius,
        "forward_passes": row.forward_passes,
        "certificate": row.certificate,
        "error": _storable(row.error),
    }


def _row(row: Row[Any]) -> JobRow:
    return JobRow(
        position=row.position,
        index=row.input_index,
        verdict=row.verdict,
        correct=row.correct,
        radius=row.radius,
        forward_passes=row.forward_passes,
        certificate=row.certificate,
        error=row.error,
    )


def _columns(job: Job) -> dict[str, Any]:
    totals = job.totals
    return {
        "id": job.id,
        "project": job.project,
        "spec": job.spec,
        "model_digest": job.model_digest,
        "dataset_digest": job.dataset_digest,
        "priority": job.priority,
        "state": job.state.value,
        "reason": job.reason,
        "inputs": totals.inputs,
        "done": totals.done,
        "certified": totals.certified,
        "abstained": totals.abstained,
        "failed": totals.failed,
        "forward_passes": totals.forward_passes,
        "created": job.created,
        "started": job.started,
        "finished": job.finished,
        "attempt": job.attempt,
    }


def _job(row: Row[Any]) -> Job:
    return Job(
        id=row.id,
        project=row.project,
        spec=row.spec,
        model_digest=row.model_digest,
        dataset_digest=row.dataset_digest,
        priority=row.priority,
        state=JobState(row.state),
        reason=row.reason,
        totals=JobTotals(row.inputs, row.done, row.certified, row.abstained, row.failed, row.forward_passes),
        created=row.created,
        started=row.started,
        finished=row.finished,
        attempt=row.attempt,
    )
