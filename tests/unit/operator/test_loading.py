"""Loads in the background, as a controller sees them; tests/apiserver has real ones."""

from __future__ import annotations

import asyncio
from typing import Any

from hammerwork_operator.jobbatch.loading import PARALLEL_LOADS, PARALLEL_QUERIES, UNTOLD_SECONDS, Loader, Loading
from hammerwork_operator.metrics import Metrics
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


async def test_a_load_that_was_cancelled_before_its_first_turn_can_be_started_again() -> None:
    gate: Any = Gate()
    gate.opened.set()
    ends: asyncio.Queue[Exception | None] = asyncio.Queue()
    found = Loading(gate, ends.put_nowait)
    database: Any = None
    found.start(batch(), database)
    await found.stop()
    assert (found.load, ends.qsize()) == (None, 1)
    found.start(batch(), database)
    async with asyncio.timeout(10):
        assert [await ends.get(), await ends.get()] == [None, None]


class Reader:
    """An API server that answers when the gate is open; every load begins with it."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.began: list[str] = []

    async def get(self, _plural: str, namespace: str, name: str) -> None:
        self.began.append(f"{namespace}/{name}")
        await self.gate.wait()


async def test_slow_queries_hold_up_no_other_loads_nor_all_queries_of_other_namespaces() -> None:
    server: Any = Reader()
    none: Any = None
    loader = Loader(server, none, Metrics())
    query = {"jobs": None, "query": {"sql": "SELECT pg_sleep(86400) AS n"}}
    loads = [batch(query, namespace="a", name=f"query-{n}") for n in range(5)]
    loads += [batch(query, namespace=f"b{n}", name="query") for n in range(PARALLEL_QUERIES)]
    loads += [batch(namespace="a", name=f"plain-{n}") for n in range(PARALLEL_LOADS + 1)]
    tasks = [asyncio.create_task(loader.load(each, none, none)) for each in loads]
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.began == [
        *("a/query-0", "a/query-1"),
        *(f"b{n}/query" for n in range(PARALLEL_QUERIES - 2)),
        *(f"a/plain-{n}" for n in range(PARALLEL_LOADS)),
    ]
    tasks[3].cancel()
    server.gate.set()
    ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert [type(end) for end in ends] == [type(None)] * 3 + [asyncio.CancelledError] + [type(None)] * (len(loads) - 4)
    assert len(server.began) == len(loads) - 1
