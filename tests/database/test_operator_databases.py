"""The operator's view of a database: what it says of one that refuses, and how it comes back by itself."""

from __future__ import annotations

import asyncio
import uuid
import warnings
from typing import TYPE_CHECKING

import pytest

from hammerwork import DatabaseError, DatabaseRefusedError, JobQueue
from hammerwork_operator import tasks
from hammerwork_operator.api.common import DatabaseSecretRef
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.databases import registry
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.metrics import Metrics
from tests.harness import observing
from tests.harness.batches import batch
from tests.harness.observing import happens
from tests.harness.secrets import SecretServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork_operator.databases.followed import FollowedQueue
    from tests.harness.observing import Sql

REF = DatabaseSecretRef()
NAMESPACE = "mail"


class App:
    """A database of its own, and a user whose rights come and go."""

    def __init__(self, sql: Sql, url: str) -> None:
        self.name = f"own_{uuid.uuid4().hex}"  # MariaDB gives everybody what is called test_…
        self.postgres = url.startswith("postgres")
        self._sql = sql
        self.admin_url = f"{url.rpartition('/')[0]}/{self.name}"
        self.url = self.admin_url.replace("postgres@", "app:Geheim42@").replace("root@", "app:Geheim42@")

    async def create(self) -> None:
        await self._sql.run(f"CREATE DATABASE {self.name}")
        if self.postgres:
            await self._sql.run("CREATE ROLE app LOGIN PASSWORD 'Geheim42'")
        else:
            await self._sql.run("CREATE USER app@'127.0.0.1' IDENTIFIED BY 'Geheim42'")

    async def drop(self) -> None:
        await self._sql.run(f"DROP DATABASE {self.name}" + (" WITH (FORCE)" if self.postgres else ""))
        await self._sql.run("DROP ROLE app" if self.postgres else "DROP USER app@'127.0.0.1'")

    async def grant(self) -> None:
        """Let the user create tables, and work with those that are there."""
        await self._rights(
            "GRANT ALL ON SCHEMA public TO app; GRANT ALL ON ALL TABLES IN SCHEMA public TO app",
            f"GRANT ALL ON {self.name}.* TO app@'127.0.0.1'",
        )

    async def revoke(self) -> None:
        """Take all rights on the tables from the user."""
        await self._rights(
            "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM app",
            f"REVOKE ALL ON {self.name}.* FROM app@'127.0.0.1'",
        )
        if not self.postgres:  # rights on a database are looked at when it is chosen
            await self._cut()

    async def rotate(self) -> str:
        """Give the user another password, of MariaDB; return the URL with it."""
        await self._sql.run("SET PASSWORD FOR app@'127.0.0.1' = PASSWORD('Geheim43')")
        await self._cut()
        return self.url.replace("Geheim42", "Geheim43")

    async def _cut(self) -> None:
        with warnings.catch_warnings(action="ignore"):  # MySQL wants another list, which MariaDB has not
            sessions = await self._sql.rows("SHOW PROCESSLIST")
        for number, user, *_ in sessions:
            if user == "app":
                await self._sql.run(f"KILL {number}")

    async def _rights(self, postgres: str, mysql: str) -> None:
        if self.postgres:
            async with observing.sql(self.admin_url) as sql:
                await sql.run(postgres)
        else:
            await self._sql.run(mysql)


@pytest.fixture
async def app(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[App]:
    if request.node.callspec.params["server"] == "pgbouncer":
        pytest.skip("PgBouncer knows no other user")
    async with observing.sql(database_url) as sql:
        app = App(sql, database_url)
        await app.create()
        yield app
        await app.drop()


@pytest.fixture
def secrets() -> SecretServer:
    return SecretServer()


@pytest.fixture
async def databases(secrets: SecretServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Databases]:
    for name in ("RETRY_SECONDS", "LONGEST_RETRY_SECONDS"):
        monkeypatch.setattr(registry, name, 0.1)
    monkeypatch.setattr(tasks, "RESTART_SECONDS", 0.1)
    databases = Databases(secrets, Metrics())
    yield databases
    await databases.close()


async def reached(databases: Databases) -> FollowedQueue | None:
    try:
        return await databases.database(NAMESPACE, REF)
    except DatabaseError:
        return None


async def test_rights_that_go_and_come_again_under_a_batch_that_runs(
    databases: Databases, secrets: SecretServer, app: App
) -> None:
    await app.grant()
    secrets.url = app.url
    database = await databases.database(NAMESPACE, REF)
    batch_id = await database.queue.enqueue_batch(batch(3))
    wakes: list[str] = []
    database.follow(batch_id, lambda: wakes.append("woken"))
    await happens(lambda: database.statuses)
    await app.revoke()
    await happens(lambda: database.obstacle)
    # While the connections are being cut, the database is merely away.
    await happens(lambda: database.obstacle and database.obstacle.reason is Reason.DATABASE_REFUSED)
    assert database.obstacle is not None
    assert not database.obstacle.passing
    assert "denied" in database.obstacle.message
    woken = len(wakes)
    async with await JobQueue.connect(app.admin_url) as other:
        await other.cancel_batch(batch_id)
    await app.grant()
    await happens(lambda: database.obstacle is None)
    await happens(lambda: database.statuses[batch_id].cancelled_jobs == 3)
    assert len(wakes) > woken


async def test_a_user_who_may_not_create_tables_is_refused_until_he_may(
    databases: Databases, secrets: SecretServer, app: App
) -> None:
    secrets.url = app.url
    with pytest.raises(DatabaseRefusedError, match=r"USAGE and CREATE on the schema|to database"):
        await databases.database(NAMESPACE, REF)
    await app.grant()
    await observing.eventually(lambda: reached(databases), bool)


async def test_a_poller_that_somebody_kills_is_started_again(
    databases: Databases, secrets: SecretServer, database_url: str
) -> None:
    secrets.url = database_url
    database = await databases.database(NAMESPACE, REF)
    batch_id = await database.queue.enqueue_batch(batch(3))
    database.follow(batch_id, lambda: None)
    await happens(lambda: database.statuses)
    (poller,) = [task for task in asyncio.all_tasks() if task.get_name() == "poll a database"]
    poller.cancel()
    await asyncio.wait([poller])
    await database.queue.cancel_batch(batch_id)
    await happens(lambda: database.statuses[batch_id].cancelled_jobs == 3)


@pytest.mark.only("mariadb")
async def test_a_password_that_is_rotated_is_refused_until_the_secret_has_it(
    databases: Databases, secrets: SecretServer, app: App
) -> None:
    await app.grant()
    secrets.url = app.url
    databases.secrets.follow(NAMESPACE, REF.name, "batch", lambda: None)
    before = await databases.database(NAMESPACE, REF)
    batch_id = await before.queue.enqueue_batch(batch(3))
    before.follow(batch_id, lambda: None)
    await happens(lambda: before.statuses)
    rotated = await app.rotate()
    await happens(lambda: before.obstacle and before.obstacle.reason is Reason.DATABASE_REFUSED)
    assert before.obstacle is not None
    assert "Geheim" not in before.obstacle.message
    assert await databases.database(NAMESPACE, REF) is before
    secrets.url = rotated
    after = await observing.eventually(lambda: reached(databases), lambda found: found is not before)
    assert after is not None
    assert after.obstacle is None
    assert (await after.queue.get_batch_status(batch_id)).pending_jobs == 3
