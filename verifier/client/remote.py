"""A service behind a gRPC channel."""

import asyncio
import hashlib
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import grpc

from verifier.catalogue import MethodInfo, Price, Progress
from verifier.certificate import SmoothedPrediction
from verifier.client.connection import errors_of_the_house, messages
from verifier.errors import InvalidProblem
from verifier.methods import CertifyingMethod, Prediction
from verifier.model import ModelInfo, ModelSource
from verifier.problem import Problem
from verifier.v1 import certification_pb2 as pb
from verifier.v1 import certification_pb2_grpc, models_pb2, models_pb2_grpc
from verifier.wire import catalogue, certificates, questions
from verifier.wire.limits import CHUNK_BYTES, INLINE_BYTES
from verifier.wire.models import from_model, to_source
from verifier.wire.names import model_name, parse_model_name, project_name

PAGE_SIZE = 200


class RemoteService:
    """See `ServiceFace`; errors are those that the server raised."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._certification = certification_pb2_grpc.CertificationServiceStub(channel)
        self._models = models_pb2_grpc.ModelServiceStub(channel)

    async def add_model(self, file: Path, source: ModelSource, alias: str, move_alias: bool) -> ModelInfo:
        """See `ServiceFace`; the file travels in chunks, with its SHA-256 at the end."""
        header = models_pb2.UploadModelRequest.Header(
            parent=project_name(),
            alias=alias,
            source=to_source(source),
            move_alias=move_alias,
            request_id=str(uuid.uuid4()),
        )
        with errors_of_the_house():
            return from_model(await self._models.UploadModel(_upload(header, file)))

    async def get_model(self, name: str) -> ModelInfo:
        """See `ServiceFace`."""
        with errors_of_the_house():
            return from_model(await self._models.GetModel(models_pb2.GetModelRequest(name=model_name(name))))

    async def list_models(self) -> list[ModelInfo]:
        """See `ServiceFace`; page by page."""
        models: list[ModelInfo] = []
        token = ""
        while True:
            request = models_pb2.ListModelsRequest(parent=project_name(), page_size=PAGE_SIZE, page_token=token)
            with errors_of_the_house():
                page = await self._models.ListModels(request)
            models += [from_model(message) for message in page.models]
            token = page.next_page_token
            if not token:
                return models

    async def remove_model(self, name: str) -> None:
        """See `ServiceFace`."""
        request = models_pb2.DeleteModelRequest(name=model_name(name), request_id=str(uuid.uuid4()))
        with errors_of_the_house():
            await self._models.DeleteModel(request)

    async def methods(self) -> list[MethodInfo]:
        """See `ServiceFace`."""
        with errors_of_the_house():
            answer = await self._certification.ListMethods(pb.ListMethodsRequest())
        return [catalogue.from_method_info(message) for message in answer.methods]

    async def price(self, model: str, problem: Problem, method: CertifyingMethod) -> Price:
        """See `ServiceFace`; a request too large for one message is priced by its first inputs."""
        part = next(_parts(problem))
        spec = questions.to_spec(model, problem, method, None, validate_only=True)
        with errors_of_the_house():
            answer = await self._certification.Certify(pb.CertifyRequest(spec=spec, inline=questions.to_inline(part)))
        return _scaled(catalogue.from_price(answer.price), len(problem) / len(part))

    async def certify(
        self,
        model: str,
        problem: Problem,
        method: CertifyingMethod,
        seed: int | None,
        timeout: float | None,
        *,
        partial: bool,
    ) -> AsyncGenerator[Progress]:
        """See `ServiceFace`; inputs that exceed a message travel as a stream."""
        spec = questions.to_spec(model, problem, method, seed, partial=partial)
        received = _Received()
        if problem.nbytes + spec.ByteSize() <= INLINE_BYTES:
            request = pb.StreamCertifyRequest(spec=spec, inline=questions.to_inline(problem))
            call = self._certification.StreamCertify(request, timeout=timeout)
        else:
            call = self._certification.CertifyInputs(_inputs(spec, problem, received), timeout=timeout)
        async with aclosing(messages(call)) as answers:
            async for message in answers:
                if isinstance(message, pb.CertifyInputsResponse):
                    received.note(message.inputs_received)
                yield _progress(message, len(problem))

    async def predict(
        self, model: str, problem: Problem, method: Prediction, seed: int | None, timeout: float | None
    ) -> list[SmoothedPrediction]:
        """See `ServiceFace`."""
        if problem.nbytes > INLINE_BYTES:
            raise InvalidProblem(
                f"predict takes at most {INLINE_BYTES:,} bytes of inputs at once, got {problem.nbytes:,}: send fewer",
                field="inputs",
            )
        request = questions.to_predict_request(model, problem, method, seed)
        with errors_of_the_house():
            answer = await self._certification.Predict(request, timeout=timeout)
        return [certificates.from_prediction(message) for message in answer.predictions]

    async def close(self) -> None:
        """See `ServiceFace`."""
        await self._channel.close()


async def _upload(
    header: models_pb2.UploadModelRequest.Header, file: Path
) -> AsyncIterator[models_pb2.UploadModelRequest]:
    yield models_pb2.UploadModelRequest(header=header)
    sha256 = hashlib.sha256()
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            sha256.update(chunk)
            yield models_pb2.UploadModelRequest(chunk=chunk)
    trailer = models_pb2.UploadModelRequest.Trailer(sha256=sha256.hexdigest())
    yield models_pb2.UploadModelRequest(trailer=trailer)


def _parts(problem: Problem) -> Iterator[Problem]:
    """The problem in parts that each fit a message."""
    rows = max(1, INLINE_BYTES // 2 // (problem.nbytes // len(problem)))
    for start in range(0, len(problem), rows):
        yield problem.rows(slice(start, start + rows))


class _Received:
    """How many inputs of a stream the server has said to have."""

    def __init__(self) -> None:
        self._count = 0
        self._changed = asyncio.Event()

    def note(self, count: int) -> None:
        """The server has so many."""
        self._count = count
        self._changed.set()

    async def reach(self, count: int) -> None:
        """Wait until it has so many."""
        while self._count < count:
            self._changed.clear()
            await self._changed.wait()


async def _inputs(
    spec: pb.CertifySpec, problem: Problem, received: _Received
) -> AsyncIterator[pb.CertifyInputsRequest]:
    """The specification, then part after part, each when the one before is there.

    gRPC forgets the server's words where a refusal meets a message that is still being sent.
    """
    yield pb.CertifyInputsRequest(spec=spec)
    for part in _parts(problem):
        await received.reach(part.first_index - problem.first_index)
        yield pb.CertifyInputsRequest(inline=questions.to_inline(part))


def _progress(message: pb.StreamCertifyResponse | pb.CertifyInputsResponse, inputs: int) -> Progress:
    has_price = isinstance(message, pb.StreamCertifyResponse) and message.HasField("price")
    return Progress(
        digest=parse_model_name(message.model),
        results=tuple(certificates.from_certificate(certificate) for certificate in message.certificates),
        inputs=inputs,
        forward_passes=message.forward_passes_done,
        price=catalogue.from_price(message.price) if has_price else None,
        partial=tuple(certificates.from_certificate(certificate) for certificate in message.partial),
    )


def _scaled(price: Price, factor: float) -> Price:
    seconds = None if price.seconds is None else price.seconds * factor
    expected = None if price.expected_passes is None else round(price.expected_passes * factor)
    return Price(round(price.forward_passes * factor), price.largest_radius, seconds, price.warnings, expected)
