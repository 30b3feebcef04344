"""`hammerwork run`: manifests on this machine, without Kubernetes and without a database server."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path  # noqa: TC003 (typer reads annotations at run time)
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.console import Console

from hammerwork.embedded import embedded_postgres
from hammerwork.errors import DatabaseError, DatabaseRefusedError, HammerworkError
from hammerwork.handlers import allowed_texts
from hammerwork.printable import printable
from hammerwork.queue import JobQueue
from hammerwork.service import loop
from hammerwork_cli.output.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_TERMINATED,
    Output,
    OutputOption,
    fail,
    fail_with,
    standard_output,
)
from hammerwork_cli.output.json import encode
from hammerwork_cli.output.progress import make_display
from hammerwork_cli.output.summary import Ending, RunReport
from hammerwork_cli.output.tables import print_tables
from hammerwork_cli.running.handlers import load_handler, other_values
from hammerwork_cli.running.local import LocalRun, Stop
from hammerwork_cli.running.manifests import check_runnable, read_manifests
from hammerwork_cli.running.submitting import expand

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hammerwork.handlers import Handler
    from hammerwork_cli.running.manifests import Manifests


# Paragraphs without line ends: the terminal's width decides where they break.
HELP = (
    "Run the JobBatches and WorkerPools of manifest files on this machine, to the end.\n\n"
    "A PostgreSQL is started for the run and removed after it. Each WorkerPool is one worker in this process; its "
    "function is loaded from the folder of its manifest. Other kinds in the files are skipped.\n\n"
    "On Ctrl-C, jobs that have not started are cancelled and running jobs finish; press Ctrl-C again to stop "
    "at once.\n\n"
    "Exit codes:\n\n"
    "[bold]0[/bold] every batch completed without a failed job\n\n"
    "[bold]1[/bold] a job or a batch failed, the time ran out, or the database could not be reached\n\n"
    "[bold]2[/bold] a manifest, a function, an option or the database URL is wrong, or the database refuses\n\n"
    "[bold]3[/bold] this version is too old for the database\n\n"
    "[bold]130[/bold] Ctrl-C\n\n"
    "[bold]143[/bold] SIGTERM"
)


def run(  # noqa: PLR0917 (typer names the options)
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Folders of *.yaml files, or files.", show_default=False),
    ],
    database_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Run on this database instead of an embedded PostgreSQL, e.g. postgresql://user:password@host/db.",
            show_default=False,
        ),
    ] = None,
    handler: Annotated[
        str | None,
        typer.Option(
            metavar="SPEC",
            help=f"Run {allowed_texts()} instead of what the WorkerPools say.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.TEXT,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            metavar="SECONDS",
            help="After this time, cancel the jobs that have not started.",
            show_default=False,
        ),
    ] = None,
    keep_data: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep the data of the embedded PostgreSQL in this folder.", show_default=False
        ),
    ] = None,
) -> None:
    """Run the JobBatches and WorkerPools of manifest files on this machine, to the end. The help text is `HELP`."""
    notes = Console(stderr=True)
    if database_url and keep_data:
        fail("--keep-data is for the embedded PostgreSQL and cannot be combined with --database-url")
    try:
        manifests = read_manifests(paths)
        check_runnable(manifests)
        _note(notes, manifests.skipped)
        for batch in manifests.batches:
            expand(batch)  # finds what is wrong before anything is started
        handlers = {pool.label: load_handler(pool, handler) for pool in manifests.pools}
        _note(notes, other_values(manifests.pools))
        with _termination_raises(), _database(database_url, keep_data) as url:
            report = loop.run(_run(url, manifests, handlers, notes, timeout))
    except DatabaseRefusedError as error:
        fail_with(error)
    except DatabaseError as error:
        fail(str(error), EXIT_FAILED)
    except HammerworkError as error:
        fail_with(error)
    except KeyboardInterrupt:
        fail("interrupted", EXIT_INTERRUPTED)
    if output is Output.JSON:
        typer.echo(encode(report))
    else:
        print_tables(standard_output(), report.batches)
    if report.ending is Ending.TIMED_OUT:
        fail(f"the time limit of {timeout:g} s has passed: jobs that had not started were cancelled", EXIT_FAILED)
    raise typer.Exit(report.exit_code())


def _note(notes: Console, sentences: Iterable[str]) -> None:
    for sentence in sentences:
        notes.print(f"Note: {printable(sentence)}", style="dim", markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def _database(url: str | None, keep_data: Path | None) -> Iterator[str]:
    if url:
        yield url
        return
    with embedded_postgres(keep_data=keep_data) as embedded:
        yield embedded


@contextlib.contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM unwind the stack as Ctrl-C does, so that the database is stopped."""

    def end(_number: int, _frame: object) -> NoReturn:
        raise SystemExit(EXIT_TERMINATED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _run(
    url: str, manifests: Manifests, handlers: Mapping[str, Handler], notes: Console, timeout: float | None
) -> RunReport:
    stop = Stop()
    running = asyncio.current_task()
    assert running is not None

    def on_signal(ending: Ending) -> None:
        if stop.event.is_set():
            running.cancel()
            return
        notes.print(
            "Stopping: running jobs finish, the others are cancelled. Press Ctrl-C again to stop at once.", style="dim"
        )
        stop.set(ending)

    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, on_signal, Ending.INTERRUPTED)
    loop.add_signal_handler(signal.SIGTERM, on_signal, Ending.TERMINATED)
    try:
        async with await JobQueue.connect(url) as queue:
            with make_display(notes) as display:
                return await LocalRun(queue, manifests, handlers, display, stop).run(timeout=timeout)
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None
