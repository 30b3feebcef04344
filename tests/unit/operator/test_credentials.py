"""How kopf logs in. (The Kubernetes client reads KUBECONFIG once, when it is imported: tests/apiserver covers that.)"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import kopf
import pytest
import yaml

from hammerwork_operator.kube import credentials

if TYPE_CHECKING:
    from pathlib import Path


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
    for name, content in (("token", "of-pod\n"), ("namespace", "system\n"), ("ca.crt", "")):
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(credentials, "_SERVICE_ACCOUNT", tmp_path)
    return tmp_path


@pytest.mark.usefixtures("account")
@pytest.mark.parametrize("host", ["", "10.0.0.1"])
def test_kubeconfig_goes_first(host: str, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    found = credentials.login(settings=kopf.OperatorSettings(), logger=logging.getLogger())
    assert found is not None
    assert (found.server, found.token) == ("https://from-file:6443", "of-file")


@pytest.mark.parametrize(
    ("host", "server"), [("10.0.0.1", "https://10.0.0.1:443"), ("fd00::1", "https://[fd00::1]:443")]
)
def test_a_pod_takes_its_service_account_and_the_servers_address(
    host: str, server: str, account: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_PORT", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    found = credentials.login()
    assert found is not None
    assert (found.server, found.token, found.default_namespace) == (server, "of-pod", "system")
    assert found.ca_path == str(account / "ca.crt")
