"""The handler of the welcome-emails example against a real mail server."""

from __future__ import annotations

import asyncio
import importlib.util
import smtplib
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiosmtpd.smtp import SMTP

from hammerwork import Job, JobFailedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

FILE = Path(__file__).parents[3] / "examples" / "welcome-emails" / "welcome_emails.py"
PAYLOAD = {"to": "ada@example.com", "name": "Ada", "template": "welcome"}


class Server:
    """Answers what the local part of the address asks for, such as refuse550@example.com."""

    def __init__(self) -> None:
        self.mails: list[tuple[list[str], str]] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802
        if address.startswith("refuse"):
            return f"{address[6:9]} no such luck"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        if envelope.rcpt_tos[0].startswith("data"):
            return f"{envelope.rcpt_tos[0][4:7]} not this mail"
        self.mails.append((envelope.rcpt_tos, envelope.content.decode()))
        return "250 OK"


@pytest.fixture
def handlers() -> ModuleType:
    spec = importlib.util.spec_from_file_location("welcome_emails_under_test", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    server = Server()
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: SMTP(server, hostname="localhost", loop=loop), "127.0.0.1", 0)
    async with listener:
        monkeypatch.setenv("SMTP_HOST", "127.0.0.1")
        monkeypatch.setenv("SMTP_PORT", str(listener.sockets[0].getsockname()[1]))
        yield server


def job(**payload: Any) -> Job:
    return Job("email-queue", {**PAYLOAD, **payload}, batch_id=uuid.UUID(int=7), index=3)


async def test_a_mail_is_rendered_from_the_payload_and_names_its_job(handlers: ModuleType, server: Server) -> None:
    await asyncio.to_thread(handlers.send_email, job())
    [(recipients, text)] = server.mails
    assert recipients == ["ada@example.com"]
    assert "Subject: Welcome, Ada!" in text
    assert "Hello Ada," in text
    assert f"X-Hammerwork-Job: {job().id}" in text
    assert f"Message-ID: <{uuid.UUID(int=7)}.3@hammerwork.example>" in text


def test_the_same_job_sent_twice_has_the_same_message_id(handlers: ModuleType) -> None:
    assert handlers.compose(job())["Message-ID"] == handlers.compose(job())["Message-ID"]


@pytest.mark.parametrize("address", ["refuse550@example.com", "data554@example.com"])
async def test_a_refusal_for_good_fails_the_job_for_good(handlers: ModuleType, server: Server, address: str) -> None:
    with pytest.raises(JobFailedError, match=rf"^{address}: refused for good: 55"):
        await asyncio.to_thread(handlers.send_email, job(to=address))
    assert server.mails == []


@pytest.mark.parametrize(
    ("address", "error"),
    [("refuse451@example.com", smtplib.SMTPRecipientsRefused), ("data451@example.com", smtplib.SMTPDataError)],
)
async def test_a_refusal_for_now_is_raised_so_that_the_job_is_tried_again(
    handlers: ModuleType, server: Server, address: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        await asyncio.to_thread(handlers.send_email, job(to=address))
    assert server.mails == []


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"to": ""}, "payload.to: '', must be a text of one line"),
        (
            {"name": "Ada\nBcc: all@example.com"},
            "payload.name: 'Ada\\nBcc: all@example.com', must be a text of one line",
        ),
        ({"template": "other"}, "payload.template: 'other', must be one of newsletter, outage, welcome"),
    ],
)
async def test_a_payload_that_can_never_work_fails_for_good(
    handlers: ModuleType, server: Server, payload: dict[str, Any], message: str
) -> None:
    with pytest.raises(JobFailedError) as caught:
        await asyncio.to_thread(handlers.send_email, job(**payload))
    assert str(caught.value) == message
    assert server.mails == []


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SMTP_HOST", "", "SMTP_HOST: not set, must be the name or address of a mail server"),
        ("SMTP_PORT", "mail", "SMTP_PORT: 'mail', must be a port, 1 to 65535"),
        ("SMTP_PORT", "65536", "SMTP_PORT: '65536', must be a port, 1 to 65535"),
    ],
)
def test_a_missing_mail_server_is_told(
    handlers: ModuleType, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv("SMTP_HOST", "localhost")
    monkeypatch.setenv(name, value)
    with pytest.raises(handlers.MailNotConfiguredError) as caught:
        handlers.send_email(job())
    assert str(caught.value) == message
