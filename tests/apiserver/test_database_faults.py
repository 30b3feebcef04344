"""Databases that refuse, as objects tell it; tests/database/test_operator_databases.py has both kinds of server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import asyncpg
import pytest

from tests.harness.kubectl import condition, conditions
from tests.harness.manifests import jobbatch, secret
from tests.harness.observing import only_postgres

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

ONE = [{"payload": 1}]


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def ready_with(status: str, words: str) -> Callable[[Manifest], bool]:
    def told(found: Manifest) -> bool:
        return condition(found, "Ready") == status and words in conditions(found)["Ready"]["message"]

    return told


@pytest.fixture
async def role(database_url: str) -> AsyncIterator[str]:
    """A user of the server who may connect, and nothing else."""
    name = f"app_{database_url.rpartition('_')[2][:10]}"
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN")
    yield name
    await connection.execute(f"DROP OWNED BY {name}")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


REFUSED = {
    "rights": ("", "permission denied for schema public; needed: USAGE and CREATE on the schema"),
    "schema": ("?search_path=nowhere", "no schema has been selected to create in; needed: a schema in search_path"),
    "option": ("?frobnicate=1", 'unrecognized configuration parameter "frobnicate"'),
    "mode": ("?sslmode=sometimes", "`sslmode` parameter must be one of"),
    "file": (
        "?sslmode=verify-full&sslrootcert=/etc/ssl/nowhere.pem",
        "option sslrootcert: file '/etc/ssl/nowhere.pem' does not exist",
    ),
    "tls": ("?sslmode=require", "the server offers no TLS, which the sslmode of the URL requires"),
    "database": ("_nowhere", "does not exist"),
}
"""What follows the URL of the user without rights, and what is said of it, by the names of the Secret and the batch."""


@only_postgres
async def test_what_only_a_person_can_cure_is_stalled_and_named_and_a_grant_cures_it(
    kubectl: Kubectl, database_url: str, role: str, stopped_operator: OperatorUnderTest
) -> None:
    stopped_operator.start()
    url = database_url.replace("postgres@", f"{role}@")
    for name, (rest, _) in REFUSED.items():
        kubectl.apply(
            secret(url + rest, name),
            jobbatch(name, jobs=ONE, databaseSecretRef={"name": name}),
        )
    for name, (_, words) in REFUSED.items():
        found = await kubectl.wait("jobbatch", name, ready_with("False DatabaseRefused", words))
        assert condition(found, "Stalled") == "True DatabaseRefused"
        assert condition(found, "Reconciling") == "False DatabaseRefused"
        await kubectl.wait_events(name, "Warning DatabaseRefused")
    connection = await asyncpg.connect(database_url)
    await connection.execute(f"GRANT ALL ON SCHEMA public TO {role}")
    await kubectl.wait("jobbatch", "rights", running)
    await connection.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
    words = "SELECT, INSERT, UPDATE, DELETE on all tables of hammerwork"
    unknown = await kubectl.wait("jobbatch", "rights", ready_with("Unknown DatabaseRefused", words))
    assert "; the counts are the last that are known, from before 20" in conditions(unknown)["Ready"]["message"]
    assert unknown["status"]["totalJobs"] == 1
    await connection.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}")
    await kubectl.wait("jobbatch", "rights", running)
    await connection.close()
