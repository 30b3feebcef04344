"""Runs the command `hammerwork` as a user does: in a process of its own, which has to leave nothing behind."""

from __future__ import annotations

import contextlib
import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.cluster.waiting import wait_until
from tests.harness.manifests import as_file, jobbatch, workerpool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "hammerwork_cli"]
DEADLINE_SECONDS = 120.0


class Place:
    """A folder for manifests, and one for temporary files that has to be empty after each run."""

    def __init__(self, folder: Path) -> None:
        self.manifests = folder / "manifests"
        self.temporary = folder / "tmp"
        self.environment = {**os.environ, "TMPDIR": str(self.temporary), "PYTHONDONTWRITEBYTECODE": "1"}
        self.environment.pop("HAMMERWORK_DATABASE_URL", None)
        for path in (self.manifests, self.temporary):
            path.mkdir()

    def run(self, *arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.execute([*COMMAND, *map(str, arguments)], **environment)

    def execute(
        self, command: list[str], *, user: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=ROOT,
            env={**self.environment, **environment},
            user=user,
            group=None if user is None else pwd.getpwnam(user).pw_gid,
            extra_groups=None if user is None else [],
            check=False,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
        )

    @contextlib.contextmanager
    def started(self, *arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
        """A run in a session of its own, as a terminal's foreground job is in a process group of its own."""
        with (self.temporary.parent / "stderr").open("w") as errors:
            process = subprocess.Popen(
                [*COMMAND, *map(str, arguments)],
                cwd=ROOT,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        with process:
            try:
                yield process
            finally:
                process.kill()

    def errors(self) -> str:
        return (self.temporary.parent / "stderr").read_text()

    def wait_until(self, done: Callable[[], bool], what: str, process: subprocess.Popen[str]) -> None:
        """Return once something holds that a started run brings about."""

        def missing() -> str | None:
            if done():
                return None
            assert process.poll() is None, f"{what}: the process has ended; seen: {self.errors()}"
            return self.errors()

        wait_until(what, missing, seconds=DEADLINE_SECONDS, interval=0.02)

    def add(self, code: str, *, count: int = 3, pool: dict[str, Any] | None = None, **batch: Any) -> Path:
        """Write a batch, a pool and the file of its function `run`."""
        generate = {"count": count, "payload": {"n": "{{ index }}"}}
        documents = [
            jobbatch("work", **{"queue": "q", "generate": generate, **batch}),
            workerpool("workers", **{"queue": "q", "function": "work:run", **(pool or {})}),
        ]
        (self.manifests / "work.yaml").write_text(as_file(*documents))
        (self.manifests / "work.py").write_text(code)
        return self.manifests

    def assert_nothing_is_left(self) -> None:
        assert list(self.temporary.iterdir()) == []
        left = [line for line in command_lines() if str(self.temporary) in line]
        assert left == []


def command_lines() -> Iterator[str]:
    """Command lines of all processes of this machine."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
