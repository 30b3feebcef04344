"""A batch of 10,000 jobs while its operator and one of its workers are killed."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e import manifests
from tests.e2e.release import OPERATOR_SELECTOR
from tests.harness.kubectl import completed_fewer_than, conditions, lacks_condition

if TYPE_CHECKING:
    from tests.e2e.ledger import Database, Run
    from tests.e2e.release import Release
    from tests.harness.kubectl import Kubectl

JOBS = 10_000
LANES = 10
BATCH_SIZE = 100

# Runs in the worker's container. PID 1 there is the Pod's pause process; the interpreter of this script is not meant.
KILL_WORKER = """
import os, pathlib, signal
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    if int(folder.name) in (1, os.getpid()):
        continue
    if "hammerwork-worker" in (folder / "cmdline").read_text():
        os.kill(int(folder.name), signal.SIGKILL)
        print(folder.name)
"""


def test_ten_thousand_jobs_survive_the_death_of_operator_and_worker(
    release: Release, kubectl: Kubectl, database: Database
) -> None:
    started = time.monotonic()
    kubectl.apply(manifests.pool("large", "record", replicas=2, concurrency=LANES))
    kubectl.wait_for("workerpool", "large", lacks_condition("Ready"), seconds=60)
    kubectl.apply(manifests.batch("large", JOBS, payload={"milliseconds": 15}, batchSize=BATCH_SIZE))

    kubectl.wait_for("jobbatch", "large", completed_fewer_than(JOBS // 10), seconds=60)
    operator = release.operator_pods()
    kubectl("delete", "pod", "--selector", OPERATOR_SELECTOR, "--wait=false")

    victim = kubectl.list("pods", manifests.worker_pods("large"))[0]["metadata"]["name"]
    killed = kubectl("exec", victim, "--container=worker", "--", "python3", "-c", KILL_WORKER).split()
    assert len(killed) == 1, f"{victim}: wanted to kill one worker process, killed {killed}"

    batch = kubectl.wait_for("jobbatch", "large", lacks_condition("Complete"), seconds=120)
    status = batch["status"]
    assert status["totalJobs"] == status["completedJobs"] == JOBS
    assert (status["pendingJobs"], status["failedJobs"], status["cancelledJobs"]) == (0, 0, 0)
    assert (status["progress"], status["successRate"]) == ("100%", "100%")
    assert conditions(batch)["Complete"]["reason"] == "Completed"
    print(f"{JOBS} jobs in {time.monotonic() - started:.1f} s")

    assert not release.operator_pods() & operator, "the operator's Pod was not replaced"
    pod = kubectl.get("pod", victim)
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 1, "the worker's container was not restarted"

    runs = database.runs(status["batchId"])
    times_run = Counter(run.index for run in runs)
    assert times_run.keys() == set(range(JOBS)), "jobs that never ran"
    first: dict[int, Run] = {}
    for run in runs:
        first.setdefault(run.index, run)
    repeated = [index for index, times in times_run.items() if times > 1]
    # The process that was killed is the first of its Pod that wrote anything.
    dead = next(run.process for run in runs if run.pod == victim)
    assert {first[index].process for index in repeated} <= {dead}, "jobs of workers that lived ran twice"
    # In a worker's hands: the range whose outcomes it is reporting, and the next one, which it has begun.
    assert sum(times_run.values()) - JOBS <= 2 * BATCH_SIZE
    print(f"{len(repeated)} jobs ran again after {dead} was killed")
