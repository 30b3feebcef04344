"""Turns a manifest's mapping into a typed struct, and what is wrong with it into a sentence."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

import msgspec
from msgspec import inspect

from hammerwork.errors import HammerworkError

if TYPE_CHECKING:
    from collections.abc import Iterator

S = TypeVar("S", bound=msgspec.Struct)
_Step: TypeAlias = str | int | None
"""Of a path: a field, an index, or None for a key of a mapping that is not known."""

_SHOWN_CHARACTERS = 60


class ManifestError(HammerworkError, ValueError):
    """A manifest cannot be read, or a field of it holds something that it must not."""


def decode(raw: Any, kind: type[S], path: str) -> S:
    """Return `raw` as a `kind`; raises `ManifestError` that starts with the field's path below `path`."""
    if raw is None:
        raise ManifestError(f"{path}: missing, must be a mapping")
    value = convert(raw, kind, path)
    for unknown, allowed in _unknown_fields(raw, value, path):
        raise ManifestError(f"{unknown}: unknown field, must be one of {', '.join(allowed)}")
    return value


def convert(raw: Any, kind: type[S], path: str) -> S:
    """Return what a `kind` has of `raw`, whatever else is there; raises `ManifestError` as `decode` does."""
    try:
        return msgspec.convert(raw, kind)
    except msgspec.ValidationError as error:
        raise ManifestError(_explain(error, raw, kind, path)) from None


def _explain(error: msgspec.ValidationError, raw: object, kind: type[msgspec.Struct], path: str) -> str:
    what, _, where = str(error).partition(" - at `")
    steps = re.findall(r"\.([A-Za-z0-9_]+)|\[(\d+|\.\.\.)\]", where.rstrip("`"))
    names: list[_Step] = [name or (None if number == "..." else int(number)) for name, number in steps]
    if isinstance(error.__cause__, ValueError):  # a struct's own rule, in its own words
        return f"{_join(path, names)}: {error.__cause__}"
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", what):
        return f"{_join(path, [*names, missing[1]])}: missing, must be {_allowed_at(kind, [*names, missing[1]], None)}"
    if None in names:
        names = _named(str(error), raw, kind, names)
    seen = _value_at(raw, names)
    return f"{_join(path, names)}: {shown(seen)}, must be {_allowed_at(kind, names, seen)}"


def _named(message: str, raw: Any, kind: type[msgspec.Struct], names: list[_Step]) -> list[_Step]:
    """Return the path with the key of the mapping that it leads into, which the message leaves open."""
    mapping = _value_at(raw, before := names[: names.index(None)])
    for key in mapping if isinstance(mapping, dict) else ():
        try:
            msgspec.convert(_with(raw, before, {key: mapping[key]}), kind)
        except msgspec.ValidationError as error:
            if str(error) == message:
                return [*before, key, *names[len(before) + 1 :]]
    return names


def _with(raw: Any, names: list[_Step], value: object) -> Any:
    """Return a copy with another value at the path."""
    if not names:
        return value
    copy = raw.copy()
    copy[names[0]] = _with(raw[names[0]], names[1:], value)
    return copy


def _join(path: str, names: list[_Step]) -> str:
    for name in names:
        path += f".{name}" if isinstance(name, str) else f"[{'*' if name is None else name}]"
    return path


def _value_at(raw: Any, names: list[_Step]) -> Any:
    for name in names:
        if name is None or not isinstance(raw, dict | list):
            return raw
        raw = raw[name]  # type: ignore[index]
    return raw


def shown(value: object) -> str:
    """Return a value as messages show it: cut off where it is long, and then with its size."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    if len(text) <= _SHOWN_CHARACTERS:
        return text
    cut = f"{text[: _SHOWN_CHARACTERS - 1]}…"
    match value:
        case str():
            return f"{cut} ({len(value):,} characters)"
        case list():
            return f"{cut} ({len(value):,} items)"
        case dict():
            return f"{cut} ({len(value):,} entries)"
        case _:
            return cut


def _allowed_at(kind: type[msgspec.Struct], names: list[_Step], seen: object) -> str:
    found = _plain(inspect.type_info(kind))
    for name in names:
        found = _plain(_child(found, name))
    return _allowed(found, seen)


def _child(parent: inspect.Type, name: str | int | None) -> inspect.Type:
    if isinstance(parent, inspect.StructType):
        return next((field.type for field in parent.fields if field.encode_name == name), inspect.AnyType())
    if isinstance(parent, inspect.ListType):
        return parent.item_type
    if isinstance(parent, inspect.DictType):
        return parent.value_type
    return inspect.AnyType()


def _plain(found: inspect.Type) -> inspect.Type:
    """Strip notes, and the UNSET of a field that may be left out."""
    while isinstance(found, inspect.Metadata):
        found = found.type
    if isinstance(found, inspect.UnionType):
        # UNSET has no type of its own here: what is left of "T | UNSET" is T.
        return _plain(found.types[0])
    return found


def _allowed(found: inspect.Type, seen: object) -> str:
    match found:
        case inspect.IntType():
            text = _range(found.ge, found.le)
            text = text if isinstance(seen, int) and text else f"a whole number, {text}".rstrip(", ")
        case inspect.StrType():
            text = _sized("a text", "characters", found.min_length, found.max_length)
            text = f"{text} that matches {found.pattern}" if found.pattern else text
        case inspect.LiteralType():
            text = " or ".join(str(value) for value in found.values)
        case inspect.EnumType():
            text = " or ".join(str(member.value) for member in found.cls)
        case inspect.ListType():
            text = _sized("a list", "items", found.min_length, found.max_length)
        case inspect.DictType():
            text = _sized("a mapping", "entries", found.min_length, found.max_length)
        case inspect.StructType():
            text = f"a mapping with {', '.join(field.encode_name for field in found.fields)}"
        case inspect.BoolType():
            text = "true or false"
        case _:
            text = "any value of JSON"
    return text


def _range(low: int | None, high: int | None) -> str:
    if low is None:
        return ""
    return f"at least {low}" if high is None else f"{low} to {high}"


def _sized(noun: str, unit: str, low: int | None, high: int | None) -> str:
    if high is None:
        return noun
    return f"{noun} of {low} to {high} {unit}" if low else f"{noun} of at most {high} {unit}"


def _unknown_fields(raw: object, value: object, path: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    if isinstance(value, msgspec.Struct) and isinstance(raw, dict):
        fields = dict(zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True))
        for name, part in raw.items():
            if name not in fields:
                yield f"{path}.{name}", tuple(fields)
            else:
                yield from _unknown_fields(part, getattr(value, fields[name]), f"{path}.{name}")
    elif isinstance(value, list) and isinstance(raw, list):
        for position, (part, item) in enumerate(zip(raw, value, strict=True)):
            yield from _unknown_fields(part, item, f"{path}[{position}]")
