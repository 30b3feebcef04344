"""The CRDs, made from the structs."""

from __future__ import annotations

from typing import Any

import msgspec
import yaml

from hammerwork.batch import MAX_METADATA_KEY_LENGTH
from hammerwork.handlers import KINDS
from hammerwork_operator import sources
from hammerwork_operator.api import autoscaling, jobbatch, jobbatchschedule, retry, workerpool
from hammerwork_operator.api.common import GROUP, VERSION, DatabaseSecretRef
from hammerwork_operator.api.jobbatch import INITIAL_ABOVE_MAX, JobBatchSpec, RetryPolicySpec
from hammerwork_operator.api.rules import exactly_one, said, shown

Schema = dict[str, Any]

_HEADER = "# Made by `make generated` from operator/hammerwork_operator.\n"

_KEPT = (
    "description",
    "type",
    "format",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "nullable",
    "default",
    "oneOf",
)


def structural_schema(kind: type[msgspec.Struct]) -> Schema:
    """Return the structural OpenAPI schema of a struct: no references, every node typed, no empty defaults."""
    (_,), components = msgspec.json.schema_components([kind])
    return _structural({"$ref": f"#/$defs/{kind.__name__}"}, components)


def _structural(node: Schema, components: dict[str, Schema]) -> Schema:
    merged = dict(node)
    if reference := merged.pop("$ref", None):
        merged = {**components[reference.rsplit("/", 1)[1]], **merged}
    result: Schema = {key: merged[key] for key in _KEPT if key in merged and merged[key] not in ([], {}, "", None)} | {
        key: value for key, value in merged.items() if key.startswith("x-kubernetes-")
    }
    if "enum" in merged:
        result["type"] = "string"
    if merged.get("type") == "integer":
        result["format"] = "int64"
    if "properties" in merged:
        result["properties"] = {name: _structural(child, components) for name, child in merged["properties"].items()}
    if isinstance(merged.get("additionalProperties"), dict):
        result["additionalProperties"] = _structural(merged["additionalProperties"], components) or {}
        if not result["additionalProperties"]:
            del result["additionalProperties"]
    if "items" in merged:
        result["items"] = _structural(merged["items"], components)
    return result


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def immutable_fields() -> list[str]:
    """Return the fields of a JobBatch's spec, as manifests spell them, that are fixed at creation."""
    return [_camel(name) for name in JobBatchSpec.__struct_fields__ if name not in jobbatch.MUTABLE_FIELDS]


def _immutable(field: str) -> Schema:
    return {
        "rule": f"has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})",
        "message": f"{field} cannot be changed after creation; delete the JobBatch and create it again, "
        "or create one with another name",
        "fieldPath": f".{field}",
        "reason": "FieldValueForbidden",
    }


def _name_rule(limit: int, why: str) -> Schema:
    # fieldPath .metadata.name needs properties in the schema of metadata, and converters take those for all there are.
    wanted = f"must be at most {limit}{why}"
    return {
        "rule": f"self.metadata.name.size() <= {limit}",
        "message": f"metadata.name must have at most {limit} characters{why}",
        "messageExpression": said(f"metadata.name has %s characters, {wanted}", "string(self.metadata.name.size())"),
        "fieldPath": ".metadata",
    }


def _jobbatch_schema() -> Schema:
    schema = structural_schema(jobbatch.JobBatchObject)
    schema["x-kubernetes-validations"] = [_name_rule(jobbatch.MAX_OBJECT_NAME_LENGTH, "")]
    spec = schema["properties"]["spec"]
    _add_batch_rules(spec)
    spec["x-kubernetes-validations"] += [_immutable(field) for field in immutable_fields()]
    spec["properties"]["retry"]["x-kubernetes-validations"] += retry.CHANGE_RULES
    return _with_defaults(schema)


def _add_batch_rules(spec: Schema) -> None:
    """Add what holds for the spec of each JobBatch, one that is made from a template too."""
    spec["x-kubernetes-validations"] = [*sources.rules()]
    spec["properties"]["databaseSecretRef"]["default"] = msgspec.to_builtins(DatabaseSecretRef())
    spec["properties"]["retryPolicy"]["x-kubernetes-validations"] = [
        {
            "rule": "self.initialSeconds <= self.maxSeconds",
            "message": "initialSeconds must not be above maxSeconds, "
            f"which is {RetryPolicySpec().max_seconds} where it is left out",
            "messageExpression": said(INITIAL_ABOVE_MAX, "string(self.initialSeconds)", "string(self.maxSeconds)"),
        }
    ]
    spec["properties"]["retry"]["x-kubernetes-validations"] = [*retry.RULES]
    wrong = f"self.filter(key, key.size() < 1 || key.size() > {MAX_METADATA_KEY_LENGTH})[0]"
    spec["properties"]["metadata"]["x-kubernetes-validations"] = [
        {
            "rule": f"self.all(key, key.size() >= 1 && key.size() <= {MAX_METADATA_KEY_LENGTH})",
            "message": f"keys must have 1 to {MAX_METADATA_KEY_LENGTH} characters",
            "messageExpression": said(
                f"keys must have 1 to {MAX_METADATA_KEY_LENGTH} characters, this one has %s: %s",
                f"string({wrong}.size())",
                shown(wrong),
            ),
        }
    ]


def _schedule_schema() -> Schema:
    schema = structural_schema(jobbatchschedule.JobBatchScheduleObject)
    schema["x-kubernetes-validations"] = [
        _name_rule(jobbatchschedule.MAX_OBJECT_NAME_LENGTH, ", because it is a label of each JobBatch")
    ]
    spec = schema["properties"]["spec"]
    spec["x-kubernetes-validations"] = jobbatchschedule.SPEC_RULES
    spec["properties"]["schedule"]["x-kubernetes-validations"] = jobbatchschedule.SCHEDULE_RULES
    spec["properties"]["timeZone"]["x-kubernetes-validations"] = jobbatchschedule.TIME_ZONE_RULES
    template = spec["properties"]["template"]["properties"]
    template["metadata"]["properties"]["labels"]["x-kubernetes-validations"] = jobbatchschedule.LABEL_RULES
    _add_batch_rules(template["spec"])
    return _with_status_default(schema)


def _workerpool_schema() -> Schema:
    schema = structural_schema(workerpool.WorkerPoolObject)
    schema["x-kubernetes-validations"] = [
        _name_rule(workerpool.MAX_OBJECT_NAME_LENGTH, ", because the Deployment is called NAME-worker")
    ]
    handler = schema["properties"]["spec"]["properties"]["handler"]
    handler["x-kubernetes-validations"] = [exactly_one([kind.name for kind in KINDS])]
    spec = schema["properties"]["spec"]
    spec["properties"]["autoscaling"]["x-kubernetes-validations"] = autoscaling.RULES
    spec["properties"]["podDisruptionBudget"]["x-kubernetes-validations"] = [
        exactly_one(["maxUnavailable", "minAvailable"])
    ]
    return _with_defaults(schema)


def _with_defaults(schema: Schema) -> Schema:
    schema["properties"]["spec"]["properties"]["databaseSecretRef"]["default"] = msgspec.to_builtins(
        DatabaseSecretRef()
    )
    return _with_status_default(schema)


def _with_status_default(schema: Schema) -> Schema:
    # Readers can tell "not looked at yet" from "looked at" without knowing whether a status is there.
    schema["properties"]["status"]["default"] = {"observedGeneration": -1}
    return schema


def _column(name: str, path: str, kind: str = "string", *, wide: bool = False, description: str = "") -> Schema:
    column: Schema = {"name": name, "type": kind, "jsonPath": path}
    if description:
        column["description"] = description
    if wide:
        column["priority"] = 1
    return column


_READY_REASON = '.status.conditions[?(@.type=="Ready")].reason'
_AGE = _column("Age", ".metadata.creationTimestamp", "date")

_JOBBATCH_COLUMNS = [
    _column("Queue", ".spec.queue"),
    _column("Status", _READY_REASON, description="Reason of the condition Ready."),
    _column("Progress", ".status.progress", description="Share of the jobs that have finished."),
    _column("Total", ".status.totalJobs", "integer"),
    _column("Completed", ".status.completedJobs", "integer"),
    _column("Failed", ".status.failedJobs", "integer"),
    _column("Pending", ".status.pendingJobs", "integer", wide=True),
    _column("Success", ".status.successRate", wide=True),
    _column("Mode", ".spec.partialFailureMode", wide=True),
    _column("Jobs/s", ".status.jobsPerSecond", "number", wide=True, description="Jobs that finish per second."),
    _column("ETA", ".status.estimatedCompletionTime", wide=True, description="When it would be done at that speed."),
    _AGE,
]

_SCHEDULE_COLUMNS = [
    _column("Schedule", ".spec.schedule"),
    _column("Timezone", ".spec.timeZone"),
    _column("Suspend", ".spec.suspend", "boolean"),
    _column("Active", ".status.activeBatches", "integer", description="Batches that have not finished."),
    _column("Last Schedule", ".status.lastScheduleTime", "date"),
    _column("Status", _READY_REASON, description="Reason of the condition Ready."),
    _column("Last Success", ".status.lastSuccessfulTime", "date", wide=True),
    _column("Concurrency", ".spec.concurrencyPolicy", wide=True),
    _column("Queue", ".spec.template.spec.queue", wide=True),
    _AGE,
]

_WORKERPOOL_COLUMNS = [
    _column("Queue", ".spec.queue"),
    _column("Status", _READY_REASON, description="Reason of the condition Ready."),
    _column("Desired", ".status.desiredReplicas", "integer", description="Worker Pods that there are to be."),
    _column("Ready", ".status.readyReplicas", "integer"),
    _column("Depth", ".status.queueDepth", "integer", wide=True, description="Jobs that wait for a worker."),
    _column("Concurrency", ".spec.concurrency", "integer", wide=True),
    _column("Handler", ".spec.handler", wide=True, description="What runs a job."),
    _AGE,
]


def _definition(kind: str, plural: str, short: str, schema: Schema, columns: list[Schema], **scale: str) -> Schema:
    schema["properties"] = {
        "apiVersion": {"type": "string", "description": f"Always {GROUP}/{VERSION}."},
        "kind": {"type": "string", "description": f"Always {kind}."},
        "metadata": {"type": "object"},
        **schema["properties"],
    }
    subresources: Schema = {"status": {}}
    if scale:
        subresources["scale"] = scale
    selectable: Schema = {}
    if "queue" in schema["properties"]["spec"]["properties"]:
        selectable["selectableFields"] = [{"jsonPath": ".spec.queue"}]
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "singular": kind.lower(),
                "shortNames": [short],
                "categories": ["hammerwork"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": subresources,
                    **selectable,
                    "additionalPrinterColumns": columns,
                }
            ],
        },
    }


def definitions() -> dict[str, Schema]:
    """Return the CustomResourceDefinitions by the name of their file."""
    return {
        f"{jobbatch.PLURAL}.yaml": _definition(
            jobbatch.KIND, jobbatch.PLURAL, "jb", _jobbatch_schema(), _JOBBATCH_COLUMNS
        ),
        f"{jobbatchschedule.PLURAL}.yaml": _definition(
            jobbatchschedule.KIND, jobbatchschedule.PLURAL, "jbs", _schedule_schema(), _SCHEDULE_COLUMNS
        ),
        f"{workerpool.PLURAL}.yaml": _definition(
            workerpool.KIND,
            workerpool.PLURAL,
            "wp",
            _workerpool_schema(),
            _WORKERPOOL_COLUMNS,
            specReplicasPath=".spec.replicas",
            statusReplicasPath=".status.replicas",
            labelSelectorPath=".status.selector",
        ),
    }


class _PlainDumper(yaml.SafeDumper):
    """Writes equal objects out instead of as anchors, which not every reader of manifests knows."""

    def ignore_aliases(self, data: object) -> bool:  # noqa: ARG002
        return True


def render(definition: Schema) -> str:
    """Return the text of the file of one definition."""
    return _HEADER + yaml.dump(definition, Dumper=_PlainDumper, sort_keys=False, width=120, allow_unicode=True)
