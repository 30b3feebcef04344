"""The end of a program, in a process of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import logging, sys, threading, time
from hammerwork.service.ending import leave_threads_behind

logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
hanging, told = sys.argv[1] == "hanging", sys.argv[2] == "told"
if hanging:
    threading.Thread(target=time.sleep, args=(3600,)).start()
sys.stdout.write("not flushed yet")
sys.exit(leave_threads_behind(7, hanging=hanging, logger=logging.getLogger("program") if told else None))
"""
WARNING = "WARNING program: a handler is still running; its job goes back to the queue\n"


@pytest.mark.parametrize(
    ("state", "log", "errors"),
    [("hanging", "told", WARNING), ("hanging", "silent", ""), ("idle", "told", "")],
)
def test_a_process_ends_with_its_code_and_its_output_whatever_its_threads_do(state: str, log: str, errors: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, state, log], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (7, "not flushed yet", errors)
