"""`hammerwork worker` has an option for each setting of a worker, with its default."""

from __future__ import annotations

import inspect

from hammerwork.working.settings import DEFAULTS, WorkerSettings
from hammerwork_cli.commands.worker import worker

PARAMETERS = {
    "queue": "queue_name",
    "poll_interval_seconds": "poll_interval",
    "shutdown_grace_period_seconds": "grace_period",
    "lease_seconds": "lease",
}
"""Of the command, where they are called otherwise than the setting."""
OWN = {"instance"}
"""What the command sets itself."""


def test_each_setting_has_an_option_with_its_default() -> None:
    parameters = inspect.signature(worker).parameters
    for name in WorkerSettings.__struct_fields__:
        if name not in OWN:
            parameter = parameters[PARAMETERS.get(name, name)]
            required = name == "queue"
            assert parameter.default == (inspect.Parameter.empty if required else getattr(DEFAULTS, name)), name
