"""What was measured: one value for each figure and system, kept in a JSON file."""

from __future__ import annotations

import platform
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

RESULTS_FILE = Path(__file__).parent / "results.json"


class Result(msgspec.Struct, frozen=True):
    """One figure of one system."""

    name: str
    """Of the figure, such as ``drain-1``; `benchmarks.figures` explains them."""
    system: str
    value: float
    """Median of the runs."""
    unit: str
    min: float
    max: float
    runs: int
    machine: str


def summarise(name: str, system: str, values: Sequence[float], *, unit: str, machine: str) -> Result:
    """Return the result of runs that gave these values."""
    return Result(
        name=name,
        system=system,
        value=_rounded(statistics.median(values)),
        unit=unit,
        min=_rounded(min(values)),
        max=_rounded(max(values)),
        runs=len(values),
        machine=machine,
    )


def _rounded(value: float) -> float:
    """Four significant digits: more would only be noise."""
    return float(f"{value:.4g}")


def read_results(path: Path = RESULTS_FILE) -> list[Result]:
    """Return the results in a file; none if it is missing."""
    return msgspec.json.decode(path.read_bytes(), type=list[Result]) if path.exists() else []


def write_results(new: Iterable[Result], path: Path = RESULTS_FILE) -> None:
    """Put results into a file. Those of the same figure and system are replaced, others stay."""
    merged = {(result.name, result.system): result for result in read_results(path)}
    merged.update(((result.name, result.system), result) for result in new)
    in_order = [merged[key] for key in sorted(merged)]
    path.write_bytes(msgspec.json.format(msgspec.json.encode(in_order), indent=2) + b"\n")


def describe_machine(server: str) -> str:
    """Return what the figures depend on: cores, memory, kernel, Python, and the database server's version."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = int(Path("/proc/meminfo").read_text(encoding="utf-8").split()[1]) / 1024**2
    return (
        f"{len(models)} cores {models[0] if models else platform.machine()}, {memory:.0f} GiB, "
        f"Linux {platform.release().split('-')[0]}, Python {platform.python_version()}, {server}"
    )
