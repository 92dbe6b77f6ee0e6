"""The gRPC methods: decode, one call, encode. What may be large is coded in a thread, so that health still answers."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from google.protobuf import empty_pb2

from verifier.catalogue import Progress
from verifier.certificate import Certificate, SmoothedPrediction
from verifier.errors import InvalidProblem
from verifier.model import check_alias
from verifier.problem import Problem
from verifier.server.checks import check_request_id
from verifier.service import Service
from verifier.storage.blobs import Upload
from verifier.v1 import certification_pb2 as pb
from verifier.v1 import certification_pb2_grpc, models_pb2, models_pb2_grpc
from verifier.wire import catalogue, certificates, questions
from verifier.wire.limits import CHUNK_BYTES
from verifier.wire.models import from_source, to_model
from verifier.wire.names import model_name, parse_model_name, parse_project_name

CERTIFICATES_PER_MESSAGE = 256


class CertificationServicer(certification_pb2_grpc.CertificationServiceServicer):
    """verifier.v1.CertificationService."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def Certify(self, request: pb.CertifyRequest, context: Any) -> pb.CertifyResponse:
        """See the proto."""
        question = await asyncio.to_thread(questions.from_spec, request.spec)
        problem = await asyncio.to_thread(question.problem, questions.inline_inputs(request))
        if question.validate_only:
            digest, price = await self._service.price(question.model, problem, question.method)
            return pb.CertifyResponse(model=model_name(digest), price=catalogue.to_price(price))
        groups = await _gathered(self._run(question.model, question, _once(problem), context))
        decided = sorted(_certificates(groups), key=lambda certificate: certificate.index)
        return pb.CertifyResponse(
            model=model_name(groups[0].digest),
            certificates=await asyncio.to_thread(_encoded, decided),
            price=catalogue.to_price(groups[0].price) if groups[0].price else None,
        )

    async def StreamCertify(
        self, request: pb.StreamCertifyRequest, context: Any
    ) -> AsyncIterator[pb.StreamCertifyResponse]:
        """See the proto."""
        question = await asyncio.to_thread(questions.from_spec, request.spec)
        problem = await asyncio.to_thread(question.problem, questions.inline_inputs(request))
        digest, price = await self._service.price(question.model, problem, question.method)
        yield pb.StreamCertifyResponse(model=model_name(digest), price=catalogue.to_price(price))
        if question.validate_only:
            return
        async with aclosing(self._run(digest, question, _once(problem), context)) as groups:
            async for group in groups:
                for part in await asyncio.to_thread(_parts, group):
                    yield pb.StreamCertifyResponse(
                        model=model_name(group.digest), forward_passes_done=group.forward_passes, **part
                    )

    async def CertifyInputs(
        self, request_iterator: AsyncIterator[pb.CertifyInputsRequest], context: Any
    ) -> AsyncIterator[pb.CertifyInputsResponse]:
        """See the proto."""
        first = await anext(aiter(request_iterator), None)
        if first is None or not first.HasField("spec"):
            raise InvalidProblem("the first message must carry the specification", field="spec")
        question = await asyncio.to_thread(questions.from_spec, first.spec)
        if question.validate_only:
            raise InvalidProblem(
                "a stream of inputs cannot be priced before it came; ask Certify with validate_only",
                field="spec.validate_only",
            )
        problems = _problems(question, first, request_iterator)
        async with aclosing(self._run(question.model, question, problems, context)) as groups:
            async for group in groups:
                for part in await asyncio.to_thread(_parts, group):
                    yield pb.CertifyInputsResponse(
                        model=model_name(group.digest),
                        inputs_received=group.inputs,
                        forward_passes_done=group.forward_passes,
                        **part,
                    )

    async def Predict(self, request: pb.PredictRequest, context: Any) -> pb.PredictResponse:
        """See the proto."""
        model, problem, method, seed = await asyncio.to_thread(questions.from_predict_request, request)
        left = context.time_remaining()
        groups = await _gathered(self._service.certify(model, _once(problem), method, seed, left))
        answers = [answer for group in groups for answer in group.results if isinstance(answer, SmoothedPrediction)]
        answers.sort(key=lambda answer: answer.index)
        return pb.PredictResponse(
            model=model_name(groups[0].digest), predictions=[certificates.to_prediction(answer) for answer in answers]
        )

    async def ListMethods(self, _request: pb.ListMethodsRequest, _context: Any) -> pb.ListMethodsResponse:
        """See the proto."""
        return pb.ListMethodsResponse(methods=[catalogue.to_method_info(info) for info in self._service.methods()])

    def _run(
        self, model: str, question: questions.Question, problems: AsyncIterator[Problem], context: Any
    ) -> AsyncGenerator[Progress]:
        left = context.time_remaining()
        partial = question.partial
        return self._service.certify(model, problems, question.method, question.seed, left, partial=partial)


async def _gathered(groups: AsyncGenerator[Progress]) -> list[Progress]:
    """All groups; a cancelled call closes the generator at once, which frees the device."""
    async with aclosing(groups):
        return [group async for group in groups]


async def _once(problem: Problem) -> AsyncIterator[Problem]:
    yield problem


async def _problems(
    question: questions.Question, first: pb.CertifyInputsRequest, rest: AsyncIterator[pb.CertifyInputsRequest]
) -> AsyncIterator[Problem]:
    """The parts of a stream, numbered on from one to the next."""
    index = 0
    if first.HasField("inline"):
        problem = await asyncio.to_thread(question.problem, first.inline)
        index += len(problem)
        yield problem
    async for request in rest:
        if request.HasField("spec"):
            raise InvalidProblem("only the first message may carry the specification", field="spec")
        problem = await asyncio.to_thread(question.problem, request.inline, index)
        index += len(problem)
        yield problem
    if index == 0:
        raise InvalidProblem("the stream ended without any inputs", field="inline")


def _certificates(groups: list[Progress]) -> list[Certificate]:
    return [answer for group in groups for answer in group.results if isinstance(answer, Certificate)]


def _encoded(decided: list[Certificate]) -> list[Any]:
    return [certificates.to_certificate(certificate) for certificate in decided]


def _parts(group: Progress) -> list[dict[str, Any]]:
    """Fields of messages of at most so many certificates; one empty part where there are none, to tell the progress."""
    fields = {"certificates": _encoded(_certificates([group])), "partial": _encoded(list(group.partial))}
    parts: list[dict[str, Any]] = [
        {name: messages[start : start + CERTIFICATES_PER_MESSAGE]}
        for name, messages in fields.items()
        for start in range(0, len(messages), CERTIFICATES_PER_MESSAGE)
    ]
    return parts or [{}]


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """verifier.v1.ModelService."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def UploadModel(
        self, request_iterator: AsyncIterator[models_pb2.UploadModelRequest], _context: Any
    ) -> models_pb2.Model:
        """See the proto."""
        requests = aiter(request_iterator)
        first = await anext(requests, None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidProblem("an upload begins with its header", field="header")
        header = first.header
        parse_project_name(header.parent, "header.parent")
        source = from_source(header.source)
        check_alias(header.alias)
        check_request_id(header.request_id, "header.request_id")
        upload = self._service.begin_upload()
        try:
            sha256 = await self._receive(upload, requests)
        except BaseException:
            upload.abort()
            raise
        info = await self._service.add_model(
            upload, sha256, source, header.alias, move_alias=header.move_alias, request_id=header.request_id
        )
        return to_model(info)

    async def _receive(self, upload: Upload, requests: AsyncIterator[models_pb2.UploadModelRequest]) -> str:
        """Write the chunks; the digest that the trailer says."""
        async for request in requests:
            part = request.WhichOneof("part")
            if part == "trailer":
                if not request.trailer.sha256:
                    raise InvalidProblem("the trailer must say the file's SHA-256", field="trailer.sha256")
                return request.trailer.sha256
            if part != "chunk":
                raise InvalidProblem(f"after the header come chunks and one trailer, got {part}", field="part")
            if len(request.chunk) > CHUNK_BYTES:
                raise InvalidProblem(f"a chunk has at most 1 MiB, got {len(request.chunk)} bytes", field="chunk")
            await self._service.write(upload, request.chunk)
        raise InvalidProblem(
            "the upload ended before its trailer: it was cut off, and nothing was registered",
            field="trailer",
            reason="UPLOAD_TRUNCATED",
        )

    async def GetModel(self, request: models_pb2.GetModelRequest, _context: Any) -> models_pb2.Model:
        """See the proto."""
        return to_model(await self._service.get_model(parse_model_name(request.name)))

    async def ListModels(self, request: models_pb2.ListModelsRequest, _context: Any) -> models_pb2.ListModelsResponse:
        """See the proto."""
        parse_project_name(request.parent)
        models, token = await self._service.list_models(request.page_size, request.page_token)
        return models_pb2.ListModelsResponse(models=[to_model(info) for info in models], next_page_token=token)

    async def DeleteModel(self, request: models_pb2.DeleteModelRequest, _context: Any) -> empty_pb2.Empty:
        """See the proto."""
        check_request_id(request.request_id, "request_id")
        await self._service.remove_model(parse_model_name(request.name), request.request_id)
        return empty_pb2.Empty()
