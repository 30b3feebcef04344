"""What GitOps tools do: they apply, compare, apply again, share objects with others, and judge them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.harness import verdicts
from tests.harness.documented import documented
from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch, workerpool
from tests.harness.waiting import eventually

if TYPE_CHECKING:
    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

ROOT = Path(__file__).parents[2]
KINDS = [yaml.safe_load(path.read_text())["spec"]["names"]["kind"] for path in sorted((ROOT / "crds").glob("*.yaml"))]


def shown() -> list[Manifest]:
    """Return the manifests of our kinds in documentation and examples, each with a name of its own."""
    examples = [
        manifest
        for path in sorted((ROOT / "examples").rglob("*.yaml"))
        for manifest in yaml.safe_load_all(path.read_text())
        if manifest and manifest.get("kind") in KINDS
    ]
    of_pages = [manifest for kind in KINDS for _, manifest in documented(kind)]
    return [
        {**manifest, "metadata": {**manifest["metadata"], "name": f"shown-{number}"}}
        for number, manifest in enumerate([*examples, *of_pages])
    ]


def versions(kubectl: Kubectl) -> dict[str, str]:
    """Return the resourceVersion of each of our objects: it changes with any write."""
    items = json.loads(kubectl("get", "hammerwork", "-o", "json"))["items"]
    return {f"{item['kind']}/{item['metadata']['name']}": item["metadata"]["resourceVersion"] for item in items}


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_what_is_applied_differs_in_nothing_and_is_not_written_again(kubectl: Kubectl, how: tuple[str, ...]) -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": shown()})
    kubectl("apply", *how, "-f", "-", stdin=text)
    # The default of a status that nobody has written yet is stored with the second apply.
    kubectl("apply", *how, "-f", "-", stdin=text)
    before = versions(kubectl)
    assert len(before) == len(shown()) > 10
    assert kubectl("diff", *how, "-f", "-", stdin=text) == ""
    kubectl("apply", *how, "-f", "-", stdin=text)
    assert versions(kubectl) == before


@pytest.mark.usefixtures("operator", "with_database")
async def test_an_object_that_the_operator_serves_is_not_written_by_applying_it_again(kubectl: Kubectl) -> None:
    manifest = jobbatch("welcome", generate={"count": 3, "payload": "{{ index }}"})
    for how in ((), ("--server-side", "--force-conflicts")):
        kubectl("apply", *how, "-f", "-", stdin=json.dumps(manifest))
        await kubectl.wait("jobbatch", "welcome", lambda found: condition(found, "Ready") == "True Running")

        async def changed(how: tuple[str, ...] = how) -> str:
            before = versions(kubectl)
            try:
                kubectl("diff", *how, "-f", "-", stdin=json.dumps(manifest))
            except CommandError as error:
                return error.said
            kubectl("apply", *how, "-f", "-", stdin=json.dumps(manifest))
            return "" if versions(kubectl) == before else "it was written"

        # The operator may have something to add to the status meanwhile, but not each time.
        await eventually(changed, lambda found: found == "", within=60)
    # As docs/gitops.md says of --force: the operator's finalizer takes time, which kubectl has to be given.
    manifest["spec"]["generate"]["count"] = 4
    kubectl("apply", "--force", "--timeout=60s", "-f", "-", stdin=json.dumps(manifest), seconds=70)
    await kubectl.wait("jobbatch", "welcome", lambda found: found["status"].get("pendingJobs") == 4)
    manifest["spec"]["generate"]["count"] = 5
    with pytest.raises(CommandError, match="context deadline exceeded"):
        kubectl("apply", "--force", "-f", "-", stdin=json.dumps(manifest))
    await kubectl.wait_gone("jobbatch", "welcome")


def test_numbers_that_no_api_server_keeps_are_those_of_the_page(kubectl: Kubectl) -> None:
    kept, lost = 2**63 - 1, 12345678901234567890
    kubectl.create(jobbatch("numbers", jobs=[{"payload": [kept, -kept - 1, lost, str(lost)]}]))
    (job,) = kubectl.get("jobbatch", "numbers")["spec"]["jobs"]
    assert job["payload"] == [kept, -kept - 1, 12345678901234567000, str(lost)]


def test_two_managers_share_a_batch(kubectl: Kubectl) -> None:
    rest = jobbatch("shared", jobs=[{"payload": 1}], ttlSecondsAfterFinished=60)
    held = {key: rest[key] for key in ("apiVersion", "kind", "metadata")} | {"spec": {"suspend": True}}

    def applied(manager: str, manifest: Manifest) -> Manifest:
        text = json.dumps(manifest)
        kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", stdin=text)
        spec: Manifest = kubectl.get("jobbatch", "shared")["spec"]
        return spec

    assert applied("git", rest)["suspend"] is False  # the default, which nobody owns
    assert applied("gate", held)["suspend"] is True
    spec = applied("git", {**rest, "spec": {**rest["spec"], "ttlSecondsAfterFinished": 90}})
    assert (spec["suspend"], spec["ttlSecondsAfterFinished"]) == (True, 90)
    with pytest.raises(CommandError, match=r'conflict with "gate": \.spec\.suspend'):
        applied("git", {**rest, "spec": {**rest["spec"], "suspend": False}})
    with pytest.raises(CommandError, match=r'conflict with "git": \.spec\.jobs'):
        applied("gate", {**held, "spec": {"suspend": True, "jobs": [{"payload": 2}]}})
    assert applied("gate", {**held, "spec": {}})["suspend"] is False  # given up


@pytest.mark.usefixtures("with_database")
async def test_kstatus_and_argo_cd_judge_real_objects(kubectl: Kubectl, stopped_operator: OperatorUnderTest) -> None:
    kubectl.create(jobbatch("running", jobs=[{"payload": 1}]))
    kubectl.create(jobbatch("lost", jobs=[{"payload": 1}], databaseSecretRef={"name": "none"}))
    kubectl.create(workerpool("idle", replicas=0))

    def said() -> dict[str, tuple[str, str]]:
        items = json.loads(kubectl("get", "hammerwork", "-o", "json"))["items"]
        names = [item["metadata"]["name"] for item in items]
        health = [verdict.split(":")[0] for verdict in verdicts.argocd(items)]
        return dict(zip(names, zip(verdicts.kstatus(items), health, strict=True), strict=True))

    assert set(said().values()) == {("InProgress", "Progressing")}
    stopped_operator.start()
    await kubectl.wait("jobbatch", "running", lambda found: condition(found, "Ready") == "True Running")
    await kubectl.wait("jobbatch", "lost", lambda found: condition(found, "Stalled") == "True SecretNotFound")
    await kubectl.wait("workerpool", "idle", lambda found: condition(found, "Ready") == "True Available")
    assert said() == {
        "running": ("Current", "Progressing"),
        "lost": ("Failed", "Degraded"),
        "idle": ("Current", "Healthy"),
    }
    stopped_operator.stop()
    kubectl("delete", "jobbatch", "running", "--wait=false")
    assert said()["running"] == ("Terminating", "Progressing")
