from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hammerwork.working import portable

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_the_command_needs_no_variable_of_the_environment() -> None:
    assert portable.python_command("/worker") == [
        *("/worker/ld.so", "--inhibit-cache", "--library-path", "/worker/lib"),
        *("/worker/bin/python3", "-I", "-S", "-X", "utf8"),
    ]


def test_more_processes_start_as_the_first_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert portable.this_python() == [sys.executable]
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert portable.this_python() == [sys.executable]
    (tmp_path / "ld.so").touch()
    assert portable.this_python() == portable.python_command(str(tmp_path))
