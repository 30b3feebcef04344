"""What a large batch takes on a real node, and the same work as a Job of batch/v1: `make measure-million`.

Not of the suite: it takes minutes, and its figures depend on the machine. It fails only where something is wrong.
"""

from __future__ import annotations

import base64
import gzip
import itertools
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e import manifests
from tests.harness.kubectl import lacks_condition
from tests.harness.manifests import jobbatch, workerpool

if TYPE_CHECKING:
    from tests.e2e.release import Release
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

JOBS = 1_000_000
COMPLETIONS = 1_000
PARALLELISM = 20
WAIT_SECONDS = 600.0
SHARDS = 10
QUERY = f"SELECT n AS id, 'user-' || n AS name FROM generate_series(1, {JOBS}) AS n"

# Runs in the operator's container: what it takes of memory, and what it has written so far.
LOOK = """
import re, urllib.request
status = open("/proc/1/status").read()
metrics = urllib.request.urlopen("http://127.0.0.1:8080/metrics").read().decode()
writes = re.findall(r"^hammerwork_operator_status_writes_total[^ ]* ([0-9.]+)", metrics, re.M)
print(re.search(r"VmHWM:\\s+([0-9]+)", status)[1], sum(map(float, writes)))
"""


def look(release: Release) -> tuple[float, float]:
    """Return the most memory that the operator has taken, in MiB, and how many statuses it has written."""
    words = release.kubectl("exec", f"deployment/{release.operator}", "--", "python3", "-c", LOOK).split()
    return int(words[0]) / 1024, float(words[1])


def shards() -> list[Manifest]:
    """Return ConfigMaps that have all jobs, as lines of JSON packed by gzip."""
    found = []
    for shard in range(SHARDS):
        lines = "".join(f'{{"file":"file-{number}"}}\n' for number in range(shard, JOBS, SHARDS))
        packed = base64.b64encode(gzip.compress(lines.encode())).decode()
        metadata = {"name": f"shard-{shard}"}
        data = {"jobs.ndjson.gz": packed}
        found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})
    return found


def until(kubectl: Kubectl, manifest: Manifest, condition: str) -> None:
    """Wait for a condition of a batch."""
    name = manifest["metadata"]["name"]
    kubectl("wait", f"jobbatch/{name}", f"--for=condition={condition}", "--timeout=10m", seconds=WAIT_SECONDS)


def run_batch(release: Release, manifest: Manifest) -> list[str]:
    """Apply a batch; return the seconds until it was Enqueued and Complete, the operator's memory and its writes."""
    kubectl, name = release.kubectl, manifest["metadata"]["name"]
    _, before = look(release)
    started = time.monotonic()
    kubectl.apply(manifest)
    until(kubectl, manifest, "Enqueued")
    enqueued = time.monotonic() - started
    until(kubectl, manifest, "Complete")
    complete = time.monotonic() - started
    status = kubectl.get("jobbatch", name)["status"]
    assert status["completedJobs"] == status["totalJobs"] == manifest_jobs(manifest), status
    memory, after = look(release)
    return [f"{enqueued:.1f} s", f"{complete:.1f} s", f"{memory:.0f} MiB", f"{after - before:.0f}"]


def small_batches_beside(release: Release, manifest: Manifest) -> str:
    """Apply a batch that is loaded only, and small ones until it is; return the most seconds that one took to load."""
    kubectl, name = release.kubectl, manifest["metadata"]["name"]
    seconds = []
    kubectl.apply(manifest)
    for number in itertools.count():
        small = jobbatch(f"{name}-small-{number}", queue="nobody", suspend=True, jobs=[{"payload": number}])
        started = time.monotonic()
        kubectl.apply(small)
        until(kubectl, small, "Enqueued")
        seconds.append(time.monotonic() - started)
        if not lacks_condition("Enqueued")(kubectl.get("jobbatch", name)):
            break
    return f"{max(seconds):.1f} s, of {len(seconds)}"


def manifest_jobs(manifest: Manifest) -> int:
    """Return how many jobs the batch is to have."""
    count: int = manifest["spec"].get("generate", {}).get("count", JOBS)
    return count


def row(*cells: str) -> None:
    """Print a row of a table of the documentation."""
    print(f"| {' | '.join(cells)} |", flush=True)


def restart(release: Release) -> None:
    """Start the operator anew, so that its most memory is that of what follows."""
    release.kubectl("rollout", "restart", f"deployment/{release.operator}")
    release.kubectl("rollout", "status", f"deployment/{release.operator}", "--timeout=60s", seconds=90)


@pytest.mark.timeout(1800)
def test_a_million_jobs(release: Release, kubectl: Kubectl) -> None:
    release.install(*release.database_values(), "operator.allowQuerySource=true")
    kubectl.apply(manifests.pool("million", "nothing", replicas=2))
    kubectl.wait_for("workerpool", "million", lacks_condition("Ready"), seconds=120)
    sources: dict[str, dict[str, Any]] = {
        "generate": {"generate": {"count": JOBS, "payload": {"file": "file-{{ index }}"}}},
        "query": {"query": {"sql": QUERY}},
        "configMapRefs": {
            "configMapRefs": [{"name": f"shard-{number}", "key": "jobs.ndjson.gz"} for number in range(SHARDS)]
        },
    }
    for shard in shards():
        kubectl.create(shard)  # `apply` would keep a copy in an annotation
    print()
    row(
        *("1,000,000 jobs, two worker Pods", "apply → Enqueued", "apply → Complete", "operator, most memory"),
        *("status writes", "small batches meanwhile, the slowest"),
    )
    row(*["---"] * 6)
    for name, source in sources.items():
        restart(release)
        manifest = jobbatch(name.lower(), queue="million", batchSize=1_000, **source)
        cells = run_batch(release, manifest)
        beside = jobbatch(f"{name.lower()}-beside", queue="nobody", suspend=True, **source)
        row(f"`{name}`", *cells, small_batches_beside(release, beside))
    kubectl("delete", "workerpool", "million")


@pytest.mark.timeout(1800)
def test_the_same_commands_as_an_indexed_job_and_as_a_batch(release: Release, kubectl: Kubectl) -> None:
    image = release.images.name("worker")
    print()
    row(f"{COMPLETIONS:,} runs of `true`", "seconds")
    row("---", "---")
    container = {"name": "true", "image": image, "imagePullPolicy": "IfNotPresent", "command": ["true"]}
    indexed = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "indexed"},
        "spec": {
            "completionMode": "Indexed",
            "completions": COMPLETIONS,
            "parallelism": PARALLELISM,
            "template": {"spec": {"restartPolicy": "Never", "containers": [container]}},
        },
    }
    started = time.monotonic()
    kubectl.apply(indexed)
    kubectl("wait", "job/indexed", "--for=condition=Complete", "--timeout=20m", seconds=1_260)
    row(f"Indexed Job of batch/v1, parallelism {PARALLELISM}", f"{time.monotonic() - started:.1f}")
    kubectl("delete", "job", "indexed", "--wait=false")

    pool = workerpool("commands", queue="commands", handler={"exec": {"command": ["true"]}}, replicas=2)
    kubectl.apply(pool)
    kubectl.wait_for("workerpool", "commands", lacks_condition("Ready"), seconds=120)
    manifest = jobbatch("commands", queue="commands", generate={"count": COMPLETIONS, "payload": None})
    _, complete, *_ = run_batch(release, manifest)
    row("JobBatch, two worker Pods, `exec`", complete.removesuffix(" s"))
