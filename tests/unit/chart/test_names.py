"""Whatever a release is called, its objects have names and labels that the API server and its controllers take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.unit.chart.test_chart import DATABASE, EVERYTHING, only

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.unit.chart.conftest import Chart

LONGEST_RELEASE = 53
DIGITS_OF_A_REVISION = 10
LABEL_NAME = "[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
LABEL_VALUE = "([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?"


def strings_of_labels(content: Any) -> Iterator[str]:
    """All values of labels and selectors, at any depth."""
    if isinstance(content, list):
        for part in content:
            yield from strings_of_labels(part)
    elif isinstance(content, dict):
        for key, value in content.items():
            if key in {"labels", "matchLabels"} or (key == "selector" and "matchLabels" not in value):
                yield from value.values()
            yield from strings_of_labels(value)


def check_names(chart: Chart, release: str, *values: str) -> None:
    objects = chart.render(*EVERYTHING, "crds.install=false", *values, release=release)
    for item in objects:
        name = item["metadata"]["name"]
        assert re.fullmatch(LABEL_NAME, name) or (item["kind"].startswith("ClusterRole") and len(name) <= 253), item
        for value in strings_of_labels(item):
            assert re.fullmatch(LABEL_VALUE, value), (release, item["kind"], value)
    stateful_set = only(objects, "StatefulSet")
    # The label controller-revision-hash of its Pods.
    assert len(stateful_set["metadata"]["name"]) + 1 + DIGITS_OF_A_REVISION <= 63
    service = stateful_set["spec"]["serviceName"]
    assert {item["metadata"]["name"] for item in objects if item["kind"] == "Service"} >= {service}
    assert f"@{service}.system.svc:5432/" in only(objects, "Secret")["stringData"]["url"]


def test_names_of_every_length_fit(chart: Chart) -> None:
    for length in range(1, LONGEST_RELEASE + 1):
        check_names(chart, "r" * length)


@pytest.mark.parametrize(
    ("release", "values"),
    [
        ("1st", ()),
        ("team.queue", ()),
        ("hammerwork." + "b" * 42, ()),
        ("r" * 40 + "-b", ()),
        ("1" * LONGEST_RELEASE, ("nameOverride=2nd",)),
        ("test", ("fullnameOverride=" + "f" * 63,)),
        ("test", ("fullnameOverride=9th",)),
        ("test", ("nameOverride=" + "n" * 63,)),
    ],
)
def test_unusual_names_fit(chart: Chart, release: str, values: tuple[str, ...]) -> None:
    check_names(chart, release, *values)


def test_names_that_look_like_numbers_stay_strings(chart: Chart, tmp_path: Path) -> None:
    above = chart.below(tmp_path)
    (tmp_path / "values.yaml").write_text(
        """
        hammerwork:
          watchNamespaces: ["1"]
          serviceAccount: {name: "2"}
          imagePullSecrets: [{name: "3"}]
          operator: {priorityClassName: "4"}
          postgresql: {enabled: true, existingSecret: "5", persistence: {storageClass: "6", size: "7"}}
          rbac: {databaseSecrets: ["8"]}
        """
    )
    manifests = above.render(release="9", namespace="10")
    assert {item["metadata"].get("namespace", "10") for item in manifests} == {"1", "10"}
    account = only(manifests, "RoleBinding")["subjects"][0]
    assert (account["name"], account["namespace"]) == ("2", "10")
    pod = only(manifests, "Deployment")["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["priorityClassName"], pod["imagePullSecrets"]) == ("2", "4", [{"name": "3"}])
    stateful_set = only(manifests, "StatefulSet")
    claim = stateful_set["spec"]["volumeClaimTemplates"][0]["spec"]
    assert (claim["storageClassName"], claim["resources"]["requests"]["storage"]) == ("6", "7")
    assert "'5'" in yaml.safe_dump(stateful_set["spec"]["template"]["spec"]["containers"][0]["env"])
    assert stateful_set["metadata"]["labels"]["app.kubernetes.io/instance"] == "9"
    assert ["8"] in [rule.get("resourceNames") for rule in only(manifests, "Role")["rules"]]


def test_names_that_fit_are_not_cut(chart: Chart) -> None:
    manifests = chart.render(*EVERYTHING, release="r" * 30)
    assert only(manifests, "StatefulSet")["metadata"]["name"] == "r" * 30 + "-hammerwork-postgresql"
    assert only(manifests, "Deployment")["metadata"]["name"] == "r" * 30 + "-hammerwork-operator"
    only(chart.render(DATABASE, release="hammerwork"), "StatefulSet", "hammerwork-postgresql")
