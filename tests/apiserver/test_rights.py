"""What the operator may do, asked of the API server for every resource that it serves and every verb."""

from __future__ import annotations

import asyncio
import contextlib
import json
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import pytest
import yaml
from kubernetes.aio import client, config

from hammerwork_operator.kube.client import ApiServer
from tests.apiserver.conftest import ROOT
from tests.apiserver.operator_process import RIGHTS
from tests.cluster.binaries import binaries_folder
from tests.harness.kubectl import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

    from tests.apiserver.kubectl import Kubectl

VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "*")
SPECIAL = {
    "bind": ["roles", "clusterroles"],
    "escalate": ["roles", "clusterroles"],
    "impersonate": ["users", "groups", "serviceaccounts"],
    "approve": ["certificatesigningrequests"],
    "sign": ["signers"],
    "use": ["podsecuritypolicies"],
}
"""Verbs that have a meaning for these resources only."""
AT_A_TIME = 20


class Right(NamedTuple):
    group: str
    resource: str
    verb: str


@pytest.fixture
async def api(kubectl: Kubectl) -> AsyncIterator[ApiServer]:
    """A connection of an administrator."""
    settings = client.Configuration()
    await config.load_kube_config(str(kubectl.kubeconfig), client_configuration=settings)  # type: ignore[no-untyped-call]
    connected = ApiServer(client.ApiClient(settings))
    yield connected
    await connected.close()


@contextlib.contextmanager
def granted_by_the_chart(kubectl: Kubectl, *values: str) -> Iterator[str]:
    """Have what the chart grants with these values for the length of a block; the name of the operator's account."""
    settings = [word for value in ("crds.install=false", *values) for word in ("--set", value)]
    helm = (str(binaries_folder() / "helm"), "template", "rights", str(ROOT / "charts" / "hammerwork"))
    text = run(*helm, "--namespace", kubectl.namespace, *settings, environment=kubectl.environment)
    rbac = {"ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}
    items = [found for found in yaml.safe_load_all(text) if found and found["kind"] in rbac]
    (account,) = (found["metadata"]["name"] for found in items if found["kind"] == "ServiceAccount")
    content = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    kubectl("apply", "--server-side", "-f", "-", stdin=content)
    try:
        yield f"system:serviceaccount:{kubectl.namespace}:{account}"
    finally:
        kubectl("delete", "-f", "-", stdin=content)


def rights() -> set[Right]:
    """Return what rights.yaml grants."""
    rules = yaml.safe_load(RIGHTS.read_text())["rules"]
    return {Right(*each) for rule in rules for each in product(rule["apiGroups"], rule["resources"], rule["verbs"])}


async def discovered(api: ApiServer) -> set[tuple[str, str]]:
    """Return group and resource of all that the API server serves, subresources too."""
    groups = (await api.request("GET", "/apis"))["groups"]
    paths = {"": "/api/v1", **{group["name"]: f"/apis/{group['preferredVersion']['groupVersion']}" for group in groups}}
    lists = await asyncio.gather(*(api.request("GET", path) for path in paths.values()))
    return {
        (group, resource["name"])
        for group, answer in zip(paths, lists, strict=True)
        for resource in answer["resources"]
    }


async def allowed(api: ApiServer, user: str, asked: Iterable[Right], *, namespace: str, name: str = "") -> set[Right]:
    """Return those of the rights that the user has."""
    limit = asyncio.Semaphore(AT_A_TIME)

    async def has(right: Right) -> bool:
        resource, _, subresource = right.resource.partition("/")
        attributes = {"group": right.group, "resource": resource, "subresource": subresource, "verb": right.verb}
        spec = {
            "user": user,
            "groups": GROUPS,
            "resourceAttributes": {**attributes, "namespace": namespace, "name": name},
        }
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
        async with limit:
            answer = await api.request("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        assert not answer["status"].get("evaluationError"), answer
        return bool(answer["status"]["allowed"])

    ordered = sorted(set(asked))
    answers = await asyncio.gather(*map(has, ordered))
    return {right for right, answer in zip(ordered, answers, strict=True) if answer}


CLUSTER = Right("", "namespaces", "get")
"""Of the namespace kube-system alone."""
GROUPS = ["system:serviceaccounts", "system:authenticated"]


async def given(
    api: ApiServer, user: str, asked: Iterable[Right], *, namespace: str = "", name: str = ""
) -> set[Right]:
    """Return those of the rights that the user has, and that not everybody has; without a namespace, in all."""
    found = await allowed(api, user, asked, namespace=namespace, name=name)
    return found - await allowed(api, nobody(user), found, namespace=namespace, name=name)


def nobody(user: str) -> str:
    """Return an account that nothing was granted to."""
    return f"{user}-that-is-not-there"


def listed(kubectl: Kubectl, user: str, namespace: str) -> str:
    """Return what kubectl says of all that the user may do in a namespace."""
    return kubectl("auth", "can-i", "--list", f"--as={user}", "--namespace", namespace)


async def everything(api: ApiServer) -> set[Right]:
    """Return every verb of every resource, and what is granted and not discovered."""
    found = await discovered(api)
    assert len(found) > 100
    special = {
        Right(group, resource, verb)
        for verb, resources in SPECIAL.items()
        for group, resource in found | {("", "users"), ("", "groups"), ("certificates.k8s.io", "signers")}
        if resource in resources
    }
    return {Right(*each, verb) for each in found for verb in VERBS} | special | rights()


def test_the_rights_have_no_wildcards() -> None:
    assert not [right for right in rights() if "*" in "".join(right)]
    assert {right.verb for right in rights() if right.resource == "secrets"} == {"get"}


async def test_the_operator_of_a_cluster_may_do_what_the_list_says_and_nothing_else(
    kubectl: Kubectl, api: ApiServer
) -> None:
    with granted_by_the_chart(kubectl) as user:
        # Any name but that one is refused.
        assert await given(api, user, await everything(api)) == rights() - {CLUSTER}
        assert await given(api, user, {CLUSTER}, name="kube-system") == {CLUSTER}
        assert await given(api, user, {CLUSTER}, name="default") == set()


async def test_the_operator_of_a_namespace_may_do_nothing_elsewhere(kubectl: Kubectl, api: ApiServer) -> None:
    values = (f"watchNamespaces={{{kubectl.namespace}}}", "rbac.databaseSecrets={queue,other}")
    asked, secrets = await everything(api), Right("", "secrets", "get")
    with granted_by_the_chart(kubectl, *values) as user:
        # Any name but these is refused.
        assert await given(api, user, asked, namespace=kubectl.namespace) == rights() - {secrets, CLUSTER}
        about_secrets = {right for right in asked if right.resource == "secrets"}
        for name, granted in (("queue", {secrets}), ("other", {secrets}), ("third", set())):
            assert await given(api, user, about_secrets, namespace=kubectl.namespace, name=name) == granted
        assert listed(kubectl, user, "default") == listed(kubectl, nobody(user), "default")
        assert await given(api, user, rights()) == set()
