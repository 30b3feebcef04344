"""Connections to MySQL and MariaDB with TLS, and without."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hammerwork import (
    DatabaseRefusedError,
    JobQueue,
)
from tests.database.mysql.inside import database_of
from tests.harness.servers.mariadb import mariadb_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.servers.mariadb import MariadbServer

pytestmark = pytest.mark.only("mysql")


@pytest.fixture(scope="module")
def tls_server() -> Iterator[tuple[MariadbServer, str]]:
    """A server with a certificate of its own, and the certificate's path."""
    with tempfile.TemporaryDirectory(prefix="hammerwork-tls-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"),
                *(
                    "-addext",
                    "subjectAltName=IP:127.0.0.1",
                    "-keyout",
                    f"{folder}/key.pem",
                    "-out",
                    f"{folder}/cert.pem",
                ),
            ],
            check=True,
            capture_output=True,
        )
        (folder / "key.pem").chmod(0o644)  # the server runs as another user
        with mariadb_server({"ssl_cert": f"{folder}/cert.pem", "ssl_key": f"{folder}/key.pem"}) as server:
            yield server, f"{folder}/cert.pem"


@pytest.mark.parametrize(
    ("options", "encrypted"),
    [
        ("", True),
        ("?ssl_mode=PREFERRED", True),
        ("?ssl_mode=DISABLED", False),
        ("?ssl_mode=REQUIRED", True),
        ("?ssl_ca={ca}", True),
        ("?ssl_mode=VERIFY_CA&ssl_ca={ca}", True),
    ],
)
async def test_tls(tls_server: tuple[MariadbServer, str], options: str, encrypted: bool) -> None:
    server, certificate = tls_server
    async with await JobQueue.connect(server.url() + options.format(ca=certificate)) as queue:
        ((row,),) = await database_of(queue).run(b"SHOW STATUS LIKE 'Ssl_cipher'")
    assert bool(row["Value"]) is encrypted


async def test_tls_refuses_a_stranger(tls_server: tuple[MariadbServer, str]) -> None:
    server, _ = tls_server
    with pytest.raises(DatabaseRefusedError, match="certificate verify failed"):
        await JobQueue.connect(server.url() + "?ssl_mode=VERIFY_CA")


@pytest.mark.only("mariadb")  # MySQL's server makes itself certificates
@pytest.mark.parametrize("mode", ["REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"])
async def test_a_server_without_tls_gets_no_password_where_tls_is_demanded(database_url: str, mode: str) -> None:
    with pytest.raises(DatabaseRefusedError, match="the server offers no TLS"):
        await JobQueue.connect(f"{database_url}?ssl_mode={mode}")
    async with await JobQueue.connect(f"{database_url}?ssl_mode=PREFERRED") as queue:
        await queue.ping()
