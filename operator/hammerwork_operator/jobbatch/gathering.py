"""Gathers the facts of a JobBatch from its database."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from hammerwork import BatchState, PartialFailureMode
from hammerwork.errors import BatchNotFoundError, DatabaseError
from hammerwork_operator.api.jobbatch import MAX_ERROR_GROUPS
from hammerwork_operator.databases.followed import unusable
from hammerwork_operator.databases.registry import LONGEST_RETRY_SECONDS
from hammerwork_operator.databases.secrets import SecretProblemError
from hammerwork_operator.jobbatch.contents import ContentProblemError
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.plan import (
    LOOK_AGAIN_SECONDS,
    QUERY_NOT_ALLOWED,
    is_kept,
    is_loaded,
    needs_database,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from hammerwork import BatchStatus, ErrorGroup
    from hammerwork_operator.api.common import DatabaseSecretRef
    from hammerwork_operator.databases.followed import FollowedQueue
    from hammerwork_operator.databases.registry import Databases
    from hammerwork_operator.jobbatch.contents import ContentReader
    from hammerwork_operator.jobbatch.facts import Load
    from hammerwork_operator.jobbatch.observed import ObservedBatch
    from hammerwork_operator.kube.situation import Obstacle

ERRORS_SECONDS = 5.0
"""The failures of one batch are grouped at most this often while it runs: that query reads them all."""


class Gatherer:
    """Asks the database of one JobBatch, and follows the batch there."""

    def __init__(
        self, databases: Databases, contents: ContentReader, wake: Callable[[], None], *, allows_queries: bool
    ) -> None:
        """Take the databases, the reader of ConfigMaps, and what to call whenever the batch in the database changes."""
        self._databases = databases
        self._allows_queries = allows_queries
        self._contents = contents
        self._wake = wake
        self._followed: tuple[FollowedQueue, UUID] | None = None
        self._secret: tuple[str, str] | None = None
        """Namespace and name of the Secret that is followed; a batch cannot change to another."""
        self._met: Obstacle | None = None
        self._failures = 0
        self._again_at = 0.0
        self._errors: tuple[float, BatchStatus, Sequence[ErrorGroup]] | None = None
        self._again = False
        self._resting: tuple[str, DatabaseSecretRef, UUID] | None = None

    @property
    def database(self) -> FollowedQueue | None:
        """Where the batch is followed, or None."""
        return self._followed[0] if self._followed is not None else None

    async def gather(self, observed: ObservedBatch, load: Load | None) -> Facts:
        """Return what is known now; what is in the way of asking the database is one of the facts.

        Raises:
            ApiError: The API server does not answer.
        """
        if not needs_database(observed) and not (self._again and is_kept(observed)):
            return Facts(load=load)
        self._wait_no_turn()
        self._follow_secret(observed)
        if self._met is not None and time.monotonic() < self._again_at:
            return Facts(obstacle=self._met, load=load)
        try:
            return await self._ask(await self._database(observed), observed, load)
        except (SecretProblemError, ContentProblemError) as error:
            return Facts(obstacle=error.obstacle, load=load)
        except DatabaseError as error:
            return Facts(obstacle=unusable(error), load=load)

    def served(self, row: BatchStatus | None, by_pool: bool | None) -> bool | None:
        """Return whether the batch has workers, or a pool that gets them; None: not known, or it does not run.

        Where a pool is there, the database is not asked for workers.
        """
        if self._followed is None:
            return None
        database, batch_id = self._followed
        if row is None or row.suspended or row.state not in {BatchState.PENDING, BatchState.RUNNING} or by_pool:
            database.workers.unfollow(batch_id)
            return by_pool
        database.workers.follow(batch_id, row.queue, self._wake)
        at_work = database.workers.work_on(row.queue)
        return True if at_work else None if by_pool is None else at_work

    def failed(self, error: Exception) -> None:
        """Take note that a step failed at the database: it is not asked again for a while, longer from time to time."""
        pause = LOOK_AGAIN_SECONDS * 2.0 ** min(self._failures, 8)
        self._failures += 1
        self._again_at = time.monotonic() + min(pause, LONGEST_RETRY_SECONDS)
        self._met = unusable(error)

    def succeeded(self) -> None:
        """Take note that no step is to be tried again."""
        self._met, self._failures = None, 0

    def look_again(self) -> None:
        """Have the next `gather` ask the database, whether the object has finished or not."""
        self._again = True

    def rest(self) -> None:
        """Follow neither the batch nor its Secret any longer; the next `gather` follows them again."""
        self._again = False
        self._wait_no_turn()
        self._leave()
        if self._secret is not None:
            self._databases.secrets.unfollow(*self._secret, self)
            self._secret = None

    def watch(self, observed: ObservedBatch, check: Callable[[BatchStatus], None]) -> None:
        """Call `check` with the status of the batch now and then, until it is followed again, or `rest`."""
        self._resting = (observed.namespace, observed.spec.database_secret_ref, observed.batch_id)
        self._databases.rest(*self._resting, check)

    def _wait_no_turn(self) -> None:
        if self._resting is not None:
            self._databases.unrest(*self._resting)
            self._resting = None

    def _leave(self) -> None:
        if self._followed is not None:
            database, batch_id = self._followed
            database.unfollow(batch_id)
            database.workers.unfollow(batch_id)
            self._followed = None

    def _follow_secret(self, observed: ObservedBatch) -> None:
        if self._secret is None:
            self._secret = (observed.namespace, observed.spec.database_secret_ref.name)
            self._databases.secrets.follow(*self._secret, self, self._secret_changed)

    def _secret_changed(self) -> None:
        self._again_at = 0.0
        self._wake()

    async def _ask(self, database: FollowedQueue, observed: ObservedBatch, load: Load | None) -> Facts:
        self._follow(database, observed.batch_id)
        if database.obstacle is not None:
            return Facts(obstacle=database.obstacle, load=load)
        if observed.contents is not None and observed.awaits_content:
            content = await self._contents.digest(observed.namespace, observed.contents)
            return Facts(load=load, content=content)
        row = database.statuses.get(observed.batch_id) or await database.look(observed.batch_id)
        if row is None and load is None and await self._has_former(database, observed):
            return Facts(of_former=True)
        if observed.queries and not self._allows_queries and not is_loaded(observed, row):
            return Facts(obstacle=QUERY_NOT_ALLOWED, load=load)
        errors = await self._error_groups(database, row)
        return Facts(row=row, load=load, errors=errors, met=self._met)

    async def _database(self, observed: ObservedBatch) -> FollowedQueue:
        ref = observed.spec.database_secret_ref
        try:
            return await self._databases.database(observed.namespace, ref)
        except SecretProblemError:
            # In a namespace that is being deleted, the Secret may go first; the rows should go all the same.
            if observed.deleted_at is not None:
                known = self._databases.known(observed.namespace, ref)
                if known is not None:
                    return known
            raise

    def _follow(self, database: FollowedQueue, batch_id: UUID) -> None:
        if self._followed != (database, batch_id):
            self._leave()
            self._followed = (database, batch_id)
            database.follow(batch_id, self._wake)

    async def _has_former(self, database: FollowedQueue, observed: ObservedBatch) -> bool:
        """Return whether an older operator has loaded the batch, perhaps for an object that is gone."""
        if observed.former_id is None or observed.stated.enqueued:
            return False
        former = (await database.queue.get_batch_statuses([observed.former_id])).get(observed.former_id)
        return former is not None and former.fingerprint == observed.fingerprint

    async def _error_groups(self, database: FollowedQueue, row: BatchStatus | None) -> Sequence[ErrorGroup] | None:
        if row is None:
            return None
        if not row.failed_jobs and row.failure_mode is not PartialFailureMode.COLLECT_ERRORS:
            return ()
        if self._errors is not None:
            asked_at, asked_for, groups = self._errors
            if asked_for == row or (not row.finished and time.monotonic() - asked_at < ERRORS_SECONDS):
                return groups
        try:
            groups = await database.queue.get_batch_errors(row.batch_id, limit=MAX_ERROR_GROUPS)
        except BatchNotFoundError:
            return None
        self._errors = (time.monotonic(), row, groups)
        return groups
