"""Cancelled, killed, stopped, broken, secured: what a server does when things end otherwise than they should."""

import contextlib
import datetime
import hashlib
import ipaddress
import logging
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from e2e.serving import (
    PROMPTLY,
    ServerProcess,
    Stubs,
    bare_server,
    eventually,
    header,
    in_thread,
    inline,
    refusal,
    run,
    server_in_thread,
    server_process,
    spec,
    start,
    upload,
)
from google.protobuf import descriptor_pb2
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

import verifier
from verifier.catalogue import Price
from verifier.check import check_all
from verifier.demo.digits import network
from verifier.methods import Smoothing
from verifier.model import ModelFormat
from verifier.server.interceptors import CallInterceptor
from verifier.server.main import running_server
from verifier.server.servicer import CertificationServicer, ModelServicer
from verifier.settings import Settings
from verifier.v1 import certification_pb2 as pb
from verifier.v1 import certification_pb2_grpc, models_pb2, models_pb2_grpc
from verifier.wire.certificates import certificates_from_lines

MODEL = "digits_gauss050"
METHOD = Smoothing(sigma=0.5, n0=50, n=400, alpha=1e-3)
CAPACITY = 20_000_000
ALL = Smoothing(sigma=0.5, n0=1, n=1_999_999)
"""With ten inputs, all the room there is, and about half a minute of work."""
A_FEW_STEPS = 3.0
"""Seconds: thirty steps, so that a busy machine is no failure, and a tenth of the work that was cancelled."""


# -- calls that end early ------------------------------------------------------------------------------


def assert_idle_again(address: str, x: Any) -> None:
    """Before a cancelled call could be done, another one gets all the room, and a small one its answer."""
    started = time.monotonic()
    with verifier.connect(address) as client, Stubs(address) as stubs:
        request = pb.StreamCertifyRequest(spec=spec(MODEL, ALL), inline=inline(x))

        refused: set[grpc.StatusCode] = set()

        def has_room() -> bool:
            call = stubs.certification.StreamCertify(request)
            try:
                return bool(next(call)) and bool(next(call))
            except grpc.RpcError as error:
                refused.add(error.code())
                return False
            finally:
                call.cancel()

        eventually(has_room)
        eventually(lambda: answers_at_full_rate(client, x))
        assert refused <= {grpc.StatusCode.RESOURCE_EXHAUSTED}
    assert time.monotonic() - started < A_FEW_STEPS, "the work went on after nobody wanted it"


def answers_at_full_rate(client: verifier.Client, x: Any) -> bool:
    started = time.monotonic()
    assert len(list(client.certify(MODEL, x[:1], METHOD, timeout=PROMPTLY))) == 1
    return time.monotonic() - started < 0.5


def test_a_cancelled_stream_frees_the_device(server: Any, stubs: Stubs, digits: Any) -> None:
    call = stubs.certification.StreamCertify(
        pb.StreamCertifyRequest(spec=spec(MODEL, ALL), inline=inline(digits.x[:10]))
    )
    next(call)
    assert next(call).forward_passes_done > 0
    call.cancel()
    assert_idle_again(server.address, digits.x[:10])


def test_a_cancelled_unary_call_frees_the_device(server: Any, stubs: Stubs, digits: Any) -> None:
    request = pb.CertifyRequest(spec=spec(MODEL, ALL), inline=inline(digits.x[:10]))
    calls = [stubs.certification.Certify.future(request)]

    def took_all_room() -> bool:
        if calls[-1].done():  # the look whether there is room came first, and took it
            calls.append(stubs.certification.Certify.future(request))
        return is_full(stubs, digits.x)

    eventually(took_all_room)
    assert calls[-1].cancel()
    assert_idle_again(server.address, digits.x[:10])


def is_full(stubs: Stubs, x: Any) -> bool:
    """Whether there is no room for half of what there ever is."""
    half = Smoothing(sigma=0.5, n0=1, n=CAPACITY // 2)
    call = stubs.certification.StreamCertify(pb.StreamCertifyRequest(spec=spec(MODEL, half), inline=inline(x[:1])))
    try:
        return not (next(call) and next(call))
    except grpc.RpcError as error:
        return error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    finally:
        call.cancel()


def test_a_passed_deadline_frees_the_device(server: Any, stubs: Stubs, digits: Any) -> None:
    """Nothing of a call is left after its deadline, before which every input was answered."""
    request = pb.StreamCertifyRequest(spec=spec("digits_std", ALL), inline=inline(digits.x[:10]))
    # No rate is known of this model yet, so that the call is not refused up front.
    answers = list(stubs.certification.StreamCertify(request, timeout=1.5))
    assert sum(len(answer.certificates) for answer in answers) == 10
    assert_idle_again(server.address, digits.x[:10])


def test_a_cancelled_stream_of_inputs_frees_the_device(server: Any, stubs: Stubs, digits: Any) -> None:
    sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sent.put(pb.CertifyInputsRequest(spec=spec(MODEL, ALL), inline=inline(digits.x[:9])))
    sent.put(pb.CertifyInputsRequest(inline=inline(digits.x[9:10])))
    call = stubs.certification.CertifyInputs(iter(sent.get, None))
    assert next(call).forward_passes_done > 0
    call.cancel()
    sent.put(None)
    assert_idle_again(server.address, digits.x[:10])


def test_a_bad_later_part_frees_the_device(server: Any, stubs: Stubs, digits: Any) -> None:
    parts = [
        pb.CertifyInputsRequest(spec=spec(MODEL, ALL), inline=inline(digits.x[:9])),
        pb.CertifyInputsRequest(inline=inline(digits.x[9:10] + 5)),
    ]
    found = refusal(lambda: stubs.certification.CertifyInputs(iter(parts)))
    assert found.code.name == "INVALID_ARGUMENT"
    assert_idle_again(server.address, digits.x[:10])


def test_leaving_the_python_loop_frees_the_device(server: Any, client: verifier.Client, digits: Any) -> None:
    method = Smoothing(sigma=0.5, n0=1, n=199_000)
    for certificate in client.certify(MODEL, digits.x[:100], method):
        assert certificate.index >= 0
        break
    assert_idle_again(server.address, digits.x[:10])


CLIENT = """
import sys, numpy, verifier
with verifier.connect(sys.argv[1]) as v:
    method = verifier.Smoothing(sigma=0.5, n0=1, n=1_999_999)
    for c in v.certify(sys.argv[2], numpy.load(sys.argv[3]), method, on_progress=lambda _: print(flush=True)):
        pass
"""


def test_a_killed_client_frees_the_device(server: Any, digits: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", digits.x[:10])
    command = [sys.executable, "-c", CLIENT, server.address, MODEL, str(tmp_path / "x.npy")]
    client = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert client.stdout is not None
    try:
        assert client.stdout.readline()
        assert client.stdout.readline()
    finally:
        client.kill()
        client.wait(PROMPTLY)
        client.stdout.close()
    assert_idle_again(server.address, digits.x[:10])


def test_many_requests_at_once_are_not_mixed(server: Any, digits: Any) -> None:
    """Fifty questions that differ in everything: each is answered with its own parameters, as if it were alone."""
    questions = [
        (number, Smoothing(sigma=0.05 + number / 50, n0=10 + number, n=300 + 7 * number, alpha=0.1 / (number + 1)))
        for number in range(50)
    ]

    def ask(client: verifier.Client, number: int, method: Smoothing) -> list[verifier.Certificate]:
        at = slice(number, number + 1 + number % 3)
        answers = client.certify(
            (MODEL, "digits_std")[number % 2], digits.x[at], method, labels=digits.y[at], seed=1000 + number
        )
        return sorted(answers, key=lambda c: c.index)

    with verifier.connect(server.address) as client:
        with ThreadPoolExecutor(50) as pool:
            together = list(pool.map(lambda question: ask(client, *question), questions))
        alone = [ask(client, *question) for question in questions]
    for (number, method), answers, again in zip(questions, together, alone, strict=True):
        assert len(answers) == 1 + number % 3
        assert check_all(answers).holds
        for row, (c, other) in enumerate(zip(answers, again, strict=True)):
            assert (c.smoothing.sigma, c.smoothing.n0, c.smoothing.n) == (method.sigma, method.n0, method.n)
            assert (c.guarantee.alpha, c.subject.sigma) == (method.alpha, method.sigma)
            assert (c.sampling.seed, c.label) == (1000 + number, digits.y[number + row])
            assert c.input_digest == verifier.problem.digest_of(digits.x[number + row])
            assert c.subject.model_digest == server.models[(MODEL, "digits_std")[number % 2]].digest
            assert (c.evidence, c.radius, c.prediction) == (other.evidence, other.radius, other.prediction)


# -- servers that end early ------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(data_dir: Path, *options: str, **more: Any) -> Iterator[tuple[ServerProcess, verifier.Client, Stubs]]:
    with (
        server_process(data_dir, *options, **more) as process,
        verifier.connect(process.address) as client,
        Stubs(process.address) as stubs,
    ):
        yield process, client, stubs


def add_digits(client: verifier.Client, name: str = MODEL) -> verifier.ModelInfo:
    return client.models.add(name, onnx=network(MODEL, ModelFormat.ONNX), input_range=(0.0, 1.0))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server process for tests that leave it as it was."""
    with server_process(tmp_path_factory.mktemp("shared") / "data") as process:
        yield process


def refused_to_start(**settings: Any) -> verifier.VerifierError:
    """Why a server does not start with these settings."""
    with pytest.raises(verifier.VerifierError) as refused, in_thread(lambda: running_server(Settings(**settings))):
        pass
    return refused.value


def test_a_killed_server_comes_back_whole(tmp_path: Path, digits: Any) -> None:
    """SIGKILL while it certifies and while a model comes in; the next one serves, with every model and no rubbish."""
    data_dir = tmp_path / "data"
    with serving(data_dir) as (process, client, stubs):
        info = add_digits(client)
        before = sorted(client.certify(MODEL, digits.x[:5], METHOD, seed=7), key=lambda c: c.index)
        answers = client.certify(MODEL, digits.x, Smoothing(sigma=0.5, n=20_000))
        assert next(answers)
        parts: queue.SimpleQueue[Any] = queue.SimpleQueue()
        parts.put(models_pb2.UploadModelRequest(header=header("half")))
        parts.put(models_pb2.UploadModelRequest(chunk=bytes(2**20)))
        uploading = stubs.models.UploadModel.future(iter(parts.get, None))
        incoming = data_dir / "blobs" / "incoming"
        eventually(lambda: sum(path.stat().st_size for path in incoming.iterdir()) == 2**20)
        process.kill()
        with pytest.raises(verifier.WorkerLost):
            list(answers)
        parts.put(None)
        assert uploading.exception(PROMPTLY) is not None
        assert list(incoming.iterdir())
    with serving(data_dir) as (process, client, stubs):
        assert client.models.list() == [info]
        assert not list(incoming.iterdir())
        after = sorted(client.certify(MODEL, digits.x[:5], METHOD, seed=7), key=lambda c: c.index)
        assert [(c.sampling.estimation, c.radius, c.execution.batch_rows) for c in after] == [
            (c.sampling.estimation, c.radius, c.execution.batch_rows) for c in before
        ]
        assert {c.sampling.attempt.number for c in after if c.sampling.attempt} == {1}  # the same seed, no new attempt
        assert add_digits(client, "again").digest == info.digest
        assert process.terminate() == 0
        assert "Traceback" not in process.stderr


def test_a_server_killed_while_it_registers(tmp_path: Path) -> None:
    """Whenever it happens: afterwards there is the whole model, or none."""
    data = network(MODEL, ModelFormat.ONNX).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    data_dir = tmp_path / "data"
    with serving(data_dir) as (process, _client, stubs):
        call = stubs.models.UploadModel.future(upload(data, header("half"), sha256, chunk=10_000))
        eventually(lambda: any(path.stat().st_size == len(data) for path in (data_dir / "blobs").rglob("*")))
        process.kill()
        assert call.exception(PROMPTLY) is not None
    with serving(data_dir) as (_process, client, _stubs):
        files = [path for path in (data_dir / "blobs").rglob("*") if path.is_file()]
        models = client.models.list()
        assert len(files) == len(models)
        for info in models:
            assert len(list(client.certify(info, zeros(), METHOD))) == 1


def zeros() -> Any:
    return np.zeros((1, 1, 8, 8), np.float32)


def test_a_second_server_is_refused_and_the_first_unharmed(shared: ServerProcess, tmp_path: Path) -> None:
    data_dir = shared.ready_line.partition("models in ")[2].strip()
    refused = run("serve", "--listen", "127.0.0.1:0", "--data-dir", data_dir)
    assert refused.returncode == 4
    assert not refused.stdout
    (line,) = (line for line in refused.stderr.splitlines() if line.startswith("error:"))
    assert f"is in use by a server (pid {shared.process.pid})" in line
    assert "Traceback" not in refused.stderr
    port_taken = refused_to_start(listen=shared.address, data_dir=tmp_path / "other")
    assert isinstance(port_taken, verifier.Conflict)
    assert f"cannot listen on {shared.address}" in port_taken.message
    with pytest.raises(verifier.Conflict, match="--server"), verifier.local(data_dir=data_dir) as client:
        client.models.list()
    with verifier.connect(shared.address) as client:
        assert client.methods()


def test_a_stopping_server_lets_calls_finish(tmp_path: Path, digits: Any) -> None:
    with serving(tmp_path / "data") as (process, client, stubs):
        add_digits(client)
        list(client.certify(MODEL, digits.x[:1], METHOD))
        answers = client.certify(MODEL, digits.x[:100], Smoothing(sigma=0.5, n0=1, n=9_999))
        first = next(answers)
        process.process.send_signal(signal.SIGTERM)
        certificates = [first, *answers]
        assert sorted(c.index for c in certificates) == list(range(100))
        assert check_all(certificates).holds
        assert process.process.wait(PROMPTLY) == 0
        assert refusal(lambda: stubs.certification.ListMethods(pb.ListMethodsRequest())).code.name == "UNAVAILABLE"
        assert "Traceback" not in process.stderr


def test_a_stopping_server_does_not_wait_for_ever(tmp_path: Path, digits: Any) -> None:
    """Work beyond the time to drain ends with an error that says that it may be asked again."""
    with serving(tmp_path / "data", environment={"VERIFIER_DRAIN_SECONDS": "0.5"}) as (process, client, _stubs):
        add_digits(client)
        answers = client.certify(MODEL, digits.x[:200], Smoothing(sigma=0.5, n0=1, n=199_999))
        assert next(answers)
        process.process.send_signal(signal.SIGINT)
        with pytest.raises(verifier.WorkerLost):
            list(answers)
        assert process.process.wait(PROMPTLY) == 0
        assert "Traceback" not in process.stderr


def test_uploads_left_at_any_moment_leave_nothing(shared: ServerProcess) -> None:
    """Cancelled at once after the header or a little later: whatever the server was about to do, no file stays."""
    incoming = Path(shared.ready_line.partition("models in ")[2].strip()) / "blobs" / "incoming"
    chunk = models_pb2.UploadModelRequest(chunk=network(MODEL, ModelFormat.ONNX).read_bytes())
    pause = threading.Event()
    with Stubs(shared.address) as stubs:
        for number in range(150):
            parts = iter([models_pb2.UploadModelRequest(header=header("gone")), chunk, chunk])
            call = stubs.models.UploadModel.future(parts)
            pause.wait(0.0001 * (number % 40))
            call.cancel()
        assert not stubs.models.ListModels(models_pb2.ListModelsRequest(parent="projects/default")).models
    eventually(lambda: not list(incoming.iterdir()))


def test_a_full_disk(tmp_path: Path, digits: Any) -> None:
    """Files may not grow beyond 300 kB: a larger model is refused, and the server goes on."""
    limited = ("/bin/sh", "-c", 'ulimit -f 600; exec "$@"', "sh")  # in blocks of 512 bytes
    big = tmp_path / "big.onnx"
    big.write_bytes(b"\x08" + bytes(500_000))
    with serving(tmp_path / "data", prefix=limited) as (process, client, _stubs):
        with pytest.raises(verifier.Overloaded, match="free space") as refused:
            client.models.add("big", onnx=big)
        assert refused.value.reason == "DISK_FULL"
        assert not list((tmp_path / "data" / "blobs" / "incoming").iterdir())
        add_digits(client)
        assert len(list(client.certify(MODEL, digits.x[:2], METHOD))) == 2
        assert "Traceback" not in process.stderr


# -- failures inside -----------------------------------------------------------------------------------


def test_a_damaged_model_file_is_told_as_such(tmp_path: Path, digits: Any) -> None:
    """Bits that changed on the disk under a running server: never a certificate of another function."""
    data_dir = tmp_path / "data"
    with server_in_thread(data_dir) as address, verifier.connect(address) as client:
        info = add_digits(client)
    (blob,) = (data_dir / "blobs").rglob(info.manifest.weights_sha256)
    whole = blob.read_bytes()
    damaged = bytearray(whole)
    damaged[len(damaged) // 2] ^= 1
    for content in (bytes(damaged), None):
        blob.unlink()
        if content is not None:
            blob.write_bytes(content)
        with server_in_thread(data_dir) as address, verifier.connect(address) as client:
            with pytest.raises(verifier.Unsound) as refused:
                list(client.certify(MODEL, digits.x[:1], METHOD))
            assert refused.value.reason == "MODEL_CORRUPT"
            assert "register the same file again" in refused.value.message
            add_digits(client)
            assert len(list(client.certify(MODEL, digits.x[:1], METHOD))) == 1


class Exploding:
    """A service whose every answer is a failure that nobody foresaw."""

    def __init__(self, later: bool = False) -> None:
        self._later = later

    def methods(self) -> Any:
        raise ZeroDivisionError("a secret of the server")

    async def get_model(self, _name: str) -> Any:
        raise KeyError("a secret of the server")

    async def price(self, *_question: Any) -> tuple[str, Price]:
        if self._later:
            return "0" * 64, Price(1, 0.0)
        raise AssertionError("a secret of the server")

    async def certify(self, *_question: Any, **_more: Any) -> Any:
        raise RuntimeError("a secret of the server")
        yield


@pytest.mark.parametrize("later", [False, True])
def test_an_unexpected_failure_is_told_as_an_id(caplog: pytest.LogCaptureFixture, digits: Any, later: bool) -> None:
    service: Any = Exploding(later)

    def add(server: grpc.aio.Server) -> None:
        certification_pb2_grpc.add_CertificationServiceServicer_to_server(CertificationServicer(service), server)
        models_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(service), server)

    certify = pb.CertifyRequest(spec=spec(MODEL, METHOD), inline=inline(digits.x[:1]))
    stream = pb.StreamCertifyRequest(spec=spec(MODEL, METHOD), inline=inline(digits.x[:1]))
    with in_thread(lambda: bare_server(add, CallInterceptor())) as address, Stubs(address) as stubs:
        calls: list[Callable[[], Any]] = [
            lambda: stubs.certification.ListMethods(pb.ListMethodsRequest()),
            lambda: stubs.models.GetModel(models_pb2.GetModelRequest(name="projects/default/models/a")),
            lambda: stubs.certification.Certify(certify),
            lambda: stubs.certification.StreamCertify(stream),
        ]
        ids = set()
        for call in calls:
            found = refusal(call)
            assert (found.code.name, found.reason) == ("INTERNAL", "UNEXPECTED")
            assert "secret" not in found.message
            assert "Traceback" not in found.message
            match = re.search(r"[0-9a-f]{16}", found.message)
            assert match
            (record,) = (record for record in caplog.records if match[0] in record.getMessage())
            assert record.levelno == logging.ERROR
            assert record.exc_info
            assert "a secret of the server" in str(record.exc_info[1])
            ids.add(match[0])
        assert len(ids) == len(calls)
        with verifier.connect(address) as client, pytest.raises(verifier.InternalError, match=r"id [0-9a-f]{16}"):
            client.methods()


# -- what stands beside the product's own services ------------------------------------------------------------


def test_health(stubs: Stubs) -> None:
    health = health_pb2_grpc.HealthStub(stubs.channel)
    for service in ("", "verifier.v1.CertificationService", "verifier.v1.ModelService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service))
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert refusal(lambda: health.Check(health_pb2.HealthCheckRequest(service="cat"))).code.name == "NOT_FOUND"


def test_health_can_be_watched(shared: ServerProcess) -> None:
    """As load balancers and gRPC's own client-side health checking do."""
    with Stubs(shared.address) as stubs:
        watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(health_pb2.HealthCheckRequest(service=""))
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()


def test_reflection_describes_every_method(stubs: Stubs) -> None:
    reflection = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)

    def ask(**question: Any) -> Any:
        (answer,) = reflection.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**question)]))
        return answer

    listed = {service.name for service in ask(list_services="").list_services_response.service}
    assert {"verifier.v1.CertificationService", "verifier.v1.ModelService", "grpc.health.v1.Health"} <= listed
    methods = set()
    for name in ("verifier.v1.CertificationService", "verifier.v1.ModelService"):
        for data in ask(file_containing_symbol=name).file_descriptor_response.file_descriptor_proto:
            file = descriptor_pb2.FileDescriptorProto.FromString(data)
            methods |= {method.name for service in file.service for method in service.method}
    assert {"Certify", "StreamCertify", "CertifyInputs", "Predict", "ListMethods"} <= methods
    assert {"UploadModel", "GetModel", "ListModels", "DeleteModel"} <= methods
    for dependency in ("google/protobuf/timestamp.proto", "verifier/v1/tensor.proto"):
        assert ask(file_by_filename=dependency).file_descriptor_response.file_descriptor_proto


def test_channelz_is_behind_its_flag(stubs: Stubs, tmp_path: Path) -> None:
    """The module's server has it."""
    request = channelz_pb2.GetServersRequest()
    assert channelz_pb2_grpc.ChannelzStub(stubs.channel).GetServers(request).server
    with server_in_thread(tmp_path) as address, Stubs(address) as other:
        call = channelz_pb2_grpc.ChannelzStub(other.channel).GetServers
        assert refusal(lambda: call(request)).code.name == "UNIMPLEMENTED"


# -- TLS -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Authority:
    """A certificate authority made for a test, and what it signed."""

    directory: Path
    name: str

    @property
    def ca(self) -> Path:
        return self.directory / f"{self.name}-ca.pem"

    def pair(self, who: str) -> tuple[Path, Path]:
        return self.directory / f"{self.name}-{who}.pem", self.directory / f"{self.name}-{who}.key"


@pytest.fixture(scope="module")
def make_authority(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Authority]:
    directory = tmp_path_factory.mktemp("tls")
    now = datetime.datetime.now(datetime.UTC)

    def signed(subject: str, issuer: str, key: Any, by: Any, *, is_ca: bool) -> Any:
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)]))
            .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return builder.sign(by, hashes.SHA256())

    def pem(thing: Any) -> bytes:
        if hasattr(thing, "public_bytes"):
            return thing.public_bytes(serialization.Encoding.PEM)  # type: ignore[no-any-return]
        return thing.private_bytes(  # type: ignore[no-any-return]
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def make(name: str) -> Authority:
        authority = Authority(directory, name)
        root = ec.generate_private_key(ec.SECP256R1())
        authority.ca.write_bytes(pem(signed(name, name, root, root, is_ca=True)))
        for who in ("server", "client"):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate, private = authority.pair(who)
            certificate.write_bytes(pem(signed(who, name, key, root, is_ca=False)))
            private.write_bytes(pem(key))
        return authority

    return make


@pytest.fixture(scope="module")
def ours(make_authority: Callable[[str], Authority]) -> Authority:
    return make_authority("ours")


@pytest.fixture(scope="module")
def theirs(make_authority: Callable[[str], Authority]) -> Authority:
    return make_authority("theirs")


def test_tls(tmp_path: Path, ours: Authority, theirs: Authority) -> None:
    certificate, key = ours.pair("server")
    with server_in_thread(tmp_path, tls_cert=certificate, tls_key=key) as address:
        for target in (address, address.replace("127.0.0.1", "localhost")):
            with verifier.connect(target, ca=ours.ca) as client:
                assert client.methods()
        for options in ({"ca": theirs.ca}, {}):
            with verifier.connect(address, **options) as client, pytest.raises(verifier.WorkerLost):
                client.methods()
        answer = run("methods", "--server", address, "--ca", str(ours.ca))
        assert answer.returncode == 0, answer.stderr
        wrong = run("methods", "--server", address, "--ca", str(theirs.ca))
        assert wrong.returncode == 4
        assert "Traceback" not in wrong.stderr
        assert "certificate" in wrong.stderr.lower(), "the reason is the certificate, not that no server is there"


def test_mutual_tls(tmp_path: Path, ours: Authority, theirs: Authority) -> None:
    certificate, key = ours.pair("server")
    with server_in_thread(tmp_path, tls_cert=certificate, tls_key=key, tls_client_ca=ours.ca) as address:
        mine, my_key = ours.pair("client")
        with verifier.connect(address, ca=ours.ca, certificate=mine, key=my_key) as client:
            assert client.methods()
        other, other_key = theirs.pair("client")
        for options in ({}, {"certificate": other, "key": other_key}):
            with verifier.connect(address, ca=ours.ca, **options) as client, pytest.raises(verifier.WorkerLost):
                client.methods()


def test_the_command_line_reaches_a_server_with_mutual_tls(tmp_path: Path, ours: Authority) -> None:
    """What the server can ask for, the command line must be able to show."""
    certificate, key = ours.pair("server")
    mine, my_key = ours.pair("client")
    with server_in_thread(tmp_path, tls_cert=certificate, tls_key=key, tls_client_ca=ours.ca) as address:
        shown = ("--cert", str(mine), "--key", str(my_key))
        answer = run("methods", "--server", address, "--ca", str(ours.ca), *shown)
    assert answer.returncode == 0, answer.stderr


@pytest.mark.parametrize("bad", ["missing", "garbage", "of another key"])
def test_a_server_refuses_bad_pem_files(tmp_path: Path, ours: Authority, bad: str) -> None:
    certificate, key = ours.pair("server")
    if bad == "missing":
        certificate = tmp_path / "none.pem"
    elif bad == "garbage":
        certificate = tmp_path / "garbage.pem"
        certificate.write_text("garbage")
    else:
        key = ours.pair("client")[1]
    error = refused_to_start(listen="127.0.0.1:0", data_dir=tmp_path / "data", tls_cert=certificate, tls_key=key)
    assert isinstance(error, verifier.InvalidProblem), error
    assert re.search("TLS|certificate|none.pem", error.message)
    assert "another server" not in error.message, "the port is free; the certificate is bad"


def test_a_certificate_needs_its_key(ours: Authority) -> None:
    answer = run("serve", "--tls-cert", str(ours.pair("server")[0]))
    assert answer.returncode == 2
    assert answer.stderr.startswith("error: TLS needs a certificate and its key")


# -- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    ["listen = ", "speed = 9", "max_pending_passes = [1]", 'max_pending_passes = "many"', "data_dir = 5", "\x00"],
    ids=["not TOML", "unknown", "a list", "a word", "a number", "a NUL"],
)
def test_bad_settings_are_one_line(tmp_path: Path, content: str) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(content)
    answer = run("serve", "--listen", "127.0.0.1:0", "--config", str(file))
    assert answer.returncode == 2, answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.parametrize("listen", ["nonsense", "127.0.0.1:99999", ":1", "127.0.0.1:-1", "127.0.0.1:", ""])
def test_bad_addresses(tmp_path: Path, listen: str) -> None:
    error = refused_to_start(listen=listen, data_dir=tmp_path)
    assert isinstance(error, verifier.InvalidProblem)
    assert "HOST:PORT" in error.message


@pytest.mark.parametrize(("name", "value"), [("device", "tpu"), ("device", "cuda:7"), ("form", "jit")])
def test_bad_devices(tmp_path: Path, name: str, value: str) -> None:
    error = refused_to_start(listen="127.0.0.1:0", data_dir=tmp_path, **{name: value})
    assert isinstance(error, verifier.InvalidProblem | verifier.Unsupported)
    assert value in error.message


def test_a_server_is_configured_by_file_and_environment(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("max_pending_passes = 1000\nchannelz = true\n")
    environment = {"VERIFIER_DEVICE": "cpu", "VERIFIER_MAX_PENDING_PASSES": "2000", "VERIFIER_DATA_DIR": str(tmp_path)}
    settings = Settings.read(file, environment, listen="127.0.0.1:0")
    with in_thread(lambda: running_server(settings)) as address, verifier.connect(address) as client:
        add_digits(client)
        with pytest.raises(verifier.InvalidProblem, match="2,000"):
            list(client.certify(MODEL, zeros(), Smoothing(sigma=0.5)))
        with Stubs(address) as stubs:
            channelz = channelz_pb2_grpc.ChannelzStub(stubs.channel)
            assert channelz.GetServers(channelz_pb2.GetServersRequest()).server


def test_the_data_directory_must_be_one(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "must be a directory" in refused_to_start(listen="127.0.0.1:0", data_dir=file / "below").message
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "verifier.db").write_bytes(b"this is no database, whatever else it may be" * 100)
    answer = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(damaged))
    assert answer.returncode == 2, answer.stderr
    assert "not a whole SQLite database" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_an_interrupted_command_keeps_what_it_has(server: Any, digits: Any, tmp_path: Path) -> None:
    """Control-C: the end at once, without a traceback; what was certified is in the file, and the device is free."""
    np.save(tmp_path / "x.npy", digits.x[:100])
    out = tmp_path / "certificates.jsonl"
    options = ("--model", MODEL, "--inputs", str(tmp_path / "x.npy"), "--sigma", "0.5", "--n", "150000")
    command = ("certify", *options, "--server", server.address, "--out", str(out))
    with start(*command, stderr=subprocess.PIPE) as process:
        try:
            eventually(lambda: out.exists() and out.stat().st_size > 0)
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=PROMPTLY)
        finally:
            process.kill()
    assert process.returncode == 130
    assert stderr.decode().splitlines()[-1] == "interrupted"
    assert b"Traceback" not in stderr
    kept = certificates_from_lines(out.read_text().splitlines())
    assert 0 < len(kept) < 100
    assert check_all(kept).holds
    assert_idle_again(server.address, digits.x[:10])
