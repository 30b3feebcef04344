"""The worker container's settings, and what each of its environment variables may hold."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hammerwork import handlers
from hammerwork.batch import QUEUE_PATTERN
from hammerwork.handlers import HandlerReference
from hammerwork.service import environment
from hammerwork.service.environment import SettingError
from hammerwork.working import variables
from hammerwork.working.cpus import processes_for_cpu_limit
from hammerwork.working.settings import (
    MAX_CONCURRENCY,
    MAX_GRACE_SECONDS,
    MAX_POLL_SECONDS,
    MAX_PROCESSES,
    ProcessSettings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


AUTO = "auto"
"""As many processes as the container's CPU limit has a use for."""


class ContainerSettings(ProcessSettings, frozen=True, kw_only=True):
    """Everything that a worker container is told. Its `instance` is the UID of the Pod."""

    pod_name: str = ""
    port: int = 8080
    processes: int = 1


DEFAULTS = ContainerSettings(database_url="", queue="", handler=HandlerReference("", {}))
"""What is not set; the settings that are needed are empty."""


def read_settings(environ: Mapping[str, str]) -> ContainerSettings:
    """Return the settings that `environ` holds.

    Raises:
        SettingError: A variable that is needed is missing, or a value is not allowed.
    """
    queue = environment.required(environ, variables.QUEUE, "the name of the queue to work on")
    if not re.fullmatch(QUEUE_PATTERN, queue):
        environment.refuse(
            variables.QUEUE, queue, "1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends"
        )
    return ContainerSettings(
        database_url=environment.required(
            environ, variables.DATABASE_URL, "a URL such as postgresql://user:password@host/database"
        ),
        queue=queue,
        handler=_handler(environ),
        pool=environment.text(environ, variables.POOL),
        instance=environment.text(environ, variables.POD_UID),
        pod_name=environment.text(environ, variables.POD_NAME),
        processes=_processes(environ),
        concurrency=environment.whole_number(
            environ, variables.CONCURRENCY, default=DEFAULTS.concurrency, low=1, high=MAX_CONCURRENCY
        ),
        poll_interval_seconds=environment.milliseconds(
            environ,
            variables.POLL_INTERVAL_MILLISECONDS,
            default=DEFAULTS.poll_interval_seconds,
            longest=MAX_POLL_SECONDS,
        ),
        batch_processing=environment.truth(environ, variables.BATCH_PROCESSING, default=DEFAULTS.batch_processing),
        shutdown_grace_period_seconds=environment.seconds(
            environ,
            variables.SHUTDOWN_GRACE_PERIOD_SECONDS,
            default=DEFAULTS.shutdown_grace_period_seconds,
            longest=MAX_GRACE_SECONDS,
        ),
        port=environment.port(environ, variables.PORT, default=DEFAULTS.port),
        log_format=environment.log_format(environ, variables.LOG_FORMAT, default=DEFAULTS.log_format),
        log_level=environment.log_level(environ, variables.LOG_LEVEL, default=DEFAULTS.log_level),
    )


def _processes(environ: Mapping[str, str]) -> int:
    if environment.text(environ, variables.PROCESSES) == AUTO:
        return min(processes_for_cpu_limit(), MAX_PROCESSES)
    try:
        return environment.whole_number(
            environ, variables.PROCESSES, default=DEFAULTS.processes, low=1, high=MAX_PROCESSES
        )
    except SettingError as error:
        raise SettingError(f"{error}, or {AUTO}") from None


def _handler(environ: Mapping[str, str]) -> HandlerReference:
    """Return the handler of the one kind whose first variable is set."""
    main = {kind.fields[kind.main].variable: kind for kind in handlers.KINDS}
    given = [name for name in main if environment.text(environ, name)]
    if len(given) != 1:
        state = f"{' and '.join(given)}: set together, must be one of them" if given else ""
        allowed = " or ".join(kind.fields[kind.main].allowed for kind in main.values())
        raise SettingError(state or f"{' or '.join(main)}: not set, must be {allowed}")
    kind = main[given[0]]
    fields = {}
    for name, field in kind.fields.items():
        text = environment.text(environ, field.variable)
        if text and field.pattern is not None and not re.fullmatch(field.pattern, text):
            environment.refuse(field.variable, text, field.allowed)
        if text:
            fields[name] = text
    return HandlerReference(kind.name, fields)
