"""The audit of deterministic certificates: silent on what holds, and on no forgery that its own evidence gives away."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from builders import certificate as sampled
from builders import votes_for
from proofs import ball, box, changed, failed

from verifier.certificate import (
    Certificate,
    Grade,
    Guarantee,
    NoiseModel,
    RegionKind,
    RegionNote,
    Subject,
    Verdict,
)
from verifier.check import check_all, check_certificate
from verifier.methods import BOUND_METHODS, AlphaCrown, Crown, CrownIbp, Ibp, Ladder, Rounding, Semantics, Smoothing
from verifier.problem import Norm
from verifier.wire.certificates import certificate_from_json, certificate_to_json

DIGEST = 64 * "a"
HONEST: dict[str, Certificate] = {
    "ball": ball(),
    "l1": ball(norm=Norm.L1),
    "l2": ball(norm=Norm.L2, region=RegionNote(domain=(0.0, 1.0))),
    "at eps": ball(eps=0.25, bound="crown"),
    "domain by feature, weights": ball(region=RegionNote(domain_digest=DIGEST, weights_digest=DIGEST)),
    "float32": ball(method=Crown(Semantics.FLOAT32_EXEC)),
    "nearest": ball(method=Crown(rounding=Rounding.NEAREST)),
    "without audit": ball(method=Ibp(audit=0)),
    "alpha-crown": ball(method=AlphaCrown()),
    "alpha-crown where it began": ball(method=AlphaCrown(), bound="crown"),
    "box": box(),
    "box that is unknown": box(verdict=Verdict.UNKNOWN, prediction=None, margins=(-1.0, 2.0)),
    "nothing bounded": ball(0.0),
    "too loose at eps": failed(),
    "NaN at eps": changed(failed(), margins=(math.nan, 1.0)),
    "infinite at eps": changed(failed(), margins=(math.inf, math.inf)),
    "last proof of a search": replace(failed(), eps=None),
}


def with_eps(certificate: Certificate, asked: float | None, bounded: float) -> Certificate:
    """`eps` is a field of the certificate and of its evidence."""
    return replace(certificate, eps=asked, evidence=replace(certificate.bounds, eps=bounded))


@pytest.mark.parametrize("certificate", HONEST.values(), ids=HONEST.keys())
def test_what_holds_holds(certificate: Certificate) -> None:
    assert check_certificate(certificate) == ()
    again = certificate_from_json(certificate_to_json(certificate))
    assert check_certificate(again) == ()
    assert check_all([certificate]).holds


@pytest.mark.parametrize("kind", BOUND_METHODS, ids=lambda kind: kind.name)
def test_only_bounds_of_the_method_hold(kind: type[Any]) -> None:
    possible = {
        Ibp: {"ibp"},
        CrownIbp: {"crown-ibp"},
        Crown: {"crown"},
        AlphaCrown: {"crown", "alpha-crown"},
        Ladder: {"ibp", "crown-ibp", "crown", "alpha-crown"},
    }
    for bound in ("ibp", "crown-ibp", "crown", "alpha-crown", "ladder", "mip", ""):
        assert (check_certificate(ball(method=kind(), bound=bound)) == ()) == (bound in possible[kind]), bound


def of(certificate: Callable[..., Certificate] = ball, **changes: Any) -> Callable[[], Certificate]:
    return lambda: changed(certificate(), **changes)


def named(**changes: Any) -> Callable[[], Certificate]:
    return lambda: replace(ball(), subject=replace(ball().subject, **changes))


def region(**changes: Any) -> Callable[[], Certificate]:
    return lambda: changed(ball(), region=RegionNote(**changes))


FORGED: list[tuple[str, Callable[[], Certificate], str]] = [
    # words
    ("model digest", named(model_digest="resnet"), "no SHA-256"),
    ("model digest, upper case", named(model_digest=64 * "A"), "no SHA-256"),
    ("input digest", of(input_digest=63 * "a"), "no SHA-256"),
    ("index", of(index=-1), "index -1"),
    ("executed precision", named(precision="float32"), "in real, not float32"),
    ("other precision", named(precision="bfloat16"), "in real"),
    ("semantics", of(method=Ladder(Semantics.FLOAT32_EXEC)), "in float32, not real"),
    ("noise", named(noise="gaussian", sigma=0.5), "not about a smoothed classifier"),
    ("sigma alone", named(sigma=0.5), "not about a smoothed classifier"),
    ("grade of exact arithmetic", of(guarantee=Guarantee(Grade.REAL_ARITHMETIC)), "gives grade float_sound"),
    ("grade of draws", of(guarantee=Guarantee(Grade.STATISTICAL)), "gives grade float_sound"),
    ("rounding to nearest", of(method=Ladder(rounding=Rounding.NEAREST)), "gives grade real_arithmetic"),
    ("alpha", of(guarantee=Guarantee(Grade.FLOAT_SOUND, 0.001)), "no alpha"),
    ("noise model", of(guarantee=Guarantee(Grade.FLOAT_SOUND, None, NoiseModel.EXACT)), "no noise model"),
    # regions
    ("infinite radius", lambda: with_eps(ball(radius=math.inf), None, math.inf), "radius must be finite"),
    ("eps 0", lambda: with_eps(ball(), 0.0, 0.25), "eps must be finite and > 0"),
    ("eps < 0", lambda: with_eps(ball(), -0.25, 0.25), "eps must be finite and > 0"),
    ("eps NaN", lambda: with_eps(ball(), math.nan, 0.25), "eps must be finite and > 0"),
    ("crossed domain", region(domain=(1.0, 0.0)), "does not say which inputs are valid"),
    ("NaN domain", region(domain=(math.nan, 1.0)), "does not say which inputs are valid"),
    ("two domains", region(domain=(0.0, 1.0), domain_digest=DIGEST), "does not say which inputs are valid"),
    ("domain's digest", region(domain_digest="unit"), "of the domain is no SHA-256"),
    ("weights' digest", region(weights_digest="ones"), "of the weights is no SHA-256"),
    ("weights in l2", of(norm=Norm.L2, region=RegionNote(weights_digest=DIGEST)), "norm linf, not of l2"),
    ("box in l2", of(box, norm=Norm.L2), "its norm is linf"),
    ("box with eps", lambda: with_eps(box(), 0.25, 0.0), "no radius and no eps"),
    ("box bounded at eps", lambda: with_eps(box(), None, 0.25), "no radius and no eps"),
    ("box with domain", of(box, region=RegionNote(RegionKind.BOX, domain=(0.0, 1.0))), "no domain and no weights"),
    ("box with weights", of(box, region=RegionNote(RegionKind.BOX, weights_digest=DIGEST)), "no domain and no weights"),
    # bounds
    ("one class", of(classes=1, margins=()), "at least 2 classes"),
    ("no class", of(classes=0), "at least 2 classes"),
    ("margin left out", of(margins=(0.5,)), "3 classes have 2 margins, 1 are stated"),
    ("margin too many", of(margins=(0.5, 1.0, 2.0)), "3 classes have 2 margins, 3 are stated"),
    ("classes left out", of(classes=2), "2 classes have 1 margins, 2 are stated"),
    ("no evaluation", of(evaluations=0), "0 evaluations"),
    ("negative audit", of(audited=-1), "-1 audited points"),
    ("bounded at another eps", lambda: with_eps(ball(), None, 0.125), "are none of radius 0.25"),
    ("bounded at a larger eps", lambda: with_eps(ball(), None, 0.5), "are none of radius 0.25"),
    ("bounded at 0", lambda: with_eps(ball(), None, 0.0), "finite and > 0, not 0.0"),
    ("bounded at NaN", lambda: with_eps(ball(), None, math.nan), "finite and > 0, not nan"),
    ("bounded at infinity", lambda: with_eps(ball(), None, math.inf), "finite and > 0, not inf"),
    ("nothing bounded at an eps", lambda: with_eps(ball(0.0), None, 0.25), "no margins are stated"),
    # claims
    ("larger radius", of(radius=0.5), "are none of radius 0.5"),
    ("slightly larger radius", of(radius=math.nextafter(0.25, 1)), "are none of radius"),
    ("larger eps", lambda: with_eps(ball(), 0.5, 0.25), "answer nothing about eps 0.5"),
    ("smaller eps", lambda: with_eps(ball(), 0.125, 0.25), "answer nothing about eps 0.125"),
    ("margin 0", of(margins=(0.0, 1.0)), "1 of 2 have a lower bound > 0"),
    ("negative margin", of(margins=(1.0, -1e-300)), "1 of 2 have a lower bound > 0"),
    ("NaN margin", of(margins=(math.nan, 1.0)), "1 of 2 have a lower bound > 0"),
    ("infinite margin", of(margins=(1.0, math.inf)), "1 of 2 have a lower bound > 0"),
    ("no margins", of(margins=()), "no margins are stated"),
    ("box without margins", of(box, margins=()), "none is stated"),
    ("box with a negative margin", of(box, margins=(-1.0, 1.0)), "1 of 2 have a lower bound > 0"),
    ("unknown, though proved", of(verdict=Verdict.UNKNOWN, radius=0.0, prediction=None), "certified would"),
    ("unknown with a radius", of(verdict=Verdict.UNKNOWN), "certified would"),
    ("unknown box with a class", of(box, verdict=Verdict.UNKNOWN, margins=(-1.0, 1.0)), "of class 1 is stated"),
    ("radius that failed", lambda: replace(failed(), radius=0.25, prediction=1), "proves nothing, but radius 0.25"),
    ("class that failed", lambda: replace(failed(), prediction=1), "of class 1 is stated"),
    (
        "certified what failed",
        lambda: replace(failed(), verdict=Verdict.CERTIFIED, radius=0.25, prediction=1),
        "1 of 2",
    ),
    ("abstained", of(verdict=Verdict.ABSTAINED), "verdict abstained"),
    ("falsified", of(verdict=Verdict.FALSIFIED), "verdict falsified"),
    ("abstained for nothing", lambda: replace(ball(0.0), verdict=Verdict.ABSTAINED), "unknown would"),
    ("no such class", of(prediction=3), "prediction 3 is none of 3 classes"),
    ("negative class", of(prediction=-1), "prediction -1 is none of 3 classes"),
]


@pytest.mark.parametrize(("forge", "says"), [case[1:] for case in FORGED], ids=[case[0] for case in FORGED])
def test_forgeries_are_found(forge: Callable[[], Certificate], says: str) -> None:
    reasons = check_certificate(forge())
    assert any(says in reason for reason in reasons), reasons


def test_a_reason_is_told_once() -> None:
    assert len(check_certificate(changed(ball(), margins=(-1.0, 1.0)))) == 1


SMOOTHING = Smoothing(sigma=0.5, n0=10, n=1000)


def test_votes_do_not_pass_for_margins_nor_margins_for_votes() -> None:
    votes = sampled(votes_for(990, 1000), SMOOTHING)
    assert check_certificate(votes) == ()
    for forged in (replace(votes, evidence=ball().evidence), replace(ball(), evidence=votes.evidence)):
        assert check_certificate(forged) == (f"the evidence is none of the method {forged.method.name}",)


# -- certificates against each other ---------------------------------------------------------------------


def test_two_classes_for_one_input_contradict() -> None:
    report = check_all([ball(), ball(0.125, norm=Norm.L2, prediction=2), ball(index=1, prediction=2)])
    assert [finding.position for finding in report.failures] == [0, 1]
    assert "contradicts the certificate at position 1" in report.failures[0].reasons[0]


def test_boxes_contradict_too() -> None:
    report = check_all([box(), box(prediction=2)])
    assert [finding.position for finding in report.failures] == [0, 1]


def test_other_subjects_do_not_contradict() -> None:
    """Over the reals and in float32 the network may answer differently where neither is certified by the other."""
    executed = ball(0.125, method=Ladder(Semantics.FLOAT32_EXEC), prediction=2)
    other = replace(ball(prediction=2), subject=Subject(DIGEST, "real"))
    assert check_all([ball(), executed, other]).holds


def test_repeated_certificates_count_once() -> None:
    again = replace(ball(), execution=replace(ball().execution, started=0.0))
    (failure,) = check_all([ball(), again]).failures
    assert failure.reasons == ("repeats the certificate at position 0: it counts once",)


def test_several_attempts_weaken_votes_only() -> None:
    several = [ball(), ball(0.125), ball(norm=Norm.L1), ball(method=Crown())]
    assert check_all(several).holds
    assert check_all(several).warnings == ()
    votes = [sampled(votes_for(990, 1000), SMOOTHING, seed=seed) for seed in (1, 2)]
    report = check_all([*several, *votes])
    assert report.holds
    (warning,) = report.warnings
    assert "1 inputs have up to 2 certificates" in warning


def test_the_scope_tells_what_only_a_rerun_shows() -> None:
    assert "computed again, with --model and --inputs" in check_all([ball()]).scope
