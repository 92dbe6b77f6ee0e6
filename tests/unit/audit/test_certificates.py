"""Auditing our own certificates, and writing them in the field's format."""

import dataclasses
import math

import pytest
from builders import certificate, votes_for
from hypothesis import given, settings
from hypothesis import strategies as st
from proofs import ball

from verifier.audit.certificates import audit_certificates
from verifier.audit.cohen import to_cohen_lines
from verifier.audit.findings import Kind
from verifier.audit.log import read_log
from verifier.audit.report import audit_log
from verifier.certificate import Certificate
from verifier.errors import InvalidProblem, Unsupported
from verifier.methods import Selection, Smoothing

METHOD = Smoothing(sigma=0.12, n=1000, alpha=0.001)
SINGLE = Smoothing(sigma=0.12, n=1000, alpha=0.001, selection=Selection.SINGLE_STAGE)
TWO_SIDED = Smoothing(sigma=0.12, n=1000, alpha=0.001, runner_up=True)
TOPS = (1000, 999, 990, 400, 800, 700, 560, 1000)


def run(method: Smoothing = METHOD, tops: tuple[int, ...] = TOPS) -> list[Certificate]:
    """One run: every third input is wrong."""
    return [certificate(votes(top, method.n), method, label=int(i % 3 == 2), index=i) for i, top in enumerate(tops)]


def votes(top: int, n: int) -> list[int]:
    """A table of three classes and no invalid draws: the others share what the top one leaves."""
    half = (n - top) // 2
    return [top, half, n - top - half, 0]


# -- audit -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", [METHOD, SINGLE, TWO_SIDED])
def test_what_we_made_is_clean(method: Smoothing) -> None:
    report = audit_certificates(run(method))
    assert report.findings == ()
    assert (report.sigma, report.n, report.alpha) == (0.12, 1000, 0.001)
    assert report.rescored == report.logged
    assert report.logged.correct == sum(c.radius > 0 and c.correct is True for c in run(method))


@pytest.mark.parametrize(("name", "value"), [("sigma", 0.25), ("n", 2000), ("alpha", 0.01)])
def test_other_parameters_than_stated(name: str, value: float) -> None:
    stated = {"sigma": 0.12, "n": 1000, "alpha": 0.001, name: value}
    report = audit_certificates(run(), **stated)  # type: ignore[arg-type]
    assert report.counts() == {Kind.OTHER_PARAMETERS: len(TOPS)}


@pytest.mark.parametrize("method", [METHOD, SINGLE, TWO_SIDED])
def test_rescoring_is_certifying_the_same_votes_at_the_stated_alpha(method: Smoothing) -> None:
    strict = dataclasses.replace(method, alpha=1e-5)
    report = audit_certificates(run(method), alpha=1e-5)
    assert report.rescored == dataclasses.replace(audit_certificates(run(strict)).logged, radii=report.logged.radii)


def test_a_claim_that_does_not_follow_scores_nothing() -> None:
    honest = run()
    forged = [dataclasses.replace(honest[0], radius=0.5), *honest[1:]]
    report = audit_certificates(forged)
    assert {(item.kind, item.line, item.idx) for item in report.findings} == {(Kind.DOES_NOT_HOLD, 1, 0)}
    assert report.rescored is not None
    assert report.rescored.correct == audit_certificates(honest).logged.correct - 1


def test_repeated_and_missing_certificates() -> None:
    honest = run()
    report = audit_certificates([*honest, honest[1]])
    assert Kind.DUPLICATE in report.counts()
    assert report.rescored == audit_certificates(honest).logged
    assert audit_certificates([*honest[:3], *honest[5:]]).counts() == {Kind.MISSING: 1}


def test_without_labels_the_scores_are_fractions() -> None:
    report = audit_certificates([certificate(votes(top, 1000), METHOD, index=i) for i, top in enumerate(TOPS)])
    assert report.clean
    assert report.logged.correct == 7
    assert any("no accuracy" in note for note in report.notes)


def test_several_parameters_must_be_stated() -> None:
    mixed = [*run(), certificate(votes_for(2000, 2000), dataclasses.replace(METHOD, n=2000), label=0, index=len(TOPS))]
    with pytest.raises(InvalidProblem, match=r"several values of n \(1000, 2000\): give --n"):
        audit_certificates(mixed)
    assert audit_certificates(mixed, n=1000).counts() == {Kind.OTHER_PARAMETERS: 1}


def test_bounds_have_no_votes_to_audit() -> None:
    with pytest.raises(Unsupported, match="verifier check"):
        audit_certificates([ball()])


def test_no_certificates() -> None:
    with pytest.raises(InvalidProblem, match="no certificates"):
        audit_certificates([])


# -- the field's format ----------------------------------------------------------------------------------


def test_lines() -> None:
    lines = list(to_cohen_lines(run()))
    assert lines[0] == "idx\tlabel\tpredict\tradius\tcorrect\ttime"
    radius = run()[0].radius
    assert lines[1] == f"0\t0\t0\t{math.floor(radius * 1e7) / 1e7:.7f}\t1\t0:00:01.500000"
    assert lines[3].split("\t")[2:5:2] == ["0", "0"]
    assert lines[4] == "3\t0\t-1\t0.0\t0\t0:00:01.500000"


def test_work_that_stopped_early_abstains() -> None:
    (_, line) = to_cohen_lines([certificate(votes_for(10, 10), METHOD, label=0)])
    assert line.split("\t")[2:5] == ["-1", "0.0", "0"]


def test_a_radius_that_misses_the_eps_asked_about_is_still_one() -> None:
    (_, line) = to_cohen_lines([certificate(votes_for(1000, 1000), METHOD, label=0, eps=9.0)])
    assert line.split("\t")[2:5] == ["0", f"{math.floor(run()[0].radius * 1e7) / 1e7:.7f}", "1"]


def test_labels_are_needed_and_bounds_refused() -> None:
    with pytest.raises(InvalidProblem, match="input 4 has none: certify with --labels"):
        list(to_cohen_lines([certificate(votes_for(1000, 1000), METHOD, index=4)]))
    with pytest.raises(Unsupported, match="of smoothing only"):
        list(to_cohen_lines([ball()]))


@settings(max_examples=60, deadline=None)
@given(
    sigma=st.floats(1e-6, 1e6),
    n=st.integers(20, 10**9),
    alpha=st.floats(1e-5, 0.5),
    selection=st.sampled_from(Selection),
    shares=st.lists(st.floats(0, 1).map(lambda share: 1 - share**4), min_size=1, max_size=10),
)
def test_our_own_audit_finds_nothing_in_what_we_write(
    sigma: float, n: int, alpha: float, selection: Selection, shares: list[float]
) -> None:
    method = Smoothing(sigma=sigma, n=n, alpha=alpha, selection=selection)
    certificates = run(method, tuple(round(share * n) for share in shares))
    lines = list(to_cohen_lines(certificates))
    rows = read_log(lines)
    for c, row in zip(certificates, rows, strict=True):
        assert row.radius <= c.radius < row.radius + 2e-6 * sigma
    report = audit_log(rows, sigma, n, alpha if selection is Selection.N0 else alpha / 2)
    assert report.findings == ()


def test_a_single_stage_run_is_clean_at_its_own_alpha_and_a_two_sided_one_where_that_is_said() -> None:
    tops = tuple(range(1000, 940, -1))
    assert audit_log(read_log(to_cohen_lines(run(SINGLE, tops))), 0.12, 1000, 0.001).clean
    assert audit_log(read_log(to_cohen_lines(run(TWO_SIDED, tops))), 0.12, 1000, 0.001, runner_up=True).clean


def test_draws_that_ended_early_are_rescored_at_their_own_alpha_only() -> None:
    """Their looks spent that alpha: at a larger one they prove the same, at a smaller one nothing."""
    method = Smoothing(0.5, n0=20, decide=(0.25,), n=3000)
    made = [certificate(votes_for(50, 50), method, label=0, counts=[50], index=i) for i in range(3)]
    report = audit_certificates(made)
    assert report.clean
    assert report.rescored is not None
    assert (report.logged.average_radius, report.rescored.average_radius) == (0.25, 0.25)
    stricter = audit_certificates(made, alpha=0.0001).rescored
    assert stricter is not None
    assert stricter.average_radius == 0
