"""`hammerwork worker` has an option for each setting of a worker, with its default."""

from __future__ import annotations

import inspect

import pytest
from typer.testing import CliRunner

from hammerwork.working.settings import DEFAULTS, WorkerSettings
from hammerwork_cli.application import make_application
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


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [("--log-level", "loud", "DEBUG, INFO, WARNING or ERROR"), ("--log-format", "xml", "text or json")],
)
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_log_that_there_is_not_is_refused(option: str, value: str, allowed: str, *, by_variable: bool) -> None:
    command = ["worker", "--queue", "q", "--handler", "m:f", "--database-url", "postgresql://db/x"]
    variable = {f"HAMMERWORK_{option[2:].replace('-', '_').upper()}": value}
    words, environ = (command, variable) if by_variable else ([*command, option, value], {})
    done = CliRunner().invoke(make_application(), words, env=environ)
    assert (done.exit_code, done.stderr) == (2, f"Error: {option}: {value!r}, must be {allowed}\n")
