"""The settings of a worker: the one home of their defaults and limits."""

from __future__ import annotations

import msgspec

from hammerwork.handlers import HandlerReference
from hammerwork.timing import GRACE_SECONDS, LEASE_SECONDS, POLL_SECONDS

MAX_CONCURRENCY = 10_000
MAX_POLL_SECONDS = 3_600.0
MAX_GRACE_SECONDS = 86_400.0
MAX_PROCESSES = 256
LOG_LEVEL = "INFO"
LOG_FORMAT = "text"


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is told beside its handler; see `Worker.from_settings`."""

    queue: str
    pool: str = ""
    """Name of the group that the worker belongs to, for statistics."""
    instance: str = ""
    """Identity of the place that the worker runs in, if only one process can be there at a time."""
    concurrency: int = 10
    """Jobs that it runs at a time."""
    poll_interval_seconds: float = POLL_SECONDS
    batch_processing: bool = True
    """Whether a claim takes many jobs; else it takes one."""
    shutdown_grace_period_seconds: float = GRACE_SECONDS
    lease_seconds: float = LEASE_SECONDS


DEFAULTS = WorkerSettings(queue="")
"""What a worker has unless it is told otherwise."""


class ProcessSettings(WorkerSettings, frozen=True, kw_only=True):
    """What a process that runs one worker is told."""

    database_url: str
    """E.g. ``postgresql://user:password@host/database``."""
    handler: HandlerReference
    log_level: str = LOG_LEVEL
    log_format: str = LOG_FORMAT

    def __repr__(self) -> str:
        # Without the URL, which holds a password.
        return f"{type(self).__name__}(queue={self.queue!r}, handler={self.handler!r})"
