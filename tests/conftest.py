"""What all suites of tests may use; how they are spread over processes (`make test`), and how those end."""

from __future__ import annotations

import contextlib
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

if TYPE_CHECKING:
    from types import FrameType

    from xdist.workermanage import WorkerController

pytest_plugins = ["tests.harness.databases"]

ONE_AFTER_THE_OTHER = ("apiserver", "chaos", "e2e")
"""Suites that share a cluster, or load the machine themselves: each runs in one process."""
END_SECONDS = 240.0
"""For a process to take down the servers and the cluster that it has started."""

_nodes: list[WorkerController] = []
"""The processes that run the tests, where this is the one that leads them."""


def pytest_configure(config: pytest.Config) -> None:
    # As Ctrl-C does: servers, clusters and programs that tests have started end with them.
    if hasattr(config, "workerinput"):
        signal.signal(signal.SIGTERM, _end_once)
        signal.signal(signal.SIGINT, _end_once)
    else:
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def _end_once(_number: int, _frame: FrameType | None) -> None:
    """End, undisturbed by the second signal: a terminal sends one to all processes, and the first process does."""
    for number in (signal.SIGTERM, signal.SIGINT):
        # No SIG_IGN: programs that a test starts would inherit it.
        signal.signal(number, lambda _number, _frame: None)
    raise KeyboardInterrupt


def pytest_testnodeready(node: WorkerController) -> None:
    _nodes.append(node)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(exitstatus: int) -> None:
    """Have the processes that run the tests take down what they have started; pytest-xdist would kill them soon."""
    if _nodes and exitstatus == pytest.ExitCode.INTERRUPTED:
        for process in psutil.Process().children():
            process.terminate()
        for node in _nodes:
            with contextlib.suppress(EOFError, node.channel.RemoteError, node.channel.TimeoutError):
                node.channel.waitclose(END_SECONDS)


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        suite = item.path.relative_to(Path(__file__).parent).parts[0]
        if suite in ONE_AFTER_THE_OTHER:
            item.add_marker(pytest.mark.xdist_group(suite))
