"""The places where worker processes run: each is filled again when its process ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from typing import TYPE_CHECKING

import msgspec

from tests.chaos.worker import WorkerOrder
from tests.harness.processes import started

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.plan import WorkerPlan

_PAUSE_SECONDS = 0.1


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a process."""

    process: str
    code: int
    """As `subprocess` tells it: negative for a signal."""
    at: float
    """When it was noticed, on the monotonic clock."""
    killed_at: float | None
    """When it was sent SIGKILL by the test."""
    terminated_at: float | None
    """When it was sent SIGTERM, or SIGUSR1."""


class Place:
    """One place, with one process at a time."""

    def __init__(self, plan: WorkerPlan, *, database_url: str, folder: Path, lease_seconds: float) -> None:
        self.plan = plan
        self.exits: list[Exit] = []
        self.log = folder / f"worker-{plan.number}.log"
        self._ledger = folder / "ledger"
        self._database_url = database_url
        self._lease_seconds = lease_seconds
        self._process: asyncio.subprocess.Process | None = None
        self._killed_at: float | None = None
        self._terminated_at: float | None = None
        self._closing = asyncio.Event()

    async def run(self) -> None:
        """Keep a process here until `close`."""
        generation = 0
        while not self._closing.is_set():
            await self._run_once(f"{self.plan.number}.{generation}")
            generation += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), _PAUSE_SECONDS)

    async def _run_once(self, name: str) -> None:
        self._killed_at = self._terminated_at = None
        order = WorkerOrder(
            database_url=self._database_url,
            ledger=str(self._ledger),
            process=name,
            lease_seconds=self._lease_seconds,
            plan=self.plan,
        )
        async with started("tests.chaos.worker", order, log=self.log) as process:
            self._process = process
            try:
                code = await process.wait()
            finally:
                self._process = None
        self.exits.append(
            Exit(
                process=name,
                code=code,
                at=time.monotonic(),
                killed_at=self._killed_at,
                terminated_at=self._terminated_at,
            )
        )

    def kill(self) -> None:
        """Send SIGKILL."""
        if self._process is not None and self._killed_at is None:
            self._killed_at = time.monotonic()
            self._send(signal.SIGKILL)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self._end(signal.SIGTERM)

    def cancel(self) -> None:
        """Have the worker's run cancelled."""
        self._end(signal.SIGUSR1)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._terminated_at is None:
            self._terminated_at = time.monotonic()
            self._send(number)

    async def stop(self, seconds: float) -> None:
        """Stop the process that is here now, and let it go on after some time, unless it has been killed."""
        process = self._process
        if process is None:
            return
        self._send(signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            if self._process is process:
                self._send(signal.SIGCONT)

    def close(self) -> None:
        """Let the process end gracefully, and start no other; `run` returns then."""
        self._closing.set()
        self.terminate()

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
