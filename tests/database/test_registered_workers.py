"""The operator's view of which queues have workers: on a real database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork import Worker
from hammerwork_operator.databases import workers
from hammerwork_operator.databases.workers import RegisteredWorkers
from tests.harness.handlers import nothing
from tests.harness.observing import running
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    import pytest

    from hammerwork import JobQueue


async def test_one_query_tells_of_all_queues_and_none_is_made_for_nobody(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    original = queue.get_workers

    async def counted() -> object:
        asked.append(1)
        return await original()

    monkeypatch.setattr(queue, "get_workers", counted)
    known, news = RegisteredWorkers(queue), list[str]()
    await known.refresh()
    assert asked == [], "nobody follows anything"
    for name in ("a", "b", "c"):
        known.follow(f"batch of {name}", name, lambda name=name: news.append(name))  # type: ignore[misc]
    assert known.work_on("a") is None
    await known.refresh()
    await known.refresh()
    assert (len(asked), known.work_on("a"), news) == (1, False, ["a", "b", "c"])
    known.follow("another of a", "a", lambda: news.append("another"))
    known.follow("batch of d", "d", lambda: news.append("d"))
    await known.refresh()
    assert (len(asked), news[3:]) == (2, ["d"])

    monkeypatch.setattr(workers, "LOOK_SECONDS", 0.0)
    async with running(Worker(queue, "a", nothing)):
        await eventually(known.refresh, lambda _: known.work_on("a") is True)
        assert (known.work_on("b"), sorted(news[4:])) == (False, ["a", "another"])
    await eventually(known.refresh, lambda _: known.work_on("a") is False)
    assert sorted(news[6:]) == ["a", "another"]
    for follower in ("batch of a", "another of a", "batch of b", "batch of c", "batch of d"):
        known.unfollow(follower)
    del asked[:]
    await known.refresh()
    assert asked == []
