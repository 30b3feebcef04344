"""Chaos tests by hand: ``python -m tests.chaos --help``."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import signal
import sys
import time

from tests.chaos.plan import make_plan
from tests.chaos.scene import perform
from tests.chaos.servers import BACKENDS


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description="Break everything around a queue, and prove from a ledger of all runs that nothing was lost or "
        "counted twice. Ends with 1 if anything was. docs/chaos.md tells more.",
    )
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="the database (default: each in turn)")
    parser.add_argument("--seconds", type=float, default=150.0, help="length of the chaos on each (default: 150)")
    parser.add_argument("--seed", type=int, help="repeats the plan of another run (default: a new one)")
    parser.add_argument("--jobs", type=int, default=20_000, help="about how many jobs on each (default: 20,000)")
    parser.add_argument("--drain", type=float, default=150.0, help="seconds to finish in afterwards (default: 150)")
    parser.add_argument("--keep", action="store_true", help="keep the ledger and the logs of the workers")
    return parser.parse_args()


def _run(backend: str, arguments: argparse.Namespace, seed: int) -> bool:
    begun = time.monotonic()

    def say(line: str) -> None:
        print(f"{backend} {time.monotonic() - begun:6.1f} s  {line}", flush=True)

    plan = make_plan(seed, seconds=arguments.seconds, jobs=arguments.jobs)
    say(f"seed {seed}: {len(plan.batches)} batches, {len(plan.acts)} blows within {plan.seconds:g} s")
    report = asyncio.run(perform(plan, backend, say, drain_seconds=arguments.drain, keep=arguments.keep))
    for line in report.summary:
        say(line)
    for fault in report.faults[:50]:
        say(f"FAULT: {fault}")
    if len(report.faults) > 50:
        say(f"… and {len(report.faults) - 50} more")
    if report.faults or arguments.keep:
        say(f"ledger and logs: {report.folder}")
    say(f"{len(report.faults)} faults" if report.faults else "no faults")
    return not report.faults


def main() -> int:
    """Run the command line; return the exit code."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # servers and workers end with this process
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000)
    passed = [_run(backend, arguments, seed) for backend in arguments.backend or BACKENDS]
    return 0 if all(passed) else 1


if __name__ == "__main__":
    sys.exit(main())
