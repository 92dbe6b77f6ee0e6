"""Planted errors of every kind are found, where they stand; honest logs are clean."""

import json
import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smoothing_logs import HEADER, changed, down_to, field_radius, lines_of, three_digits

from verifier.audit.findings import Kind
from verifier.audit.log import read_log
from verifier.audit.report import AuditReport, audit_log
from verifier.errors import InvalidProblem

N, ALPHA, SIGMA = 1000, 0.001, 0.5
VOTES = [*range(1000, 980, -1), 400, *range(600, 620), 900, 850]
CLEAN = lines_of(VOTES, N, ALPHA, SIGMA, down_to(6), skip=20)


def audited(lines: Sequence[str], n: int = N, alpha: float = ALPHA, sigma: float = SIGMA) -> AuditReport:
    return audit_log(read_log(lines), sigma, n, alpha)


def found(report: AuditReport) -> list[tuple[Kind, int | None]]:
    return [(item.kind, item.line) for item in report.findings]


def test_an_honest_log_is_clean() -> None:
    report = audited(CLEAN)
    assert report.findings == ()
    assert report.clean
    assert report.inference is not None
    assert report.inference.alpha == ALPHA
    assert (report.rows, report.abstained) == (43, 1)


@settings(max_examples=80, deadline=None)
@given(
    n=st.integers(20, 10**7),
    alpha=st.sampled_from([0.2, 0.05, 0.003, 0.001, 1e-5]),
    sigma=st.sampled_from([0.001, 0.12, 0.25, 1.0, 64.0]),
    shares=st.lists(st.floats(0.0, 1.0).map(lambda share: 1 - share**4), min_size=1, max_size=40),
    skip=st.integers(1, 50),
    data=st.data(),
)
def test_every_honest_log_rounded_down_is_clean(
    n: int, alpha: float, sigma: float, shares: list[float], skip: int, data: st.DataObject
) -> None:
    votes = [math.floor(share * n) for share in shares]
    decimals = data.draw(st.integers(6, 12))
    report = audited(lines_of(votes, n, alpha, sigma, down_to(decimals), skip=skip), n, alpha, sigma)
    assert report.findings == ()
    assert report.rescored is not None
    assert report.rescored.average_radius <= report.logged.average_radius * (1 + 1e-6)


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(20, 10**7),
    alpha=st.sampled_from([0.05, 0.001, 1e-5]),
    sigma=st.sampled_from([0.12, 0.25, 1.0]),
    shares=st.lists(st.floats(0.0, 1.0).map(lambda share: 1 - share**4), min_size=1, max_size=40),
)
def test_rounding_to_nearest_is_all_that_is_found_in_the_fields_logs(
    n: int, alpha: float, sigma: float, shares: list[float]
) -> None:
    votes = [math.floor(share * n) for share in shares]
    lines = lines_of(votes, n, alpha, sigma, three_digits)
    report = audited(lines, n, alpha, sigma)
    assert set(report.counts()) <= {Kind.ROUNDED_UP}
    for item in report.findings:
        assert item.line is not None
        printed = float(lines[item.line - 1].split("\t")[3])
        assert printed > field_radius(votes[item.line - 2], n, alpha, sigma)


# -- planted errors --------------------------------------------------------------------------------------

LARGEST, BEFORE = (field_radius(k, N, ALPHA, SIGMA) for k in (N, N - 1))

PLANTED = {
    Kind.ABOVE_LARGEST: {"radius": f"{LARGEST + 0.01:.6f}"},
    Kind.OFF_LATTICE: {"radius": f"{(LARGEST + BEFORE) / 2:.6f}"},
    Kind.ROUNDED_UP: {"radius": f"{math.ceil(LARGEST * 1e6) / 1e6:.6f}"},
    Kind.NOT_A_RADIUS: {"radius": "nan"},
    Kind.CORRECT_DISAGREES: {"correct": "0"},
    Kind.MALFORMED_TIME: {"time": "soon"},
}


@pytest.mark.parametrize("kind", PLANTED, ids=lambda kind: kind.value)
@pytest.mark.parametrize("line", [3, 42])
def test_a_planted_error_is_found_where_it_stands(kind: Kind, line: int) -> None:
    report = audited(changed(CLEAN, line, **PLANTED[kind]))
    assert found(report) == [(kind, line)]
    assert report.findings[0].idx == 20 * (line - 2)
    assert not report.clean


@pytest.mark.parametrize("radius", ["-0.5", "inf", "-inf", "NaN"])
def test_what_is_no_radius(radius: str) -> None:
    report = audited(changed(CLEAN, 3, radius=radius))
    assert found(report) == [(Kind.NOT_A_RADIUS, 3)]
    assert report.logged.average_radius < audited(CLEAN).logged.average_radius
    json.dumps(report.to_dict(), allow_nan=False)


def test_a_class_without_a_radius() -> None:
    report = audited(changed(CLEAN, 3, radius="0.000000"))
    assert found(report) == [(Kind.OFF_LATTICE, 3)]
    assert "or the procedure abstains" in report.findings[0].message


ABSTAINED = 2 + VOTES.index(400)


@pytest.mark.parametrize(
    ("cells", "kinds"),
    [
        ({"correct": "1"}, [Kind.ABSTENTION_CORRECT]),
        ({"radius": "0.300000"}, [Kind.ABSTENTION_RADIUS]),
        ({"correct": "1", "radius": "9.0"}, [Kind.ABSTENTION_CORRECT, Kind.ABSTENTION_RADIUS]),
    ],
)
def test_abstentions(cells: dict[str, str], kinds: list[Kind]) -> None:
    report = audited(changed(CLEAN, ABSTAINED, **cells))
    assert found(report) == [(kind, ABSTAINED) for kind in kinds]
    clean = audited(CLEAN)
    assert report.rescored == clean.rescored or report.logged.radii != clean.logged.radii


def test_a_repeated_row_is_found_and_counts_once() -> None:
    report = audited([*CLEAN, CLEAN[2]])
    assert found(report) == [(Kind.DUPLICATE, len(CLEAN) + 1)]
    assert "repeats the row of the same idx in line 3" in report.findings[0].message
    assert report.rescored == audited(CLEAN).rescored


def test_a_contradicting_row_is_found_and_the_worse_counts() -> None:
    better, worse = CLEAN[2], changed(CLEAN, 3, predict="-1", radius="0.0", correct="0")[2]
    for lines in ([*CLEAN, worse], [*CLEAN[:2], worse, *CLEAN[3:], better]):
        report = audited(lines)
        assert found(report) == [(Kind.DUPLICATE, len(CLEAN) + 1)]
        assert "contradicts" in report.findings[0].message
        rescored, clean = report.rescored, audited(CLEAN).rescored
        assert rescored is not None
        assert clean is not None
        assert (rescored.inputs, rescored.correct) == (clean.inputs, clean.correct - 1)


@pytest.mark.parametrize("gone", [slice(4, 5), slice(10, 14)])
def test_missing_rows_are_found(gone: slice) -> None:
    lines = [line for number, line in enumerate(CLEAN) if number not in range(*gone.indices(len(CLEAN)))]
    report = audited(lines)
    assert found(report) == [(Kind.MISSING, gone.start + 1)]
    assert f"idx {20 * (gone.start - 1)}" in report.findings[0].message
    assert "rows come every 20" in report.findings[0].message


def test_a_row_out_of_step_is_found() -> None:
    report = audited([*CLEAN, changed(CLEAN, 3, idx="1000")[2]])
    assert found(report) == [(Kind.MISSING, len(CLEAN) + 1)]
    report = audited(changed(CLEAN, 3, idx="15"))
    assert [kind for kind, _ in found(report)] == [Kind.MISSING, Kind.MISSING]
    assert "idx 15 follows 0, though rows come every 20" in report.findings[0].message


def test_missing_rows_cannot_be_seen_without_a_step() -> None:
    lines = [HEADER, *(changed(CLEAN, 3, idx=str(idx))[2] for idx in (0, 1, 5, 14, 100))]
    report = audited(lines)
    assert report.clean
    assert any("idx rises by no constant step" in note for note in report.notes)


@pytest.mark.parametrize("time", ["15.4", "0", "1e-05", "0:00:14.086097", "12:34:56", "2 days, 1:02:03.5"])
def test_times(time: str) -> None:
    assert audited(changed(CLEAN, 3, time=time)).clean


@pytest.mark.parametrize("time", ["", "-1", "nan", "1:2:3", "0:61:00", "14s"])
def test_malformed_times(time: str) -> None:
    assert found(audited(changed(CLEAN, 3, time=time))) == [(Kind.MALFORMED_TIME, 3)]


# -- another alpha, n or sigma than stated ---------------------------------------------------------------


def test_a_larger_alpha_than_stated_is_found_and_rescored() -> None:
    lines = lines_of(VOTES, N, 0.01, SIGMA, down_to(6))
    report = audited(lines, alpha=0.001)
    assert report.counts()[Kind.WRONG_ALPHA] == 1
    assert report.counts()[Kind.ABOVE_LARGEST] == sum(field_radius(k, N, 0.01, SIGMA) > LARGEST for k in VOTES)
    assert report.findings[-1].message.startswith("the radii were made at alpha 0.01, not at 0.001")
    assert report.rescored is not None
    right = [field_radius(k, N, ALPHA, SIGMA) if number % 3 else 0 for number, k in enumerate(VOTES)]
    assert report.rescored.average_radius == pytest.approx(sum(right) / len(VOTES), rel=1e-6)
    assert report.rescored_at_least is not None
    assert report.rescored_at_least.average_radius <= report.rescored.average_radius


def test_a_smaller_alpha_than_stated_is_found() -> None:
    report = audited(lines_of(VOTES, N, 0.0001, SIGMA, down_to(6)), alpha=0.001)
    assert report.counts()[Kind.WRONG_ALPHA] == 1


def test_half_of_the_stated_alpha_is_a_single_stage_procedure() -> None:
    report = audited(lines_of(VOTES, N, ALPHA / 2, SIGMA, down_to(6)))
    assert report.clean
    assert any("half of the stated alpha" in note for note in report.notes)
    assert report.largest_radius < LARGEST


@pytest.mark.parametrize(("n", "sigma"), [(900, SIGMA), (N, 0.45), (10_000, SIGMA)])
def test_another_n_or_sigma_than_stated_is_found(n: int, sigma: float) -> None:
    report = audited(CLEAN, n=n, sigma=sigma)
    assert not report.clean
    assert set(report.counts()) <= {Kind.ABOVE_LARGEST, Kind.OFF_LATTICE, Kind.ROUNDED_UP}


def test_nothing_is_rescored_where_nobody_knows_alpha() -> None:
    report = audited(CLEAN, n=900)
    assert report.rescored is None
    assert any("nothing is rescored" in note for note in report.notes)
    assert report.inference is not None
    assert "are n and sigma right?" in report.inference.reason


def test_where_alpha_cannot_be_told_the_largest_possible_one_bounds_the_scores() -> None:
    report = audited(lines_of([700, 650, 620], N, ALPHA, SIGMA, lambda radius: f"{radius:.1}"))
    assert report.clean
    assert report.inference is not None
    assert report.inference.alpha is None
    assert report.rescored is not None
    assert report.rescored_at_least is not None
    assert report.rescored_at_least.average_radius < report.rescored.average_radius
    assert any("they are judged, and rescored, at 0.001" in note for note in report.notes)


@pytest.mark.parametrize(("n", "alpha", "sigma"), [(0, 0.001, 0.5), (100, 0.0, 0.5), (100, 0.9, 0.5), (100, 0.001, -1)])
def test_impossible_parameters_are_refused(n: int, alpha: float, sigma: float) -> None:
    with pytest.raises(InvalidProblem):
        audited(CLEAN, n, alpha, sigma)


def test_a_two_sided_bound_is_held_against_the_largest_only() -> None:
    lines = changed(changed(CLEAN, 3, radius=PLANTED[Kind.OFF_LATTICE]["radius"]), 4, radius="1.7")
    report = audit_log(read_log(lines), SIGMA, N, ALPHA, runner_up=True)
    unanimous = 2  # at alpha, which is more than each of two bounds may spend: alpha/2
    assert found(report) == [(Kind.ABOVE_LARGEST, unanimous), (Kind.ABOVE_LARGEST, 4)]
    assert report.inference is None
    assert report.rescored is None
