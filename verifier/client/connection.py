"""The channel to a server: limits, retries, TLS, and statuses turned back into the errors of the house."""

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc

from verifier.errors import InvalidProblem, VerifierError
from verifier.wire.limits import MAX_MESSAGE_BYTES
from verifier.wire.status import DETAILS_KEY, from_status

RETRY_POLICY = json.dumps(
    {
        "methodConfig": [
            {
                # Every method is safe to repeat: the same seed gives the same certificates, the same file the same
                # version. What has begun to answer is never repeated.
                "name": [{"service": "verifier.v1.CertificationService"}, {"service": "verifier.v1.ModelService"}],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.2s",
                    "maxBackoff": "2s",
                    "backoffMultiplier": 2,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def open_channel(
    target: str, *, ca: Path | None = None, certificate: Path | None = None, key: Path | None = None
) -> grpc.aio.Channel:
    """A channel to HOST:PORT, with TLS where a CA is given, with a client certificate where that is given too."""
    options = (
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
        ("grpc.service_config", RETRY_POLICY),
    )
    if (certificate is None) != (key is None) or (certificate and ca is None):
        raise InvalidProblem(
            "a client certificate needs its key, and a CA for the server's: give all three", field="ca"
        )
    if ca is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(_read(ca), key and _read(key), certificate and _read(certificate))
    return grpc.aio.secure_channel(target, credentials, options=options)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidProblem(f"cannot read {path}: {error.strerror}", field="tls") from None


@contextmanager
def errors_of_the_house() -> Iterator[None]:
    """Raise the very error that the server raised instead of the transport's."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise _translated(error) from None


async def messages(call: Any) -> AsyncGenerator[Any]:
    """The messages of a streaming call; leaving early cancels it."""
    try:
        with errors_of_the_house():
            async for message in call:
                yield message
    finally:
        call.cancel()


def _translated(error: grpc.aio.AioRpcError) -> VerifierError:
    details = dict(error.trailing_metadata() or ()).get(DETAILS_KEY)
    return from_status(error.code(), error.details() or "", details)
