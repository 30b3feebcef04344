"""The programs of docs/handlers.md do what the page says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from uuid import UUID

import pytest

from hammerwork import AttemptFailedError, Job, JobFailedError
from hammerwork.errors import error_type
from hammerwork.handlers import StreamHandler

PAGE = (Path(__file__).parents[4] / "docs" / "handlers.md").read_text()
STREAM = PAGE[PAGE.index("## stream") : PAGE.index("## http")]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", STREAM, re.MULTILINE | re.DOTALL)
    return str(found)


def job(payload: dict[str, int]) -> Job:
    return Job("images", payload, batch_id=UUID("01890000-0000-7000-8000-000000000000"), index=7, max_attempts=4)


@pytest.mark.parametrize(
    ("language", "command", "result", "kind", "recorded"),
    [
        ("python", ["python3", "-c"], 42, AttemptFailedError, "KeyError"),
        pytest.param(
            *("javascript", ["node", "-e"], 42, AttemptFailedError, "TypeError"),
            marks=pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
        ),
        ("sh", ["sh", "-c"], None, JobFailedError, "CommandFailed"),
    ],
)
async def test_each_language(
    language: str, command: list[str], result: object, kind: type[Exception], recorded: str
) -> None:
    async with StreamHandler([*command, block(language)]) as handler:
        assert await handler(job({"n": 21})) == result
        with pytest.raises(kind) as caught:
            await handler(job({}))
    assert error_type(caught.value) == recorded


async def test_the_line_of_a_job() -> None:
    async with StreamHandler(["sh", "-c", 'read -r job; echo "$job" >&2; exit 1']) as handler:
        with pytest.raises(AttemptFailedError) as caught:
            await handler(job({"n": 21}))
    assert str(caught.value).endswith(block("json").strip())
