"""What travels arrives unchanged: every word, to its message (in bytes, and in JSON where it is written) and back."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from words import METHODS, MOST, PROBLEMS, bound_methods, certificates

from verifier.certificate import Certificate
from verifier.client import remote
from verifier.methods import BoundMethod, CertifyingMethod
from verifier.problem import Box, Problem
from verifier.v1 import certificate_pb2, certification_pb2, methods_pb2, tensor_pb2
from verifier.wire import certificates as wire
from verifier.wire import questions
from verifier.wire.methods import from_method, to_method
from verifier.wire.tensors import from_tensor, to_tensor

slowly_drawn = settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)


def sent(message: Any) -> Any:
    """A message as it arrives."""
    return type(message).FromString(message.SerializeToString())


def same(a: Any, b: Any) -> bool:
    """The very numbers, NaN and -0.0 too, and Python's own types."""
    return repr(a) == repr(b)


def same_array(a: Any, b: Any) -> bool:
    if a is None or b is None:
        return a is b
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def same_box(a: Box | None, b: Box | None) -> bool:
    if a is None or b is None:
        return a is b
    return a.name == b.name and same_array(a.lower, b.lower) and same_array(a.upper, b.upper)


def assert_same_problem(a: Problem, b: Problem) -> None:
    for name in ("x", "labels", "weights"):
        assert same_array(getattr(a, name), getattr(b, name)), name
    for name in ("domain", "boxes"):
        assert same_box(getattr(a, name), getattr(b, name)), name
    assert (a.norm, a.eps, a.first_index, a.digests) == (b.norm, b.eps, b.first_index, b.digests)


# -- methods ---------------------------------------------------------------------------------------------


@given(METHODS)
def test_methods(method: CertifyingMethod) -> None:
    assert same(from_method(sent(to_method(method)), "method"), method)


@given(bound_methods())
def test_what_is_left_out_takes_its_default(method: BoundMethod) -> None:
    bare = getattr(methods_pb2, type(method).__name__)()
    name = method.name.replace("-", "_")
    assert from_method(sent(methods_pb2.Method(**{name: bare})), "method") == type(method)()


# -- questions -------------------------------------------------------------------------------------------


@slowly_drawn
@given(PROBLEMS, METHODS, st.none() | st.integers(0, MOST), st.booleans())
def test_questions(problem: Problem, method: CertifyingMethod, seed: int | None, validate_only: bool) -> None:
    spec = sent(questions.to_spec("a-model", problem, method, seed, validate_only=validate_only))
    question = questions.from_spec(spec)
    assert (question.model, question.validate_only) == ("a-model", validate_only)
    assert same(question.method, method)
    assert seed is None or (question.seed.value, question.seed.origin) == (seed, "client")
    again = question.problem(sent(questions.to_inline(problem)), problem.first_index)
    assert_same_problem(again, problem)


@slowly_drawn
@given(PROBLEMS, st.integers(1, 400))
def test_parts_lose_and_double_nothing(problem: Problem, most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "INLINE_BYTES", most)
        parts = list(remote._parts(problem))
    assert all(len(part) == 1 or part.nbytes <= most // 2 for part in parts)
    assert [part.first_index for part in parts] == list(
        np.cumsum([problem.first_index, *(len(part) for part in parts[:-1])])
    )
    assert sum((part.digests for part in parts), ()) == problem.digests
    for part in parts:
        rows = slice(part.first_index - problem.first_index, part.first_index - problem.first_index + len(part))
        assert same_array(part.x, problem.x[rows])
        assert same_array(part.labels, None if problem.labels is None else problem.labels[rows])
        assert (part.norm, part.eps) == (problem.norm, problem.eps)
        assert same_box(part.domain, problem.domain)
        assert same_array(part.weights, problem.weights)


@given(
    st.sampled_from([("FP32", np.float32), ("FP64", np.float64), ("INT64", np.int64)]).flatmap(
        lambda pair: st.tuples(st.just(pair[0]), hnp.arrays(pair[1], hnp.array_shapes(min_dims=0, min_side=0)))
    )
)
def test_tensors(case: tuple[str, Any]) -> None:
    datatype, array = case
    message = sent(to_tensor(array))
    assert isinstance(message, tensor_pb2.Tensor)
    assert same_array(from_tensor(message, datatype, "field", scalar=True), array)
    foreign = array.astype(array.dtype.newbyteorder(">"))
    assert same_array(from_tensor(sent(to_tensor(foreign)), datatype, "field", scalar=True), array)


# -- certificates ----------------------------------------------------------------------------------------


def told(certificate: Certificate) -> Certificate:
    """The same, versions in the order of their names: messages have no order there."""
    versions = dict(sorted(certificate.execution.versions.items()))
    return dataclasses.replace(certificate, execution=dataclasses.replace(certificate.execution, versions=versions))


@slowly_drawn
@given(certificates())
def test_certificates(certificate: Certificate) -> None:
    message = wire.to_certificate(certificate)
    assert same(told(wire.from_certificate(sent(message))), told(certificate))
    line = wire.certificate_to_json(certificate)
    assert "\n" not in line
    json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert same(told(wire.certificate_from_json(line)), told(certificate))


def test_new_messages_break_no_old_ones() -> None:
    """Numbers of fields that older messages have; they never change."""
    numbers: dict[tuple[Any, str], int] = {
        (certificate_pb2.Certificate, "sampling"): 12,
        (certificate_pb2.Certificate, "execution"): 13,
        (certificate_pb2.Certificate, "bounds"): 14,
        (methods_pb2.Method, "smoothing"): 1,
        (methods_pb2.Method, "ibp"): 2,
        (methods_pb2.Method, "ladder"): 6,
        (certification_pb2.CertifySpec, "validate_only"): 6,
        (certification_pb2.CertifySpec, "domain"): 7,
        (certification_pb2.CertifySpec, "weights"): 8,
        (certification_pb2.InlineInputs, "x"): 1,
        (certification_pb2.InlineInputs, "labels"): 2,
        (certification_pb2.InlineInputs, "lower"): 3,
        (certification_pb2.InlineInputs, "upper"): 4,
    }
    found = {(kind, name): kind.DESCRIPTOR.fields_by_name[name].number for kind, name in numbers}
    assert found == numbers
