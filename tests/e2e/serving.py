"""Servers to talk to, messages to send them, and what a refusal says."""

import asyncio
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from numpy.typing import NDArray

from verifier.methods import Smoothing
from verifier.problem import Norm, Problem
from verifier.server.main import running_server
from verifier.settings import Settings
from verifier.v1 import certification_pb2 as pb
from verifier.v1 import certification_pb2_grpc, models_pb2, models_pb2_grpc
from verifier.wire import questions

PROMPTLY = 30.0
"""Seconds that nothing here takes unless it hangs."""

RAW_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1))


# -- servers -------------------------------------------------------------------------------------------


@contextmanager
def in_thread(server: Callable[[], AbstractAsyncContextManager[str]]) -> Iterator[str]:
    """The address of a server that runs on an event loop in a thread of its own until the block ends."""
    ready: Future[tuple[str, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with server() as address:
            ready.set_result((address, asyncio.get_running_loop(), stop))
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=run, name="e2e-server")
    thread.start()
    try:
        address, loop, stop = ready.result(PROMPTLY)
        try:
            yield address
        finally:
            loop.call_soon_threadsafe(stop.set)
    finally:
        thread.join(PROMPTLY)
        assert not thread.is_alive(), "the server did not stop"


@contextmanager
def server_in_thread(data_dir: Path, **settings: Any) -> Iterator[str]:
    """The whole server, on a free port of this process."""
    chosen = Settings(listen="127.0.0.1:0", data_dir=data_dir, device="cpu", drain_seconds=1.0, **settings)
    with in_thread(lambda: running_server(chosen)) as address:
        yield address


@asynccontextmanager
async def bare_server(add: Callable[[grpc.aio.Server], None], interceptor: Any) -> AsyncIterator[str]:
    """A gRPC server with the servicers of the caller's choice."""
    server = grpc.aio.server(interceptors=(interceptor,))
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


@dataclass
class ServerProcess:
    """`python -m verifier serve` as a process; its address, and what it wrote."""

    process: "subprocess.Popen[str]"
    address: str
    ready_line: str
    log: Path
    lines: "queue.SimpleQueue[str]" = field(default_factory=queue.SimpleQueue)

    @property
    def stderr(self) -> str:
        return self.log.read_text()

    def kill(self) -> None:
        """The end without warning."""
        self.process.kill()
        self.process.wait(PROMPTLY)

    def terminate(self) -> int:
        """The polite end; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PROMPTLY)


@contextmanager
def server_process(
    data_dir: Path, *options: str, environment: dict[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[ServerProcess]:
    """A server process that is ready; killed at the end of the block if it still runs.

    Args:
        data_dir: its data directory; its log lies beside it.
        options: further options of `serve`.
        environment: further variables.
        prefix: command that starts it, such as a shell that sets limits first.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.parent / f"{data_dir.name}.log"
    command = [*prefix, *verifier("serve", "--listen", "127.0.0.1:0", "--device", "cpu", "--data-dir", str(data_dir))]
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [*command, *options], stdout=subprocess.PIPE, stderr=stderr, text=True, env=_environment(environment)
        )
    assert process.stdout is not None
    try:
        line = _first_line(process)
        match = re.search(r"serving on (\S+),", line)
        assert match, f"no ready line, but {line!r} and {log.read_text()!r}"
        yield ServerProcess(process, match[1], line, log)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(PROMPTLY)
        process.stdout.close()


def _first_line(process: "subprocess.Popen[str]") -> str:
    """Its first line; ends the process rather than wait forever."""
    assert process.stdout is not None
    watchdog = threading.Timer(PROMPTLY, process.kill)
    watchdog.start()
    try:
        return process.stdout.readline()
    finally:
        watchdog.cancel()


def verifier(*arguments: str) -> list[str]:
    """The command line of the program."""
    return [sys.executable, "-m", "verifier", *arguments]


def _environment(further: dict[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VERIFIER_")}
    return {**kept, "COLUMNS": "200", **(further or {})}


def run(
    *arguments: str, stdin: str | None = None, environment: dict[str, str] | None = None, cwd: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """The program, run to its end."""
    return subprocess.run(
        verifier(*arguments),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=2 * PROMPTLY,
        env=_environment(environment),
        cwd=cwd,
        check=False,
    )


def start(*arguments: str, environment: dict[str, str] | None = None, **options: Any) -> "subprocess.Popen[bytes]":
    """The program, started."""
    return subprocess.Popen(verifier(*arguments), env=_environment(environment), **options)


# -- raw messages --------------------------------------------------------------------------------------


class Stubs:
    """The generated stubs on a channel without any of our client's code."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.insecure_channel(address, options=RAW_OPTIONS)
        self.certification = certification_pb2_grpc.CertificationServiceStub(self.channel)
        self.models = models_pb2_grpc.ModelServiceStub(self.channel)

    def __enter__(self) -> "Stubs":
        return self

    def __exit__(self, *_error: object) -> None:
        self.channel.close()


def spec(model: str, method: Smoothing, **options: Any) -> pb.CertifySpec:
    """The specification of a request in L2."""
    eps, seed = options.pop("eps", None), options.pop("seed", 7)
    problem = Problem(np.zeros((1, 1), dtype=np.float32), Norm.L2, eps=eps)
    return questions.to_spec(model, problem, method, seed, **options)


def inline(x: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> pb.InlineInputs:
    """Inputs in a message."""
    return questions.to_inline(Problem(x, Norm.L2, labels))


def upload(
    data: bytes, header: "models_pb2.UploadModelRequest.Header", sha256: str, chunk: int = 2**20
) -> Iterator[models_pb2.UploadModelRequest]:
    """A whole upload."""
    yield models_pb2.UploadModelRequest(header=header)
    for first in range(0, len(data), chunk):
        yield models_pb2.UploadModelRequest(chunk=data[first : first + chunk])
    yield models_pb2.UploadModelRequest(trailer=models_pb2.UploadModelRequest.Trailer(sha256=sha256))


def header(alias: str, **options: Any) -> "models_pb2.UploadModelRequest.Header":
    """The header of an ONNX upload."""
    source = options.pop("source", models_pb2.ModelSource(format=models_pb2.MODEL_FORMAT_ONNX))
    parent = options.pop("parent", "projects/default")
    return models_pb2.UploadModelRequest.Header(parent=parent, alias=alias, source=source, **options)


# -- refusals ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Refusal:
    """A failed call, with its details taken apart."""

    code: grpc.StatusCode
    message: str
    reason: str
    domain: str
    fields: tuple[str, ...]
    retry_after: float | None
    quota: bool
    precondition: bool
    details: bytes | None

    @classmethod
    def of(cls, error: Any) -> "Refusal":
        """What an error of the transport carries."""
        packed = dict(error.trailing_metadata() or ()).get("grpc-status-details-bin")
        status = status_pb2.Status.FromString(packed or b"")
        info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
        retry, quota = error_details_pb2.RetryInfo(), error_details_pb2.QuotaFailure()
        condition = error_details_pb2.PreconditionFailure()
        found = [
            detail
            for packed_detail in status.details
            for detail in (info, bad, retry, quota, condition)
            if packed_detail.Unpack(detail)
        ]
        return cls(
            code=error.code(),
            message=error.details() or "",
            reason=info.reason,
            domain=info.domain,
            fields=tuple(violation.field for violation in bad.field_violations),
            retry_after=retry.retry_delay.ToMilliseconds() / 1000 if retry in found else None,
            quota=quota in found,
            precondition=condition in found,
            details=packed,
        )


def refusal(call: Callable[[], Any]) -> Refusal:
    """How the server refuses a call; it must."""
    try:
        answer = call()
        if hasattr(answer, "__next__"):
            answer = list(answer)
    except grpc.RpcError as error:
        return Refusal.of(error)
    raise AssertionError(f"not refused, but answered {str(answer)[:500]}")


def eventually(holds: Callable[[], bool]) -> None:
    """Holds within a while."""
    pause = threading.Event()
    for _ in range(250):
        if holds():
            return
        pause.wait(0.02)
    assert holds()


def json_lines(text: str) -> list[Any]:
    """The values of JSON lines."""
    return [json.loads(line) for line in text.splitlines()]
