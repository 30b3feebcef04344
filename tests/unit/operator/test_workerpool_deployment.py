from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from hammerwork.timing import POD_END_SECONDS
from hammerwork.working import variables
from hammerwork_operator.api import names
from hammerwork_operator.workerpool.configmaps import configmap_checksum, referenced_configmaps
from hammerwork_operator.workerpool.deployment import build_deployment
from hammerwork_operator.workerpool.facts import secret_version
from hammerwork_operator.workerpool.template import InvalidTemplateError
from tests.unit.operator.builders import pool

if TYPE_CHECKING:
    from hammerwork_operator.workerpool.observed import ObservedPool

EVICTABLE = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
SECRET = {"metadata": {"uid": "s", "resourceVersion": "5"}, "data": {"url": "cGc="}}


def build(of: ObservedPool) -> dict[str, Any]:
    return build_deployment(of, default_image="registry/worker:1", secret_version=secret_version(SECRET), workers=2)


def pod(of: ObservedPool) -> dict[str, Any]:
    spec: dict[str, Any] = build(of)["spec"]["template"]["spec"]
    return spec


def environment(container: dict[str, Any]) -> dict[str, Any]:
    return {entry["name"]: entry.get("value", entry.get("valueFrom")) for entry in container["env"]}


def test_the_whole_deployment() -> None:
    labels = {
        "app.kubernetes.io/name": "hammerwork-worker",
        "app.kubernetes.io/instance": "mailers",
        "app.kubernetes.io/managed-by": "hammerwork-operator",
        "hammerwork.io/pool": "mailers",
        "hammerwork.io/queue": "email",
    }
    assert build(pool()) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "mailers-worker",
            "namespace": "mail",
            "labels": labels,
            "ownerReferences": [
                {
                    "apiVersion": "hammerwork.io/v1alpha1",
                    "kind": "WorkerPool",
                    "name": "mailers",
                    "uid": "uid-2",
                    "controller": True,
                    "blockOwnerDeletion": True,
                }
            ],
        },
        "spec": {
            "replicas": 2,
            "revisionHistoryLimit": 3,
            "selector": {
                "matchLabels": {
                    "app.kubernetes.io/name": "hammerwork-worker",
                    "app.kubernetes.io/instance": "mailers",
                }
            },
            "template": {
                "metadata": {
                    "labels": labels,
                    "annotations": {
                        "hammerwork.io/database-secret-version": secret_version(SECRET),
                        "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes": "hammerwork-tmp",
                    },
                },
                "spec": {
                    "terminationGracePeriodSeconds": 70,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
                    "containers": [
                        {
                            "name": "worker",
                            "image": "registry/worker:1",
                            "env": [
                                {
                                    "name": "HAMMERWORK_DATABASE_URL",
                                    "valueFrom": {"secretKeyRef": {"name": "hammerwork-database", "key": "url"}},
                                },
                                {
                                    "name": "HAMMERWORK_POD_UID",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}},
                                },
                                {
                                    "name": "HAMMERWORK_POD_NAME",
                                    "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}},
                                },
                                {"name": "HAMMERWORK_QUEUE", "value": "email"},
                                {"name": "HAMMERWORK_POOL", "value": "mailers"},
                                {"name": "HAMMERWORK_HANDLER", "value": "handlers:send"},
                                {"name": "HAMMERWORK_PROCESSES", "value": "1"},
                                {"name": "HAMMERWORK_CONCURRENCY", "value": "10"},
                                {"name": "HAMMERWORK_POLL_INTERVAL_MILLISECONDS", "value": "100"},
                                {"name": "HAMMERWORK_BATCH_PROCESSING", "value": "true"},
                                {"name": "HAMMERWORK_SHUTDOWN_GRACE_PERIOD_SECONDS", "value": "30"},
                                {"name": "HAMMERWORK_PORT", "value": "8080"},
                            ],
                            "ports": [{"name": "hammerwork", "containerPort": 8080, "protocol": "TCP"}],
                            "terminationMessagePolicy": "FallbackToLogsOnError",
                            "livenessProbe": {
                                "httpGet": {"path": "/healthz", "port": 8080},
                                "periodSeconds": 5,
                                "timeoutSeconds": 3,
                                "failureThreshold": 6,
                            },
                            "readinessProbe": {
                                "httpGet": {"path": "/readyz", "port": 8080},
                                "periodSeconds": 2,
                                "timeoutSeconds": 3,
                                "failureThreshold": 5,
                            },
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "volumeMounts": [{"name": "hammerwork-tmp", "mountPath": "/tmp"}],
                        }
                    ],
                    "volumes": [{"name": "hammerwork-tmp", "emptyDir": {}}],
                },
            },
        },
    }


def test_settings_reach_the_container() -> None:
    spec = {
        "processes": "auto",
        "concurrency": 3,
        "pollIntervalMilliseconds": 50,
        "batchProcessing": False,
        "shutdownGracePeriodSeconds": 90,
        "databaseSecretRef": {"name": "db", "key": "dsn"},
    }
    built = pod(pool(spec))
    env = environment(built["containers"][0])
    assert built["terminationGracePeriodSeconds"] == 90 + POD_END_SECONDS
    assert env[variables.PROCESSES] == "auto"
    assert env[variables.CONCURRENCY] == "3"
    assert env[variables.POLL_INTERVAL_MILLISECONDS] == "50"
    assert env[variables.BATCH_PROCESSING] == "false"
    assert env[variables.SHUTDOWN_GRACE_PERIOD_SECONDS] == "90"
    assert env[variables.DATABASE_URL] == {"secretKeyRef": {"name": "db", "key": "dsn"}}


def test_a_command_reaches_the_container_as_it_is() -> None:
    # The kubelet replaces $(NAME), and makes one $ of two.
    (container,) = pod(pool({"handler": {"exec": {"command": ["sh", "-c", "echo $$ $(date) $HOME"]}}}))["containers"]
    assert environment(container)["HAMMERWORK_EXEC_COMMAND"] == '["sh","-c","echo $$$$ $$(date) $$HOME"]'
    assert environment(container)["HAMMERWORK_EXEC_FAIL_CODES"] == "[100]"


@pytest.mark.parametrize(
    ("handler", "seen"),
    [({}, "none"), ({"python": {"function": "a:b"}, "exec": {"command": ["true"]}}, "python and exec")],
)
def test_a_pool_without_exactly_one_handler_is_a_problem(handler: dict[str, Any], seen: str) -> None:
    problem = pool({"handler": handler}).problem
    assert (problem or "").startswith(f"spec.handler: {seen} given, must be exactly one of python or exec")


def test_the_template_is_kept_and_completed() -> None:
    template = {
        "metadata": {
            "labels": {"team": "mail", "hammerwork.io/pool": "stolen"},
            "annotations": {"a": "b", EVICTABLE: "cache"},
        },
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "securityContext": {"runAsUser": 1234},
            "volumes": [{"name": "code", "configMap": {"name": "handlers"}}],
            "containers": [
                {"name": "sidecar", "image": "sidecar:1"},
                {
                    "name": "worker",
                    "image": "mine:2",
                    "env": [{"name": "LOG", "value": "1"}, {"name": "HAMMERWORK_QUEUE", "value": "other"}],
                    "resources": {"limits": {"memory": "1Gi"}},
                    "volumeMounts": [{"name": "code", "mountPath": "/app/handlers"}],
                    "readinessProbe": {"exec": {"command": ["true"]}},
                },
            ],
        },
    }
    built = build(pool({"template": template}))["spec"]["template"]
    assert built["metadata"]["labels"]["team"] == "mail"
    assert built["metadata"]["labels"]["hammerwork.io/pool"] == "mailers"
    assert built["metadata"]["annotations"].items() >= {"a": "b", EVICTABLE: "cache,hammerwork-tmp"}.items()
    assert names.ANNOTATION_SECRET_VERSION in built["metadata"]["annotations"]
    sidecar, worker = built["spec"]["containers"]
    assert sidecar == {"name": "sidecar", "image": "sidecar:1"}
    assert worker["image"] == "mine:2"
    assert worker["resources"] == {"limits": {"memory": "1Gi"}}
    assert worker["readinessProbe"] == {"exec": {"command": ["true"]}}
    env = environment(worker)
    assert (env["LOG"], env["HAMMERWORK_QUEUE"]) == ("1", "email")
    assert len(worker["env"]) == len(env)
    assert built["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert built["spec"]["securityContext"]["runAsUser"] == 1234
    assert built["spec"]["securityContext"]["runAsNonRoot"] is True
    assert [volume["name"] for volume in built["spec"]["volumes"]] == ["code", "hammerwork-tmp"]


@pytest.mark.parametrize("path", ["/tmp", "/tmp/", "//tmp/.", "tmp"])
def test_a_writable_tmp_of_the_user_is_left_alone(path: str) -> None:
    mount = {"name": "big", "mountPath": path}
    built = pod(pool({"template": {"spec": {"containers": [{"name": "worker", "volumeMounts": [mount]}]}}}))
    assert built["containers"][0]["volumeMounts"] == [mount]
    assert built.get("volumes", []) == []


def test_volumes_of_the_user_are_not_taken_for_the_operators() -> None:
    theirs = [{"name": name, "configMap": {"name": "code"}} for name in ("tmp", "hammerwork-tmp", "hammerwork-tmp-2")]
    mount = {"name": "tmp", "mountPath": "/tmp/code"}
    containers = [{"name": "worker", "volumeMounts": [mount]}]
    built = pod(pool({"template": {"spec": {"volumes": theirs, "containers": containers}}}))
    assert built["volumes"] == [*theirs, {"name": "hammerwork-tmp-3", "emptyDir": {}}]
    assert built["containers"][0]["volumeMounts"] == [mount, {"name": "hammerwork-tmp-3", "mountPath": "/tmp"}]


WEB = {"name": "web", "image": "web:1"}


@pytest.mark.parametrize(
    ("spec", "port"),
    [
        ({"containers": [{"name": "worker", "ports": [{"name": "http", "containerPort": 9000}]}]}, 8080),
        ({"containers": [{"name": "worker", "ports": [{"containerPort": 8080}]}]}, 8081),
        ({"containers": [{**WEB, "ports": [{"containerPort": 8080}, {"containerPort": 8081}]}]}, 8082),
        ({"containers": [{**WEB, "readinessProbe": {"tcpSocket": {"port": 8080}}}]}, 8081),
        ({"initContainers": [{**WEB, "restartPolicy": "Always", "ports": [{"containerPort": 8080}]}]}, 8081),
        ({"containers": [{"name": "worker", "livenessProbe": {"httpGet": {"path": "/healthz", "port": 8080}}}]}, 8080),
        ({"containers": [{"name": "worker", "ports": [{"name": "hammerwork", "containerPort": 9100}]}]}, 9100),
        ({"containers": [{**WEB, "ports": "none"}, {"name": "worker"}]}, 8080),
    ],
)
def test_the_worker_listens_where_no_container_of_the_pod_does(spec: dict[str, Any], port: int) -> None:
    built = pod(pool({"template": {"spec": spec}}))
    (worker,) = (each for each in built["containers"] if each["name"] == "worker")
    assert environment(worker)[variables.PORT] == str(port)
    assert worker["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": port}
    assert [each["containerPort"] for each in worker["ports"] if each.get("name") == "hammerwork"] == [port]
    numbers = [each["containerPort"] for each in worker["ports"]]
    assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize(
    ("url", "port"),
    [
        ("http://localhost:8080/jobs", 8081),
        ("http://127.0.0.1:8080", 8081),
        ("http://[::1]:8080/", 8081),
        ("http://localhost/jobs", 8080),
        ("http://web:8080/jobs", 8080),
        ("http://localhost:none/", 8080),
    ],
)
def test_the_port_of_a_service_in_the_pod_is_left_to_it(url: str, port: int) -> None:
    (worker,) = (each for each in pod(pool({"handler": {"http": {"url": url}}}))["containers"])
    assert environment(worker)[variables.PORT] == str(port)


def test_a_probe_that_only_tunes_is_completed() -> None:
    template = {"spec": {"containers": [{"name": "worker", "livenessProbe": {"failureThreshold": 60}}]}}
    (worker,) = pod(pool({"template": template}))["containers"]
    assert worker["livenessProbe"] == {
        "httpGet": {"path": "/healthz", "port": 8080},
        "periodSeconds": 5,
        "timeoutSeconds": 3,
        "failureThreshold": 60,
    }


def test_null_leaves_a_default_of_the_operator_out() -> None:
    worker = {
        "name": "worker",
        "securityContext": {"readOnlyRootFilesystem": None, "runAsUser": None},
        "livenessProbe": None,
        "env": None,
    }
    spec = {"securityContext": None, "automountServiceAccountToken": None, "containers": [worker]}
    built = pod(pool({"template": {"metadata": {"annotations": None}, "spec": spec}}))
    assert "securityContext" not in built
    assert "automountServiceAccountToken" not in built
    assert "livenessProbe" not in built["containers"][0]
    assert built["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_building_twice_changes_nothing() -> None:
    observed = pool({"template": {"spec": {"containers": [{"name": "worker"}]}}})
    assert build(observed) == build(observed)
    assert observed.spec.template == {"spec": {"containers": [{"name": "worker"}]}}


def test_a_changed_secret_rolls_the_pods_and_tells_nothing_of_its_content() -> None:
    changed = {"metadata": {"uid": "s", "resourceVersion": "6"}, "data": SECRET["data"]}
    assert secret_version(changed) != secret_version(SECRET)
    assert "cGc=" not in str(build(pool()))


REFERRING = {
    "spec": {
        "volumes": [
            {"name": "a", "configMap": {"name": "code"}},
            {"name": "b", "projected": {"sources": [{"configMap": {"name": "part"}}, {"secret": {"name": "s"}}]}},
            {"name": "c", "secret": {"secretName": "s"}},
            "no volume",
        ],
        "initContainers": [{"name": "i", "envFrom": [{"configMapRef": {"name": "first", "optional": True}}]}],
        "containers": [
            {
                "name": "worker",
                "env": [
                    {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "code", "key": "a"}}},
                    {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "values", "key": "b"}}},
                    {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "c"}}},
                ],
            },
            {"name": "sidecar", "envFrom": [{"configMapRef": {"name": 5}}, {"configMapRef": None}]},
        ],
    }
}


def test_the_configmaps_of_a_template_are_found_whatever_its_shape() -> None:
    assert referenced_configmaps(REFERRING) == ["code", "first", "part", "values"]
    odd: list[dict[str, Any]] = [
        {},
        {"spec": None},
        {"spec": []},
        {"spec": {"volumes": "none", "containers": {"a": 1}}},
    ]
    assert [referenced_configmaps(template) for template in odd] == [[]] * len(odd)


@pytest.mark.parametrize(
    "name", ["../secrets/key", "../../mine/secrets/key", "..", "a/b", "a?b", "%2e%2e", "a" * 254, "a\n"]
)
def test_no_name_of_a_configmap_leads_the_operator_to_another_object(name: str) -> None:
    """It is a part of the path of a request that is made with the operator's rights, and a template may have any."""
    template = {"spec": {"volumes": [{"name": "v", "configMap": {"name": name}}]}}
    assert referenced_configmaps(template) == []


def test_the_pods_are_replaced_when_what_a_configmap_holds_changes() -> None:
    held: dict[str, Any] = {"metadata": {"resourceVersion": "1"}, "data": {"a": "1"}}
    others: list[dict[str, Any] | None] = [{**held, "data": {"a": "2"}}, {**held, "binaryData": {"a": "1"}}, {}, None]
    told = [configmap_checksum({"code": each}) for each in (held, *others)]
    assert len(set(told)) == len(told)
    assert configmap_checksum({"code": {**held, "metadata": {"resourceVersion": "2"}}}) == told[0]
    built = build_deployment(pool(), default_image="w:1", secret_version="s", workers=1, configmap_checksum=told[0])
    annotations = built["spec"]["template"]["metadata"]["annotations"]
    assert annotations["hammerwork.io/configmap-checksum"] == told[0]
    assert "hammerwork.io/configmap-checksum" not in build(pool())["spec"]["template"]["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"spec": {"containers": {}}}, r"spec\.template\.spec\.containers must be a list"),
        ({"spec": []}, r"spec\.template\.spec must be an object"),
        ({"spec": {"containers": ["worker"]}}, r"spec\.template\.spec\.containers\[0\] must be an object"),
        (
            {"spec": {"containers": [{"name": "worker", "env": {}}]}},
            r"spec\.template\.spec\.containers\[worker\]\.env must be a list",
        ),
        (
            {"spec": {"containers": [{"name": "worker", "ports": [8080]}]}},
            r"spec\.template\.spec\.containers\[worker\]\.ports\[0\] must be an object, not 8080",
        ),
    ],
)
def test_a_template_of_the_wrong_shape_is_named(template: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTemplateError, match=message):
        build(pool({"template": template}))
