"""Where commands write to, and how they end when something is wrong."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar
from uuid import UUID

import typer
from rich.console import Console

from hammerwork.errors import EXIT_INCOMPATIBLE, HammerworkError, IncompatibleDatabaseError
from hammerwork.printable import printable
from hammerwork.queue import JobQueue
from hammerwork.service import loop
from hammerwork.working import variables

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

EXIT_COMPLETED = 0
EXIT_FAILED = 1
EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


class Output(enum.StrEnum):
    """How a command writes its result."""

    TEXT = "text"
    JSON = "json"


DatabaseURL = Annotated[
    str,
    typer.Option(
        "--database-url",
        envvar=variables.DATABASE_URL,
        metavar="URL",
        help="The queue's database, e.g. postgresql://user:password@host/database.",
        show_default=False,
    ),
]
OutputOption = Annotated[Output, typer.Option("--output", "-o", help="text for people, json for programs.")]
BatchID = Annotated[UUID, typer.Argument(metavar="BATCH_ID", help="The batch's id.", show_default=False)]


def standard_output() -> Console:
    """Return the console for results; a file or a pipe is given room for the tables."""
    console = Console()
    return console if console.is_terminal else Console(width=max(console.width, 140))


def fail(message: str, code: int = EXIT_BAD_INPUT) -> NoReturn:
    """Print `message` to standard error and end with `code`."""
    Console(stderr=True).print(
        f"Error: {printable(message, lines=True)}", style="red", markup=False, highlight=False, soft_wrap=True
    )
    raise typer.Exit(code)


def fail_with(error: HammerworkError) -> NoReturn:
    """Print what is wrong and end with 3 if this version is too old for the database, else with 2."""
    fail(str(error), EXIT_INCOMPATIBLE if isinstance(error, IncompatibleDatabaseError) else EXIT_BAD_INPUT)


def with_queue(url: str, operation: Callable[[JobQueue], Awaitable[T]]) -> T:
    """Return what `operation` returns for the queue at `url`; an error of Hammerwork's ends the command."""

    async def run() -> T:
        async with await JobQueue.connect(url, max_connections=2) as queue:
            return await operation(queue)

    try:
        return loop.run(run())
    except HammerworkError as error:
        fail_with(error)
