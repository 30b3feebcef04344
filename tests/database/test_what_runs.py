"""What runs is what was meant: everything a handler sets going is awaited, and no job sees another's traces."""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
import threading
import time
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import BatchState, HandlerError, Job, JobBatch, JobQueue, JobStatus, Worker, batch_handler
from tests.harness.observing import DEADLINE_SECONDS, all_jobs, finished, happens, only_postgres, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator

pytestmark = only_postgres


def batch(count: int, timeout: float | None = None) -> JobBatch:
    made = JobBatch("b").with_jobs(Job("q", n) for n in range(count)).with_max_attempts(1)
    return made if timeout is None else made.with_timeout(timeout)


# -- generators


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
    batch_id = await queue.enqueue_batch(batch(3, timeout).with_max_attempts(4))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (0, 3)
    for job in await all_jobs(queue, batch_id, JobStatus.FAILED):
        assert job.attempts == 1
        assert job.error is not None
        assert "returned a generator, so nothing has run" in job.error.message
        assert "returning_" in job.error.message


# -- what is returned to be awaited


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
    batch_id = await queue.enqueue_batch(batch(5, timeout))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert sorted(ran) == [0, 1, 2, 3, 4]
    assert (status.completed_jobs, status.failed_jobs) == (4, 1)


async def test_what_a_handler_returns_counts_towards_its_timeout(queue: JobQueue) -> None:
    async def handler(_job: Job) -> Any:
        return asyncio.sleep(3_600)

    batch_id = await queue.enqueue_batch(batch(1).with_timeout(0.1))
    async with running(Worker(queue, "q", handler)):
        await finished(queue, batch_id)
    (job,) = await all_jobs(queue, batch_id, JobStatus.FAILED)
    assert job.error is not None
    assert job.error.type == "JobTimeoutError"


# -- what would end the process


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
    batch_id = await queue.enqueue_batch(batch(10).with_batch_size(1))
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

    batch_id = await queue.enqueue_batch(batch(5))
    async with running(Worker(queue, "q", handler)):
        status = await finished(queue, batch_id)
    assert (status.completed_jobs, status.failed_jobs) == (4, 1)
    (group,) = await queue.get_batch_errors(batch_id)
    assert group.message == f"the handler raised {error.__name__}"


# -- a context for each job

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
    batch_id = await queue.enqueue_batch(batch(30, timeout).with_batch_size(3))
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

    batch_id = await queue.enqueue_batch(batch(50))
    async with running(Worker(queue, "q", handler).with_concurrency(1)):
        await finished(queue, batch_id)
    assert len(tasks) == 1


# -- threads that hang


async def test_threads_that_hang_are_replaced_and_named(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    started = []

    def handler(job: Job) -> None:
        started.append(job.index)
        if job.index < 2:
            release.wait(DEADLINE_SECONDS)

    batch_id = await queue.enqueue_batch(batch(3).with_timeout(0.2))
    worker = Worker(queue, "q", handler).with_concurrency(2)
    try:
        async with running(worker):
            status = await finished(queue, batch_id)
            assert (status.completed_jobs, status.failed_jobs) == (1, 2)
            assert worker.busy_lanes == 0
            release.set()
    finally:
        release.set()
    assert sorted(started) == [0, 1, 2]
    (told,) = [record.getMessage() for record in caplog.records if "cannot be interrupted" in record.getMessage()]
    assert "test_threads_that_hang_are_replaced_and_named.<locals>.handler: a job has timed out" in told
    assert "1 such threads are stuck" in told


async def test_as_many_threads_as_lanes_are_replaced_then_jobs_wait(
    queue: JobQueue, caplog: pytest.LogCaptureFixture
) -> None:
    release = threading.Event()
    started = []

    def handler(job: Job) -> None:
        started.append(job.index)
        if job.index < 4:
            release.wait(DEADLINE_SECONDS)

    def stuck() -> bool:
        return any("all 4 threads are stuck" in record.getMessage() for record in caplog.records)

    batch_id = await queue.enqueue_batch(batch(8).with_timeout(0.2))
    worker = Worker(queue, "q", handler).with_concurrency(2)
    try:
        async with running(worker):
            await happens(stuck)
            assert worker.busy_lanes == 2
            await asyncio.sleep(1)  # several times as long as a job may take
            assert sorted(started) == [0, 1, 2, 3]
            release.set()
            status = await finished(queue, batch_id)
            await happens(lambda: worker.busy_lanes == 0)
    finally:
        release.set()
    assert (status.completed_jobs, status.failed_jobs) == (4, 4)


# -- a blocked event loop


@pytest.mark.parametrize("kind", ["async", "waiting", "batch"])
async def test_no_job_starts_before_the_loop_has_turned_when_one_has_held_it(
    queue: JobQueue, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Otherwise all lanes hold it one after the other, and heartbeats and probes wait for all of them."""
    turns = 0
    at_start: list[int] = []

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0.01)
            turns += 1

    async def handler(_argument: Any) -> None:
        if kind == "waiting":
            await asyncio.sleep(0)
        at_start.append(turns)
        time.sleep(1.3)  # noqa: ASYNC251 (the point)

    counting = asyncio.create_task(count_turns())
    batch_id = await queue.enqueue_batch(batch(4).with_batch_size(1))
    worker = Worker(queue, "q", batch_handler(handler) if kind == "batch" else handler).with_concurrency(4)
    async with running(worker.with_batch_processing_enabled(False) if kind == "batch" else worker):
        await finished(queue, batch_id)
    counting.cancel()
    if kind != "waiting":  # those had all started before the first one held the loop
        assert len(set(at_start)) == 4, at_start
    (told,) = [record for record in caplog.records if "the event loop was blocked" in record.getMessage()]
    assert told.levelno == logging.WARNING
    assert "test_no_job_starts_before_the_loop_has_turned_when_one_has_held_it.<locals>.handler" in told.getMessage()
