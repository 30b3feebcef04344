"""Why a worker Pod does not work, from what the kubelet and the scheduler say of it. Pure."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from hammerwork.errors import EXIT_BAD_CONFIGURATION, EXIT_INCOMPATIBLE
from hammerwork_operator.api import names
from hammerwork_operator.api.reasons import Reason
from hammerwork_operator.kube import conditions
from hammerwork_operator.kube.situation import Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from hammerwork_operator.pods.observed import ObservedPod

    Status = Mapping[str, Any]

_ON_ITS_WAY = {"ContainerCreating", "PodInitializing", "CrashLoopBackOff", "", None}

_WAITING = {
    "ErrImagePull": Reason.IMAGE_PULL_BACK_OFF,
    "ImagePullBackOff": Reason.IMAGE_PULL_BACK_OFF,
    "RegistryUnavailable": Reason.IMAGE_PULL_BACK_OFF,
    "InvalidImageName": Reason.INVALID_IMAGE_NAME,
    "ErrImageNeverPull": Reason.ERR_IMAGE_NEVER_PULL,
    "CreateContainerConfigError": Reason.CREATE_CONTAINER_CONFIG_ERROR,
    "RunContainerError": Reason.RUN_CONTAINER_ERROR,
}
"""What the kubelet calls a container that cannot start, and what a pool's condition does. Anything else is a
`CreateContainerError`, which may pass."""

_BACK_OFF = re.compile(r'Back-off pulling image "[^"]*"(: ErrImagePull)?:? *')
_PASSING_PULL = re.compile(
    r"timeout|timed out|deadline exceeded|connection re(fused|set)|EOF|unreachable|temporar|unavailable"
    r"|too many requests|server misbehaving|\b(429|50[0-9])\b",
    re.IGNORECASE,
)
"""Of registries that do not answer, and not of names or credentials that are wrong."""

_BAD_EXITS = {EXIT_BAD_CONFIGURATION, EXIT_INCOMPATIBLE}
_NOT_STARTED = {"StartError", "ContainerCannotRun"}

_EVENTS = {"FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"}
_LASTING_EVENT = re.compile(r"not found|non-existent|not registered", re.IGNORECASE)

_LOG_PREFIX = re.compile(r"^\S+ (DEBUG|INFO|WARNING|ERROR|CRITICAL) [\w.]+: ")


def of_pod(manifest: Status) -> Obstacle | None:
    """Return why a Pod that is there to stay does not work; None where it does, or where nothing is known."""
    state = manifest.get("status") or {}
    scheduled = conditions.find(state.get("conditions"), "PodScheduled")
    if scheduled is not None and scheduled.get("reason") == Reason.UNSCHEDULABLE:
        return Obstacle(Reason.UNSCHEDULABLE, scheduled.get("message", ""), passing=True)
    return next((found for found in map(_of_container, _containers(state)) if found is not None), None)


def of_events(events: Iterable[Status]) -> Obstacle | None:
    """Return why the containers of a Pod are not created, from the Events about it: no part of its status tells."""
    told = [event for event in events if event.get("reason") in _EVENTS]
    if not told:
        return None
    lasting = [event for event in told if _LASTING_EVENT.search(event.get("message") or "")]
    last = max(lasting or told, key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or ""))
    reason = (
        Reason.FAILED_CREATE_POD_SANDBOX if last["reason"] == Reason.FAILED_CREATE_POD_SANDBOX else Reason.FAILED_MOUNT
    )
    return Obstacle(reason, _one_line(last.get("message")), passing=not lasting)


def current(pods: Iterable[ObservedPod]) -> list[ObservedPod]:
    """Return the Pods that are there to stay and have the latest template: those of earlier ones go in any case."""
    staying = [pod for pod in pods if not pod.leaving]
    youngest = max(staying, key=lambda pod: pod.created, default=None)
    return [pod for pod in staying if youngest is not None and pod.template == youngest.template]


def unexplained(pods: Iterable[ObservedPod]) -> ObservedPod | None:
    """Return the Pod that has waited longest for its containers, if no Pod beside it tells a cause."""
    there = current(pods)
    creating = [pod for pod in there if pod.creating]
    if not creating or any(pod.cause is not None for pod in there):
        return None
    return min(creating, key=lambda pod: (pod.created, pod.name))


def of_pool(pods: Iterable[ObservedPod], *, database: Obstacle | None = None) -> Obstacle | None:
    """Return the cause that a pool's condition tells: one that a person has to cure, else the most frequent one.

    `database` is what keeps the operator from the pool's database. Workers do not tell the API server that they wait
    for it, so it is taken for the cause of those that run and are not ready.
    """
    there = current(pods)
    found = [(pod, pod.cause) for pod in there if pod.cause is not None]
    if not found:
        return database if any(pod.started and not pod.ready for pod in there) else None
    count = Counter(cause.reason for _, cause in found)
    pod, cause = min(found, key=lambda each: (each[1].passing, -count[each[1].reason], each[1].reason, each[0].name))
    more = count[cause.reason] - 1
    others = f" (and {more} more)" if more else ""
    return Obstacle(cause.reason, f"Pod {pod.name}{others}: {cause.message}", cause.passing)


def _containers(state: Status) -> Iterator[Status]:
    yield from state.get("initContainerStatuses") or ()
    yield from sorted(state.get("containerStatuses") or (), key=lambda each: each["name"] != names.WORKER_CONTAINER)


def _of_container(status: Status) -> Obstacle | None:
    now = status.get("state") or {}
    waiting = now.get("waiting") or {}
    reason = waiting.get("reason")
    if reason not in _ON_ITS_WAY:
        return _not_started(status["name"], reason, _one_line(waiting.get("message")))
    ended = now.get("terminated") or (status.get("lastState") or {}).get("terminated")
    if ended is None or status.get("ready") or (ended.get("exitCode") == 0 and reason != Reason.CRASH_LOOP_BACK_OFF):
        return None
    return _ended(status["name"], ended)


def _not_started(container: str, stated: object, message: str) -> Obstacle:
    reason = _WAITING.get(str(stated), Reason.CREATE_CONTAINER_ERROR)
    if reason is Reason.CREATE_CONTAINER_ERROR:
        return Obstacle(reason, f"container {container}: {stated}: {message}", passing=True)
    if reason is Reason.IMAGE_PULL_BACK_OFF:
        # The kubelet's reason and the beginning of its message change with each try.
        message = _BACK_OFF.sub("", message) or message
        return Obstacle(reason, f"container {container}: {message}", passing=bool(_PASSING_PULL.search(message)))
    return Obstacle(reason, f"container {container}: {message}")


def _ended(container: str, ended: Status) -> Obstacle:
    stated, code = ended.get("reason"), ended.get("exitCode")
    if stated == Reason.OOM_KILLED:
        message = f"container {container} was killed as it used more memory than its limit"
        return Obstacle(Reason.OOM_KILLED, message, passing=True)
    if stated in _NOT_STARTED:
        return Obstacle(Reason.RUN_CONTAINER_ERROR, f"container {container}: {_one_line(ended.get('message'))}")
    said = last_words(ended.get("message") or "")
    message = f"container {container} ended with exit code {code}" + (f": {said}" if said else "")
    lasting = container == names.WORKER_CONTAINER and code in _BAD_EXITS
    return Obstacle(Reason.CRASH_LOOP_BACK_OFF, message, passing=not lasting)


def last_words(message: str) -> str:
    """Return the last line that a container wrote, without time, level and logger where it is a worker's."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    try:
        record = msgspec.json.decode(lines[-1])
    except msgspec.DecodeError:
        return _LOG_PREFIX.sub("", lines[-1])
    return str(record["message"]) if isinstance(record, dict) and "message" in record else lines[-1]


def _one_line(message: str | None) -> str:
    return " ".join((message or "").split())
