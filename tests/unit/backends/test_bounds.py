"""Deterministic methods as machines of steps: exact radii are never exceeded, and doubt is never a certificate."""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from fakes import handle_of
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor, nn

from verifier.backends.base import Work
from verifier.backends.bounder import BoundState
from verifier.backends.bounds import BoundsBackend
from verifier.backends.device import Device, Shape
from verifier.backends.table import backend_of
from verifier.bound_claims import bound_claims
from verifier.certificate import Certificate, Grade, RegionKind, Verdict
from verifier.errors import InvalidProblem, Unsound, Unsupported
from verifier.methods import BOUND_METHODS, AlphaCrown, BoundMethod, Crown, Ibp, Ladder
from verifier.models.compiled import Form
from verifier.models.handle import ModelHandle
from verifier.problem import Box, Norm, Problem
from verifier.seeds import Seed

SEED = Seed(5, "client")
UNIT = Box(np.array(0.0), np.array(1.0), "bounds")
METHODS = [kind() for kind in BOUND_METHODS]


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device("cpu")
    yield device
    device.close()


def linear(weight: Sequence[Sequence[float]], bias: Sequence[float]) -> ModelHandle:
    """logits W x + b."""
    layer = nn.Linear(len(weight[0]), len(weight))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weight))
        layer.bias.copy_(torch.tensor(bias))
    return handle_of(layer, (len(weight[0]),), len(weight))


def small_network(seed: int = 0) -> ModelHandle:
    """A convolutional network with random weights, inputs [1, 6, 6], 3 classes."""
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 3, stride=2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16, 3),
    )
    return handle_of(module, (1, 6, 6), 3)


def images(count: int, seed: int = 1) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 1, (count, 1, 6, 6)).astype(np.float32)


def finish(
    device: Device, handle: ModelHandle, problem: Problem, method: BoundMethod, seconds_left: float | None = None
) -> list[Certificate]:
    """Every input's certificate."""
    backend = backend_of(method)
    backend.check(handle, problem, method, device)
    model = backend.prepare(handle, method, None, device)
    states: list[Any] = backend.begin(handle, problem, method, SEED, device, seconds_left)
    answers: list[Certificate] = []
    while states:
        states = backend.step(model, [Work(state, 1) for state in states])
        concluded = backend.conclude(states, 0.0, 1.0)
        answers += [answer for answer in concluded if isinstance(answer, Certificate)]
        states = [state for state, answer in zip(states, concluded, strict=True) if answer is None]
    return sorted(answers, key=lambda certificate: certificate.index)


def exact_radius(
    weight: NDArray[np.float32], bias: NDArray[np.float32], x: NDArray[np.float32], norm: Norm
) -> Fraction:
    """Largest r with (w_0 - w_1) . x' + b_0 - b_1 > 0 for ||x' - x|| < r, for L1 and Linf, in rational arithmetic."""
    difference = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(weight[0], weight[1], strict=True)]
    margin = sum(d * Fraction(float(v)) for d, v in zip(difference, x, strict=True))
    margin += Fraction(float(bias[0])) - Fraction(float(bias[1]))
    sizes = [abs(d) for d in difference]
    return abs(margin) / (sum(sizes) if norm is Norm.LINF else max(sizes))


finite = st.floats(-100, 100, width=32)


@settings(deadline=None, max_examples=40)
@given(
    numbers=st.lists(finite, min_size=8, max_size=8),
    point=st.lists(finite, min_size=3, max_size=3),
    norm=st.sampled_from([Norm.L1, Norm.LINF]),
    method=st.sampled_from(METHODS),
)
def test_a_radius_never_exceeds_the_exact_one(
    device: Device, numbers: list[float], point: list[float], norm: Norm, method: BoundMethod
) -> None:
    handle = linear([numbers[:3], numbers[3:6]], numbers[6:])
    x = np.array([point], dtype=np.float32)
    (certificate,) = finish(device, handle, Problem(x, norm), method)
    weight, bias = (parameter.detach().numpy() for parameter in handle.module.parameters())
    if not (np.any(weight[0] != weight[1])):  # the answer is the same everywhere, or nowhere certain
        return
    exact = exact_radius(weight, bias, x[0], norm)
    assert Fraction(certificate.radius) < exact or certificate.radius == 0
    if exact > Fraction(1, 10**3):  # margins that float32 can see
        assert certificate.certified
        assert certificate.radius >= float(exact) * (1 - 3e-4)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
@pytest.mark.parametrize("norm", list(Norm))
def test_certificates_hold_at_random_points_and_check(device: Device, method: BoundMethod, norm: Norm) -> None:
    handle, x = small_network(), images(6)
    certificates = finish(device, handle, Problem(x, norm, domain=UNIT), method)
    generator = np.random.default_rng(0)
    for certificate in certificates:
        assert certificate.certified
        assert bound_claims(certificate) == ()
        assert certificate.guarantee.grade is Grade.FLOAT_SOUND
        assert certificate.bounds.audited == 16
        directions = generator.standard_normal((200, 36))
        order = {Norm.L1: 1, Norm.L2: 2, Norm.LINF: np.inf}[norm]
        directions /= np.linalg.norm(directions, order, axis=1, keepdims=True)
        points = np.clip(x[certificate.index].reshape(-1) + certificate.radius * directions, 0, 1)
        with torch.no_grad():
            logits = handle.module.double()(torch.from_numpy(points.reshape(-1, 1, 6, 6)))
        handle.module.float()
        assert (logits.argmax(1) == certificate.prediction).all()


def test_stronger_methods_prove_more(device: Device) -> None:
    handle, x = small_network(), images(6)
    radii = {m.name: [c.radius for c in finish(device, handle, Problem(x, Norm.LINF), m)] for m in METHODS}
    for weaker, stronger in (("crown-ibp", "crown"), ("crown", "alpha-crown"), ("alpha-crown", "ladder")):
        pairs = list(zip(radii[weaker], radii[stronger], strict=True))
        slack = 3e-4 if stronger == "crown" else 0.02  # two ascents end in different places
        assert all(more >= less * (1 - slack) for less, more in pairs)
    assert sum(radii["crown"]) > 1.2 * sum(radii["ibp"])


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_an_eps_is_certified_up_to_the_radius_and_unknown_beyond(device: Device, method: BoundMethod) -> None:
    handle, x = small_network(), images(4)
    for certificate in finish(device, handle, Problem(x, Norm.LINF), method):
        row = x[certificate.index : certificate.index + 1]
        (below,) = finish(device, handle, Problem(row, Norm.LINF, eps=certificate.radius * 0.999), method)
        assert (below.verdict, below.radius) == (Verdict.CERTIFIED, certificate.radius * 0.999)
        (above,) = finish(device, handle, Problem(row, Norm.LINF, eps=certificate.radius * 1.5), method)
        assert (above.verdict, above.radius, above.prediction) == (Verdict.UNKNOWN, 0.0, None)
        assert len(above.bounds.margins) == 2
        assert min(above.bounds.margins) <= 0
        assert bound_claims(below) == bound_claims(above) == ()


def test_a_box_is_the_ball_that_it_is(device: Device) -> None:
    handle, x = small_network(), images(3)
    for method in METHODS:
        lower, upper = (x - np.float32(0.01)).astype(float), (x + np.float32(0.01)).astype(float)
        boxes = finish(device, handle, Problem.of_boxes(Box(lower, upper)), method)
        assert [c.bounds.region.kind for c in boxes] == [RegionKind.BOX] * 3
        assert [(c.radius, c.eps) for c in boxes] == [(0.0, None)] * 3
        balls = finish(device, handle, Problem(x, Norm.LINF, eps=0.01), method)
        assert [c.certified for c in boxes] == [c.certified for c in balls]
        assert all(bound_claims(c) == () for c in boxes)


def test_weights_stretch_the_ball(device: Device) -> None:
    handle = linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    x = np.array([[1.0, 0.0]], dtype=np.float32)  # margin x_0 - x_1 = 1
    weights = np.array([1.0, 3.0])
    (certificate,) = finish(device, handle, Problem(x, Norm.LINF, weights=weights), Ibp())
    assert 0.25 * (1 - 3e-4) < certificate.radius < 0.25
    (still,) = finish(device, handle, Problem(x, Norm.LINF, weights=np.array([1.0, 0.0])), Ibp())
    assert 1 - 3e-4 < still.radius < 1


def test_the_domain_cuts_the_ball(device: Device) -> None:
    handle = linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    x = np.array([[1.0, 0.0]], dtype=np.float32)
    free, cut = (
        finish(device, handle, Problem(x, Norm.LINF, domain=domain), Crown())[0]
        for domain in (None, Box(np.array([0.0, 0.0]), np.array([1.0, 0.25]), "bounds"))
    )
    assert 0.5 * (1 - 3e-4) < free.radius < 0.5
    assert 0.75 * (1 - 3e-4) < cut.radius < 0.75  # x_1 ends at 0.25
    assert cut.bounds.region.domain_digest
    everywhere = Box(np.array([0.9, 0.0]), np.array([1.0, 0.25]), "bounds")
    (whole,) = finish(device, handle, Problem(x, Norm.LINF, domain=everywhere), Crown())
    assert whole.radius == pytest.approx(0.25, rel=1e-6)  # the ball covers the domain, and nothing is searched beyond


class Tied(nn.Module):
    """The same logit for both classes."""

    def forward(self, x: Tensor) -> Tensor:
        first = x.sum(1, keepdim=True)
        return torch.cat([first, first], dim=1)


def test_a_tie_is_never_certified(device: Device) -> None:
    handle = handle_of(Tied(), (3,), 2)
    for method in METHODS:
        (certificate,) = finish(device, handle, Problem(np.ones((1, 3), dtype=np.float32), Norm.LINF), method)
        assert (certificate.verdict, certificate.radius, certificate.bounds.margins) == (Verdict.UNKNOWN, 0.0, ())
        assert bound_claims(certificate) == ()


class Overflowing(nn.Module):
    """Finite weights, infinite logits."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor([[3e38, 3e38], [-3e38, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for _ in range(9):
            y = y @ self.get_buffer("weight")
        return y


def test_overflow_is_never_certified(device: Device) -> None:
    handle = handle_of(Overflowing(), (2,), 2)
    for method in (Ibp(), Crown()):
        (certificate,) = finish(device, handle, Problem(np.ones((1, 2), dtype=np.float32), Norm.LINF), method)
        assert not certificate.certified


def test_answers_do_not_depend_on_the_company(device: Device) -> None:
    handle, x = small_network(), images(40)
    together = finish(device, handle, Problem(x, Norm.LINF), Ladder())
    for index in (0, 17, 39):
        (alone,) = finish(device, handle, Problem(x[index : index + 1], Norm.LINF), Ladder())
        assert alone.radius == pytest.approx(together[index].radius, rel=0.02)  # an ascent may end elsewhere
        assert alone.prediction == together[index].prediction


def test_time_that_is_over_ends_with_what_is_proved(device: Device) -> None:
    handle, x = small_network(), images(50)
    started = finish(device, handle, Problem(x, Norm.LINF), AlphaCrown(max_seconds=0.001))
    assert len(started) == 50
    assert all(bound_claims(certificate) == () for certificate in started)
    assert all(c.certified or c.radius == 0 for c in finish(device, handle, Problem(x, Norm.LINF), Ladder(), 0.02))


def test_nearest_is_graded_so(device: Device) -> None:
    handle, x = small_network(), images(2)
    outward = finish(device, handle, Problem(x, Norm.LINF), Crown(tolerance=1e-7))
    nearest = finish(device, handle, Problem(x, Norm.LINF), Crown(rounding="nearest", tolerance=1e-7))  # type: ignore[arg-type]
    for careful, careless in zip(outward, nearest, strict=True):
        assert careless.guarantee.grade is Grade.REAL_ARITHMETIC
        assert bound_claims(careless) == ()
        assert careful.radius >= careless.radius * (1 - 1e-5)


def test_float32_exec_costs_little_and_names_float32(device: Device) -> None:
    handle, x = small_network(), images(3)
    real = finish(device, handle, Problem(x, Norm.LINF), Crown())
    executed = finish(device, handle, Problem(x, Norm.LINF), Crown(semantics="float32_exec"))  # type: ignore[arg-type]
    for certificate, other in zip(executed, real, strict=True):
        assert certificate.subject.precision == "float32"
        assert bound_claims(certificate) == ()
        assert 0.99 * other.radius < certificate.radius <= other.radius * (1 + 3e-4)


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


class Sinus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.sin(x))
        return logits


def test_refusals_name_what_is_wrong_before_any_work(device: Device) -> None:
    x = np.zeros((1, 4), dtype=np.float32)
    normed, sinus = handle_of(Normed(), (4,), 2), handle_of(Sinus(), (4,), 2)
    with pytest.raises(Unsupported, match="sin"):
        backend_of(Crown()).check(sinus, Problem(x, Norm.LINF), Crown(), device)
    exact = Ibp(semantics="float32_exec")  # type: ignore[arg-type]
    with pytest.raises(Unsupported, match="float32_exec does not cover layer"):
        backend_of(exact).check(normed, Problem(x, Norm.LINF), exact, device)
    wide = np.zeros((1, 5), dtype=np.float32)
    with pytest.raises(InvalidProblem, match="shape"):
        backend_of(Ibp()).check(normed, Problem(wide, Norm.LINF), Ibp(), device)
    torch.manual_seed(0)
    large = handle_of(nn.Sequential(nn.Linear(4, 40_000), nn.ReLU(), nn.Linear(40_000, 2)), (4,), 2)
    with pytest.raises(InvalidProblem, match="memory_bytes"):
        backend_of(Ibp()).check(large, Problem(x, Norm.LINF), Ibp(memory_bytes=2**20), device)
    with pytest.raises(Unsupported, match="computed again"):
        backend_of(Ibp()).prepare(normed, Ibp(), Shape(1, Form.EAGER), device)


@pytest.mark.parametrize("rounding", ["outward", "nearest"])
def test_a_proof_that_a_point_refutes_is_found(device: Device, rounding: str) -> None:
    """A false proof is planted: the audit of its region ends everything, or withholds what would prove less."""
    handle = linear([[1.0, 0.0], [0.0, 1.0]], [0.0, 0.0])
    method = Ibp(audit=64, rounding=rounding)  # type: ignore[arg-type]
    backend = backend_of(method)
    problem = Problem(np.array([[1.0, 0.0]], dtype=np.float32), Norm.LINF, eps=0.8)
    ready = backend.prepare(handle, method, None, device)
    (state,) = backend.begin(handle, problem, method, SEED, device)
    course = state.course.after_centre(0, 1.0, 1.0, stop=False).after_proof((0.25,), stop=False)
    assert course.stage.value == "audit"
    planted = [Work(BoundState(problem, 0, state.note, course, state.origin, 1, None), 1)]
    if rounding == "outward":
        with pytest.raises(Unsound, match="audit refuted"):
            backend.step(ready, planted)
    else:
        (withheld,) = backend.step(ready, planted)
        assert not withheld.course.certified


def test_the_price_is_told_before(device: Device) -> None:
    handle = small_network()
    problem = Problem(images(10), Norm.LINF, domain=UNIT)
    cheap, dear = (BoundsBackend(kind).check(handle, problem, kind(), device) for kind in (Ibp, Ladder))
    assert 0 < cheap.forward_passes < dear.forward_passes
    assert 0.5 <= cheap.largest_radius <= 1
    assert math.isinf(BoundsBackend(Ibp).check(handle, Problem(images(1), Norm.LINF), Ibp(), device).largest_radius)
