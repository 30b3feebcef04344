"""Texts that hold jobs: what is read, and how a bad one is told."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork_operator.sources import shards
from hammerwork_operator.sources.source import InvalidSourceError

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)
_COLUMN = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=5)


def read(key: str, content: bytes) -> list[Any]:
    return list(shards.payloads(key, content, "here"))


def refused(key: str, content: bytes) -> str:
    with pytest.raises(InvalidSourceError) as caught:
        read(key, content)
    return str(caught.value)


@pytest.fixture(params=[1, 2, 3, 7, 64 * 1024])
def piece_bytes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Texts come in pieces of this size."""
    monkeypatch.setattr(shards, "_PIECE_BYTES", request.param)
    return int(request.param)


SEVERAL: list[Any] = [{"a": [1, {"b": ']},{[\\"'}]}, "x,]", [], {}, None, -1.5, "\\", "é\n", ["[", '"'], True]


@pytest.mark.usefixtures("piece_bytes")
@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n \n"], ids=repr)
@pytest.mark.parametrize("begin", ["", "\ufeff"], ids=repr)
def test_lines_and_arrays_of_json_are_read_piece_by_piece(begin: str, end: str) -> None:
    lines = begin + end.join(json.dumps(value, ensure_ascii=False) for value in SEVERAL)
    assert read("a.ndjson", lines.encode()) == read("a.jsonl.gz", gzip.compress((lines + end).encode())) == SEVERAL
    array = begin + end + json.dumps(SEVERAL, indent=1, ensure_ascii=False) + end
    assert read("a.json", array.encode()) == read("a.json.gz", gzip.compress(array.encode())) == SEVERAL


@given(st.lists(_JSON, min_size=1), st.integers(0, 3))
def test_whatever_json_says_is_read(values: list[Any], indent: int) -> None:
    assert read("a.json", json.dumps(values, indent=indent or None).encode()) == values
    assert read("a.ndjson", "\n".join(map(json.dumps, values)).encode()) == values


@given(
    st.lists(_COLUMN, min_size=2, max_size=4, unique=True).flatmap(
        lambda header: st.tuples(
            st.just(header), st.lists(st.lists(_COLUMN, min_size=len(header), max_size=len(header)), min_size=1)
        )
    )
)
def test_csv_is_read_as_it_was_written(table: tuple[list[str], list[list[str]]]) -> None:
    header, rows = table
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    assert read("a.csv", text.getvalue().encode()) == [dict(zip(header, row, strict=True)) for row in rows]


@pytest.mark.usefixtures("piece_bytes")
def test_csv_has_texts_with_commas_quotes_and_line_ends() -> None:
    text = '\ufeffid,note\r\n\r\n1,"a, ""b""\r\nc"\r\n2,é\r\n'
    expected = [{"id": "1", "note": 'a, "b"\r\nc'}, {"id": "2", "note": "é"}]
    assert read("a.csv", text.encode()) == read("a.csv.gz", gzip.compress(text.encode())) == expected


def test_empty_lines_within_a_field_of_csv_are_part_of_it() -> None:
    rows = shards.MAX_EMPTY_LINES + 1
    found = read("a.csv", b"id,text\n" + b'1,"para\n\n\npara"\n' * rows)
    assert found == [{"id": "1", "text": "para\n\n\npara"}] * rows


_PARTS = ["[", "]", "{", "}", ",", ":", " ", '"', "\\", '"a":', "1", "-", "null", '"}]"', '{"a": [1]}', "[[], {}]"]


def _check_is_read_as_json_says(text: str) -> None:
    try:
        expected = json.loads(text)
        json.dumps(expected, ensure_ascii=False, allow_nan=False).encode()
    except ValueError:  # it is not JSON, or has half a character or a number that no database stores
        refused("a.json", text.encode())
    else:
        assert (read("a.json", text.encode()) if expected else []) == expected


@given(st.lists(st.sampled_from(_PARTS), max_size=8).map("".join), st.sampled_from(["]", "}"]), st.integers(1, 9))
def test_an_array_is_read_if_it_is_json_and_as_that(inside: str, end: str, piece_bytes: int) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(shards, "_PIECE_BYTES", piece_bytes)
        _check_is_read_as_json_says(f"[{inside}{end}")


@given(st.lists(_JSON, min_size=1).map(json.dumps), st.data())
def test_an_array_with_a_fault_is_read_only_if_it_is_json_all_the_same(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(1, len(text)))
    stop = start + data.draw(st.integers(0, 1))
    _check_is_read_as_json_says(text[:start] + data.draw(st.sampled_from(["", *_PARTS])) + text[stop:])


@pytest.mark.timeout(60)  # reading it again with each byte takes many minutes
@pytest.mark.parametrize(("key", "begin"), [("a.json.gz", b'["'), ("a.ndjson.gz", b'"'), ("a.csv.gz", b'a\n"')])
def test_a_job_in_very_many_members_of_gzip_is_refused_as_fast_as_it_is_read(key: str, begin: bytes) -> None:
    content = gzip.compress(begin + b"x" * 100_000 + b"\n" * 1_900_000) + gzip.compress(b"x") * 40_000
    assert refused(key, content).startswith("here: ")


def test_gzip_of_several_members_is_one_text() -> None:
    assert read("a.ndjson.gz", gzip.compress(b"1\n2") + gzip.compress(b"3\n")) == [1, 23]


LONG = b'"' + b"x" * shards.MAX_JOB_BYTES + b'"'


@pytest.mark.parametrize(
    ("key", "content", "told"),
    [
        ("a.ndjson", b'{"a": 1}\n\n{"a": }\n', "here: line 3: not JSON: invalid character (byte 6)"),
        ("a.ndjson", b"1\n2 3\n", "here: line 2: not JSON: trailing characters (byte 3)"),
        ("a.ndjson", b"1" + b"\n" * 1_002, "here: line 1002: more than 1,000 empty lines, the limit"),
        ("a.csv", b"a\n" + b"\r\n" * 1_001, "here: line 1002: more than 1,000 empty lines, the limit"),
        ("a.ndjson", b'1\n"\xff"', "here: line 2: not UTF-8: invalid start byte at byte 2"),
        ("a.ndjson", b"\n \r\n", "here: no job in it"),
        ("a.ndjson", b"", "here: no job in it"),
        ("a.ndjson", b"1\n" + LONG, "here: line 2: longer than 2,097,152 bytes, the limit"),
        ("a.ndjson", b"1\n" + LONG + b"\n1", "here: line 2: longer than 2,097,152 bytes, the limit"),
        ("a.ndjson", b"1\nNaN", "here: line 2: not JSON: invalid character (byte 0)"),
        (
            "a.ndjson",
            b"[" * 3000,
            "here: line 1: not JSON: maximum recursion depth exceeded while deserializing an object",
        ),
        ("a.csv", b"a,b\n1,2\n3\n", "here: line 3: 1 columns, but the header has 2"),
        ("a.csv", b'a,b\n"1\n1",2\n3,4,5\n', "here: line 4: 3 columns, but the header has 2"),
        ("a.csv", b"a,b,a\n1,2,3\n", "here: line 1: the header has the column 'a' twice"),
        ("a.csv", b"a,,b\n1,2,3\n", "here: line 1: column 2 of the header has no name"),
        ("a.csv", b"a,b\n", "here: no job in it"),
        ("a.csv", b'a,b\n1,2\n3,"4', "here: line 3: not CSV: unexpected end of data"),
        ("a.csv", b'a,b\n1,"2"x\n', "here: line 2: not CSV: ',' expected after '\"'"),
        ("a.csv", b"a\n\xe9\n", "here: line 2: not UTF-8: invalid continuation byte at byte 1"),
        ("a.csv", b"a\n" + b"x" * 200_000, "here: line 2: not CSV: field larger than field limit (131072)"),
        ("a.json", b'{"a": 1}', "here: not an array of JSON: it must begin with '['"),
        ("a.json", b"", "here: not an array of JSON: it must begin with '['"),
        ("a.json", b" [ ] ", "here: no job in it"),
        ("a.json", b"[1, 2,]", "here: element 3: not JSON: Input data was truncated"),
        ("a.json", b"[1, {]", "here: not JSON: the array does not end"),
        ("a.json", b"[1, }", "here: element 2: not JSON: a '}' that closes nothing"),
        ("a.json", b"[1}", "here: element 1: not JSON: a '}' that closes nothing"),
        ("a.json", b'[{"a":1}}', "here: element 1: not JSON: a '}' that closes nothing"),
        ("a.csv", b'a\n1\n"' + b'aa\n","' * 500_000, "here: line 3: longer than 2,097,152 bytes, the limit"),
        ("a.json", b'[1, "]', "here: not JSON: the array does not end"),
        ("a.json", b"[1] [2]", "here: not JSON: something follows the array"),
        ("a.json", b'[1, {"a": x}]', "here: element 2: not JSON: invalid character (byte 6)"),
        ("a.json", b'[1, "\xff"]', "here: element 2: not UTF-8: invalid start byte"),
        ("a.json", b"[1, " + LONG + b"]", "here: element 2: longer than 2,097,152 bytes, the limit"),
        ("a.ndjson.gz", b"1\n2\n", "here: not gzip: Error -3 while decompressing data: incorrect header check"),
        ("a.ndjson.gz", gzip.compress(b"1\n2\n", mtime=0)[:-3], "here: not gzip: the end is missing"),
        ("a.ndjson.gz", b"", "here: no job in it"),
    ],
)
def test_what_is_bad_is_told_with_its_place_and_the_reason(key: str, content: bytes, told: str) -> None:
    assert refused(key, content) == told


def test_a_bomb_is_refused_without_being_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_UNPACKED_BYTES", 8_000_000)
    bomb = gzip.compress((b" " * 1_000_000 + b"1\n") * 40)
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        told = refused("a.ndjson.gz", bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert told == (
        f"here: {len(bomb):,} bytes that unpack to more than 8,000,000, the limit; cut it into several shards"
    )
    assert peak < 8_000_000


@pytest.mark.parametrize("key", ["a.json.gz", "a.ndjson.gz"])
def test_a_large_text_is_never_whole_in_memory(key: str) -> None:
    line = json.dumps({"n": "x" * 5_000, "list": list(range(10))})
    text = "[" + ",".join([line] * 1_000) + "]" if ".json." in key else "\n".join([line] * 1_000)
    packed = gzip.compress(text.encode(), 1)
    tracemalloc.start()
    try:
        assert sum(1 for _ in shards.payloads(key, packed, "here")) == 1_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000 < len(text) // 5
