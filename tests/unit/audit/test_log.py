"""Reading the field's format: what is a log, and one line and column that say why something is none."""

import pytest

from verifier.audit.log import Row, read_log
from verifier.errors import InvalidProblem

HEADER = "idx\tlabel\tpredict\tradius\tcorrect\ttime"


def read(*rows: str) -> tuple[Row, ...]:
    return read_log([HEADER, *rows])


def test_a_row() -> None:
    assert read("20\t7\t-1\t0.0\t0\t15.6") == (Row(2, 20, 7, -1, 0.0, "0.0", False, "15.6"),)


def test_blank_lines_line_ends_a_mark_and_further_columns_do_no_harm() -> None:
    lines = [
        "\ufefftime\tidx\tlabel\tradius\tpredict\tcorrect\tp_a\r\n",
        "\r\n",
        "0:00:01\t5\t2\t0.12\t2\t1\t.7\r\n",
        "",
    ]
    assert read_log(lines) == (Row(3, 5, 2, 2, 0.12, "0.12", True, "0:00:01"),)


@pytest.mark.parametrize("text", ["nan", "-0.5", "inf", "-Infinity", "1e400"])
def test_impossible_numbers_are_read_and_left_to_the_audit(text: str) -> None:
    (row,) = read(f"0\t1\t1\t{text}\t1\t1.0")
    assert row.printed == text


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ("x\t1\t1\t0.5\t1\t1.0", "idx"),
        ("-1\t1\t1\t0.5\t1\t1.0", "idx"),
        ("0\t1.0\t1\t0.5\t1\t1.0", "label"),
        ("0\t-1\t1\t0.5\t1\t1.0", "label"),
        ("0\t1\t-2\t0.5\t1\t1.0", "predict"),
        ("0\t1\t1\t0,5\t1\t1.0", "radius"),
        ("0\t1\t1\t\t1\t1.0", "radius"),
        ("0\t1\t1\t1_000\t1\t1.0", "radius"),
        ("0\t1\t1\t0.5\t2\t1.0", "correct"),
        ("0\t1\t1\t0.5\tTrue\t1.0", "correct"),
        ("0\t\u0661\t1\t0.5\t1\t1.0", "label"),
    ],
)
def test_errors_name_line_and_column(row: str, column: str) -> None:
    with pytest.raises(InvalidProblem, match=f"line 3, column {column}: expected ") as caught:
        read("0\t1\t1\t0.5\t1\t1.0", row)
    assert caught.value.violations[0].field == f"line[3].{column}"


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the log is empty"),
        (["", "\n"], "the log is empty"),
        ([HEADER], "no rows"),
        ([HEADER, "0\t1\t1\t0.5"], "line 2: expected 6 columns separated by tabs, got 4; was the file cut off"),
        ([HEADER, "0\t1\t1\t0.5\t1\t1\t1"], "line 2: expected 6 columns separated by tabs, got 7"),
        (["idx\tlabel\tradius\tcorrect", "0\t1\t0.5\t1"], "line 1: the header has no column predict, time"),
        (["idx,label,predict,radius,correct,time", "0,1,1,0.5,1,1"], "line 1: the header has no column idx"),
        ([HEADER + "\tidx", "0\t1\t1\t0.5\t1\t1\t0"], "line 1: the header has column idx twice"),
        ([HEADER, "0\t1\t1\t0.5\t1\t1", HEADER], "line 3, column idx"),
    ],
)
def test_what_is_no_log(lines: list[str], message: str) -> None:
    with pytest.raises(InvalidProblem, match=message):
        read_log(lines)
