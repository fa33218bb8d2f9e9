"""The rows of a manifest, and what is refused of one."""

from __future__ import annotations

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from sayonce.batch.rows import DEEPEST, LONGEST, Row, Rows, opened
from sayonce.errors import InvalidRequest

Write = Callable[[str, str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(name: str, what: str | bytes) -> Path:
        path = tmp_path / name
        path.write_bytes(what.encode() if isinstance(what, str) else what)
        return path

    return written


def told(rows: Rows) -> list[Row]:
    return list(rows)


# ── what is read ─────────────────────────────────────────────────────────────────────────────────


def test_yaml_tells_of_all_beside_the_items(write: Write) -> None:
    rows = opened(write("a.yaml", "voice: en\nitems:\n- {text: One, n: 2}\n- text: Two\n  tags: [a, b]\nkeep: 30d\n"))
    assert rows.head == {"voice": "en", "keep": "30d"}
    assert told(rows) == [
        Row(1, "item 1", {"text": "One", "n": 2}),
        Row(2, "item 2", {"text": "Two", "tags": ["a", "b"]}),
    ]


def test_yaml_may_be_a_plain_list(write: Write) -> None:
    rows = opened(write("a.yml", "- text: One\n- text: |\n    Two\n    lines\n"))
    assert [row.fields["text"] for row in rows] == ["One", "Two\nlines\n"]
    assert rows.head == {}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        *[(same, same) for same in ("no", "on", "12:30", "2026-11-21", "010", "1_000", "0x1f", "=", "<<", ".", "+")],
        *[("true", True), ("null", None), ("~", None), ("''", ""), ("'1'", "1"), ('"true"', "true")],
        *[("-3", -3), ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("0", 0), ("1.2.3", "1.2.3"), ("e5", "e5")],
    ],
)
def test_yaml_means_what_people_mean(write: Write, value: str, meant: object) -> None:
    [row] = opened(write("a.yaml", f"- language: {value}\n"))
    assert row.fields["language"] == meant
    assert type(row.fields["language"]) is type(meant)


def test_csv_has_a_header_and_leaves_out_what_is_empty(write: Write) -> None:
    rows = opened(write("a.csv", 'text,voice\r\n"One, two",en\r\n\r\n"Two\nlines",\r\nThree,de\r\n'))
    assert told(rows) == [
        Row(1, "line 2", {"text": "One, two", "voice": "en"}),
        Row(2, "line 4", {"text": "Two\nlines"}),
        Row(3, "line 6", {"text": "Three", "voice": "de"}),
    ]


def test_json_lines_are_objects(write: Write) -> None:
    rows = opened(write("a.jsonl", '{"text": "One", "options": {"a": [1]}}\n\n{"text": "Zwei"}'))
    assert told(rows) == [
        Row(1, "line 1", {"text": "One", "options": {"a": [1]}}),
        Row(2, "line 3", {"text": "Zwei"}),
    ]


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "text\nü\n"), ("a.jsonl", '{"text": "ü"}'), ("a.yaml", "- text: ü")]
)
def test_a_byte_order_mark_is_no_part_of_it(write: Write, name: str, text: str) -> None:
    [row] = opened(write(name, b"\xef\xbb\xbf" + text.encode()))
    assert row.fields == {"text": "ü"}


@pytest.mark.parametrize(
    ("name", "text"), [("a.csv", "text\na\n"), ("a.jsonl", '{"text": "a"}'), ("a.yaml", "- text: a")]
)
def test_a_second_time_reads_the_file_anew(write: Write, name: str, text: str) -> None:
    path = write(name, text)
    rows = opened(path)
    assert [row.fields["text"] for row in rows] == ["a"]
    path.write_text(text.replace("a", "b") if name == "a.yaml" else text[:-4] + text[-4:].replace("a", "b"))
    assert len(told(rows)) == 1
    path.unlink()
    with pytest.raises(InvalidRequest, match="no such file"):
        told(rows)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.yaml"])
def test_many_rows_take_no_memory(write: Write, name: str) -> None:
    row = {"a.csv": "{},some text\n", "a.jsonl": '{{"n": {}}}\n', "a.yaml": "- n: {}\n  text: some text\n"}[name]
    many = 20_000 if name == "a.yaml" else 100_000
    path = write(name, ("n,text\n" if name == "a.csv" else "") + "".join(map(row.format, range(many))))
    tracemalloc.start()
    try:
        assert sum(1 for _ in opened(path)) == many
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


# ── what is refused ──────────────────────────────────────────────────────────────────────────────

SECRET = "My spoken secret"
DEEP = "[" * (DEEPEST + 1) + "]" * (DEEPEST + 1)
BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nitems:\n- text: *b\n"

REFUSED = {
    "yaml/is empty": ("a.yaml", "", "has no rows"),
    "yaml/has no items": ("a.yaml", "voice: en\n", "has no rows"),
    "yaml/is text": ("a.yaml", SECRET, "neither a list nor a mapping"),
    "yaml/items are none": ("a.yaml", "items: a\n", "`items` is no list"),
    "yaml/is broken": ("a.yaml", f"- text: One\n- text: [{SECRET}\n- text: ", r"item 2 \(line 3\): is no YAML"),
    "yaml/bomb": ("a.yaml", BOMB, "anchor or an alias"),
    "yaml/alias": ("a.yaml", f"- text: {SECRET}\n- text: *a\n", r"item 2 \(line 2\): has an anchor"),
    "yaml/tag": ("a.yaml", "- text: !!python/object/apply:os.system ['true']\n", r"item 1 \(line 1\): has a tag"),
    "yaml/twice": ("a.yaml", f"- text: {SECRET}\n  text: b\n", r"item 1 \(line 2\): names a field twice"),
    "yaml/head twice": ("a.yaml", "voice: a\nvoice: b\nitems: [{text: a}]\n", "names a key twice"),
    "yaml/number as name": ("a.yaml", "- 1: a\n", "item 1: has a field whose name is not text"),
    "yaml/list as name": ("a.yaml", "- [a]: a\n", "key that is not text"),
    "yaml/deep": ("a.yaml", f"- text: {DEEP}\n", "item 1.*nested too deep"),
    "yaml/deeper": ("a.yaml", "- text: " + "[" * 20_000, "item 1"),
    "yaml/long": ("a.yaml", "- text: a\n- text: |\n" + "    word\n" * (LONGEST // 8), "item 2: is longer than"),
    "yaml/plain": ("a.yaml", f"- {SECRET}\n", "item 1: is no set of named fields"),
    "yaml/number": ("a.yaml", "- n: " + "9" * 5_000 + "\n", "item 1.*number that is none"),
    "yaml/endless": ("a.yaml", "- n: 1e999\n", "item 1: has a number that is none"),
    "yaml/two": ("a.yaml", "- text: a\n---\n- text: b\n", "second document"),
    "yaml/control": ("a.yaml", f"- text: {SECRET} \x07\n", "is no YAML"),
    "csv/empty": ("a.csv", "", "has no rows"),
    "csv/nameless": ("a.csv", "text,,voice\na,b,c\n", "line 1: names a column with nothing"),
    "csv/twice": ("a.csv", "text,voice,text\na,b,c\n", "line 1: names a column twice"),
    "csv/more": ("a.csv", f"text,voice\na,b\n{SECRET}, more,c\n", "line 3: has 3 fields where the header names 2"),
    "csv/quotes": ("a.csv", f'text\na\n"{SECRET}\n', "line 3: is no CSV"),
    "csv/long": ("a.csv", 'text\na\n"' + "word\n" * (LONGEST // 4), "line 3: is longer than"),
    "json/empty": ("a.jsonl", "\n", "has no rows"),
    "json/broken": ("a.jsonl", f'{{"text": "a"}}\n{{"text": "{SECRET}\n', "line 2: is no JSON, at its character 27"),
    "json/list": ("a.jsonl", f'["{SECRET}"]\n', "line 1: is no set of named fields"),
    "json/twice": ("a.jsonl", f'{{"text": "{SECRET}", "text": "b"}}', "line 1: names a field twice"),
    "json/nan": ("a.jsonl", '{"speed": NaN}', "line 1: is no JSON"),
    "json/digits": ("a.jsonl", '{"n": ' + "9" * 5_000 + "}", "line 1: is no JSON"),
    "json/deep": ("a.jsonl", f'{{"text": {DEEP}}}', "line 1: is nested too deep"),
    "json/deeper": ("a.jsonl", '{"text": ' + "[" * 100_000, "line 1: is nested too deep"),
    "json/half": ("a.jsonl", '{"text": "\\ud800"}', "line 1: has half of a character"),
    "json/half name": ("a.jsonl", '{"\\ud800": 1}', "line 1: has half of a character"),
    "json/escaped NUL": ("a.jsonl", '{"text": "ü\\u0000"}', "line 1: has a NUL"),
    "json/long": ("a.jsonl", json.dumps({"text": "a" * LONGEST}), "line 1: is longer than"),
    "any/latin": ("a.csv", "text\na\nGrüße\n".encode("latin-1"), "line 3: is not UTF-8"),
    "any/latin yaml": ("a.yaml", "- text: a\n- text: Grüße\n".encode("latin-1"), "line 2: is not UTF-8"),
    "any/utf-16": ("a.jsonl", '{"text": "a"}'.encode("utf-16"), "line 1: "),
    "any/NUL": ("a.csv", b"text\na\0b\n", "line 2: has a NUL byte"),
    "any/kind": ("a.txt", "text", "is no manifest"),
    "any/no kind": ("manifest", "text", "is no manifest"),
}


@pytest.mark.parametrize(("name", "what", "why"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_is_told_with_its_place_and_without_its_text(
    write: Write, name: str, what: str | bytes, why: str
) -> None:
    path = write(name, what)
    with pytest.raises(InvalidRequest, match=why) as refused:
        told(opened(path))
    assert name in str(refused.value)
    assert "secret" not in str(refused.value)


def test_only_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").mkdir()
    os.mkfifo(tmp_path / "b.csv")
    for name, why in (("a.csv", "is a folder"), ("b.csv", "no plain file"), ("c.csv", "no such file")):
        with pytest.raises(InvalidRequest, match=why):
            opened(tmp_path / name)
