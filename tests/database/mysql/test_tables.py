"""Tables, the privileges that they need, and what they hold to."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest

from hammerwork import (
    DatabaseError,
    Job,
    JobQueue,
    Worker,
)
from hammerwork.backends.protocol import Settled, Settlement
from tests.harness import observing
from tests.harness.batches import batch
from tests.harness.observing import finished, running
from tests.harness.steered import SteeredWorker

if TYPE_CHECKING:
    from tests.harness.servers import Server

pytestmark = pytest.mark.only("mysql")


async def test_tables_are_made_once_by_many(database_url: str) -> None:
    async with contextlib.AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(await JobQueue.connect(database_url)) for _ in range(5)]
        await asyncio.gather(*(queue.create_tables() for queue in queues for _ in range(2)))
        async with observing.sql(database_url) as sql:
            names = [row[0] for row in await sql.rows("SELECT name FROM hammerwork_migrations ORDER BY name")]
        files = ("001_tables", "002_lost_workers", "003_retries")
        assert names == ["", *(f"migrations/{name}.sql" for name in files)]


@pytest.mark.administrator
@pytest.mark.filterwarnings("ignore:User .* is referenced as a definer account")
async def test_a_user_needs_no_privilege_but_those_on_the_tables(server: Server, database_url: str) -> None:
    name = database_url.rsplit("/", 1)[1]
    user = f"u{uuid.uuid4().hex[:12]}"
    async with observing.sql(server.url()) as root:
        await root.run(f"CREATE USER {user}@'127.0.0.1'")
        await root.run(f"CREATE USER {user}@localhost")
        for host in ("'127.0.0.1'", "localhost"):
            await root.run(
                f"GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, CREATE VIEW ON {name}.* TO {user}@{host}"
            )
        async with await JobQueue.connect(server.url(name, user=user)) as queue:
            await queue.create_tables()
            done: list[int] = []

            async def handler(job: Job) -> None:
                done.append(job.index)

            batch_id = await queue.enqueue_batch(batch(10))
            async with running(Worker(queue, "q", handler)):
                await finished(queue, batch_id)
            assert sorted(done) == list(range(10))
            assert await queue.delete_batch(batch_id)
        for host in ("'127.0.0.1'", "localhost"):
            await root.run(f"DROP USER {user}@{host}")


async def test_two_settlements_of_one_claim_count_once(queue: JobQueue) -> None:
    await queue.enqueue_batch(batch(10))
    worker = SteeredWorker(queue)
    held = await worker.take()
    report = Settlement(claim=held.claim.id, open=10, completed=4, remaining=[(4, 9)])
    for _ in range(2):
        assert (await queue.backend.exchange(worker.id, "q", [report], 0)).settled == {held.claim.id: Settled.OK}
    wrong = msgspec.structs.replace(report, completed=5, open=9, remaining=[(9, 9)])
    with pytest.raises(DatabaseError, match="6 are open"):
        await queue.backend.exchange(worker.id, "q", [wrong], 0)
    with pytest.raises(DatabaseError, match="7 outcomes reported for 6 open jobs"):
        await queue.backend.exchange(worker.id, "q", [msgspec.structs.replace(report, completed=7, open=6)], 0)
    stranger = await queue.backend.exchange(uuid.uuid4(), "q", [msgspec.structs.replace(report, open=6)], 0)
    assert stranger.settled == {held.claim.id: Settled.LOST}
    (status,) = await queue.list_batches()
    assert (status.completed_jobs, status.running_jobs) == (4, 6)
