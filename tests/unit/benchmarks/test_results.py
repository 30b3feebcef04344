"""Results are medians, and files of them can be added to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import servers
from benchmarks.measuring import Benchmark, Load, measure, percentile
from benchmarks.payload import payload
from benchmarks.results import Result, read_results, summarise, write_results

if TYPE_CHECKING:
    from pathlib import Path


class Server(servers.Server):
    system = "a system"

    def __init__(self) -> None:
        self.version = "a server 1.0"

    async def fresh_database(self) -> str:
        raise AssertionError("not used here")

    async def drop_database(self, url: str) -> None:
        raise AssertionError(url)

    async def settle(self, url: str) -> None:
        raise AssertionError(url)


def test_the_value_is_the_median_and_the_spread_is_kept() -> None:
    summary = summarise("drain-1", "us", [3, 100.05678, 2], unit="jobs/s", machine="m")
    assert summary == Result("drain-1", "us", 3, "jobs/s", 2, 100.1, 3, "m")


def test_new_results_replace_those_of_the_same_figure_and_system(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    assert read_results(file) == []

    def result(name: str, system: str, value: float) -> Result:
        return summarise(name, system, [value], unit="ms", machine="m")

    write_results([result("b", "us", 1), result("a", "us", 2), result("a", "them", 3)], file)
    write_results([result("a", "us", 4)], file)
    assert [(r.name, r.system, r.value) for r in read_results(file)] == [
        ("a", "them", 3),
        ("a", "us", 4),
        ("b", "us", 1),
    ]


@pytest.mark.parametrize(("percent", "expected"), [(50, 50), (99, 99), (100, 100), (1, 1), (0, 1)], ids=str)
def test_percentile_of_one_to_a_hundred(percent: int, expected: float) -> None:
    assert percentile([*range(100, 0, -1)], percent) == expected


def test_percentile_of_one_value() -> None:
    assert percentile([7], 99) == 7


async def test_rounds_go_over_all_benchmarks_and_slow_ones_have_fewer() -> None:
    order: list[str] = []

    def benchmark(name: str, max_runs: int) -> Benchmark:
        async def run(load: Load) -> dict[str, float]:
            order.append(name)
            return {"pickup-p50": float(len(order)), "pickup-p99": load.jobs}

        return Benchmark(name, name, run, max_runs)

    results = await measure([benchmark("quick", 5), benchmark("slow", 2)], Load(Server(), 10), runs=3)
    assert order == ["quick", "slow", "quick", "slow", "quick"]
    assert [(r.name, r.system, r.value, r.runs) for r in results] == [
        ("pickup-p50", "quick", 3, 3),
        ("pickup-p99", "quick", 10, 3),
        ("pickup-p50", "slow", 3, 2),
        ("pickup-p99", "slow", 10, 2),
    ]
    assert {r.machine.rpartition(", ")[2] for r in results} == {"a server 1.0"}


@pytest.mark.parametrize(("jobs", "scaled"), [(500_000, 20_000), (5_000_000, 20_000), (50_000, 2_000), (10, 500)])
def test_all_sizes_shrink_with_the_jobs(jobs: int, scaled: int) -> None:
    assert Load(Server(), jobs).scaled(20_000, least=500) == scaled


def test_the_payload_is_the_one_that_the_peers_make() -> None:
    assert payload(7) == {"user": 7, "email": "user1@example.com", "s": "hello world"}
