#!/usr/bin/env python3
"""Measures the portable worker beside the ordinary one: size, time to copy it, time to start, memory.

    scripts/measure_portable.py [IMAGE]     the worker's image in buildah's storage (localhost/hammerwork/worker:dev)

As root: the ordinary worker runs in a root that is the image, the portable one in a root that has nothing else.
"""
# ruff: noqa: T201 (a command prints)

from __future__ import annotations

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

from hammerwork.working.portable import python_command
from hammerwork_worker.copying import PORTABLE_WORKER

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 7
USER = "1000680000"
PORT = 18_080
START_SECONDS = 30
# Nothing answers there: what is measured ends before the first connection.
ENVIRONMENT = {
    "HAMMERWORK_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing",
    "HAMMERWORK_QUEUE": "measured",
    "HAMMERWORK_HANDLER": "builtins:print",
    "HAMMERWORK_PORT": str(PORT),
    "HAMMERWORK_LOG_LEVEL": "ERROR",
}


def main() -> None:
    """Print the figures as rows of a table."""
    image = sys.argv[1] if len(sys.argv) > 1 else "localhost/hammerwork/worker:dev"
    with mounted(image) as root, tempfile.TemporaryDirectory() as name:
        empty = Path(name)
        empty.chmod(0o755)
        folder = root / PORTABLE_WORKER.relative_to("/")
        sizes = [file.stat().st_size for file in folder.rglob("*") if file.is_file()]
        copies = [copied(folder, empty / f"copy-{number}") for number in range(ROUNDS)]
        portable = [
            started(empty, [*python_command("/copy-0"), "-m", "hammerwork_worker.portable"]) for _ in range(ROUNDS)
        ]
        ordinary = [started(root, ["/opt/hammerwork/bin/hammerwork-worker"]) for _ in range(ROUNDS)]
    print("| | portable | ordinary |\n|---|---|---|")
    print(f"| size | {sum(sizes) / 1e6:.0f} MB in {len(sizes):,} files | the image |")
    print(f"| time to copy it | {told(copies)} | |")
    starts = [told([seconds for seconds, _ in runs]) for runs in (portable, ordinary)]
    print(f"| start, until it answers probes | {' | '.join(starts)} |")
    memory = [f"{statistics.median(size for _, size in runs):.0f} MB" for runs in (portable, ordinary)]
    print(f"| memory then | {' | '.join(memory)} |")


def told(seconds: list[float]) -> str:
    """Return median and spread."""
    return f"{statistics.median(seconds):.2f} s ({min(seconds):.2f} to {max(seconds):.2f})"


@contextlib.contextmanager
def mounted(image: str) -> Iterator[Path]:
    """Have the root of the image in a folder."""
    container = output("buildah", "from", "--quiet", "--pull-never", image)
    try:
        yield Path(output("buildah", "mount", container))
    finally:
        output("buildah", "rm", container)


def copied(source: Path, target: Path) -> float:
    """Copy the portable worker with the Python of this environment, as the init container does; return the seconds."""
    begin = time.monotonic()
    program = "import sys; from pathlib import Path; from hammerwork_worker.copying import main; "
    program += "sys.exit(main([sys.argv[1]], source=Path(sys.argv[2])))"
    output(sys.executable, "-c", program, str(target), str(source))
    return time.monotonic() - begin


def started(root: Path, command: list[str]) -> tuple[float, float]:
    """Start a worker in a root; return the seconds until it answers probes, and its memory then in MB."""
    begin = time.monotonic()
    process = subprocess.Popen(["chroot", f"--userspec={USER}:0", root, *command], env={**os.environ, **ENVIRONMENT})
    try:
        while not answers():
            if process.poll() is not None or time.monotonic() - begin > START_SECONDS:
                sys.exit(f"{command[0]}: does not answer on port {PORT}")
            time.sleep(0.005)
        seconds = time.monotonic() - begin
        rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text()
        return seconds, next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")) / 1024
    finally:
        process.kill()
        process.wait()


def answers() -> bool:
    """Whether a worker serves its probes."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/healthz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def output(*command: str) -> str:
    """Run a command, return what it prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()


if __name__ == "__main__":
    main()
