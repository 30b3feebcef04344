"""Connections that cannot be made, break, or are refused."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest

from hammerwork import (
    DatabaseRefusedError,
    DatabaseUnavailableError,
    Job,
    JobQueue,
    UnsupportedDatabaseError,
    Worker,
)
from tests.harness.batches import batch
from tests.harness.observing import eventually, finished, running
from tests.harness.servers.mariadb import mariadb_server

if TYPE_CHECKING:
    from uuid import UUID

    from tests.harness.observing import Sql
    from tests.harness.servers import Server

pytestmark = pytest.mark.only("mysql")


async def test_broken_connections_are_replaced(queue: JobQueue, sql: Sql) -> None:
    await asyncio.gather(*(queue.ping() for _ in range(5)))
    for number in await sql.connections():
        await sql.end_connection(number)

    async def works() -> bool:
        with contextlib.suppress(DatabaseUnavailableError):
            await queue.ping()
            return True
        return False

    await eventually(works, bool)
    await queue.enqueue_batch(batch(3))


@pytest.mark.administrator
async def test_what_is_wrong_is_told(server: Server) -> None:
    port = server.port
    with pytest.raises(DatabaseUnavailableError, match=r"mysql://127\.0\.0\.1:1/x"):
        await JobQueue.connect("mysql://root:secret@127.0.0.1:1/x", connect_timeout=5)
    with pytest.raises(DatabaseRefusedError, match="Unknown database 'nowhere'"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/nowhere")
    with pytest.raises(DatabaseRefusedError, match="Access denied") as caught:
        await JobQueue.connect(f"mysql://root:secret@127.0.0.1:{port}/mysql")
    assert "secret" not in str(caught.value)
    with pytest.raises(UnsupportedDatabaseError, match="names no database"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}")
    with pytest.raises(UnsupportedDatabaseError, match="option 'charset' is unknown"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/mysql?charset=latin1")
    with pytest.raises(UnsupportedDatabaseError, match="ssl_mode 'MAYBE'"):
        await JobQueue.connect(f"mysql://root@127.0.0.1:{port}/mysql?ssl_mode=MAYBE")


async def test_tables_that_are_missing_are_waited_for(database_url: str) -> None:
    async with await JobQueue.connect(database_url) as queue:
        with pytest.raises(DatabaseUnavailableError, match="run `hammerwork migrate` to create or upgrade them"):
            await queue.enqueue_batch(batch(1))


@pytest.mark.own_server
async def test_a_worker_goes_on_after_the_server_was_killed() -> None:
    with mariadb_server() as server:
        async with await JobQueue.connect(server.url(), connect_timeout=2) as queue:
            await queue.create_tables()
            batch_id = await queue.enqueue_batch(batch(300).with_batch_size(10))
            runs = [0] * 300
            halfway = asyncio.Event()

            async def handler(job: Job) -> None:
                runs[job.index] += 1
                await asyncio.sleep(0.005)
                if sum(runs) >= 100:
                    halfway.set()

            async with running(Worker(queue, "q", handler).with_concurrency(4)):
                async with asyncio.timeout(40):
                    await halfway.wait()
                server.stop("immediate")
                server.start()
                status = await finished_in_spite(queue, batch_id)
            assert (status.completed_jobs, status.failed_jobs) == (300, 0)
            assert max(runs) == 1, "nothing ran twice: the worker lived on"


async def finished_in_spite(queue: JobQueue, batch_id: UUID) -> Any:
    async def look() -> Any:
        with contextlib.suppress(DatabaseUnavailableError):
            return await queue.get_batch_status(batch_id)
        return None

    return await eventually(look, lambda status: status is not None and status.finished)


async def test_listening_is_quiet(queue: JobQueue, caplog: pytest.LogCaptureFixture) -> None:
    batch_id = await queue.enqueue_batch(batch(10))

    async def handler(job: Job) -> None:
        pass

    with caplog.at_level(logging.WARNING):
        async with running(Worker(queue, "q", handler)):
            await finished(queue, batch_id)
    assert caplog.records == []
