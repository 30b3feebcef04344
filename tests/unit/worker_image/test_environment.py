"""The worker container's environment variables: what they may hold and how a wrong one is told."""

from __future__ import annotations

import pytest

from hammerwork.handlers import HandlerReference, python
from hammerwork.service.environment import SettingError
from hammerwork.working import variables
from hammerwork_worker.environment import ContainerSettings, read_settings

HANDLER = python.FUNCTION.variable

NEEDED = {
    variables.DATABASE_URL: "postgresql://user:secret@db/hammerwork",
    variables.QUEUE: "email-queue",
    HANDLER: "welcome_emails:send_email",
}


def test_what_is_not_set_has_the_documented_default() -> None:
    assert read_settings(NEEDED) == ContainerSettings(
        database_url="postgresql://user:secret@db/hammerwork",
        queue="email-queue",
        handler=HandlerReference.from_text("welcome_emails:send_email"),
        pool="",
        instance="",
        pod_name="",
        processes=1,
        concurrency=10,
        poll_interval_seconds=0.1,
        batch_processing=True,
        shutdown_grace_period_seconds=30.0,
        port=8080,
        log_format="text",
        log_level="INFO",
    )


def test_every_variable_is_read() -> None:
    settings = read_settings(
        {
            **NEEDED,
            variables.POOL: "mailers",
            variables.POD_UID: "0a1b",
            variables.POD_NAME: "mailers-worker-1",
            variables.PROCESSES: "4",
            variables.CONCURRENCY: "25",
            variables.POLL_INTERVAL_MILLISECONDS: "250",
            variables.BATCH_PROCESSING: "false",
            variables.SHUTDOWN_GRACE_PERIOD_SECONDS: "12.5",
            variables.PORT: "9090",
            variables.LOG_FORMAT: "json",
            variables.LOG_LEVEL: "debug",
        }
    )
    assert settings == ContainerSettings(
        database_url=NEEDED[variables.DATABASE_URL],
        queue="email-queue",
        handler=HandlerReference.from_text("welcome_emails:send_email"),
        pool="mailers",
        instance="0a1b",
        pod_name="mailers-worker-1",
        processes=4,
        concurrency=25,
        poll_interval_seconds=0.25,
        batch_processing=False,
        shutdown_grace_period_seconds=12.5,
        port=9090,
        log_format="json",
        log_level="DEBUG",
    )


@pytest.mark.parametrize("name", sorted(NEEDED))
@pytest.mark.parametrize("value", [None, "", "  "])
def test_a_needed_variable_that_is_not_set_is_named(name: str, value: str | None) -> None:
    environ = {k: v for k, v in NEEDED.items() if k != name} | ({} if value is None else {name: value})
    with pytest.raises(SettingError, match=f"^{name}( or [A-Z_]+)*: not set, must be "):
        read_settings(environ)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (variables.PROCESSES, "0", "'0', must be a whole number, 1 to 256, or auto"),
        (variables.PROCESSES, "Auto", "'Auto', must be a whole number, 1 to 256, or auto"),
        (variables.CONCURRENCY, "0", "'0', must be a whole number, 1 to 10,000"),
        (variables.CONCURRENCY, "10001", "'10001', must be a whole number, 1 to 10,000"),
        (variables.CONCURRENCY, "ten", "'ten', must be a whole number, 1 to 10,000"),
        (variables.CONCURRENCY, "1.5", "'1.5', must be a whole number, 1 to 10,000"),
        (variables.POLL_INTERVAL_MILLISECONDS, "0", "'0', must be a whole number, 1 to 3,600,000"),
        (variables.PORT, "65536", "'65536', must be a whole number, 0 to 65,535"),
        (variables.BATCH_PROCESSING, "yes", "'yes', must be true or false"),
        (variables.BATCH_PROCESSING, "True", "'True', must be true or false"),
        (variables.SHUTDOWN_GRACE_PERIOD_SECONDS, "-1", "'-1', must be a number of seconds, 0 to 86,400"),
        (variables.SHUTDOWN_GRACE_PERIOD_SECONDS, "nan", "'nan', must be a number of seconds, 0 to 86,400"),
        (variables.SHUTDOWN_GRACE_PERIOD_SECONDS, "long", "'long', must be a number of seconds, 0 to 86,400"),
        (variables.LOG_FORMAT, "xml", "'xml', must be text or json"),
        (variables.LOG_LEVEL, "loud", "'loud', must be DEBUG, INFO, WARNING or ERROR"),
        (HANDLER, "handlers", "'handlers', must be module:function or path/to/file.py:function"),
        (HANDLER, ":send", "':send', must be module:function or path/to/file.py:function"),
        (HANDLER, "mail:", "'mail:', must be module:function or path/to/file.py:function"),
        (
            variables.QUEUE,
            "-email",
            "'-email', must be 1 to 63 letters, digits, '-', '_' or '.', with a letter or digit at both ends",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_variable_and_what_is_allowed(name: str, value: str, message: str) -> None:
    with pytest.raises(SettingError) as caught:
        read_settings({**NEEDED, name: value})
    assert str(caught.value) == f"{name}: {message}"
