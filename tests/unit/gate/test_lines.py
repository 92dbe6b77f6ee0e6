"""The line of every key, whatever the TOML around it."""

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verifier.gate.lines import Path, key_lines

DOCUMENT = '''\
# a comment with [brackets] and "quotes"
title = "a # no comment"   # 2

[owner]
name = 'x = 1'
"dotted.key" = 1
a.b.c = 2
text = """
[not.a.table]
k = "v"
""" # ends on 11
list = [ 1, # 12
  "two ]",
  { x = 1, y = [3,
    4] },
]
date = 1979-05-27 07:32:00 # 17

[[threshold]]
metric = "a"
[threshold.deep]
z = 1
[[threshold]]
metric = "b"
[[threshold.inner]]
q = 1
[[threshold.inner]]
q = 2
'''


def test_lines_by_hand() -> None:
    lines = key_lines(DOCUMENT)
    expected: dict[Path, int] = {
        ("title",): 2,
        ("owner",): 4,
        ("owner", "name"): 5,
        ("owner", "dotted.key"): 6,
        ("owner", "a", "b", "c"): 7,
        ("owner", "text"): 8,
        ("owner", "list"): 12,
        ("owner", "list", 0): 12,
        ("owner", "list", 1): 13,
        ("owner", "list", 2): 14,
        ("owner", "list", 2, "y"): 14,
        ("owner", "list", 2, "y", 1): 15,
        ("owner", "date"): 17,
        ("threshold",): 19,
        ("threshold", 0): 19,
        ("threshold", 0, "metric"): 20,
        ("threshold", 0, "deep"): 21,
        ("threshold", 0, "deep", "z"): 22,
        ("threshold", 1): 23,
        ("threshold", 1, "metric"): 24,
        ("threshold", 1, "inner", 1, "q"): 28,
    }
    assert {path: lines[path] for path in expected} == expected
    assert paths(tomllib.loads(DOCUMENT)) <= lines.keys()


@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=repr)
def test_ends_of_lines(ends: str) -> None:
    assert key_lines(DOCUMENT.replace("\n", ends)) == key_lines(DOCUMENT)


def paths(value: Any, path: Path = ()) -> set[Path]:
    """Of everything in a document, tables that are only implied left out."""
    if isinstance(value, dict):
        return set().union(*(paths(entry, (*path, key)) for key, entry in value.items()))
    if isinstance(value, list):
        return {path}.union(*(paths(entry, (*path, number)) for number, entry in enumerate(value)))
    return {path}


KEYS = st.text("abc", min_size=1, max_size=3) | st.sampled_from(['"x.y"', "'q u'", '"\\u0041#"', '"a]"'])
SCALARS = st.sampled_from(
    [
        "1",
        "-2.5e3",
        "true",
        "nan",
        '"# no [comment]"',
        "'\\'",
        '"\\""',
        '"""a\nb = 1\n\\""" """',
        "'''\n'''",
        '""""q"""""',
    ]
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: "[ # comment ]\n" + ",\n".join(values) + "\n]")
        | st.dictionaries(KEYS, SCALARS, max_size=2).map(
            lambda table: "{ " + ", ".join(f"{key} = {value}" for key, value in table.items()) + " }"
        )
    ),
    max_leaves=6,
)
PAIRS = st.builds("{} = {}\n".format, st.lists(KEYS, min_size=1, max_size=2).map(".".join), VALUES)
HEADERS = st.builds(
    lambda form, key: form.format(key),
    st.sampled_from(["[{}]\n", "[[{}]] # x\n", "\n[ {} ]\n"]),
    st.lists(KEYS, min_size=1, max_size=3).map(" . ".join),
)


@given(st.lists(PAIRS | HEADERS | st.just("# [x]\n\n"), max_size=8).map("".join))
def test_every_value_has_a_line_within_the_text(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    lines = key_lines(text)
    assert paths(document) <= lines.keys()
    assert all(1 <= line <= text.count("\n") + 1 for line in lines.values())
