"""Writes results and goals into the documentation, between two marks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.figures import FIGURES
from benchmarks.goals import GOALS, judge
from benchmarks.measuring import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.goals import Verdict
    from benchmarks.results import Result

BEGIN = "<!-- results: begin, written by `python -m benchmarks report` -->"
END = "<!-- results: end -->"


class ReportError(Exception):
    """The document has no place for the results."""


def write_report(results: Sequence[Result], document: Path) -> None:
    """Replace what stands between the marks in a document.

    Raises:
        ReportError: A mark is missing.
    """
    document.write_text(insert(document.read_text(encoding="utf-8"), render(results)), encoding="utf-8")


def insert(text: str, report: str) -> str:
    """Return the text with a report between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ReportError(f"the document needs a line {BEGIN!r} and below it a line {END!r}")
    return f"{before}{begin}\n\n{report}\n{end}{after}"


def render(results: Sequence[Result]) -> str:
    """Return the goals, the figures and the machines as Markdown."""
    return "\n".join(
        ["### Goals", "", *_goals(results), "", "### Figures", "", *_figures(results), "", *_machines(results), ""]
    )


def _goals(results: Sequence[Result]) -> Iterator[str]:
    yield "| goal | limit | measured | |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        verdict = judge(goal, results)
        sign = "≤" if goal.at_most else "≥"
        yield f"| {goal.meaning} | {sign} {goal.limit:g} {goal.unit} | {_measured(verdict)} | {_word(verdict)} |"


def _measured(verdict: Verdict) -> str:
    if verdict.measured is None:
        return "–"
    with_whom = f" ({verdict.compared_with})" if verdict.compared_with else ""
    return f"{number(verdict.measured)} {verdict.goal.unit}{with_whom}"


def _word(verdict: Verdict) -> str:
    return {True: "reached", False: "**missed**", None: "not measured"}[verdict.reached]


def _figures(results: Sequence[Result]) -> Iterator[str]:
    yield "| figure | system | median | lowest – highest | runs |"
    yield "|---|---|---|---|---|"
    for figure in FIGURES.values():
        of_figure = sorted((r for r in results if r.name == figure.name), key=lambda r: -r.value)
        for result in of_figure:
            spread = f"{number(result.min)} – {number(result.max)}" if result.runs > 1 else ""
            value = f"{number(result.value)} {result.unit}"
            yield f"| {figure.name} | {result.system} | {value} | {spread} | {result.runs} |"
    yield ""
    for figure in FIGURES.values():
        yield f"- `{figure.name}`: {figure.meaning}."


def _machines(results: Sequence[Result]) -> Iterator[str]:
    for machine in sorted({result.machine for result in results}):
        systems = sorted({result.system for result in results if result.machine == machine})
        yield f"Machine of {', '.join(systems)}: {machine}."
