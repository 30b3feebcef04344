"""Databases behind one protocol, chosen by the scheme of the URL."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hammerwork.errors import UnsupportedDatabaseError

if TYPE_CHECKING:
    from hammerwork.backends.protocol import Backend


async def connect_backend(url: str, *, max_connections: int, connect_timeout: float) -> Backend:
    """Open the backend for `url`; see `JobQueue.connect`."""
    scheme = urlsplit(url).scheme
    if scheme not in {"postgresql", "postgres"}:
        raise UnsupportedDatabaseError(
            f"database URL with scheme {scheme!r}: not supported; use postgresql://user:password@host:port/database"
        )
    try:
        from hammerwork.backends.postgres import PostgresBackend  # noqa: PLC0415 (its driver is an extra)
    except ModuleNotFoundError as error:
        raise UnsupportedDatabaseError(
            f"database URL with scheme {scheme!r}: Python package {error.name!r} is missing; "
            "install hammerwork-operator[postgres]"
        ) from error
    return await PostgresBackend.connect(url, max_connections=max_connections, connect_timeout=connect_timeout)
