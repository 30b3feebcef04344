"""What of a URL aiomysql is told, and connections that encrypt as they were told to."""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import Any

import aiomysql
from pymysql.constants import CLIENT

from hammerwork.backends.urls import DatabaseURL, parse_url
from hammerwork.errors import DatabaseRefusedError, UnsupportedDatabaseError

_MODES = ("DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


def connection_options(url: str | DatabaseURL) -> dict[str, Any]:
    """Return the arguments of `open_connection` for a URL.

    Raises:
        UnsupportedDatabaseError: The URL names no database, or an option that does not exist.
        DatabaseRefusedError: The file of certificates cannot be used.
    """
    parts = parse_url(url) if isinstance(url, str) else url
    if not parts.database:
        raise UnsupportedDatabaseError("database URL: names no database; use mysql://user:password@host:port/database")
    if len(parts.hosts) > 1:
        raise UnsupportedDatabaseError(
            f"database URL: {len(parts.hosts)} hosts; MySQL and MariaDB take one, such as that of a router"
        )
    query = dict(parts.options)
    mode = query.pop("ssl_mode", "VERIFY_IDENTITY" if "ssl_ca" in query else "PREFERRED").upper()
    ca = query.pop("ssl_ca", None)
    socket = query.pop("unix_socket", None)
    if query:
        raise UnsupportedDatabaseError(
            f"database URL: option {next(iter(query))!r} is unknown; there are ssl_mode, ssl_ca and unix_socket"
        )
    host, port = parts.hosts[0] if parts.hosts else ("", None)
    return {
        "host": host or "localhost",
        "port": port or 3306,
        "user": parts.user or "root",
        # The driver writes it in Latin-1; servers read UTF-8.
        "password": (parts.password or "").encode().decode("latin-1"),
        "db": parts.database,
        "unix_socket": socket,
        "charset": "utf8mb4",
        "autocommit": True,
        "program_name": "hammerwork",
        "ssl": None if socket else _tls(mode, ca),
        "tls_needed": mode not in {"DISABLED", "PREFERRED"} and not socket,
    }


async def open_connection(
    *, tls_needed: bool, connect_timeout: float | None = None, **options: Any
) -> aiomysql.Connection:
    """Return a new connection; with `tls_needed`, a server without TLS is refused before the password is sent.

    The driver is not told of the seconds: its own limit forgets a cancellation that comes as the server answers.
    """
    connection = (_EncryptedConnection if tls_needed else aiomysql.Connection)(**options)
    try:
        async with asyncio.timeout(connect_timeout):
            await connection._connect()  # noqa: SLF001 (what aiomysql.connect does, for a class of ours)
    except BaseException:
        connection.close()
        raise
    return connection


class _EncryptedConnection(aiomysql.Connection):  # type: ignore[misc]  # the driver has no types
    """The driver goes on without encryption where the server has none."""

    async def _get_server_information(self) -> None:
        await super()._get_server_information()
        if not self.server_capabilities & CLIENT.SSL:
            raise DatabaseRefusedError(
                f"database mysql://{self.host}:{self.port}/{self.db}: the server offers no TLS, "
                "which the ssl_mode of the URL requires"
            )


def _tls(mode: str, ca: str | None) -> ssl.SSLContext | None:
    if mode not in _MODES:
        raise UnsupportedDatabaseError(
            f"database URL: ssl_mode {mode!r} is unknown; it must be one of {', '.join(_MODES)}"
        )
    if mode == "DISABLED":
        return None
    if mode in {"PREFERRED", "REQUIRED"}:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if ca is not None and not os.access(ca, os.R_OK):
        raise DatabaseRefusedError(f"database URL: option ssl_ca: file {ca!r} does not exist or cannot be read")
    try:
        context = ssl.create_default_context(cafile=ca)
    except ssl.SSLError as error:
        raise DatabaseRefusedError(f"database URL: option ssl_ca: file {ca!r} has no certificates: {error}") from error
    context.check_hostname = mode == "VERIFY_IDENTITY"
    return context
