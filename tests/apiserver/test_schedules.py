"""JobBatchSchedules: what is made, and when, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hammerwork import JobQueue
from hammerwork.errors import BatchNotFoundError
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.schedule.controller import TICK_SECONDS, JobBatchScheduleController
from tests.apiserver.clocked_operator import Clock
from tests.apiserver.crashing import Steps, api_server
from tests.apiserver.operator_process import OperatorUnderTest
from tests.apiserver.workers import worker
from tests.harness.kubectl import condition, conditions
from tests.harness.manifests import jobbatch, schedule
from tests.harness.waiting import eventually, happens

if TYPE_CHECKING:
    from pathlib import Path

    from hammerwork import Job
    from tests.apiserver.kubectl import Kubectl
    from tests.harness.manifests import Manifest

HOUR = timedelta(hours=1)
FIVE = {"queue": "work", "generate": {"count": 5, "payload": "{{ index }} of {{ scheduledTime }}"}}


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """Shows the time, and stands still."""
    found = Clock(tmp_path / "clock")
    found.set(datetime.now(UTC))
    return found


@pytest.fixture
def operator(stopped_operator: OperatorUnderTest, clock: Clock) -> OperatorUnderTest:
    """A running operator that goes by the test's clock."""
    stopped_operator.program = clock.program
    stopped_operator.start()
    return stopped_operator


def next_hour(clock: Clock) -> datetime:
    """Return the beginning of an hour that is still ahead when the test comes to its end."""
    return (clock.now() + HOUR + timedelta(minutes=10)).replace(minute=0, second=0, microsecond=0)


def batch_name(name: str, moment: datetime) -> str:
    return f"{name}-{int(moment.timestamp()) // 60}"


async def made(kubectl: Kubectl, name: str, *moments: datetime) -> list[Manifest]:
    """Return the batches of a schedule once there are those of these times, and no others."""
    wanted = sorted(batch_name(name, moment) for moment in moments)
    return await eventually(
        lambda: asyncio.to_thread(kubectl.list, "jobbatches", f"hammerwork.io/schedule={name}"),
        lambda found: sorted(batch["metadata"]["name"] for batch in found) == wanted,
        every=0.1,
        tell=lambda found: f"{[batch['metadata']['name'] for batch in found]}, not {wanted}",
    )


async def at_rest(kubectl: Kubectl, name: str, moment: datetime) -> Manifest:
    """Return the schedule once its status speaks of a time as the last one, and of what comes next."""
    return await kubectl.wait(
        "jobbatchschedule",
        name,
        lambda found: (found.get("status") or {}).get("lastScheduleTime") == timestamp(moment),
    )


async def test_each_time_has_one_batch(
    kubectl: Kubectl, clock: Clock, operator: OperatorUnderTest, with_database: str, tmp_path: Path
) -> None:
    first = next_hour(clock)
    labels = {"metadata": {"labels": {"team": "a"}, "annotations": {"for": "{{ scheduledTime }}"}}}
    manifest = schedule("hourly", "0 * * * *", template=FIVE)
    manifest["spec"]["template"] |= labels
    kubectl.create(manifest)
    fresh = await kubectl.wait("jbs", "hourly", lambda found: condition(found, "Ready") == "True Scheduled")
    assert "lastScheduleTime" not in fresh["status"]
    clock.set(first)
    (batch,) = await made(kubectl, "hourly", first)
    uid = fresh["metadata"]["uid"]
    (owner,) = batch["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("JobBatchSchedule", uid, True)
    time = timestamp(first)
    assert batch["metadata"]["labels"] == {"team": "a", "hammerwork.io/schedule": "hourly"}
    assert batch["metadata"]["annotations"] == {"for": time, "hammerwork.io/scheduled-time": time}
    assert batch["spec"]["generate"]["payload"] == f"{{{{ index }}}} of {time}"
    running = await at_rest(kubectl, "hourly", first)
    assert [each["name"] for each in running["status"]["active"]] == [batch["metadata"]["name"]]
    async with worker(with_database):
        done = await kubectl.wait("jbs", "hourly", lambda found: found["status"]["activeBatches"] == 0)
    assert "active" not in done["status"]
    assert done["status"]["lastSuccessfulTime"]
    await kubectl.wait_events("hourly", "Normal SuccessfulCreate", "Normal SawCompletedBatch")

    # Whoever is killed, comes again or comes beside another: a time has one batch, and at rest nothing is written.
    operator.kill()
    clock.set(first + HOUR)
    operator.start()
    await made(kubectl, "hourly", first, first + HOUR)
    second = OperatorUnderTest(operator.kubeconfig, kubectl.namespace, tmp_path / "second.log", clock.program)
    second.start()
    try:
        for hours in (2, 3, 4):
            clock.set(first + hours * HOUR)
            await at_rest(kubectl, "hourly", first + hours * HOUR)
        operator.stop()
        operator.start()
        before = await at_rest(kubectl, "hourly", first + 4 * HOUR)
        await asyncio.sleep(2.0)
    finally:
        second.stop()
    await made(kubectl, "hourly", *(first + hours * HOUR for hours in range(5)))
    assert kubectl.get("jbs", "hourly")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    events = kubectl.events("hourly")
    assert events.count("Normal SuccessfulCreate") == 5, events
    for log in (second.log(), operator.log()):
        assert "Traceback" not in log, log


async def test_what_was_missed_is_made_up_for_once(kubectl: Kubectl, clock: Clock, operator: OperatorUnderTest) -> None:
    first = next_hour(clock)
    kubectl.create(schedule("late", "0 * * * *"))
    kubectl.create(schedule("strict", "0 * * * *", startingDeadlineSeconds=60))
    kubectl.create(schedule("paused", "0 * * * *"))
    kubectl.create(schedule("minutely", "* * * * *", startingDeadlineSeconds=5))
    minutely = await kubectl.wait("jbs", "minutely", lambda found: condition(found, "Ready") == "True Scheduled")
    assert "a restart of the operator is enough to miss a run" in conditions(minutely)["Ready"]["message"]
    clock.set(first)
    for name in ("late", "strict", "paused", "minutely"):
        await made(kubectl, name, first)
    kubectl.patch("jbs", "paused", {"spec": {"suspend": True}})
    await kubectl.wait("jbs", "paused", lambda found: condition(found, "Ready") == "True Suspended")
    operator.stop()
    back = first + 3 * HOUR + timedelta(minutes=5)
    clock.set(back)
    operator.start()
    await made(kubectl, "late", first, first + 3 * HOUR)
    await made(kubectl, "minutely", first, back)
    told = ("Normal SuccessfulCreate", "Warning MissSchedule")
    await kubectl.wait_events("strict", *told)
    operator.stop()
    operator.start()
    kubectl.patch("jbs", "strict", {"spec": {"startingDeadlineSeconds": 61}})
    await kubectl.wait("jbs", "strict", lambda found: found["status"]["observedGeneration"] == 2)
    kubectl.patch("jbs", "paused", {"spec": {"suspend": False}})
    await made(kubectl, "paused", first, first + 3 * HOUR)
    clock.set(first + 204 * HOUR)
    await made(kubectl, "late", first, first + 3 * HOUR, first + 204 * HOUR)
    assert "Warning TooManyMissedTimes" in kubectl.events("late")
    await made(kubectl, "strict", first, first + 204 * HOUR)
    await kubectl.wait_events("strict", *told, "Normal SuccessfulCreate")


@pytest.mark.usefixtures("operator")
async def test_each_policy_of_concurrency(kubectl: Kubectl, clock: Clock, with_database: str) -> None:
    first = next_hour(clock)
    for policy in ("Allow", "Forbid", "Replace"):
        kubectl.create(schedule(policy.lower(), "0 * * * *", template=FIVE, concurrencyPolicy=policy))
        await kubectl.wait("jbs", policy.lower(), lambda found: condition(found, "Ready") == "True Scheduled")
    clock.set(first)
    for policy in ("allow", "forbid", "replace"):
        await made(kubectl, policy, first)
        await at_rest(kubectl, policy, first)
    kubectl("label", "jobbatch", batch_name("forbid", first), "hammerwork.io/schedule-")  # it runs all the same
    clock.set(first + HOUR)
    await made(kubectl, "allow", first, first + HOUR)
    await made(kubectl, "replace", first + HOUR)
    waiting = await kubectl.wait("jbs", "forbid", lambda found: "waits for" in conditions(found)["Ready"]["message"])
    assert waiting["status"]["activeBatches"] == 1
    clock.set(first + 2 * HOUR + timedelta(minutes=1))
    await made(kubectl, "allow", first, first + HOUR, first + 2 * HOUR)
    await made(kubectl, "forbid")
    told = ["Normal SuccessfulCreate", "Normal BatchAlreadyActive", "Normal BatchAlreadyActive"]
    await eventually(lambda: asyncio.to_thread(kubectl.events, "forbid"), lambda seen: seen == told, within=30)
    async with worker(with_database):
        # The latest time that waited, and only that.
        await made(kubectl, "forbid", first + 2 * HOUR)
    assert "Normal SuccessfulDelete" in kubectl.events("replace")
    assert "Normal MissingBatch" not in kubectl.events("replace")


@pytest.mark.usefixtures("operator")
async def test_the_history_is_kept_by_success_and_failure(kubectl: Kubectl, clock: Clock, with_database: str) -> None:
    """A change of the template is for the batches that are made later."""
    first = next_hour(clock)

    async def handle(job: Job) -> None:
        if job.payload == "bad":
            raise ValueError(job.payload)

    def template(payload: str) -> Manifest:
        return {"queue": "work", "partialFailureMode": "FailFast", "jobs": [{"payload": payload}]}

    limits = {"successfulBatchesHistoryLimit": 1, "failedBatchesHistoryLimit": 1}
    kubectl.create(schedule("kept", "0 * * * *", template=template("good"), **limits))
    forgetful = [f"forgetful-{number}" for number in range(3)]
    for name in forgetful:
        kubectl.create(schedule(name, "0 * * * *", template=template("good"), **dict.fromkeys(limits, 0)))
    for name in ("kept", *forgetful):
        await kubectl.wait("jbs", name, lambda found: condition(found, "Ready") == "True Scheduled")
    times = [first + hours * HOUR for hours in range(4)]
    async with worker(with_database, handle):
        for position, (moment, payload) in enumerate(zip(times, ("good", "bad", "good", "bad"), strict=True)):
            kubectl.patch("jbs", "kept", {"spec": {"template": {"spec": template(payload)}}})
            clock.set(moment)
            await at_rest(kubectl, "kept", moment)
            await made(kubectl, "kept", *times[max(0, position - 1) : position + 1])
            for name in forgetful if position == 0 else ():
                await at_rest(kubectl, name, moment)
                await made(kubectl, name)
                assert "lastSuccessfulTime" in kubectl.get("jbs", name)["status"], "a batch went before it was told of"
    assert kubectl.events("kept").count("Normal SuccessfulDelete") == 2


CLOCKS = {
    # Half past two does not exist on 28 March 2027, and comes twice on 31 October.
    "berlin": ("30 2 * * *", "Europe/Berlin"),
    # Half past one comes twice on 7 November 2027; half past two does not exist on 14 March.
    "new-york": ("30 1,2 * * *", "America/New_York"),
}
CHANGES = {
    "2027-03-14T09:00:00+00:00": {"berlin": ["2027-03-14T02:30:00+01:00"], "new-york": ["2027-03-14T01:30:00-05:00"]},
    "2027-03-27T03:00:00+00:00": {"berlin": ["2027-03-27T02:30:00+01:00"]},
    "2027-03-28T20:00:00+00:00": {"new-york": ["2027-03-28T02:30:00-04:00"]},
    "2027-03-29T00:45:00+00:00": {"berlin": ["2027-03-29T02:30:00+02:00"]},
    "2027-10-31T00:45:00+00:00": {"berlin": ["2027-10-31T02:30:00+02:00"]},
    "2027-10-31T01:45:00+00:00": {"berlin": ["2027-10-31T02:30:00+01:00"]},
    "2027-11-07T05:45:00+00:00": {"new-york": ["2027-11-07T01:30:00-04:00"]},
    "2027-11-07T06:45:00+00:00": {"new-york": ["2027-11-07T01:30:00-05:00"]},
    "2027-11-07T07:45:00+00:00": {"new-york": ["2027-11-07T02:30:00-05:00"]},
}


@pytest.mark.usefixtures("operator")
async def test_where_clocks_are_changed_it_is_as_with_a_cron_job(kubectl: Kubectl, clock: Clock) -> None:
    for name, (when, zone) in CLOCKS.items():
        kubectl.create(schedule(name, when, timeZone=zone))
    for name in CLOCKS:
        await kubectl.wait("jbs", name, lambda found: condition(found, "Ready") == "True Scheduled")
    for moment, wanted in CHANGES.items():
        clock.set(datetime.fromisoformat(moment))
        for name, times in wanted.items():
            for time in times:
                scheduled = datetime.fromisoformat(time)
                await at_rest(kubectl, name, scheduled)
                batch = kubectl.get("jobbatch", batch_name(name, scheduled))
                assert batch["metadata"]["annotations"]["hammerwork.io/scheduled-time"] == time
                assert batch["spec"]["jobs"] == [{"payload": time}]
    berlin = kubectl.list("jobbatches", "hammerwork.io/schedule=berlin")
    assert [batch for batch in berlin if "2027-03-28" in str(batch["metadata"]["annotations"])] == []


@pytest.mark.usefixtures("operator")
async def test_what_keeps_batches_from_being_made_is_told(kubectl: Kubectl, clock: Clock, with_database: str) -> None:
    first = next_hour(clock)

    async def stalled(name: str, reason: str, message: str) -> None:
        found = await kubectl.wait("jbs", name, lambda found: condition(found, "Stalled") == f"True {reason}")
        assert message in conditions(found)["Stalled"]["message"]

    kubectl.create(schedule("nowhere", "0 * * * *", timeZone="Local"))
    kubectl.create(schedule("never", "0 0 31 2 *"))
    kubectl.create(schedule("backward", "30-10 * * * *"))
    kubectl.create(schedule("taken", "0 * * * *"))
    kubectl.create(jobbatch(batch_name("taken", first), jobs=[{"payload": 1}]))
    labelled = schedule("labelled", "0 * * * *")
    labelled["spec"]["template"]["metadata"] = {"labels": {"at": "no label"}}
    kubectl.create(labelled)
    kubectl.create(schedule("changed", "59 * * * *"))
    kubectl.create(schedule("cut-off", "0 * * * *"))
    # What an operator leaves that ends between making the batch and writing the status; somebody took the label off.
    owner = {"apiVersion": "hammerwork.io/v1alpha1", "kind": "JobBatchSchedule", "name": "cut-off", "controller": True}
    left = jobbatch(batch_name("cut-off", first), jobs=[{"payload": 1}])
    left["metadata"]["ownerReferences"] = [{**owner, "uid": kubectl.get("jbs", "cut-off")["metadata"]["uid"]}]
    kubectl.create(left)
    for name in ("taken", "labelled", "changed"):
        await kubectl.wait("jbs", name, lambda found: condition(found, "Ready") == "True Scheduled")
    clock.set(first)
    await stalled("nowhere", "UnknownTimeZone", "spec.timeZone: 'Local' is not in the operator's time zone database")
    await stalled("never", "InvalidSchedule", "no such day within five years")
    await stalled("backward", "InvalidSchedule", "minute '30-10': begins after its end")
    await stalled("taken", "NameConflict", f"JobBatch {batch_name('taken', first)} is not the schedule's")
    await stalled("labelled", "FailedCreate", "metadata.labels: Invalid value")
    await kubectl.wait_events("labelled", "Warning FailedCreate")
    await at_rest(kubectl, "cut-off", first)
    assert kubectl.events("cut-off") == []
    # A correction counts at once, and the next time is another chance.
    kubectl.patch("jbs", "labelled", {"spec": {"template": {"metadata": {"labels": None}}}})
    await made(kubectl, "labelled", first)
    # Of another schedule only what is ahead counts.
    await at_rest(kubectl, "changed", first - timedelta(minutes=1))
    clock.set(first + timedelta(minutes=40))
    kubectl.patch("jbs", "changed", {"spec": {"schedule": "30 * * * *"}})
    seen = timestamp(first + timedelta(minutes=40))
    await kubectl.wait("jbs", "changed", lambda found: found["status"]["observedSchedule"]["since"] == seen)
    clock.set(first + HOUR)
    await made(kubectl, "taken", first + HOUR)
    await made(kubectl, "changed", first - timedelta(minutes=1))
    (batch,) = await made(kubectl, "changed", first - timedelta(minutes=1))
    # The batches go with their schedule, and their rows as each of them says.
    async with await JobQueue.connect(with_database) as queue:
        row = await kubectl.wait(
            "jobbatch", batch["metadata"]["name"], lambda found: condition(found, "Enqueued") == "True Enqueued"
        )
        assert (await queue.get_batch_status(UUID(row["status"]["batchId"]))).pending_jobs == 1
        kubectl.delete("jbs", "changed")
        await kubectl.wait_gone("jobbatch", batch["metadata"]["name"])
        with pytest.raises(BatchNotFoundError):
            await queue.get_batch_status(UUID(row["status"]["batchId"]))


@pytest.mark.usefixtures("operator")
async def test_what_a_quota_forbids_is_made_once_it_does_not(kubectl: Kubectl, clock: Clock) -> None:
    first = next_hour(clock)
    # Nobody counts for a quota here, so the status is written by hand.
    hard = {"count/jobbatches.hammerwork.io": "0"}
    kubectl.create({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none"}, "spec": {"hard": hard}})
    used = json.dumps({"status": {"hard": hard, "used": hard}})
    kubectl("patch", "resourcequota", "none", "--subresource=status", "--type=merge", "-p", used)
    kubectl.create(schedule("limited", "0 * * * *"))
    await kubectl.wait("jbs", "limited", lambda found: condition(found, "Ready") == "True Scheduled")
    clock.set(first)
    stalled = await kubectl.wait("jbs", "limited", lambda found: condition(found, "Stalled") == "True FailedCreate")
    assert "exceeded quota: none" in conditions(stalled)["Stalled"]["message"]
    kubectl.delete("resourcequota", "none")
    clock.set(first + timedelta(minutes=1))
    await made(kubectl, "limited", first)
    await at_rest(kubectl, "limited", first)
    assert condition(kubectl.get("jbs", "limited"), "Ready") == "True Scheduled"


@pytest.mark.parametrize("due", [True, False], ids=["when a batch is made", "when the status is written"])
async def test_a_schedule_that_went_unseen_is_forgotten(kubectl: Kubectl, clock: Clock, due: bool) -> None:
    """The operator may be at work for it before the watch tells that it is gone."""
    kubectl.create(schedule("gone", "* * * * *"))
    manifest = kubectl.get("jbs", "gone")
    kubectl.delete("jbs", "gone")
    clock.set(datetime.fromisoformat(manifest["metadata"]["creationTimestamp"]) + due * HOUR)
    steps = Steps()
    server = await api_server(kubectl.kubeconfig, steps)
    controller = JobBatchScheduleController(server, Metrics(), clock.now)
    try:
        controller.seen(manifest)
        await happens(lambda: steps.count >= 2)
        clock.set(clock.now() + HOUR)
        before = steps.count
        await asyncio.sleep(4 * TICK_SECONDS)
        assert steps.count == before, f"{steps.count - before} more requests for a schedule that is gone"
        kubectl.create(schedule("gone", "* * * * *"))
        controller.seen(kubectl.get("jbs", "gone"))
        await kubectl.wait("jbs", "gone", lambda found: condition(found, "Ready") == "True Scheduled")
    finally:
        await controller.stop()
        await server.close()
