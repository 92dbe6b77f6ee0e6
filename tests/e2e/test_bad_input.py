"""Bad input over a real port: the right code, reason, field and words; the same error from the Python client."""

import hashlib
import io
import math
import pickle
import queue
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
import safetensors.torch
import torch
from e2e.serving import PROMPTLY, Refusal, Stubs, eventually, header, inline, refusal, server_in_thread, spec, upload
from grpc_health.v1 import health_pb2, health_pb2_grpc

import verifier
from verifier.demo.digits import network
from verifier.errors import DeadlineExceeded, InvalidProblem, NotFound, Overloaded, Unsupported, VerifierError
from verifier.methods import Smoothing
from verifier.model import ModelFormat
from verifier.v1 import certificate_pb2, methods_pb2, models_pb2, tensor_pb2
from verifier.v1 import certification_pb2 as pb
from verifier.wire.status import DOMAIN, from_status

MODEL = "digits_gauss050"
METHOD = Smoothing(sigma=0.5, n0=50, n=400, alpha=1e-3)
CODES = {
    InvalidProblem: grpc.StatusCode.INVALID_ARGUMENT,
    Unsupported: grpc.StatusCode.FAILED_PRECONDITION,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Overloaded: grpc.StatusCode.RESOURCE_EXHAUSTED,
    DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
}


@dataclass(frozen=True)
class Case:
    """A request that is wrong in one thing, and how it must be refused.

    Args:
        name: of the test.
        change: makes a good request wrong.
        says: a part of the message: what was expected, got, or should be done.
        field: a part of the path in BadRequest; "" for kinds that carry none.
        kind, reason: of the error.
    """

    name: str
    change: Callable[[Any], object]
    says: tuple[str, ...]
    field: str = ""
    kind: type[VerifierError] = InvalidProblem
    reason: str = "INVALID_PROBLEM"

    def __str__(self) -> str:
        return self.name


def assert_refused(found: Refusal, kind: type[VerifierError], reason: str, says: tuple[str, ...], field: str) -> None:
    assert found.code is CODES[kind], found
    assert (found.reason, found.domain) == (reason, DOMAIN)
    for words in says:
        assert words in found.message, found.message
    assert "Traceback" not in found.message
    if kind is InvalidProblem:
        assert field, "a wrong request names its field"
        assert any(field in path for path in found.fields), f"{field!r} not in {found.fields}"
    assert (kind is not Unsupported) or found.precondition
    # What the Python client makes of it: the same kind, words, reason and fields.
    error = from_status(found.code, found.message, found.details)
    assert type(error) is kind
    assert (error.message, error.reason) == (found.message, reason)
    assert tuple(violation.field for violation in error.violations) == found.fields


# -- certification: one table, asked of all three calls ----------------------------------------------------


def x_of(request: Any) -> tensor_pb2.Tensor:
    return request.inline.x  # type: ignore[no-any-return]


def smoothing_of(request: Any) -> methods_pb2.Smoothing:
    return request.spec.method.smoothing  # type: ignore[no-any-return]


def put_x(x: Any) -> Callable[[Any], object]:
    """Other inputs in the request, whatever our client thinks of them."""
    array = np.asarray(x, dtype="<f4")

    def change(request: Any) -> None:
        request.inline.x.shape[:] = array.shape
        request.inline.x.data = array.tobytes()
        request.inline.ClearField("labels")

    return change


def put_labels(labels: Any, datatype: str = "INT64") -> Callable[[Any], object]:
    array = np.asarray(labels, dtype="<i8")
    tensor = tensor_pb2.Tensor(datatype=datatype, shape=array.shape, data=array.tobytes())
    return lambda request: request.inline.labels.CopyFrom(tensor)


def put_sigma(sigma: float) -> Callable[[Any], object]:
    return lambda request: setattr(smoothing_of(request).noise.gaussian, "sigma", sigma)


def put(name: str, value: Any) -> Callable[[Any], object]:
    """Another value in the method."""
    return lambda request: setattr(smoothing_of(request), name, value)


def put_n(n: int) -> Callable[[Any], object]:
    return lambda request: setattr(smoothing_of(request).fixed, "n", n)


def ask_for(name: str, value: Any) -> Callable[[Any], object]:
    """Another value in the specification."""
    return lambda request: setattr(request.spec, name, value)


GOOD = np.full((2, 1, 8, 8), 0.5, dtype=np.float32)


def good_with(value: float) -> Any:
    x = GOOD.copy()
    x[1, 0, 3, 3] = value
    return x


INPUTS = [
    Case("wrong shape", put_x(np.zeros((2, 1, 8, 9))), ("[1, 8, 8]", "[1, 8, 9]"), "shape"),
    Case("no channel", put_x(np.zeros((2, 8, 8))), ("[1, 8, 8]", "[8, 8]"), "shape"),
    Case("one axis", put_x(np.zeros(64)), ("batch axis", "[64]", "x[None]"), "shape"),
    Case("no axis", lambda r: r.inline.x.ClearField("shape"), ("shape []",), "shape"),
    Case("negative axis", lambda r: x_of(r).shape.__setitem__(0, -2), ("-2",), "shape"),
    Case("overflowing shape", lambda r: x_of(r).shape.__setitem__(0, 2**62), ("needs", "got 512"), "data"),
    Case("empty batch", put_x(np.zeros((0, 1, 8, 8))), ("empty", "at least one"), "shape"),
    Case("empty axis", put_x(np.zeros((2, 0, 8, 8))), ("empty",), "shape"),
    Case("no tensor", lambda r: r.inline.ClearField("x"), ("FP32", "none"), "datatype"),
    Case("datatype", lambda r: setattr(x_of(r), "datatype", "FP64"), ("FP32", "FP64"), "datatype"),
    Case("datatype case", lambda r: setattr(x_of(r), "datatype", "fp32"), ("FP32", "fp32"), "datatype"),
    Case("bytes short", lambda r: setattr(x_of(r), "data", x_of(r).data[:-1]), ("512 bytes", "511"), "data"),
    Case("bytes long", lambda r: setattr(x_of(r), "data", x_of(r).data * 2), ("512 bytes", "1024"), "data"),
    Case("NaN", put_x(good_with(math.nan)), ("input 1", "NaN"), "inputs[1]"),
    Case("infinity", put_x(good_with(-math.inf)), ("input 1", "infinite"), "inputs[1]"),
    Case("too bright", put_x(good_with(1.01)), ("input 1", "range [0.0, 1.0]", "units"), "inputs[1]"),
    Case("0..255", put_x(GOOD * 255), ("input 0", "range [0.0, 1.0]"), "inputs[0]"),
    Case("negative pixel", put_x(good_with(-0.001)), ("input 1",), "inputs[1]"),
    Case("too few labels", put_labels([1]), ("[2]", "[1]"), "labels"),
    Case("too many axes of labels", put_labels([[1, 2]]), ("[2]", "[1, 2]"), "labels"),
    Case("datatype of labels", put_labels([1, 2], "INT32"), ("INT64", "INT32"), "labels"),
    Case("negative label", put_labels([0, -1]), (">= 0", "-1"), "labels[1]"),
    Case("label beyond the classes", put_labels([0, 10]), ("0..9", "10"), "labels[1]"),
]

PARAMETERS = [
    Case("sigma 0", put_sigma(0.0), ("sigma", "> 0", "got 0.0"), "sigma"),
    Case("sigma -1", put_sigma(-1.0), ("sigma", "got -1.0"), "sigma"),
    Case("sigma NaN", put_sigma(math.nan), ("sigma", "> 0", "nan"), "sigma"),
    Case("sigma infinite", put_sigma(math.inf), ("sigma", "> 0", "inf"), "sigma"),
    Case("no noise", lambda r: smoothing_of(r).ClearField("noise"), ("noise", "gaussian"), "noise"),
    Case("n 0", put_n(0), ("n must be", "1..2^40", "got 0"), "smoothing.n"),
    Case("n -5", put_n(-5), ("n must be", "got -5"), "smoothing.n"),
    Case("n 2^41", put_n(2**41), ("n must be", "2^40"), "smoothing.n"),
    Case("no stopping", lambda r: smoothing_of(r).ClearField("fixed"), ("n must be", "got 0"), "smoothing.n"),
    Case("n0 0", put("n0", 0), ("n0 must be", "got 0"), "smoothing.n0"),
    Case("n0 -1", put("n0", -1), ("n0 must be", "got -1"), "smoothing.n0"),
    Case("alpha 0", put("alpha", 0.0), ("alpha", "0.5", "got 0.0"), "alpha"),
    Case("alpha 0.6", put("alpha", 0.6), ("alpha", "got 0.6"), "alpha"),
    Case("alpha -1", put("alpha", -1.0), ("alpha", "got -1.0"), "alpha"),
    Case("alpha NaN", put("alpha", math.nan), ("alpha", "nan"), "alpha"),
    Case("alpha infinite", put("alpha", math.inf), ("alpha", "inf"), "alpha"),
    Case("n too small for alpha", put_n(9), ("n = 9", "alpha = 0.001", "n = 10"), "smoothing.n", reason="INFEASIBLE"),
    Case("eps out of reach", ask_for("eps", 1.2), ("eps = 1.2", "n = 400", "would do"), "eps", reason="INFEASIBLE"),
    Case("eps beyond all n", ask_for("eps", 100.0), ("eps = 100", "no number"), "eps", reason="INFEASIBLE"),
    Case("eps 0", ask_for("eps", 0.0), ("eps", "> 0", "got 0.0"), "eps"),
    Case("eps -1", ask_for("eps", -1.0), ("eps", "got -1.0"), "eps"),
    Case("eps NaN", ask_for("eps", math.nan), ("eps", "nan"), "eps"),
    Case("eps infinite", ask_for("eps", math.inf), ("eps", "inf"), "eps"),
    Case("seed -1", ask_for("seed", -1), ("seed", "2^63-1", "-1"), "seed"),
    Case("rng", put("rng", "mt19937"), ("rng", "aes128ctr", "mt19937"), "rng"),
    Case("rng of a GPU", put("rng", "cuda-philox-1"), ("CUDA", "cpu", "aes128ctr"), "rng"),
    Case("precision 99", put("precision", 99), ("precision", "PRECISION_FLOAT32", "99"), "precision"),
    Case("selection 99", put("selection", 99), ("selection", "SELECTION_N0", "99"), "selection"),
    Case("norm unspecified", ask_for("norm", 0), ("norm", "NORM_L2", "UNSPECIFIED"), "norm"),
    Case("norm 99", ask_for("norm", 99), ("norm", "NORM_L2", "99"), "norm"),
    Case("no method", lambda r: r.spec.ClearField("method"), ("method", "ListMethods"), "method"),
    Case("L1", ask_for("norm", methods_pb2.NORM_L1), ("l2", "l1"), kind=Unsupported, reason="UNSUPPORTED"),
    Case("Linf", ask_for("norm", methods_pb2.NORM_LINF), ("l2", "linf"), kind=Unsupported, reason="UNSUPPORTED"),
    Case(
        "runner-up of one stage",
        lambda r: (put("selection", methods_pb2.SELECTION_SINGLE_STAGE)(r), put("runner_up", True)(r)),
        ("runner_up", "single_stage"),
        "runner_up",
    ),
    Case(
        "decide nothing",
        lambda r: setattr(smoothing_of(r).decide, "max_n", 5000),
        ("decide needs at least one radius",),
        "smoothing.decide",
    ),
    Case(
        "decide unsorted",
        lambda r: smoothing_of(r).decide.radii.extend([0.5, 0.25]),
        ("must rise", "[0.5, 0.25]", "sort them"),
        "smoothing.decide",
    ),
    Case(
        "decide negative",
        lambda r: smoothing_of(r).decide.radii.extend([-0.5, 0.25]),
        ("finite and > 0", "-0.5"),
        "smoothing.decide",
    ),
    Case(
        "decide beyond reach",
        lambda r: smoothing_of(r).decide.radii.extend([0.5, 2.5]),
        ("decide = 2.5 is out of reach", "prove at most 1.905728"),
        "smoothing.decide",
        reason="INFEASIBLE",
    ),
    Case(
        "decide with too much futility",
        lambda r: smoothing_of(r).decide.MergeFrom(methods_pb2.DecideStopping(radii=[0.5], futility=0.6)),
        ("futility must be in 0..0.5", "got 0.6"),
        "smoothing.futility",
    ),
    Case(
        "grid 0",
        lambda r: smoothing_of(r).grid.SetInParent(),
        ("grid must be a step > 0", "got 0.0"),
        "smoothing.grid",
    ),
    Case(
        "anytime below a step",
        lambda r: setattr(smoothing_of(r).anytime, "max_n", 45),
        ("n = 45", "one step of 50 draws"),
        "smoothing.n",
        reason="INFEASIBLE",
    ),
    Case(
        "a budget below a step",
        lambda r: smoothing_of(r).MergeFrom(
            methods_pb2.Smoothing(anytime=methods_pb2.AnytimeStopping(), max_forward_passes=60)
        ),
        ("max_forward_passes = 60", "at least", "are needed"),
        "smoothing.max_forward_passes",
        reason="INFEASIBLE",
    ),
    Case("no time", put("max_seconds", 0.0), ("max_seconds must be", "got 0.0"), "smoothing.max_seconds"),
    Case(
        "TF32 on a CPU",
        put("precision", methods_pb2.PRECISION_TF32),
        ("tf32", "cpu"),
        kind=Unsupported,
        reason="UNSUPPORTED",
    ),
    Case(
        "over the admission limit",
        put_n(10**9),
        ("2,000,000,100", "20,000,000", "fewer"),
        "method",
        reason="OVER_ADMISSION_LIMIT",
    ),
]


def name_of(model: str) -> Callable[[Any], object]:
    return ask_for("model", model)


NAMES = [
    Case("unknown alias", name_of("projects/default/models/cat"), ("'cat'",), kind=NotFound, reason="NOT_FOUND"),
    Case(
        "unknown digest", name_of(f"projects/default/models/{'0' * 64}"), ("0000",), kind=NotFound, reason="NOT_FOUND"
    ),
    Case("other project", name_of(f"projects/mine/models/{MODEL}"), ("'mine'",), kind=NotFound, reason="NOT_FOUND"),
    Case("bare alias", name_of(MODEL), ("projects/{project}/models/{model}", repr(MODEL)), "model"),
    Case("no name", name_of(""), ("projects/{project}/models/{model}", "''"), "model"),
    Case("name with a path", name_of("projects/default/models/../x"), ("'projects/default/models/../x'",), "model"),
    Case("name with a line", name_of("projects/default/models/a\n"), ("a\\n",), kind=NotFound, reason="NOT_FOUND"),
]

ANY_CALL = [*INPUTS, *PARAMETERS, *NAMES]


def good(message: Any) -> Any:
    return message(spec=spec(MODEL, METHOD), inline=inline(GOOD, np.array([1, 2])))


@pytest.mark.parametrize("case", ANY_CALL, ids=str)
@pytest.mark.parametrize("call", ["Certify", "StreamCertify", "CertifyInputs"])
def test_certification_refuses(stubs: Stubs, case: Case, call: str) -> None:
    message = {
        "Certify": pb.CertifyRequest,
        "StreamCertify": pb.StreamCertifyRequest,
        "CertifyInputs": pb.CertifyInputsRequest,
    }[call]
    request = good(message)
    case.change(request)
    question = iter([request]) if call == "CertifyInputs" else request
    found = refusal(lambda: getattr(stubs.certification, call)(question, timeout=PROMPTLY))
    assert_refused(found, case.kind, case.reason, case.says, case.field)


@pytest.mark.parametrize("case", [c for c in ANY_CALL if c.name != "TF32 on a CPU"], ids=str)
def test_a_price_is_refused_like_the_call_itself(stubs: Stubs, case: Case) -> None:
    """`validate_only` checks the request: what it lets pass, the call must not refuse."""
    request = good(pb.CertifyRequest)
    request.spec.validate_only = True
    case.change(request)
    found = refusal(lambda: stubs.certification.Certify(request, timeout=PROMPTLY))
    assert_refused(found, case.kind, case.reason, case.says, case.field)


@pytest.mark.parametrize("case", [c for c in INPUTS if "label" not in c.name], ids=str)
def test_predict_refuses_inputs(stubs: Stubs, case: Case) -> None:
    request = good(pb.CertifyRequest)
    case.change(request)
    question = pb.PredictRequest(
        model=request.spec.model,
        noise=methods_pb2.NoiseParameters(gaussian=methods_pb2.GaussianNoise(sigma=0.5)),
        n=100,
        alpha=0.01,
        inputs=request.inline,
    )
    found = refusal(lambda: stubs.certification.Predict(question, timeout=PROMPTLY))
    assert_refused(found, case.kind, case.reason, case.says, case.field)


def test_predict_refuses_parameters(stubs: Stubs) -> None:
    noise = methods_pb2.NoiseParameters(gaussian=methods_pb2.GaussianNoise(sigma=0.5))
    model = f"projects/default/models/{MODEL}"
    request = pb.PredictRequest(model=model, noise=noise, n=100, alpha=0.01, inputs=inline(GOOD))
    for name, value, says in [
        ("n", 0, "n must be"),
        ("alpha", math.nan, "alpha must be"),
        ("alpha", 0.0, "alpha must be"),
        ("seed", -1, "seed must be"),
        ("rng", "mt19937", "rng must be"),
        ("model", MODEL, "projects/{project}"),
    ]:
        changed = pb.PredictRequest()
        changed.CopyFrom(request)
        setattr(changed, name, value)
        found = refusal(lambda changed=changed: stubs.certification.Predict(changed))  # type: ignore[misc]
        assert_refused(found, InvalidProblem, "INVALID_PROBLEM", (says,), name)
    request.noise.Clear()
    found = refusal(lambda: stubs.certification.Predict(request))
    assert_refused(found, InvalidProblem, "INVALID_PROBLEM", ("noise must name a family",), "noise")


@pytest.mark.parametrize("message", [pb.CertifyRequest, pb.StreamCertifyRequest])
def test_inputs_elsewhere_or_nowhere(stubs: Stubs, message: Any) -> None:
    call = stubs.certification.Certify if message is pb.CertifyRequest else stubs.certification.StreamCertify
    elsewhere = message(spec=spec(MODEL, METHOD), dataset=pb.DatasetInputs(dataset="projects/default/datasets/mnist"))
    assert_refused(refusal(lambda: call(elsewhere)), Unsupported, "UNSUPPORTED", ("data sets", "inline"), "")
    nowhere = refusal(lambda: call(message(spec=spec(MODEL, METHOD))))
    assert_refused(nowhere, InvalidProblem, "INVALID_PROBLEM", ("no inputs", "inline"), "inputs")
    nothing = refusal(lambda: call(message()))
    assert_refused(nothing, InvalidProblem, "INVALID_PROBLEM", ("method",), "method")


@pytest.mark.parametrize(
    ("requests", "says", "field"),
    [
        ([], "first message", "spec"),
        ([pb.CertifyInputsRequest(inline=inline(GOOD))], "first message", "spec"),
        ([pb.CertifyInputsRequest(spec=spec(MODEL, METHOD))], "without any inputs", "inline"),
        ([good(pb.CertifyInputsRequest)] * 2, "only the first message", "spec"),
        ([good(pb.CertifyInputsRequest), pb.CertifyInputsRequest()], "FP32", "datatype"),
        (
            [pb.CertifyInputsRequest(spec=spec(MODEL, METHOD, validate_only=True), inline=inline(GOOD))],
            "validate_only",
            "validate_only",
        ),
    ],
    ids=["nothing", "no spec", "no inputs", "two specs", "empty part", "validate only"],
)
def test_streams_of_inputs_have_a_form(stubs: Stubs, requests: list[Any], says: str, field: str) -> None:
    found = refusal(lambda: stubs.certification.CertifyInputs(iter(requests), timeout=PROMPTLY))
    assert_refused(found, InvalidProblem, "INVALID_PROBLEM", (says,), field)


def test_a_bad_part_is_named_by_its_place_in_the_stream(stubs: Stubs) -> None:
    parts = [pb.CertifyInputsRequest(spec=spec(MODEL, METHOD), inline=inline(GOOD)) for _ in range(1)]
    bad = pb.CertifyInputsRequest(inline=inline(GOOD))
    put_x(good_with(2.0))(bad)
    found = refusal(lambda: stubs.certification.CertifyInputs(iter([*parts, bad]), timeout=PROMPTLY))
    assert_refused(found, InvalidProblem, "INVALID_PROBLEM", ("input 3",), "inputs[3]")


@pytest.mark.parametrize("length", [3_000, 8_000, 30_000], ids=["3 kB", "8 kB", "30 kB"])
def test_a_long_mistake_is_still_told(stubs: Stubs, client: verifier.Client, length: int) -> None:
    """Statuses travel in trailers, of which a client reads 8 to 16 kB: what quotes the request must be cut."""
    name = "x" * length
    request = good(pb.CertifyRequest)
    request.spec.model = f"projects/default/models/{name}"
    assert_refused(refusal(lambda: stubs.certification.Certify(request)), NotFound, "NOT_FOUND", ("no model 'x",), "")
    request = good(pb.CertifyRequest)
    smoothing_of(request).rng = name
    found = refusal(lambda: stubs.certification.Certify(request))
    assert_refused(found, InvalidProblem, "INVALID_PROBLEM", ("rng must be",), "rng")
    with pytest.raises(NotFound):
        client.models.get(name)


# -- the Python client ---------------------------------------------------------------------------------


def test_the_client_raises_what_the_server_refused(client: verifier.Client, embedded: verifier.Client) -> None:
    """The same kind, words, reason and fields on both faces."""
    x = GOOD
    questions: list[tuple[type[VerifierError], Callable[[verifier.Client], Any]]] = [
        (InvalidProblem, lambda v: list(v.certify(MODEL, x[:, :, :7], METHOD))),
        (InvalidProblem, lambda v: list(v.certify(MODEL, x + 1, METHOD))),
        (InvalidProblem, lambda v: list(v.certify(MODEL, x, METHOD, labels=[1, 10]))),
        (InvalidProblem, lambda v: list(v.certify(MODEL, x, METHOD, eps=5.0))),
        (NotFound, lambda v: list(v.certify("cat", x, METHOD))),
        (Unsupported, lambda v: list(v.certify(MODEL, x, METHOD, norm="linf"))),
        (Unsupported, lambda v: list(v.certify(MODEL, x, replace(METHOD, precision=verifier.Precision.TF32)))),
        (NotFound, lambda v: v.predict("cat", x, verifier.Prediction(sigma=0.5))),
        (InvalidProblem, lambda v: v.predict(MODEL, x * 3, verifier.Prediction(sigma=0.5))),
        (InvalidProblem, lambda v: v.price(MODEL, x * 3, METHOD)),
        (NotFound, lambda v: v.models.remove("cat")),
        (InvalidProblem, lambda v: v.models.add("Upper Case", onnx=network(MODEL, ModelFormat.ONNX))),
        (InvalidProblem, lambda v: v.models.add("mlp", weights=network(MODEL, ModelFormat.SAFETENSORS))),
        (InvalidProblem, lambda v: v.models.add("none", onnx="/nonexistent.onnx")),
    ]
    for number, (kind, question) in enumerate(questions):
        errors = []
        for v in (client, embedded):
            with pytest.raises(kind) as refused:
                pytest.fail(f"question {number} was answered: {question(v)}")
            errors.append(refused.value)
        remote, local = errors
        assert type(remote) is type(local) is kind
        assert (remote.message, remote.reason, remote.violations) == (local.message, local.reason, local.violations)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((2, 1, 8, 8)), "float64"),
        (np.zeros((2, 1, 8, 8), np.uint8), "uint8"),
        ([[0.5] * 64], "float64"),
        (np.zeros((2, 1, 8, 8), ">f4"), "float32"),
        (np.zeros((0, 1, 8, 8), np.float32), "empty"),
        (np.float32(1), "batch axis"),
        (None, "no inputs"),
        (np.array(["a"]), "float32"),
    ],
    ids=repr,
)
def test_the_client_refuses_arrays(client: verifier.Client, x: Any, says: str) -> None:
    with pytest.raises(InvalidProblem, match=says):
        list(client.certify(MODEL, x, METHOD))


def test_an_input_that_no_message_holds(client: verifier.Client, digits: Any) -> None:
    """Too large is the request's fault, for ever: not an overload that passes."""
    with pytest.raises(InvalidProblem, match=r"too large|larger than"):
        list(client.certify(MODEL, np.zeros((1, 1, 4200, 4200), np.float32), METHOD))
    assert list(client.certify(MODEL, digits.x[:1], METHOD))


def test_a_streamed_request_is_refused_with_the_servers_words(client: verifier.Client) -> None:
    """The server ends the call while the client still sends."""
    x = np.zeros((40, 1, 512, 512), np.float32)
    with pytest.raises(InvalidProblem, match=r"\[1, 8, 8\], got \[1, 512, 512\]"):
        list(client.certify(MODEL, x, METHOD))


def test_another_method_than_a_question_takes(client: verifier.Client) -> None:
    with pytest.raises((VerifierError, TypeError)):
        list(client.certify(MODEL, GOOD, verifier.Prediction(sigma=0.5)))  # type: ignore[arg-type]


def test_a_closed_client_says_so() -> None:
    client = verifier.connect("127.0.0.1:1")
    client.close()
    with pytest.raises((VerifierError, ValueError, RuntimeError), match="closed"):
        client.models.list()


@pytest.mark.parametrize("missing", ["ca", "certificate"])
def test_a_missing_pem_file_is_a_typed_error(tmp_path: Path, missing: str) -> None:
    """Never a connection without the TLS that was asked for."""
    with pytest.raises(InvalidProblem), verifier.connect("127.0.0.1:1", **{missing: tmp_path / "missing.pem"}):
        pass


def test_nobody_answers() -> None:
    with verifier.connect("127.0.0.1:1") as client, pytest.raises(verifier.WorkerLost, match="no server answers"):
        client.models.list()


# -- limits: admission, deadlines, messages ----------------------------------------------------------------


@pytest.fixture
def busy(stubs: Stubs, digits: Any) -> Iterator[Any]:
    """The module's server with most of its room taken, by a call that runs until the test is over."""
    request = pb.StreamCertifyRequest(
        spec=spec(MODEL, Smoothing(sigma=0.5, n0=1, n=1_900_000)), inline=inline(digits.x[:10])
    )
    call = stubs.certification.StreamCertify(request)
    assert next(call).price.forward_passes == 10 * 1_900_001
    next(call)  # it works on it
    yield call
    call.cancel()


def test_no_room_now(busy: Any, stubs: Stubs, client: verifier.Client, digits: Any) -> None:
    request = pb.CertifyRequest(spec=spec(MODEL, Smoothing(sigma=0.5, n0=1, n=1_900_000)), inline=inline(digits.x[:10]))
    found = refusal(lambda: stubs.certification.Certify(request))
    assert_refused(found, Overloaded, "OVERLOADED", ("20,000,000", "19,000,010", "retry later"), "")
    assert found.quota
    assert found.retry_after is not None
    assert 0.1 <= found.retry_after < 600
    with pytest.raises(Overloaded) as refused:
        list(client.certify(MODEL, digits.x[:10], Smoothing(sigma=0.5, n0=1, n=1_900_000)))
    assert refused.value.retry_after is not None
    # Still answering: health, the registry, and small questions.
    health = health_pb2_grpc.HealthStub(stubs.channel)
    assert health.Check(health_pb2.HealthCheckRequest(), timeout=5).status == health_pb2.HealthCheckResponse.SERVING
    assert client.models.get(MODEL)
    assert len(list(client.certify(MODEL, digits.x[:3], METHOD, timeout=PROMPTLY))) == 3


def test_a_later_part_waits_for_room_where_a_first_one_is_refused(busy: Any, stubs: Stubs, digits: Any) -> None:
    """A stream that was admitted is not thrown out for what others do."""
    sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sent.put(pb.CertifyInputsRequest(spec=spec(MODEL, METHOD), inline=inline(digits.x[:1])))
    sent.put(pb.CertifyInputsRequest(inline=inline(digits.x[1:400])))
    sent.put(None)
    answers = stubs.certification.CertifyInputs(iter(sent.get, None), timeout=PROMPTLY)
    assert sum(len(answer.certificates) for answer in answers) == 400


def test_a_deadline_ends_the_call(stubs: Stubs, digits: Any) -> None:
    """With what is proved by then, which of a fixed number of draws is nothing: the counts say how far they came."""
    request = pb.StreamCertifyRequest(
        spec=spec("digits_std", Smoothing(sigma=0.5, n0=1, n=1_900_000)), inline=inline(digits.x[:10])
    )
    answers = [c for answer in stubs.certification.StreamCertify(request, timeout=1.5) for c in answer.certificates]
    assert sorted(c.index for c in answers) == list(range(10))
    assert answers[-1].verdict == certificate_pb2.VERDICT_UNKNOWN
    assert answers[-1].radius == 0
    assert all(c.sampling.estimation.n <= 1_900_000 for c in answers)


def test_a_deadline_too_short_is_refused_up_front(client: verifier.Client, stubs: Stubs, digits: Any) -> None:
    assert list(client.certify(MODEL, digits.x[:2], Smoothing(sigma=0.5, n=20_000)))  # now the rate is known
    price = client.price(MODEL, digits.x[:10], Smoothing(sigma=0.5, n=1_500_000))
    assert price.seconds is not None
    request = pb.CertifyRequest(spec=spec(MODEL, Smoothing(sigma=0.5, n=1_500_000)), inline=inline(digits.x[:10]))
    found = refusal(lambda: stubs.certification.Certify(request, timeout=1.0))
    says = ("15,001,000 forward passes", "deadline", "allow more time")
    assert_refused(found, DeadlineExceeded, "DEADLINE_TOO_SHORT", says, "")
    with pytest.raises(DeadlineExceeded, match="allow more time"):
        list(client.certify(MODEL, digits.x[:10], Smoothing(sigma=0.5, n=1_500_000), timeout=1.0))


@pytest.mark.parametrize("timeout", [1e-9, 0.0, -1.0])
def test_no_time_at_all(client: verifier.Client, embedded: verifier.Client, digits: Any, timeout: float) -> None:
    for v in (client, embedded):
        with pytest.raises(DeadlineExceeded):
            list(v.certify(MODEL, digits.x[:1], METHOD, timeout=timeout))


def test_a_message_over_the_limit(stubs: Stubs, client: verifier.Client, digits: Any) -> None:
    """Refused by the transport, before anything of ours sees it."""
    request = good(pb.CertifyRequest)
    request.inline.x.data = bytes(65 * 2**20)
    found = refusal(lambda: stubs.certification.Certify(request))
    assert found.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "67108864" in found.message
    error = from_status(found.code, found.message, found.details)
    assert isinstance(error, InvalidProblem), "what is too large today is too large tomorrow: no Overloaded"
    assert list(client.certify(MODEL, digits.x[:1], METHOD))


# -- uploads -------------------------------------------------------------------------------------------


def onnx_bytes() -> bytes:
    return network(MODEL, ModelFormat.ONNX).read_bytes()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def with_external_data() -> bytes:
    model = onnx.load_from_string(onnx_bytes())
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return model.SerializeToString()  # type: ignore[no-any-return]


def with_custom_operator() -> bytes:
    model = onnx.load_from_string(onnx_bytes())
    model.graph.node[0].domain = "com.evil"
    model.opset_import.add(domain="com.evil", version=1)
    return model.SerializeToString()  # type: ignore[no-any-return]


def with_weights_of(value: float) -> bytes:
    model = onnx.load_from_string(onnx_bytes())
    weights = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    weights.flat[0] = value
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(weights, model.graph.initializer[0].name))
    return model.SerializeToString()  # type: ignore[no-any-return]


def torch_checkpoint() -> bytes:
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model/constants.pkl", b"\x80\x02.")
    return buffer.getvalue()


@dataclass(frozen=True)
class Upload:
    """A file that is refused, and how."""

    name: str
    data: Callable[[], bytes]
    says: str
    reason: str = "INVALID_PROBLEM"
    kind: type[VerifierError] = InvalidProblem

    def __str__(self) -> str:
        return self.name


FILES = [
    Upload("empty", lambda: b"", "", "MODEL_EMPTY"),
    Upload("text", lambda: b"not a model at all", "only safetensors and single-file ONNX", "FORMAT_MISMATCH"),
    Upload("pickle", lambda: pickle.dumps({"a": 1}), "pickle", "UNSAFE_FORMAT"),
    Upload("checkpoint", torch_checkpoint, "zip archive", "UNSAFE_FORMAT"),
    Upload("TorchScript or zip", zipped, "can run code at load", "UNSAFE_FORMAT"),
    Upload("gzip", lambda: b"\x1f\x8b" + bytes(50), "gzip", "UNSAFE_FORMAT"),
    Upload("HDF5", lambda: b"\x89HDF\r\n\x1a\n" + bytes(50), "HDF5", "UNSAFE_FORMAT"),
    Upload("cut ONNX", lambda: onnx_bytes()[:-1000], "", ""),
    Upload("ONNX of garbage", lambda: b"\x08" + bytes(range(256)) * 20, "", ""),
    Upload("safetensors as ONNX", lambda: safetensors.torch.save({"a": torch.zeros(1)}), "safetensors", ""),
    Upload("external data", with_external_data, "external", ""),
    Upload("custom operator", with_custom_operator, "com.evil", "", Unsupported),
    Upload("NaN weights", lambda: with_weights_of(math.nan), "", ""),
    Upload("infinite weights", lambda: with_weights_of(math.inf), "", ""),
]


@pytest.fixture
def nothing_new(client: verifier.Client, server: Any) -> Iterator[None]:
    """Around a refused upload: no model more, no file more, nothing on its way in."""

    def state() -> tuple[Any, ...]:
        blobs = server.data_dir / "blobs"
        return client.models.list(), sorted(path for path in blobs.rglob("*") if path.is_file())

    before = state()
    yield
    eventually(lambda: state() == before)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_files_that_are_no_models(stubs: Stubs, nothing_new: None, file: Upload, tmp_path: Path) -> None:
    data = file.data()
    found = refusal(lambda: stubs.models.UploadModel(upload(data, header("bad"), sha256_of(data))))
    assert found.code in (CODES[InvalidProblem], CODES[Unsupported])
    assert found.domain == DOMAIN
    assert found.reason == file.reason or not file.reason
    assert file.kind is InvalidProblem or found.code is CODES[file.kind]
    assert file.says in found.message, found.message
    assert "Traceback" not in found.message
    assert type(from_status(found.code, found.message, found.details)) in (InvalidProblem, Unsupported)


def test_nothing_of_a_pickle_runs(client: verifier.Client, nothing_new: None, tmp_path: Path) -> None:
    """Neither here nor there."""
    witness = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (witness,)

    for suffix in ("onnx", "safetensors"):
        file = tmp_path / f"evil.{suffix}"
        file.write_bytes(pickle.dumps(Evil()))
        source: dict[str, Any] = {"onnx": file} if suffix == "onnx" else {"weights": file, "architecture": "cnn"}
        with pytest.raises(InvalidProblem, match="pickle"):
            client.models.add("evil", **source)
    assert not witness.exists()


@dataclass(frozen=True)
class Header:
    """A header that is refused, and how."""

    name: str
    change: Callable[[Any], object]
    says: str
    field: str
    kind: type[VerifierError] = InvalidProblem
    reason: str = "INVALID_PROBLEM"

    def __str__(self) -> str:
        return self.name


def set_config(values: dict[str, Any], architecture: str = "cnn") -> Callable[[Any], object]:
    def change(head: Any) -> None:
        head.source.format = models_pb2.MODEL_FORMAT_SAFETENSORS
        head.source.architecture = architecture
        head.source.config.update(values)

    return change


def set_range(low: float, high: float) -> Callable[[Any], object]:
    return lambda head: head.source.input_range.CopyFrom(models_pb2.InputRange(low=low, high=high))


def set_normalization(mean: list[float], std: list[float]) -> Callable[[Any], object]:
    return lambda head: head.source.normalization.CopyFrom(models_pb2.Normalization(mean=mean, std=std))


HEADERS = [
    Header("no parent", lambda h: setattr(h, "parent", ""), "projects/{project}", "parent"),
    Header("other project", lambda h: setattr(h, "parent", "projects/a"), "'a'", "", NotFound, "NOT_FOUND"),
    Header("no alias", lambda h: setattr(h, "alias", ""), "1 to 63 characters", "alias"),
    Header("alias with a path", lambda h: setattr(h, "alias", "../x"), "1 to 63 characters", "alias"),
    Header("alias in capitals", lambda h: setattr(h, "alias", "Prod"), "1 to 63 characters", "alias"),
    Header("long alias", lambda h: setattr(h, "alias", "a" * 64), "1 to 63 characters", "alias"),
    Header("alias like a digest", lambda h: setattr(h, "alias", "a" * 64), "1 to 63 characters", "alias"),
    Header("no format", lambda h: setattr(h.source, "format", 0), "MODEL_FORMAT_ONNX", "format"),
    Header("format 99", lambda h: setattr(h.source, "format", 99), "MODEL_FORMAT_ONNX", "format"),
    Header("ONNX with architecture", lambda h: setattr(h.source, "architecture", "cnn"), "name none", "arch"),
    Header("unknown architecture", set_config({}, "vit"), "'vit'", "arch"),
    Header("unknown setting", set_config({"depth": 3}), "'depth'", "config"),
    Header("classes as text", set_config({"classes": "ten"}), "'ten'", "config.classes"),
    Header("half a class", set_config({"classes": 2.5}), "2.5", "config.classes"),
    Header("huge size", set_config({"classes": 1e18}), "65536", "config.classes"),
    Header("classes NaN", set_config({"classes": math.nan}), "nan|finite|NaN", "config"),
    Header("classes infinite", set_config({"classes": math.inf}), "inf|finite|Inf", "config"),
    Header("no classes", set_config({"classes": None}), "None", "config.classes"),
    Header("range upside down", set_range(1, 0), "lower first", "range"),
    Header("range NaN", set_range(math.nan, 1), "finite", "range"),
    Header("range without width", set_range(1, 1), "lower first", "range"),
    Header("std 0", set_normalization([0.5], [0.0]), "> 0", "normalization"),
    Header("std NaN", set_normalization([0.5], [math.nan]), "finite", "normalization"),
    Header("mean without std", set_normalization([0.5], []), "1 and 0", "normalization"),
    Header("std vanishing in float32", set_normalization([0.5], [1e-60]), "float32", "normalization"),
    Header("three channels", set_normalization([0.5] * 3, [1.0] * 3), "1 channels", "normalization"),
    Header("a thousand zeros", set_normalization([0.0] * 5000, [0.0] * 5000), "> 0", "normalization"),
]


@pytest.mark.parametrize("case", HEADERS, ids=str)
def test_headers_that_make_no_sense(stubs: Stubs, nothing_new: None, case: Header) -> None:
    head = header("bad")
    case.change(head)
    weights = head.source.format == models_pb2.MODEL_FORMAT_SAFETENSORS
    data = network(MODEL, ModelFormat.SAFETENSORS if weights else ModelFormat.ONNX).read_bytes()
    found = refusal(lambda: stubs.models.UploadModel(upload(data, head, sha256_of(data))))
    assert_refused(found, case.kind, case.reason, (), case.field)
    assert any(words in found.message for words in case.says.split("|")), found.message


def test_a_digest_mismatch(stubs: Stubs, nothing_new: None) -> None:
    found = refusal(lambda: stubs.models.UploadModel(upload(onnx_bytes(), header("bad"), "0" * 64)))
    assert_refused(found, InvalidProblem, "DIGEST_MISMATCH", ("0" * 64, sha256_of(onnx_bytes()), "again"), "sha256")
    found = refusal(lambda: stubs.models.UploadModel(upload(onnx_bytes(), header("bad"), "")))
    assert_refused(found, InvalidProblem, "INVALID_PROBLEM", ("SHA-256",), "sha256")


def test_uploads_have_a_form(stubs: Stubs, nothing_new: None) -> None:
    whole = list(upload(onnx_bytes(), header("bad"), sha256_of(onnx_bytes())))
    head, chunk, trailer = whole
    large = models_pb2.UploadModelRequest(chunk=bytes(2**20 + 1))
    for parts, says, field, reason in [
        ([], "begins with its header", "header", "INVALID_PROBLEM"),
        ([chunk, trailer], "begins with its header", "header", "INVALID_PROBLEM"),
        ([head], "before its trailer", "trailer", "UPLOAD_TRUNCATED"),
        ([head, chunk], "nothing was registered", "trailer", "UPLOAD_TRUNCATED"),
        ([head, head, chunk, trailer], "after the header", "part", "INVALID_PROBLEM"),
        ([head, models_pb2.UploadModelRequest(), trailer], "after the header", "part", "INVALID_PROBLEM"),
        ([head, large, trailer], "at most 1 MiB", "chunk", "INVALID_PROBLEM"),
    ]:
        found = refusal(lambda parts=parts: stubs.models.UploadModel(iter(parts)))  # type: ignore[misc]
        assert_refused(found, InvalidProblem, reason, (says,), field)


def test_a_client_that_leaves_in_the_middle_of_an_upload(stubs: Stubs, nothing_new: None, server: Any) -> None:
    parts: queue.SimpleQueue[Any] = queue.SimpleQueue()
    parts.put(models_pb2.UploadModelRequest(header=header("gone")))
    for _ in range(3):
        parts.put(models_pb2.UploadModelRequest(chunk=bytes(2**20)))
    call = stubs.models.UploadModel.future(iter(parts.get, None))
    incoming = server.data_dir / "blobs" / "incoming"
    eventually(lambda: sum(path.stat().st_size for path in incoming.iterdir()) == 3 * 2**20)
    call.cancel()
    parts.put(None)
    eventually(lambda: not list(incoming.iterdir()))


def test_a_model_file_over_the_limit(tmp_path: Path) -> None:
    """Refused while the client still sends; it hears why."""
    file = tmp_path / "big.onnx"
    file.write_bytes(b"\x08" + bytes(40 * 2**20))
    with server_in_thread(tmp_path / "data", max_model_bytes=2**20) as address, verifier.connect(address) as client:
        with pytest.raises(InvalidProblem) as refused:
            client.models.add("big", onnx=file)
        assert refused.value.reason == "MODEL_TOO_LARGE"
        with Stubs(address) as stubs:
            data = file.read_bytes()
            found = refusal(lambda: stubs.models.UploadModel(upload(data, header("big"), sha256_of(data))))
        assert (found.code, found.reason) == (CODES[InvalidProblem], "MODEL_TOO_LARGE")
        assert found.fields


def test_lists_and_reads_refuse(stubs: Stubs) -> None:
    def list_models(**fields: Any) -> Any:
        return lambda: stubs.models.ListModels(models_pb2.ListModelsRequest(**{"parent": "projects/default", **fields}))

    for call, says, field in [
        (list_models(page_size=-1), ">= 0", "page_size"),
        (list_models(page_token="rubbish"), "page before", "page_token"),
        (list_models(page_token="-1"), "page before", "page_token"),
        (list_models(page_token="9" * 30), "page before", "page_token"),
        (list_models(parent=""), "projects/{project}", "parent"),
        (lambda: stubs.models.GetModel(models_pb2.GetModelRequest(name=MODEL)), "projects/{project}/models", "name"),
        (lambda: stubs.models.GetModel(models_pb2.GetModelRequest()), "projects/{project}/models", "name"),
        (lambda: stubs.models.DeleteModel(models_pb2.DeleteModelRequest()), "projects/{project}/models", "name"),
    ]:
        assert_refused(refusal(call), InvalidProblem, "INVALID_PROBLEM", (says,), field)
    missing = models_pb2.DeleteModelRequest(name="projects/default/models/cat")
    assert_refused(refusal(lambda: stubs.models.DeleteModel(missing)), NotFound, "NOT_FOUND", ("'cat'",), "")
    everything = models_pb2.ListModelsRequest(parent="projects/default", page_size=2**31 - 1)
    assert len(stubs.models.ListModels(everything).models) >= 2


def test_garbage_on_the_wire_is_survived(server: Any, client: verifier.Client, digits: Any) -> None:
    """Bytes that are no message, and a method that does not exist."""
    with grpc.insecure_channel(server.address) as channel:
        for method in ("Certify", "Predict", "ListMethods"):
            call = channel.unary_unary(f"/verifier.v1.CertificationService/{method}")
            with pytest.raises(grpc.RpcError):
                call(b"\xff" * 100, timeout=PROMPTLY)
        with pytest.raises(grpc.RpcError) as unknown:
            channel.unary_unary("/verifier.v1.CertificationService/Nothing")(b"", timeout=PROMPTLY)
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert list(client.certify(MODEL, digits.x[:1], METHOD))
