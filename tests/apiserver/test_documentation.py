"""What the documentation shows can be applied, with the CRDs of whoever it belongs to."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from tests.harness import verdicts
from tests.harness.documented import documented
from tests.harness.kubectl import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _pytest.mark.structures import ParameterSet

    from tests.apiserver.kubectl import Kubectl
    from tests.harness.manifests import Manifest

OURS = "hammerwork.io/"
HELM_RELEASE = "HelmRelease"
SHOWN = [*documented(), (verdicts.ARGOCD_SETTINGS.name, yaml.safe_load(verdicts.ARGOCD_SETTINGS.read_text()))]


def named(shown: Iterable[tuple[str, Manifest]]) -> list[ParameterSet]:
    """Return manifests as parameters of a test, named by page, kind and name."""
    return [pytest.param(found, id=f"{page}-{found['kind']}-{found['metadata']['name']}") for page, found in shown]


def refusal(kubectl: Kubectl, manifest: Manifest) -> str:
    """Return what the API server says against a manifest; fields that it does not know are errors."""
    # The namespaces of the pages are not here.
    metadata = {key: value for key, value in manifest["metadata"].items() if key != "namespace"}
    text = json.dumps({**manifest, "metadata": metadata})
    try:
        kubectl("apply", "--dry-run=server", "--validate=strict", "--server-side", "--filename=-", stdin=text)
    except CommandError as error:
        return error.said
    return ""


@pytest.mark.parametrize("manifest", named(one for one in SHOWN if one[1]["apiVersion"].startswith(OURS)))
def test_a_manifest_of_the_documentation_is_accepted_as_it_is(kubectl: Kubectl, manifest: Manifest) -> None:
    assert refusal(kubectl, manifest) == ""


@pytest.mark.usefixtures("foreign_crds")
def test_the_manifests_of_other_projects_are_accepted_by_their_crds(kubectl: Kubectl) -> None:
    others = [found for _, found in SHOWN if not found["apiVersion"].startswith(OURS) and found["kind"] != HELM_RELEASE]
    assert {found["kind"] for found in others} >= {"Application", "ConfigMap", "GitRepository", "Kustomization"}
    assert [refusal(kubectl, found) for found in others] == [""] * len(others)
    (application,) = (found for found in others if found["kind"] == "Application")
    misspelt = {**application, "spec": {**application["spec"], "ignoreDiferences": []}}
    assert ".spec.ignoreDiferences: field not declared in schema" in refusal(kubectl, misspelt)


def test_flux_knows_each_field_of_a_release() -> None:
    releases = [found for _, found in documented(HELM_RELEASE)]
    assert verdicts.helmrelease(releases) == [""] * len(releases) != []
    release = releases[0]
    misspelt = {**release, "spec": {**release["spec"], "value": {}}}
    assert verdicts.helmrelease([misspelt]) == ['unknown field "spec.value"']
