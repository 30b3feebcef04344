"""What the chart renders, and which values it refuses."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hammerwork_cli.running.documents import read_documents
from tests.unit.chart.conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.unit.chart.conftest import Chart, Manifest

DATABASE = "postgresql.enabled=true"
EVERYTHING = (
    DATABASE,
    "networkPolicy.enabled=true",
    "networkPolicy.egress[0].to[0].ipBlock.cidr=10.0.0.0/8",
    "metrics.service=true",
    "metrics.podMonitor.enabled=true",
    "imagePullSecrets[0].name=registry",
)
DIGEST = "sha256:" + "0a" * 32


def only(manifests: list[Manifest], kind: str, name: str = "") -> Manifest:
    found = [item for item in manifests if item["kind"] == kind and name in ("", item["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def pod_specs(manifests: list[Manifest]) -> Iterator[tuple[str, dict[str, Any]]]:
    for item in manifests:
        if item["kind"] in {"Deployment", "StatefulSet"}:
            yield item["metadata"]["name"], item["spec"]["template"]["spec"]


def variables(manifest: Manifest) -> dict[str, Any]:
    container = manifest["spec"]["template"]["spec"]["containers"][0]
    return {variable["name"]: variable.get("value", variable.get("valueFrom")) for variable in container["env"]}


@pytest.mark.parametrize("values", [(), EVERYTHING, ("watchNamespaces={one,two}", DATABASE)])
def test_helm_finds_nothing_to_complain_of(chart: Chart, values: tuple[str, ...]) -> None:
    settings = [word for value in values for word in ("--set", value)]
    done = chart.run("lint", "--strict", str(chart.folder), *settings)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_chart_has_the_version_of_the_distribution(chart: Chart) -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    content = yaml.safe_load((chart.folder / "Chart.yaml").read_text())
    assert (content["version"], content["appVersion"]) == (version, version)


def test_the_charts_definitions_are_the_generated_ones(chart: Chart) -> None:
    generated = {path.name: path.read_bytes() for path in (ROOT / "crds").glob("*.yaml")}
    copied = {path.name: path.read_bytes() for path in (chart.folder / "files" / "crds").glob("*.yaml")}
    assert copied == generated, "run: cp crds/*.yaml charts/hammerwork/files/crds/"


def test_definitions_are_rendered_unchanged_and_outlive_the_release(chart: Chart) -> None:
    rendered = {item["metadata"]["name"]: item for item in chart.render() if item["kind"] == "CustomResourceDefinition"}
    originals = [read_documents(path.read_bytes())[0] for path in (ROOT / "crds").glob("*.yaml")]
    assert sorted(rendered) == [
        "jobbatches.hammerwork.io",
        "jobbatchschedules.hammerwork.io",
        "workerpools.hammerwork.io",
    ]
    for original in originals:
        definition = rendered[original["metadata"]["name"]]
        assert definition["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        assert definition["spec"] == original["spec"]


def test_definitions_can_be_left_out(chart: Chart) -> None:
    assert all(item["kind"] != "CustomResourceDefinition" for item in chart.render("crds.install=false"))


@pytest.mark.parametrize("values", [(), EVERYTHING])
def test_pods_are_restricted(chart: Chart, values: tuple[str, ...]) -> None:
    specs = dict(pod_specs(chart.render(*values)))
    assert "test-hammerwork-operator" in specs
    for name, spec in specs.items():
        security = spec["securityContext"]
        assert security["runAsNonRoot"] is True, name
        assert security["runAsUser"] > 0, name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["requests"], name
            assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys(), name


def test_there_is_one_operator_also_while_upgrading(chart: Chart) -> None:
    spec = only(chart.render(), "Deployment")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_operator_is_told_what_the_values_say(chart: Chart) -> None:
    values = ("watchNamespaces={one,two}", "operator.logLevel=debug", "operator.port=9000", "worker.image.tag=next")
    access = ("operator.databaseHosts={*.example.com,10.0.0.0/8}", "operator.allowQuerySource=true")
    deployment = only(chart.render(*values, *access), "Deployment")
    assert variables(deployment) == {
        "HAMMERWORK_OPERATOR_PORT": "9000",
        "HAMMERWORK_WATCH_NAMESPACES": "one,two",
        "HAMMERWORK_WORKER_IMAGE": "localhost/hammerwork/worker:next",
        "HAMMERWORK_DATABASE_HOSTS": "*.example.com,10.0.0.0/8",
        "HAMMERWORK_ALLOW_QUERY_SOURCE": "true",
        "HAMMERWORK_LOG_LEVEL": "debug",
        "HAMMERWORK_LOG_FORMAT": "json",
    }
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["ports"] == [{"name": "http", "containerPort": 9000}]


def test_images_follow_version_tag_and_digest(chart: Chart) -> None:
    def image(*values: str) -> str:
        container = only(chart.render(*values), "Deployment")["spec"]["template"]["spec"]["containers"][0]
        return str(container["image"])

    version = yaml.safe_load((chart.folder / "Chart.yaml").read_text())["appVersion"]
    repository = "operator.image.repository=registry.example:5000/operator"
    assert image() == f"localhost/hammerwork/operator:{version}"
    assert image(repository, "operator.image.tag=next") == "registry.example:5000/operator:next"
    digest = f"operator.image.digest={DIGEST}"
    assert image(repository, "operator.image.tag=next", digest) == f"registry.example:5000/operator@{DIGEST}"


def test_one_cluster_role_serves_all_namespaces(chart: Chart) -> None:
    manifests = chart.render()
    role = only(manifests, "ClusterRole", "system-test-hammerwork-operator")
    binding = only(manifests, "ClusterRoleBinding")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    account = only(manifests, "ServiceAccount")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": account, "namespace": "system"}]
    assert all(item["kind"] != "Role" for item in manifests)


def test_named_namespaces_get_a_role_each_and_nothing_reaches_beyond(chart: Chart) -> None:
    manifests = chart.render("watchNamespaces={one,two}")
    roles = [item for item in manifests if item["kind"] == "Role"]
    bindings = [item for item in manifests if item["kind"] == "RoleBinding"]
    assert {item["metadata"]["namespace"] for item in roles} == {"one", "two"}
    assert {item["metadata"]["namespace"] for item in bindings} == {"one", "two"}
    assert {item["subjects"][0]["namespace"] for item in bindings} == {"system"}
    assert not {"ClusterRole", "ClusterRoleBinding"} & {item["kind"] for item in manifests}
    assert roles[0]["rules"] == only(chart.render(), "ClusterRole", "system-test-hammerwork-operator")["rules"]


@pytest.mark.parametrize("values", [(), ("watchNamespaces={one}",)])
def test_the_operator_may_do_only_what_it_needs(chart: Chart, values: tuple[str, ...]) -> None:
    roles = [
        item
        for item in chart.render(*values)
        if item["kind"] in {"Role", "ClusterRole"} and item["metadata"]["name"].endswith("-operator")
    ]
    assert roles
    assert roles[0]["rules"] == yaml.safe_load((chart.folder / "files" / "rights.yaml").read_text())["rules"]
    for rule in roles[0]["rules"]:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"]
        if "secrets" in rule["resources"]:
            assert (rule["resources"], rule["verbs"]) == (["secrets"], ["get"])


def test_readable_secrets_can_be_named(chart: Chart) -> None:
    manifests = chart.render("rbac.databaseSecrets={hammerwork-database}")
    rules = only(manifests, "ClusterRole", "system-test-hammerwork-operator")["rules"]
    assert [rule["resourceNames"] for rule in rules if "secrets" in rule["resources"]] == [["hammerwork-database"]]


def test_no_database_without_being_asked(chart: Chart) -> None:
    assert not {"StatefulSet", "Secret", "Service"} & {item["kind"] for item in chart.render()}


def test_the_password_is_in_the_secret_and_nowhere_else(chart: Chart) -> None:
    manifests = chart.render(*EVERYTHING)
    secret = only(manifests, "Secret", "hammerwork-database")
    password = secret["stringData"]["password"]
    host = "test-hammerwork-postgresql.system.svc:5432"
    assert len(password) == 32
    assert secret["stringData"]["url"] == f"postgresql://hammerwork:{password}@{host}/hammerwork"
    others = [item for item in manifests if item is not secret]
    assert password not in yaml.safe_dump_all(others)
    reference = {"secretKeyRef": {"name": "hammerwork-database", "key": "password"}}
    assert variables(only(manifests, "StatefulSet"))["POSTGRES_PASSWORD"] == reference


def test_a_secret_of_ones_own_replaces_the_generated_one(chart: Chart) -> None:
    manifests = chart.render(DATABASE, "postgresql.existingSecret=mine")
    assert all(item["kind"] != "Secret" for item in manifests)
    reference = {"secretKeyRef": {"name": "mine", "key": "password"}}
    assert variables(only(manifests, "StatefulSet"))["POSTGRES_PASSWORD"] == reference


def test_the_databases_service_finds_its_pod(chart: Chart) -> None:
    manifests = chart.render(DATABASE)
    stateful_set = only(manifests, "StatefulSet")["spec"]
    service = only(manifests, "Service")
    assert service["spec"]["selector"] == stateful_set["selector"]["matchLabels"]
    assert service["spec"]["selector"].items() <= stateful_set["template"]["metadata"]["labels"].items()
    assert stateful_set["serviceName"] == service["metadata"]["name"]


def test_data_is_kept_on_a_volume_unless_it_is_not_wanted(chart: Chart) -> None:
    kept = only(chart.render(DATABASE, "postgresql.persistence.size=3Gi"), "StatefulSet")["spec"]
    assert kept["volumeClaimTemplates"][0]["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "3Gi"}},
    }
    lost = only(chart.render(DATABASE, "postgresql.persistence.enabled=false"), "StatefulSet")["spec"]
    assert "volumeClaimTemplates" not in lost
    assert {"name": "data", "emptyDir": {}} in lost["template"]["spec"]["volumes"]


def test_the_password_is_kept_as_long_as_the_data_is(chart: Chart) -> None:
    def policy(*values: str) -> str | None:
        annotations: dict[str, str] = only(chart.render(DATABASE, *values), "Secret")["metadata"]["annotations"]
        return annotations.get("helm.sh/resource-policy")

    assert policy() == "keep"
    assert policy("postgresql.persistence.enabled=false") is None


def test_server_parameters_become_arguments(chart: Chart) -> None:
    manifests = chart.render(DATABASE, "postgresql.parameters.shared_buffers=1GB")
    container = only(manifests, "StatefulSet")["spec"]["template"]["spec"]["containers"][0]
    assert container["args"] == ["postgres", "-c", "shared_buffers=1GB"]


def test_network_policies_let_workers_of_any_namespace_reach_the_database(chart: Chart) -> None:
    manifests = chart.render(*EVERYTHING)
    policy = only(manifests, "NetworkPolicy", "test-hammerwork-postgresql")["spec"]
    workers = {"matchLabels": {"app.kubernetes.io/name": "hammerwork-worker"}}
    assert {"namespaceSelector": {}, "podSelector": workers} in policy["ingress"][0]["from"]
    labels = only(manifests, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= labels.items()


def test_the_operators_outgoing_traffic_can_be_limited(chart: Chart) -> None:
    open_, limited = (
        only(chart.render(*values), "NetworkPolicy", "test-hammerwork-operator")["spec"]
        for values in (("networkPolicy.enabled=true",), EVERYTHING)
    )
    assert (open_["policyTypes"], "egress" in open_) == (["Ingress"], False)
    assert limited["policyTypes"] == ["Ingress", "Egress"]
    dns, database, given = limited["egress"]
    assert {(port["port"], port["protocol"]) for port in dns["ports"]} == {(53, "UDP"), (53, "TCP")}
    assert database["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] == "hammerwork-postgresql"
    assert given == {"to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("operator.logLevel=verbose", "'/operator/logLevel': value must be one of"),
        ("postgresql.enabeld=true", "additional properties 'enabeld' not allowed"),
        ("postgresql.enabled=maybe", "'/postgresql/enabled': got string, want boolean"),
        ("watchNamespaces={Upper}", "'/watchNamespaces/0': 'Upper' does not match pattern"),
        ("operator.image.digest=md5:1", "'/operator/image/digest': 'md5:1' does not match pattern"),
        ("operator.podSecurityContext.runAsUsr=1", "additional properties 'runAsUsr' not allowed"),
        ("postgresql.podSecurityContext.fsGroup=team", "/postgresql/podSecurityContext/fsGroup': got string, want"),
        ("operator.databaseHosts={a b}", "'/operator/databaseHosts/0': 'a b' does not match pattern"),
        ("operator.port=80", "'/operator/port': minimum: got 80, want 1,024"),
        ("postgresql.username=o'brien", "'/postgresql/username':"),
        ("serviceAccount.create=false", "serviceAccount.name: must be set"),
    ],
)
def test_bad_values_are_refused_with_their_place_and_the_reason(chart: Chart, value: str, complaint: str) -> None:
    assert complaint in chart.refusal(value)
