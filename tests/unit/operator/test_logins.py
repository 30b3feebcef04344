"""An API server that takes no login: kopf is not to log in, list and watch without a pause."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import kopf
import pytest
import yaml
from aiohttp import web

from hammerwork_operator.databases.registry import Databases
from hammerwork_operator.jobbatch.controller import JobBatchController
from hammerwork_operator.kube import credentials
from hammerwork_operator.kube.client import ApiServer
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.watching import build_registry, build_settings
from hammerwork_operator.workerpool.controller import WorkerPoolController
from tests.harness.waiting import DEADLINE_SECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What was asked of a server that answers 401, and that KUBECONFIG leads to."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"kind": "Status", "code": 401}, status=401)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
    config = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [cluster],
        "users": [{"name": "u", "user": {"token": "old"}}],
    }
    (tmp_path / "config").write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    yield asked
    await runner.cleanup()


async def test_a_login_that_is_never_taken_is_not_tried_without_a_pause(
    refusals: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    server, metrics = ApiServer.__new__(ApiServer), Metrics()
    databases = Databases(server, metrics)
    registry = build_registry(
        JobBatchController(server, databases, metrics),
        WorkerPoolController(server, databases, metrics, default_image="worker:1"),
        None,
    )
    caplog.set_level("INFO")
    operator = asyncio.create_task(
        kopf.operator(registry=registry, settings=build_settings(), clusterwide=True, standalone=True)
    )
    seen = 0
    async with asyncio.timeout(DEADLINE_SECONDS):
        while seen < 5 and "the next is in" not in caplog.text:
            await asyncio.sleep(0.01)
            seen = caplog.text.count("authentication has finished")
    assert (seen, "the next is in" in caplog.text) == (1, True)
    assert refusals
    # It ends at once, as after SIGTERM, though it waits.
    operator.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.wait_for(operator, DEADLINE_SECONDS)


async def test_pauses_between_logins_double_and_begin_anew_after_one_that_held(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        waited.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(credentials, "_found", lambda: None)
    logins = credentials.Logins(lambda: now)

    async def login(after: float = 0.0) -> None:
        nonlocal now
        now += after
        assert await logins.login() is None

    for _ in range(8):
        await login()
    assert waited == [1, 2, 4, 8, 8, 8, 8]
    await login(after=61)
    await login(after=0.25)
    await login(after=50)
    assert waited[7:] == [0.75]
