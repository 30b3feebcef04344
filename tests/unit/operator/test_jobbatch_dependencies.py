"""What a JobBatch waits for: one batch judged by the others, and who waits for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hammerwork import BatchState
from hammerwork_operator.api.dependencies import DependencySpec
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.dependencies import Dependencies, DependencyIndex
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.plan import Plan, Step, decide
from tests.unit.operator.builders import NOW, ago, batch, condition, row

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.observed import ObservedBatch

ENDS = {
    "succeeded": (BatchState.COMPLETED, {"completed_jobs": 2}),
    "with errors": (BatchState.COMPLETED_WITH_ERRORS, {"completed_jobs": 1, "failed_jobs": 1}),
    "failed": (BatchState.FAILED, {"failed_jobs": 1, "cancelled_jobs": 1}),
}


BARE = batch()


def named(name: str, *depends_on: str | dict[str, str], before: dict[str, Any] | None = None) -> ObservedBatch:
    given = [{"name": each} if isinstance(each, str) else each for each in depends_on]
    return batch({"dependsOn": given} if given else {}, before, name=name)


def waiting(name: str, *depends_on: str) -> ObservedBatch:
    """The same as `named`, made in microseconds."""
    spec = msgspec.structs.replace(BARE.spec, depends_on=[DependencySpec(each) for each in depends_on])
    return msgspec.structs.replace(BARE, name=name, spec=spec)


def ended(name: str, how: str) -> ObservedBatch:
    state, counts = ENDS[how]
    found = row(named(name), state, finished_at=ago(1), **counts)
    return named(name, before=status.compute(named(name), Facts(row=found), NOW))


def running(name: str) -> ObservedBatch:
    return named(name, before=status.compute(named(name), Facts(row=row(named(name))), NOW))


def told(observed: ObservedBatch, *others: ObservedBatch) -> Dependencies:
    index = DependencyIndex()
    for each in (*others, observed):
        index.seen(each)
    return index.of(observed)


def keys(*names: str) -> set[tuple[str, str]]:
    return {("mail", name) for name in names}


SUCCEEDED = {"name": "a", "condition": "Succeeded"}
FAILED_A = "JobBatch a has failed"
WITH_ERRORS = "JobBatch a is complete with failed jobs, and has to be Succeeded"


@pytest.mark.parametrize(
    ("wish", "others", "reason", "message"),
    [
        ("a", [], "DependencyNotReady", "waits for JobBatch a to be Complete (it does not exist)"),
        (SUCCEEDED, [running("a")], "DependencyNotReady", "waits for JobBatch a to be Succeeded"),
        ("a", [named("a")], "DependencyNotReady", "waits for JobBatch a to be Complete"),
        ("a", [ended("a", "succeeded")], None, ""),
        ("a", [ended("a", "with errors")], None, ""),
        ("a", [ended("a", "failed")], "DependencyFailed", FAILED_A),
        (SUCCEEDED, [ended("a", "succeeded")], None, ""),
        (SUCCEEDED, [ended("a", "with errors")], "DependencyFailed", WITH_ERRORS),
        (SUCCEEDED, [ended("a", "failed")], "DependencyFailed", FAILED_A),
    ],
)
def test_a_dependency_is_judged(
    wish: str | dict[str, str], others: list[ObservedBatch], reason: str | None, message: str
) -> None:
    judged = told(named("b", wish), *others)
    assert (judged.reason, judged.message) == (reason, message)
    assert judged.satisfied == (() if reason else ("a",))


def test_an_end_that_an_older_operator_wrote_counts() -> None:
    for how, holds in (("succeeded", True), ("with errors", False)):
        found = dict(ended("a", how).status)
        found["conditions"] = [entry for entry in found["conditions"] if entry["type"] != "Succeeded"]
        assert (told(named("b", SUCCEEDED), named("a", before=found)).reason is None) is holds


def test_the_end_of_another_run_does_not_count() -> None:
    other = batch({"runId": "tuesday"}, dict(ended("a", "succeeded").status), name="a")
    assert told(named("b", "a"), other).reason is Reason.DEPENDENCY_NOT_READY


def test_what_has_been_satisfied_stays_so() -> None:
    waits = named("b", "a", "c")
    facts = Facts(dependencies=told(waits, ended("a", "succeeded")))
    before = status.compute(waits, facts, NOW)
    assert before["satisfiedDependencies"] == ["a"]
    later = named("b", "a", "c", before=before)
    for others in ([], [ended("a", "failed")], [running("a")]):
        assert told(later, *others).message == "waits for JobBatch c to be Complete (it does not exist)"
    assert told(later, ended("c", "succeeded")) == Dependencies(satisfied=("a", "c"), recorded=False)


def test_jobs_are_loaded_only_once_the_status_says_that_all_are_satisfied() -> None:
    waits = named("b", "a")
    dependencies = told(waits, ended("a", "succeeded"))
    assert decide(waits, Facts(dependencies=dependencies), NOW) == Plan(Step.WAIT)
    recorded = named("b", "a", before=status.compute(waits, Facts(dependencies=dependencies), NOW))
    assert decide(recorded, Facts(dependencies=told(recorded)), NOW) == Plan(Step.LOAD)


@pytest.mark.parametrize("others", [[], [running("a")], [ended("a", "failed")]])
def test_a_batch_that_waits_or_cannot_begin_rests(others: list[ObservedBatch]) -> None:
    waits = named("b", "a")
    assert decide(waits, Facts(dependencies=told(waits, *others)), NOW) == Plan(Step.REST)


def test_a_failed_dependency_is_the_end() -> None:
    waits = named("b", "a")
    computed = status.compute(waits, Facts(dependencies=told(waits, ended("a", "failed"))), NOW)
    assert condition(computed, "Failed") == "True DependencyFailed"
    failed = named("b", "a", before=computed)
    assert failed.stated.finished
    assert told(named("c", "b"), failed).reason is Reason.DEPENDENCY_FAILED


def test_a_loaded_batch_asks_for_its_dependencies_no_more() -> None:
    before = status.compute(named("b"), Facts(row=row(named("b"))), NOW)
    assert told(named("b", "a", before=before)).reason is None


def test_dependencies_do_not_define_the_jobs() -> None:
    assert named("b", "a").batch_id == named("b").batch_id


def test_those_who_wait_are_woken_by_an_end_and_by_nothing_else() -> None:
    index = DependencyIndex()
    assert index.seen(named("b", "a")) == set()
    assert index.seen(named("a")) == keys("b")
    assert index.seen(running("a")) == set()
    assert index.is_awaited(("mail", "a"))
    assert index.seen(ended("a", "succeeded")) == keys("b")
    assert index.seen(ended("a", "succeeded")) == set()
    index.listed()
    judged = status.compute(named("b", "a"), Facts(dependencies=index.of(named("b", "a"))), NOW)
    index.seen(named("b", "a", before=judged))
    assert not index.is_awaited(("mail", "a"))
    assert DependencyIndex().is_awaited(("mail", "a")), "who waits for it may not be listed yet"
    assert index.gone(("mail", "a")) == set()


def test_only_the_same_namespace_counts() -> None:
    index = DependencyIndex()
    index.seen(msgspec.structs.replace(ended("a", "succeeded"), namespace="other"))
    assert index.of(named("b", "a")).reason is Reason.DEPENDENCY_NOT_READY


@pytest.mark.parametrize(
    ("edges", "paths"),
    [
        ({"a": "a"}, {"a": "a → a"}),
        ({"a": "b", "b": "a"}, {"a": "a → b → a", "b": "b → a → b"}),
        ({"a": "b", "b": "c", "c": "a"}, {"a": "a → b → c → a", "c": "c → a → b → c"}),
    ],
)
def test_a_cycle_is_told_and_ends_with_one_of_its_members(edges: dict[str, str], paths: dict[str, str]) -> None:
    index = DependencyIndex()
    for name, other in edges.items():
        woken = index.seen(named(name, other))
    assert woken == keys(*edges) - keys(name)
    outside = named("outside", "a")
    assert index.seen(outside) == set()
    for name, path in paths.items():
        judged = index.of(named(name, edges[name]))
        assert (judged.reason, path in judged.message) == (Reason.DEPENDENCY_CYCLE, True)
    assert index.of(outside).reason is Reason.DEPENDENCY_NOT_READY
    assert index.gone(("mail", "a")) == keys(*edges, "outside") - keys("a")
    for name in edges.keys() - {"a"}:
        assert index.of(named(name, edges[name])).reason is Reason.DEPENDENCY_NOT_READY


NAMES = st.sampled_from("abcdef")


@settings(deadline=None)
@given(story=st.lists(st.tuples(NAMES, st.one_of(st.none(), st.sets(NAMES, max_size=3))), max_size=25))
def test_the_index_knows_those_and_only_those_who_wait_for_themselves(story: list[tuple[str, set[str] | None]]) -> None:
    index, there = DependencyIndex(), dict[str, set[str]]()
    said: dict[str, bool] = {}
    for name, waits_for in story:
        if waits_for is None:
            there.pop(name, None)
            woken = index.gone(("mail", name))
        else:
            there[name] = waits_for
            woken = index.seen(waiting(name, *sorted(waits_for)))
        now = {each: index.of(waiting(each, *sorted(there[each]))).reason is Reason.DEPENDENCY_CYCLE for each in there}
        assert now == {each: waits_for_itself(each, there) for each in there}
        changed = {each for each in now if said.get(each, False) != now[each]}
        assert changed - {name} <= {each for _, each in woken}
        said = now


def waits_for_itself(name: str, there: dict[str, set[str]]) -> bool:
    reached: set[str] = set()
    new = set(there[name])
    while new:
        reached |= new
        new = {other for each in new for other in there.get(each, ())} - reached
    return name in reached


def test_a_long_chain_is_learned_quickly_whatever_its_order() -> None:
    length = 3_000
    for order in (range(length), reversed(range(length)), sorted(range(length), key=lambda n: n * 7919 % length)):
        index = DependencyIndex()
        for n in order:
            index.seen(waiting(f"n{n}", f"n{n + 1}"))
        assert index.seen(waiting(f"n{length}", "n0")) == keys(*(f"n{n}" for n in range(length)))
