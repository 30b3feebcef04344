"""A real PgBouncer for tests, between clients and a PostgreSQL server: another session for each transaction."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from tests.harness.servers import debian
from tests.harness.servers.daemon import DaemonServer, give, listens, reachable, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.servers.postgres import PostgresServer

SUITE = "trixie"
PACKAGE = "pgbouncer"
SERIES = "1.24"
_PARTS = ("usr/lib/*/*.so*", "usr/sbin/pgbouncer")
_SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "auth_type": "trust",
    "pool_mode": "transaction",
    "max_prepared_statements": "200",
    "max_client_conn": "500",
    # Of each database, so that the sum stays below what the server takes.
    "default_pool_size": "20",
    "server_idle_timeout": "30",
}


class PgbouncerServer(DaemonServer):
    """A pool in front of a server; it takes connections to every database of it."""

    program = "pgbouncer"
    user = "nobody"
    scheme = "postgresql"
    family = "postgresql"
    administrator = "postgres"
    first_database = "postgres"

    def __init__(self, folder: Path, behind: PostgresServer, settings: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self._settings = {**_SETTINGS, **(settings or {})}
        self._behind = behind
        self._installation = reachable(debian.unpacked(SUITE, PACKAGE, SERIES), _PARTS, folder)

    def create(self) -> None:
        (self.folder / "users").write_text('"postgres" ""\n')
        settings = {**self._settings, "listen_port": str(self.port), "auth_file": f"{self.folder}/users"}
        (self.folder / "pgbouncer.ini").write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._behind.port}\n"
            "[pgbouncer]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        give(self.folder, self.user)

    def command(self) -> list[str | Path]:
        return debian.command(self._installation, "usr/sbin/pgbouncer", str(self.folder / "pgbouncer.ini"))

    def answers(self) -> bool:
        return listens(self.port)


@contextlib.contextmanager
def pgbouncer_server(behind: PostgresServer, settings: dict[str, str] | None = None) -> Iterator[PgbouncerServer]:
    """Run PgBouncer for the duration of a block.

    Raises:
        UnavailableServerError: It cannot be had on this machine.
    """

    def server(folder: Path) -> PgbouncerServer:
        return PgbouncerServer(folder, behind, settings)

    with running("pgbouncer", server, PgbouncerServer.create) as started:
        yield started
