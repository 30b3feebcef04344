"""What runs is what was meant: everything a handler sets going is awaited, and nothing in it ends the process."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import HandlerError, Job, JobQueue, JobStatus, Worker, batch_handler
from tests.harness.batches import tried_once
from tests.harness.observing import all_jobs, finished, one_server, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

pytestmark = one_server


def yielding(_job: Any) -> Iterator[int]:
    yield 1


async def yielding_async(_job: Any) -> AsyncIterator[int]:
    yield 1


class Yielding:
    def __call__(self, _job: Any) -> Iterator[int]:
        yield 1

    async def method(self, _job: Any) -> AsyncIterator[int]:
        yield 1


YIELDING = [
    pytest.param(yielding, id="function"),
    pytest.param(yielding_async, id="async function"),
    pytest.param(functools.partial(yielding), id="partial"),
    pytest.param(functools.partial(functools.partial(Yielding())), id="partial of an object"),
    pytest.param(Yielding(), id="object"),
    pytest.param(Yielding().method, id="method"),
    pytest.param(batch_handler(functools.partial(yielding)), id="batch handler"),
]


@pytest.mark.parametrize("handler", YIELDING)
async def test_a_worker_is_not_made_with_a_handler_that_yields(queue: JobQueue, handler: Any) -> None:
    with pytest.raises(HandlerError, match=r"^handler '.*[yY]ielding.*': it has a 'yield' in it"):
        Worker(queue, "q", handler)


def returning_generator(argument: Any) -> Any:
    return yielding(argument)


def returning_async_generator(argument: Any) -> Any:
    return yielding_async(argument)


async def returning_generator_async(argument: Any) -> Any:
    return yielding(argument)


@pytest.mark.parametrize(
    "handler",
    [
        returning_generator,
        returning_async_generator,
        returning_generator_async,
        batch_handler(functools.partial(returning_generator)),
        batch_handler(functools.partial(returning_generator_async)),
    ],
    ids=["plain", "plain, async generator", "async", "batch", "async batch"],
)
@pytest.mark.parametrize("timeout", [None, 30.0])
async def test_a_job_whose_handler_returns_a_generator_fails_for_good(
    queue: JobQueue, handler: Any, timeout: float | None
) -> None:
    batch_id = await queue.enqueue_batch(tried_once(3, timeout).with_max_attempts(4))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (0, 3)
    for job in await all_jobs(queue, batch_id, JobStatus.FAILED):
        assert job.attempts == 1
        assert job.error is not None
        assert "returned a generator, so nothing has run" in job.error.message
        assert "returning_" in job.error.message


class Later:
    """Runs `work` when it is awaited."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._work = work

    def __await__(self) -> Any:
        return self._work().__await__()


def a_coroutine(work: Callable[[], Coroutine[Any, Any, None]]) -> Awaitable[None]:
    return work()


def a_task(work: Callable[[], Coroutine[Any, Any, None]]) -> Awaitable[None]:
    return asyncio.get_running_loop().create_task(work())


def a_concurrent_future(work: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(asyncio.run(work()))
        except BaseException as error:  # noqa: BLE001 (the future carries it)
            future.set_exception(error)

    threading.Thread(target=run).start()
    return future


async def a_coroutine_of_a_coroutine(work: Callable[[], Coroutine[Any, Any, None]]) -> Any:
    return work()


@pytest.mark.parametrize("kind", ["async", "plain", "batch", "plain batch"])
@pytest.mark.parametrize("timeout", [None, 30.0])
@pytest.mark.parametrize("make", [a_coroutine, a_task, Later, a_concurrent_future, a_coroutine_of_a_coroutine])
async def test_what_a_handler_returns_to_be_awaited_is_awaited(
    queue: JobQueue, make: Callable[[Any], Any], timeout: float | None, kind: str
) -> None:
    if make is a_task and kind.startswith("plain"):
        pytest.skip("a thread has no event loop to make a task on")
    ran = []

    async def work(job: Job) -> None:
        await asyncio.sleep(0.01)
        ran.append(job.index)
        if job.index == 2:
            raise ValueError("two")

    def plain(job: Job) -> Any:
        return make(functools.partial(work, job))

    async def async_(job: Job) -> Any:
        return make(functools.partial(work, job))

    async def each(jobs: list[Job]) -> list[BaseException | None]:
        outcomes = await asyncio.gather(*(work(job) for job in jobs), return_exceptions=True)
        return list(outcomes)

    def plain_batch(jobs: list[Job]) -> Any:
        return make(functools.partial(each, jobs))

    async def async_batch(jobs: list[Job]) -> Any:
        return make(functools.partial(each, jobs))

    handler = {
        "async": async_,
        "plain": plain,
        "batch": batch_handler(async_batch),
        "plain batch": batch_handler(plain_batch),
    }[kind]
    batch_id = await queue.enqueue_batch(tried_once(5, timeout))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert sorted(ran) == [0, 1, 2, 3, 4]
    assert (status.completed_jobs, status.failed_jobs) == (4, 1)


async def test_what_a_handler_returns_counts_towards_its_timeout(queue: JobQueue) -> None:
    async def handler(_job: Job) -> Any:
        return asyncio.sleep(3_600)

    batch_id = await queue.enqueue_batch(tried_once(1).with_timeout(0.1))
    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    (job,) = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert job.error is not None
    assert job.error.type == "JobTimeoutError"


@pytest.mark.parametrize("kind", ["async", "plain", "batch", "plain batch", "async, with a context of its own"])
async def test_sys_exit_in_a_handler_fails_its_attempt_only(queue: JobQueue, kind: str) -> None:
    marked: ContextVar[int] = ContextVar("marked")

    def plain(argument: Any) -> None:
        marked.set(1)
        if argument.index == 1 if isinstance(argument, Job) else any(job.index == 1 for job in argument):
            raise SystemExit(0)

    async def async_(argument: Any) -> None:
        plain(argument)
        await asyncio.sleep(0)

    function: Any = plain if "plain" in kind else async_
    batch_id = await queue.enqueue_batch(tried_once(10).with_batch_size(1))
    worker = Worker(queue, "q", batch_handler(function) if "batch" in kind else function)
    async with running(worker.with_concurrency(1).with_batch_processing_enabled(False)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (9, 1)
    (group,) = await queue.get_batch_errors(batch_id)
    assert group.type == "SystemExit"


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
async def test_a_thread_cannot_interrupt_the_worker(queue: JobQueue, error: type[BaseException]) -> None:
    def handler(job: Job) -> None:
        if job.index == 1:
            raise error

    batch_id = await queue.enqueue_batch(tried_once(5))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (4, 1)
    (group,) = await queue.get_batch_errors(batch_id)
    assert group.message == f"the handler raised {error.__name__}"
