from __future__ import annotations

import pytest

from hammerwork.service.environment import SettingError
from hammerwork_operator.config import Config


def test_nothing_set_means_the_defaults() -> None:
    assert Config.from_environment({"HAMMERWORK_WATCH_NAMESPACES": " "}) == Config()


def test_everything_can_be_set() -> None:
    environment = {
        "HAMMERWORK_OPERATOR_PORT": "9090",
        "HAMMERWORK_WATCH_NAMESPACES": "a, b,,a",
        "HAMMERWORK_WORKER_IMAGE": "image:1",
        "HAMMERWORK_DATABASE_HOSTS": "*.example.com, 10.0.0.0/8",
        "HAMMERWORK_CERTIFICATES": "/certificates",
        "HAMMERWORK_LOG_LEVEL": "debug",
        "HAMMERWORK_LOG_FORMAT": "json",
    }
    assert Config.from_environment(environment) == Config(
        port=9090,
        namespaces=("a", "b"),
        worker_image="image:1",
        database_hosts=("*.example.com", "10.0.0.0/8"),
        certificates="/certificates",
        log_level="DEBUG",
        log_format="json",
    )


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("HAMMERWORK_OPERATOR_PORT", "eighty", "must be a whole number, 0 to 65,535"),
        ("HAMMERWORK_OPERATOR_PORT", "70000", "must be a whole number, 0 to 65,535"),
        ("HAMMERWORK_WATCH_NAMESPACES", "ok,Not_ok", "must be a comma-separated list of namespaces, not 'Not_ok'"),
        (
            "HAMMERWORK_DATABASE_HOSTS",
            "db.example.com,10.0.0.0/99",
            "must be a comma-separated list of names, addresses and networks, not '10.0.0.0/99'",
        ),
        ("HAMMERWORK_LOG_LEVEL", "LOUD", "must be DEBUG, INFO, WARNING or ERROR"),
        ("HAMMERWORK_LOG_FORMAT", "xml", "must be text or json"),
    ],
)
def test_a_wrong_value_is_named(name: str, value: str, expected: str) -> None:
    with pytest.raises(SettingError) as caught:
        Config.from_environment({name: value})
    assert str(caught.value) == f"{name}: {value!r}, {expected}"
