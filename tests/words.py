"""Hypothesis strategies for the words of the house: every valid one, and nothing else."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from verifier.certificate import (
    Attempt,
    BoundEvidence,
    Certificate,
    Evidence,
    Execution,
    Grade,
    Guarantee,
    NoiseModel,
    RadiusDecision,
    RadiusVerdict,
    RegionKind,
    RegionNote,
    SamplingEvidence,
    SequentialEvidence,
    Stopped,
    Subject,
    Verdict,
    Votes,
)
from verifier.methods import (
    BOUND_METHODS,
    AlphaCrown,
    BoundMethod,
    Ladder,
    NoiseFamily,
    Precision,
    Rng,
    Rounding,
    Selection,
    Semantics,
    Smoothing,
    Target,
    minimum_draws,
)
from verifier.problem import Box, Norm, Problem

MOST = 2**63 - 1
COUNTS = st.integers(0, 2**40)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
BOUNDS = tuple(kind.name for kind in BOUND_METHODS if kind is not Ladder)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
EXECUTED = tuple(precision for precision in Precision if precision is not Precision.REAL)


# -- methods ---------------------------------------------------------------------------------------------


@st.composite
def early_smoothings(draw: st.DrawFn) -> Smoothing:
    """Those whose draws end early."""
    alpha, n = draw(st.floats(1e-100, 0.5)), draw(st.none() | st.integers(400, 10**7))
    n0 = draw(st.integers(1, 1000))
    radii = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=5, unique=True).map(sorted)
    end: dict[str, Any] = draw(
        st.one_of(
            st.fixed_dictionaries({"decide": radii.map(tuple), "futility": st.floats(0, 0.5)}),
            st.fixed_dictionaries({"grid": st.floats(1e-6, 1e6), "futility": st.floats(0, 0.5)}),
            st.just({"anytime": True}),
        )
    )
    return Smoothing(
        sigma=draw(st.floats(1e-30, 1e30)),
        n0=n0,
        n=n,  # type: ignore[arg-type]
        alpha=alpha,
        target=draw(st.sampled_from(Target)),
        max_forward_passes=draw(st.none() | st.integers(n0 + 50, 2**40)),
        max_seconds=draw(st.none() | st.floats(1e-3, 1e9)),
        **end,
    )


def smoothings() -> st.SearchStrategy[Smoothing]:
    return st.one_of(fixed_smoothings(), early_smoothings())


@st.composite
def fixed_smoothings(draw: st.DrawFn) -> Smoothing:
    selection = draw(st.sampled_from(Selection))
    alpha = draw(st.floats(1e-100, 0.5))
    return Smoothing(
        sigma=draw(st.floats(1e-30, 1e30)),
        n0=draw(st.integers(1, 2**40)),
        n=draw(st.integers(minimum_draws(alpha / 2), 2**40)),
        alpha=alpha,
        selection=selection,
        runner_up=selection is Selection.N0 and draw(st.booleans()),
        precision=draw(st.sampled_from(EXECUTED)),
        rng=draw(st.none() | st.sampled_from(Rng)),
    )


@st.composite
def bound_methods(draw: st.DrawFn) -> BoundMethod:
    kind = draw(st.sampled_from(BOUND_METHODS))
    ascent: dict[str, Any] = {}
    if issubclass(kind, AlphaCrown):
        ascent = {"steps": draw(st.integers(1, 10_000)), "learning_rate": draw(st.floats(1e-6, 1))}
    return kind(
        semantics=draw(st.sampled_from(Semantics)),
        rounding=draw(st.sampled_from(Rounding)),
        tolerance=draw(st.floats(1e-9, 1)),
        audit=draw(st.integers(0, 2**20)),
        memory_bytes=draw(st.integers(2**20, 2**50)),
        max_seconds=draw(st.none() | st.floats(1e-3, 1e9)),
        **ascent,
    )


METHODS = smoothings() | bound_methods()


# -- problems --------------------------------------------------------------------------------------------


def floats64(shape: tuple[int, ...], low: float, high: float, *, infinite: bool = False) -> Any:
    elements = st.floats(allow_nan=False) if infinite else st.floats(low, high)
    return hnp.arrays(np.float64, shape, elements=elements)


@st.composite
def labels_of(draw: st.DrawFn, count: int) -> Any:
    return draw(st.none() | hnp.arrays(np.int64, count, elements=st.integers(0, MOST)))


@st.composite
def ball_problems(draw: st.DrawFn) -> Problem:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=3))
    elements = st.floats(width=32, allow_nan=False, allow_infinity=False)
    x = draw(hnp.arrays(np.float32, shape, elements=elements))
    norm = draw(st.sampled_from(Norm))
    weights = None
    if norm is Norm.LINF and draw(st.booleans()):
        weights = draw(floats64(shape[1:], 0, 1e300))
        weights.flat[0] = 5e-324
    domain = None
    if draw(st.booleans()):
        scalar = draw(st.booleans())
        lowest, highest = (x.min(), x.max()) if scalar else (x.min(axis=0), x.max(axis=0))
        below, above = draw(st.tuples(*[floats64(() if scalar else shape[1:], 0, 1, infinite=True)] * 2))
        domain = Box(np.minimum(lowest, below), np.maximum(highest, above), "bounds")
    return Problem(
        x,
        norm,
        draw(labels_of(len(x))),
        draw(st.none() | st.floats(5e-324, 1e308)),
        draw(st.integers(0, 2**40)),
        domain,
        weights,
    )


@st.composite
def box_problems(draw: st.DrawFn) -> Problem:
    shape = draw(hnp.array_shapes(min_dims=2, max_dims=4, max_side=3))
    ends = draw(st.tuples(*[floats64(shape, -1e38, 1e38)] * 2))
    boxes = Box(np.minimum(*ends), np.maximum(*ends))
    return Problem.of_boxes(boxes, draw(labels_of(shape[0])), draw(st.integers(0, 2**40)))


PROBLEMS = ball_problems() | box_problems()


# -- certificates ----------------------------------------------------------------------------------------


VOTES = st.builds(
    Votes,
    n=COUNTS,
    top=st.none() | COUNTS,
    top_count=COUNTS,
    runner_up=st.none() | COUNTS,
    runner_up_count=COUNTS,
    invalid_count=COUNTS,
)

LOOKS = st.builds(
    SequentialEvidence,
    plan=st.text(),
    looks=st.lists(COUNTS, max_size=4).map(tuple),
    counts=st.lists(COUNTS, max_size=4).map(tuple),
    decisions=st.lists(
        st.builds(RadiusDecision, radius=st.floats(), verdict=st.sampled_from(RadiusVerdict), draws=COUNTS), max_size=3
    ).map(tuple),
    stopped=st.sampled_from(Stopped),
)

ATTEMPTS = st.builds(Attempt, number=st.integers(1, 2**40), alpha_spent=st.floats(0, 1, exclude_min=True))

SAMPLING = st.builds(
    SamplingEvidence,
    selection=st.none() | VOTES,
    estimation=VOTES,
    p_a_lower=st.floats(0, 1),
    p_b_upper=st.none() | st.floats(0, 1),
    classes=COUNTS,
    seed=st.integers(0, MOST),
    seed_origin=st.sampled_from(["client", "server"]),
    rng=st.sampled_from(Rng),
    sequential=st.none() | LOOKS,
    attempt=st.none() | ATTEMPTS,
)

BALLS = st.builds(
    RegionNote,
    kind=st.just(RegionKind.BALL),
    domain=st.none() | st.tuples(st.floats(), st.floats()),
    domain_digest=st.just("") | DIGESTS,
    weights_digest=st.just("") | DIGESTS,
)

PROOFS = st.builds(
    BoundEvidence,
    bound=st.sampled_from(BOUNDS),
    eps=st.floats(0, 1e300),
    margins=st.lists(st.floats(), max_size=5).map(tuple),
    region=BALLS | st.just(RegionNote(RegionKind.BOX)),
    classes=COUNTS,
    evaluations=COUNTS,
    audited=COUNTS,
)

EXECUTIONS = st.builds(
    Execution,
    device=st.text(),
    device_name=st.text(),
    batch_rows=COUNTS,
    form=st.text(),
    row_exact=st.booleans(),
    versions=st.dictionaries(st.text(), st.text(), max_size=3),
    started=st.integers(0, 4 * 10**9).map(float),  # whole seconds: the wire keeps microseconds
    seconds=st.integers(0, 10**15).map(lambda nanoseconds: nanoseconds / 1e9),
)


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    """Of both kinds of evidence; what they claim need not follow from it."""
    method = draw(METHODS)
    evidence: Evidence = draw(SAMPLING) if isinstance(method, Smoothing) else draw(PROOFS)
    is_box = isinstance(evidence, BoundEvidence) and evidence.region.kind is RegionKind.BOX
    radius = 0.0 if is_box else draw(st.floats(0))
    prediction = draw(st.none() | COUNTS)
    may_certify = prediction is not None and (is_box or radius > 0)
    verdicts = [verdict for verdict in Verdict if may_certify or verdict is not Verdict.CERTIFIED]
    smoothed = isinstance(method, Smoothing)
    return Certificate(
        index=draw(COUNTS),
        input_digest=draw(DIGESTS),
        label=draw(st.none() | COUNTS),
        verdict=draw(st.sampled_from(verdicts)),
        prediction=prediction,
        norm=draw(st.sampled_from(Norm)),
        radius=radius,
        eps=draw(st.none() | FINITE),
        subject=Subject(
            draw(DIGESTS),
            draw(st.sampled_from(Precision)).value,
            NoiseFamily.GAUSSIAN.value if smoothed else None,
            method.sigma if isinstance(method, Smoothing) else None,
        ),
        guarantee=Guarantee(
            draw(st.sampled_from(Grade)),
            draw(st.none() | st.floats(0, 1)),
            draw(st.none() | st.sampled_from(NoiseModel)),
        ),
        method=method,
        evidence=evidence,
        execution=draw(EXECUTIONS),
    )
