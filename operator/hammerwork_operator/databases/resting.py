"""The batches of finished objects: nobody follows them, but somebody may retry them, or restore an older database.

They are looked at a few at a time, in the query that a database gets once a second anyway.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from uuid import UUID

    from hammerwork import BatchStatus

LOOKS = 200
"""Batches that one query looks at, so 5,000 of one database are seen every 25 seconds."""

SecretKey = tuple[str, str, str]
"""Namespace, name and key of the Secret that leads to the database."""


class Resting:
    """What to call with the status of each batch, by the Secret that leads to its database."""

    def __init__(self) -> None:
        self._checks: dict[SecretKey, dict[UUID, Callable[[BatchStatus], None]]] = {}

    def add(self, secret: SecretKey, batch_id: UUID, check: Callable[[BatchStatus], None]) -> None:
        """Look at the batch in its turn."""
        self._checks.setdefault(secret, {}).setdefault(batch_id, check)

    def remove(self, secret: SecretKey, batch_id: UUID) -> None:
        """Look at it no longer."""
        checks = self._checks.get(secret, {})
        checks.pop(batch_id, None)
        if not checks:
            self._checks.pop(secret, None)

    @property
    def secrets(self) -> list[SecretKey]:
        """Return the Secrets of all batches."""
        return list(self._checks)

    def turn(self, secrets: Iterable[SecretKey]) -> dict[UUID, Callable[[BatchStatus], None]]:
        """Return the batches whose turn it is of those that these Secrets lead to; each has one before any has two."""
        known = [self._checks[secret] for secret in secrets if secret in self._checks]
        taken: dict[UUID, Callable[[BatchStatus], None]] = {}
        for checks in known:
            for batch_id in list(checks)[: max(1, LOOKS // len(known))]:
                taken[batch_id] = checks[batch_id] = checks.pop(batch_id)
        return taken
