from __future__ import annotations

from typing import Any

import msgspec
import pytest

from hammerwork.ids import batch_id_for
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.api.sources import ConfigMapRef
from hammerwork_operator.jobbatch import status
from hammerwork_operator.jobbatch.facts import Facts
from hammerwork_operator.jobbatch.identity import spec_fingerprint
from hammerwork_operator.jobbatch.observed import observe
from hammerwork_operator.kube.situation import Obstacle
from hammerwork_operator.sources.source import Contents
from tests.unit.operator.builders import NOW, batch, manifest, row

NO_CONFIG_MAP = Obstacle(Reason.CONFIG_MAP_NOT_FOUND, "none")

SPEC = {"queue": "q", "jobs": [{"payload": {"a": 1, "b": 2}}]}


@pytest.mark.parametrize(
    "change",
    [
        {"suspend": True},
        {"activeDeadlineSeconds": 5},
        {"ttlSecondsAfterFinished": 5},
        {"deletionPolicy": "Orphan"},
        {"databaseSecretRef": {"name": "other", "key": "url"}},
        {"batchSize": 100},
        {"priority": "Normal"},
        {"metadata": {}},
        {"jobs": [{"payload": {"b": 2, "a": 1}}]},
    ],
    ids=str,
)
def test_what_does_not_change_the_jobs_does_not_change_the_batch(change: dict[str, Any]) -> None:
    assert spec_fingerprint({**SPEC, **change}) == spec_fingerprint(SPEC)


@pytest.mark.parametrize(
    "change",
    [
        {"queue": "r"},
        {"batchSize": 99},
        {"priority": "High"},
        {"backoffLimit": 3},
        {"metadata": {"a": "b"}},
        {"jobs": [{"payload": {"a": 1, "b": 3}}]},
        {"retryPolicy": {"strategy": "Fixed"}},
    ],
    ids=str,
)
def test_what_changes_the_jobs_makes_another_batch(change: dict[str, Any]) -> None:
    assert spec_fingerprint({**SPEC, **change}) != spec_fingerprint(SPEC)


def test_defaults_inside_the_retry_policy_do_not_count() -> None:
    short, long = {"strategy": "Fixed"}, {"strategy": "Fixed", "initialSeconds": 1, "maxSeconds": 300}
    assert spec_fingerprint({**SPEC, "retryPolicy": short}) == spec_fingerprint({**SPEC, "retryPolicy": long})


def test_the_id_belongs_to_name_jobs_and_run_not_to_the_object() -> None:
    first = batch().batch_id
    assert batch(uid="another", resourceVersion="99", generation=5).batch_id == first
    others = [batch(name="other"), batch(namespace="other"), batch({"runId": "2"}), batch({"queue": "other"})]
    assert len({first, *(other.batch_id for other in others)}) == 5


def test_clusters_tell_their_batches_apart_and_what_older_operators_loaded_keeps_its_id() -> None:
    ids = {cluster: observe(manifest(), cluster=cluster).batch_id for cluster in ("", "east", "west")}
    former = batch_id_for("JobBatch", "mail", "welcome", "", batch().fingerprint)
    assert len({former, *ids.values()}) == 4
    conditions = [{"type": "Enqueued", "status": "True"}]
    loaded = {**manifest(), "status": {"batchId": str(former), "conditions": conditions}}
    kept = observe(loaded, cluster="east")
    assert (kept.batch_id, kept.former_id, kept.stated.enqueued) == (former, None, True)
    moved = observe({**manifest(), "status": {"batchId": str(ids["east"]), "conditions": conditions}}, cluster="west")
    assert (moved.batch_id, moved.stated.enqueued) == (ids["east"], True)
    fresh = observe(manifest(), cluster="east")
    assert (fresh.former_id, fresh.as_former().batch_id, fresh.as_former().former_id) == (former, former, None)


def test_the_jobs_are_counted_but_not_kept() -> None:
    observed = batch({"jobs": [{"payload": "x" * 1000}] * 50})
    assert observed.total_jobs == 50
    assert "xxx" not in repr(observed)


def test_generated_jobs_are_counted() -> None:
    assert batch({"jobs": None, "generate": {"count": 9, "payload": 1}}).total_jobs == 9


def test_many_objects_cost_no_look_at_the_types(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[type] = []
    fields = msgspec.structs.fields

    def look(kind: type[msgspec.Struct]) -> object:
        looked.append(kind)
        return fields(kind)

    monkeypatch.setattr(msgspec.structs, "fields", look)
    for number in range(100):
        spec_fingerprint({"queue": "q", "retryPolicy": {"maxSeconds": 5}, "jobs": [{"payload": number}]})
    assert len(looked) <= 4


IN_CONFIG_MAPS = {"jobs": None, "configMapRefs": [{"name": "part", "key": "a.csv"}]}


def test_the_content_of_configmaps_is_part_of_what_a_batch_is() -> None:
    seen = batch(IN_CONFIG_MAPS)
    assert (seen.awaits_content, seen.total_jobs, seen.contents) == (
        True,
        None,
        Contents((ConfigMapRef("part", "a.csv"),)),
    )
    first, second = seen.with_content("one"), seen.with_content("two")
    assert len({seen.batch_id, first.batch_id, second.batch_id}) == 3
    assert len({seen.fingerprint, first.fingerprint, second.fingerprint}) == 3
    assert first.spec_fingerprint == seen.spec_fingerprint
    assert first.with_content(None) == seen
    other = batch({"jobs": None, "configMapRefs": [{"name": "part", "key": "b.csv"}]}).with_content("one")
    assert other.batch_id != first.batch_id


def test_the_status_remembers_the_content() -> None:
    found = batch(IN_CONFIG_MAPS).with_content("one")
    written = status.compute(found, Facts(row=row(found, total_jobs=9)), NOW)
    assert (written["contentDigest"], written["totalJobs"]) == ("one", 9)
    again = batch(IN_CONFIG_MAPS, written)
    assert (again.batch_id, again.content, again.stated.enqueued) == (found.batch_id, "one", True)
    forgotten = status.compute(batch(IN_CONFIG_MAPS), Facts(obstacle=NO_CONFIG_MAP), NOW)
    assert not {"contentDigest", "batchId", "totalJobs", "pendingJobs", "progress"} & set(forgotten)


def test_what_is_in_a_status_means_nothing_for_a_batch_without_configmaps() -> None:
    assert batch(status={"contentDigest": "one"}).batch_id == batch().batch_id


def test_refs_that_cannot_be_read_are_a_problem() -> None:
    assert batch({"jobs": None, "configMapRefs": [{"name": "part"}]}).problem == (
        "spec: Object missing required field `key` - at `$[0]`"
    )
