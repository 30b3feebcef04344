"""The operator's view of the queues that pools serve: on a real database, turn by turn."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import Job, JobBatch, QueueDepth, Worker
from hammerwork_operator.databases import backlogs
from hammerwork_operator.databases.backlogs import THOROUGH_TURNS, Backlogs
from tests.harness.handlers import nothing
from tests.harness.observing import finished, running
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from hammerwork import JobQueue


def jobs(queue: str, count: int) -> JobBatch:
    return JobBatch("some").with_jobs([Job(queue, n) for n in range(count)])


@pytest.fixture
def asked(queue: JobQueue, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The calls of the queue, as they are made; each turn is due at once, however slow the one before was."""
    calls: list[str] = []
    for name in ("get_queue_depths", "get_queue_activities"):
        original = getattr(queue, name)

        def counted(*arguments: Any, _name: str = name, _original: Any = original) -> Any:
            calls.append(_name)
            return _original(*arguments)

        monkeypatch.setattr(queue, name, counted)
    monkeypatch.setattr(backlogs, "COST_FACTOR", 0.0)
    return calls


async def turn(of: Backlogs) -> backlogs.Turn:
    next_one = of.next_turn()
    await of.refresh(next_one)
    return next_one


async def test_one_query_a_turn_serves_all_queues(queue: JobQueue, asked: list[str]) -> None:
    known = Backlogs(queue)
    assert not (await turn(known)).due
    assert asked == [], "nobody follows anything"
    news: list[int] = []
    for number in range(20):
        known.follow(number, f"q{number}", 10, lambda number=number: news.append(number))  # type: ignore[misc]
    assert known.depth("q3") is None
    await queue.enqueue_batch(jobs("q3", 7))
    for _ in range(2 * THOROUGH_TURNS):
        await turn(known)
    assert asked.count("get_queue_depths") == 2 * THOROUGH_TURNS
    assert asked.count("get_queue_activities") == 2
    found, empty = known.depth("q3"), known.depth("q4")
    assert found is not None
    assert (found.ready, empty) == (7, QueueDepth.none("q4"))
    assert news == []
    known.wake()
    assert news == list(range(20))
    for number in range(20):
        known.unfollow(number, f"q{number}")
    assert not known.followed


async def test_the_mean_duration_is_remembered(queue: JobQueue, asked: list[str]) -> None:
    known = Backlogs(queue)
    known.follow("pool", "q", 10, lambda: None)
    assert (await turn(known)).thorough
    assert known.job_seconds("q") is None
    batch_id = await queue.enqueue_batch(jobs("q", 20))
    worker = Worker(queue, "q", nothing)
    async with running(worker):
        await finished(queue, batch_id)

    async def processed() -> int:
        await turn(known)
        activity = known.activity("q")
        return activity.total_processed if activity else 0

    await eventually(processed, lambda count: count == 20)
    assert known.job_seconds("q") is not None
    assert asked


def test_pools_share_a_queue_by_what_they_can_run(queue: JobQueue) -> None:
    known = Backlogs(queue)
    known.follow("fixed", "q", 20, lambda: None)
    assert known.share("fixed", "q") == 1.0
    known.follow("more", "q", 180, lambda: None)
    known.follow("none", "q", 0, lambda: None)
    known.follow("other", "another", 7, lambda: None)
    assert [known.share(name, "q") for name in ("fixed", "more", "none")] == [0.1, 0.9, 0.0]
    assert known.share("other", "another") == 1.0
    known.unfollow("fixed", "q")
    assert known.share("more", "q") == 1.0
