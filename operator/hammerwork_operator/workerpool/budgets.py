"""Brings the PodDisruptionBudgets of WorkerPools to what `budget` builds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork_operator.kube.client import ApiError
from hammerwork_operator.workerpool.adoption import may_be_adopted
from hammerwork_operator.workerpool.budget import build_budget
from hammerwork_operator.workerpool.facts import is_owned

if TYPE_CHECKING:
    from hammerwork_operator.kube.client import ApiServer
    from hammerwork_operator.workerpool.observed import ObservedPool

_UNPROCESSABLE = 422


class DisruptionBudgets:
    """Applies them, and removes those that are not wanted any more."""

    def __init__(self, server: ApiServer) -> None:
        self._server = server
        self._without: set[str] = set()
        """Uids of pools that are known to have none: they are not asked about again and again."""
        self._with: set[str] = set()
        """Uids of pools whose budget is known to be theirs."""

    async def bring(self, pool: ObservedPool) -> None:
        """Apply the pool's budget, or remove it.

        Raises:
            ApiError: The API server refuses it or does not answer.
        """
        wanted = build_budget(pool)
        if wanted is not None:
            self._without.discard(pool.uid)
            try:
                await self._refuse_others(pool)
                await self._server.apply_disruption_budget(wanted)
            except ApiError as error:
                raise ApiError(error.status, f"PodDisruptionBudget {pool.deployment_name}: {error.message}") from error
        elif pool.uid not in self._without:
            found = await self._server.get_disruption_budget(pool.namespace, pool.deployment_name)
            if found is not None and is_owned(found, pool):
                await self._delete(pool, found["metadata"]["uid"])
            self._without.add(pool.uid)
            self._with.discard(pool.uid)

    def forget(self, uid: str) -> None:
        """Take note that the pool with this uid is gone."""
        self._without.discard(uid)
        self._with.discard(uid)

    async def _refuse_others(self, pool: ObservedPool) -> None:
        if pool.uid in self._with:
            return
        found = await self._server.get_disruption_budget(pool.namespace, pool.deployment_name)
        if found is not None and not (is_owned(found, pool) or may_be_adopted(found, pool)):
            raise ApiError(_UNPROCESSABLE, "there is one that is not the pool's; delete or rename it")
        self._with.add(pool.uid)

    async def _delete(self, pool: ObservedPool, uid: str) -> None:
        try:
            await self._server.delete_disruption_budget(pool.namespace, pool.deployment_name, uid)
        except ApiError as error:
            if not error.not_found:
                raise
