"""The processes of a cluster: started in sessions of their own, recorded, and ended by exactly that record."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_TERMINATE_SECONDS = 10.0
_KILL_SECONDS = 5.0


@dataclass(frozen=True)
class ProcessRecord:
    """One started process. A pid alone is reused; with its start time and the boot it names one process for good."""

    order: int
    name: str
    pid: int
    start_ticks: int
    boot: str

    def is_alive(self) -> bool:
        """Whether that very process still runs."""
        return self.boot == boot_id() and start_ticks(self.pid) == self.start_ticks


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for the present boot; start times count from it."""
    return (proc / "sys/kernel/random/boot_id").read_text().strip()


def start_ticks(pid: int, proc: Path = Path("/proc")) -> int | None:
    """When a process started, in clock ticks since boot; None if there is none or it is a zombie."""
    try:
        text = (proc / str(pid) / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field is the program's name in parentheses, which may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 1 :].split()
    return None if fields[0] in {"Z", "X"} else int(fields[19])


class ProcessTable:
    """The records of one cluster, a file each in `folder`, written as soon as the process exists."""

    def __init__(self, folder: Path, logs: Path) -> None:
        self.folder = folder
        self.logs = logs

    def records(self) -> list[ProcessRecord]:
        """All records in the order of starting, of running and of ended processes alike."""
        found = []
        for file in self.folder.glob("*.json"):
            try:
                found.append(ProcessRecord(**json.loads(file.read_text())))
            except (ValueError, TypeError) as error:
                raise ClusterError(f"{file}: not a process record ({error}); remove it") from error
        return sorted(found, key=lambda record: record.order)

    def start(self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> None:
        """Start a process that outlives this one, its output going to a log file of its name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.logs.mkdir(parents=True, exist_ok=True)
        order = max((record.order for record in self.records()), default=0) + 1
        with (self.logs / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
                cwd="/",
            )
        ticks = start_ticks(process.pid)
        record = ProcessRecord(order, name, process.pid, ticks if ticks is not None else 0, boot_id())
        file = self.folder / f"{order:03}-{name}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(record)))
        partial.rename(file)

    def check(self, name: str) -> None:
        """Complain with the end of its log if a process has ended.

        Raises:
            ClusterError: the newest process of that name runs no more, or there is none.
        """
        named = [record for record in self.records() if record.name == name]
        if named and named[-1].is_alive():
            return
        log = self.logs / f"{name}.log"
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:]) if log.is_file() else "(no log)"
        raise ClusterError(f"{name}: the process has ended; the end of {log}:\n{tail}")

    def checked(self, name: str, probe: Callable[[], str | None]) -> Callable[[], str | None]:
        """The same probe for `wait_until`, which gives up as soon as the process has ended."""

        def probe_of_running() -> str | None:
            self.check(name)
            return probe()

        return probe_of_running

    def stop(self, *, keep: frozenset[str] = frozenset()) -> None:
        """End the recorded processes in reverse order, but those named in `keep`."""
        for record in reversed(self.records()):
            if record.name not in keep:
                stop_process(record)
                (self.folder / f"{record.order:03}-{record.name}.json").unlink(missing_ok=True)


def stop_process(record: ProcessRecord) -> None:
    """Ask a process to end, insist after ten seconds, and return when it has ended.

    Raises:
        ClusterError: it survived SIGKILL, which happens in uninterruptible sleep.
    """
    for number, seconds in ((signal.SIGTERM, _TERMINATE_SECONDS), (signal.SIGKILL, _KILL_SECONDS)):
        if not record.is_alive():
            return
        # The pidfd is opened before the last look, so the signal cannot reach a later process of the same pid.
        with _pidfd(record.pid) as descriptor:
            if descriptor is None or not record.is_alive():
                return
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(descriptor, number)
        deadline = time.monotonic() + seconds
        while record.is_alive() and time.monotonic() < deadline:
            time.sleep(0.02)
    if record.is_alive():
        raise ClusterError(f"{record.name}: process {record.pid} did not end within {_KILL_SECONDS:g} s of SIGKILL")


@contextlib.contextmanager
def _pidfd(pid: int) -> Iterator[int | None]:
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield descriptor
    finally:
        os.close(descriptor)
