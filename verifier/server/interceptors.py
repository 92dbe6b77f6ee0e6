"""Around every call, unary and stream alike: errors become statuses, calls get an id, and times are logged."""

import logging
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from verifier.errors import InternalError, VerifierError
from verifier.wire.status import DETAILS_KEY, to_status

logger = logging.getLogger(__name__)


OURS = "/verifier."
"""Prefix of the methods around which this works; health and reflection tell their own errors."""


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Maps errors to statuses with details; what is not ours is logged whole and told to the client as an id."""

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """See `grpc.aio.ServerInterceptor`."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or not method.startswith(OURS):
            return handler
        if handler.response_streaming:
            behavior = _streaming(handler.unary_stream or handler.stream_stream, method)
            factory = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
        else:
            behavior = _unary(handler.unary_unary or handler.stream_unary, method)
            factory = (
                grpc.stream_unary_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_unary_rpc_method_handler
            )
        return factory(behavior, handler.request_deserializer, handler.response_serializer)


def _unary(behavior: Callable[[Any, Any], Awaitable[Any]], method: str) -> Any:
    async def call(request: Any, context: Any) -> Any:
        started = time.perf_counter()
        try:
            answer = await behavior(request, context)
        except Exception as error:
            await _abort(context, method, started, error)
        _log(method, started, "OK")
        return answer

    return call


def _streaming(behavior: Callable[[Any, Any], AsyncGenerator[Any]], method: str) -> Any:
    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        started = time.perf_counter()
        answers = behavior(request, context)
        try:
            async for answer in answers:
                yield answer
        except Exception as error:
            await _abort(context, method, started, error)
        finally:
            # Only this is reliable when the client goes: the device is freed here.
            await answers.aclose()
        _log(method, started, "OK")

    return call


async def _abort(context: Any, method: str, started: float, error: Exception) -> None:
    """End the call with the error's status; never returns."""
    if isinstance(error, grpc.aio.AbortError):
        raise error
    if not isinstance(error, VerifierError):
        call_id = secrets.token_hex(8)
        logger.exception("unexpected failure %s in %s", call_id, method, exc_info=error)
        error = InternalError(
            f"unexpected failure; it is logged whole on the server under the id {call_id}", reason="UNEXPECTED"
        )
    code, status = to_status(error)
    _log(method, started, f"{code.name} {error.message}")
    await context.abort(code, status.message, ((DETAILS_KEY, status.SerializeToString()),))


def _log(method: str, started: float, outcome: str) -> None:
    logger.info("%s %.1f ms %s", method, 1000 * (time.perf_counter() - started), outcome)
