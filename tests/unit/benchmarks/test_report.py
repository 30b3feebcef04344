"""The report stands between its marks and says what was reached, missed and not measured."""

from __future__ import annotations

import pytest

from benchmarks.__main__ import REPORT_FILE, main
from benchmarks.goals import GOALS
from benchmarks.report import BEGIN, END, ReportError, insert, render
from benchmarks.results import Result
from benchmarks.servers import Postgres

US = Postgres.system


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    once = insert(text, "new")
    assert once == f"before\n{BEGIN}\n\nnew\n{END}\nafter\n"
    assert insert(once, "newer") == f"before\n{BEGIN}\n\nnewer\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_marks_is_not_touched(text: str) -> None:
    with pytest.raises(ReportError, match="needs a line"):
        insert(text, "new")


def test_goals_and_figures_are_told_with_their_spread() -> None:
    results = [
        Result("pickup-p50", US, 2.5, "ms", 2.1, 3.9, 3, "two cores"),
        Result("slow-jobs", US, 1.3, "× ideal", 1.3, 1.3, 1, "two cores"),
        Result("drain-1", US, 350_000, "jobs/s", 300_000, 400_000, 3, "two cores"),
        Result("drain-2", "graphile-worker 0.17.3", 70_000, "jobs/s", 60_000, 70_500, 3, "two cores"),
    ]
    lines = render(results).splitlines()
    assert "| Pick-up of one job, median | ≤ 3 ms | 2.5 ms | reached |" in lines
    assert "| 200 jobs of 1 s on two workers of ten lanes | ≤ 1.15 × ideal | 1.3 × ideal | **missed** |" in lines
    assert "| Drain, one process ÷ best peer | ≥ 6 × | 5 × (graphile-worker 0.17.3) | **missed** |" in lines
    assert "| Memory of a worker | ≤ 120 MiB | – | not measured |" in lines
    assert "| drain-1 | hammerwork, PostgreSQL | 350,000 jobs/s | 300,000 – 400,000 | 3 |" in lines
    assert "| slow-jobs | hammerwork, PostgreSQL | 1.3 × ideal |  | 1 |" in lines
    assert "Machine of graphile-worker 0.17.3, hammerwork, PostgreSQL: two cores." in lines
    assert sum(line.endswith(("| reached |", "| **missed** |", "| not measured |")) for line in lines) == len(GOALS)


def test_the_documentation_has_the_marks() -> None:
    assert insert(REPORT_FILE.read_text(encoding="utf-8"), "new").count("new\n") >= 1


def test_help_names_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["ours", "--help"])
    assert ended.value.code == 0
    told = capsys.readouterr().out
    assert all(option in told for option in ("--only", "--jobs", "--runs", "--output"))


@pytest.mark.parametrize("arguments", [[], ["theirs"], ["ours", "--jobs", "0"], ["peers", "--runs", "-1"]])
def test_bad_arguments_end_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
