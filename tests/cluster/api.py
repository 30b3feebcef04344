"""The few calls that the harness itself makes to the API server."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.errors import ClusterError


class Api:
    """A client made of one kubeconfig."""

    def __init__(self, server: str, token: str, authority: Path) -> None:
        self._server = server
        self._token = token
        context = ssl.create_default_context(cafile=str(authority))
        # Every address called is one of this machine; a proxy named in the environment has no way to it.
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )

    @classmethod
    def from_kubeconfig(cls, path: Path, *, server: str | None = None) -> Api:
        """Read a kubeconfig as the harness writes it; `server` replaces the address in it."""
        content = yaml.safe_load(path.read_text())
        place = content["clusters"][0]["cluster"]
        token = content["users"][0]["user"]["token"]
        return cls(server or place["server"], token, Path(place["certificate-authority"]))

    def text(self, path: str, *, method: str = "GET", body: dict[str, Any] | None = None, seconds: float = 5) -> str:
        """Send one request and return the answer's text.

        Raises:
            OSError: no answer, or an HTTP error (`urllib.error.HTTPError`).
        """
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._server}{path}", data=data, headers=headers, method=method)
        with self._opener.open(request, timeout=seconds) as answer:
            text: str = answer.read().decode()
        return text

    def get(self, path: str) -> dict[str, Any]:
        """The object at a path of the API."""
        found: dict[str, Any] = json.loads(self.text(path))
        return found

    def create(self, path: str, body: dict[str, Any]) -> None:
        """Create an object.

        Raises:
            ClusterError: the API server refused it.
        """
        try:
            self.text(path, method="POST", body=body)
        except urllib.error.HTTPError as error:
            name = body.get("metadata", {}).get("name")
            answer = error.read().decode(errors="replace")[:500]
            raise ClusterError(f"{body.get('kind')} {name}: the API server refused it: {answer}") from error

    def readiness(self) -> str | None:
        """None if the API server says that it is ready, else what it says."""
        try:
            answer = self.text("/readyz")
        except OSError as error:
            return str(error)
        return None if answer == "ok" else answer[:200]

    def exists(self, path: str) -> str | None:
        """None if there is an object at the path, else what came instead."""
        try:
            self.text(path)
        except OSError as error:
            return f"{path}: {error}"
        return None
