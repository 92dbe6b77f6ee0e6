"""Jobs over a real port: they end with the rows of an undisturbed one, whatever happens to the server."""

import dataclasses
import random
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from e2e.serving import PROMPTLY, ServerProcess, run, server_in_thread, server_process

import verifier
from verifier.check import check_all
from verifier.dataset import Selection
from verifier.errors import AlreadyExists, Conflict, InvalidProblem, NotFound
from verifier.job import Job, JobResult, JobState, JobTotals
from verifier.methods import Ibp, Smoothing
from verifier.v1 import datasets_pb2, datasets_pb2_grpc, jobs_pb2, jobs_pb2_grpc

MODEL, DATA = "digits_gauss050", "digits"
QUICK = Smoothing(0.5, n0=20, n=200, alpha=0.001)
LONG = Smoothing(0.5, n0=20, n=20_000, alpha=0.001)
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


def save(folder: Path, digits: Any, count: int = 100) -> tuple[Path, Path]:
    np.save(folder / "x.npy", digits.x[:count])
    np.save(folder / "y.npy", digits.y[:count])
    return folder / "x.npy", folder / "y.npy"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with server_in_thread(tmp_path_factory.mktemp("server") / "data") as address:
        yield address


@pytest.fixture(scope="module")
def served(
    address: str, tmp_path_factory: pytest.TempPathFactory, digits: Any, register_digits: Any
) -> Iterator[verifier.Client]:
    """A client of a server with the networks and 100 digits."""
    with verifier.connect(address) as client:
        register_digits(client)
        client.datasets.add(DATA, *save(tmp_path_factory.mktemp("jobs"), digits))
        yield client


def finish(client: verifier.Client, job: Job) -> Job:
    return list(client.jobs.watch(job.id))[-1].job


def told(results: Iterable[JobResult]) -> list[Any]:
    """All but the ledger's account, to which other jobs on the same inputs have added."""
    found = []
    for result in results:
        assert result.certificate is not None
        evidence = dataclasses.replace(result.certificate.sampling, attempt=None)
        found.append((result.position, dataclasses.replace(result.certificate, evidence=evidence)))
    return found


def eventually(condition: Callable[[], bool], seconds: float = PROMPTLY) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


# -- the life of a job


def test_a_job_from_its_creation_to_its_results(served: verifier.Client, digits: Any) -> None:
    price = served.jobs.price(MODEL, DATA, QUICK)
    assert price.forward_passes == 100 * 220
    job = served.jobs.submit(MODEL, DATA, QUICK, seed=5)
    progress = list(served.jobs.watch(job.id))
    assert progress[-1].job.state is JobState.SUCCEEDED
    totals = progress[-1].job.totals
    assert (totals.inputs, totals.done, totals.failed) == (100, 100, 0)
    assert totals.forward_passes == 100 * 220
    results = list(served.jobs.results(job.id))
    assert [(r.position, r.index) for r in results] == [(n, n) for n in range(100)]
    found = [r.certificate for r in results if r.certificate is not None]
    assert check_all(found).holds
    assert progress[-1].running_certified == sum(c.certified and c.correct is True for c in found)
    assert progress[-1].running_lower is None  # the order of the data set is no random one
    plain = served.certify(MODEL, digits.x[:100], QUICK, labels=digits.y[:100], seed=5)
    by_index = {c.index: c for c in plain}
    for c in found:
        other = by_index[c.index]
        assert (c.sampling.estimation, c.radius, c.verdict) == (other.sampling.estimation, other.radius, other.verdict)
        assert (c.execution.started, c.execution.seconds) == (0, 0)
    assert list(served.jobs.results(job.id, 97)) == results[97:]


def test_samples_are_in_a_random_order_with_a_bound(served: verifier.Client) -> None:
    chosen = Selection(stop=80, sample=60, seed=9)
    job = served.jobs.submit(MODEL, DATA, QUICK, seed=1, selection=chosen)
    last = list(served.jobs.watch(job.id))[-1]
    assert last.running_inputs == 60
    assert last.running_lower is not None
    assert 0 < last.running_lower < last.running_certified / 60
    assert [r.index for r in served.jobs.results(job.id)] == chosen.indices(100).tolist()


def test_deterministic_methods_and_early_stopping(served: verifier.Client) -> None:
    for method in (Ibp(), Smoothing(0.5, n0=20, decide=(0.25, 0.5), n=2000)):
        job = finish(served, served.jobs.submit(MODEL, DATA, method, selection=Selection(stop=12)))
        assert (job.state, job.totals.done) == (JobState.SUCCEEDED, 12)
        assert check_all([r.certificate for r in served.jobs.results(job.id) if r.certificate]).holds


def test_poisonous_inputs_fail_alone(served: verifier.Client, tmp_path: Path, digits: Any) -> None:
    x = digits.x[:20].copy()
    x[3, 0, 0, 0], x[8], x[11, 0, 2, 2] = np.nan, np.inf, 7.0
    y = digits.y[:20].copy()
    y[15] = 12
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y)
    served.datasets.add("poison", tmp_path / "x.npy", tmp_path / "y.npy")
    job = finish(served, served.jobs.submit(MODEL, "poison", QUICK))
    assert job.state is JobState.SUCCEEDED
    assert (job.totals.done, job.totals.failed) == (20, 4)
    errors = {r.index: r.error for r in served.jobs.results(job.id) if r.error}
    assert errors.keys() == {3, 8, 11, 15}
    assert "NaN or infinite" in errors[3]
    assert "outside of the model's range [0, 1]" in errors[11]
    assert "label 12 is none of the model's 10 classes" in errors[15]


def test_cancel_and_resume(served: verifier.Client) -> None:
    job = served.jobs.submit(MODEL, DATA, dataclasses.replace(LONG, n=60_000), seed=8)
    for progress in served.jobs.watch(job.id):
        if progress.job.totals.done:
            break
    assert served.jobs.cancel(job.id).state is JobState.CANCELLED
    partial = list(served.jobs.results(job.id))
    assert 0 < len(partial) < 100
    time.sleep(1.0)
    assert len(list(served.jobs.results(job.id))) == len(partial)  # the device has stopped
    assert served.jobs.get(job.id).state is JobState.CANCELLED
    served.jobs.resume(job.id)
    assert finish(served, job).state is JobState.SUCCEEDED
    whole = list(served.jobs.results(job.id))
    assert len(whole) == 100
    kept = {result.position: result for result in whole}
    assert all(kept[result.position] == result for result in partial)
    with pytest.raises(Conflict, match="succeeded"):
        served.jobs.cancel(job.id)
    served.jobs.delete(job.id)
    with pytest.raises(NotFound):
        served.jobs.get(job.id)


def test_twenty_at_once_make_one_job(served: verifier.Client) -> None:
    request_id = str(uuid.uuid4())
    with ThreadPoolExecutor(20) as pool:
        made = list(
            pool.map(
                lambda _: served.jobs.submit(MODEL, DATA, QUICK, request_id=request_id, selection=Selection(stop=3)),
                range(20),
            )
        )
    assert len({job.id for job in made}) == 1
    with pytest.raises(AlreadyExists):
        served.jobs.submit(MODEL, DATA, LONG, request_id=request_id)
    finish(served, made[0])


def test_jobs_leave_the_device_to_callers(served: verifier.Client, digits: Any) -> None:
    """A call beside a job is answered at once: the job gets what is left of each step."""
    list(served.certify(MODEL, digits.x[:1], QUICK))
    job = served.jobs.submit(MODEL, DATA, dataclasses.replace(LONG, n=200_000))
    eventually(lambda: served.jobs.get(job.id).state is JobState.RUNNING)
    time.sleep(0.5)
    answers = list(served.certify(MODEL, digits.x[:4], LONG))
    assert len(answers) == 4
    assert served.jobs.get(job.id).totals.done < 100
    served.jobs.cancel(job.id)


@pytest.mark.parametrize(
    ("asked", "error", "says"),
    [
        ({"model": "nobody"}, NotFound, "nobody"),
        ({"dataset": "nothing"}, NotFound, "nothing"),
        ({"selection": Selection(start=100)}, InvalidProblem, "chooses none of 100"),
        ({"selection": Selection(sample=101, seed=1)}, InvalidProblem, "sample of 101"),
        ({"method": Smoothing(0.5, decide=(9.0,))}, InvalidProblem, "out of reach"),
        ({"norm": "linf"}, InvalidProblem, "norm l2"),
        ({"eps": -1.0}, InvalidProblem, "eps must be"),
        ({"priority": 5000}, InvalidProblem, "priority must be"),
        ({"request_id": "x"}, InvalidProblem, "UUID4"),
    ],
    ids=repr,
)
def test_what_cannot_be_done_is_refused(
    served: verifier.Client, asked: dict[str, Any], error: type[Exception], says: str
) -> None:
    before = len(served.jobs.list())
    question: dict[str, Any] = {"model": MODEL, "dataset": DATA, "method": QUICK, **asked}
    with pytest.raises(error, match=says):
        served.jobs.submit(**question)
    assert len(served.jobs.list()) == before


def test_pages_of_jobs_and_results(address: str, served: verifier.Client) -> None:
    job = finish(served, served.jobs.submit(MODEL, DATA, QUICK, selection=Selection(stop=25)))
    name = f"projects/default/jobs/{job.id}"
    with grpc.insecure_channel(address) as channel:
        stub = jobs_pb2_grpc.JobServiceStub(channel)
        seen, token = [], ""
        while True:
            page = stub.ListJobResults(jobs_pb2.ListJobResultsRequest(name=name, page_size=10, page_token=token))
            seen += [result.position for result in page.results]
            token = page.next_page_token
            if not token:
                break
        assert seen == list(range(25))
        listed, token = [], ""
        while True:
            found = stub.ListJobs(jobs_pb2.ListJobsRequest(parent="projects/default", page_size=2, page_token=token))
            listed += [one.name for one in found.jobs]
            token = found.next_page_token
            if not token:
                break
        assert listed == [f"projects/default/jobs/{one.id}" for one in served.jobs.list()]
        priced = stub.CreateJob(
            jobs_pb2.CreateJobRequest(parent="projects/default", spec=found.jobs[0].spec, validate_only=True)
        )
        assert (priced.job.name, priced.price.forward_passes > 0) == ("", True)
        for wrong in ("projects/default/jobs", "projects/default/models/x", "projects/other/jobs/x"):
            with pytest.raises(grpc.RpcError):
                stub.GetJob(jobs_pb2.GetJobRequest(name=wrong))
    assert {one.state for one in served.jobs.list(["succeeded"])} == {JobState.SUCCEEDED}


def test_a_repeated_removal_is_answered(address: str, served: verifier.Client, tmp_path: Path, digits: Any) -> None:
    """Under one request_id it is done once; under another name the id is refused."""
    served.datasets.add("twice", *save(tmp_path, digits, 7))
    request = datasets_pb2.DeleteDatasetRequest(name="projects/default/datasets/twice", request_id=str(uuid.uuid4()))
    with grpc.insecure_channel(address) as channel:
        stub = datasets_pb2_grpc.DatasetServiceStub(channel)
        stub.DeleteDataset(request)
        stub.DeleteDataset(request)
        request.name = "projects/default/datasets/other"
        with pytest.raises(grpc.RpcError) as caught:
            stub.DeleteDataset(request)
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


def test_commands_of_jobs_and_data_sets(address: str, served: verifier.Client, tmp_path: Path, digits: Any) -> None:
    server = ("--server", address)
    x, y = save(tmp_path, digits, 30)
    added = run("datasets", "add", "by-command", "--inputs", str(x), "--labels", str(y), *server)
    assert "30 inputs of shape [1, 8, 8], 10 classes" in added.stdout
    smoothing = ("--sigma", "0.5", "--n", "200", "--n0", "20")
    priced = run("jobs", "submit", "--model", MODEL, "--dataset", "by-command", *smoothing, "--dry-run", *server)
    assert "about 6,600 forward passes" in priced.stdout
    job = run("jobs", "submit", "--model", MODEL, "--dataset", "by-command", *smoothing, *server).stdout.strip()
    watched = run("jobs", "watch", job, *server)
    assert (watched.returncode, "30 of 30 inputs" in watched.stdout) == (0, True)
    assert job in run("jobs", "list", *server).stdout
    lines = run("jobs", "results", job, "--from", "10", *server).stdout.splitlines()
    assert len(lines) == 20
    log = tmp_path / "log.tsv"
    assert run("jobs", "results", job, "--format", "cohen", "--out", str(log), *server).returncode == 0
    audited = run("audit", str(log), "--sigma", "0.5", "--n", "200", "--alpha", "0.001")
    assert (audited.returncode, audited.stderr) == (0, "")
    assert run("jobs", "delete", job, *server).returncode == 0
    gone = run("jobs", "show", job, *server)
    assert (gone.returncode, f"no job '{job}'" in gone.stderr) == (2, True)
    assert run("datasets", "remove", "by-command", *server).returncode == 0
    assert "by-command" not in run("datasets", "list", *server).stdout


def test_a_data_set_in_use_stays(served: verifier.Client, tmp_path: Path, digits: Any) -> None:
    served.datasets.add("busy", *save(tmp_path, digits, 50))
    job = served.jobs.submit(MODEL, "busy", dataclasses.replace(LONG, n=200_000))
    with pytest.raises(Conflict, match="a job uses the data set"):
        served.datasets.remove("busy")
    served.jobs.cancel(job.id)
    served.datasets.remove("busy")
    with pytest.raises(NotFound):
        served.datasets.get("busy")


# -- a server that dies


@contextmanager
def serving(data_dir: Path, **environment: str) -> Iterator[tuple[ServerProcess, verifier.Client]]:
    options = ("--lease-seconds", "1")
    with server_process(data_dir, *options, environment=environment) as process, verifier.connect(process.address) as v:
        yield process, v


def undisturbed(client: verifier.Client, method: Smoothing, seed: int) -> list[JobResult]:
    job = client.jobs.submit(MODEL, DATA, method, seed=seed)
    assert finish(client, job).state is JobState.SUCCEEDED
    return list(client.jobs.results(job.id))


def kill_again_and_again(data_dir: Path, digits: Any, register: Any, kills: int, method: Smoothing) -> None:
    """A job whose servers are killed at random moments ends with the rows of one that nobody disturbed."""
    data_dir.parent.mkdir(exist_ok=True)
    chance = random.Random(kills)
    with serving(data_dir) as (process, client):
        register(client)
        client.datasets.add(DATA, *save(data_dir.parent, digits))
        expected = undisturbed(client, method, 4)
        job = client.jobs.submit(MODEL, DATA, method, seed=4)
        time.sleep(chance.uniform(0, 1.5))
        process.kill()
    for _ in range(kills - 1):
        with serving(data_dir) as (process, client):
            if client.jobs.get(job.id).state is JobState.SUCCEEDED:  # another one to disturb
                assert list(client.jobs.results(job.id)) == expected
                job = client.jobs.submit(MODEL, DATA, method, seed=4)
            time.sleep(chance.uniform(0, 2.0))
            process.kill()
    with serving(data_dir) as (_, client):
        ended = finish(client, client.jobs.get(job.id))
        assert ended.state is JobState.SUCCEEDED
        assert list(client.jobs.results(job.id)) == expected
        certified = sum(r.certificate is not None and r.certificate.certified for r in expected)
        abstained = sum(r.certificate is not None and r.certificate.verdict.value == "abstained" for r in expected)
        spent = sum(r.certificate.spent for r in expected if r.certificate is not None)
        assert ended.totals == JobTotals(100, 100, certified, abstained, 0, spent)


def test_five_kills(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    kill_again_and_again(tmp_path / "server" / "data", digits, register_digits, 5, LONG)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_fifty_kills(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    method = dataclasses.replace(LONG, n=60_000)
    kill_again_and_again(tmp_path / "server" / "data", digits, register_digits, 50, method)


def test_a_stopped_server_hands_its_job_over(tmp_path: Path, digits: Any, register_digits: Any) -> None:
    data_dir = tmp_path / "data"
    with serving(data_dir) as (process, client):
        register_digits(client)
        client.datasets.add(DATA, *save(tmp_path, digits))
        job = client.jobs.submit(MODEL, DATA, dataclasses.replace(LONG, n=100_000), seed=4)
        eventually(lambda: client.jobs.get(job.id).state is JobState.RUNNING)
        assert process.terminate() == 0
        assert "Traceback" not in process.stderr
    with serving(data_dir) as (_, client):
        again = client.jobs.get(job.id)
        assert again.state in (JobState.QUEUED, JobState.RUNNING)
        client.jobs.cancel(job.id)


def test_two_servers_on_one_postgres_and_one_is_killed(
    tmp_path: Path, digits: Any, register_digits: Any, postgres_url: str
) -> None:
    """They share the jobs; the work of the dead one is taken over, and no row is there twice."""
    data_dir = tmp_path / "shared"
    url = {"VERIFIER_DATABASE_URL": postgres_url}
    with serving(data_dir, **url) as (first, one), serving(data_dir, **url) as (_, other):
        register_digits(one)
        one.datasets.add(DATA, *save(tmp_path, digits))
        expected = undisturbed(one, LONG, 4)
        jobs = [one.jobs.submit(MODEL, DATA, dataclasses.replace(LONG, n=40_000), seed=seed) for seed in (4, 5)]
        eventually(lambda: {other.jobs.get(job.id).state for job in jobs} == {JobState.RUNNING})
        twin = one.jobs.submit(MODEL, DATA, LONG, seed=4)
        time.sleep(0.5)
        first.kill()
        for job in (*jobs, twin):
            assert finish(other, job).state is JobState.SUCCEEDED
            assert [r.position for r in other.jobs.results(job.id)] == list(range(100))
        assert told(other.jobs.results(twin.id)) == told(expected)
        assert max(other.jobs.get(job.id).attempt for job in jobs) == 2
        assert postgres_url.split("@")[0].split(":")[-1] not in first.stderr or "@" not in postgres_url


def test_an_embedded_client_works_on_the_job_that_it_watches(
    embedded: verifier.Client, tmp_path: Path, digits: Any
) -> None:
    embedded.datasets.add("mine", *save(tmp_path, digits, 10))
    job = embedded.jobs.submit(MODEL, "mine", QUICK, seed=5)
    assert embedded.jobs.get(job.id).state is JobState.QUEUED
    assert finish(embedded, job).state is JobState.SUCCEEDED
    assert len(list(embedded.jobs.results(job.id))) == 10
    assert [info.names for info in embedded.datasets.list()] == [("mine",)]
