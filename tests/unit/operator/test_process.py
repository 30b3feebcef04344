"""What the operator finds out of its cluster before it watches."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from hammerwork_operator.api import jobbatch, jobbatchschedule, workerpool
from hammerwork_operator.config import Config
from hammerwork_operator.kube.client import ApiError, ApiServer
from hammerwork_operator.process import OperatorProcess

Manifest = dict[str, Any]


class WarmingServer(ApiServer):
    """Forbids each of these paths so often before it allows it."""

    def __init__(self, **refusals: int) -> None:
        self.left = refusals

    async def request(self, method: str, path: str, *_: Any, **__: Any) -> Manifest:
        name = path.rsplit("/", 1)[-1]
        if self.left.get(name, 0):
            self.left[name] -= 1
            raise ApiError(403, f"{method} {path} is forbidden")
        if name == "kube-system":
            return {"metadata": {"uid": "the-uid"}}
        plurals = (jobbatch.PLURAL, workerpool.PLURAL, jobbatchschedule.PLURAL)
        return {"resources": [{"name": plural} for plural in plurals]}


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses, which take no time."""
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    return pauses


@pytest.mark.parametrize(
    ("namespaces", "refusals", "pauses"),
    [
        ((), 0, []),
        ((), 3, [1, 2, 4]),
        ((), 6, [1, 2, 4, 8, 8, 8]),
        ((), 99, [1, 2, 4, 8, 8, 8]),
        (("mail",), 0, []),
        (("mail",), 1, []),
    ],
)
async def test_a_passing_refusal_gives_the_operator_no_other_cluster(
    namespaces: tuple[str, ...],
    refusals: int,
    pauses: list[float],
    waited: list[float],
    caplog: pytest.LogCaptureFixture,
) -> None:
    server = WarmingServer(**{"kube-system": refusals})
    cluster = "the-uid" if refusals <= len(pauses) else ""
    assert await OperatorProcess(Config(namespaces=namespaces))._wait(server) == cluster
    assert waited == pauses
    assert ("set HAMMERWORK_CLUSTER_ID" in caplog.text) == (not cluster)


async def test_where_the_cluster_has_a_name_the_api_server_is_not_asked_for_one(waited: list[float]) -> None:
    server = WarmingServer(**{"kube-system": 99})
    assert await OperatorProcess(Config(cluster_id="east"))._wait(server) == "east"
    assert not waited


@pytest.mark.parametrize(("refusals", "run"), [(6, True), (7, False)])
async def test_a_passing_refusal_does_not_end_schedules(
    refusals: int, run: bool, waited: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    await OperatorProcess(Config())._wait(WarmingServer(**{jobbatchschedule.PLURAL: refusals}))
    assert waited == [1, 2, 4, 8, 8, 8]
    assert ("no JobBatchSchedule is run" in caplog.text) != run
