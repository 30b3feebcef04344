"""Databases behind one protocol, chosen by the scheme of the URL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hammerwork.backends.urls import parse_url
from hammerwork.errors import UnsupportedDatabaseError

if TYPE_CHECKING:
    from hammerwork.backends.mysql.backend import MysqlBackend
    from hammerwork.backends.postgres import PostgresBackend
    from hammerwork.backends.protocol import Backend

_EXTRAS = {"postgresql": "postgres", "postgres": "postgres", "mysql": "mysql", "mariadb": "mysql"}


async def connect_backend(url: str, *, max_connections: int, connect_timeout: float) -> Backend:
    """Open the backend for `url`; see `JobQueue.connect`."""
    scheme = parse_url(url).scheme
    extra = _EXTRAS.get(scheme)
    if extra is None:
        raise UnsupportedDatabaseError(
            f"database URL with scheme {scheme!r}: not supported; use postgresql://user:password@host:port/database, "
            "or mysql:// or mariadb:// instead"
        )
    try:
        backend = _backend(extra)
    except ModuleNotFoundError as error:
        raise UnsupportedDatabaseError(
            f"database URL with scheme {scheme!r}: Python package {error.name!r} is missing; "
            f"install hammerwork-operator[{extra}]"
        ) from error
    return await backend.connect(url, max_connections=max_connections, connect_timeout=connect_timeout)


def _backend(extra: str) -> type[PostgresBackend] | type[MysqlBackend]:
    # Imported when asked for: their drivers are extras.
    if extra == "mysql":
        from hammerwork.backends.mysql.backend import MysqlBackend  # noqa: PLC0415

        return MysqlBackend
    from hammerwork.backends.postgres import PostgresBackend  # noqa: PLC0415

    return PostgresBackend
