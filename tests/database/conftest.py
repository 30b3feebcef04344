"""Tests that take `server` run on each of the servers that are chosen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.harness.databases import run_on_servers

if TYPE_CHECKING:
    import pytest


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_servers(metafunc)
