"""How kopf logs in. (The Kubernetes client reads KUBECONFIG once, when it is imported: tests/apiserver covers that.)"""

from __future__ import annotations

import contextlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import certifi
import kopf
import pytest
import yaml

from hammerwork_operator.kube import credentials

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "config"
    path.write_text(
        yaml.safe_dump(
            {
                "current-context": "here",
                "contexts": [{"name": "here", "context": {"cluster": "file", "user": "me"}}],
                "clusters": [{"name": "file", "cluster": {"server": "https://from-file:6443"}}],
                "users": [{"name": "me", "user": {"token": "of-file"}}],
            }
        )
    )
    return path


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in (
        ("token", "of-pod\n"),
        ("namespace", "system\n"),
        ("ca.crt", Path(certifi.where()).read_text()),
    ):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(credentials, "_SERVICE_ACCOUNT", tmp_path)
    return tmp_path


@contextlib.asynccontextmanager
async def logged_in(**arguments: Any) -> AsyncIterator[kopf.AiohttpSession]:
    found = await credentials.Logins().login(**arguments)
    assert found is not None
    async with found.aiohttp_session:
        yield found


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("host", ["", "10.0.0.1"])
async def test_kubeconfig_goes_first(host: str, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    async with logged_in(settings=kopf.OperatorSettings(), logger=logging.getLogger()) as found:
        assert found.server == "https://from-file:6443"
        assert found.aiohttp_session.headers["Authorization"] == "Bearer of-file"


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
async def test_a_pod_takes_its_service_account_and_the_servers_address(
    host: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    async with logged_in() as found:
        assert (found.server, found.default_namespace) == (server, "system")
        assert found.aiohttp_session.headers["Authorization"] == "Bearer of-pod"
