"""Texts that hold jobs: lines of JSON, an array of JSON, or CSV, packed or not. Read as streams, with bounds."""

from __future__ import annotations

import codecs
import csv
import re
import zlib
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.batch import MAX_PAYLOAD_BYTES
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_UNPACKED_BYTES = 256 * 1024 * 1024
"""Of one shard. A ConfigMap has 1 MiB, of which gzip can make a thousand times as much."""
MAX_JOB_BYTES = 2 * MAX_PAYLOAD_BYTES
"""Of the text of one job, a row of CSV as a whole: escapes and spaces may make it longer than the payload."""
MAX_EMPTY_LINES = 1_000
"""Of one shard, not within a field of CSV. They make no job, and a packed one may have very many."""

_PIECE_BYTES = 64 * 1024
_PACKED_PIECE_BYTES = 4 * 1024
_PACKED = ".gz"
_SHOWN_CHARACTERS = 100
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:(")|\\?\Z)|[\[\]{},]', re.DOTALL)
"""A text, whole or cut off by the end, or what structures JSON."""
_SPACE = b" \t\r\n"


_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'


def _nested(levels: int) -> bytes:
    """Return the pattern of what stands in brackets that are nested at most so deep."""
    deeper = rb"|" + _nested(levels - 1) if levels > 1 else b""
    return rb'[\[{](?:[^"\[\]{}]++|' + _STRING + deeper + rb")*+[\]}]"


_ELEMENT = re.compile(rb"\s*+(" + _nested(4) + rb"|" + _STRING + rb'|[^"\[\]{},\s]++)\s*+([,\]])', re.DOTALL)
"""An element that is not deep, as most are, with what ends it: found at once, not token by token."""


def payloads(key: str, content: bytes, where: str) -> Iterator[Any]:
    """Yield the payloads that a text holds; its format follows from the end of its key.

    Raises:
        InvalidSourceError: It holds none, or a bad one, or too much; with `where`, the line or element, and the reason.
    """
    name = key.removesuffix(_PACKED)
    pieces = _joined(_unpacked(content, where)) if name != key else _cut(content)
    read = _READERS[name.rpartition(".")[2]]
    count = 0
    for payload in read(pieces, where):
        count += 1
        yield payload
    if count == 0:
        raise InvalidSourceError(f"{where}: no job in it")


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _PIECE_BYTES):
        yield content[start : start + _PIECE_BYTES]


def _unpacked(content: bytes, where: str) -> Iterator[bytes]:
    """Yield what gzip has packed, of one member or several, in pieces of bounded size."""
    unpacker, size = zlib.decompressobj(wbits=31), 0
    begun = False
    for start in range(0, len(content), _PACKED_PIECE_BYTES):
        packed = content[start : start + _PACKED_PIECE_BYTES]
        while packed:
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)
            begun = True
            try:
                piece = unpacker.decompress(packed, _PIECE_BYTES)
            except zlib.error as error:
                raise InvalidSourceError(f"{where}: not gzip: {error}") from None
            packed = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
            size += len(piece)
            if size > MAX_UNPACKED_BYTES:
                raise InvalidSourceError(
                    f"{where}: {len(content):,} bytes that unpack to more than {MAX_UNPACKED_BYTES:,}, the limit; "
                    "cut it into several shards"
                )
            yield piece
    if begun and not unpacker.eof:
        raise InvalidSourceError(f"{where}: not gzip: the end is missing")


def _joined(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces put together to large ones: what a job has so far is read again with each that it goes on in."""
    held, size = [], 0
    for piece in pieces:
        if piece:
            held.append(piece)
            size += len(piece)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _lines(pieces: Iterable[bytes], where: str) -> Iterator[tuple[int, bytes]]:
    """Yield the number of each line, from 1, and the line with its end."""
    number, begun = 1, b""
    for piece in pieces:
        *ended, begun_next = piece.split(b"\n")
        for end in ended:
            line = begun + end + b"\n"
            _check_length(len(line), f"{where}: line {number}")
            yield number, line
            number, begun = number + 1, b""
        begun += begun_next
        _check_length(len(begun), f"{where}: line {number}")
    if begun:
        yield number, begun


def _text(line: bytes, where: str) -> str:
    if line.startswith(codecs.BOM_UTF8) and where.endswith(": line 1"):
        line = line[len(codecs.BOM_UTF8) :]
    try:
        return line.decode()
    except UnicodeDecodeError as error:
        raise InvalidSourceError(f"{where}: not UTF-8: {error.reason} at byte {error.start + 1}") from None


def _check_empty(count: int, where: str) -> None:
    if count > MAX_EMPTY_LINES:
        raise InvalidSourceError(f"{where}: more than {MAX_EMPTY_LINES:,} empty lines, the limit")


def _check_length(size: int, where: str) -> None:
    if size > MAX_JOB_BYTES:
        raise InvalidSourceError(f"{where}: longer than {MAX_JOB_BYTES:,} bytes, the limit")


def _decoded(text: str | bytes, where: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidSourceError(f"{where}: not UTF-8: {error.reason}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidSourceError(f"{where}: not JSON: {str(error).removeprefix('JSON is malformed: ')}") from None


def _json_lines(pieces: Iterable[bytes], where: str) -> Iterator[Any]:
    empty = 0
    for number, line in _lines(pieces, where):
        place = f"{where}: line {number}"
        text = _text(line, place)
        if text.isspace():
            _check_empty(empty := empty + 1, place)
        else:
            yield _decoded(text, place)


def _csv(pieces: Iterable[bytes], where: str) -> Iterator[dict[str, str]]:
    begin, size, empty = 1, 0, 0

    def texts() -> Iterator[str]:
        nonlocal size
        for number, line in _lines(pieces, where):
            _check_length(size := size + len(line), f"{where}: line {begin}")
            yield _text(line, f"{where}: line {number}")

    rows = csv.reader(texts(), strict=True)
    header: list[str] = []
    while True:
        begin, size = rows.line_num + 1, 0
        try:
            row = next(rows, None)
        except csv.Error as error:
            raise InvalidSourceError(f"{where}: line {begin}: not CSV: {error}") from None
        if row is None:
            return
        if not row:
            _check_empty(empty := empty + 1, f"{where}: line {begin}")
        elif not header:
            header = _header(row, f"{where}: line {begin}")
        elif len(row) != len(header):
            raise InvalidSourceError(f"{where}: line {begin}: {len(row):,} columns, but the header has {len(header):,}")
        else:
            yield dict(zip(header, row, strict=True))


def _header(row: list[str], where: str) -> list[str]:
    seen = set()
    for position, name in enumerate(row):
        if not name:
            raise InvalidSourceError(f"{where}: column {position + 1} of the header has no name")
        if name in seen:
            raise InvalidSourceError(f"{where}: the header has the column {_shown(name)} twice")
        seen.add(name)
    return row


def _json_array(pieces: Iterable[bytes], where: str) -> Iterator[Any]:
    for number, text in enumerate(_elements(pieces, where), 1):
        yield _decoded(text, f"{where}: element {number}")


def _elements(pieces: Iterable[bytes], where: str) -> Iterator[bytes]:
    """Yield the text of each element of an array, without a look at what is right within it."""
    coming = iter(pieces)
    text, start, count, ended = _opened(coming, where), 1, 0, False
    while not ended:
        count += 1
        if whole := _ELEMENT.match(text, start):
            element, end, start = whole[1], whole[2], whole.end()
        else:
            text, start, stop = _scanned(text, start, coming, f"{where}: element {count}", where)
            element, end, start = text[start:stop].strip(_SPACE), text[stop : stop + 1], stop + 1
        ended = end != b","
        if element or count > 1 or not ended:
            yield element
    _check_end(text[start:], coming, where)


def _scanned(text: bytes, start: int, coming: Iterator[bytes], element: str, where: str) -> tuple[bytes, int, int]:
    """Return the text, with what had to be added to it, and where the element in it starts and stops."""
    scan, depth = start, 0
    while True:
        found = _TOKEN.search(text, scan)
        if found is None or (found[0][:1] == b'"' and found[1] is None):
            _check_length(len(text) - start, element)
            more = next(coming, None)
            if more is None:
                raise InvalidSourceError(f"{where}: not JSON: the array does not end")
            here = len(text) if found is None else found.start()
            text, scan, start = text[start:] + more, here - start, 0
            continue
        scan, token = found.end(), found[0]
        if token in b"[{":
            depth += 1
        elif depth and token in b"]}":
            depth -= 1
        elif token == b"}":
            raise InvalidSourceError(f"{element}: not JSON: a '}}' that closes nothing")
        elif not depth and token in b",]":
            _check_length(found.start() - start, element)
            return text, start, found.start()


def _opened(pieces: Iterator[bytes], where: str) -> bytes:
    """Return the text from the bracket of the array on, as far as the first piece with it goes."""
    text, size = b"", 0
    for piece in pieces:
        text = (text + piece).removeprefix(codecs.BOM_UTF8).lstrip(_SPACE)
        if len(text) > 3:  # the BOM may come in two pieces
            break
        _check_length(size := size + len(piece), f"{where}: what precedes the array")
    if text[:1] != b"[":
        raise InvalidSourceError(f"{where}: not an array of JSON: it must begin with '['")
    return text


def _check_end(text: bytes, pieces: Iterator[bytes], where: str) -> None:
    size = 0
    while not text.strip(_SPACE):
        _check_length(size := size + len(text), f"{where}: what follows the array")
        if (more := next(pieces, None)) is None:
            return
        text = more
    raise InvalidSourceError(f"{where}: not JSON: something follows the array")


def _shown(name: str) -> str:
    return repr(name if len(name) <= _SHOWN_CHARACTERS else name[: _SHOWN_CHARACTERS - 1] + "…")


_READERS: dict[str, Callable[[Iterable[bytes], str], Iterator[Any]]] = {
    "ndjson": _json_lines,
    "jsonl": _json_lines,
    "json": _json_array,
    "csv": _csv,
}

FORMATS = tuple(_READERS)
