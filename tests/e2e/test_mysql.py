"""Batches and pools whose Secret names a MariaDB and a MySQL, on a machine outside the cluster."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster.settings import GATEWAY, Kind, chosen_kind
from tests.harness.kubectl import conditions, lacks_condition
from tests.harness.manifests import jobbatch, secret, workerpool
from tests.harness.observing import sql
from tests.harness.servers import UnavailableServerError
from tests.harness.servers.mariadb import mariadb_server
from tests.harness.servers.mysql import mysql_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.kubectl import Kubectl
    from tests.harness.servers import Server

JOBS = 300
TABLES = ("batches", "jobs", "chunks", "claims", "failures")
HANDLER = {"exec": {"command": ["test", "{{ payload.index }}", "-ne", "3"]}}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Server]]:
    """The servers that this machine has, by kind; Pods reach them at the address of the cluster's bridge."""
    if chosen_kind() is not Kind.LOCAL:
        pytest.skip("a server that Pods reach runs beside the cluster that the tests start")
    settings = {"bind_address": f"127.0.0.1,{GATEWAY}"}
    with contextlib.ExitStack() as stack:
        found: dict[str, Server] = {"mariadb": stack.enter_context(mariadb_server(settings))}
        with contextlib.suppress(UnavailableServerError):
            found["mysql"] = stack.enter_context(mysql_server(settings))
        yield found


async def prepare(server: Server) -> None:
    """Make a user who comes from elsewhere and has the rights that docs/mysql.md asks for."""
    rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, CREATE VIEW"
    async with sql(server.url()) as connection:
        await connection.run("CREATE USER 'hammerwork'@'%' IDENTIFIED BY 'geheim'")
        await connection.run(f"GRANT {rights} ON test.* TO 'hammerwork'@'%'")


async def rows(server: Server) -> dict[str, int]:
    async with sql(server.url()) as connection:
        return {table: await connection.value(f"SELECT count(*) FROM hammerwork_{table}") for table in TABLES}


def test_a_batch_runs_to_its_end_and_its_deletion_leaves_no_row(kubectl: Kubectl, servers: dict[str, Server]) -> None:
    for kind, server in servers.items():
        asyncio.run(prepare(server))
        database: Any = {"databaseSecretRef": {"name": kind}}
        kubectl.apply(
            secret(f"mysql://hammerwork:geheim@{GATEWAY}:{server.port}/test", kind),
            workerpool(kind, queue=kind, handler=HANDLER, **database),
            jobbatch(
                kind,
                queue=kind,
                generate={"count": JOBS, "payload": {"index": "{{ index }}"}},
                backoffLimit=0,
                **database,
            ),
        )
    for kind, server in servers.items():
        batch = kubectl.wait_for("jobbatch", kind, lacks_condition("Complete"), seconds=90)
        status = batch["status"]
        assert (status["totalJobs"], status["completedJobs"], status["failedJobs"]) == (JOBS, JOBS - 1, 1)
        assert [(group["count"], group["index"]) for group in status["errors"]] == [(1, 3)]
        assert conditions(batch)["Complete"]["reason"] == "CompletedWithErrors"
        assert asyncio.run(rows(server))["batches"] == 1
        kubectl.delete("jobbatch", kind, seconds=60)
        assert asyncio.run(rows(server)) == dict.fromkeys(TABLES, 0)
    kubectl("delete", "workerpools", *servers)
