"""What tests see of the inside of the backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hammerwork import JobQueue
    from hammerwork.backends.mysql.connection import Database


def database_of(queue: JobQueue) -> Database:
    database: Database = queue.backend._database  # type: ignore[attr-defined]
    return database
