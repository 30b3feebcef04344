"""Tasks of the operator that end unasked."""

from __future__ import annotations

import asyncio

import pytest

from hammerwork_operator import tasks
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.tasks import KeptTask

DEADLINE = 40.0


@pytest.fixture(autouse=True)
def restarted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.0)


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def restarts(metrics: Metrics, kind: str) -> float:
    return metrics.registry.get_sample_value("hammerwork_operator_restarted_tasks_total", {"task": kind}) or 0.0


class Work:
    """Runs on until it is told to end in one of the ways of `endings`, one after the other."""

    def __init__(self, *endings: BaseException | None) -> None:
        self.starts = 0
        self._endings = list(endings)
        self.steady = asyncio.Event()

    async def __call__(self) -> None:
        self.starts += 1
        if self._endings:
            ending = self._endings.pop(0)
            if ending is not None:
                raise ending
            return
        self.steady.set()
        await asyncio.Event().wait()


async def test_whatever_ends_it_unasked_it_is_started_again_and_counted(metrics: Metrics) -> None:
    # A driver raises CancelledError where it has cancelled the task that it waits for.
    work = Work(ValueError("a fault"), RecursionError("too deep"), asyncio.CancelledError(), None)
    task = KeptTask("poller", "poll", work, metrics)
    await asyncio.wait_for(work.steady.wait(), DEADLINE)
    assert (work.starts, restarts(metrics, "poller")) == (5, 4)
    (running,) = [each for each in asyncio.all_tasks() if each.get_name() == "poll"]
    work.steady.clear()
    running.cancel()  # by somebody whose task it is not
    await asyncio.wait_for(work.steady.wait(), DEADLINE)
    assert (work.starts, restarts(metrics, "poller")) == (6, 5)
    await task.stop()
    assert (work.starts, restarts(metrics, "poller")) == (6, 5)


async def test_one_that_is_told_to_end_before_its_next_start_is_not_started(metrics: Metrics) -> None:
    work = Work(ValueError("a fault"))
    task = KeptTask("poller", "poll", work, metrics)
    while not restarts(metrics, "poller"):
        await asyncio.sleep(0)
    await task.stop()
    await asyncio.sleep(0.01)
    assert work.starts == 1


async def test_work_that_has_an_end_is_not_repeated(metrics: Metrics) -> None:
    work = Work(ValueError("a fault"), None)
    KeptTask("reconcile", "once", work, metrics, ends=True)
    async with asyncio.timeout(DEADLINE):
        while work.starts < 2:
            await asyncio.sleep(0)
    await asyncio.sleep(0.01)
    assert (work.starts, restarts(metrics, "reconcile")) == (2, 1)


async def test_a_key_whose_task_is_killed_is_reconciled_all_the_same(metrics: Metrics) -> None:
    runs = 0
    done = asyncio.Event()

    async def reconcile(_: Key) -> float | None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise asyncio.CancelledError
        done.set()
        return None

    queue = Workqueue("Kind", reconcile, metrics)
    queue.add(("namespace", "name"))
    await asyncio.wait_for(done.wait(), DEADLINE)
    await queue.stop()
    assert (runs, restarts(metrics, "reconcile")) == (2, 1)
