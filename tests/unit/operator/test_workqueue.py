from __future__ import annotations

import asyncio
import logging

import pytest
from prometheus_client import generate_latest

from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.kube.workqueue import Key, Workqueue
from hammerwork_operator.metrics import Metrics

KEY = ("namespace", "name")
DEADLINE = 40.0


async def test_a_key_runs_once_at_a_time_and_again_when_asked_meanwhile() -> None:
    running, most, runs = 0, 0, 0
    started, go_on = asyncio.Event(), asyncio.Event()

    async def reconcile(_: Key) -> float | None:
        nonlocal running, most, runs
        running, runs = running + 1, runs + 1
        most = max(most, running)
        started.set()
        await go_on.wait()
        running -= 1
        return None

    queue = Workqueue("Kind", reconcile, Metrics())
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        await started.wait()
        for _ in range(5):
            queue.add(KEY)
        go_on.set()
        while runs < 2 or running:
            await asyncio.sleep(0)
    await queue.stop()
    assert (most, runs) == (1, 2)


async def test_a_request_cuts_the_pause_short() -> None:
    runs = 0
    first, second = asyncio.Event(), asyncio.Event()

    async def reconcile(_: Key) -> float | None:
        nonlocal runs
        runs += 1
        (first if runs == 1 else second).set()
        return 3600.0

    queue = Workqueue("Kind", reconcile, Metrics())
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        await first.wait()
        await asyncio.sleep(0)
        queue.add(KEY)
        await second.wait()
    await queue.stop()
    assert runs == 2


async def test_it_runs_again_after_the_time_that_it_asked_for() -> None:
    done = asyncio.Event()
    answers = [0.0, 0.01, None]

    async def reconcile(_: Key) -> float | None:
        answer = answers.pop(0)
        if not answers:
            done.set()
        return answer

    queue = Workqueue("Kind", reconcile, Metrics())
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        await done.wait()
    await queue.stop()


@pytest.mark.parametrize("error", [RuntimeError("boom"), ApiError(409, "conflict"), ApiError(500, "down")])
async def test_an_error_is_tried_again(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()
    errors: list[Exception] = [error]

    async def reconcile(_: Key) -> float | None:
        if errors:
            raise errors.pop()
        done.set()
        return None

    metrics = Metrics()
    queue = Workqueue("Kind", reconcile, metrics)
    with caplog.at_level(logging.CRITICAL):
        queue.add(KEY)
        async with asyncio.timeout(DEADLINE):
            await done.wait()
    await queue.stop()
    assert b'hammerwork_operator_reconciles_total{kind="Kind",outcome="success"} 1.0' in generate_latest(
        metrics.registry
    )


async def test_stopping_ends_what_runs_and_takes_no_more() -> None:
    started, ended = asyncio.Event(), asyncio.Event()

    async def reconcile(_: Key) -> float | None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return None

    queue = Workqueue("Kind", reconcile, Metrics())
    queue.add(KEY)
    async with asyncio.timeout(DEADLINE):
        await started.wait()
        await queue.stop()
    assert ended.is_set()
    started.clear()
    queue.add(KEY)
    await asyncio.sleep(0)
    assert not started.is_set()
