"""Secrets that come, go and change under batches."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.workers import worker
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, secret
from tests.harness.observing import sql
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest
    from tests.harness.servers import Server

ONE = [{"payload": 1}]
NAME = "hammerwork-database"
MANY = 20
ANY_OPTION = {"postgresql": "application_name=rotated", "mysql": "ssl_mode=DISABLED"}
"""Which makes it another URL."""


def ready(expected: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready") == expected


async def all_are(kubectl: Kubectl, expected: str) -> None:
    """Return once the condition Ready of all batches is so."""

    def others() -> set[str]:
        return {condition(found, "Ready") for found in kubectl.list("jobbatches")} - {expected}

    await eventually(lambda: asyncio.to_thread(others), lambda seen: not seen, every=0.3)


def secret_reads(kubectl: Kubectl) -> float:
    """Return how often the API server was asked for one Secret since its start, by anybody."""
    lines = kubectl("get", "--raw", "/metrics").splitlines()
    ours = ("apiserver_request_total{", 'resource="secrets"', 'verb="GET"')
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(part in line for part in ours))


@pytest.mark.usefixtures("operator")
async def test_batches_that_wait_for_one_secret_read_it_once_for_all_and_begin_when_it_is_there(
    kubectl: Kubectl, database_url: str
) -> None:
    batches = [jobbatch(f"early-{number}", jobs=ONE) for number in range(MANY)]
    kubectl("create", "--filename", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": batches}))
    await all_are(kubectl, "False SecretNotFound")
    before, started = secret_reads(kubectl), time.monotonic()
    kubectl.create(jobbatch("late", jobs=ONE))
    await kubectl.wait("jobbatch", "late", ready("False SecretNotFound"))
    reads, seconds = secret_reads(kubectl) - before, time.monotonic() - started
    assert reads <= 2 + seconds, f"{reads:g} reads in {seconds:.1f} s"
    kubectl.create(secret(database_url))
    await all_are(kubectl, "True Running")


@pytest.mark.usefixtures("operator")
async def test_a_secret_that_goes_or_leads_elsewhere_under_a_running_batch_is_told(
    kubectl: Kubectl, server: Server, database_url: str, other_database_url: str
) -> None:
    kubectl.create(secret(f"  {database_url}\n"))
    kubectl.create(jobbatch("steady", jobs=ONE))
    first = await kubectl.wait("jobbatch", "steady", ready("True Running"))

    kubectl("delete", "secret", NAME)
    gone = await kubectl.wait("jobbatch", "steady", ready("Unknown SecretNotFound"))
    assert condition(gone, "Stalled") == "True SecretNotFound"
    assert (gone["status"]["totalJobs"], gone["status"]["pendingJobs"]) == (1, 1)

    kubectl.create(secret(other_database_url))
    missing = await kubectl.wait("jobbatch", "steady", ready("False RowsMissing"))
    assert condition(missing, "Stalled") == "True RowsMissing"
    async with sql(other_database_url) as elsewhere:
        assert await elsewhere.value("SELECT count(*) FROM hammerwork_batches") == 0

    rotated = f"{database_url}?{ANY_OPTION[server.family]}"
    kubectl.patch("secret", NAME, {"stringData": {"url": rotated}})
    back = await kubectl.wait("jobbatch", "steady", ready("True Running"))
    assert back["status"]["batchId"] == first["status"]["batchId"]
    async with worker(f"{database_url}\n"):
        await kubectl.wait("jobbatch", "steady", lambda found: condition(found, "Complete") == "True Completed")
