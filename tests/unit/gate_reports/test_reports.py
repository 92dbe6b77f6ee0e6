"""The files of a gate: whole, of one run, and never better than its decision."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from gate_runs import decided, gate_run, shown_of, threshold

pytest.importorskip("junitparser", reason="gate reports need junitparser")
pytest.importorskip("jinja2", reason="gate reports need Jinja2")

from junitparser import Error, Failure, JUnitXml

from verifier.errors import InvalidProblem
from verifier.gate.outcomes import Record
from verifier.gate.report_json import exit_code, report_json
from verifier.gate.report_junit import report_junit
from verifier.gate.report_markdown import plain, report_markdown
from verifier.gate.reports import REPORT, certificates_sha256, weakest, write_reports
from verifier.gating import Decision, GateRun
from verifier.wire.certificates import certificates_from_lines

RUN, RECORD, CERTIFICATES = decided()
FAILED = threshold(Decision.FAIL, name="abstention_rate", reason="too many")
DOUBTFUL = threshold(Decision.INCONCLUSIVE, name="clean_accuracy", reason="too few")


def write(directory: Path, run: GateRun = RUN, record: Record = RECORD) -> list[Path]:
    return write_reports(directory, run, CERTIFICATES, shown_of(weakest(CERTIFICATES, 3)), record)


def test_all_files_are_written_and_named_by_their_digests(tmp_path: Path) -> None:
    paths = write(tmp_path / "new" / "reports")
    assert sorted(p.name for p in paths) == [
        *("certificates.jsonl", "junit.xml", "outcomes.jsonl", "report.html", "report.json", "summary.md")
    ]
    assert sorted((tmp_path / "new" / "reports").iterdir()) == sorted(paths)  # nothing temporary stays
    report = json.loads(paths[-1].read_text())
    assert report["files"] == {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in paths[:-1]}
    assert report["files"]["outcomes.jsonl"] == RUN.counts_digest == report["counts_digest"]
    assert report["files"]["certificates.jsonl"] == certificates_sha256(CERTIFICATES)
    text = (tmp_path / "new" / "reports" / "certificates.jsonl").read_text()
    assert certificates_from_lines(text.splitlines()) == CERTIFICATES


def test_an_older_report_does_not_survive_a_failed_writing(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "junit.xml").unlink()
    (tmp_path / "junit.xml").mkdir()
    (tmp_path / "junit.xml" / "in the way").touch()
    with pytest.raises(InvalidProblem, match="cannot write reports"):
        write(tmp_path)
    assert not (tmp_path / REPORT).exists()
    assert not list(tmp_path.glob(".*"))


def test_bad_directories_are_typed_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(InvalidProblem, match="name a directory") as caught:
            write(directory)
        assert caught.value.reason == "REPORT_DIRECTORY"


def test_a_record_of_another_run_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InvalidProblem, match="the record is not the one"):
        write(tmp_path / "reports", record=Record(RECORD.census, RECORD.outcomes[:-1]))
    twins = replace(RUN, thresholds=RUN.thresholds * 2)
    with pytest.raises(InvalidProblem, match="its own name"):
        write(tmp_path / "reports", twins)
    assert not (tmp_path / "reports").exists()


# -- report.json -----------------------------------------------------------------------------------------


def test_metrics_stand_at_fixed_paths() -> None:
    loss = threshold(
        *(Decision.PASS,), name="regression_l2_0.5", metric="regression", at_least=None, at_most=0.02, lower=-0.01
    )
    report = json.loads(report_json(gate_run(threshold(), loss), {}))
    assert (report["schema"], report["schema_version"]) == ("verifier.gate-report", 1)
    metric = report["metrics"]["certified_accuracy_l2_0.5"]
    assert {name: metric[name] for name in ("value", "lower", "upper", "threshold")} == {
        "value": 0.7123456,
        "lower": 0.6123456,
        "upper": 0.8123456,
        "threshold": 0.6,
    }
    assert (metric["comparison"], metric["confidence"], metric["decision"]) == ("at_least", 0.95, "pass")
    # The value of a regression is model minus baseline: a loss of at most 0.02 is a value of at least -0.02.
    assert report["metrics"]["regression_l2_0.5"]["comparison"] == "at_least"
    assert report["metrics"]["regression_l2_0.5"]["threshold"] == -0.02


@pytest.mark.parametrize("name", ["lower", "upper", "value"])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_is_null(name: str, number: float) -> None:
    report = json.loads(report_json(gate_run(threshold().__class__(**(vars(threshold()) | {name: number}))), {}))
    assert report["metrics"]["certified_accuracy_l2_0.5"][name] is None


CASES = [
    (gate_run(), 0),
    (gate_run(FAILED, decision=Decision.FAIL), 1),
    (gate_run(threshold(), DOUBTFUL, decision=Decision.INCONCLUSIVE), 3),
    (gate_run(decision=Decision.INCONCLUSIVE), 3),
    (gate_run(decision=Decision.FAIL), 1),
    # A run that says pass and contradicts itself:
    (replace(gate_run(), thresholds=()), 3),
    (gate_run(threshold(), FAILED), 3),
    (gate_run(threshold(), DOUBTFUL), 3),
]


@pytest.mark.parametrize(("run", "code"), CASES)
def test_no_file_passes_unless_all_of_the_run_does(run: GateRun, code: int) -> None:
    assert exit_code(run) == code
    assert json.loads(report_json(run, {}))["exit_code"] == code
    suite = next(iter(JUnitXml.fromstring(report_junit(run).decode().partition("?>")[2])))
    assert (suite.failures + suite.errors == 0) == (code == 0)
    first = report_markdown(run).splitlines()[0]
    assert {0: "PASS", 1: "FAIL", 3: "INCONCLUSIVE"}[code] in first


# -- junit.xml -------------------------------------------------------------------------------------------


def test_junit_has_one_case_a_threshold() -> None:
    run = gate_run(threshold(), FAILED, DOUBTFUL, decision=Decision.FAIL)
    suite = next(iter(JUnitXml.fromstring(report_junit(run).decode().partition("?>")[2])))
    cases = list(suite)
    assert [case.name for case in cases] == ["certified_accuracy_l2_0.5", "abstention_rate", "clean_accuracy"]
    assert [[type(r) for r in case.result] for case in cases] == [[], [Failure], [Error]]
    assert [r.message for case in cases for r in case.result] == ["too many", "too few"]
    assert (suite.tests, suite.failures, suite.errors) == (3, 1, 1)


def test_junit_survives_any_text() -> None:
    evil = "\x00\x1b]]> <&\"'\ud800\uffff <failure/>"
    run = gate_run(threshold(Decision.FAIL, reason=evil, name=evil), policy_name=evil, decision=Decision.FAIL)
    suite = next(iter(JUnitXml.fromstring(report_junit(run).decode().partition("?>")[2])))
    (case,) = suite
    assert "<failure/>" in case.name
    assert len(case.result) == 1


# -- summary.md ------------------------------------------------------------------------------------------


def test_summary_begins_with_the_decision_and_has_one_table() -> None:
    lines = report_markdown(gate_run(threshold(), FAILED, decision=Decision.FAIL)).splitlines()
    assert "FAIL" in lines[0]
    assert sum(line.startswith("|---") for line in lines) == 1
    assert sum(line.startswith("| ") for line in lines) == 3  # head and two thresholds


def test_summary_acts_on_no_text() -> None:
    evil = "a|b\n# <script>alert(1)</script> [x](http://y) **z** `q` @all"
    lines = report_markdown(gate_run(threshold(group=evil), policy_name=evil, reason=evil)).splitlines()
    assert not any("<script" in line for line in lines)
    assert all(line.replace("\\|", "").count("|") in (0, 7) for line in lines)
    assert plain("a\nb") == "a b"
