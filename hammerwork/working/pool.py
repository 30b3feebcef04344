"""`WorkerPool`: several workers in one process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from hammerwork.errors import IncompatibleDatabaseError

if TYPE_CHECKING:
    from hammerwork.working.worker import Worker


class WorkerPool:
    """Several workers in one process."""

    def __init__(self) -> None:
        self._workers: list[Worker] = []

    def add_worker(self, worker: Worker) -> Self:
        """Add a worker; before `start`."""
        self._workers.append(worker)
        return self

    async def start(self) -> None:
        """Run all workers until `stop`.

        Raises:
            IncompatibleDatabaseError: Only newer versions may work on the database any more; all workers have stopped.
        """
        outdated: list[IncompatibleDatabaseError] = []

        async def run(worker: Worker) -> None:
            try:
                await worker.run()
            except IncompatibleDatabaseError as error:
                outdated.append(error)
                self.stop()

        async with asyncio.TaskGroup() as group:
            for worker in self._workers:
                group.create_task(run(worker))
        if outdated:
            raise outdated[0]

    def stop(self) -> None:
        """Shut all workers down; `start` returns once they have finished."""
        for worker in self._workers:
            worker.stop()
