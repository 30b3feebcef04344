"""What all suites of tests may use; how they are spread over processes (`make test`), and how those end."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

import hypothesis
import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from types import FrameType

    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

# No test depends on the speed of the machine.
hypothesis.settings.register_profile("ours", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("ours")

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


class SuiteScheduling(LoadScopeScheduling):  # type: ignore[misc]
    """Gives each test to the process that is free, but all of a suite in `ONE_AFTER_THE_OTHER` to the same one.

    pytest-xdist's own groups (``--dist loadgroup``) are not regarded by pytest 9.2: pytest-xdist issue 1386.
    """

    def _split_scope(self, nodeid: str) -> str:
        suite = nodeid.split("/")[1]
        return suite if suite in ONE_AFTER_THE_OTHER else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> SuiteScheduling:
    return SuiteScheduling(config, log)
