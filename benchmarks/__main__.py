"""Command line of the benchmarks."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.measuring import FULL_JOBS, Load, measure, number, say
from benchmarks.operating import Scale, benchmark
from benchmarks.ours import our_benchmarks
from benchmarks.peers import peer_benchmarks
from benchmarks.processes import ProgramError
from benchmarks.report import write_report
from benchmarks.results import RESULTS_FILE, read_results, write_results
from benchmarks.servers import started_mariadb, started_postgres
from tests.harness.servers import UnavailableServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Result

REPORT_FILE = Path(__file__).parent.parent / "docs/benchmarks.md"
BESIDE_PEERS = ("enqueue-drain", "drain-two")
"""Our benchmarks that are run together with the peers'."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the process's exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "report":
        write_report(read_results(options.output), REPORT_FILE)
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and programs end with this process
    try:
        results = uvloop.run(_COMMANDS[options.command](options))
    except KeyboardInterrupt:
        say("interrupted; nothing was saved")
        return 130
    except ProgramError as error:
        say(f"failed: {error}")
        return 1
    if not results:
        say(f"nothing is called {', '.join(options.only)}")
        return 2
    write_results(results, options.output)
    for result in results:
        print(f"{result.name:24} {result.system:28} {number(result.value):>12} {result.unit}")
    say(f"written to {options.output}; `python -m benchmarks report` puts them into {REPORT_FILE.name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    ours = commands.add_parser("ours", help="measure this queue, on each database it has a backend for")
    peers = commands.add_parser("peers", help="measure other queues and this one in turn, on one PostgreSQL")
    operator = commands.add_parser("operator", help="measure the operator beside many batches, on a control plane")
    operator.add_argument(
        "--finished", type=_positive, default=Scale().finished, metavar="N", help="default %(default)s"
    )
    operator.add_argument("--running", type=_positive, default=Scale().running, metavar="N", help="default %(default)s")
    report = commands.add_parser("report", help="put the saved results and the goals into docs/benchmarks.md")
    for command in (ours, peers):
        command.add_argument(
            "--only",
            action="append",
            default=[],
            metavar="NAME",
            help="only this benchmark, or what is measured on this system; may be repeated",
        )
        command.add_argument(
            "--jobs",
            type=_positive,
            default=FULL_JOBS,
            metavar="N",
            help="jobs of a throughput run of this queue; all other sizes shrink with it (default %(default)s)",
        )
        command.add_argument(
            "--runs", type=_positive, default=3, metavar="N", help="rounds (default %(default)s); the slow have fewer"
        )
    for command in (ours, peers, operator, report):
        command.add_argument(
            "--output",
            type=Path,
            default=RESULTS_FILE,
            metavar="FILE",
            help="results (default benchmarks/results.json)",
        )
    return parser


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} must be at least 1")
    return value


async def _ours(options: argparse.Namespace) -> list[Result]:
    results = []
    for started in (started_postgres, started_mariadb):
        try:
            async with started() as server:
                chosen = [b for b in our_benchmarks(server) if _is_chosen(options, b.name, b.system)]
                results += await measure(chosen, Load(server, options.jobs), options.runs)
        except UnavailableServerError as error:
            say(str(error))
    return results


async def _peers(options: argparse.Namespace) -> list[Result]:
    async with started_postgres() as server:
        ours = [b for b in our_benchmarks(server) if b.name in BESIDE_PEERS and _is_chosen(options, b.name, b.system)]
        theirs = await asyncio.to_thread(peer_benchmarks, lambda name: _is_chosen(options, name, name))
        return await measure([*ours, *theirs], Load(server, options.jobs), options.runs)


async def _operator(options: argparse.Namespace) -> list[Result]:
    return await benchmark(Scale(finished=options.finished, running=options.running))


_COMMANDS = {"ours": _ours, "peers": _peers, "operator": _operator}


def _is_chosen(options: argparse.Namespace, name: str, system: str) -> bool:
    return not options.only or name in options.only or system in options.only


if __name__ == "__main__":
    sys.exit(main())
