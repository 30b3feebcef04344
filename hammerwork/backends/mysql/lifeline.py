"""The connection of one worker for its heartbeats and the upkeep of its database."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

import msgspec

from hammerwork.backends.migrating import outdated
from hammerwork.backends.mysql.chores import Chores
from hammerwork.backends.mysql.statements import statement
from hammerwork.backends.protocol import Heard
from hammerwork.backends.upkeep import do_upkeep, free_claims
from hammerwork.timing import RECOVER_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hammerwork.backends.mysql.connection import Line
    from hammerwork.backends.protocol import Upkeep, WorkerRecord


class MysqlLifeline:
    """One connection; see `hammerwork.backends.protocol.Lifeline`."""

    notified = False

    def __init__(self, line: Line) -> None:
        self._line = line
        self._chores = Chores(line.run)

    async def heartbeat(self, worker: WorkerRecord, known: WorkerRecord | None, held: Sequence[int]) -> Heard:
        text = statement(
            "heartbeat",
            **msgspec.structs.asdict(worker) | {"lease_seconds": float(worker.lease_seconds)},
            known_processed=known.processed if known is not None else 0,
            known_failed=known.failed if known is not None else 0,
            known_busy_ms=known.busy_ms if known is not None else 0,
            held=list(held) or [0],
            seconds_us=round(RECOVER_SECONDS * 1_000_000),
        )
        claims, (row,) = await self._line.run(text, block=True)
        return Heard(
            unknown=set(held) - {claim["id"] for claim in claims},
            undelivered=bool(row["undelivered"]),
            ready=bool(row["ready"]),
            upkeep_idle=float(row["upkeep_idle"]),
            outdated=outdated(self._line.address, row["least"], newest=row["version"]),
        )

    async def recover(self, worker_id: UUID, held: Sequence[int], *, older_than: float) -> int:
        return await free_claims(lambda: self._chores.recover(worker_id, held, older_than), self._chores.wake)

    async def retire(self, worker_id: UUID) -> None:
        await self.recover(worker_id, [], older_than=0)
        await self._chores.rows("retire", worker=worker_id)

    async def replace(self, worker_id: UUID, instance: str) -> None:
        others = await self._chores.rows("workers_of_instance", worker=worker_id, instance=instance)
        if others:
            await self._chores.rows("retire_others", ids=[UUID(bytes=row["id"]) for row in others])

    async def upkeep(self, seconds: float) -> Upkeep:
        return await do_upkeep(self._chores, seconds)

    async def close(self) -> None:
        await self._line.close()
