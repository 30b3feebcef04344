"""Loads the jobs of JobBatches into their databases."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec

from hammerwork.errors import HammerworkError, InvalidBatchError, QueryError
from hammerwork_operator import sources
from hammerwork_operator.api.jobbatch import PLURAL, JobBatchSpec
from hammerwork_operator.jobbatch.contents import ContentChangedError
from hammerwork_operator.jobbatch.facts import Load
from hammerwork_operator.jobbatch.identity import spec_fingerprint
from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.sources.settings import empty_batch
from hammerwork_operator.sources.source import Contents, InvalidSourceError, Query

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from hammerwork import JobQueue
    from hammerwork_operator.databases.followed import FollowedQueue
    from hammerwork_operator.jobbatch.contents import ContentReader
    from hammerwork_operator.jobbatch.observed import ObservedBatch
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.metrics import Metrics
    from hammerwork_operator.sources.source import Fetched, Need

PARALLEL_LOADS = 4
"""So many of the small batches at a time, and so many of the large ones: a small one waits for no large one."""
PARALLEL_QUERIES = 8
"""Loads of queries have slots of their own, since a query may take a day; a namespace has one of them at a time."""
UNTOLD_SECONDS = 0.5
"""The status does not speak of a load that is younger."""

_LOGGER = logging.getLogger(__name__)


class Loader:
    """Loads the jobs of many batches, those of a few at a time."""

    def __init__(self, server: ApiServer, contents: ContentReader, metrics: Metrics) -> None:
        self.metrics = metrics
        self._server = server
        self._contents = contents
        self._small = asyncio.Semaphore(PARALLEL_LOADS)
        self._large = asyncio.Semaphore(PARALLEL_LOADS)
        self._queries = asyncio.Semaphore(PARALLEL_QUERIES)
        self._namespaces: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        """Of queries; those that nobody holds or waits for go."""

    async def load(
        self,
        observed: ObservedBatch,
        database: FollowedQueue,
        progress: Callable[[int], Awaitable[None]],
        waits: Callable[[str | None], None],
    ) -> None:
        """Read the object again and store its jobs, unless it has changed: then the watch brings it again.

        `waits` is told what the load waits for, and None once it does not wait any more.

        Raises:
            InvalidSourceError, InvalidBatchError, ValidationError: The jobs cannot be loaded, whatever happens.
            HammerworkError, ApiError: They cannot be loaded now.
            ContentChangedError: The ConfigMaps are not as they were; nothing of the batch is left.
        """
        async with self._slot(observed, waits):
            started = time.monotonic()
            manifest = await self._server.get(PLURAL, observed.namespace, observed.name)
            if manifest is None or manifest["metadata"]["uid"] != observed.uid:
                return
            if spec_fingerprint(manifest["spec"]) != observed.spec_fingerprint:
                return
            await self._store(observed, msgspec.convert(manifest["spec"], JobBatchSpec), database.queue, progress)
            stored = await database.look(observed.batch_id)
            total = stored.total_jobs if stored is not None else 0
            self.metrics.loaded_jobs.inc(total)
            _LOGGER.info(
                "JobBatch %s/%s: %d jobs loaded in %.2f s",
                observed.namespace,
                observed.name,
                total,
                time.monotonic() - started,
            )

    @asynccontextmanager
    async def _slot(self, observed: ObservedBatch, waits: Callable[[str | None], None]) -> AsyncIterator[None]:
        if not observed.queries:
            slots, size = (self._small, "small") if observed.small else (self._large, "large")
            if slots.locked():
                waits(f"waiting for other {size} batches, of which {PARALLEL_LOADS} are loaded at a time")
            async with slots:
                waits(None)
                yield
            return
        own = self._namespaces.setdefault(observed.namespace, asyncio.Semaphore(1))
        if own.locked():
            waits(f"waiting for another query of namespace {observed.namespace}, which has one at a time")
        async with own:
            # One load of a namespace waits here, so that each namespace has its turn.
            if self._queries.locked():
                waits(f"waiting for queries of other namespaces, of which there are {PARALLEL_QUERIES} at a time")
            async with self._queries:
                waits(None)
                yield

    async def _store(
        self,
        observed: ObservedBatch,
        spec: JobBatchSpec,
        queue: JobQueue,
        progress: Callable[[int], Awaitable[None]],
    ) -> None:
        batch = empty_batch(observed.namespace, observed.name, spec)
        identity: dict[str, Any] = {"batch_id": observed.batch_id, "fingerprint": observed.fingerprint}
        need = sources.need(spec)
        async with self._fetched(observed, need, queue) as fetched:
            jobs = sources.jobs(spec, fetched)
            if isinstance(jobs, list):
                await queue.enqueue_batch(batch.with_jobs(jobs), **identity)
            else:
                anew = isinstance(need, Query)
                await queue.enqueue_stream(batch, jobs, **identity, progress=progress, anew=anew)

    @asynccontextmanager
    async def _fetched(
        self, observed: ObservedBatch, need: Need | None, queue: JobQueue
    ) -> AsyncIterator[Fetched | None]:
        if isinstance(need, Contents):
            async with aclosing(self._contents.read(observed.namespace, need, observed.content)) as contents:
                yield contents
        elif isinstance(need, Query):
            timeout = float(need.timeout_seconds)
            async with queue.query(need.sql, timeout=timeout, alone=observed.batch_id) as rows:
                yield rows
        else:
            yield None


class Loading:
    """The loading of one batch, in a task of its own."""

    def __init__(
        self, loader: Loader, ended: Callable[[Exception | None], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Take the loader, and what to call at the end, with the error of a database or API server that failed."""
        self._loader = loader
        self._ended = ended
        self._clock = clock
        self._task: asyncio.Task[tuple[str | None, Exception | None]] | None = None
        self._started_at = 0.0
        self.load: Load | None = None
        """How far it is, or why it cannot be; None: nothing is being loaded."""

    @property
    def is_young(self) -> bool:
        """Whether a load has just begun: a status that speaks of it would hold up the next one, if it ends soon."""
        return self._task is not None and self._clock() - self._started_at < UNTOLD_SECONDS

    def start(self, observed: ObservedBatch, database: FollowedQueue) -> None:
        """Start to load, unless the batch is being loaded already."""
        if self._task is None:
            self.load = Load()
            self._started_at = self._clock()
            name = f"load {observed.namespace}/{observed.name}"
            self._task = asyncio.create_task(self._run(observed, database), name=name)
            self._task.add_done_callback(self._over)

    def cancel(self) -> None:
        """Stop to load. What is half loaded is taken up again by the next `start`."""
        if self._task is not None:
            self._task.cancel()

    async def stop(self) -> None:
        """Stop to load; return when nothing is being written any more."""
        if (task := self._task) is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _run(self, observed: ObservedBatch, database: FollowedQueue) -> tuple[str | None, Exception | None]:
        """Load; return why the jobs cannot be loaded, and what has failed that may do better the next time."""
        try:
            await self._loader.load(observed, database, self._progress, self._waits)
        except (InvalidSourceError, InvalidBatchError, msgspec.ValidationError) as error:
            return str(error), None
        except QueryError as error:
            return f"spec.query: {error}", None
        except ContentChangedError as error:
            _LOGGER.info("JobBatch %s/%s: to be loaded anew: %s", observed.namespace, observed.name, error)
            return None, error
        except (HammerworkError, ApiError) as error:
            _LOGGER.warning("JobBatch %s/%s: loading stopped: %s", observed.namespace, observed.name, error)
            return None, error
        except Exception as error:
            _LOGGER.exception("JobBatch %s/%s: loading ended by a fault", observed.namespace, observed.name)
            self._loader.metrics.restarted_tasks.labels("load").inc()
            return None, error
        return None, None

    def _over(self, task: asyncio.Task[tuple[str | None, Exception | None]]) -> None:
        """Take note of the end, also of a task that was cancelled before its first turn."""
        failure, failed = (None, None) if task.cancelled() else task.result()
        self._task = None
        self.load = None if failure is None else Load(failure=failure)
        self._ended(failed)

    def _waits(self, message: str | None) -> None:
        self.load = Load(waits=message)

    async def _progress(self, count: int) -> None:
        self.load = Load(jobs=count)
        await asyncio.sleep(0)
