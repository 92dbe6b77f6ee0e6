"""The gRPC server: settings become a service, the service gets its doors; start, serve, drain."""

import asyncio
import logging
import signal
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
from grpc_channelz.v1 import channelz
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from verifier.composition import House, open_house
from verifier.errors import Conflict, InvalidProblem
from verifier.server.batch_servicer import DatasetServicer, GateServicer, JobServicer
from verifier.server.interceptors import CallInterceptor
from verifier.server.servicer import CertificationServicer, ModelServicer
from verifier.service import Service
from verifier.settings import Settings
from verifier.v1 import (
    certification_pb2,
    certification_pb2_grpc,
    datasets_pb2,
    datasets_pb2_grpc,
    gates_pb2,
    gates_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
)
from verifier.wire.limits import MAX_MESSAGE_BYTES

logger = logging.getLogger(__name__)


def _is_not_cancellation(record: logging.LogRecord) -> bool:
    """grpc logs the end of a cancelled call with a traceback; it is no failure."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


_SECONDS_TO_TELL = 2.0
"""After the time to drain: for errors to reach their clients, before their calls are cut off."""

SERVICES = tuple(
    service.full_name
    for file in (certification_pb2, models_pb2, datasets_pb2, jobs_pb2, gates_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
)

_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),  # a second server on the port must fail, not share it
)


def serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    """Serve until SIGINT or SIGTERM, then let running calls finish for a while.

    Args:
        settings: of the server.
        on_ready: called once with the address that is really listened on.
    Raises:
        Conflict: the port or the data directory is in use.
        Unsound: the statistical self-test failed.
    """
    asyncio.run(_serve(settings, on_ready))


async def _serve(settings: Settings, on_ready: Callable[[str], None]) -> None:
    logging.getLogger("grpc._cython.cygrpc").addFilter(_is_not_cancellation)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with running_server(settings) as address:
        on_ready(address)
        await stop.wait()
        logger.info("stopping: running calls get %.0f s", settings.drain_seconds)


@asynccontextmanager
async def running_server(settings: Settings) -> AsyncIterator[str]:
    """A serving server; yields its address, drains at the end of the block."""
    with open_house(settings, exclusive=True) as house:
        server = grpc.aio.server(options=_OPTIONS, interceptors=(CallInterceptor(),))
        _add_servicers(server, house)
        healths = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(healths, server)
        reflection.enable_server_reflection((*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
        if settings.channelz:
            channelz.add_channelz_servicer(server)
        address = _bind(server, settings)
        await server.start()
        for name in ("", *SERVICES):
            await healths.set(name, health_pb2.HealthCheckResponse.SERVING)
        runner = asyncio.create_task(house.runner.run()) if settings.run_jobs else None
        try:
            yield address
        finally:
            await healths.enter_graceful_shutdown()
            if runner is not None:
                runner.cancel()
                await asyncio.gather(runner, return_exceptions=True)
            await _drain(server, house.service, settings.drain_seconds)


def _add_servicers(server: grpc.aio.Server, house: House) -> None:
    certification_pb2_grpc.add_CertificationServiceServicer_to_server(CertificationServicer(house.service), server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(ModelServicer(house.service), server)
    datasets_pb2_grpc.add_DatasetServiceServicer_to_server(DatasetServicer(house.datasets), server)
    jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(house.batch), server)
    gates_pb2_grpc.add_GateServiceServicer_to_server(GateServicer(house.gatekeeper), server)


async def _drain(server: grpc.aio.Server, service: Service, seconds: float) -> None:
    """Let running calls finish; what is left then is told that it may be asked again."""
    stopped = asyncio.ensure_future(server.stop(seconds + _SECONDS_TO_TELL))
    await asyncio.wait({stopped}, timeout=seconds)
    if not stopped.done():
        await service.stop_working()
    await stopped


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    host, colon, port = settings.listen.rpartition(":")
    if not (colon and host and port.isdigit() and int(port) < 65536):
        raise InvalidProblem(f"listen must be HOST:PORT, got {settings.listen!r}", field="listen")
    try:
        if settings.tls_cert and settings.tls_key:
            bound = server.add_secure_port(settings.listen, _credentials(settings))
        else:
            bound = server.add_insecure_port(settings.listen)
    except RuntimeError:
        bound = 0
    if not bound:
        raise Conflict(
            f"cannot listen on {settings.listen}: is another server there, or is the address not this machine's? "
            "choose another with --listen",
            reason="ADDRESS_IN_USE",
        )
    return f"{host}:{bound}"


def _credentials(settings: Settings) -> grpc.ServerCredentials:
    """TLS; with a client CA, clients must show a certificate of it."""
    assert settings.tls_cert is not None, "the caller checked"
    assert settings.tls_key is not None, "the caller checked"
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
    except (OSError, ssl.SSLError) as error:
        raise InvalidProblem(
            f"the TLS files must be a PEM certificate, its key, and a CA where clients must show theirs: {error}",
            field="tls_cert",
        ) from None
    pair = (_read(settings.tls_key), _read(settings.tls_cert))
    ca = _read(settings.tls_client_ca) if settings.tls_client_ca else None
    return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidProblem(f"cannot read {path}: {error.strerror}", field="tls") from None
