"""Memory of a process, from Linux's /proc."""

from __future__ import annotations

from pathlib import Path

MIB = 1024**2


def resident_bytes() -> int:
    """Return the memory that this process has now."""
    return _status("VmRSS")


def peak_resident_bytes() -> int:
    """Return the most that this process had since it started, or since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Start `peak_resident_bytes` anew."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def _status(field: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")
