"""ConfigMaps with jobs that are missing: how often they are looked for."""

from __future__ import annotations

import time
import traceback
from typing import Any

import pytest

from hammerwork_operator.api.sources import ConfigMapRef
from hammerwork_operator.jobbatch.contents import ContentProblemError, ContentReader
from hammerwork_operator.sources.source import Contents

NEED = Contents(tuple(ConfigMapRef(name=f"part-{n}", key="jobs.json") for n in range(5)))


class ConfigMaps:
    """An API server that has some ConfigMaps, and remembers what it was asked."""

    def __init__(self, *names: str) -> None:
        self.names = set(names)
        self.asked: list[str] = []

    async def get_configmap(self, _namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append(name)
        return {"data": {"jobs.json": name}} if name in self.names else None


async def test_what_is_missing_is_looked_for_alone_and_not_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    server: Any = ConfigMaps("part-0", "part-1", "part-2", "part-4")
    reader = ContentReader(server)
    for _ in range(5):
        with pytest.raises(ContentProblemError, match=r"configMapRefs\[3\]") as caught:
            await reader.digest("mail", NEED)
    assert server.asked == ["part-0", "part-1", "part-2", "part-3"]
    assert len(traceback.extract_tb(caught.value.__traceback__)) <= 5, "it grows from raise to raise"

    later = time.monotonic() + 60
    monkeypatch.setattr(time, "monotonic", lambda: later)
    server.asked.clear()
    with pytest.raises(ContentProblemError):
        await reader.digest("mail", NEED)
    assert server.asked == ["part-3"]
    later += 60
    server.asked.clear()
    server.names.add("part-3")
    digest = await reader.digest("mail", NEED)
    assert server.asked == ["part-3", "part-0", "part-1", "part-2", "part-4"]
    assert digest == await ContentReader(server).digest("mail", NEED)
