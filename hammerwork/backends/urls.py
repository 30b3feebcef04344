"""Database URLs: the one place that reads them, and that keeps what is secret in them out of every text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, unquote_plus

from hammerwork.errors import UnsupportedDatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://", re.ASCII)
_AUTHORITY_END = re.compile(r"[/?#]")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~-]+)?\]|[^:\[\]]*)(?::(?P<port>[0-9]*))?", re.ASCII)
_ENCODE = "special characters in user and password must be percent-encoded, such as / as %2F and @ as %40"
_SECRET_OPTIONS = ("password", "sslpassword")
_LEAST_SECRET = 3
"""Shorter secrets are in every text; to hide them would only make the text unreadable."""


class DatabaseURL:
    """The parts of a URL, decoded. `str` and `repr` give the address: scheme, hosts and database."""

    def __init__(
        self,
        scheme: str,
        *,
        user: str | None,
        password: str | None,
        hosts: tuple[tuple[str, int | None], ...],
        database: str,
        options: dict[str, str],
    ) -> None:
        self.scheme = scheme
        self.user = user
        self.password = password
        self.hosts = hosts
        """Names and ports, the ports that are not given as None; empty where the URL names no host."""
        self.database = database
        self.options = options
        """What stands in the query part."""
        self._secrets = tuple(_spellings(password, *(options.get(name) for name in _SECRET_OPTIONS)))

    def __repr__(self) -> str:
        return self.address()

    def address(self, kind: str | None = None, *, port: int | None = None) -> str:
        """Return the URL without user, password and options; `port` stands where none is given."""
        hosts = ",".join(_host_text(host, given or port) for host, given in self.hosts or (("", None),))
        return f"{kind or self.scheme}://{hosts}/{quote(self.database, safe='')}"

    def redact(self, text: str) -> str:
        """Return a text of somebody else, such as a driver, without the password."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def parse_url(url: str) -> DatabaseURL:
    """Return the parts of a database URL.

    It is read as people mean it, not as `urlsplit` does: whitespace at both ends, such as the newline that
    an editor has put into a Secret, is not part of it; an @ that comes after the hosts tells that a password holds a
    character that had to be encoded, and then nothing of the URL may be shown or used.

    Raises:
        UnsupportedDatabaseError: It is no URL. The message shows nothing of it but its scheme.
    """
    url = url.strip()
    start = _SCHEME.match(url)
    if start is None:
        raise _refused("it does not begin with a scheme", "use postgresql://user:password@host:port/database")
    rest = url[start.end() :]
    end = _AUTHORITY_END.search(rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in tail:
        raise _refused("an @ comes after the first /, ? or #", _ENCODE)
    if "#" in tail:
        raise _refused("it has a fragment, that is, a #", _ENCODE)
    path, _, query = tail.partition("?")
    user, password, hosts = _authority(authority)
    return DatabaseURL(
        start[1].lower(),
        user=user,
        password=password,
        hosts=hosts,
        database=_decoded("database", path.removeprefix("/")),
        options=dict(_options(query)),
    )


def _authority(text: str) -> tuple[str | None, str | None, tuple[tuple[str, int | None], ...]]:
    information, at, hosts = text.rpartition("@")
    name, _, word = information.partition(":")
    user = _decoded("user", name) if at else None
    password = _decoded("password", word) if at else None
    return user or None, password or None, tuple(_hosts(hosts)) if hosts else ()


def _hosts(text: str) -> Iterable[tuple[str, int | None]]:
    for number, part in enumerate(text.split(","), start=1):
        found = _HOST.fullmatch(part)
        if found is None:
            what = "its IPv6 address is not valid" if "[" in part else "its port is not a number"
            raise _refused(f"host {number}: {what}", _ENCODE)
        port = int(found["port"]) if found["port"] else None
        if port is not None and not 1 <= port <= 65_535:
            raise _refused(f"host {number}: its port is not a number from 1 to 65535", _ENCODE)
        yield _decoded(f"host {number}", found["host"].strip("[]")), port


def _options(query: str) -> Iterable[tuple[str, str]]:
    for number, part in enumerate(filter(None, query.split("&")), start=1):
        name, equals, value = part.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.]*", name, re.ASCII):
            raise _refused(f"option {number} of the query part is not written as name=value", _ENCODE)
        yield name, _decoded(f"option {number}", value, plus=True)


def _decoded(what: str, text: str, *, plus: bool = False) -> str:
    try:
        found = (unquote_plus if plus else unquote)(text, errors="strict")
        found.encode()
        wrong = "\0" in found
    except UnicodeError:  # its own text shows what could not be decoded
        wrong = True
    if wrong:
        raise _refused(f"its {what} is not UTF-8, or contains the character NUL", _ENCODE)
    return found


def _refused(what: str, advice: str) -> UnsupportedDatabaseError:
    return UnsupportedDatabaseError(f"database URL: {what}; {advice}")


def _host_text(host: str, port: int | None) -> str:
    name = f"[{host}]" if ":" in host else host or "localhost"
    return name if port is None else f"{name}:{port}"


def _spellings(*secrets: str | None) -> Iterable[str]:
    for secret in secrets:
        if secret is not None and len(secret) >= _LEAST_SECRET:
            # Longest first: an encoded form may hold the plain one.
            yield from sorted({secret, quote(secret, safe=""), repr(secret)[1:-1]}, key=len, reverse=True)
