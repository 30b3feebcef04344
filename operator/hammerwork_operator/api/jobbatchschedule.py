"""The JobBatchSchedule resource. Field descriptions are what `kubectl explain jobbatchschedule.spec` shows."""

from __future__ import annotations

import enum
from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType, field

from hammerwork_operator.api.common import CONDITION_LIST, MAX_INT32, Condition
from hammerwork_operator.api.jobbatch import JobBatchSpec
from hammerwork_operator.api.rules import said, shown

KIND = "JobBatchSchedule"
PLURAL = "jobbatchschedules"

MAX_OBJECT_NAME_LENGTH = 63
"""The name is the value of a label of each JobBatch. The JobBatches are called NAME-MINUTES, which may be longer."""
MAX_SCHEDULE_LENGTH = 1_024
MAX_ZONE_LENGTH = 255
MAX_ACTIVE_REFERENCES = 100
SHORT_DEADLINE_SECONDS = 10
"""A shorter startingDeadlineSeconds than this is over before a restarted operator watches again."""


def _field(value: str) -> str:
    """Return the pattern of a field of a cron expression with such values."""
    item = f"([*?]|{value}(-{value})?)(/0*[1-9][0-9]{{0,8}})?"
    return f"{item}(,{item})*"


_FIELDS = (
    _field("[0-5]?[0-9]"),
    _field("([01]?[0-9]|2[0-3])"),
    _field("(0?[1-9]|[12][0-9]|3[01])"),
    _field("(0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"),
    _field("(0?[0-6]|sun|mon|tue|wed|thu|fri|sat)"),
)
_FIVE_FIELDS = r"(?i)^\s*" + r"\s+".join(_FIELDS) + r"\s*$"
_MACRO = "^@(yearly|annually|monthly|weekly|daily|midnight|hourly|every [.0-9a-zµ]+)$"

SPEC_RULES = [
    {
        "rule": "self.concurrencyPolicy != 'Replace' || !has(self.template.spec.deletionPolicy) || "
        "self.template.spec.deletionPolicy != 'Orphan'",
        "message": "with concurrencyPolicy Replace, deletionPolicy must not be Orphan: a batch that is replaced would "
        "continue",
        "fieldPath": ".template.spec.deletionPolicy",
    },
]
SCHEDULE_RULES = [
    {"rule": "!self.contains('TZ')", "message": "must not have TZ or CRON_TZ; use timeZone"},
    {
        "rule": f"self.contains('TZ') || self.matches(r'{_FIVE_FIELDS}') || self.matches('{_MACRO}')",
        "message": "must have five fields (minute 0-59, hour 0-23, day of month 1-31, month 1-12, day of week 0-6) or "
        "be one of @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and @every DURATION",
    },
]
TIME_ZONE_RULES = [
    {
        "rule": "timestamp('2026-01-01T00:00:00Z').getHours(self) >= 0",
        "message": "must be an IANA time zone",
    }
]
_NO_PLACEHOLDER = 'must not have a placeholder: the ":" of a time is for no label; use an annotation'
_WITH_PLACEHOLDER = "self.filter(key, self[key].contains('{{'))"
LABEL_RULES = [
    {
        "rule": "!self.exists(key, self[key].contains('{{'))",
        "message": f"a label {_NO_PLACEHOLDER}",
        "messageExpression": said(
            f"label %s: %s {_NO_PLACEHOLDER}",
            shown(f"{_WITH_PLACEHOLDER}[0]"),
            shown(f"self[{_WITH_PLACEHOLDER}[0]]"),
        ),
    }
]
"""Rules of the CRD, as x-kubernetes-validations. The API server has a time zone database too."""

_Labels = Annotated[dict[str, Annotated[str, Meta(max_length=63)]], Meta(max_length=256)]
_Annotations = Annotated[dict[str, Annotated[str, Meta(max_length=262_144)]], Meta(max_length=256)]
Moment = {"format": "date-time"}


class ConcurrencyPolicy(enum.Enum):
    """What becomes of a run whose time has come while batches made before have not finished."""

    ALLOW = "Allow"
    FORBID = "Forbid"
    REPLACE = "Replace"


class BatchMetadata(Struct, frozen=True, rename="camel"):
    """Metadata of the JobBatches."""

    labels: Annotated[_Labels, Meta(description="Labels of each JobBatch; hammerwork.io/schedule is added.")] = field(
        default_factory=dict
    )
    annotations: Annotated[
        _Annotations,
        Meta(description="Annotations of each JobBatch; the operator adds hammerwork.io/scheduled-time."),
    ] = field(default_factory=dict)


class BatchTemplate(Struct, frozen=True, rename="camel"):
    """A JobBatch without a name."""

    spec: Annotated[
        JobBatchSpec,
        Meta(
            description="The spec of each JobBatch. In every string value {{ scheduledTime }} is replaced by the time "
            "that the batch is made for (RFC 3339, in spec.timeZone); other placeholders stay as they are."
        ),
    ]
    metadata: Annotated[
        BatchMetadata,
        Meta(description="Labels and annotations; {{ scheduledTime }} is replaced in the values of annotations."),
    ] = field(default_factory=BatchMetadata)


class ScheduleSpec(Struct, frozen=True, kw_only=True, rename="camel"):
    """When JobBatches are made, and how many are kept: a spec without its template."""

    schedule: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_SCHEDULE_LENGTH,
            description="When: a cron expression of five fields (minute, hour, day of month, month, day of week), a "
            "macro (@hourly, @daily, @weekly, @monthly, @yearly) or @every DURATION, as a CronJob reads it.",
        ),
    ]
    time_zone: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=MAX_ZONE_LENGTH,
                pattern=r"^[A-Za-z._0-9+][-A-Za-z._0-9+]{0,13}(/[A-Za-z._0-9+][-A-Za-z._0-9+]{0,13})*$",
                description="Whose clock the schedule goes by: a name of the IANA database, e.g. Europe/Berlin. "
                "Default: UTC.",
            ),
        ]
        | UnsetType
    ) = UNSET
    starting_deadline_seconds: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=MAX_INT32,
                description="Seconds after a scheduled time in which its batch may still be made; later the run is "
                f"missed. Below {SHORT_DEADLINE_SECONDS}, a restart of the operator is enough to miss one. Default: no "
                "limit.",
            ),
        ]
        | UnsetType
    ) = UNSET
    concurrency_policy: Annotated[
        ConcurrencyPolicy,
        Meta(
            description="What happens at a scheduled time when a batch made before has not finished. Allow: both run. "
            "Forbid: the new one waits, and is made for the latest scheduled time once nothing is active. Replace: the "
            "old one is deleted."
        ),
    ] = ConcurrencyPolicy.ALLOW
    suspend: Annotated[
        bool,
        Meta(
            description="While true no batch is made; those that are there continue. Scheduled times that pass "
            "meanwhile count as missed: the latest is made up for afterwards, within startingDeadlineSeconds."
        ),
    ] = False
    successful_batches_history_limit: Annotated[
        int,
        Meta(ge=0, le=MAX_INT32, description="How many batches that are Complete are kept; older ones are deleted."),
    ] = 3
    failed_batches_history_limit: Annotated[
        int, Meta(ge=0, le=MAX_INT32, description="How many batches that have Failed are kept; older ones are deleted.")
    ] = 1


class JobBatchScheduleSpec(ScheduleSpec, frozen=True, kw_only=True, rename="camel"):
    """When which JobBatches are made. All of it can be changed; a change is for the batches that are made later."""

    template: Annotated[BatchTemplate, Meta(description="What each JobBatch is to be.")]


class BatchReference(Struct, frozen=True, rename="camel"):
    """A JobBatch that has not finished."""

    api_version: Annotated[str, Meta(description="The API version of JobBatch.")]
    kind: Annotated[str, Meta(description="Always JobBatch.")]
    namespace: Annotated[str, Meta(max_length=63, description="The namespace of the schedule.")]
    name: Annotated[str, Meta(max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", description="Its name.")]
    uid: Annotated[str, Meta(max_length=128, description="Its uid.")]


class SeenSchedule(Struct, frozen=True, rename="camel"):
    """What the scheduled times follow from."""

    schedule: Annotated[
        str, Meta(max_length=MAX_SCHEDULE_LENGTH, description="spec.schedule as the operator has seen it.")
    ]
    since: Annotated[
        str,
        Meta(
            description="Scheduled times count from here: from the creation of the object, or from when the operator "
            "saw that schedule or timeZone had changed.",
            extra_json_schema=Moment,
        ),
    ]
    time_zone: Annotated[str, Meta(max_length=MAX_ZONE_LENGTH, description="spec.timeZone likewise.")] | UnsetType = (
        UNSET
    )


class JobBatchScheduleStatus(Struct, frozen=True, rename="camel", omit_defaults=True):
    """The batches of the schedule."""

    observed_generation: Annotated[
        int,
        Meta(ge=-1, description="metadata.generation that the status was computed from; -1 until there is one."),
    ] = -1
    observed_schedule: (
        Annotated[SeenSchedule, Meta(description="What the scheduled times follow from.")] | UnsetType
    ) = UNSET
    active: (
        Annotated[
            list[BatchReference],
            Meta(
                max_length=MAX_ACTIVE_REFERENCES,
                description=f"The batches that have not finished, oldest first; the {MAX_ACTIVE_REFERENCES} latest.",
                extra_json_schema={"x-kubernetes-list-type": "atomic"},
            ),
        ]
        | UnsetType
    ) = UNSET
    active_batches: Annotated[int, Meta(ge=0, description="How many have not finished.")] | UnsetType = UNSET
    last_schedule_time: (
        Annotated[str, Meta(description="The latest time that a batch was made for.", extra_json_schema=Moment)]
        | UnsetType
    ) = UNSET
    last_successful_time: (
        Annotated[str, Meta(description="When a batch was Complete last.", extra_json_schema=Moment)] | UnsetType
    ) = UNSET
    conditions: (
        Annotated[
            list[Condition],
            Meta(
                max_length=16,
                description="Ready, Reconciling, Stalled (as kstatus reads them).",
                extra_json_schema=CONDITION_LIST,
            ),
        ]
        | UnsetType
    ) = UNSET


class JobBatchScheduleObject(Struct, frozen=True, rename="camel"):
    """JobBatches at scheduled times: what a CronJob is for Jobs."""

    spec: Annotated[JobBatchScheduleSpec, Meta(description="When which JobBatches are made.")]
    status: Annotated[
        JobBatchScheduleStatus, Meta(description="What the operator has seen. Only the operator writes it.")
    ] = field(default_factory=JobBatchScheduleStatus)
