"""The handler of the welcome-emails example: renders a mail from the payload and sends it."""

from __future__ import annotations

import os
import smtplib
from email.message import EmailMessage
from email.utils import localtime
from typing import TYPE_CHECKING

from hammerwork import HammerworkError, JobFailedError

if TYPE_CHECKING:
    from hammerwork import Job

TIMEOUT_SECONDS = 10.0

TEMPLATES = {
    "welcome": ("Welcome, {name}!", "Hello {name},\n\nit's good to have you with us.\n"),
    "newsletter": ("{name}, this is new in summer", "Hello {name},\n\nsummer is here, and so is our newsletter.\n"),
    "outage": ("Please read, {name}", "Hello {name},\n\nwe will be down for maintenance tonight from 2 to 3.\n"),
}


class MailNotConfiguredError(HammerworkError):
    """The environment does not tell which mail server to use."""


def send_email(job: Job) -> None:
    """Send the mail that the payload (`to`, `name`, `template`) asks for.

    A refusal for good (SMTP 5xx) fails the job at once. Anything else, such as a mail server that is away or busy
    (4xx), is raised as it is, so that the job is tried again.
    """
    host, port = mail_server()
    message = compose(job)
    try:
        with smtplib.SMTP(host, port, timeout=TIMEOUT_SECONDS) as server:
            server.send_message(message)
    except smtplib.SMTPRecipientsRefused as error:
        code, reason = next(iter(error.recipients.values()))
        if code >= 500:
            raise JobFailedError(f"{message['To']}: refused for good: {code} {_text(reason)}") from error
        raise
    except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
        if error.smtp_code >= 500:
            raise JobFailedError(
                f"{message['To']}: refused for good: {error.smtp_code} {_text(error.smtp_error)}"
            ) from error
        raise


def mail_server() -> tuple[str, int]:
    """Return host and port of the mail server from SMTP_HOST and SMTP_PORT (25)."""
    host = os.environ.get("SMTP_HOST", "")
    if not host:
        raise MailNotConfiguredError("SMTP_HOST: not set, must be the name or address of a mail server")
    port = os.environ.get("SMTP_PORT", "") or "25"
    if not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise MailNotConfiguredError(f"SMTP_PORT: {port!r}, must be a port, 1 to 65535")
    return host, int(port)


def compose(job: Job) -> EmailMessage:
    """Return the mail for a job. The same job always gives the same Message-ID: a mail sent twice can be told."""
    to, name = _field(job.payload, "to"), _field(job.payload, "name")
    template = _field(job.payload, "template")
    if template not in TEMPLATES:
        raise JobFailedError(f"payload.template: {template!r}, must be one of {', '.join(sorted(TEMPLATES))}")
    subject, body = TEMPLATES[template]
    message = EmailMessage()
    message["From"] = os.environ.get("MAIL_FROM", "Hammerwork <welcome@example.com>")
    message["To"] = to
    message["Subject"] = subject.format(name=name)
    message["Date"] = localtime()
    message["Message-ID"] = f"<{job.batch_id}.{job.index}@hammerwork.example>"
    message["X-Hammerwork-Job"] = job.id
    message.set_content(body.format(name=name))
    return message


def _field(payload: object, name: str) -> str:
    value = payload.get(name) if isinstance(payload, dict) else None
    if not isinstance(value, str) or not value or not value.isprintable():
        raise JobFailedError(f"payload.{name}: {value!r}, must be a text of one line")
    return value


def _text(reason: bytes | str) -> str:
    return reason.decode(errors="replace") if isinstance(reason, bytes) else reason
