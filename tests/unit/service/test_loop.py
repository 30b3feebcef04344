"""The event loop of a program."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, sys
if sys.argv[1] == "without":
    sys.modules["uvloop"] = None
from hammerwork.service import loop

async def main():
    return type(asyncio.get_running_loop()).__module__

print(loop.run(main()))
"""


@pytest.mark.parametrize(("uvloop", "module"), [("with", "uvloop"), ("without", "asyncio.unix_events")])
def test_it_is_uvloops_where_that_is_installed(uvloop: str, module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, uvloop], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{module}\n"), done.stderr
