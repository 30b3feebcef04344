"""The examples of docs/library.md run, print what they say, and leave nothing of the library out."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

import hammerwork
from hammerwork import JobQueue, Worker, WorkerPool
from hammerwork.working.settings import DEFAULTS

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
URL = "postgresql://localhost/hammerwork"


def promised(block: str) -> list[str]:
    """What the lines of a block print, by their comments."""
    return re.findall(r"^ *print\(.*\)  # (.*)$", block, re.MULTILINE)


async def test_the_examples_run_and_print_what_they_say(database_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert PAGE.count(URL) == 1
    names: dict[str, Any] = {"__name__": "examples"}
    try:
        for number, block in enumerate(BLOCKS):
            assert len(promised(block)) == block.count("print(")
            code = compile(
                block.replace(URL, database_url),
                f"docs/library.md, example {number + 1}",
                "exec",
                flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
            )
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running
            assert capsys.readouterr().out.splitlines() == promised(block), block
    finally:
        if "queue" in names:
            await names["queue"].close()


def test_every_exported_name_is_told() -> None:
    assert [name for name in hammerwork.__all__ if not re.search(rf"\b{name}\b", PAGE)] == []


@pytest.mark.parametrize("kind", [JobQueue, Worker, WorkerPool, hammerwork.JobBatch])
def test_every_operation_is_told(kind: type) -> None:
    inside = {"note_enqueued", "note_streamed", "validate", "validate_settings", "settings_faults", "check_queue_of"}
    operations = {name for name in vars(kind) if not name.startswith("_")} - inside
    assert operations
    assert {name for name in operations if not re.search(rf"\b{name}\b", PAGE)} == set()


def test_the_defaults_of_workers_are_told() -> None:
    told = dict(re.findall(r"^\| `(\w+)[^`]*` \| ([^|]*) \|", PAGE.partition("## Workers")[2], re.MULTILINE))
    assert {
        "with_concurrency": str(DEFAULTS.concurrency),
        "with_batch_processing_enabled": str(DEFAULTS.batch_processing).lower(),
        "with_poll_interval": f"{DEFAULTS.poll_interval_seconds:g}",
        "with_shutdown_grace_period": f"{DEFAULTS.shutdown_grace_period_seconds:g}",
        "lease_seconds": f"{DEFAULTS.lease_seconds:g}",
    }.items() <= told.items()
