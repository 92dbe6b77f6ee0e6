"""CERTIFY and PREDICT as a machine of steps: what is refused, what is drawn, and what votes become."""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import Bands, Broken, Constant, Counting, HalfSpace, handle_of
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from verifier import guarantee
from verifier.backends.base import Work
from verifier.backends.device import Device, Shape
from verifier.backends.draws import SmoothingState, describe, phases, segments_of, top_class
from verifier.backends.smoothing import SmoothingBackend
from verifier.backends.table import BACKENDS, backend_of, distinct_backends
from verifier.certificate import Certificate, Grade, NoiseModel, SmoothedPrediction, Verdict, Votes
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import BOUND_METHODS, Precision, Prediction, Rng, Selection, Smoothing
from verifier.models.compiled import Form
from verifier.models.handle import ModelHandle
from verifier.models.registry import Registry
from verifier.problem import Norm, Problem
from verifier.rounding import down
from verifier.seeds import Phase, Seed
from verifier.stats.binomial import clopper_pearson_lower, clopper_pearson_upper

BACKEND = SmoothingBackend()
Sampling = Smoothing | Prediction
SEED = Seed(1234, "client")
AES = Rng.AES128_CTR_BOX_MULLER
BANDS = handle_of(Bands([-0.5, 0.25, 1.0]), (3,), classes=4)
SHAPE = Shape(16, Form.EAGER)


@pytest.fixture(scope="module")
def device() -> Iterator[Device]:
    device = Device("cpu")
    yield device
    device.close()


def problem_of(*firsts: float, dim: int = 3, **more: Any) -> Problem:
    """One input for each first coordinate; the others are zero."""
    x = np.zeros((len(firsts), dim), dtype=np.float32)
    x[:, 0] = firsts
    return Problem(x, more.pop("norm", Norm.L2), **more)


def finish(
    device: Device,
    handle: ModelHandle,
    problem: Problem,
    method: Sampling,
    budget: int = 10**9,
    shape: Shape = SHAPE,
) -> list[Any]:
    """Every input's answer, in steps of at most `budget` rows."""
    model = device.prepare(handle, method.precision, shape)
    states = BACKEND.begin(handle, problem, method, SEED, device)
    while any(BACKEND.wanted(state) for state in states):
        left = budget
        given: list[int] = []
        for state in states:
            given.append(min(left, BACKEND.wanted(state)))
            left -= given[-1]
        chosen = [number for number, rows in enumerate(given) if rows]
        for number in chosen:
            assert BACKEND.conclude([states[number]], 0.0, 1.0) == [None]
        for number, state in zip(chosen, BACKEND.step(model, [Work(states[n], given[n]) for n in chosen]), strict=True):
            states[number] = state
    return list(BACKEND.conclude(states, 5.0, 2.5))


def certificates(answers: Sequence[Any]) -> list[Certificate]:
    assert all(isinstance(answer, Certificate) for answer in answers)
    return list(answers)


# -- check


@pytest.mark.parametrize("norm", [Norm.L1, Norm.LINF])
def test_other_norms_are_unsupported(device: Device, norm: Norm) -> None:
    with pytest.raises(Unsupported, match=f"norm l2, got {norm.value}"):
        BACKEND.check(BANDS, problem_of(0.0, norm=norm), Smoothing(0.5), device)


@pytest.mark.parametrize("shape", [(2, 4), (2, 3, 1), (2, 1, 3)], ids=repr)
def test_inputs_of_another_shape_are_refused(device: Device, shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidProblem, match=r"shape \[3\]") as error:
        BACKEND.check(BANDS, Problem(np.zeros(shape, dtype=np.float32), Norm.L2), Smoothing(0.5), device)
    assert error.value.violations[0].field == "inputs.shape"


RANGED = handle_of(Bands([0.5]), (3,), input_range=(0.0, 0.1))


@pytest.mark.parametrize("value", [-1e-7, 0.10000001, 255.0], ids=repr)
def test_inputs_out_of_range_are_refused_by_their_index(device: Device, value: float) -> None:
    with pytest.raises(InvalidProblem, match="outside of this model's range") as error:
        BACKEND.check(RANGED, problem_of(0.0, 0.05, value, first_index=7), Smoothing(0.5), device)
    assert error.value.violations[0].field == "inputs[9]"


def test_the_ends_of_the_range_are_inside(device: Device) -> None:
    BACKEND.check(RANGED, problem_of(0.0, 0.1), Smoothing(0.5), device)


@pytest.mark.parametrize("label", [4, 5, 2**40], ids=repr)
def test_labels_that_are_no_class_are_refused_by_their_index(device: Device, label: int) -> None:
    labels = np.array([0, 3, label])
    with pytest.raises(InvalidProblem, match=r"labels must be in 0\.\.3") as error:
        BACKEND.check(BANDS, problem_of(0, 0, 0, labels=labels), Smoothing(0.5), device)
    assert error.value.violations[0].field == "labels[2]"


@pytest.mark.parametrize("method", [Smoothing(0.5, rng=Rng.CUDA_PHILOX), Prediction(0.5, rng=Rng.CUDA_PHILOX)])
def test_the_cuda_generator_needs_cuda(device: Device, method: Sampling) -> None:
    with pytest.raises(InvalidProblem, match="needs a CUDA device") as error:
        BACKEND.check(BANDS, problem_of(0.0), method, device)
    assert error.value.violations[0].field == "smoothing.rng"


VARIANTS = [
    {},
    {"runner_up": True},
    {"selection": Selection.SINGLE_STAGE},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=repr)
def test_eps_out_of_reach_is_refused_with_the_draws_that_it_takes(device: Device, variant: dict[str, Any]) -> None:
    method = Smoothing(0.5, n=1000, **variant)
    needed = guarantee.draws_for_radius(0.5, 1.5, method.bound_alpha)
    assert needed is not None
    with pytest.raises(InvalidProblem, match=f"n = {needed} would do") as error:
        BACKEND.check(BANDS, problem_of(0.0, eps=1.5), method, device)
    assert error.value.reason == "INFEASIBLE"
    # What the message promises is so: n draws are enough, and one less is not.
    price = BACKEND.check(BANDS, problem_of(0.0, eps=1.5), dataclasses.replace(method, n=needed), device)
    assert price.largest_radius >= 1.5
    with pytest.raises(InvalidProblem, match="out of reach"):
        BACKEND.check(BANDS, problem_of(0.0, eps=1.5), dataclasses.replace(method, n=needed - 1), device)


def test_eps_beyond_all_reach(device: Device) -> None:
    with pytest.raises(InvalidProblem, match="no number of draws would do"):
        BACKEND.check(BANDS, problem_of(0.0, eps=100.0), Smoothing(0.5), device)


def test_price_is_what_is_drawn(device: Device) -> None:
    problem = problem_of(0.0, 1.0, 2.0)
    assert BACKEND.check(BANDS, problem, Smoothing(0.5, n0=50, n=200), device).forward_passes == 3 * 250
    single = Smoothing(0.5, n0=50, n=200, selection=Selection.SINGLE_STAGE)
    assert BACKEND.check(BANDS, problem, single, device).forward_passes == 3 * 200
    assert BACKEND.check(BANDS, problem, Prediction(0.5, n=70), device).forward_passes == 3 * 70


def test_the_largest_radius_of_the_price_is_reached_and_never_passed(device: Device) -> None:
    handle = handle_of(Constant(4, 2), (3,), classes=4)
    for method in (Smoothing(0.5, n0=5, n=100), Smoothing(0.5, n=100, selection=Selection.SINGLE_STAGE)):
        price = BACKEND.check(handle, problem_of(0.0), method, device)
        (answer,) = certificates(finish(device, handle, problem_of(0.0), method))
        assert answer.radius == price.largest_radius
    two_sided = Smoothing(0.5, n0=5, n=100, runner_up=True)
    (answer,) = certificates(finish(device, handle, problem_of(0.0), two_sided))
    assert 0 < answer.radius <= BACKEND.check(handle, problem_of(0.0), two_sided, device).largest_radius


def test_warnings(device: Device) -> None:
    few, small = (
        BACKEND.check(BANDS, problem_of(0.0), method, device).warnings
        for method in (Smoothing(0.5, n0=29), Smoothing(0.5, n=20))
    )
    assert "n0 = 29" in few[0]
    assert "less than sigma" in small[0]
    assert BACKEND.check(BANDS, problem_of(0.0), Smoothing(0.5, n0=30), device).warnings == ()


def test_the_table_knows_the_backend() -> None:
    assert backend_of(Smoothing(0.5)) is backend_of(Prediction(0.5))
    assert len(distinct_backends()) == 1 + len(BOUND_METHODS)
    assert set(BACKENDS) == {Smoothing, Prediction, *BOUND_METHODS}


# -- phases and segments

methods = st.one_of(
    st.builds(Smoothing, st.just(0.5), n0=st.integers(1, 60), n=st.integers(10, 90)),
    st.builds(Smoothing, st.just(0.5), n=st.integers(11, 90), selection=st.just(Selection.SINGLE_STAGE)),
    st.builds(Prediction, st.just(0.5), n=st.integers(1, 90)),
)


@given(methods, st.data())
def test_any_cut_covers_each_phase_exactly_once(device: Device, method: Sampling, data: st.DataObject) -> None:
    problem = problem_of(0.5, 1.5, first_index=40)
    state = BACKEND.begin(BANDS, problem, method, SEED, device)[1]
    drawn: dict[Phase, list[int]] = {}
    while wanted := BACKEND.wanted(state):
        rows = data.draw(st.integers(1, wanted))
        segments = list(segments_of(state, rows, slot=6))
        assert sum(segment.rows for segment in segments) == rows
        assert [segment.slot for segment in segments] == list(range(6, 6 + len(segments)))
        for segment in segments:
            stream = segment.stream
            assert (stream.seed, stream.index, stream.input_digest) == (1234, 41, problem.digests[1])
            assert (segment.sigma, segment.x is state.x) == (0.5, True)
            places = drawn.setdefault(stream.phase, [])
            places += range(segment.first, segment.first + segment.rows)
        state = dataclasses.replace(state, drawn=state.drawn + rows)
    assert drawn == {phase: list(range(draws)) for phase, draws in phases(method)}
    assert sum(draws for _, draws in phases(method)) == method.draws


def test_phases_by_hand() -> None:
    assert phases(Smoothing(0.5, n0=7, n=99)) == [(Phase.SELECT, 7), (Phase.ESTIMATE, 99)]
    assert phases(Smoothing(0.5, n=99, selection=Selection.SINGLE_STAGE)) == [(Phase.ESTIMATE, 99)]
    assert phases(Prediction(0.5, n=5)) == [(Phase.PREDICT, 5)]


# -- counts


@pytest.mark.parametrize(
    ("counts", "top"),
    [([5, 3, 0], 0), ([3, 5, 0], 1), ([4, 4, 0], 0), ([0, 0, 9], None), ([0, 1, 99], 1), ([0, 0, 0], None)],
    ids=repr,
)
def test_top_class(counts: list[int], top: int | None) -> None:
    assert top_class(np.array(counts, dtype=np.int64)) == top


@pytest.mark.parametrize(
    ("counts", "top", "votes"),
    [
        ([5, 3, 1, 0], 0, Votes(9, 0, 5, 1, 3, 0)),
        ([5, 3, 3, 0], 0, Votes(11, 0, 5, 1, 3, 0)),
        ([5, 3, 3, 0], 2, Votes(11, 2, 3, 0, 5, 0)),
        ([5, 0, 0, 0], 0, Votes(5, 0, 5, None, 0, 0)),
        ([5, 1, 0, 4], 0, Votes(10, 0, 5, None, 4, 4)),  # invalid draws are the strongest rival
        ([5, 4, 0, 4], 0, Votes(13, 0, 5, 1, 4, 4)),
        ([5, 0, 0, 9], 0, Votes(14, 0, 5, None, 9, 9)),
        ([0, 5, 0, 0], 0, Votes(5, 0, 0, 1, 5, 0)),
        ([0, 0, 0, 7], None, Votes(7, None, 0, None, 7, 7)),
        ([0, 0, 0, 7], 1, Votes(7, 1, 0, None, 7, 7)),
        ([2, 3, 0, 1], None, Votes(6, None, 0, 1, 3, 1)),
    ],
    ids=repr,
)
def test_describe(counts: list[int], top: int | None, votes: Votes) -> None:
    assert describe(np.array(counts, dtype=np.int64), top) == votes


@given(st.lists(st.integers(0, 5), min_size=3, max_size=6), st.data())
def test_describe_names_the_strongest_rival(counts: list[int], data: st.DataObject) -> None:
    top = data.draw(st.one_of(st.none(), st.integers(0, len(counts) - 2)))
    votes = describe(np.array(counts, dtype=np.int64), top)
    rivals = [count for column, count in enumerate(counts) if column != top]
    assert votes.runner_up_count == max(rivals)
    assert votes.n == sum(counts)
    if votes.runner_up is not None:
        assert counts[votes.runner_up] == votes.runner_up_count > 0


# -- steps

METHODS: list[Sampling] = [
    Smoothing(0.5, n0=37, n=300),
    Smoothing(0.5, n0=37, n=300, runner_up=True),
    Smoothing(0.5, n=300, selection=Selection.SINGLE_STAGE),
    Prediction(0.5, n=111),
]
FIRSTS = (-2.0, 0.0, 0.25, 0.6, 3.0)


def counts_of(answers: Sequence[Any]) -> list[Any]:
    return [
        (answer.sampling.selection, answer.sampling.estimation) if isinstance(answer, Certificate) else answer.votes
        for answer in answers
    ]


@pytest.mark.parametrize("method", METHODS, ids=repr)
def test_votes_do_not_depend_on_the_steps(device: Device, method: Sampling) -> None:
    whole = finish(device, BANDS, problem_of(*FIRSTS), method)
    assert all(votes.n for votes in counts_of(whole)[-1:] if isinstance(votes, Votes))
    for budget in (1 if method.draws < 120 else 13, 50, 337, 1000):
        for shape in (SHAPE, Shape(3, Form.EAGER), Shape(64, Form.TORCHSCRIPT)):
            again = finish(device, BANDS, problem_of(*FIRSTS), method, budget, shape)
            assert counts_of(again) == counts_of(whole)


def test_an_input_alone_gets_the_votes_that_it_gets_in_company(device: Device) -> None:
    method = METHODS[0]
    together = counts_of(finish(device, BANDS, problem_of(*FIRSTS), method))
    for index, first in enumerate(FIRSTS):
        alone = finish(device, BANDS, problem_of(first, first_index=index), method)
        assert counts_of(alone) == [together[index]]
        assert alone[0].index == index


def test_other_seeds_and_indices_draw_other_votes(device: Device) -> None:
    answers = finish(device, BANDS, problem_of(*[0.25] * 20), METHODS[0])
    assert len(set(map(repr, counts_of(answers)))) > 1  # the same input under twenty indices


def test_mixed_methods_in_one_step_keep_their_own(device: Device) -> None:
    """Different phases, draws and sigmas in one table of votes."""
    wide = Smoothing(2.0, n0=20, n=150, alpha=0.01)
    mixed: list[Sampling] = [*METHODS, wide]
    states = [BACKEND.begin(BANDS, problem_of(0.6), method, SEED, device)[0] for method in mixed]
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    states = BACKEND.step(model, [Work(state, 30) for state in states])
    states = BACKEND.step(model, [Work(state, BACKEND.wanted(state)) for state in states])
    together = BACKEND.conclude(states, 0, 0)
    for method, answer in zip(mixed, together, strict=True):
        (alone,) = finish(device, BANDS, problem_of(0.6), method)
        assert counts_of([answer]) == counts_of([alone])


def test_a_step_changes_no_state(device: Device) -> None:
    states = BACKEND.begin(BANDS, problem_of(0.0, 1.0), METHODS[0], SEED, device)
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    BACKEND.step(model, [Work(state, 50) for state in states])
    for state in states:
        assert (state.drawn, state.votes.sum(), state.execution.batch_rows) == (0, 0, 0)


# -- what votes become


def test_a_certificate_says_all(device: Device) -> None:
    problem = problem_of(3.0, labels=np.array([3]), eps=0.2, first_index=5)
    method = Smoothing(0.25, n0=50, n=500, alpha=0.01)
    (answer,) = certificates(finish(device, BANDS, problem, method))
    lower = clopper_pearson_lower(np.array([500]), 500, 0.01)
    assert (answer.verdict, answer.prediction, answer.index, answer.label) == (Verdict.CERTIFIED, 3, 5, 3)
    assert (answer.input_digest, answer.norm, answer.eps) == (problem.digests[0], Norm.L2, 0.2)
    assert answer.radius == guarantee.largest_radius(0.25, 500, 0.01)
    assert answer.method == dataclasses.replace(method, rng=AES)
    assert (answer.subject.model_digest, answer.subject.precision) == (BANDS.digest, "float32")
    assert (answer.subject.noise, answer.subject.sigma) == ("gaussian", 0.25)
    assert (answer.guarantee.grade, answer.guarantee.alpha) == (Grade.STATISTICAL, 0.01)
    assert answer.guarantee.noise_model is NoiseModel.IDEAL
    assert answer.sampling.p_a_lower == float(lower.p[0])
    assert (answer.sampling.selection, answer.sampling.estimation) == (
        Votes(50, 3, 50, None, 0, 0),
        Votes(500, 3, 500, None, 0, 0),
    )
    assert (answer.sampling.seed, answer.sampling.seed_origin, answer.sampling.rng) == (1234, "client", AES)
    assert (answer.execution.batch_rows, answer.execution.form, answer.execution.row_exact) == (16, "eager", True)
    assert (answer.execution.started, answer.execution.seconds, answer.execution.device) == (5.0, 2.5, "cpu")
    assert answer.correct


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_stated_bounds_are_those_of_the_counts(device: Device, method: Smoothing) -> None:
    for answer in certificates(finish(device, BANDS, problem_of(*FIRSTS), method)):
        votes = answer.sampling.estimation
        assert votes.n == 300
        lower = clopper_pearson_lower(np.array([votes.top_count]), 300, method.bound_alpha)
        assert answer.sampling.p_a_lower == lower.p[0]
        if method.runner_up:
            upper = clopper_pearson_upper(np.array([votes.runner_up_count]), 300, method.bound_alpha)
            assert answer.sampling.p_b_upper == upper.p[0]
        else:
            assert answer.sampling.p_b_upper is None
        assert answer.certified == (answer.radius > 0) == (answer.prediction is not None)
        if not answer.certified:
            assert answer.verdict is Verdict.ABSTAINED


def test_partial_work_proves_nothing(device: Device) -> None:
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    for method in METHODS[:3]:
        assert isinstance(method, Smoothing)
        state: SmoothingState = BACKEND.begin(BANDS, problem_of(3.0), method, SEED, device)[0]
        for rows in (1, method.draws - 2):  # at first nothing but selection, then all draws but one
            (state,) = BACKEND.step(model, [Work(state, rows)])
            assert BACKEND.conclude([state], 0, 0) == [None]
            (answer,) = BACKEND.so_far([state], 0, 0)
            assert isinstance(answer, Certificate)
            assert (answer.verdict, answer.radius, answer.prediction) == (Verdict.UNKNOWN, 0.0, None)
            assert (answer.sampling.p_a_lower, answer.sampling.p_b_upper) == (0.0, None)
            selected = 0 if answer.sampling.selection is None else answer.sampling.selection.n
            assert selected + answer.sampling.estimation.n == state.drawn
        (state,) = BACKEND.step(model, [Work(state, 1)])
        (last,) = BACKEND.conclude([state], 0, 0)
        assert isinstance(last, Certificate)
        assert last.certified


def test_partial_prediction_answers_nothing(device: Device) -> None:
    model = device.prepare(BANDS, Precision.FLOAT32, SHAPE)
    (state,) = BACKEND.begin(BANDS, problem_of(3.0), Prediction(0.25, n=100), SEED, device)
    (state,) = BACKEND.step(model, [Work(state, 99)])
    (answer,) = BACKEND.so_far([state], 0, 0)
    assert isinstance(answer, SmoothedPrediction)
    assert (answer.prediction, answer.p_value, answer.votes.n) == (None, 1.0, 99)


@pytest.mark.parametrize("method", METHODS[:3], ids=repr)
def test_inputs_without_one_valid_draw_are_abstained(device: Device, method: Smoothing) -> None:
    handle = handle_of(Broken(Constant(4, 1), limit=-1e9), (3,), classes=4)
    (answer,) = certificates(finish(device, handle, problem_of(0.0), method))
    assert (answer.verdict, answer.prediction, answer.radius) == (Verdict.ABSTAINED, None, 0.0)
    assert answer.sampling.estimation == Votes(300, None, 0, None, 300, 300)


def test_invalid_draws_count_against_the_class(device: Device) -> None:
    """Class 1 wherever the logits are numbers, which is a little more than half of the draws."""
    handle = handle_of(Broken(Constant(4, 1), limit=0.0), (3,), classes=4)
    problem = problem_of(-0.2)
    for runner_up in (False, True):
        method = Smoothing(1.0, n0=100, n=4000, runner_up=runner_up)
        (answer,) = certificates(finish(device, handle, problem, method))
        votes = answer.sampling.estimation
        assert votes.top_count + votes.invalid_count == 4000
        assert (votes.runner_up, votes.runner_up_count) == (None, votes.invalid_count)
        assert 0 < answer.radius < 0.2  # the distance to the broken side
    (predicted,) = finish(device, handle, problem_of(0.5), Prediction(1.0, n=1000))
    assert predicted.votes.invalid_count > predicted.votes.top_count
    assert predicted.prediction is None


def test_the_runner_up_bound_is_larger_where_three_classes_share(device: Device) -> None:
    # p = .48 at least for class 1, the rest split: nothing from one bound, a radius from two.
    edge = 0.63  # P[|z| < 0.63] = .471
    handle = handle_of(Bands([-edge, edge]), (3,), classes=3)
    one, two = (
        certificates(finish(device, handle, problem_of(0.0), Smoothing(1.0, n=4000, runner_up=runner_up)))[0]
        for runner_up in (False, True)
    )
    assert one.verdict is Verdict.ABSTAINED
    assert two.certified
    assert two.sampling.p_b_upper is not None
    assert two.sampling.p_a_lower < 0.5
    assert 0 < two.radius < edge


def test_eps_is_compared_with_what_is_proved(device: Device) -> None:
    method = Smoothing(0.5, n0=30, n=1000)
    largest = guarantee.largest_radius(0.5, 1000, 1e-3)
    reached, missed, abstained = (
        certificates(finish(device, BANDS, problem_of(first, eps=eps), method))[0]
        for first, eps in [(9.0, largest), (1.3, largest), (1.0, largest)]
    )
    assert (reached.verdict, reached.radius) == (Verdict.CERTIFIED, largest)
    assert (missed.verdict, missed.prediction) == (Verdict.UNKNOWN, 3)
    assert 0 < missed.radius < largest
    assert abstained.verdict is Verdict.ABSTAINED


def test_eps_one_ulp_beyond_the_largest_radius_is_out_of_reach(device: Device) -> None:
    method = Smoothing(0.5, n0=30, n=1000)
    above = float(np.nextafter(guarantee.largest_radius(0.5, 1000, 1e-3), math.inf))
    with pytest.raises(InvalidProblem, match="out of reach"):
        BACKEND.check(BANDS, problem_of(9.0, eps=above), method, device)


def test_prediction(device: Device) -> None:
    sure, torn = finish(device, BANDS, problem_of(3.0, 0.25, labels=np.array([3, 1])), Prediction(0.25, n=200))
    assert isinstance(sure, SmoothedPrediction)
    assert (sure.prediction, sure.correct, sure.votes) == (3, True, Votes(200, 3, 200, None, 0, 0))
    assert sure.p_value == pytest.approx(2 * 0.5**200, rel=1e-9)
    assert (torn.prediction, torn.correct) == (None, False)
    assert torn.p_value > 1e-3


# -- radii never pass the plane by rounding


def test_saturated_votes_stay_below_the_theorem(device: Device) -> None:
    (answer,) = certificates(finish(device, BANDS, problem_of(50.0), Smoothing(0.5, n0=5, n=1000, alpha=0.001)))
    exact = 0.5 * 2.4633
    assert answer.radius == pytest.approx(exact, abs=5e-5)
    assert down(answer.radius) < answer.radius < math.inf


# -- the device


def test_a_tuned_shape_is_stored_and_used_again(tmp_path: Path) -> None:
    module = Counting(HalfSpace([1.0, 0.0, 0.0]))
    handle = handle_of(module, (3,))
    with Registry.open(tmp_path / "data", exclusive=True) as registry:
        rows = []
        for _ in range(2):
            module.rows.clear()
            device = Device("cpu", registry, Form.EAGER)
            rows.append(device.prepare(handle, Precision.FLOAT32).shape.batch_rows)
            device.close()
        assert rows[0] == rows[1]
        assert set(module.rows) == {rows[1]}  # the second device tried no other


def test_a_shape_that_is_asked_for_is_used(device: Device) -> None:
    model = device.prepare(BANDS, Precision.FLOAT32, Shape(5, Form.EAGER))
    assert model.shape == Shape(5, Form.EAGER)
    assert (model.execution.batch_rows, model.execution.form) == (5, "eager")
    assert device.prepare(BANDS, Precision.FLOAT32, Shape(5, Form.EAGER)) is model


def test_every_forward_pass_has_the_same_rows() -> None:
    module = Counting(HalfSpace([1.0, 0.0, 0.0]))
    device = Device("cpu", form=Form.EAGER)
    handle = handle_of(module, (3,))
    device.prepare(handle, Precision.FLOAT32, Shape(10, Form.EAGER))
    module.rows.clear()
    finish(device, handle, problem_of(0.0, 1.0), Smoothing(0.5, n0=7, n=66), 31, Shape(10, Form.EAGER))
    device.close()
    assert set(module.rows) == {10}


def test_bfloat16_is_part_of_the_subject(device: Device) -> None:
    # In bfloat16 the edge and the input are both 1, so that the input no longer exceeds the edge.
    handle = handle_of(Bands([1 - 2.0**-10]), (3,))
    method = Smoothing(1e-6, n0=10, n=100)
    plain, rounded = (
        certificates(finish(device, handle, problem_of(1 + 2.0**-9), dataclasses.replace(method, precision=precision)))[
            0
        ]
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    assert (plain.subject.precision, plain.prediction) == ("float32", 1)
    assert (rounded.subject.precision, rounded.prediction) == ("bfloat16", 0)


def test_tf32_is_refused_on_a_cpu(device: Device) -> None:
    with pytest.raises(Unsupported, match="tf32"):
        device.prepare(BANDS, Precision.TF32)


@pytest.mark.parametrize("name", ["nonsense", "meta", "cuda:99"])
def test_devices_that_are_not_there(name: str) -> None:
    with pytest.raises(Unsupported, match="device"):
        Device(name)


def test_a_rate_is_known_after_the_first_use() -> None:
    device = Device("cpu", form=Form.EAGER)
    handle = handle_of(Bands([0.0]), (3,))
    method = Smoothing(0.5, n=100)
    assert BACKEND.check(handle, problem_of(0.0), method, device).seconds is None
    device.prepare(handle, Precision.FLOAT32)
    seconds = BACKEND.check(handle, problem_of(0.0), method, device).seconds
    device.close()
    assert seconds is not None
    assert seconds > 0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.floats(-2, 2, width=32), min_size=1, max_size=4), st.integers(1, 400), st.integers(0, 2**63 - 1))
def test_votes_of_a_request_never_depend_on_budgets(
    device: Device, firsts: list[float], budget: int, first_index: int
) -> None:
    problem = problem_of(*firsts, first_index=first_index)
    method = Smoothing(0.5, n0=11, n=90)
    assert counts_of(finish(device, BANDS, problem, method, budget)) == counts_of(
        finish(device, BANDS, problem, method)
    )


def test_a_model_that_answers_with_its_input_is_certified_rightly(device: Device) -> None:
    """Its logits are a view of the noisy batch: each input must get the votes of its own rows."""
    handle = handle_of(nn.Flatten(), (4,), classes=4)
    x = np.diag([0.2, 8.0, 0, 0]).astype(np.float32)[:2]
    for shape in (SHAPE, Shape(64, Form.TORCHSCRIPT)):
        first, second = finish(device, handle, Problem(x, Norm.L2), Smoothing(0.5, n0=100, n=2000), shape=shape)
        assert first.evidence.estimation.top == 0
        assert 0.25 < first.evidence.estimation.top_count / 2000 < 0.75  # 0.2 beside three zeros: far from certain
        assert first.verdict is Verdict.ABSTAINED
        assert second.prediction == 1


@pytest.mark.parametrize("sigma", [1e39, 1e300], ids=repr)
def test_a_sigma_beyond_float32_is_refused_before_any_work(device: Device, sigma: float) -> None:
    """In a step it would be an internal error, of everybody in the step."""
    with pytest.raises(InvalidProblem, match="sigma"):
        BACKEND.check(BANDS, problem_of(0.0), Smoothing(sigma), device)
