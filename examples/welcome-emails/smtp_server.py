"""A real mail server for trying things out: it takes every mail, delivers none and tells what it has.

    python examples/welcome-emails/smtp_server.py [--smtp-port 1025] [--http-port 8025]

GET /messages lists the mails as JSON, GET /healthz answers ok. Everything is kept in memory.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from email import message_from_bytes, policy
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiosmtpd.smtp import SMTP

if TYPE_CHECKING:
    from aiosmtpd.smtp import Envelope, Session


class Mailbox:
    """Keeps what comes in. aiosmtpd calls `handle_DATA` once for each mail."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: ARG002, N802
        """Keep one mail and accept it."""
        message = message_from_bytes(envelope.original_content or b"", policy=policy.default)
        self.messages.append(
            {
                "recipients": list(envelope.rcpt_tos),
                "sender": envelope.mail_from,
                "subject": message["Subject"],
                "message_id": message["Message-ID"],
                "job": message["X-Hammerwork-Job"],
            }
        )
        return "250 OK"

    async def list_messages(self, _request: web.Request) -> web.Response:
        """Answer with the number of mails and what is known of each."""
        return web.json_response({"count": len(self.messages), "messages": self.messages})


async def serve(host: str | None, smtp_port: int, http_port: int) -> None:
    """Serve until SIGTERM or SIGINT."""
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    mailbox = Mailbox()
    smtp = await loop.create_server(lambda: SMTP(mailbox, hostname="smtp.example.com", loop=loop), host, smtp_port)
    app = web.Application()
    app.router.add_get("/messages", mailbox.list_messages)
    app.router.add_get("/healthz", _healthz)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, host, http_port).start()
    print(
        f"SMTP on port {smtp.sockets[0].getsockname()[1]}, HTTP on port {runner.addresses[0][1]}: GET /messages",
        flush=True,
    )
    await stopping.wait()
    smtp.close()
    await runner.cleanup()


async def _healthz(_request: web.Request) -> web.Response:
    return web.Response(text="ok\n")


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(description="A mail server that keeps what it gets and lists it over HTTP.")
    parser.add_argument("--host", help="address to listen on (all)")
    parser.add_argument("--smtp-port", type=int, default=1025, help="0 takes any free port (1025)")
    parser.add_argument("--http-port", type=int, default=8025, help="0 takes any free port (8025)")
    options = parser.parse_args()
    asyncio.run(serve(options.host, options.smtp_port, options.http_port))


if __name__ == "__main__":
    main()
