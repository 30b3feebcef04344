"""Payload templates, compiled once for all jobs of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hammerwork import placeholders
from hammerwork_operator.sources.source import InvalidSourceError

if TYPE_CHECKING:
    from collections.abc import Callable

_INDEX = "index"


def compile_template(template: Any, where: str) -> Callable[[int], Any]:
    """Return the function that makes the payload of the job with a given index.

    In every string value ``{{ index }}`` is replaced by the index; a string that is nothing but the placeholder becomes
    the integer. Keys are left alone. Parts without a placeholder are not copied, so the payloads share them.

    Raises:
        InvalidSourceError: A placeholder is not ``index``; `where` is the path of the template in the object.
    """
    return _compile(template, where) or (lambda _: template)


def _compile(template: Any, where: str) -> Callable[[int], Any] | None:
    """Like `compile_template`, but None where nothing depends on the index."""
    if isinstance(template, str):
        return _compile_text(template, where)
    if isinstance(template, dict):
        entries = {key: _compile(value, f"{where}.{key}") for key, value in template.items()}
        moving = {key: render for key, render in entries.items() if render is not None}
        if not moving:
            return None
        return lambda index: {**template, **{key: render(index) for key, render in moving.items()}}
    if isinstance(template, list):
        items = [_compile(value, f"{where}[{position}]") for position, value in enumerate(template)]
        if not any(items):
            return None
        pairs = list(zip(template, items, strict=True))
        return lambda index: [value if render is None else render(index) for value, render in pairs]
    return None


def _compile_text(template: str, where: str) -> Callable[[int], Any] | None:
    texts, named = placeholders.split(template)
    for name in named:
        if name.strip() != _INDEX:
            message = f"unknown placeholder '{{{{{name}}}}}'; the only one is '{{{{ index }}}}'"
            raise InvalidSourceError(f"{where}: {message}")
    if not named:
        return None
    if texts == ["", ""]:
        return lambda index: index
    return lambda index: str(index).join(texts)
