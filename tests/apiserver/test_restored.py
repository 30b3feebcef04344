"""An etcd that is restored from a copy: the history of the API server is another one than the operator has seen."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hammerwork import JobQueue
from tests.apiserver.operator_process import OperatorUnderTest
from tests.harness.kubectl import condition, run
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest


def ready(expected: str) -> Callable[[Manifest], bool]:
    return lambda found: condition(found, "Ready") == expected


async def etcd(what: str) -> None:
    command = (sys.executable, "-m", "tests.apiserver.etcd", what)
    await asyncio.to_thread(run, *command, environment=os.environ, seconds=120)


@pytest.mark.skipif("KUBECONFIG" in os.environ, reason="the etcd of a cluster that is not ours is left alone")
async def test_after_a_restore_the_operator_sees_what_is_there(
    kubectl: Kubectl, with_database: str, tmp_path: Path
) -> None:
    """With an administrator's rights: an API server that has just started knows no Roles for a moment."""
    config = tmp_path / "admin.kubeconfig"
    shutil.copy(kubectl.environment["KUBECONFIG"], config)
    operator = OperatorUnderTest(config, kubectl.namespace, tmp_path / "operator.log")
    operator.start()
    try:
        await _restored(kubectl, with_database)
    finally:
        operator.stop()
    log = operator.log()
    assert "the API server knows an older state than before" in log
    assert "Traceback" not in log, log


async def _restored(kubectl: Kubectl, database: str) -> None:
    kubectl.create(jobbatch("steady", jobs=[{"payload": 1}]))
    kubectl.create(workerpool("mailers", replicas=1))
    found = await kubectl.wait("jobbatch", "steady", ready("True Running"))
    batch_id = UUID(found["status"]["batchId"])
    await kubectl.wait("deployment", "mailers-worker", lambda found: found["spec"]["replicas"] == 1)
    await etcd("copy")
    kubectl.patch("jobbatch", "steady", {"spec": {"suspend": True}})
    kubectl.patch("workerpool", "mailers", {"spec": {"replicas": 2}})
    await kubectl.wait("jobbatch", "steady", ready("True Suspended"))
    await kubectl.wait("deployment", "mailers-worker", lambda found: found["spec"]["replicas"] == 2)
    await etcd("put-back")
    async with await JobQueue.connect(database) as queue:
        await eventually(lambda: queue.get_batch_status(batch_id), lambda found: not found.suspended, within=120)
    kubectl.patch("workerpool", "mailers", {"spec": {"replicas": 3}})
    await kubectl.wait("deployment", "mailers-worker", lambda found: found["spec"]["replicas"] == 3)
