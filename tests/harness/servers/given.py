"""A database server that somebody else runs: its URL is all that is known of it."""

from __future__ import annotations

from urllib.parse import quote, urlsplit


class GivenServer:
    """The server of a URL. The user of the URL may create databases there."""

    def __init__(self, url: str) -> None:
        self._parts = urlsplit(url)
        if self._parts.scheme not in {"postgresql", "postgres", "mysql", "mariadb"}:
            raise ValueError(f"scheme {self._parts.scheme!r}: must be postgresql, mysql or mariadb")
        if not self._parts.path.strip("/"):
            raise ValueError("names no database; one is needed to connect to, it stays as it is")
        self.family = "postgresql" if self._parts.scheme.startswith("postgres") else "mysql"

    @property
    def port(self) -> int:
        """Port of the server."""
        return self._parts.port or (5432 if self.family == "postgresql" else 3306)

    def url(self, database: str | None = None, *, user: str | None = None) -> str:
        """Return the URL of a database; default: the one that was given."""
        address = self._parts.netloc
        if user is not None:
            address = f"{quote(user)}@{address.rpartition('@')[2]}"
        path = self._parts.path if database is None else f"/{database}"
        return self._parts._replace(netloc=address, path=path).geturl()
