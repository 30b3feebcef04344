"""Payload templates, compiled once for all jobs of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hammerwork import placeholders
from hammerwork.batch import MAX_PAYLOAD_DEPTH
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hammerwork.placeholders import Placeholder

Render = Any
"""A function (index, values) that makes a payload or a part of it."""

INDEX = "index"


class Template(NamedTuple):
    """A payload template."""

    render: Callable[[int, Mapping[str, Any]], Any]
    """Makes the payload of a job of its index and the values of the other names."""
    places: list[tuple[str, Placeholder]]
    """Each placeholder with the place where it stands."""


class _Part(NamedTuple):
    fixed: Any
    """What it is, if nothing in it moves."""
    render: Callable[[int, Mapping[str, Any]], Any] | None
    """Makes it, if something does."""


def compile_template(template: Any, where: str, names: Mapping[str, bool]) -> Template:
    """Return the template ready for use.

    In every string value, placeholders are replaced by what they stand for; a string that is nothing but a placeholder
    becomes the value with its type. Parts without a placeholder are not copied, so the payloads share them.

    Args:
        template: Any JSON value.
        where: Its path in the object.
        names: The names of placeholders that there are beside ``index``, and for each whether it may have a path.

    Raises:
        InvalidSourceError: A placeholder has another name, is not closed, or stands in a key; or the template is nested
            too deep.
    """
    compiler = _Compiler({INDEX: False, **names}, where)
    fixed, render = compiler.compile(template, where, 1)
    return Template(render or (lambda _index, _values: fixed), compiler.places)


class _Compiler:
    def __init__(self, names: Mapping[str, bool], root: str) -> None:
        self._names = names
        self._root = root
        self.places: list[tuple[str, Placeholder]] = []

    # One frame for each level, here and when rendering: the interpreter's limit is just above that of payloads.
    def compile(self, template: Any, where: str, depth: int) -> _Part:
        if isinstance(template, str):
            return self._text(template, where)
        if not isinstance(template, dict | list):
            return _Part(template, None)
        if depth > MAX_PAYLOAD_DEPTH:
            raise InvalidSourceError(f"{self._root}: nested more than {MAX_PAYLOAD_DEPTH} deep, the limit")
        fixed = template.copy()
        moving = []
        for key, value in list(template.items() if isinstance(template, dict) else enumerate(template)):
            if isinstance(key, str) and "{{" in key:
                raise InvalidSourceError(f"{where}: the key {key!r} has a placeholder; they are for values only")
            place = f"{where}.{key}" if isinstance(template, dict) else f"{where}[{key}]"
            fixed[key], render = self.compile(value, place, depth + 1)
            if render is not None:
                moving.append((key, render))
        return _Part(fixed, _filled(fixed, moving) if moving else None)

    def _text(self, template: str, where: str) -> _Part:
        try:
            texts, found = placeholders.parse(template, self._names)
        except placeholders.PlaceholderError as error:
            raise InvalidSourceError(f"{where}: {error}") from None
        self.places += [(where, placeholder) for placeholder in found]
        if not found:
            return _Part(texts[0], None)
        values = [_value(placeholder) for placeholder in found]
        return _Part(None, values[0] if texts == ["", ""] else _joined(texts, values))


def _filled(fixed: Any, moving: list[tuple[Any, Render]]) -> Render:
    def render(index: int, values: Mapping[str, Any]) -> Any:
        made = fixed.copy()
        for key, part in moving:
            made[key] = part(index, values)
        return made

    return render


def _joined(texts: list[str], values: list[Render]) -> Render:
    if values == [_index]:
        before, after = texts
        return lambda index, _: f"{before}{index}{after}"
    first, *others = texts
    pairs = list(zip(values, others, strict=True))

    def render(index: int, given: Mapping[str, Any]) -> str:
        made = [first]
        for value, text in pairs:
            made += (placeholders.as_text(value(index, given)), text)
        return "".join(made)

    return render


def _index(index: int, _: Mapping[str, Any]) -> int:
    return index


def _value(placeholder: Placeholder) -> Render:
    name, path = placeholder
    if name == INDEX:
        return _index
    if not path:
        return lambda _, values: values[name]
    return lambda _, values: placeholders.look_up(values[name], path)
