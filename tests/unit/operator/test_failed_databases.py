"""A database that cannot be reached, as many objects meet it."""

from __future__ import annotations

import traceback

import pytest

from hammerwork.errors import DatabaseUnavailableError
from hammerwork_operator.api.common import DatabaseSecretRef
from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.metrics import Metrics
from tests.harness.secrets import SecretServer


async def test_a_failure_that_many_are_told_of_does_not_grow() -> None:
    secrets = SecretServer()
    secrets.url = "postgresql://app@127.0.0.1:1/none"
    databases = Databases(secrets, Metrics())
    try:
        for _ in range(10):
            with pytest.raises(DatabaseUnavailableError) as caught:
                await databases.database("mail", DatabaseSecretRef())
    finally:
        await databases.close()
    assert len(traceback.extract_tb(caught.value.__traceback__)) < 8
