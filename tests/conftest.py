"""What all suites of tests may use."""

from __future__ import annotations

import signal

pytest_plugins = ["tests.harness.databases"]


def pytest_configure() -> None:
    # As Ctrl-C does: servers, clusters and programs that tests have started end with them.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
