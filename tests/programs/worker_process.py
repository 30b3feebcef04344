"""`hammerwork-worker` as a process of a test."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import aiohttp

from hammerwork.handlers import python
from hammerwork.working import variables
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from pathlib import Path

HANDLER = python.FUNCTION.variable
COMMAND = [sys.executable, "-m", "hammerwork_worker"]
DEADLINE_SECONDS = 60.0


class WorkerProcess:
    """A worker process; its log is JSON, one object a line."""

    def __init__(self, folder: Path, url: str, **settings: str) -> None:
        self.log_file = folder / "log"
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HAMMERWORK_")},
            "PYTHONDONTWRITEBYTECODE": "1",
            variables.DATABASE_URL: url,
            variables.QUEUE: "q",
            variables.PORT: "0",
            variables.LOG_FORMAT: "json",
            **settings,
        }
        self.folder = folder

    @contextlib.contextmanager
    def started(self, below: Sequence[str] = ()) -> Iterator[subprocess.Popen[bytes]]:
        with self.log_file.open("w") as log:
            process = subprocess.Popen([*below, *COMMAND], cwd=self.folder, env=self.environment, stderr=log)
        with process:
            try:
                yield process
            finally:
                process.kill()

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def port(self) -> int | None:
        for record in self.log():
            if record["message"].startswith("serving "):
                return int(record["message"].rpartition("port ")[2])
        return None

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body; (0, why) while nothing answers."""
        port = self.port()
        if port is None:
            return 0, "no port in the log yet"
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://127.0.0.1:{port}{path}", timeout=aiohttp.ClientTimeout(total=10)) as answer,
            ):
                return answer.status, await answer.text()
        except aiohttp.ClientError as error:
            return 0, str(error)

    async def until(self, look: Callable[[], Awaitable[bool]], what: str) -> None:
        """Return once something holds that the worker brings about."""
        await eventually(look, bool, within=DEADLINE_SECONDS, tell=lambda _: f"not that {what}; seen: {self.log()}")

    async def metrics(self) -> dict[str, float]:
        """The samples by name, without labels (there is one queue and one pool); none while nothing answers."""
        status, text = await self.get("/metrics")
        if status != 200:
            return {}
        samples = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return {name.partition("{")[0]: float(value) for name, value in samples}


async def ended(process: subprocess.Popen[bytes]) -> int:
    return await asyncio.to_thread(process.wait, DEADLINE_SECONDS)
