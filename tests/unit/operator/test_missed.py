"""Which objects have gone while nobody watched, and what is told of them."""

from __future__ import annotations

import json
from typing import Any

from hammerwork_operator.kube.missed import MissedDeletions

PATH = "/apis/hammerwork.io/v1alpha1/namespaces/mail/jobbatches"
OWNER = {"apiVersion": "hammerwork.io/v1alpha1", "kind": "JobBatchSchedule", "name": "daily", "uid": "uid-daily"}


def item(uid: str, name: str = "", **metadata: Any) -> dict[str, Any]:
    created = "2026-05-01T12:00:00Z"
    known = {"namespace": "mail", "name": name or uid, "uid": uid, "creationTimestamp": created}
    return {"metadata": {**known, **metadata}, "spec": {}}


def event(kind: str, uid: str) -> bytes:
    return json.dumps({"type": kind, "object": {"kind": "JobBatch", **item(uid)}}).encode()


class Watch:
    """What kopf does at one path."""

    def __init__(self) -> None:
        self.missed = MissedDeletions()

    def lists(self, *uids: str, more: bool = False, continued: bool = False, path: str = PATH) -> None:
        metadata = {"resourceVersion": "7", "continue": "there is more" if more else ""}
        found = {"metadata": metadata, "items": [item(uid) for uid in uids]}
        self.missed.listed(path, found, continued=continued)

    def sees(self, kind: str, uid: str) -> None:
        self.missed.watched(PATH, event(kind, uid))

    def told(self, path: str = PATH) -> set[str]:
        return {json.loads(line)["object"]["metadata"]["uid"] for line in self.missed.told(path)}


def test_what_was_there_and_is_not_listed_any_more_is_told_once() -> None:
    watch = Watch()
    watch.lists("a", "b")
    assert watch.told() == set()
    watch.sees("ADDED", "c")
    watch.sees("MODIFIED", "d")
    watch.sees("DELETED", "b")
    assert watch.told() == set(), "nothing was listed anew"
    watch.lists("a", "e")
    assert watch.told() == {"c", "d"}
    assert watch.told() == set()
    watch.lists()
    assert watch.told() == {"a", "e"}


def test_only_a_list_that_came_to_its_end_says_what_is_gone() -> None:
    watch = Watch()
    watch.lists("a", "b", "c", "d")
    watch.lists("a", more=True)
    assert watch.told() == set()
    watch.lists("b", more=True, continued=True)
    assert watch.told() == set()
    watch.lists("a", "x", more=True)  # begun anew, as after an error
    for _ in range(2):
        watch.lists("c", continued=True)  # an answer that came to nobody is asked for again
    assert watch.told() == {"b", "d"}
    watch.lists("a", "c")
    assert watch.told() == {"x"}


def test_what_is_there_again_is_not_told_and_what_no_watch_has_told_yet_is() -> None:
    watch = Watch()
    watch.lists("a", "b")
    watch.lists()
    watch.lists("a")  # etcd was restored: no watch had begun
    assert watch.told() == {"b"}
    watch.lists("a", "c")
    for _ in watch.missed.told(PATH):
        pass
    watch.lists()
    assert next(watch.missed.told(PATH))
    assert len(watch.told()) == 1, "the other one, by the next watch"


def test_each_namespace_has_a_list_of_its_own() -> None:
    watch, other = Watch(), PATH.replace("mail", "other")
    watch.lists("a")
    watch.lists("b", path=other)
    watch.lists()
    watch.lists("b", path=other)
    assert watch.told(other) == set()
    assert watch.told() == {"a"}


def test_as_much_is_told_of_an_object_as_it_takes_to_forget_it() -> None:
    watch = Watch()
    labels = {"hammerwork.io/pool": "mailers", **{f"label-{n}": "x" for n in range(1_000)}}
    owners = [{**OWNER, "kind": "Other", "controller": False}, {**OWNER, "controller": True}]
    found = item("a", labels=labels, ownerReferences=owners, annotations={"large": "x"}, resourceVersion="5")
    watch.missed.listed(PATH, {"metadata": {}, "items": [found, item("b", labels=None)]}, continued=False)
    watch.missed.listed(PATH, {"metadata": {}, "items": None}, continued=False)
    told = {each["object"]["metadata"]["uid"]: each for each in map(json.loads, watch.missed.told(PATH))}
    kept = item("a", labels={"hammerwork.io/pool": "mailers"}, ownerReferences=[{**OWNER, "controller": True}])
    assert told["a"] == {"type": "DELETED", "object": {"metadata": kept["metadata"]}}
    assert told["b"]["object"]["metadata"] == {**item("b")["metadata"], "labels": {}, "ownerReferences": []}


def test_what_is_no_news_of_an_object_is_none() -> None:
    watch = Watch()
    bookmark = {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "8", "creationTimestamp": None}}}
    for line in (bookmark, {"type": "ERROR", "object": {"kind": "Status", "code": 410}}):
        watch.missed.watched(PATH, json.dumps(line).encode())
    watch.lists()
    assert watch.told() == set()
