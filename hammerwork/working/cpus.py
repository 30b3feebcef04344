"""How many processors the container may use."""

from __future__ import annotations

import math
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def processes_for_cpu_limit(cgroup: Path = _CGROUP) -> int:
    """Return how many processes of one core each can use the container's CPU limit: 2 for 1500m, 1 without a limit."""
    for quota, period in (_limit(cgroup / "cpu.max"), _limit(cgroup / "cpu/cpu.cfs_quota_us")):
        if quota > 0 and period > 0:
            return math.ceil(quota / period)
    return 1


def _limit(file: Path) -> tuple[int, int]:
    """Return quota and period in microseconds, 0 where there is none: of cgroup v2 in one file, of v1 in two."""
    try:
        words = file.read_text().split()
        if file.name == "cpu.cfs_quota_us":
            words += file.with_name("cpu.cfs_period_us").read_text().split()
        quota, period = (int(word) for word in words)
    except (OSError, ValueError):
        return 0, 0
    return quota, period
