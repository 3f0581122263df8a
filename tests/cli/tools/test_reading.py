"""Files that somebody else wrote: read strictly and within limits, or refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from broker.cli.tools.reading import (
    DEPTH_MAX,
    FILE_BYTES_MAX,
    NODES_MAX,
    ReadError,
    read_description,
)


def read(folder: Path, text: str, name: str = "api.yaml") -> dict[str, Any]:
    path = folder / name
    path.write_text(text, "utf-8")
    return read_description(path)


def refused(folder: Path, text: str, name: str = "api.yaml") -> str:
    with pytest.raises(ReadError) as error:
        read(folder, text, name)
    assert str(error.value).startswith(str(folder / name))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_json_and_yaml_come_to_the_same_values(tmp_path):
    value = {"a": [1, -2, 1.5, True, None, "x"], "200": {"on": "no"}, "d": "2026-01-01"}
    yaml = "a: [1, -2, 1.5, true, null, x]\n200: {on: no}\nd: 2026-01-01\n"
    assert read(tmp_path, yaml) == value
    assert read(tmp_path, json.dumps(value), "api.json") == value
    assert read(tmp_path, json.dumps(value), "api.yaml") == value


def test_words_that_only_yaml_1_1_reads_otherwise_stay_words(tmp_path):
    words = ["yes", "on", "0o17", "017", "1_000", "1:30", ".inf", "0x1F", "True"]
    found = read(tmp_path, "".join(f"k{n}: {word}\n" for n, word in enumerate(words)))
    assert list(found.values()) == words


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3: 'a' stands twice"),
        ("x: {a: 1, 'a': 2}", "line 1: 'a' stands twice"),
        ("x:\n  200: 1\n  '200': 2\n", "stands twice"),
        ("a: &x [1]\nb: *x\n", "line 1: anchors"),
        ("a: *x\n", "anchors"),
        ("<<: {a: 1}\nb: &b {}\n", "anchors"),
        ("a: !!python/object/apply:os.system ['true']\n", "the tag"),
        ("a: !!binary aGk=\n", "the tag"),
        ("a: !env HOME\n", "the tag"),
        ("? [a, b]\n: 1\n", "a name is text"),
        ("a: [1\n", "no YAML"),
        ("a: 1\n---\nb: 2\n", "no YAML"),
        ("- 1\n", "no object"),
        ("", "no object"),
    ],
)
def test_yaml_that_two_readers_could_read_in_two_ways_is_refused(tmp_path, text, says):
    assert says in refused(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('{"a": 1, "b": {"c": 1, "c": 2}}', "'c' stands twice"),
        ('{"a": NaN}', "NaN"),
        ('{"a": Infinity}', "Infinity"),
        ('{"a": 1', "no JSON"),
        ('{"a": 1} {}', "no JSON"),
        (f'{{"a": {"9" * 5_000}}}', "too many digits"),
    ],
)
def test_json_that_two_readers_could_read_in_two_ways_is_refused(tmp_path, text, says):
    assert says in refused(tmp_path, text, "api.json")


def test_a_billion_laughs_are_refused_at_the_first_anchor(tmp_path):
    lines = ["a0: &a0 [lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}, *a{n - 1}]" for n in range(1, 40)]
    assert "line 1: anchors" in refused(tmp_path, "\n".join(lines))


@pytest.mark.parametrize("name", ["api.yaml", "api.json"])
def test_nesting_holds_at_the_limit_and_one_past_it(tmp_path, name):
    def nested(depth: int) -> str:
        return '{"a": ' + "[" * (depth - 1) + "]" * (depth - 1) + "}"

    assert read(tmp_path, nested(DEPTH_MAX), name)
    assert "deep" in refused(tmp_path, nested(DEPTH_MAX + 1), name)
    assert re.search("deep|depth", refused(tmp_path, nested(100_000), name))


def test_brackets_inside_text_are_no_nesting(tmp_path):
    text = json.dumps({"a": '[{"' * 1_000 + "\\"})
    assert read(tmp_path, text, "api.json")["a"].endswith("\\")


def test_the_number_of_values_has_a_limit(tmp_path):
    many = ",".join("1" * NODES_MAX)
    assert "values" in refused(tmp_path, f'{{"a": [{many}]}}', "api.json")
    short = json.dumps({"a": [1] * (NODES_MAX // 100)})
    assert read(tmp_path, short, "api.json")


def test_a_file_is_read_at_the_limit_and_refused_one_byte_past_it(tmp_path):
    text = '{"a": "' + "x" * (FILE_BYTES_MAX - 9) + '"}'
    assert len(read(tmp_path, text, "api.json")["a"]) == FILE_BYTES_MAX - 9
    assert "bytes" in refused(tmp_path, f"{text} ", "api.json")


def test_what_is_no_text_or_not_there_is_said(tmp_path):
    with pytest.raises(ReadError, match="No such file"):
        read_description(tmp_path / "none.yaml")
    with pytest.raises(ReadError, match="directory"):
        read_description(tmp_path)
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(ReadError, match="no UTF-8"):
        read_description(tmp_path / "x.yaml")
