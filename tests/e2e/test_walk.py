"""What a user is promised, walked from door to door."""

import asyncio
import contextlib
import dataclasses
import hashlib
import itertools
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from e2e.serving import PROMPTLY, Stubs, header, inline, refusal, spec, upload
from google.protobuf import struct_pb2

import verifier
from verifier.certificate import Certificate, Verdict
from verifier.check import check_all, check_certificate
from verifier.client.redraw import redraw
from verifier.demo.digits import NAMES, network
from verifier.errors import AlreadyExists, InvalidProblem, NotFound
from verifier.methods import Rng, Selection, Smoothing
from verifier.model import ModelFormat
from verifier.models.architectures import MLP
from verifier.v1 import certification_pb2 as pb
from verifier.v1 import methods_pb2, models_pb2
from verifier.wire import certificates as wire

MODEL = "digits_gauss050"
METHOD = Smoothing(sigma=0.5, n0=50, n=400, alpha=1e-3)
SEED = 7


def by_index(certificates: Sequence[Certificate]) -> list[Certificate]:
    return sorted(certificates, key=lambda certificate: certificate.index)


def told(certificates: Sequence[Certificate]) -> list[Any]:
    """All that certificates state but time, batch and attempt, in the order of the inputs."""
    return [
        dataclasses.replace(
            c,
            execution=None,  # type: ignore[arg-type]
            evidence=dataclasses.replace(c.sampling, attempt=None),
        )
        for c in by_index(certificates)
    ]


def from_messages(messages: Sequence[Any]) -> list[Certificate]:
    return [wire.from_certificate(c) for message in messages for c in message.certificates]


@pytest.fixture(scope="module")
def expected(client: verifier.Client, digits: Any) -> list[Certificate]:
    """Certificates of the first inputs, asked for alone."""
    certificates = client.certify(MODEL, digits.x[:12], METHOD, labels=digits.y[:12], seed=SEED)
    return by_index(list(certificates))


# -- the example of the specification, on every face ------------------------------------------------------


def test_connect_certifies_as_promised(server: Any, digits: Any) -> None:
    onnx = network(MODEL, ModelFormat.ONNX)
    with verifier.connect(server.address) as v:
        model = v.models.add("digits", onnx=onnx)
        seen = []
        for c in v.certify(
            model,
            digits.x[:5],
            verifier.Smoothing(sigma=0.25, n0=100, n=1_000, alpha=1e-3),
            labels=digits.y[:5],
        ):
            assert c.radius >= 0
            assert c.verdict in (Verdict.CERTIFIED, Verdict.ABSTAINED)
            assert (c.prediction is not None) == (c.verdict is Verdict.CERTIFIED)
            assert c.sampling.estimation.n == 1_000
            assert c.sampling.seed_origin == "server"
            assert c.subject.model_digest == model.digest
            seen.append(c.index)
        v.models.remove("digits")
    assert sorted(seen) == list(range(5))


def test_local_certifies_as_promised(tmp_path: Path, digits: Any) -> None:
    onnx = network(MODEL, ModelFormat.ONNX)
    with verifier.local(data_dir=tmp_path) as v:
        model = v.models.add("digits", onnx=onnx)
        certificates = list(v.certify(model, digits.x[:5], METHOD, labels=digits.y[:5]))
        from_file = list(v.certify(onnx, digits.x[:2], METHOD, seed=1))
    assert sorted(c.index for c in certificates) == list(range(5))
    assert {c.subject.model_digest for c in [*certificates, *from_file]} == {model.digest}
    assert check_all(certificates).holds


async def test_the_async_clients_answer_alike(
    server: Any, tmp_path: Path, digits: Any, expected: Sequence[Certificate]
) -> None:
    async def ask(client: verifier.AsyncClient) -> list[Certificate]:
        async with client as v:
            model = await v.models.add(MODEL, onnx=network(MODEL, ModelFormat.ONNX), input_range=(0.0, 1.0))
            answers = v.certify(model, digits.x[:12], METHOD, labels=digits.y[:12], seed=SEED)
            return [certificate async for certificate in answers]

    remote = await ask(verifier.connect_async(server.address))
    local = await ask(verifier.local_async(data_dir=tmp_path, device="cpu"))
    assert told(remote) == told(local) == told(expected)


# -- one seed, one answer ----------------------------------------------------------------------------------


def ask_unary(stubs: Stubs, x: Any, y: Any, method: Smoothing, seed: int) -> list[Certificate]:
    request = pb.CertifyRequest(spec=spec(MODEL, method, seed=seed), inline=inline(x, y))
    return from_messages([stubs.certification.Certify(request, timeout=PROMPTLY)])


def ask_stream(stubs: Stubs, x: Any, y: Any, method: Smoothing, seed: int) -> list[Certificate]:
    request = pb.StreamCertifyRequest(spec=spec(MODEL, method, seed=seed), inline=inline(x, y))
    return from_messages(list(stubs.certification.StreamCertify(request, timeout=PROMPTLY)))


def ask_in_parts(stubs: Stubs, x: Any, y: Any, method: Smoothing, seed: int) -> list[Certificate]:
    """Inputs in parts of 1, 2, 3, ... inputs, the first beside the specification."""

    def requests() -> Iterator[pb.CertifyInputsRequest]:
        yield pb.CertifyInputsRequest(spec=spec(MODEL, method, seed=seed), inline=inline(x[:1], y[:1]))
        first = 1
        for length in itertools.count(2):
            if first >= len(x):
                return
            part = slice(first, first + length)
            yield pb.CertifyInputsRequest(inline=inline(x[part], y[part]))
            first += length

    return from_messages(list(stubs.certification.CertifyInputs(requests(), timeout=PROMPTLY)))


@pytest.mark.parametrize("ask", [ask_unary, ask_stream, ask_in_parts])
def test_every_call_reaches_the_same_votes(
    stubs: Stubs, digits: Any, expected: Sequence[Certificate], ask: Callable[..., list[Certificate]]
) -> None:
    assert told(ask(stubs, digits.x[:12], digits.y[:12], METHOD, SEED)) == told(expected)


def test_the_embedded_service_reaches_the_same_votes(
    embedded: verifier.Client, digits: Any, expected: Sequence[Certificate]
) -> None:
    certificates = list(embedded.certify(MODEL, digits.x[:12], METHOD, labels=digits.y[:12], seed=SEED))
    assert told(certificates) == told(expected)


def test_company_changes_nothing(stubs: Stubs, digits: Any, expected: Sequence[Certificate]) -> None:
    """The same question, between other questions to the same model."""

    def company(number: int) -> list[Certificate]:
        method = Smoothing(sigma=0.1 + number / 20, n0=20 + number, n=2_000 + number, alpha=0.01 / (number + 1))
        return ask_stream(stubs, digits.x[20:60], digits.y[20:60], method, 100 + number)

    with ThreadPoolExecutor(10) as pool:
        others = [pool.submit(company, number) for number in range(6)]
        same = [
            pool.submit(ask, stubs, digits.x[:12], digits.y[:12], METHOD, SEED)
            for ask in (ask_stream, ask_unary, ask_in_parts, ask_stream)
        ]
        for answer in same:
            assert told(answer.result()) == told(expected)
        for answer in others:
            assert check_all(answer.result()).holds


def test_another_seed_or_place_draws_otherwise(
    client: verifier.Client, digits: Any, expected: Sequence[Certificate]
) -> None:
    other_seed = by_index(list(client.certify(MODEL, digits.x[:12], METHOD, seed=SEED + 1)))
    other_place = by_index(list(client.certify(MODEL, digits.x[11::-1], METHOD, seed=SEED)))[::-1]
    for others in (other_seed, other_place):
        assert [c.input_digest for c in others] == [c.input_digest for c in expected]
        assert [c.sampling.estimation for c in others] != [c.sampling.estimation for c in expected]


def test_every_certificate_arrives_once(stubs: Stubs, digits: Any) -> None:
    """More inputs than fit a message of answers, several of them equal."""
    x = np.concatenate([digits.x, digits.x[:150]])
    request = pb.StreamCertifyRequest(spec=spec(MODEL, Smoothing(sigma=0.5, n0=1, n=11, alpha=1e-3)), inline=inline(x))
    messages = list(stubs.certification.StreamCertify(request, timeout=PROMPTLY))
    certificates = from_messages(messages)
    assert sorted(c.index for c in certificates) == list(range(600))
    assert max(len(message.certificates) for message in messages) <= 256
    assert messages[-1].forward_passes_done == messages[0].price.forward_passes == 600 * 12
    done = [message.forward_passes_done for message in messages]
    assert done == sorted(done)


def test_a_client_splits_what_exceeds_a_message(client: verifier.Client, embedded: verifier.Client) -> None:
    """17 inputs of 4 MB: over the 32 MiB that travel in one message, and the label count is right to the end."""
    x = np.random.default_rng(0).random((17, 1, 1024, 1024), dtype=np.float32)
    with pytest.raises(InvalidProblem, match=r"inputs of shape \[1, 8, 8\], got \[1, 1024, 1024\]"):
        list(client.certify(MODEL, x, METHOD))
    with pytest.raises(InvalidProblem, match=r"inputs of shape \[1, 8, 8\]"):
        client.price(MODEL, x, METHOD)


def test_large_inputs_travel_as_a_stream(client: verifier.Client, tmp_path: Path) -> None:
    config = {"input_shape": [1, 512, 512], "hidden": [], "classes": 2}
    weights = tmp_path / "large.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        safetensors.torch.save_file(MLP.build(config).state_dict(), weights)
    client.models.add("large", weights=weights, architecture="mlp", config=config)
    x = np.random.default_rng(0).random((40, 1, 512, 512), dtype=np.float32)  # 40 MiB: three parts
    received: list[verifier.Progress] = []
    method = Smoothing(sigma=0.1, n0=1, n=4, alpha=0.1)
    certificates = list(client.certify("large", x, method, seed=3, on_progress=received.append))
    assert [c.index for c in by_index(certificates)] == list(range(40))
    assert len({c.input_digest for c in certificates}) == 40
    assert client.price("large", x, method).forward_passes == 40 * 5 == received[-1].forward_passes
    few = list(client.certify("large", x[:2], method, seed=3))
    assert told(few) == told(certificates)[:2]
    client.models.remove("large")


# -- what can be asked ----------------------------------------------------------------------------------


def test_labels_are_echoed(expected: Sequence[Certificate], digits: Any) -> None:
    assert [c.label for c in expected] == digits.y[:12].tolist()
    assert all(c.correct == (c.prediction == c.label) for c in expected)
    assert sum(bool(c.correct) for c in expected) >= 8


def test_an_eps_within_reach_decides(client: verifier.Client, digits: Any) -> None:
    """The same votes under both questions: certified becomes unknown where the radius is short of eps."""
    plain = by_index(list(client.certify(MODEL, digits.x[:20], METHOD, seed=SEED)))
    radii = sorted(c.radius for c in plain if c.certified)
    eps = radii[len(radii) // 2]
    asked = by_index(list(client.certify(MODEL, digits.x[:20], METHOD, seed=SEED, eps=eps)))
    assert [c.radius for c in asked] == [c.radius for c in plain]
    assert all(c.eps == eps for c in asked)
    for c in asked:
        assert c.certified == (c.radius >= eps)
        assert (c.verdict is Verdict.UNKNOWN) == (0 < c.radius < eps)
    assert check_all(asked).holds


def test_options_of_the_method(client: verifier.Client, digits: Any) -> None:
    runner_up = list(client.certify(MODEL, digits.x[:10], dataclasses.replace(METHOD, runner_up=True), seed=SEED))
    single = dataclasses.replace(METHOD, selection=Selection.SINGLE_STAGE)
    single_stage = list(client.certify(MODEL, digits.x[:10], single, seed=SEED))
    assert all(c.sampling.p_b_upper is not None and c.smoothing.runner_up for c in runner_up)
    assert all(c.sampling.selection is None and c.smoothing.bound_alpha == 5e-4 for c in single_stage)
    assert check_all(runner_up).holds
    assert check_all(single_stage).holds
    assert sum(c.certified for c in runner_up) >= 5
    assert sum(c.certified for c in single_stage) >= 5


def test_bfloat16_is_another_subject(client: verifier.Client, digits: Any) -> None:
    method = dataclasses.replace(METHOD, precision=verifier.Precision.BFLOAT16)
    certificates = list(client.certify(MODEL, digits.x[:3], method, seed=SEED))
    assert {c.subject.precision for c in certificates} == {"bfloat16"}
    assert check_all(certificates).holds


def test_every_generator_answers(client: verifier.Client, digits: Any) -> None:
    for rng in (rng for rng in Rng if rng is not Rng.CUDA_PHILOX):
        certificates = list(client.certify(MODEL, digits.x[:3], dataclasses.replace(METHOD, rng=rng), seed=SEED))
        assert {c.sampling.rng for c in certificates} == {rng}
        assert check_all(certificates).holds


def test_predict(client: verifier.Client, embedded: verifier.Client, digits: Any) -> None:
    method = verifier.Prediction(sigma=0.5, n=300, alpha=1e-3)
    remote = client.predict(MODEL, digits.x[:20], method, labels=digits.y[:20], seed=SEED)
    local = embedded.predict(MODEL, digits.x[:20], method, labels=digits.y[:20], seed=SEED)
    assert [a.index for a in remote] == list(range(20))
    assert [a.votes for a in remote] == [a.votes for a in local]
    assert all(a.votes.n == 300 and 0 <= a.p_value <= 1 and a.alpha == 1e-3 for a in remote)
    assert all((a.prediction is not None) == (a.p_value <= a.alpha) for a in remote)
    assert sum(bool(a.correct) for a in remote) >= 14
    assert {a.subject.model_digest for a in remote} == {client.resolve(MODEL)}


def test_a_price_is_right_and_costs_nothing(stubs: Stubs, client: verifier.Client, digits: Any) -> None:
    method = Smoothing(sigma=0.5, n0=10, n=1_000)
    assert client.price(MODEL, digits.x[:7], method).forward_passes == 7 * 1_010
    request = pb.CertifyRequest(spec=spec(MODEL, method, validate_only=True), inline=inline(digits.x[:7]))
    answer = stubs.certification.Certify(request)
    assert answer.price.forward_passes == 7 * 1_010
    assert not answer.certificates
    assert answer.model == f"projects/default/models/{client.resolve(MODEL)}"
    streamed = pb.StreamCertifyRequest(spec=spec(MODEL, method, validate_only=True), inline=inline(digits.x[:7]))
    (only,) = stubs.certification.StreamCertify(streamed)
    assert only.price.forward_passes == 7 * 1_010
    assert not only.certificates
    assert only.forward_passes_done == 0
    # All votes agreeing is the best that can happen, and no certificate exceeds it.
    largest = max(c.radius for c in client.certify(MODEL, digits.x[:7], method, seed=SEED))
    assert largest <= answer.price.largest_radius


def test_a_price_warns(client: verifier.Client, digits: Any) -> None:
    warnings = client.price(MODEL, digits.x[:1], Smoothing(sigma=0.5, n0=5, n=20)).warnings
    assert any("n0 = 5" in warning for warning in warnings)
    assert any("n = 20" in warning and "less than sigma" in warning for warning in warnings)


def test_pricing_something_huge_does_no_device_work(embedded: verifier.Client, digits: Any) -> None:
    """2^40 draws take weeks: a price that came back was not drawn for."""
    method = Smoothing(sigma=0.5, n0=1, n=2**29, alpha=1e-3)
    assert embedded.price(MODEL, digits.x[:1], method).forward_passes == 2**29 + 1


def test_methods_are_listed_alike(client: verifier.Client, embedded: verifier.Client, stubs: Stubs) -> None:
    smoothing, *bounds = client.methods()
    assert embedded.methods() == [smoothing, *bounds]
    assert [info.name for info in bounds] == ["ibp", "crown-ibp", "crown", "alpha-crown", "ladder"]
    assert {info.grade for info in bounds} == {verifier.Grade.FLOAT_SOUND}
    assert smoothing.name == "smoothing"
    assert smoothing.norms == (verifier.Norm.L2,)
    assert {"sigma", "n0", "n", "alpha", "selection", "runner_up"} <= set(smoothing.parameters)
    message, *_ = stubs.certification.ListMethods(pb.ListMethodsRequest()).methods
    assert list(message.norms) == [methods_pb2.NORM_L2]


# -- evidence -------------------------------------------------------------------------------------------


def test_everything_that_was_answered_checks(expected: Sequence[Certificate]) -> None:
    report = check_all(expected)
    assert report.holds, report.failures
    assert not report.warnings
    for certificate in expected:
        tampered = dataclasses.replace(certificate, radius=np.nextafter(certificate.radius + 1e-5, 9))
        assert not certificate.certified or check_certificate(tampered)


def test_drawing_again_reaches_the_same_votes(
    embedded: verifier.Client, digits: Any, expected: Sequence[Certificate]
) -> None:
    answers = redraw(embedded, MODEL, digits.x, expected)
    assert [a.index for a in answers] == [c.index for c in expected]
    assert all(a.equal and a.comparable for a in answers)
    forged = [
        dataclasses.replace(c, evidence=dataclasses.replace(c.sampling, seed=c.sampling.seed + 1)) for c in expected
    ]
    assert not all(a.equal for a in redraw(embedded, MODEL, digits.x, forged))


def test_drawing_again_needs_the_same_model_and_inputs(
    embedded: verifier.Client, client: verifier.Client, digits: Any, expected: Sequence[Certificate]
) -> None:
    with pytest.raises(InvalidProblem, match="speaks about model"):
        redraw(embedded, "digits_std", digits.x, expected)
    with pytest.raises(InvalidProblem, match="is not the one that was certified"):
        redraw(embedded, MODEL, digits.x[1:], expected)
    with pytest.raises(InvalidProblem, match="local"):
        redraw(client, MODEL, digits.x, expected)


def test_certificates_survive_their_text(expected: Sequence[Certificate]) -> None:
    lines = [wire.certificate_to_json(certificate) for certificate in expected]
    assert wire.certificates_from_lines(lines) == list(expected)


# -- models ---------------------------------------------------------------------------------------------


@pytest.fixture
def small(tmp_path: Path) -> Callable[[int], Path]:
    """Files of small networks, another one for each seed."""

    def make(seed: int) -> Path:
        path = tmp_path / f"{seed}.safetensors"
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            safetensors.torch.save_file(MLP.build(SMALL).state_dict(), path)
        return path

    return make


SMALL = {"input_shape": [4], "hidden": [8], "classes": 3}


def add_small(client: verifier.Client, name: str, file: Path, **options: Any) -> verifier.ModelInfo:
    return client.models.add(name, weights=file, architecture="mlp", config=SMALL, **options)


def test_safetensors_with_everything(client: verifier.Client, small: Callable[[int], Path]) -> None:
    options = {"normalize": (0.5, 0.25), "input_range": (0.0, 1.0)}
    info = add_small(client, "small", small(0), **options)
    manifest = info.manifest
    assert manifest.weights_sha256 == hashlib.sha256(small(0).read_bytes()).hexdigest()
    assert (manifest.input_shape, manifest.classes) == ((4,), 3)
    assert manifest.source.input_range == (0.0, 1.0)
    assert manifest.source.normalization == verifier.model.Normalization((0.5,), (0.25,))
    assert dict(manifest.source.config) == SMALL
    assert hashlib.sha256(manifest.to_json().encode()).hexdigest() == info.digest
    other = add_small(client, "plain", small(0))
    assert other.digest != info.digest, "the same weights without normalisation are another function"
    certificates = list(client.certify("small", np.full((3, 4), 0.5, np.float32), METHOD))
    assert {c.subject.model_digest for c in certificates} == {info.digest}
    for name in ("small", "plain"):
        client.models.remove(name)


def test_names_digests_and_prefixes(client: verifier.Client, server: Any) -> None:
    info = server.models[MODEL]
    for name in (MODEL, info.digest, info.digest[:8], info.digest[:40]):
        assert client.models.get(name) == info
    for name in ("digits", info.digest[:7], info.digest.upper(), info.digest + "0", "0" * 64):
        with pytest.raises(NotFound):
            client.models.get(name)


def test_registering_again_changes_nothing(client: verifier.Client, server: Any) -> None:
    again = client.models.add(MODEL, onnx=network(MODEL, ModelFormat.ONNX), input_range=(0.0, 1.0))
    assert again == server.models[MODEL]


def test_an_alias_moves_only_when_told(client: verifier.Client, small: Callable[[int], Path], digits: Any) -> None:
    first = add_small(client, "prod", small(0))
    with pytest.raises(AlreadyExists) as refused:
        add_small(client, "prod", small(1))
    assert refused.value.reason == "ALIAS_TAKEN"
    assert client.resolve("prod") == first.digest
    second = add_small(client, "prod", small(1), move_alias=True)
    assert client.resolve("prod") == second.digest != first.digest
    assert client.models.get(first.digest).aliases == ()
    x = np.zeros((1, 4), np.float32)
    assert next(client.certify("prod", x, METHOD)).subject.model_digest == second.digest
    assert next(client.certify(first.digest, x, METHOD)).subject.model_digest == first.digest
    client.models.remove("prod")
    client.models.remove(first.digest)
    for digest in (first.digest, second.digest):
        with pytest.raises(NotFound):
            client.models.get(digest)


def test_removing(client: verifier.Client, small: Callable[[int], Path], server: Any) -> None:
    info = add_small(client, "one", small(2))
    assert add_small(client, "two", small(2)).aliases == ("one", "two")
    client.models.remove("one")
    assert client.models.get("two").digest == info.digest
    client.models.remove(info.digest)
    for name in ("one", "two", info.digest):
        with pytest.raises(NotFound):
            client.models.remove(name)
    assert not list((server.data_dir / "blobs").rglob(info.manifest.weights_sha256))


def test_lists_come_in_pages(client: verifier.Client, stubs: Stubs, small: Callable[[int], Path]) -> None:
    digests = [add_small(client, f"page-{number}", small(number)).digest for number in range(5)]
    token, pages = "", []
    while True:
        request = models_pb2.ListModelsRequest(parent="projects/default", page_size=2, page_token=token)
        page = stubs.models.ListModels(request)
        pages.append([model.digest for model in page.models])
        token = page.next_page_token
        if not token:
            break
    assert [len(page) for page in pages] == [2, 2, 2, 1]
    listed = [digest for page in pages for digest in page]
    assert listed[-5:] == digests
    assert [info.digest for info in client.models.list()] == listed
    for digest in digests:
        client.models.remove(digest)


def test_a_model_message_tells_all(stubs: Stubs, server: Any) -> None:
    message = stubs.models.GetModel(models_pb2.GetModelRequest(name=f"projects/default/models/{MODEL}"))
    info = server.models[MODEL]
    assert message.name == f"projects/default/models/{info.digest}"
    assert (list(message.input_shape), message.classes) == ([1, 8, 8], 10)
    assert list(message.aliases) == [MODEL]
    assert message.reference_difference < 1e-3
    assert message.size == network(MODEL, ModelFormat.ONNX).stat().st_size


def test_answers_echo_the_version(stubs: Stubs, server: Any, digits: Any) -> None:
    digest = server.models[MODEL].digest
    name = f"projects/default/models/{digest}"
    for model in (MODEL, digest, digest[:12]):
        question = spec(model, METHOD)
        answer = stubs.certification.Certify(pb.CertifyRequest(spec=question, inline=inline(digits.x[:1])))
        assert answer.model == answer.certificates[0].subject.model == name
        streamed = stubs.certification.StreamCertify(
            pb.StreamCertifyRequest(spec=question, inline=inline(digits.x[:1]))
        )
        assert {message.model for message in streamed} == {name}
        parts = iter([pb.CertifyInputsRequest(spec=question, inline=inline(digits.x[:1]))])
        assert {message.model for message in stubs.certification.CertifyInputs(parts)} == {name}


def test_a_request_id_makes_mutations_repeatable(stubs: Stubs, small: Callable[[int], Path]) -> None:
    data = small(3).read_bytes()
    sha256 = hashlib.sha256(data).hexdigest()
    config = struct_pb2.Struct()
    config.update(SMALL)
    source = models_pb2.ModelSource(format=models_pb2.MODEL_FORMAT_SAFETENSORS, architecture="mlp", config=config)

    def send(alias: str, request_id: str) -> Any:
        return stubs.models.UploadModel(upload(data, header(alias, source=source, request_id=request_id), sha256))

    add_id, remove_id = str(uuid.uuid4()), str(uuid.uuid4())
    model = send("repeated", add_id)
    assert send("repeated", add_id) == model
    reused = refusal(lambda: send("other", add_id))
    assert (reused.code.name, reused.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
    remove = models_pb2.DeleteModelRequest(name="projects/default/models/repeated", request_id=remove_id)
    stubs.models.DeleteModel(remove)
    stubs.models.DeleteModel(remove)
    again = models_pb2.DeleteModelRequest(name="projects/default/models/repeated")
    assert refusal(lambda: stubs.models.DeleteModel(again)).code.name == "NOT_FOUND"


def test_a_late_retry_of_an_upload_gets_the_stored_answer(stubs: Stubs) -> None:
    """The stored answer, not the state of today: the retry was promised what the first call was told."""
    data = network(MODEL, ModelFormat.ONNX).read_bytes()
    parts = list(upload(data, header("retried", request_id=str(uuid.uuid4())), hashlib.sha256(data).hexdigest()))
    model = stubs.models.UploadModel(iter(parts))
    stubs.models.DeleteModel(models_pb2.DeleteModelRequest(name="projects/default/models/retried"))
    assert stubs.models.UploadModel(iter(parts)).digest == model.digest


# -- the Python faces -----------------------------------------------------------------------------------


def test_leaving_the_loop_early_is_harmless(client: verifier.Client, digits: Any) -> None:
    method = Smoothing(sigma=0.5, n0=10, n=20_000)
    first = next(client.certify(MODEL, digits.x[:100], method, seed=SEED))
    assert check_all([first]).holds
    assert list(client.certify(MODEL, digits.x[:1], METHOD))


@pytest.mark.parametrize("where", ["remote", "embedded"])
def test_an_iterator_left_open_does_not_keep_the_client(server: Any, tmp_path: Path, digits: Any, where: str) -> None:
    """`next` once, forget the rest, leave the block: nothing hangs, then or when the iterator goes."""
    client = verifier.connect(server.address) if where == "remote" else verifier.local(data_dir=tmp_path)
    with client as v:
        model = v.models.add(MODEL, onnx=network(MODEL, ModelFormat.ONNX), input_range=(0.0, 1.0))
        answers = v.certify(model, digits.x[:100], Smoothing(sigma=0.5, n0=10, n=20_000))
        next(answers)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(answers.close).result(PROMPTLY)  # type: ignore[attr-defined]


async def test_many_tasks_share_an_async_client(server: Any, digits: Any, expected: Sequence[Certificate]) -> None:
    async with verifier.connect_async(server.address) as v:

        async def ask() -> list[Certificate]:
            return [c async for c in v.certify(MODEL, digits.x[:12], METHOD, labels=digits.y[:12], seed=SEED)]

        for answer in await asyncio.gather(*(ask() for _ in range(8))):
            assert told(answer) == told(expected)


def test_numbers_of_numpy_are_numbers() -> None:
    """What a sweep such as `for sigma in numpy.linspace(...)` or `for n in numpy.array(...)` hands over."""
    assert Smoothing(sigma=np.float64(0.5), n=np.int64(100)) == Smoothing(sigma=0.5, n=100)  # type: ignore[arg-type]
    assert Smoothing(sigma=np.float32(0.5)) == Smoothing(sigma=0.5)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", [-1, 2**63, 2**70, 1.5])
def test_a_bad_seed_is_refused_alike_on_both_faces(
    client: verifier.Client, embedded: verifier.Client, digits: Any, seed: Any
) -> None:
    for v in (client, embedded):
        with pytest.raises(InvalidProblem, match="seed must be"):
            list(v.certify(MODEL, digits.x[:1], METHOD, seed=seed))
        with pytest.raises(InvalidProblem, match="seed must be"):
            v.predict(MODEL, digits.x[:1], verifier.Prediction(sigma=0.5), seed=seed)


async def test_an_embedded_timeout_does_not_cancel_a_slow_consumer(tmp_path: Path, digits: Any) -> None:
    """The deadline passes while the caller is busy with a certificate: DeadlineExceeded, or all the answers."""
    async with verifier.local_async(data_dir=tmp_path, device="cpu") as v:
        model = await v.models.add(MODEL, onnx=network(MODEL, ModelFormat.ONNX))
        assert [c async for c in v.certify(model, digits.x[:1], METHOD)]
        busy = asyncio.Event()
        with contextlib.suppress(verifier.DeadlineExceeded):
            async for _ in v.certify(model, digits.x[:10], Smoothing(sigma=0.5, n=20_000), timeout=1.0):
                if not busy.is_set():
                    busy.set()
                    await asyncio.sleep(1.5)
        assert busy.is_set()


def test_shipped_networks_are_both_there(client: verifier.Client) -> None:
    assert [alias for info in client.models.list() for alias in info.aliases if alias in NAMES] == list(NAMES)
