"""Tests that take `server` run on each of the servers that are chosen; and a place for runs of the command."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness.databases import run_on_servers
from tests.programs.place import Place

if TYPE_CHECKING:
    from collections.abc import Iterator


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_servers(metafunc)


@pytest.fixture
def place() -> Iterator[Place]:
    # Not pytest's own folder: started by root, PostgreSQL runs as another user, who must be able to enter.
    folder = Path(tempfile.mkdtemp(prefix="hammerwork-test-"))
    folder.chmod(0o755)
    try:
        yield Place(folder)
    finally:
        shutil.rmtree(folder)
