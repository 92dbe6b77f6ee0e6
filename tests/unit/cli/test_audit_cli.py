"""`verifier audit`: exit codes, words and JSON."""

import json
from pathlib import Path

import pytest
from builders import certificate, votes_for
from click.testing import CliRunner, Result
from smoothing_logs import changed, down_to, lines_of

from verifier.audit.cohen import to_cohen_lines
from verifier.audit.findings import Kind
from verifier.cli.audit import _MEANINGS
from verifier.cli.main import main
from verifier.methods import Smoothing
from verifier.wire.certificates import certificate_to_json

STATED = ("--sigma", "0.5", "--n", "1000", "--alpha", "0.001")
CLEAN = lines_of([*range(1000, 970, -1), 400], 1000, 0.001, 0.5, down_to(6))
METHOD = Smoothing(sigma=0.5, n=1000, alpha=0.001)


def audit(*options: str, stdin: str | None = None) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, ["audit", *options], input=stdin)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.tsv"
    path.write_text("\n".join(CLEAN) + "\n")
    return path


def write(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_clean_log(log: Path) -> None:
    answer = audit(str(log), *STATED)
    assert answer.exit_code == 0, answer.output
    assert "31 rows, 1 abstained" in answer.stdout
    assert "made at 0.001" in answer.stdout
    assert "nothing found" in answer.stdout
    table = {line.rpartition("  ")[0].split("  ")[0]: line.split()[-3:] for line in answer.stdout.splitlines()}
    assert table["clean"] == ["0.6452", "0.6452", "0.6451"]  # 20 of 31, the bound rounded down
    assert "average radius (ACR)" in table


def test_findings_say_line_and_reason(log: Path) -> None:
    path = write(log, changed(CLEAN, 3, radius="1.700000"))
    answer = audit(path, *STATED)
    assert answer.exit_code == 1
    assert "1 x radius larger than n draws can prove" in answer.stdout
    assert "line 3 (idx 1): radius 1.700000 is impossible: 1000 agreeing draws at alpha 0.001" in answer.stdout


def test_many_findings_of_a_kind_are_cut(log: Path) -> None:
    lines = CLEAN
    for line in range(2, 10):
        lines = changed(lines, line, time="soon")
    answer = audit(write(log, lines), *STATED)
    assert answer.stdout.count("got 'soon'") == 5
    assert "and 3 more; --json lists all" in answer.stdout
    assert len(json.loads(audit(str(log), *STATED, "--json").stdout)["findings"]) == 8


def test_json_has_the_documented_names(log: Path) -> None:
    answer = audit(write(log, changed(CLEAN, 3, correct="0")), *STATED, "--json")
    assert answer.exit_code == 1
    facts = json.loads(answer.stdout)
    documented = (Path(__file__).parents[3] / "docs" / "audit.md").read_text(encoding="utf-8")
    for names in (facts, facts["inference"], facts["inference"]["fits"][0], facts["findings"][0], facts["logged"]):
        assert [name for name in names if f"`{name}`" not in documented] == []
    assert [kind for kind in Kind if f"`{kind}`" not in documented] == []
    assert (facts["schema_version"], facts["clean"], facts["counts"]) == (1, False, {"correct_disagrees": 1})
    assert facts["findings"][0] == {
        "kind": "correct_disagrees",
        "line": 3,
        "idx": 1,
        "message": "correct is 0, but predict is 3 and label is 3",
    }


def test_every_kind_has_a_meaning() -> None:
    assert set(_MEANINGS) == set(Kind)


@pytest.mark.parametrize("planted", [{}, {"time": "soon"}])
def test_quiet_prints_nothing(log: Path, planted: dict[str, str]) -> None:
    answer = audit(write(log, changed(CLEAN, 3, **planted)), *STATED, "--quiet")
    assert (answer.exit_code, answer.output) == (len(planted), "")


def test_standard_input() -> None:
    assert audit("-", *STATED, stdin="\r\n".join(CLEAN)).exit_code == 0


def test_our_certificates_state_their_parameters(tmp_path: Path) -> None:
    made = [certificate(votes_for(top, 1000), METHOD, label=0, index=i) for i, top in enumerate((1000, 900, 700))]
    path = write(tmp_path / "c.jsonl", [certificate_to_json(c) for c in made])
    assert audit(path).exit_code == 0
    assert audit(path, *STATED).exit_code == 0
    answer = audit(path, "--alpha", "0.01")
    assert (answer.exit_code, "made with alpha 0.001, not with 0.01" in answer.stdout) == (1, True)
    assert audit(write(tmp_path / "log.tsv", list(to_cohen_lines(made))), *STATED).exit_code == 0
    assert audit(path, "--runner-up").exit_code == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--sigma", "0.5"), "give --n, --alpha"),
        ((), "give --sigma, --n, --alpha"),
        (("--sigma", "0", *STATED[2:]), "sigma must be > 0"),
        ((*STATED[:4], "--alpha", "2"), "alpha must be in"),
        ((*STATED[:2], "--n", "1.5", *STATED[4:]), "1.5"),
    ],
)
def test_usage(log: Path, options: tuple[str, ...], says: str) -> None:
    answer = audit(str(log), *options)
    assert answer.exit_code == 2
    assert says in answer.stderr


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "the log is empty"),
        (["a,b", "1,2"], "line 1: the header has no column"),
        (changed(CLEAN, 4, radius="wide"), "line 4, column radius: expected a number, got 'wide'"),
        (['{"index": 0'], "line 1: not a certificate"),
    ],
)
def test_what_is_no_log(log: Path, lines: list[str], says: str) -> None:
    answer = audit(write(log, lines), *STATED)
    assert answer.exit_code == 2
    assert says in answer.stderr


def test_a_log_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("absent", "binary", "."):
        answer = audit(str(tmp_path / name), *STATED)
        assert (answer.exit_code, "cannot read" in answer.stderr) == (2, True)
