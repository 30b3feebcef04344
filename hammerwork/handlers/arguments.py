"""The arguments of a command, with placeholders for what differs from job to job. No shell has a part in it."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork import placeholders
from hammerwork.errors import HandlerError, JobFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hammerwork.batch import Job

COMMAND = 'a list of texts in JSON, such as ["convert", "{{ payload.in }}", "out.png"]'
"""What a variable with a command may hold."""

_FACTS: dict[str, Callable[[Job], str]] = {"index": lambda job: str(job.index), "id": lambda job: job.id}
_PAYLOAD = "payload"


def compile_arguments(command: Sequence[str]) -> Callable[[Job], list[str]]:
    """Return the function that makes the arguments for a job, the command's name first.

    It raises `JobFailedError` for a job whose payload has nothing where a placeholder looks.

    Raises:
        HandlerError: A placeholder is none of ``{{ payload.PATH }}``, ``{{ payload }}``, ``{{ index }}``, ``{{ id }}``.
    """
    fixed = list(command)
    moving = [
        (position, render)
        for position, argument in enumerate(command)
        if (render := _compile(argument, f"argument {position} {argument!r}")) is not None
    ]

    def arguments(job: Job) -> list[str]:
        made = fixed.copy()
        for position, render in moving:
            made[position] = render(job)
        return made

    return arguments


def has_placeholder(argument: str) -> bool:
    """Whether the argument is another one for each job."""
    return bool(placeholders.split(argument)[1])


def _compile(argument: str, where: str) -> Callable[[Job], str] | None:
    texts, named = placeholders.split(argument)
    if not named:
        return None
    values = [_value(name.strip(), where) for name in named]
    first, *others = texts
    return lambda job: first + "".join(value(job) + text for value, text in zip(values, others, strict=True))


def _value(name: str, where: str) -> Callable[[Job], str]:
    if name in _FACTS:
        return _FACTS[name]
    root, *path = name.split(".")
    if root != _PAYLOAD or "" in path:
        raise HandlerError(
            f"{where}: unknown placeholder '{{{{ {name} }}}}'; there are '{{{{ payload.PATH }}}}', "
            "'{{ payload }}', '{{ index }}' and '{{ id }}'"
        )

    def found(job: Job) -> str:
        try:
            return _text(placeholders.look_up(job.payload, path))
        except LookupError:
            raise JobFailedError(f"{where}: the payload has no {'.'.join(path)!r}") from None

    return found


def _text(value: Any) -> str:
    """Return a text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


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
