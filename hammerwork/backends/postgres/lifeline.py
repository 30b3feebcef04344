"""The connection of one worker for its heartbeats, its notifications and the upkeep of its database."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.backends.migrating import outdated
from hammerwork.backends.postgres.ledger import check_version
from hammerwork.backends.postgres.refusals import OUTDATED, translated
from hammerwork.backends.postgres.statements import statements
from hammerwork.backends.postgres.waking import channel_of
from hammerwork.backends.protocol import Heard
from hammerwork.backends.upkeep import do_upkeep, free_claims
from hammerwork.errors import DatabaseUnavailableError
from hammerwork.timing import EXCHANGE_SECONDS, RECOVER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from hammerwork.backends.postgres.connection import Database
    from hammerwork.backends.protocol import Upkeep, WorkerRecord

logger = logging.getLogger("hammerwork.worker")

_PROOF_SECONDS = 2.0
"""A notification of one's own arrives within this, or there is a pooler in between that does not pass them on."""


class PostgresLifeline:
    """One connection; see `hammerwork.backends.protocol.Lifeline`."""

    def __init__(self, database: Database, connection: Any) -> None:
        self._database = database
        self._connection = connection
        self._statements = statements()
        self.notified = False

    async def listen(self, queue: str, wake: Callable[[], None]) -> None:
        """Call `wake` for each notification of `queue`, if they arrive; a first one is sent to find out.

        A pooler has sessions of its own: the first notification may still come back in the same one, later ones do not.
        """
        proof = asyncio.Event()

        def notified(*_details: object) -> None:
            proof.set()
            wake()

        with translated(self._database.address, self._database.url):
            session = await self._connection.fetchval("SELECT pg_backend_pid()", timeout=EXCHANGE_SECONDS)
            if session == self._connection.get_server_pid():
                await self._connection.add_listener(channel_of(queue), notified)
                await self._connection.execute(
                    self._statements["wake"].text, channel_of(queue), timeout=EXCHANGE_SECONDS
                )
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_PROOF_SECONDS):
                        await proof.wait()
        self.notified = proof.is_set()
        if not self.notified:
            logger.info(
                "database %s: notifications do not arrive, as behind a pooler; workers poll for jobs",
                self._database.address,
            )

    async def fetch(self, query: str, **values: Any) -> list[Any]:
        """Run a statement of sql/."""
        statement = self._statements[query]
        try:
            with translated(self._database.address, self._database.url):
                return await self._connection.fetch(  # type: ignore[no-any-return]
                    statement.text, *statement.arguments(values), timeout=EXCHANGE_SECONDS
                )
        except DatabaseUnavailableError as error:
            if error.code in OUTDATED:
                with translated(self._database.address, self._database.url):
                    await check_version(self._connection, self._database.address)
            raise

    async def heartbeat(self, worker: WorkerRecord, known: WorkerRecord | None, held: Sequence[int]) -> Heard:
        (row,) = await self.fetch(
            "heartbeat",
            **msgspec.structs.asdict(worker),
            known_processed=known.processed if known is not None else 0,
            known_failed=known.failed if known is not None else 0,
            known_busy_ms=known.busy_ms if known is not None else 0,
            held=held,
            seconds=RECOVER_SECONDS,
        )
        return Heard(
            unknown=set(row["unknown"]),
            undelivered=row["undelivered"],
            ready=row["ready"],
            upkeep_idle=row["upkeep_idle"],
            outdated=outdated(self._database.address, row["least"], newest=row["version"]),
        )

    async def recover(self, worker_id: UUID, held: Sequence[int], *, older_than: float) -> int:
        return await free_claims(
            lambda: self.fetch("recover", worker=worker_id, held=held, older_than=older_than), self.wake
        )

    async def retire(self, worker_id: UUID) -> None:
        await self.recover(worker_id, [], older_than=0)
        await self.fetch("retire", worker=worker_id)

    async def replace(self, worker_id: UUID, instance: str) -> None:
        await self.fetch("retire_others", worker=worker_id, instance=instance)

    async def upkeep(self, seconds: float) -> Upkeep:
        return await do_upkeep(self, seconds)

    async def wake(self, queue: str | None) -> None:
        """Notify the workers of a queue."""
        if queue is not None:
            await self.fetch("wake", channel=channel_of(queue))

    async def close(self) -> None:
        self._connection.terminate()
