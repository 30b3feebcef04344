"""Goals are judged by the results, relative ones by the results of both sides."""

from __future__ import annotations

import pytest

from benchmarks.figures import FIGURES
from benchmarks.goals import BEST_PEER, GOALS, Goal, best_peer, judge
from benchmarks.results import Result
from benchmarks.servers import MariaDB, Postgres

US = Postgres.system


def result(name: str, system: str, value: float) -> Result:
    return Result(name, system, value, "jobs/s", value, value, 1, "a machine")


@pytest.mark.parametrize(
    ("at_most", "value", "reached"),
    [(False, 94.9, False), (False, 95, True), (True, 95, True), (True, 95.1, False)],
)
def test_an_absolute_goal_is_a_limit_for_the_value(at_most: bool, value: float, reached: bool) -> None:
    verdict = judge(Goal("g", "pickup-p50", 95, at_most=at_most), [result("pickup-p50", US, value)])
    assert (verdict.measured, verdict.reached) == (value, reached)


def test_a_relative_goal_divides_by_the_other_system() -> None:
    goal = Goal("g", "enqueue", 0.4, MariaDB.system, relative_to=("enqueue", US))
    results = [result("enqueue", MariaDB.system, 30), result("enqueue", US, 100)]
    verdict = judge(goal, results)
    assert (verdict.measured, verdict.reached, verdict.compared_with) == (0.3, False, "")


def test_the_best_peer_of_a_drain_may_have_had_one_process_or_two() -> None:
    results = [
        result("drain-1", US, 600),
        result("drain-2", US, 900),
        result("drain-1", MariaDB.system, 500),
        result("drain-1", "slow", 10),
        result("drain-1", "fast", 80),
        result("drain-2", "fast", 100),
        result("enqueue", "fast", 5000),
    ]
    best = best_peer(results, "drain")
    assert best is not None
    assert (best.system, best.value) == ("fast", 100)
    verdict = judge(Goal("g", "drain-1", 6, relative_to=("drain", BEST_PEER)), results)
    assert (verdict.measured, verdict.reached, verdict.compared_with) == (6, True, "fast")


@pytest.mark.parametrize(
    "results",
    [[], [result("drain-1", "fast", 1)], [result("drain-1", US, 1)]],
    ids=["nothing", "only the peer", "only us"],
)
def test_without_results_there_is_no_verdict(results: list[Result]) -> None:
    assert judge(Goal("g", "drain-1", 6, relative_to=("drain", BEST_PEER)), results).reached is None


def test_every_goal_is_about_figures_that_exist() -> None:
    for goal in GOALS:
        assert goal.figure in FIGURES
        if goal.relative_to is not None:
            assert goal.relative_to[0] in {*FIGURES, "drain"}
