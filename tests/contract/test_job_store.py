"""The store of jobs, on every database that it runs on."""

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, select

from verifier.errors import AlreadyExists, Conflict, InvalidProblem, NotFound, Overloaded
from verifier.job import Job, JobRow, JobState, JobTotals
from verifier.jobs.store import JOB_CANCELLED, JOB_INCOMPLETE, JOB_STATE, LEASE_LOST, JobStore, Lease
from verifier.storage import database as database_module
from verifier.storage.database import JOB_ROWS, Database

VERDICTS = ("certified", "abstained", "unknown", "falsified", "failed")
LEASE = 10.0


@dataclass
class Clock:
    """Seconds that pass when we say so."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


def new_job(inputs: int = 10, priority: int = 0, project: str = "default") -> Job:
    totals = JobTotals(inputs)
    return Job(uuid4().hex, project, '{"n": 1}', "m" * 64, "d" * 64, priority, JobState.QUEUED, "", totals, 5.0)


def row(position: int, verdict: str = "certified") -> JobRow:
    """A row whose every field is told by its position."""
    failed = verdict == "failed"
    return JobRow(
        position=position,
        index=3 * position + 1,
        verdict=verdict,
        correct=None if failed else position % 2 == 0,
        radius=0.0 if failed else 0.1 * position + 1e-17,
        forward_passes=100 + position,
        certificate=b"" if failed else position.to_bytes(4, "big") * 20 + b"\0\xff",
        error="the input has a NaN" if failed else "",
    )


def rows_of(positions: range) -> list[JobRow]:
    return [row(position, VERDICTS[position % 5]) for position in positions]


def totals(inputs: int, rows: list[JobRow]) -> JobTotals:
    count = Counter(row.verdict for row in rows)
    passes = sum(row.forward_passes for row in rows)
    return JobTotals(inputs, len(rows), count["certified"], count["abstained"], count["failed"], passes)


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """Where an empty database is."""
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgres_url")
        return url
    return tmp_path / "verifier.db"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(place: Path | str) -> Iterator[Database]:
    with closing(Database(place)) as database:
        yield database


@pytest.fixture
def store(database: Database, clock: Clock) -> JobStore:
    return JobStore(database, clock)


def claim(store: JobStore, clock: Clock, owner: str = "me") -> Lease:
    lease = store.claim(owner, clock.now, LEASE)
    assert lease is not None
    return lease


def refused(reason: str, act: Callable[[], object]) -> Conflict:
    with pytest.raises(Conflict) as caught:
        act()
    assert caught.value.reason == reason
    return caught.value


class TestCreate:
    def test_it_is_there_as_it_was_given(self, store: JobStore) -> None:
        job = new_job()
        assert store.create(job) == job
        assert store.get(job.id) == job

    def test_there_is_no_other(self, store: JobStore) -> None:
        with pytest.raises(NotFound, match="no job 'x'"):
            store.get("x")
        with pytest.raises(NotFound):
            store.rows("x", 0, 1)
        with pytest.raises(NotFound):
            store.missing_positions("x", 0, 1)

    def test_the_same_request_makes_one_job(self, store: JobStore, clock: Clock) -> None:
        first = store.create(new_job(), "id", "body")
        assert store.create(new_job(), "id", "body") == first
        lease = claim(store, clock)
        assert store.create(new_job(), "id", "body") == lease.job  # as it is now
        assert store.list()[0] == (lease.job,)

    def test_another_body_under_the_same_id_is_refused(self, store: JobStore) -> None:
        first = store.create(new_job(), "id", "body")
        with pytest.raises(AlreadyExists, match="'id' was used for another request") as caught:
            store.create(new_job(), "id", "other")
        assert caught.value.reason == "REQUEST_ID_REUSED"
        assert store.list()[0] == (first,)

    def test_without_an_id_each_is_new(self, store: JobStore) -> None:
        assert store.create(new_job()) != store.create(new_job())
        assert len(store.list()[0]) == 2

    def test_twenty_at_once_make_one_job(self, store: JobStore) -> None:
        together = Barrier(20)

        def create(_: int) -> Job:
            together.wait()
            return store.create(new_job(), "id", "body")

        with ThreadPoolExecutor(20) as threads:
            jobs = list(threads.map(create, range(20)))
        assert len({job.id for job in jobs}) == 1
        assert store.list()[0] == (jobs[0],)

    def test_a_job_deleted_since_is_not_made_again(self, store: JobStore) -> None:
        job = store.create(new_job(), "id", "body")
        store.delete(job.id)
        with pytest.raises(NotFound, match=job.id):
            store.create(new_job(), "id", "body")


class TestList:
    def test_pages_give_the_newest_first(self, store: JobStore) -> None:
        jobs = [store.create(new_job()) for _ in range(5)]
        first, token = store.list(page_size=2)
        second, token = store.list(page_size=2, page_token=token)
        store.create(new_job())
        third, end = store.list(page_size=2, page_token=token)
        assert [*first, *second, *third] == jobs[::-1]
        assert end == ""

    def test_by_state_and_project(self, store: JobStore, clock: Clock) -> None:
        ours = [store.create(new_job()) for _ in range(3)]
        theirs = store.create(new_job(project="theirs"))
        taken = claim(store, clock).job
        assert taken.id == ours[0].id
        assert store.list(states=[JobState.RUNNING])[0] == (taken,)
        assert store.list(states=[JobState.RUNNING, JobState.QUEUED])[0] == (ours[2], ours[1], taken)
        assert store.list(states=[JobState.FAILED]) == ((), "")
        assert store.list(project="theirs")[0] == (theirs,)

    def test_nonsense_is_refused(self, store: JobStore) -> None:
        with pytest.raises(InvalidProblem, match="page_token must come from the page before"):
            store.list(page_token="x")
        with pytest.raises(InvalidProblem, match="page_size must be >= 0"):
            store.list(page_size=-1)

    def test_a_data_set_is_needed_until_its_jobs_have_ended(self, store: JobStore, clock: Clock) -> None:
        assert not store.needs_dataset("d" * 64)
        job = store.create(new_job())
        assert store.needs_dataset("d" * 64)
        assert not store.needs_dataset("e" * 64)
        store.pause(claim(store, clock), "disk full")
        assert store.needs_dataset("d" * 64)
        store.cancel(job.id)
        assert not store.needs_dataset("d" * 64)


class TestClaim:
    def test_the_highest_priority_then_the_oldest(self, store: JobStore, clock: Clock) -> None:
        low, old, new, high = (store.create(new_job(priority=priority)).id for priority in (-5, 0, 0, 1000))
        taken = [claim(store, clock).job.id for _ in range(4)]
        assert taken == [high, old, new, low]
        assert store.claim("me", clock.now, LEASE) is None

    def test_a_lease_tells_the_job_as_it_is(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        lease = claim(store, clock, "server a")
        assert lease == Lease(
            replace(job, state=JobState.RUNNING, started=1000.0, attempt=1), "server a", 1, 1000.0 + LEASE, LEASE
        )
        assert store.get(job.id) == lease.job

    def test_a_lease_that_ended_is_taken_over(self, store: JobStore, clock: Clock) -> None:
        store.create(new_job())
        first = claim(store, clock, "first")
        clock.now += LEASE - 0.001
        assert store.claim("second", clock.now, LEASE) is None
        clock.now += 0.001
        second = claim(store, clock, "second")
        assert (second.token, second.job.started) == (first.token + 1, 1000.0)

    def test_a_heartbeat_keeps_it(self, store: JobStore, clock: Clock) -> None:
        store.create(new_job())
        lease = claim(store, clock)
        for _ in range(3):
            clock.now += 0.9 * LEASE
            lease = store.heartbeat(lease)
            assert lease.until == clock.now + LEASE
            assert store.claim("other", clock.now, LEASE) is None

    def test_a_lease_must_last(self, store: JobStore) -> None:
        with pytest.raises(InvalidProblem, match="lease_seconds must be > 0"):
            store.claim("me", 0.0, 0.0)

    def test_eight_workers_take_no_job_twice(self, store: JobStore) -> None:
        jobs = {store.create(new_job()).id for _ in range(60)}

        def work(worker: int) -> list[str]:
            taken = []
            while lease := store.claim(f"worker {worker}", 1000.0, LEASE):
                taken.append(lease.job.id)
            return taken

        with ThreadPoolExecutor(8) as threads:
            taken = [job for found in threads.map(work, range(8)) for job in found]
        assert len(taken) == len(set(taken)) == 60
        assert set(taken) == jobs

    def test_eight_workers_take_over_one_job_once(self, store: JobStore, clock: Clock) -> None:
        store.create(new_job())
        claim(store, clock, "the dead")
        together = Barrier(8)

        def work(worker: int) -> Lease | None:
            together.wait()
            return store.claim(f"worker {worker}", clock.now + LEASE, LEASE)

        with ThreadPoolExecutor(8) as threads:
            (lease,) = filter(None, threads.map(work, range(8)))
        assert lease.token == 2


class TestRows:
    def test_they_come_back_as_they_were_given(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job(20))
        rows = rows_of(range(20))
        assert store.commit_rows(claim(store, clock), rows[::-1]) == 20
        assert store.rows(job.id, 0, 100) == tuple(rows)
        assert store.rows(job.id, 7, 5) == tuple(rows[7:12])
        assert store.rows(job.id, 20, 5) == ()
        assert store.get(job.id).totals == totals(20, rows)

    def test_those_that_are_there_are_left_and_counted_once(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job(20))
        lease = claim(store, clock)
        rows = rows_of(range(20))
        assert store.commit_rows(lease, rows[3:9]) == 6
        assert store.commit_rows(lease, rows[3:9]) == 0
        assert store.commit_rows(lease, [replace(row(5), radius=9.0), *rows[9:11]]) == 2
        assert store.commit_rows(lease, []) == 0
        assert store.rows(job.id, 0, 100) == tuple(rows[3:11])
        assert store.get(job.id).totals == totals(20, rows[3:11])

    def test_a_thousand_at_once(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job(3000))
        rows = rows_of(range(3000))
        assert store.commit_rows(claim(store, clock), rows) == 3000
        assert store.get(job.id).totals == totals(3000, rows)

    @pytest.mark.parametrize("text", ["a\0b", "caf\udce9.png", "naïve 𝄞"], ids=ascii)
    def test_any_text_can_be_a_reason(self, store: JobStore, clock: Clock, text: str) -> None:
        job = store.create(new_job())
        lease = claim(store, clock)
        store.commit_rows(lease, [replace(row(0, "failed"), error=text)])
        (stored,) = store.rows(job.id, 0, 1)
        assert len(stored.error) == len(text)
        assert stored.error.translate({0xFFFD: "?"})[:1] == text[:1]
        store.pause(lease, text)
        assert len(store.get(job.id).reason) == len(text)

    def test_a_stale_token_is_refused_and_changes_nothing(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        stale = claim(store, clock, "sleeper")
        clock.now += LEASE
        holder = claim(store, clock, "holder")
        store.commit_rows(holder, rows_of(range(3)))
        acts: list[Callable[[], object]] = [
            lambda: store.commit_rows(stale, rows_of(range(3, 6))),
            lambda: store.heartbeat(stale),
            lambda: store.check(stale),
            lambda: store.pause(stale, "disk full"),
            lambda: store.finish(stale, JobState.FAILED, "no"),
            lambda: store.release(stale),
        ]
        for act in acts:
            error = refused(LEASE_LOST, act)
            assert "sleeper held job" in error.message
            assert "by holder" in error.message
        assert store.get(job.id) == replace(holder.job, totals=totals(10, rows_of(range(3))))
        store.check(holder)

    def test_whose_lease_ended_may_go_on_until_somebody_takes_the_job(self, store: JobStore, clock: Clock) -> None:
        store.create(new_job())
        lease = claim(store, clock)
        clock.now += 10 * LEASE
        assert store.commit_rows(lease, rows_of(range(3))) == 3
        assert store.heartbeat(lease).until == clock.now + LEASE

    def test_nobody_takes_a_job_between_the_check_of_the_token_and_the_commit(
        self, store: JobStore, clock: Clock, place: Path | str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = store.create(new_job())
        lease = claim(store, clock)
        monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.1)
        stolen: list[Lease | None] = []

        def steal(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if "INSERT INTO job_rows" in statement:
                try:
                    stolen.append(thieves.claim("thief", clock.now + LEASE, LEASE))
                except Overloaded:  # SQLite has one writer; PostgreSQL passes over a job that is being written
                    stolen.append(None)

        with closing(Database(place)) as database:
            thieves = JobStore(database, clock)
            event.listen(Engine, "before_cursor_execute", steal)
            try:
                assert store.commit_rows(lease, rows_of(range(3))) == 3
            finally:
                event.remove(Engine, "before_cursor_execute", steal)
            assert stolen == [None]
            heir = thieves.claim("heir", clock.now + LEASE, LEASE)
        assert heir is not None
        assert (heir.token, heir.job.totals) == (2, totals(10, rows_of(range(3))))
        assert store.missing_positions(job.id, 0, 1) == (3,)

    def test_workers_that_lose_and_take_leases_write_each_row_once(self, store: JobStore) -> None:
        """Leases of no length: every worker thinks that the others are dead."""
        job = store.create(new_job(200))

        def work(worker: int) -> int:
            written = 0
            draw = random.Random(worker)
            while store.get(job.id).state is not JobState.SUCCEEDED:
                lease = store.claim(f"worker {worker}", 1000.0 + draw.random(), 1e-9)
                if lease is None:
                    continue
                try:
                    while positions := store.missing_positions(job.id, 0, 7):
                        written += store.commit_rows(lease, [row(p, VERDICTS[p % 5]) for p in positions])
                    store.finish(lease, JobState.SUCCEEDED)
                except Conflict as error:
                    if error.reason != LEASE_LOST:
                        raise
            return written

        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(work, range(4))) == 200
        assert store.rows(job.id, 0, 1000) == tuple(rows_of(range(200)))
        assert store.get(job.id).totals == totals(200, rows_of(range(200)))


class TestMissing:
    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(done=st.sets(st.integers(0, 29)), start=st.integers(0, 31), limit=st.integers(0, 40))
    def test_exactly_those_without_a_row(
        self, store: JobStore, clock: Clock, done: set[int], start: int, limit: int
    ) -> None:
        job = store.create(new_job(30))
        store.commit_rows(claim(store, clock), [row(position) for position in done])
        expected = [position for position in range(start, 30) if position not in done][:limit]
        assert store.missing_positions(job.id, start, limit) == tuple(expected)

    def test_of_another_job_do_not_count(self, store: JobStore, clock: Clock) -> None:
        first, second = store.create(new_job(4)), store.create(new_job(4))
        store.commit_rows(claim(store, clock), rows_of(range(3)))
        store.commit_rows(claim(store, clock), rows_of(range(1, 2)))
        assert store.missing_positions(first.id, 0, 10) == (3,)
        assert store.missing_positions(second.id, 0, 10) == (0, 2, 3)


class TestEnds:
    def test_success_needs_every_row(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job(3))
        lease = claim(store, clock)
        store.commit_rows(lease, rows_of(range(2)))
        error = refused(JOB_INCOMPLETE, lambda: store.finish(lease, JobState.SUCCEEDED))
        assert "with 3 rows, got 2" in error.message
        store.commit_rows(lease, rows_of(range(2, 3)))
        clock.now += 1
        store.finish(lease, JobState.SUCCEEDED)
        store.finish(lease, JobState.SUCCEEDED)  # the answer was lost
        ended = store.get(job.id)
        assert (ended.state, ended.finished) == (JobState.SUCCEEDED, 1001.0)
        assert store.claim("other", clock.now + 10 * LEASE, LEASE) is None

    def test_a_failure_has_its_reason_and_resume_tries_again(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        lease = claim(store, clock)
        store.commit_rows(lease, rows_of(range(4)))
        store.finish(lease, JobState.FAILED, "the model is gone")
        failed = store.get(job.id)
        assert (failed.state, failed.reason, failed.finished) == (JobState.FAILED, "the model is gone", 1000.0)
        resumed = store.resume(job.id)
        assert (resumed.state, resumed.reason, resumed.finished) == (JobState.QUEUED, "", None)
        again = claim(store, clock)
        assert again.token == 2
        assert store.missing_positions(job.id, 0, 100) == (4, 5, 6, 7, 8, 9)

    def test_a_paused_job_waits_for_its_time(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        store.pause(claim(store, clock), "disk full", retry_at=clock.now + 60)
        paused = store.get(job.id)
        assert (paused.state, paused.reason) == (JobState.PAUSED, "disk full")
        assert store.claim("me", clock.now + 59.9, LEASE) is None
        lease = store.claim("me", clock.now + 60, LEASE)
        assert lease is not None
        assert (lease.job.state, lease.job.reason, lease.token) == (JobState.RUNNING, "", 2)

    def test_a_paused_job_without_a_time_waits_for_resume(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        store.pause(claim(store, clock), "look at this")
        assert store.claim("me", 1e12, LEASE) is None
        store.resume(job.id)
        assert claim(store, clock).token == 2

    def test_a_released_job_is_taken_at_once(self, store: JobStore, clock: Clock) -> None:
        store.create(new_job())
        lease = claim(store, clock)
        store.release(lease)
        store.release(lease)
        assert claim(store, clock, "other").token == 2
        refused(LEASE_LOST, lambda: store.release(lease))

    def test_cancel_stops_the_holder_and_keeps_the_rows(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job())
        lease = claim(store, clock)
        store.commit_rows(lease, rows_of(range(4)))
        cancelled = store.cancel(job.id)
        assert (cancelled.state, cancelled.finished) == (JobState.CANCELLED, 1000.0)
        assert store.cancel(job.id) == cancelled
        for act in (
            lambda: store.commit_rows(lease, rows_of(range(4, 6))),
            lambda: store.heartbeat(lease),
            lambda: store.check(lease),
            lambda: store.finish(lease, JobState.FAILED),
        ):
            refused(JOB_CANCELLED, act)
        assert store.rows(job.id, 0, 100) == tuple(rows_of(range(4)))
        assert store.claim("me", 1e12, LEASE) is None
        assert store.resume(job.id).state is JobState.QUEUED
        refused(LEASE_LOST, lambda: store.commit_rows(lease, rows_of(range(4, 6))))
        assert store.commit_rows(claim(store, clock), rows_of(range(10))) == 6

    def test_illegal_moves_name_the_state(self, store: JobStore, clock: Clock) -> None:
        job = store.create(new_job(1))
        assert store.resume(job.id) == job
        lease = claim(store, clock)
        error = refused(JOB_STATE, lambda: store.resume(job.id))
        assert error.message == f"job {job.id} is running: it can be resumed when it is paused, cancelled, failed"
        assert "is running: cancel it first" in refused(JOB_STATE, lambda: store.delete(job.id)).message
        store.commit_rows(lease, [row(0)])
        store.finish(lease, JobState.SUCCEEDED)
        error = refused(JOB_STATE, lambda: store.cancel(job.id))
        assert error.message == f"job {job.id} is succeeded: it can be cancelled when it is queued, running, paused"
        refused(JOB_STATE, lambda: store.resume(job.id))
        store.delete(job.id)
        for act in (store.cancel, store.resume, store.delete):
            with pytest.raises(NotFound, match=f"no job '{job.id}'"):
                act(job.id)

    def test_delete_forgets_the_rows_of_this_job_only(self, store: JobStore, clock: Clock, database: Database) -> None:
        first, second = store.create(new_job()), store.create(new_job())
        lease = claim(store, clock)
        for job in (lease, claim(store, clock)):
            store.commit_rows(job, rows_of(range(10)))
        store.cancel(first.id)
        store.delete(first.id)
        assert len(store.rows(second.id, 0, 100)) == 10
        with database.read() as rows:
            assert rows.execute(select(func.count()).select_from(JOB_ROWS)).scalar() == 10
        refused(JOB_CANCELLED, lambda: store.commit_rows(lease, rows_of(range(2))))


CRASH = """
import os, signal, sys
from pathlib import Path
from sqlalchemy import Engine, event
from verifier.job import JobRow
from verifier.jobs.store import JobStore
from verifier.storage.database import Database

where, moment = sys.argv[1:]
database = Database(where if "://" in where else Path(where))
store = JobStore(database)
lease = store.claim("the doomed", 0.0, 1.0)
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
if moment == "before commit":
    event.listen(Engine, "commit", lambda _: die())
if moment == "between rows and counters":
    event.listen(Engine, "after_cursor_execute", lambda *told: "INSERT INTO job_rows" in told[2] and die())
print("claimed", flush=True)
verdicts = ("certified", "abstained", "unknown", "falsified", "failed")
for start in range(0, 10**6, 50):
    rows = [JobRow(p, p, verdicts[p % 5], None, 0.5, 7, b"x" * 300) for p in range(start, start + 50)]
    print(store.commit_rows(lease, rows) + start, flush=True)
"""


class TestCrash:
    """A server that dies by SIGKILL leaves rows and counters that agree, and everything that it had been told."""

    def check(self, store: JobStore, job: Job) -> int:
        totals = store.get(job.id).totals
        rows = store.rows(job.id, 0, 10**6)
        assert [row.position for row in rows] == list(range(totals.done))
        assert totals.done % 50 == 0
        fifth = totals.done // 5
        assert totals == JobTotals(10**6, 5 * fifth, fifth, fifth, fifth, 7 * totals.done)
        assert store.missing_positions(job.id, 0, 3) == tuple(range(totals.done, totals.done + 3))
        lease = store.claim("heir", time.time(), LEASE)
        assert lease is not None
        assert store.commit_rows(lease, [row(totals.done)]) == 1
        return totals.done

    def crashing(self, place: Path | str, moment: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-c", CRASH, str(place), moment]
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def test_killed_before_the_commit(self, store: JobStore, place: Path | str) -> None:
        job = store.create(new_job(10**6))
        with self.crashing(place, "before commit") as process:
            assert process.wait() == -signal.SIGKILL
            assert process.stdout is not None
            assert process.stdout.read() == "claimed\n"
        assert self.check(store, job) == 0

    def test_killed_between_rows_and_counters(self, store: JobStore, place: Path | str) -> None:
        job = store.create(new_job(10**6))
        with self.crashing(place, "between rows and counters") as process:
            assert process.wait() == -signal.SIGKILL
            assert process.stdout is not None
            assert process.stdout.read() == "claimed\n"
        assert self.check(store, job) == 0

    def test_killed_at_any_moment(self, store: JobStore, place: Path | str) -> None:
        job = store.create(new_job(10**6))
        with self.crashing(place, "any") as process:
            assert process.stdout is not None
            told = [process.stdout.readline().strip() for _ in range(4)]
            time.sleep(random.uniform(0, 0.1))
            process.kill()
            told += process.stdout.read().split()
        committed = [int(number) for number in told[1:]]
        assert all(later - earlier == 50 for earlier, later in pairwise(committed))
        assert self.check(store, job) in (committed[-1], committed[-1] + 50)  # the last was perhaps not told
