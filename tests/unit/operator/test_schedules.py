"""What is due, what a JobBatchSchedule makes and deletes, and what it says: values in, values out."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.conditions import timestamp
from hammerwork_operator.kube.notes import Subject
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.schedule import due, status
from hammerwork_operator.schedule.cron import parse
from hammerwork_operator.schedule.facts import Child, Facts, Failure, State, child_of, owner_of
from hammerwork_operator.schedule.observed import ObservedSchedule, observe
from hammerwork_operator.schedule.plan import Plan, decide
from hammerwork_operator.schedule.template import batch_name, build_batch

CREATED = datetime(2026, 5, 1, 11, 30, tzinfo=UTC)
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def manifest(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> Any:
    return {
        "metadata": {
            "namespace": "mail",
            "name": "hourly",
            "uid": "uid-1",
            "generation": 1,
            "resourceVersion": "7",
            "creationTimestamp": timestamp(CREATED),
            **metadata,
        },
        "spec": {"schedule": "0 * * * *", "template": {"spec": {"queue": "email", "jobs": []}}, **(spec or {})},
        "status": status or {},
    }


def schedule(spec: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **metadata: Any) -> Any:
    return observe(manifest(spec, status, **metadata), CREATED)


@pytest.mark.parametrize("text", ["0000-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
def test_times_that_nobody_can_reckon_with_are_not_known(text: str) -> None:
    """Anybody who may write a status can write them, and the API server takes them."""
    written = {"schedule": "0 * * * *", "since": text}
    observed = schedule(status={"lastScheduleTime": text, "lastSuccessfulTime": text, "observedSchedule": written})
    assert (observed.last_scheduled, observed.since) == (None, CREATED)
    finished = {"conditions": [{"type": "Complete", "status": "True"}], "completionTime": text}
    batch = child_of(
        {**manifest(status=finished), "metadata": {"name": "b", "uid": "u", "creationTimestamp": timestamp(CREATED)}}
    )
    assert (batch.state, batch.finished_at) == (State.COMPLETE, None)
    told = status.compute(observed, facts(batch), decide(observed, facts(batch), NOON).due, NOON)
    assert "lastSuccessfulTime" not in told


def child(scheduled: datetime, state: State = State.ACTIVE, **fields: Any) -> Child:
    name = batch_name("hourly", scheduled)
    finished = scheduled + MINUTE if state is not State.ACTIVE else None
    values = {"name": name, "uid": f"uid-{name}", "created_at": scheduled, "scheduled_at": scheduled, "state": state}
    return Child(**{**values, "finished_at": finished, **fields})


def facts(*children: Child, **fields: Any) -> Facts:
    return Facts(children=children, **fields)


def ready(observed: ObservedSchedule, known: Facts, plan: Plan, now: datetime = NOON) -> str:
    found = conditions.find(status.compute(observed, known, plan.due, now)["conditions"], "Ready")
    assert found is not None
    return f"{found['status']} {found['reason']}: {found['message']}"


# What is due


@given(
    expression=st.sampled_from(
        ["* * * * *", "*/7 1-3 * * *", "30 2 * * *", "0 0 1 * *", "59 23 31 12 *", "0 12 * * 1-5"]
    ),
    start=st.integers(1_740_000_000, 1_770_000_000),
    elapsed=st.integers(0, 90_000),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
    deadline=st.none() | st.integers(0, 90_000),
)
def test_the_latest_time_is_found_as_by_going_through_all(
    expression: str, start: int, elapsed: int, zone: str, deadline: int | None
) -> None:
    times = parse(expression, ZoneInfo(zone))
    since, now = datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(start + elapsed, UTC)
    passed = []
    at = times.next(since)
    while at is not None and at <= now:
        passed.append(at)
        at = times.next(at)
    limit = None if deadline is None else timedelta(seconds=deadline)
    startable = [each for each in passed if limit is None or each > now - limit]
    found = due.look(times, since, limit, now)
    assert found.scheduled == (startable[-1] if startable else None)
    assert found.many == (len(startable) > 100)
    assert found.missed == (passed[-1] if passed and not startable else None)
    assert found.next == at


def test_a_minutely_schedule_that_was_away_for_years_is_looked_at_from_its_end() -> None:
    found = due.look(parse("* * * * *"), NOON - timedelta(days=3_000), None, NOON)
    assert (found.scheduled, found.many) == (NOON, True)


@pytest.mark.parametrize("elapsed", [0, 89, 90, 91, 180, 100 * 90, 101 * 90, 1_000_000])
def test_an_interval_goes_on_from_the_last_time(elapsed: int) -> None:
    now = CREATED + timedelta(minutes=elapsed)
    found = due.look(parse("@every 90m"), CREATED, None, now)
    count = elapsed // 90
    assert found.scheduled == (CREATED + count * timedelta(minutes=90) if count else None)
    assert found.many == (count > 100)
    assert found.next == CREATED + (count + 1) * timedelta(minutes=90)


@pytest.mark.parametrize(
    ("elapsed", "deadline", "scheduled", "missed", "following"),
    [
        (75, 10 * MINUTE, None, HOUR, 2 * HOUR),
        (65, 10 * MINUTE, HOUR, None, 2 * HOUR),
        (65, timedelta(seconds=5), None, HOUR, 2 * HOUR),
        (59, 10 * MINUTE, None, None, HOUR),
        (120, 10 * MINUTE, 2 * HOUR, None, 3 * HOUR),
        (150, 100 * HOUR, 2 * HOUR, None, 3 * HOUR),
    ],
)
def test_a_deadline_and_when_it_is_looked_at_move_no_time_of_an_interval(
    elapsed: int, deadline: timedelta, scheduled: timedelta | None, missed: timedelta | None, following: timedelta
) -> None:
    found = due.look(parse("@every 1h"), CREATED, deadline, CREATED + elapsed * MINUTE)
    after = [None if each is None else each - CREATED for each in (found.scheduled, found.missed, found.next)]
    assert after == [scheduled, missed, following]


# What is made and deleted


@pytest.mark.parametrize(
    ("now", "spec", "last", "create"),
    [
        (NOON - timedelta(seconds=1), {}, None, None),
        (NOON, {}, None, NOON),
        (NOON + 2 * HOUR + MINUTE, {}, None, NOON + 2 * HOUR),
        (NOON + MINUTE, {}, NOON, None),
        (NOON + HOUR, {}, NOON, NOON + HOUR),
        (NOON + HOUR, {"suspend": True}, NOON, None),
        (NOON + MINUTE, {"startingDeadlineSeconds": 61}, None, NOON),
        (NOON + MINUTE, {"startingDeadlineSeconds": 59}, None, None),
        (NOON, {"schedule": "0 14 * * *", "timeZone": "Europe/Berlin"}, None, NOON),
        (NOON, {"timeZone": "Local"}, None, None),
        (NOON, {"timeZone": "Mars/Phobos"}, None, None),
        (NOON, {"timeZone": "America"}, None, None),
        (NOON, {"schedule": "TZ=UTC * * * * *"}, None, None),
        (NOON, {"schedule": "61 * * * *"}, None, None),
    ],
)
def test_a_batch_is_made_when_its_time_has_come(
    now: datetime, spec: dict[str, Any], last: datetime | None, create: datetime | None
) -> None:
    stated = {"lastScheduleTime": timestamp(last)} if last else {}
    assert decide(schedule(spec, stated), facts(), now).create == create


@pytest.mark.parametrize(
    ("policy", "create", "delete"), [("Allow", True, False), ("Forbid", False, False), ("Replace", True, True)]
)
def test_a_batch_that_runs_counts_as_the_policy_says(policy: str, create: bool, delete: bool) -> None:
    running = child(NOON - HOUR)
    plan = decide(schedule({"concurrencyPolicy": policy}), facts(running), NOON)
    assert (plan.create, plan.delete) == (NOON if create else None, (running,) if delete else ())
    assert (
        decide(schedule({"concurrencyPolicy": policy}), facts(child(NOON - HOUR, State.COMPLETE)), NOON).create == NOON
    )


def test_a_batch_that_is_there_is_not_made_again_whatever_the_status_says() -> None:
    assert decide(schedule(), facts(child(NOON)), NOON).create is None
    assert decide(schedule(), facts(made=NOON), NOON).create is None


def test_what_waits_is_looked_at_when_its_deadline_is_over() -> None:
    observed = schedule({"concurrencyPolicy": "Forbid", "startingDeadlineSeconds": 600})
    plan = decide(observed, facts(child(NOON - HOUR)), NOON + MINUTE)
    assert plan.due.blocked_by == child(NOON - HOUR)
    assert plan.wake == NOON + 10 * MINUTE
    over = decide(observed, facts(child(NOON - HOUR)), NOON + 10 * MINUTE)
    assert (over.due.missed, over.wake) == (NOON, NOON + HOUR)


def test_of_the_finished_ones_the_latest_are_kept_by_how_they_ended() -> None:
    complete = [child(NOON + hours * HOUR, State.COMPLETE) for hours in range(5)]
    failed = [child(NOON + (hours + 10) * HOUR, State.FAILED) for hours in range(3)]
    running = child(NOON - HOUR)
    known = facts(running, *reversed(complete), *failed, made=NOON + 99 * HOUR)
    assert decide(schedule(), known, NOON).delete == (*complete[:2], *failed[:2])
    paused = {"suspend": True, "successfulBatchesHistoryLimit": 0, "failedBatchesHistoryLimit": 9}
    assert decide(schedule(paused), known, NOON).delete == tuple(complete)
    going = facts(*(child(NOON + hours * HOUR, State.COMPLETE, deleted=True) for hours in range(5)))
    assert decide(schedule({"suspend": True}), going, NOON).delete == ()


def test_a_schedule_that_is_being_deleted_does_nothing() -> None:
    gone = schedule(deletionTimestamp=timestamp(NOON))
    assert decide(gone, facts(*(child(NOON + hours * HOUR, State.FAILED) for hours in range(5))), NOON) == Plan()


@pytest.mark.parametrize(("passing", "again"), [(False, False), (True, True)])
def test_what_was_refused_waits_for_a_change_or_the_next_time(passing: bool, again: bool) -> None:
    obstacle = Obstacle(Reason.FAILED_CREATE, "no", passing=passing)
    known = facts(failure=Failure(generation=1, scheduled=NOON, obstacle=obstacle))
    plan = decide(schedule(), known, NOON + MINUTE)
    assert (plan.create is not None, plan.due.obstacle) == (again, obstacle)
    assert decide(schedule(), known, NOON + HOUR).create == NOON + HOUR
    assert decide(schedule(generation=2), known, NOON + MINUTE).create == NOON


def test_what_was_forbidden_is_tried_again_within_its_deadline() -> None:
    known = facts(
        failure=Failure(
            generation=1, scheduled=NOON, obstacle=Obstacle(Reason.FAILED_CREATE, "quota"), again=NOON + 2 * MINUTE
        )
    )
    early = decide(schedule(), known, NOON + MINUTE)
    assert (early.create, early.wake) == (None, NOON + 2 * MINUTE)
    assert decide(schedule(), known, NOON + 2 * MINUTE).create == NOON
    minutely = decide(
        schedule({"schedule": "* * * * *"}, status={"lastScheduleTime": timestamp(NOON - MINUTE)}), known, NOON
    )
    assert (minutely.create, minutely.wake) == (None, NOON + MINUTE)
    strict = decide(schedule({"startingDeadlineSeconds": 90}), known, NOON + 2 * MINUTE)
    assert (strict.create, strict.due.missed) == (None, NOON)


# From when times count


def test_the_times_of_a_changed_schedule_count_from_when_that_was_seen() -> None:
    first = schedule()
    assert first.since == CREATED
    stated = {"observedSchedule": first.seen(), "lastScheduleTime": timestamp(NOON)}
    assert observe(manifest(status=stated), NOON + HOUR).since == CREATED
    changed = manifest({"schedule": "15 * * * *"}, stated, generation=2)
    seen = observe(changed, NOON + 20 * MINUTE)
    assert seen.since == NOON + 20 * MINUTE
    assert decide(seen, facts(), NOON + 21 * MINUTE).create is None
    assert decide(seen, facts(), NOON + 75 * MINUTE).create == NOON + 75 * MINUTE
    # Until its status is written, it is remembered.
    assert observe(changed, NOON + HOUR, seen).since == NOON + 20 * MINUTE
    zone = manifest({"timeZone": "Europe/Berlin"}, stated, generation=2)
    assert observe(zone, NOON + 20 * MINUTE).since == NOON + 20 * MINUTE


# What is said


def test_each_situation_says_what_it_is() -> None:
    nothing = facts()
    for spec, wanted in (
        ({}, "True Scheduled: next batch at 2026-05-01T12:00:00Z"),
        ({"timeZone": "Europe/Berlin"}, "True Scheduled: next batch at 2026-05-01T14:00:00+02:00"),
        ({"suspend": True}, "True Suspended: spec.suspend is true"),
        (
            {"startingDeadlineSeconds": 5},
            "startingDeadlineSeconds is 5: a restart of the operator is enough to miss a run",
        ),
        ({"startingDeadlineSeconds": 0}, "startingDeadlineSeconds is 0: each run is missed"),
        ({"schedule": "0 0 31 2 *"}, "False InvalidSchedule: spec.schedule: '0 0 31 2 *' never comes"),
        ({"schedule": "* * * *"}, "False InvalidSchedule: spec.schedule: 4 fields, must be 5"),
        (
            {"timeZone": "Mars"},
            "False UnknownTimeZone: spec.timeZone: 'Mars' is not in the operator's time zone database",
        ),
        ({"schedule": 5}, "False InvalidSpec: spec: Expected `str`, got `int`"),
    ):
        observed = schedule(spec)
        assert wanted in ready(observed, nothing, decide(observed, nothing, CREATED)), spec
    waiting = schedule({"concurrencyPolicy": "Forbid"})
    running = facts(child(NOON - HOUR))
    assert "the batch of 2026-05-01T12:00:00Z waits for hourly-" in ready(
        waiting, running, decide(waiting, running, NOON)
    )


@pytest.mark.parametrize(
    ("when", "last", "following"),
    [
        ("0 * * * *", NOON + 72 * HOUR, "2026-05-04T13:00:00Z"),
        ("@every 90m", NOON + 72 * HOUR, "2026-05-04T13:30:00Z"),
        ("0 * * * *", NOON + 30 * MINUTE, None),
    ],
)
def test_a_last_time_that_lies_ahead_is_told_if_it_keeps_batches_from_being_made(
    when: str, last: datetime, following: str | None
) -> None:
    """As after the clock ran ahead once."""
    observed, now = schedule({"schedule": when}, {"lastScheduleTime": timestamp(last)}), NOON + MINUTE
    plan = decide(observed, facts(), now)
    assert plan.create is None
    said = ready(observed, facts(), plan, now)
    if following is None:
        assert (said, plan.wake) == ("True Scheduled: next batch at 2026-05-01T13:00:00Z", NOON + HOUR)
        return
    assert said == (
        "True Scheduled: times count from 2026-05-04T12:00:00Z, which is ahead of the operator's clock, so no batch "
        f"is made before; next batch at {following}"
    )
    assert plan.wake == last
    assert "ahead" not in ready(observed, facts(), decide(observed, facts(), last), last)


def test_the_status_tells_of_the_batches() -> None:
    observed = schedule(status={"lastSuccessfulTime": timestamp(CREATED - HOUR)})
    known = facts(child(NOON), child(NOON - HOUR, State.COMPLETE), child(NOON - 2 * HOUR, State.FAILED))
    stated = status.compute(observed, known, decide(observed, known, NOON).due, NOON)
    assert (stated["activeBatches"], [each["name"] for each in stated["active"]]) == (1, [batch_name("hourly", NOON)])
    assert stated["lastScheduleTime"] == timestamp(NOON)
    assert stated["lastSuccessfulTime"] == timestamp(NOON - HOUR + MINUTE)
    # The same facts later make the same status: nothing is written at rest.
    again = observed.with_status(stated, "8")
    later = NOON + 59 * MINUTE
    assert status.compute(again, known, decide(again, known, later).due, later) == stated
    assert (
        len(
            str(
                status.compute(
                    observed,
                    facts(*(child(NOON + n * MINUTE) for n in range(500))),
                    decide(observed, known, NOON).due,
                    NOON,
                )
            )
        )
        < 40_000
    )


def test_events_tell_of_batches_that_are_active_no_more() -> None:
    before = {"active": [{"name": f"b-{n}", "uid": f"uid-b-{n}"} for n in range(4)]}
    known = facts(
        child(NOON, State.FAILED, name="b-0", uid="uid-b-0"),
        child(NOON, name="b-1", uid="uid-b-1"),
    )
    notes = status.notes(before, {}, known, {"uid-b-2"})
    assert [(note.reason, note.message) for note in notes] == [
        (Reason.SAW_COMPLETED_BATCH, "saw completed batch: b-0, condition: Failed"),
        (Reason.MISSING_BATCH, "active batch went missing: b-3"),
    ]


# What a batch is


def test_a_batch_has_the_time_in_its_strings_and_nothing_else_changed() -> None:
    deep: Any = "{{ scheduledTime }}"
    for _ in range(2_000):
        deep = [deep]
    template = {
        "metadata": {"annotations": {"at": "{{scheduledTime}}"}, "labels": {"team": "a"}},
        "spec": {
            "queue": "email",
            "metadata": {"{{ scheduledTime }}": "from {{ scheduledTime }} on"},
            "generate": {
                "count": 2,
                "payload": ["{{ index }}", "{{ {{ }} scheduledTime }}", "{{ scheduledTimes }}", "{{ x", 1],
            },
            "jobs": deep,
        },
    }
    owner = Subject(kind="JobBatchSchedule", namespace="mail", name="hourly", uid="uid-1")
    batch = build_batch(owner, template, NOON, ZoneInfo("Europe/Berlin"))
    time = "2026-05-01T14:00:00+02:00"
    assert batch["metadata"]["name"] == f"hourly-{int(NOON.timestamp()) // 60}"
    assert batch["metadata"]["annotations"] == {"at": time, "hammerwork.io/scheduled-time": time}
    assert batch["metadata"]["labels"] == {"team": "a", "hammerwork.io/schedule": "hourly"}
    assert batch["spec"]["metadata"] == {"{{ scheduledTime }}": f"from {time} on"}
    assert batch["spec"]["generate"]["payload"] == [
        "{{ index }}",
        "{{ {{ }} scheduledTime }}",
        "{{ scheduledTimes }}",
        "{{ x",
        1,
    ]
    found = batch["spec"]["jobs"]
    while isinstance(found, list):
        (found,) = found
    assert found == time
    assert owner_of(batch) == ("hourly", "uid-1")
    seen = {**batch, "metadata": {**batch["metadata"], "uid": "u", "creationTimestamp": timestamp(NOON)}}
    assert child_of(seen).scheduled_at == NOON


@pytest.mark.parametrize("text", ["", "yesterday", "2026-05-01T14:00:00", None])
def test_a_time_that_is_none_is_not_taken_for_one(text: str | None) -> None:
    annotations = {} if text is None else {"hammerwork.io/scheduled-time": text}
    seen = {"metadata": {"name": "b", "uid": "u", "creationTimestamp": timestamp(NOON), "annotations": annotations}}
    assert child_of(seen).scheduled_at is None
