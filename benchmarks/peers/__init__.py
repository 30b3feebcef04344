"""Other queues on PostgreSQL, each at its best documented setting.

A peer is a folder here with what its package manager needs, and a program in its own language that is run as

- ``PROGRAM prepare URL``: make the tables;
- ``PROGRAM enqueue URL JOBS``: enqueue, then print ``{"jobs": …, "seconds": …}``;
- ``PROGRAM drain URL``: connect, print ``ready``, wait for a line, run jobs until the queue is empty, then print
  ``{"jobs": …, "started": …, "ended": …}`` (seconds since the epoch).

Each is installed outside of this tree, see `benchmarks.peers.installing`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from benchmarks.measuring import Benchmark, say
from benchmarks.peers.installing import Installation, NotInstallableError
from benchmarks.processes import ProgramError, running
from benchmarks.servers import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measuring import Load


class Peer(msgspec.Struct, frozen=True):
    """A queue to compare with."""

    folder: str
    version: str
    language: str
    """``node``, ``python`` or ``rust``: how it is installed."""
    jobs: int
    """How many to measure with: a few seconds of work."""
    unfinished: str
    """Counts the jobs that are not completed in the database."""

    @property
    def system(self) -> str:
        """Its name in the results."""
        return f"{self.folder} {self.version}"


PEERS = (
    Peer("graphile-worker", "0.17.3", "node", 200_000, "SELECT count(*) FROM graphile_worker._private_jobs"),
    Peer("pg-boss", "10.4.2", "node", 100_000, "SELECT count(*) FROM pgboss.job WHERE state <> 'completed'"),
    Peer("pgqueuer", "1.6.0", "python", 50_000, "SELECT count(*) FROM pgqueuer"),
    Peer(
        "procrastinate",
        "3.10.0",
        "python",
        3_000,
        "SELECT count(*) FROM procrastinate_jobs WHERE status <> 'succeeded'",
    ),
    Peer("hammerwork-rs", "3.0.0", "rust", 2_000, "SELECT count(*) FROM hammerwork_jobs WHERE status <> 'Completed'"),
)


def peer_benchmarks(only: Callable[[str], bool]) -> list[Benchmark]:
    """Install the peers that `only` lets through and return their benchmarks; what cannot be installed is left out."""
    benchmarks = []
    for peer in PEERS:
        if not only(peer.folder):
            continue
        try:
            command = Installation(peer.folder, peer.language).install()
        except NotInstallableError as error:
            say(f"{peer.system} is left out: {error}")
            continue
        benchmarks += [_benchmark(peer, command, processes) for processes in (1, 2)]
    return benchmarks


def _benchmark(peer: Peer, command: Sequence[str], processes: int) -> Benchmark:
    async def run(load: Load) -> dict[str, float]:
        server = load.server
        assert isinstance(server, Postgres)
        count = load.scaled(peer.jobs, least=1_000)
        url = await server.fresh_database()
        async with running([*command, "prepare", url]) as program:
            await program.end()
        async with running([*command, "enqueue", url, str(count)]) as program:
            enqueued = await program.answer()
        await server.settle(url)
        seconds, ran = await _drain(command, url, processes)
        async with server.connection(url) as connection:
            unfinished = await connection.fetchval(peer.unfinished)
        if not enqueued["jobs"] == ran == count or unfinished:
            raise ProgramError(
                f"{peer.system}: of {count:,} jobs {enqueued['jobs']:,} were enqueued, {ran:,} ran, and {unfinished:,} "
                "are not completed in the database"
            )
        await server.drop_database(url)
        figures = {f"drain-{processes}": count / seconds}
        if processes == 1:
            figures["enqueue"] = count / enqueued["seconds"]
        return figures

    name = "enqueue, drain with one" if processes == 1 else "drain with two"
    return Benchmark(name, peer.system, run, max_runs=3)


async def _drain(command: Sequence[str], url: str, processes: int) -> tuple[float, int]:
    """Return the seconds from the first start to the last end, and the jobs that ran."""
    async with contextlib.AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(running([*command, "drain", url])) for _ in range(processes)]
        for program in programs:
            await program.ready()
        for program in programs:
            program.tell("go")
        answers = [await program.answer() for program in programs]
    seconds = max(answer["ended"] for answer in answers) - min(answer["started"] for answer in answers)
    return seconds, sum(answer["jobs"] for answer in answers)
