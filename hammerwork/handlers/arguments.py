"""The arguments of a command, with placeholders for what differs from job to job. No shell has a part in it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import msgspec

from hammerwork import placeholders
from hammerwork.errors import HandlerError, JobFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hammerwork.batch import Job

_FACTS: dict[str, Callable[[Job], str]] = {"index": lambda job: str(job.index), "id": lambda job: job.id}
_NAMES = {"payload": True, **dict.fromkeys(_FACTS, False)}


def compile_arguments(command: Sequence[str]) -> Callable[[Job], list[str]]:
    """Return the function that makes the arguments for a job, the command's name first.

    It raises `JobFailedError` for a job whose payload has nothing where a placeholder looks.

    Raises:
        HandlerError: A placeholder is none of ``{{ payload.PATH }}``, ``{{ payload }}``, ``{{ index }}``, ``{{ id }}``,
            or is not closed.
    """
    fixed: list[str] = []
    moving: list[tuple[int, Callable[[Job], str]]] = []
    for position, argument in enumerate(command):
        where = f"argument {position} {argument!r}"
        try:
            texts, found = placeholders.parse(argument, _NAMES)
        except placeholders.PlaceholderError as error:
            raise HandlerError(f"{where}: {error}") from None
        fixed.append(texts[0])
        if found:
            moving.append((position, _joined(texts, [_value(placeholder, where) for placeholder in found])))

    def arguments(job: Job) -> list[str]:
        made = fixed.copy()
        for position, render in moving:
            made[position] = render(job)
        return made

    return arguments


def has_placeholder(argument: str) -> bool:
    """Whether the argument is another one for each job."""
    return placeholders.is_in(argument)


def _joined(texts: Sequence[str], values: Sequence[Callable[[Job], str]]) -> Callable[[Job], str]:
    first, *others = texts
    return lambda job: first + "".join(value(job) + text for value, text in zip(values, others, strict=True))


def _value(placeholder: placeholders.Placeholder, where: str) -> Callable[[Job], str]:
    if placeholder.name in _FACTS:
        return _FACTS[placeholder.name]
    path = placeholder.path

    def found(job: Job) -> str:
        try:
            return placeholders.as_text(placeholders.look_up(job.payload, path))
        except LookupError:
            raise JobFailedError(f"{where}: the payload has no {'.'.join(path)!r}") from None

    return found


def command_in(text: str, prefix: str) -> dict[str, str] | None:
    """Return the field `command` that an option names after `prefix`, with words as in a shell.

    Returns:
        None if the text begins otherwise.

    Raises:
        HandlerError: A quotation mark is open.
    """
    if not text.startswith(prefix):
        return None
    try:
        words = shlex.split(placeholders.tightened(text.removeprefix(prefix)))
    except ValueError as error:
        raise HandlerError(f"handler {text!r}: {error}") from error
    return {"command": msgspec.json.encode(words).decode()}
