"""The audit: silent on all that the service makes, and on nothing that was touched."""

import dataclasses
import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
from builders import certificate, execution, votes_for
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from verifier.certificate import Attempt, Certificate, Grade, NoiseModel, RadiusVerdict, Stopped, Verdict, Votes
from verifier.chain import Reached, chain_of
from verifier.check import check_all, check_certificate
from verifier.errors import InvalidProblem
from verifier.methods import MAX_DRAWS, Precision, Rng, Selection, Smoothing, minimum_draws
from verifier.problem import Norm
from verifier.wire.certificates import certificate_from_json, certificate_to_json

audit_settings = settings(deadline=None, max_examples=200)

LARGEST_SLACK = 1e-6
"""How much larger than stated a radius may be before the audit must object, in units of the radius and of sigma."""

KINDS = [(Selection.N0, False), (Selection.N0, True), (Selection.SINGLE_STAGE, False)]


@st.composite
def methods(draw: st.DrawFn) -> Smoothing:
    alpha = 2.0 ** draw(st.floats(-30, -1))
    selection, runner_up = draw(st.sampled_from(KINDS))
    least = minimum_draws(alpha / 2)
    return Smoothing(
        sigma=draw(st.floats(0.01, 10)),
        n0=draw(st.integers(1, 200)),
        n=draw(st.one_of(st.integers(least, least + 100), st.integers(least, 10**6))),
        alpha=alpha,
        selection=selection,
        runner_up=runner_up,
        precision=draw(st.sampled_from([p for p in Precision if p is not Precision.REAL])),
    )


@st.composite
def tables(draw: st.DrawFn, n: int, classes: int) -> list[int]:
    """Votes [K + 1] that sum to n, in any order; near agreement is as likely as a spread."""
    cuts = [0, *sorted(draw(st.lists(st.integers(0, n), min_size=classes, max_size=classes))), n]
    if draw(st.booleans()):
        cuts[1:-1] = [n - min(cut, n) // 1000 for cut in reversed(cuts[1:-1])]
    return draw(st.permutations([upper - lower for lower, upper in itertools.pairwise(cuts)]))


@st.composite
def certificates(draw: st.DrawFn) -> Certificate:
    """Of complete work and of work that stopped early, with and without eps and labels."""
    method, classes = draw(methods()), draw(st.integers(2, 5))
    n = method.n if draw(st.integers(0, 9)) else draw(st.integers(0, method.n))
    n0 = method.n0 if draw(st.integers(0, 9)) else draw(st.integers(0, method.n0))
    return certificate(
        draw(tables(n, classes)),
        method,
        draw(tables(n0, classes)) if draw(st.booleans()) else None,
        label=draw(st.none() | st.integers(0, classes - 1)),
        eps=draw(st.none() | st.floats(1e-3, 20)),
        index=draw(st.integers(0, 1000)),
        seed=draw(st.integers(0, 2**63 - 1)),
        ran=execution(draw(st.integers(0, 2**31)), draw(st.integers(0, 10**6)) / 8),
    )


@st.composite
def proofs(draw: st.DrawFn) -> Certificate:
    """Certificates of a radius > 0, most of them with few misses."""
    method = draw(methods())
    misses = draw(st.one_of(st.integers(0, 20), st.integers(0, method.n // 2)))
    made = certificate(votes_for(method.n - min(misses, method.n), method.n), method)
    assume(made.radius > 0)
    return made


def with_votes(c: Certificate, **changes: Any) -> Certificate:
    return with_evidence(c, estimation=dataclasses.replace(c.sampling.estimation, **changes))


def with_selection(c: Certificate, **changes: Any) -> Certificate:
    assert c.sampling.selection is not None
    return with_evidence(c, selection=dataclasses.replace(c.sampling.selection, **changes))


def with_evidence(c: Certificate, **changes: Any) -> Certificate:
    return dataclasses.replace(c, evidence=dataclasses.replace(c.evidence, **changes))


def with_subject(c: Certificate, **changes: Any) -> Certificate:
    return dataclasses.replace(c, subject=dataclasses.replace(c.subject, **changes))


def with_guarantee(c: Certificate, **changes: Any) -> Certificate:
    return dataclasses.replace(c, guarantee=dataclasses.replace(c.guarantee, **changes))


def with_method(c: Certificate, **changes: Any) -> Certificate:
    return dataclasses.replace(c, method=dataclasses.replace(c.method, **changes))


# -- silent on what is true ------------------------------------------------------------------------------


@audit_settings
@given(certificates())
def test_what_the_service_makes_holds(made: Certificate) -> None:
    assert check_certificate(made) == ()


def test_where_no_draw_chose_a_class_all_others_may_have_votes() -> None:
    """Every draw for the selection was invalid, so that none of the classes that were voted for is the top."""
    made = certificate([1, 2, 0], Smoothing(sigma=1.0, n0=1, n=3, alpha=0.5), [0, 0, 1])
    assert made.sampling.estimation == Votes(3, None, 0, 1, 2, 0)
    assert check_certificate(made) == ()
    assert check_certificate(with_votes(made, runner_up_count=1))


@audit_settings
@given(proofs())
def test_what_the_service_proves_holds(made: Certificate) -> None:
    assert made.verdict is Verdict.CERTIFIED
    assert check_certificate(made) == ()


@audit_settings
@given(st.one_of(certificates(), proofs()))
def test_json_gives_the_same_certificate_back(made: Certificate) -> None:
    assert certificate_from_json(certificate_to_json(made)) == made


@audit_settings
@given(proofs(), st.floats(0, 1))
def test_a_smaller_radius_holds_too(made: Certificate, share: float) -> None:
    assume(made.radius * share > 0)
    assert check_certificate(dataclasses.replace(made, radius=made.radius * share)) == ()


# -- never silent on what is not -------------------------------------------------------------------------


@audit_settings
@given(proofs())
def test_a_radius_slightly_too_large_is_found(made: Certificate) -> None:
    larger = made.radius + LARGEST_SLACK * max(made.radius, made.smoothing.sigma)
    assert check_certificate(dataclasses.replace(made, radius=larger))


@audit_settings
@given(proofs(), st.floats(allow_nan=False, min_value=0, exclude_min=True))
def test_no_radius_beyond_the_stated_one_holds(made: Certificate, radius: float) -> None:
    assume(radius > made.radius * (1 + LARGEST_SLACK) + made.smoothing.sigma * LARGEST_SLACK)
    assert check_certificate(dataclasses.replace(made, radius=radius))


@audit_settings
@given(proofs())
def test_fewer_votes_than_counted_do_not_prove_the_radius(made: Certificate) -> None:
    votes = made.sampling.estimation
    fewer = with_votes(made, top_count=votes.top_count - 1, runner_up=1, runner_up_count=votes.runner_up_count + 1)
    assert check_certificate(fewer)


@audit_settings
@given(proofs(), st.floats(0.01, 0.99))
def test_a_stricter_alpha_than_the_bounds_were_made_with_is_found(made: Certificate, factor: float) -> None:
    alpha = made.smoothing.alpha * factor
    assert check_certificate(with_guarantee(made, alpha=alpha))
    assume(made.smoothing.n >= minimum_draws(alpha / 2))
    assert check_certificate(with_guarantee(with_method(made, alpha=alpha), alpha=alpha))


@audit_settings
@given(proofs(), st.floats(0.01, 0.99))
def test_less_noise_than_was_drawn_is_found(made: Certificate, factor: float) -> None:
    sigma = made.smoothing.sigma * factor
    assert check_certificate(with_subject(made, sigma=sigma))
    assert check_certificate(with_subject(with_method(made, sigma=sigma), sigma=sigma))


@audit_settings
@given(proofs(), st.floats(1e-6, 10))
def test_a_bound_on_the_wrong_side_is_found(made: Certificate, factor: float) -> None:
    p = made.sampling.p_a_lower
    assert check_certificate(with_evidence(made, p_a_lower=p + (1 - p) * factor))
    if made.sampling.p_b_upper is not None:
        assert check_certificate(with_evidence(made, p_b_upper=made.sampling.p_b_upper / (1 + factor)))


@audit_settings
@given(certificates(), st.sampled_from(Verdict))
def test_a_flipped_verdict_is_found(made: Certificate, verdict: Verdict) -> None:
    assume(verdict is not made.verdict)
    assume(made.radius > 0 or verdict is not Verdict.CERTIFIED)  # the constructor refuses that one
    assert check_certificate(dataclasses.replace(made, verdict=verdict))


@audit_settings
@given(proofs(), st.integers(1, 10**6))
def test_a_claim_after_a_part_of_the_draws_is_found(made: Certificate, missing: int) -> None:
    votes = made.sampling.estimation
    missing = min(missing, votes.top_count)
    early = with_votes(made, n=votes.n - missing, top_count=votes.top_count - missing)
    assert check_certificate(early)
    assert check_certificate(dataclasses.replace(early, verdict=Verdict.UNKNOWN, radius=0.0, prediction=None)), (
        "its bounds are still stated"
    )


METHOD = Smoothing(sigma=0.5, n0=10, n=1000, alpha=1e-3, rng=Rng.AES128_CTR_BOX_MULLER)
MADE = certificate([980, 12, 3, 5], METHOD, [9, 1, 0, 0], eps=0.5, label=0)
TWO = certificate([700, 200, 90, 10], dataclasses.replace(METHOD, runner_up=True))
TORN = certificate([500, 500, 0, 0], METHOD)

TAMPERINGS: dict[str, Callable[[], Certificate]] = {
    "radius infinite": lambda: dataclasses.replace(MADE, radius=math.inf),
    "eps above the radius": lambda: dataclasses.replace(MADE, eps=MADE.radius * 1.001),
    "eps not a number": lambda: dataclasses.replace(MADE, eps=math.nan),
    "another prediction": lambda: dataclasses.replace(MADE, prediction=1),
    "an abstention with a prediction": lambda: dataclasses.replace(TORN, prediction=0),
    "an abstention with a radius": lambda: dataclasses.replace(TORN, radius=0.1),
    "an abstention that became a certificate": lambda: dataclasses.replace(
        TORN, verdict=Verdict.CERTIFIED, radius=0.1, prediction=0
    ),
    "norm linf": lambda: dataclasses.replace(MADE, norm=Norm.LINF),
    "index negative": lambda: dataclasses.replace(MADE, index=-1),
    "input not named": lambda: dataclasses.replace(MADE, input_digest="cat.png"),
    "model not named": lambda: with_subject(MADE, model_digest="latest"),
    "base classifier": lambda: with_subject(MADE, sigma=None, noise=None),
    "other precision": lambda: with_subject(MADE, precision=Precision.BFLOAT16.value),
    "grade of a theorem": lambda: with_guarantee(MADE, grade=Grade.FLOAT_SOUND),
    "exact noise": lambda: with_guarantee(MADE, noise_model=NoiseModel.EXACT),
    "no noise model": lambda: with_guarantee(MADE, noise_model=None),
    "no alpha": lambda: with_guarantee(MADE, alpha=None),
    "other rng": lambda: with_evidence(MADE, rng=Rng.CUDA_PHILOX),
    "rng not in the method": lambda: with_method(MADE, rng=None),
    "seed out of range": lambda: with_evidence(MADE, seed=2**63),
    "seed from nowhere": lambda: with_evidence(MADE, seed_origin="best of ten"),
    "more top votes than draws": lambda: with_votes(MADE, top_count=1001),
    "votes do not add up": lambda: with_votes(MADE, top_count=990),
    "negative votes": lambda: with_votes(MADE, invalid_count=-5),
    "invalid draws outnumber the strongest rival": lambda: with_votes(MADE, top_count=960, invalid_count=20),
    "runner-up is the top class": lambda: with_votes(MADE, runner_up=0),
    "runner-up without votes": lambda: with_votes(MADE, runner_up_count=0, invalid_count=0),
    "runner-up left out": lambda: with_votes(MADE, runner_up=None),
    "rivals left out": lambda: with_votes(MADE, runner_up=None, runner_up_count=0, invalid_count=0),
    "a class that is none": lambda: with_votes(MADE, runner_up=-1),
    "votes for no class": lambda: with_votes(MADE, top=None),
    "more draws than the method takes": lambda: with_votes(MADE, n=1010, top_count=990),
    "a method of fewer draws": lambda: with_method(MADE, n=999),
    "a method of more draws": lambda: with_method(MADE, n=1001),
    "swapped top": lambda: with_votes(MADE, top=1, runner_up=0),
    "swapped top and prediction": lambda: dataclasses.replace(with_votes(MADE, top=1, runner_up=0), prediction=1),
    "selection of another class": lambda: with_selection(MADE, top=1, runner_up=0),
    "selection of a class with fewer votes": lambda: with_selection(MADE, top_count=1, runner_up_count=9),
    "selection with too few draws": lambda: with_selection(MADE, n=9, top_count=8),
    "selection votes missing": lambda: with_evidence(MADE, selection=None),
    "selection votes with single_stage": lambda: with_method(MADE, selection=Selection.SINGLE_STAGE),
    "the price of single_stage not paid": lambda: with_method(
        with_evidence(MADE, selection=None), selection=Selection.SINGLE_STAGE
    ),
    "no lower bound": lambda: with_evidence(MADE, p_a_lower=0.5),
    "lower bound not a number": lambda: with_evidence(MADE, p_a_lower=math.nan),
    "a bound on the runner-up from nowhere": lambda: with_evidence(MADE, p_b_upper=0.01),
    "no bound on the runner-up": lambda: with_evidence(TWO, p_b_upper=None),
    "bound on the runner-up not a number": lambda: with_evidence(TWO, p_b_upper=math.nan),
    "runner-up with more votes": lambda: with_votes(TWO, runner_up_count=220, invalid_count=0),
    "the price of two bounds not paid": lambda: with_method(with_evidence(TWO, p_b_upper=None), runner_up=False),
}


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_tampering_is_found(tampering: str) -> None:
    assert check_certificate(TAMPERINGS[tampering]())


def test_a_class_that_was_not_voted_for_most_may_not_be_selected() -> None:
    selected = dataclasses.replace(METHOD, n0=100)
    made = certificate([990, 10, 0, 0], selected, [60, 40, 0, 0])
    assert check_certificate(with_selection(made, top_count=40, runner_up_count=60))


def test_invalid_draws_may_outnumber_the_selected_class() -> None:
    made = certificate([990, 0, 0, 10], METHOD, [3, 1, 0, 6])
    assert made.certified
    assert check_certificate(made) == ()


def test_only_invalid_draws_prove_nothing_and_that_holds() -> None:
    made = certificate([900, 100, 0, 0], dataclasses.replace(METHOD, runner_up=True), [0, 0, 0, 10])
    assert (made.verdict, made.prediction, made.radius) == (Verdict.ABSTAINED, None, 0.0)
    assert check_certificate(made) == ()


def test_the_largest_counts_do_not_break_the_audit() -> None:
    huge = Votes(n=MAX_DRAWS, top=0, top_count=2**62, runner_up=1, runner_up_count=2**62, invalid_count=0)
    assert check_certificate(with_evidence(MADE, estimation=huge))


def test_reasons_say_what_is_wrong() -> None:
    (reason,) = check_certificate(dataclasses.replace(MADE, radius=1.5))
    assert reason == "980 of 1000 votes do not prove radius 1.5 at alpha = 0.001"


def test_a_word_outside_its_range_does_not_even_load() -> None:
    line = certificate_to_json(MADE).replace('"alpha": 0.001', '"alpha": 0.7')
    with pytest.raises(InvalidProblem):
        certificate_from_json(line)


# -- certificates against each other ---------------------------------------------------------------------


def test_a_clean_file_has_no_findings() -> None:
    report = check_all([certificate([980, 20, 0, 0], METHOD, index=index) for index in range(3)])
    assert (report.checked, report.failures, report.warnings, report.holds) == (3, (), (), True)
    assert report.scope.startswith("arithmetic only")


def test_an_empty_file_has_no_findings() -> None:
    assert check_all([]).checked == 0


def test_failures_name_position_and_index() -> None:
    made = [certificate([980, 20, 0, 0], METHOD, index=index) for index in (5, 6)]
    report = check_all([made[0], dataclasses.replace(made[1], radius=3.0)])
    assert [(finding.position, finding.index) for finding in report.failures] == [(1, 6)]
    assert not report.holds


def test_a_repeated_certificate_is_a_failure_even_after_a_rerun() -> None:
    rerun = dataclasses.replace(MADE, execution=execution(seconds=9.0))
    report = check_all([MADE, rerun, MADE])
    assert [finding.position for finding in report.failures] == [1, 2]
    assert report.failures[0].reasons == ("repeats the certificate at position 0: it counts once",)
    assert report.warnings == ()


def test_several_attempts_on_one_input_are_a_warning() -> None:
    report = check_all([certificate([980, 20, 0, 0], METHOD, seed=seed) for seed in range(3)])
    assert report.holds
    (warning,) = report.warnings
    assert "1 inputs have up to 3 certificates" in warning


def test_another_subject_is_another_question() -> None:
    wider = dataclasses.replace(METHOD, sigma=1.0)
    report = check_all([certificate([980, 20, 0, 0], method) for method in (METHOD, wider)])
    assert (report.failures, report.warnings) == ((), ())


def test_two_predictions_for_one_input_cannot_both_hold() -> None:
    report = check_all([certificate(votes_for(980, 1000, cls=cls), METHOD, seed=cls) for cls in (0, 1)])
    assert [finding.reasons for finding in report.failures] == [
        ("contradicts the certificate at position 1: not both can hold",),
        ("contradicts the certificate at position 0: not both can hold",),
    ]


# -- draws that end early


EARLY = [
    Smoothing(0.5, n0=20, decide=(0.25, 0.5), n=3000),
    Smoothing(0.5, n0=20, grid=0.1, n=3000),
    Smoothing(0.5, n0=20, anytime=True, n=600),
]


@st.composite
def looked_at(draw: st.DrawFn) -> Certificate:
    """By a method whose draws end early: settled, or cut off on the way."""
    method = draw(st.sampled_from(EARLY))
    chain, share = chain_of(method), draw(st.sampled_from([0.5, 0.75, 0.9, 1.0]))
    reached, counts, drawn = Reached(), [0], 0
    while (look := chain.next_look(reached)) is not None and draw(st.integers(0, 30)):
        counts.append(counts[-1] + min(look - drawn, max(0, round(share * (look - drawn)) + draw(st.integers(-2, 2)))))
        drawn, reached = look, chain.advance(reached, counts[-1])
    return certificate(votes_for(counts[-1], drawn), method, [20, 0, 0, 0], counts=counts[1:])


@audit_settings
@given(looked_at())
def test_what_looks_prove_holds(made: Certificate) -> None:
    assert check_certificate(made) == ()
    assert check_certificate(certificate_from_json(certificate_to_json(made))) == ()


def test_votes_where_none_was_valid_when_a_class_was_chosen() -> None:
    """Then no class is the top one, and every class may have up to as many votes as the invalid draws."""
    made = certificate([9, 9, 17], Smoothing(0.5, n0=3, n=35), [0, 0, 3])
    assert (made.sampling.estimation.top, check_certificate(made)) == (None, ())


def changed_looks(made: Certificate, **changes: Any) -> Certificate:
    assert made.sampling.sequential is not None
    looks = dataclasses.replace(made.sampling.sequential, **changes)
    return dataclasses.replace(made, evidence=dataclasses.replace(made.sampling, sequential=looks))


@audit_settings
@given(looked_at(), st.data())
def test_no_touched_look_holds(made: Certificate, data: st.DataObject) -> None:
    """Whoever changes a count, a look, a decision, the reason of the end, the radius or the verdict is found out."""
    stated = made.sampling.sequential
    assert stated is not None
    touched = [changed_looks(made, plan="geometric-2"), dataclasses.replace(made, radius=made.radius + 0.1)]
    touched += [changed_looks(made, stopped=other) for other in Stopped if other is not stated.stopped]
    touched += [changed_looks(made, decisions=stated.decisions[1:]), changed_looks(made, looks=(*stated.looks, 10**6))]
    touched.append(dataclasses.replace(made, evidence=dataclasses.replace(made.sampling, sequential=None)))
    if stated.counts:
        place = data.draw(st.integers(0, len(stated.counts) - 1))
        counts = list(stated.counts)
        counts[place] = stated.looks[place] + 1
        touched += [changed_looks(made, counts=tuple(counts)), changed_looks(made, counts=stated.counts[:-1])]
        decision = stated.decisions[0]
        other = data.draw(st.sampled_from([verdict for verdict in RadiusVerdict if verdict is not decision.verdict]))
        wrong = dataclasses.replace(decision, verdict=other)
        touched.append(changed_looks(made, decisions=(wrong, *stated.decisions[1:])))
    for certificate_ in touched:
        assert check_certificate(certificate_) != ()


def test_a_boundary_missed_by_one_vote_proves_nothing() -> None:
    """The least votes that certify 0.5 at the third look, and one fewer."""
    method = EARLY[0]
    chain = chain_of(method)
    start = chain.replay([48, 94])
    least = next(votes for votes in range(94, 151) if chain.advance(start, votes).certified == 2)
    made = certificate(votes_for(least, 150), method, counts=[48, 94, least])
    assert (made.radius, check_certificate(made)) == (0.5, ())
    fewer = certificate(votes_for(least - 1, 150), method, counts=[48, 94, least - 1])
    assert fewer.radius == 0.25
    claimed = dataclasses.replace(
        made,
        evidence=dataclasses.replace(
            made.sampling,
            estimation=fewer.sampling.estimation,
            sequential=dataclasses.replace(made.sampling.sequential, counts=(48, 94, least - 1)),  # type: ignore[type-var]
        ),
    )
    assert any("radius 0.5 is claimed, the looks prove 0.25" in reason for reason in check_certificate(claimed))


def test_an_attempt_cannot_spend_less_than_its_alpha() -> None:
    made = certificate(votes_for(1000, 1000), Smoothing(0.5, n=1000))
    for attempt, holds in ((Attempt(1, 0.001), True), (Attempt(3, 0.003), True), (Attempt(2, 0.0005), False)):
        with_attempt = dataclasses.replace(made, evidence=dataclasses.replace(made.sampling, attempt=attempt))
        assert (check_certificate(with_attempt) == ()) == holds
        warned = any("repeated attempts" in warning for warning in check_all([with_attempt]).warnings)
        assert warned == (attempt.number > 1)
