"""Each job runs in a context of its own."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from hammerwork import BatchState, Job, JobQueue, Worker, batch_handler
from tests.harness.batches import tried_once
from tests.harness.observing import finished, one_server, running

pytestmark = one_server


tenant: ContextVar[str] = ContextVar("tenant")


class Uncomparable:
    def __eq__(self, _other: object) -> bool:
        raise ValueError("the truth value of this is ambiguous")

    __hash__ = None  # type: ignore[assignment]


@pytest.mark.parametrize("kind", ["async", "waiting", "plain", "batch", "plain batch", "plain, then awaited"])
@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("failing", [False, True])
async def test_a_job_sees_what_was_set_before_run_and_nothing_of_other_jobs(
    queue: JobQueue, kind: str, timeout: float | None, failing: bool
) -> None:
    seen: list[str] = []
    strange: ContextVar[object] = ContextVar("strange", default=None)

    def look(argument: Any) -> None:
        seen.append(tenant.get("nothing"))
        tenant.set("somebody else")
        assert strange.get() is None
        strange.set(Uncomparable())
        if failing:
            raise ValueError(argument)

    async def async_(argument: Any) -> None:
        look(argument)

    async def waiting(argument: Any) -> None:
        await asyncio.sleep(0)
        look(argument)
        await asyncio.sleep(0)
        assert tenant.get() == "somebody else"

    def then_awaited(_argument: Any) -> Any:
        tenant.set("set in the thread")

        async def after() -> None:
            assert tenant.get() == "set in the thread"
            seen.append("before run")

        return after()

    function: Any = {"waiting": waiting, "plain, then awaited": then_awaited}.get(
        kind, look if "plain" in kind else async_
    )
    handler = batch_handler(function) if "batch" in kind else function
    batch_id = await queue.enqueue_batch(tried_once(30, timeout).with_batch_size(3))
    token = tenant.set("before run")
    try:
        async with running(Worker(queue, "q", handler).with_concurrency(2)):
            status = await finished(queue, batch_id)
    finally:
        tenant.reset(token)
    assert set(seen) == {"before run"}
    if not failing or "then" in kind:
        assert status.state is BatchState.COMPLETED, await queue.get_batch_errors(batch_id)
    else:
        assert {group.type for group in await queue.get_batch_errors(batch_id)} == {"ValueError"}


async def test_variables_that_are_put_back_cost_no_context(queue: JobQueue) -> None:
    tasks = set()

    async def handler(_job: Job) -> None:
        tasks.add(asyncio.current_task())
        tenant.reset(tenant.set("for a while"))

    batch_id = await queue.enqueue_batch(tried_once(50))
    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        await finished(queue, batch_id)
    assert len(tasks) == 1
