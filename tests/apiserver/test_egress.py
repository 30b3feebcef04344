"""What a database URL of a tenant can make the operator do: where it connects to, and which of its files it reads."""

from __future__ import annotations

import asyncio
import contextlib
import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch, secret

if TYPE_CHECKING:
    from pathlib import Path

    from tests.apiserver.operator_process import OperatorUnderTest
    from tests.harness.kubectl import Kubectl

FILE_TEXT = "token-of-the-operator"
FORBIDDEN = {
    "other-host": "postgresql://192.0.2.1:80/x",
    "one-of-two": "postgresql://127.0.0.1,10.0.0.1/x",
    "host-option": "postgresql:///x?host=10.96.0.1&port=443",
    "socket": "postgresql://%2Fvar%2Frun%2Fpostgresql/x",
    "socket-option": "postgresql://127.0.0.1/x?host=/var/run/postgresql",
    "mysql-socket": "mysql://127.0.0.1/x?unix_socket=/var/run/mysqld/mysqld.sock",
    "device": "postgresql://127.0.0.1:1/x?sslmode=verify-full&sslrootcert=/dev/zero",
    "mysql-device": "mysql://127.0.0.1:1/x?ssl_ca=/dev/zero",
    "climbing": "mysql://127.0.0.1:1/x?ssl_ca=/etc/ssl/../../dev/zero",
    "passwords": "postgresql://u@127.0.0.1:1/x?passfile={file}",
    "key": "postgresql://127.0.0.1:1/x?sslmode=require&sslcert={file}&sslkey={file}",
    "service": "postgresql://127.0.0.1:1/x?service=other",
}


class GreedyServer:
    """Speaks MySQL's protocol, which lets a server ask for a file of the client's in answer to any statement."""

    def __init__(self, file: Path) -> None:
        self.asked = asyncio.Event()
        self.got = bytearray()
        self._file = str(file).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Greet, accept any password, ask for the file, and keep what comes."""

        def send(number: int, content: bytes) -> None:
            writer.write(struct.pack("<I", len(content))[:3] + bytes([number]) + content)

        async def receive() -> None:
            head = await reader.readexactly(4)
            await reader.readexactly(int.from_bytes(head[:3], "little"))

        with contextlib.suppress(OSError, EOFError), contextlib.closing(writer):
            # Version, thread, salt, capabilities (protocol 4.1, plugins, local files), UTF-8, the rest of the salt.
            greeting = b"\x0a8.0.36\0" + struct.pack("<I", 1) + b"12345678\0" + struct.pack("<HBH", 0xA285, 45, 2)
            greeting += struct.pack("<HB", 0x0088, 21) + bytes(10) + b"123456789012\0mysql_native_password\0"
            send(0, greeting)
            await receive()
            send(2, b"\0\0\0\2\0\0\0")
            await receive()
            send(1, b"\xfb" + self._file)
            self.asked.set()
            while more := await reader.read(4096):
                self.got.extend(more)


@pytest.mark.usefixtures("with_database")
async def test_a_url_leads_to_allowed_hosts_only_and_to_no_file_of_the_operator(
    kubectl: Kubectl, stopped_operator: OperatorUnderTest, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_text(FILE_TEXT)
    greedy = GreedyServer(file)
    async with await asyncio.start_server(greedy.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        urls = {**FORBIDDEN, "greedy": f"mysql://u:p@127.0.0.1:{port}/x?ssl_mode=DISABLED"}
        secrets = [secret(url.format(file=file), name) for name, url in urls.items()]
        batches = [jobbatch(name, jobs=[{"payload": 1}], databaseSecretRef={"name": name}) for name in urls]
        kubectl.apply(*secrets, *batches, jobbatch("good", jobs=[{"payload": 1}]))
        stopped_operator.environment["HAMMERWORK_DATABASE_HOSTS"] = "127.0.0.1, *.databases.example.com"
        stopped_operator.start()
        for name in FORBIDDEN:
            told = await kubectl.wait(
                "jobbatch", name, lambda found: condition(found, "Stalled") == "True DatabaseForbidden"
            )
            assert f"Secret {kubectl.namespace}/{name}, key 'url': " in str(told["status"])
        async with asyncio.timeout(60):
            await greedy.asked.wait()
        await kubectl.wait("jobbatch", "greedy", lambda found: condition(found, "Ready").startswith("False Database"))
        await kubectl.wait("jobbatch", "good", lambda found: condition(found, "Ready") == "True Running")
    assert FILE_TEXT.encode() not in greedy.got
    assert FILE_TEXT not in stopped_operator.log() + kubectl("get", "jobbatches,events", "-o", "json")
