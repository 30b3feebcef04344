"""How an operator logs in within a Pod. (KUBECONFIG is read when its client is imported; see tests/apiserver.)"""

from __future__ import annotations

import pytest
from kubernetes.aio.config import ConfigException

from hammerwork_operator.kube import credentials


async def test_a_pod_takes_its_service_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigException, match="Service token file does not exist"):
        await credentials.read()
