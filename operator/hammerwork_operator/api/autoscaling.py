"""How many workers a WorkerPool is to have, by the jobs of its queue. Names and meaning are those of autoscaling/v2."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, field

from hammerwork_operator.api.rules import check_exactly_one, exactly_one, said

_Window = Annotated[int, Meta(ge=0, le=3_600)]
_SelectPolicy = Literal["Max", "Min", "Disabled"]
_SELECT_POLICY = (
    "Which policy counts if there are several: Max the one that allows the largest change, Min the smallest. "
)
_WINDOW = "Seconds for which the operator remembers how many workers were wanted, and "


class ScalingPolicy(Struct, frozen=True, rename="camel"):
    """By how much the number of workers may change within a period."""

    type: Annotated[
        Literal["Pods", "Percent"],
        Meta(description="Whether value is a number of Pods or a percentage of those at the period's begin."),
    ]
    value: Annotated[int, Meta(ge=1, le=10_000, description="How much the change may be.")]
    period_seconds: Annotated[int, Meta(ge=1, le=1_800, description="Length of the period.")]


def _policies(defaults: str) -> Meta:
    return Meta(
        min_length=1,
        max_length=10,
        description=f"By how much the number may change within a period. Default: {defaults}.",
    )


class ScaleUpRules(Struct, frozen=True, rename="camel"):
    """How fast the number of workers may rise."""

    stabilization_window_seconds: Annotated[
        _Window, Meta(description=_WINDOW + "goes up no further than the lowest of them; 0: at once.")
    ] = 0
    select_policy: Annotated[_SelectPolicy, Meta(description=_SELECT_POLICY + "Disabled: the number never rises.")] = (
        "Max"
    )
    policies: Annotated[list[ScalingPolicy], _policies("4 Pods or 100 Percent in 15 seconds, whichever is more")] = (
        field(default_factory=lambda: [ScalingPolicy("Pods", 4, 15), ScalingPolicy("Percent", 100, 15)])
    )


class ScaleDownRules(Struct, frozen=True, rename="camel"):
    """How fast the number of workers may fall."""

    stabilization_window_seconds: Annotated[
        _Window, Meta(description=_WINDOW + "goes down no further than the highest of them.")
    ] = 300
    select_policy: Annotated[_SelectPolicy, Meta(description=_SELECT_POLICY + "Disabled: the number never falls.")] = (
        "Max"
    )
    policies: Annotated[list[ScalingPolicy], _policies("100 Percent in 15 seconds")] = field(
        default_factory=lambda: [ScalingPolicy("Percent", 100, 15)]
    )


class ScalingBehavior(Struct, frozen=True, rename="camel"):
    """How fast the number of workers may change; names, meaning and defaults of autoscaling/v2."""

    scale_up: Annotated[ScaleUpRules, Meta(description="How fast it may rise.")] = field(default_factory=ScaleUpRules)
    scale_down: Annotated[ScaleDownRules, Meta(description="How fast it may fall.")] = field(
        default_factory=ScaleDownRules
    )


class Autoscaling(Struct, frozen=True, rename="camel"):
    """How many workers there are to be, by the jobs of the queue."""

    max_replicas: Annotated[int, Meta(ge=1, le=10_000, description="Most worker Pods.")]
    min_replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=10_000,
            description="Fewest worker Pods. At 0, the first ready job brings the first worker at once; the last one "
            "goes when nothing was ready, running or soon due for behavior.scaleDown.stabilizationWindowSeconds.",
        ),
    ] = 1
    target_jobs_per_worker: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=1_000_000_000,
                description="A worker Pod for every so many jobs that are ready or running. Give exactly one of "
                "targetJobsPerWorker and targetDrainSeconds.",
            ),
        ]
        | UnsetType
    ) = UNSET
    target_drain_seconds: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=604_800,
                description="So many workers that the jobs that are ready or running are finished in this time, by the "
                "mean duration of the queue's jobs in the last hour, by spec.concurrency and spec.processes.",
            ),
        ]
        | UnsetType
    ) = UNSET
    behavior: Annotated[ScalingBehavior, Meta(description="How fast the number of workers may change.")] = field(
        default_factory=ScalingBehavior
    )

    def __post_init__(self) -> None:
        """Refuse what the rules of the CRD refuse, also where there is no API server."""
        targets = (self.target_jobs_per_worker, self.target_drain_seconds)
        check_exactly_one(dict(zip(_TARGETS, targets, strict=True)))
        if self.min_replicas > self.max_replicas:
            raise ValueError(_MIN_ABOVE_MAX % (self.min_replicas, self.max_replicas))


_TARGETS = ("targetJobsPerWorker", "targetDrainSeconds")
_MIN_ABOVE_MAX = "minReplicas is %s, must not be above maxReplicas, which is %s"

RULES = [
    exactly_one(_TARGETS),
    {
        "rule": "self.minReplicas <= self.maxReplicas",
        "message": "minReplicas must not be above maxReplicas",
        "messageExpression": said(_MIN_ABOVE_MAX, "string(self.minReplicas)", "string(self.maxReplicas)"),
    },
]
"""Of the CRD, as x-kubernetes-validations."""
