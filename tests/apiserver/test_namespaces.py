"""A namespace that is deleted: all in it goes, in the database too, and the operator complains of nothing twice."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from tests.apiserver.clocked_operator import Clock
from tests.apiserver.operator_process import OperatorUnderTest
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, schedule, secret, workerpool
from tests.harness.observing import sql
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

KINDS = "jobbatches,jobbatchschedules,workerpools,deployments,replicasets,pods,poddisruptionbudgets,secrets"
QUIET_SECONDS = 4.0
"""Longer than the pause after which what went wrong for an object is tried again."""


def running(found: Manifest) -> bool:
    return condition(found, "Ready") == "True Running"


def repeated(log: str) -> list[str]:
    """Return what a log complains of more than once."""
    complaints = Counter(re.findall(r"^\S+ (?:WARNING|ERROR|CRITICAL) (.*)$", log, re.MULTILINE))
    return [words for words, count in complaints.items() if count > 1]


async def test_a_namespace_that_goes_away_takes_all_with_it(
    admin: Kubectl, kubectl: Kubectl, database_url: str, tmp_path: Path
) -> None:
    """With rights from outside the namespace, as in cluster-wide mode: a Role inside goes away with it."""
    config, clock = tmp_path / "admin.kubeconfig", Clock(tmp_path / "clock")
    shutil.copy(kubectl.environment["KUBECONFIG"], config)
    hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0) + timedelta(hours=2)
    clock.set(hour - timedelta(minutes=1))
    operator = OperatorUnderTest(config, kubectl.namespace, tmp_path / "operator.log", clock.program)
    operator.start()
    try:
        cluster = admin.get("namespace", "kube-system")["metadata"]["uid"]
        assert f"watching namespaces {kubectl.namespace}, in cluster {cluster}" in operator.log()
        held = {"name": "held", "finalizers": ["example.com/held"]}
        kubectl.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": held},
            secret(database_url),
            jobbatch("gone", queue="nobody", jobs=[{"payload": 1}]),
            schedule("hourly", "0 * * * *", template={"queue": "nobody", "jobs": [{"payload": 2}]}),
            workerpool("fixed", replicas=2, podDisruptionBudget={"maxUnavailable": 1}),
            workerpool(
                "scaled", queue="nobody", autoscaling={"minReplicas": 1, "maxReplicas": 3, "targetJobsPerWorker": 1}
            ),
        )
        await kubectl.wait("jbs", "hourly", lambda found: condition(found, "Ready") == "True Scheduled")
        clock.set(hour)
        for name in ("gone", f"hourly-{int(hour.timestamp()) // 60}"):
            await kubectl.wait("jobbatch", name, running)
        for name in ("fixed", "scaled"):
            await kubectl.wait("workerpool", name, lambda found: found.get("status", {}).get("replicas", 0) > 0)

        # The next time of the schedule comes while the namespace goes; somebody else holds it up.
        clock.set(hour + timedelta(hours=1))
        admin("delete", "namespace", kubectl.namespace, "--wait=false")
        await eventually(lambda: asyncio.to_thread(_left, kubectl), lambda left: not left, within=90, every=0.5)
        async with sql(database_url) as connection:
            assert await connection.stored_rows() == {}
        clock.set(hour + timedelta(hours=2))
        ended = len(operator.log())
        await asyncio.sleep(QUIET_SECONDS)
        assert repeated(operator.log()[ended:]) == []
        assert _left(kubectl) == []
        kubectl.patch("configmap", "held", {"metadata": {"finalizers": None}})
        admin("wait", "--for=delete", f"namespace/{kubectl.namespace}", "--timeout=55s")
    finally:
        operator.stop()
    log = operator.log()
    print(log)  # shown beside a test that fails
    assert "Traceback" not in log


def _left(kubectl: Kubectl) -> list[str]:
    return [
        f"{item['kind']} {item['metadata']['name']}"
        for item in json.loads(kubectl("get", KINDS, "--output", "json"))["items"]
    ]
