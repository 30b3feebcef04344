"""Beside many batches the operator asks the database once a second, and writes nothing that is not new."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.operating import STATUSES, Scale, place
from tests.harness.observing import sql
from tests.harness.servers.postgres import postgres_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.kubectl import Kubectl

SCALE = Scale(finished=60, running=20, small=3, idle_seconds=4.0)
VERSION_CHECK = "hammerwork_migrations"
STATEMENTS_OF_A_TURN = 6
"""The counts of all batches, the check of the version, and four of the upkeep; every fifth has the workers too."""

WRITES_OF_A_BATCH = 5
"""That creates it, its finalizer, its status, the event; and a status before, if its load takes a while."""


@pytest.mark.own_server
async def test_the_number_of_batches_costs_neither_queries_nor_writes(admin: Kubectl, tmp_path: Path) -> None:
    with postgres_server({"shared_preload_libraries": "pg_stat_statements"}) as server:
        async with sql(server.url()) as connection:
            await connection.run("CREATE DATABASE scale")
        async with place(admin.kubeconfig, server.url("scale"), tmp_path) as where:
            await where.finish(SCALE.finished)
            before = await where.writes()
            await where.start_seconds()
            await where.settle()
            # All are about the batch that waited for the operator: the finished ones are left as they are.
            assert await where.writes() - before <= WRITES_OF_A_BATCH
            held = await where.create_all("held", SCALE.running, "held")
            await where.watched.until(held, where.watched.enqueued)
            await where.watched.until([*held, "waiting"], where.watched.unserved)
            await where.settle()
            assert await where.writes() - before <= (SCALE.running + 1) * WRITES_OF_A_BATCH
            idle = await where.idle(SCALE.idle_seconds)
            turns = idle.calls_of(VERSION_CHECK)
            assert turns > 0
            assert abs(idle.calls_of(STATUSES) - turns) <= 1
            assert sum(idle.statements.values()) <= STATEMENTS_OF_A_TURN * (turns + 1)
            assert idle.writes == 0
            assert "Traceback" not in where.operator.log()
