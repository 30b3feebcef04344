"""The API server itself is silent for a while, and then crashes: the operator waits for it, and nothing else does."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.barrier import loading_stops_at
from tests.apiserver.lives import Handler
from tests.apiserver.operator_process import OperatorUnderTest
from tests.apiserver.workers import worker
from tests.cluster.lifecycle import processes_of
from tests.cluster.settings import control_plane
from tests.harness.kubectl import CommandError, condition, run
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.observing import sql
from tests.harness.waiting import eventually, happens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

STORED = 10_000
"""Jobs of the first slice."""
JOBS = 10_100
SILENT_SECONDS = 4.0


def ready(expected: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready") == expected


def complete(found: Manifest) -> bool:
    return condition(found, "Succeeded") == "True Completed"


@pytest.fixture
def operator(kubectl: Kubectl, tmp_path: Path) -> Iterator[OperatorUnderTest]:
    """With an administrator's rights: an API server that has just started knows no Roles for a moment."""
    config = tmp_path / "admin.kubeconfig"
    shutil.copy(kubectl.environment["KUBECONFIG"], config)
    operator = OperatorUnderTest(config, kubectl.namespace, tmp_path / "operator.log")
    operator.start()
    yield operator
    operator.stop()
    log = operator.log()
    print(log)  # shown beside a test that fails
    assert "Traceback" not in log


@pytest.mark.skipif("KUBECONFIG" in os.environ, reason="the API server of a cluster that is not ours is left alone")
async def test_an_api_server_that_is_silent_or_crashes_is_waited_for(
    kubectl: Kubectl, operator: OperatorUnderTest, with_database: str
) -> None:
    """The database works on meanwhile: batches are loaded, run, and end."""
    (api,) = [
        each for each in processes_of(control_plane()).records() if each.name == "kube-apiserver" and each.is_alive()
    ]
    handler = Handler()

    def of(queue: str) -> Manifest:
        return jobbatch(queue, queue=queue, jobs=[{"payload": f"{queue}.{number}"} for number in range(3)])

    async def runs_to_its_end(queue: str) -> None:
        async with worker(with_database, handler, queue=queue):
            await happens(lambda: sum(payload.startswith(queue) for payload in handler.runs) == 3)

    async def scales_to(replicas: int) -> None:
        kubectl.patch("workerpool", "pool", {"spec": {"replicas": replicas}})
        await kubectl.wait("deployment", "pool-worker", lambda found: found["spec"]["replicas"] == replicas)

    async with loading_stops_at(with_database, STORED):
        source = {"count": JOBS, "payload": "{{ index }}"}
        kubectl.apply(
            *(of(queue) for queue in ("finished", "silent", "crashed")),
            jobbatch("loading", queue="nobody", generate=source, suspend=True),
            workerpool("pool", queue="nobody", replicas=1),
        )
        await runs_to_its_end("finished")
        finished = await kubectl.wait("jobbatch", "finished", complete)
        for name in ("silent", "crashed"):
            await kubectl.wait("jobbatch", name, ready("True Running"))
        await kubectl.wait("jobbatch", "loading", ready("False Loading"))
        await kubectl.wait("workerpool", "pool", lambda found: found.get("status", {}).get("replicas") == 1)
        os.kill(api.pid, signal.SIGSTOP)
    try:
        await runs_to_its_end("silent")
        await asyncio.sleep(SILENT_SECONDS)
        assert operator.probe("/healthz") == 200
    finally:
        os.kill(api.pid, signal.SIGCONT)
    loaded = await kubectl.wait("jobbatch", "loading", ready("True Suspended"))
    assert loaded["status"]["totalJobs"] == JOBS
    await kubectl.wait("jobbatch", "silent", complete)
    await scales_to(2)

    os.kill(api.pid, signal.SIGKILL)
    try:
        await runs_to_its_end("crashed")
        assert operator.probe("/healthz") == 200
    finally:  # whatever went wrong here, the tests after this one need it
        command = (sys.executable, "-m", "tests.apiserver.etcd", "start-again")
        await asyncio.to_thread(run, *command, environment=os.environ, seconds=120)
    await eventually(lambda: asyncio.to_thread(_answers, kubectl), bool)
    await kubectl.wait("jobbatch", "crashed", complete)
    await scales_to(3)
    kubectl.create(of("new"))
    await runs_to_its_end("new")
    await kubectl.wait("jobbatch", "new", complete)
    assert set(handler.runs.values()) == {1}
    assert kubectl.get("jobbatch", "finished")["metadata"]["resourceVersion"] == finished["metadata"]["resourceVersion"]
    for name in ("finished", "silent", "crashed", "new", "loading"):
        await asyncio.to_thread(kubectl.delete, "jobbatch", name)
    async with sql(with_database) as connection:
        assert await connection.stored_rows() == {}


def _answers(kubectl: Kubectl) -> bool:
    """Return whether our objects are served: that may come some time after the API server is ready."""
    try:
        return kubectl.find("jobbatch", "crashed") is not None
    except CommandError:
        return False
