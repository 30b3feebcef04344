"""The definition of JobBatchSchedules: what the API server refuses, what kubectl shows; an operator without it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.apiserver.operator_process import OperatorUnderTest, service_account_kubeconfig
from tests.harness.kubectl import CommandError, condition
from tests.harness.manifests import jobbatch, schedule

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest

ONE = [{"payload": 1}]
FIELDS = "must have five fields (minute 0-59, hour 0-23, day of month 1-31, month 1-12, day of week 0-6) or be one of"


def batches(**spec: Any) -> Manifest:
    return schedule("bad", "@daily", template={"queue": "work", **spec})


def labelled(**labels: str) -> Manifest:
    manifest = schedule("bad", "@daily")
    manifest["spec"]["template"]["metadata"] = {"labels": labels}
    return manifest


REFUSED: dict[str, tuple[Manifest, str]] = {
    "four fields": (schedule("bad", "* * * *"), f'spec.schedule: Invalid value: "* * * *": {FIELDS}'),
    "six fields": (schedule("bad", "0 * * * * *"), FIELDS),
    "minute 60": (schedule("bad", "60 * * * *"), FIELDS),
    "a step of 0": (schedule("bad", "*/0 * * * *"), FIELDS),
    "day of week 7": (schedule("bad", "0 0 * * 7"), FIELDS),
    "no macro": (schedule("bad", "@dayly"), f"{FIELDS} @yearly, @annually, @monthly, @weekly, @daily"),
    "a zone in the schedule": (
        schedule("bad", "TZ=Europe/Berlin 0 0 * * *"),
        'spec.schedule: Invalid value: "TZ=Europe/Berlin 0 0 * * *": must not have TZ or CRON_TZ; use timeZone',
    ),
    "an unknown zone": (schedule("bad", "@daily", timeZone="Mars/Phobos"), "unknown time zone Mars/Phobos"),
    "an offset": (schedule("bad", "@daily", timeZone="+02:00"), "spec.timeZone in body should match"),
    "an empty zone": (schedule("bad", "@daily", timeZone=""), "spec.timeZone in body should be at least 1 chars long"),
    "another policy": (
        schedule("bad", "@daily", concurrencyPolicy="Never"),
        'spec.concurrencyPolicy: Unsupported value: "Never": supported values: "Allow", "Forbid", "Replace"',
    ),
    "a deadline below 0": (schedule("bad", "@daily", startingDeadlineSeconds=-1), "greater than or equal to 0"),
    "a history below 0": (schedule("bad", "@daily", failedBatchesHistoryLimit=-1), "greater than or equal to 0"),
    "a name that is no label": (
        schedule("b" * 64, "@daily"),
        "metadata.name has 64 characters, must be at most 63, because it is a label of each JobBatch",
    ),
    "a time in a label": (
        labelled(team="a", at="{{ scheduledTime }}"),
        'labels: Invalid value: label "at": "{{ scheduledTime }}" must not have a placeholder',
    ),
    "a long label": (labelled(team="a" * 64), "spec.template.metadata.labels.team: Too long: may not be more than 63"),
    "no jobs": (batches(), "spec.template.spec: Invalid value: none given, must be exactly one of"),
    "a job of another queue": (
        batches(jobs=[{"payload": 1, "queue": "other"}]),
        'spec.template.spec.jobs: Invalid value: jobs[0].queue: "other", but queue is "work"',
    ),
    "a pause that shrinks": (
        batches(jobs=ONE, retryPolicy={"initialSeconds": 5, "maxSeconds": 1}),
        "spec.template.spec.retryPolicy: Invalid value: initialSeconds is 5, must not be above maxSeconds, which is 1",
    ),
    "what is replaced continues": (
        schedule(
            "bad",
            "@daily",
            template={"queue": "work", "jobs": ONE, "deletionPolicy": "Orphan"},
            concurrencyPolicy="Replace",
        ),
        "deletionPolicy: Invalid value: with concurrencyPolicy Replace, deletionPolicy must not be Orphan",
    ),
}


@pytest.mark.parametrize(("manifest", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_bad_schedule_is_refused_with_a_clear_message(admin: Kubectl, manifest: Manifest, message: str) -> None:
    with pytest.raises(CommandError) as refused:
        admin("create", "--dry-run=server", "--filename=-", stdin=json.dumps(manifest))
    assert message in refused.value.said


def test_all_of_a_schedule_can_be_changed_and_is_shown(kubectl: Kubectl) -> None:
    when = ("@every 1h30m", " */5,7 9-17/2 1,15 JAN-mar ? ", "59 23 31 12 sun-sat", "@midnight")
    kubectl.create(schedule("nightly", "30 2 * * *", timeZone="Europe/Berlin"))
    for text in when:
        kubectl.patch("jbs", "nightly", {"spec": {"schedule": text, "template": {"spec": {"queue": "other"}}}})
    for attempt in (2, 1):  # a JobBatch's may only grow
        kubectl.patch("jbs", "nightly", {"spec": {"template": {"spec": {"retry": {"attempt": attempt}}}}})
    status = {"observedGeneration": 1, "activeBatches": 2, "lastScheduleTime": "2026-05-01T02:30:00Z"}
    kubectl("patch", "jbs", "nightly", "--subresource=status", "--type=merge", "-p", json.dumps({"status": status}))
    header, line = kubectl("get", "jobbatchschedules", "-o", "wide").splitlines()
    columns = ["NAME", "SCHEDULE", "TIMEZONE", "SUSPEND", "ACTIVE", "LAST SCHEDULE", "STATUS", "LAST SUCCESS"]
    assert [column for column in columns if column not in header] == []
    assert line.split()[:5] == ["nightly", "@midnight", "Europe/Berlin", "false", "2"]
    assert line.split()[-2] == "other"
    kubectl.create(jobbatch("welcome", jobs=ONE))
    shown = kubectl("get", "hammerwork", "-o", "name").split()
    assert shown == ["jobbatch.hammerwork.io/welcome", "jobbatchschedule.hammerwork.io/nightly"]
    assert "{{ scheduledTime }} is replaced" in " ".join(kubectl("explain", "jbs.spec.template.spec").split())


async def test_rights_of_an_older_version_keep_the_operator_from_nothing_else(kubectl: Kubectl, tmp_path: Path) -> None:
    """Definitions of an older version are the same to it: what cannot be listed."""
    config = service_account_kubeconfig(kubectl, tmp_path)
    role = kubectl.get("role", "hammerwork-operator")
    for rule in role["rules"]:
        rule["resources"] = [each for each in rule["resources"] if not each.startswith("jobbatchschedules")]
    kubectl("replace", "--filename=-", stdin=json.dumps(role))
    operator = OperatorUnderTest(config, kubectl.namespace, tmp_path / "operator.log")
    operator.start()
    try:
        kubectl.create(jobbatch("welcome", jobs=ONE))
        await kubectl.wait("jobbatch", "welcome", lambda found: condition(found, "Ready") == "False SecretNotFound")
        assert "no JobBatchSchedule is run: " in operator.log()
        assert "apply definitions and rights of this version, then restart the operator" in operator.log()
    finally:
        operator.stop()
