"""Loads in the background, as a controller sees them; tests/apiserver has real ones."""

from __future__ import annotations

import asyncio
from typing import Any

from hammerwork_operator.jobbatch.loading import UNTOLD_SECONDS, Loading
from tests.unit.operator.builders import batch


class Gate:
    """Loads for as long as it is closed."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def load(self, *_: object) -> None:
        await self.opened.wait()


async def test_a_load_is_young_until_a_moment_has_gone_by_or_it_ends() -> None:
    now = [1_000.0]
    gate: Any = Gate()
    over = asyncio.Event()
    found = Loading(gate, lambda _: over.set(), clock=lambda: now[0])
    database: Any = None
    young = [found.is_young]
    found.start(batch(), database)
    young.append(found.is_young)
    now[0] += UNTOLD_SECONDS
    young.append(found.is_young)
    now[0] -= UNTOLD_SECONDS
    gate.opened.set()
    await asyncio.wait_for(over.wait(), 10)
    young.append(found.is_young)
    assert young == [False, True, False, False]
