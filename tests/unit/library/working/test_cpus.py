"""How many processes the container's CPU limit has a use for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hammerwork.working.cpus import processes_for_cpu_limit

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("files", "processes"),
    [
        ({}, 1),
        ({"cpu.max": "max 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "400000 100000\n"}, 4),
        ({"cpu.max": "0 0\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "250000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "250000\n"}, 1),
    ],
)
def test_a_process_for_each_core_of_the_limit(tmp_path: Path, files: dict[str, str], processes: int) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert processes_for_cpu_limit(tmp_path) == processes
