"""What the operator does for a database URL, which whoever may write a Secret has written. Pure."""

from __future__ import annotations

import ipaddress
import posixpath
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from hammerwork.backends.urls import parse_url

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hammerwork.backends.urls import DatabaseURL

_TRUSTED = ("sslrootcert", "sslcrl", "ssl_ca")
"""Options that name a file of certificates."""
_OWN = ("sslcert", "sslkey", "passfile", "service")
"""Options with which a client shows a file of its own to the server, or reads its settings from one."""
_SOCKET = "unix_socket"
_ADVICE = "see the setting operator.databaseHosts of the chart"


@dataclass(frozen=True, kw_only=True)
class Access:
    """Which hosts the operator connects to, and which of its files a URL may name."""

    hosts: tuple[str, ...] = ()
    """Names, which may hold *, addresses and networks such as 10.0.0.0/8; empty: any."""
    certificates: str = "/etc/ssl"
    """Folder of the certificates that URLs may name."""

    def refusal(self, text: str) -> str | None:
        """Return why the operator does not connect to this URL; None if it does.

        Raises:
            UnsupportedDatabaseError: It is no URL.
        """
        url = parse_url(text)
        for option in _OWN:
            if option in url.options:
                return f"option {option}: the operator shows no file of its own to a database"
        for option in _TRUSTED:
            if option in url.options and not self._holds(url.options[option]):
                where = f"below {self.certificates}, where the operator has its certificates"
                return f"option {option}: {url.options[option]!r} is not {where}"
        hosts = list(_hosts(url))
        if not hosts or _SOCKET in url.options or any(host.startswith("/") for host in hosts):
            return "the operator connects to a database by its host, which the URL has to name, and not by a socket"
        for host in hosts:
            if self.hosts and not any(_matches(host, allowed) for allowed in self.hosts):
                return f"the operator may not connect to host {host!r}; {_ADVICE}"
        return None

    def _holds(self, file: str) -> bool:
        return posixpath.normpath(file).startswith(self.certificates.rstrip("/") + "/")


def _hosts(url: DatabaseURL) -> Iterable[str]:
    """Return all that drivers may take for a host."""
    yield from (host for host, _ in url.hosts)
    for part in filter(None, url.options.get("host", "").split(",")):
        yield part if part.startswith("/") else part.strip("[]") if part.count(":") > 1 else part.partition(":")[0]


def _matches(host: str, allowed: str) -> bool:
    try:
        network = ipaddress.ip_network(allowed, strict=False)
    except ValueError:
        # A point at the end makes a name absolute, and no other name.
        return fnmatchcase(host.lower().removesuffix("."), allowed.lower())
    try:
        return ipaddress.ip_address(host) in network
    except ValueError:
        return False
