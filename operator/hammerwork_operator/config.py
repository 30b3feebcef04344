"""The operator's configuration, read from environment variables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from hammerwork_operator.api import names

if TYPE_CHECKING:
    from collections.abc import Mapping

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")
LOG_FORMATS = ("text", "json")

_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


class ConfigError(ValueError):
    """An environment variable has a value that cannot be used."""

    def __init__(self, variable: str, value: str, expected: str) -> None:
        super().__init__(f"{variable}={value!r}: must be {expected}")
        self.variable = variable


@dataclass(frozen=True, kw_only=True)
class Config:
    """What can be set from outside."""

    port: int = 8080
    """HAMMERWORK_OPERATOR_PORT: serves /healthz, /readyz and /metrics; 0 takes any free port."""
    namespaces: tuple[str, ...] = ()
    """HAMMERWORK_WATCH_NAMESPACES: comma-separated; empty for all, which needs a ClusterRole."""
    worker_image: str = "localhost/hammerwork/worker:dev"
    """HAMMERWORK_WORKER_IMAGE: for pools whose template names no image."""
    log_level: str = "INFO"
    """HAMMERWORK_LOG_LEVEL: DEBUG, INFO, WARNING or ERROR."""
    log_format: str = "text"
    """HAMMERWORK_LOG_FORMAT: text or json (one object a line)."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the variables; unset and empty ones mean the default.

        Raises:
            ConfigError: A value cannot be used.
        """
        given = {name: value.strip() for name, value in environment.items() if value.strip()}
        return cls(
            port=_port(given.get(names.ENV_OPERATOR_PORT, str(cls.port))),
            namespaces=_namespaces(given.get(names.ENV_WATCH_NAMESPACES, "")),
            worker_image=given.get(names.ENV_WORKER_IMAGE, cls.worker_image),
            log_level=_choice(names.ENV_LOG_LEVEL, given.get(names.ENV_LOG_LEVEL, cls.log_level).upper(), LOG_LEVELS),
            log_format=_choice(names.ENV_LOG_FORMAT, given.get(names.ENV_LOG_FORMAT, cls.log_format), LOG_FORMATS),
        )


def _port(value: str) -> int:
    if not value.isascii() or not value.isdigit() or int(value) > 65_535:
        raise ConfigError(names.ENV_OPERATOR_PORT, value, "a port number, 0 to 65535")
    return int(value)


def _namespaces(value: str) -> tuple[str, ...]:
    found = tuple(dict.fromkeys(name for part in value.split(",") if (name := part.strip())))
    for name in found:
        if not _NAMESPACE.fullmatch(name):
            raise ConfigError(names.ENV_WATCH_NAMESPACES, value, f"a comma-separated list of namespaces, not {name!r}")
    return found


def _choice(variable: str, value: str, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ConfigError(variable, value, f"one of {', '.join(choices)}")
    return value
