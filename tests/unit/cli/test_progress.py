"""How a run is shown while it goes on."""

from __future__ import annotations

import io
import uuid
from datetime import UTC, datetime

import pytest
from rich.console import Console

from hammerwork import BatchState, BatchStatus, PartialFailureMode
from hammerwork_cli.output.progress import Bars, Lines, describe


def status(completed: int, name: str = "default/mails") -> BatchStatus:
    created = datetime(2024, 1, 15, 12, 0, tzinfo=UTC)
    return BatchStatus(
        batch_id=uuid.UUID(int=1),
        name=name,
        queue="q",
        state=BatchState.RUNNING if completed < 1_000 else BatchState.COMPLETED,
        suspended=False,
        failure_mode=PartialFailureMode.CONTINUE_ON_ERROR,
        total_jobs=1_000,
        pending_jobs=1_000 - completed,
        running_jobs=0,
        completed_jobs=completed,
        failed_jobs=0,
        cancelled_jobs=0,
        metadata={},
        fingerprint=None,
        created_at=created,
        started_at=created,
        finished_at=None if completed < 1_000 else created,
    )


def shown(completed: int, kind: type[Bars | Lines], name: str = "default/mails") -> str:
    sheet = io.StringIO()
    with kind(Console(file=sheet, width=140, force_terminal=kind is Bars, color_system=None)) as display:
        display.show([status(completed, name)])
    return sheet.getvalue()


@pytest.mark.parametrize("kind", [Bars, Lines])
@pytest.mark.parametrize(("completed", "share"), [(996, "99%"), (1_000, "100%")])
def test_only_the_whole_is_a_hundred_per_cent(kind: type[Bars | Lines], completed: int, share: str) -> None:
    text = shown(completed, kind)
    assert share in text
    assert "100%" not in text or completed == 1_000


def test_a_line_tells_everything() -> None:
    assert describe(status(996)) == (
        "default/mails: Running, 996 of 1,000 jobs (99%), 996 completed, 0 failed, 0 cancelled"
    )


@pytest.mark.parametrize("kind", [Bars, Lines])
def test_a_name_is_no_markup(kind: type[Bars | Lines]) -> None:
    assert "[bold]mails[/red]" in shown(7, kind, "[bold]mails[/red]")
