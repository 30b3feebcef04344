"""Reads the documents of a manifest as kubectl does: each becomes JSON, by the rules of sigs.k8s.io/yaml.

PyYAML's parser tells the events, and resolves nothing: what kubectl makes of a plain word, a key, a merge or a second
document is not what PyYAML does.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from hammerwork_cli.running.decoding import ManifestError
from hammerwork_cli.running.scalars import MERGE, TAG, json_value, key_text, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DEPTH = 600
"""How deep a document may be nested: more than any object that the API server takes."""

_SEPARATOR = "---"
_PEEKED_CHARACTERS = 4096
_BLANK = re.compile(r"\s*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_UTF16 = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


def read_documents(content: bytes) -> list[Any]:
    """Return what the documents of a file hold, without those that are empty.

    Raises:
        ManifestError: kubectl would not read it; says in which line. Or it is nested more than `MAX_DEPTH` deep.
    """
    text = _decoded(content)
    found: list[Any] = []
    start = 0
    if text[:_PEEKED_CHARACTERS].lstrip().startswith("{"):
        start = _read_json(text, found)
    for first_line, chunk in _chunks(text[start:], 1 + text.count("\n", 0, start)):
        found.append(_Document(chunk, first_line).read())
    for document in found:
        _check_depth(document)
    return [document for document in found if document is not None]


def _decoded(content: bytes) -> str:
    for mark, encoding in _UTF16.items():
        if content.startswith(mark):
            return content.removeprefix(mark).decode(encoding, errors="replace")
    return content.removeprefix(codecs.BOM_UTF8).decode(errors="replace")


def _read_json(text: str, found: list[Any]) -> int:
    """Add the JSON objects that stand at the beginning of a text; return where the text goes on as YAML."""
    decoder = json.JSONDecoder(parse_constant=_refuse, parse_int=_json_number, parse_float=_json_number)
    position, line = 0, 1
    while (begin := _after_blanks(text, position)) < len(text):
        line += text.count("\n", position, begin)
        try:
            document, end = decoder.raw_decode(text, begin)
        except RecursionError:
            raise _too_deep() from None
        except OverflowError as error:
            raise ManifestError(f"line {line}: not JSON: {error}") from None
        except ValueError as error:
            if len(found) > 1:
                raise ManifestError(f"line {line}: not JSON: {error}") from None
            # Up to the end of a line there may be blanks, which a YAML document must not begin with.
            end = text.find("\n", position, begin)
            return begin if end < 0 else end + 1
        line += text.count("\n", begin, end)
        position = end
        found.append(document)
    return len(text)


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"JSON has no number {constant}")


def _json_number(digits: str) -> object:
    value = float(digits)
    if math.isinf(value):
        raise OverflowError(f"a number of {len(digits)} digits is too large")
    return json_value(int(digits) if digits.lstrip("-").isdecimal() else value)


def _chunks(text: str, line: int) -> Iterator[tuple[int, str]]:
    """Yield each document with the number of its first line; kubectl looks for the separators before it parses."""
    chunk: list[str] = []
    lines = text.split("\n")
    for number, content in enumerate(lines[:-1] if not lines[-1] else lines, start=line):
        if content.startswith(_SEPARATOR):
            after = content.removeprefix(_SEPARATOR).strip()
            if after and not after.startswith("#"):
                raise ManifestError(f"line {number}: not YAML: {after[:60]!r} in the line of a document separator")
            if chunk:
                yield number - len(chunk), "\n".join([*chunk, ""])
                chunk = []
                continue
        chunk.append(content.removesuffix("\r"))
    if chunk:
        yield line + len(lines) - 1 - len(chunk) + bool(lines[-1]), "\n".join([*chunk, ""])


def _check_depth(document: Any) -> None:
    values = [document]
    for _ in range(MAX_DEPTH + 1):
        values = [
            member
            for value in values
            if isinstance(value, dict | list)
            for member in (value.values() if isinstance(value, dict) else value)
        ]
        if not values:
            return
    raise _too_deep()


def _too_deep() -> ManifestError:
    return ManifestError(f"nested more than {MAX_DEPTH} deep, the limit")


class _Node:
    """A node of a document; the value of a scalar is what it was resolved to, of any other what it is in JSON."""

    def __init__(self, line: int, *, scalar: bool = False, value: Any = None, is_merge: bool = False) -> None:
        self.line = line
        self.is_scalar = scalar
        self.value = value
        self.is_merge = is_merge
        self.is_open = False
        self.is_flow = False
        self.children: list[_Node] = []
        self.nodes = 1
        """How many nodes there are from here on, when each alias is replaced by what it stands for."""
        self.aliased = 0
        """How many of them are below an alias."""

    def alias(self, line: int) -> _Node:
        """Return another node with the same value."""
        node = _Node(line, scalar=self.is_scalar, value=self.value)
        node.nodes, node.aliased = 1 + self.nodes, self.nodes
        return node

    def json(self) -> Any:
        """Return the value as it is in JSON."""
        return json_value(self.value) if self.is_scalar else self.value

    def close(self, value: Any) -> None:
        """Give a sequence or a mapping its value, when all its children are there."""
        self.value = value
        self.nodes += sum(child.nodes for child in self.children)
        self.aliased = sum(child.aliased for child in self.children)
        self.children = []
        self.is_open = False


class _Document:
    """One YAML document."""

    def __init__(self, text: str, first_line: int) -> None:
        self._text = text
        self._first_line = first_line
        self._anchors: dict[str, _Node] = {}
        self._open: list[_Node] = []

    def read(self) -> Any:
        """Return what the document holds; what follows an end of document in the text does not count."""
        root = None
        try:
            for event in yaml.parse(self._text, Loader=yaml.CSafeLoader):
                if isinstance(event, yaml.DocumentEndEvent):
                    break
                node = self._node(event)
                root = root or node
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line if error.problem_mark else 0
            self._fail(self._first_line + line, error.problem or "cannot be parsed")
        except yaml.YAMLError as error:
            self._fail(self._first_line, " ".join(str(error).split()))
        if root is None:
            return None
        _check_aliases(root)
        return self._checked(root, root.json)

    def _fail(self, line: int, why: object) -> NoReturn:
        raise ManifestError(f"line {line}: not YAML: {why}") from None

    def _checked(self, node: _Node, read: Any) -> Any:
        try:
            return read()
        except ValueError as error:
            self._fail(node.line, error)

    def _node(self, event: yaml.Event) -> _Node | None:
        line = self._first_line + (event.start_mark.line if event.start_mark else 0)
        if isinstance(event, yaml.SequenceEndEvent):
            node = self._open.pop()
            node.close([self._checked(child, child.json) for child in node.children])
            return None
        if isinstance(event, yaml.MappingEndEvent):
            node = self._open.pop()
            node.close(self._mapping(node.children))
            return None
        if isinstance(event, yaml.AliasEvent):
            node = self._alias(str(event.anchor), line)
        elif isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event, line)
        elif isinstance(event, yaml.CollectionStartEvent):
            node = _Node(line)
            node.is_open = True
            node.is_flow = bool(event.flow_style)
        else:
            return None
        if self._open:
            self._open[-1].children.append(node)
        if event.anchor and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = node
        if node.is_open:
            self._open.append(node)
        return node

    def _alias(self, name: str, line: int) -> _Node:
        if name not in self._anchors:
            self._fail(line, f"unknown anchor {name!r}")
        target = self._anchors[name]
        if target.is_open:
            self._fail(line, f"anchor {name!r} contains itself")
        return target.alias(line)

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> _Node:
        is_plain = event.implicit[0]
        self._check_spelling(event, line)
        if event.tag is None and not is_plain:
            return _Node(line, scalar=True, value=event.value)
        is_merge = event.value == MERGE and (is_plain or event.tag == f"{TAG}merge")
        try:
            return _Node(line, scalar=True, value=resolve(event.value, event.tag), is_merge=is_merge)
        except ValueError as error:
            self._fail(line, error)

    def _check_spelling(self, event: yaml.ScalarEvent, line: int) -> None:
        """Refuse what this parser reads, and kubectl's does not."""
        if not event.style and "?" in event.value and self._open and self._open[-1].is_flow:
            self._fail(line, f"{event.value[:60]!r} has a '?' within [] or {{}}: put it into quotes")
        if event.style == '"' and event.start_mark and event.end_mark:
            source = self._text[event.start_mark.index : event.end_mark.index]
            if "\\/" in source and "/" in _ESCAPED.findall(source):
                self._fail(line, "found unknown escape character '\\/'")

    def _mapping(self, children: list[_Node]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in zip(children[::2], children[1::2], strict=True):
            if key.is_merge:
                for merged in self._merged(value):
                    found.update(merged)
            elif not key.is_scalar:
                self._fail(key.line, "a key is a list or a mapping")
            else:
                found[self._checked(key, lambda key=key: key_text(key.value))] = self._checked(value, value.json)
        return found

    def _merged(self, node: _Node) -> list[dict[str, Any]]:
        """Return what is merged in place of a key `<<`; the last one wins, and all win over keys before them."""
        mappings = list(reversed(node.value)) if isinstance(node.value, list) else [node.value]
        if not all(isinstance(mapping, dict) for mapping in mappings):
            self._fail(node.line, "<< needs a mapping or a list of mappings")
        return mappings


def _check_aliases(root: _Node) -> None:
    """Refuse a document that aliases blow up, by go-yaml's own measure."""
    if root.aliased > 100 and root.nodes > 1000 and root.aliased / root.nodes > _allowed_share(root.nodes):
        raise ManifestError(f"line {root.line}: not YAML: too many aliases, the document stands for {root.nodes} nodes")


def _allowed_share(nodes: int) -> float:
    low, high = 400_000, 4_000_000
    return 0.99 - 0.89 * min(1.0, max(0.0, (nodes - low) / (high - low)))
