"""Loads in the background, as a controller sees them; tests/apiserver has real ones."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from hammerwork.backends.slices import SLICE_JOBS
from hammerwork_operator.jobbatch.loading import PARALLEL_LOADS, PARALLEL_QUERIES, UNTOLD_SECONDS, Loader, Loading
from hammerwork_operator.metrics import Metrics
from tests.unit.operator.builders import batch

if TYPE_CHECKING:
    from hammerwork_operator.jobbatch.observed import ObservedBatch


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


async def test_a_query_that_comes_just_as_another_ends_says_that_it_waits_for_the_next() -> None:
    class Ending(Reader):
        async def get(self, plural: str, namespace: str, name: str) -> None:
            await super().get(plural, namespace, name)
            if name == "first":
                tasks.append(load("third"))

    server: Any = Ending()
    none: Any = None
    loader = Loader(server, none, Metrics())
    said: dict[str, list[str | None]] = {}

    def load(name: str) -> asyncio.Task[None]:
        found = batch({"jobs": None, "query": {"sql": "SELECT 1 AS n"}}, name=name)
        return asyncio.create_task(loader.load(found, none, none, said.setdefault(name, []).append))

    tasks = [load("first"), load("second")]
    for _ in range(5):
        await asyncio.sleep(0)
    server.gate.set()
    await tasks[0]
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    waits = "waiting for another query of namespace mail, which has one at a time"
    assert said == {"first": [None], "second": [waits, None], "third": [waits, None]}


async def test_large_loads_hold_up_large_ones_only_and_who_waits_says_so() -> None:
    server: Any = Reader()
    none: Any = None
    loader = Loader(server, none, Metrics())
    large = {"jobs": None, "generate": {"count": SLICE_JOBS + 1}}
    batches = [batch(large, name=f"large-{n}") for n in range(PARALLEL_LOADS + 1)]
    batches += [batch(name=f"small-{n}") for n in range(PARALLEL_LOADS + 1)]
    said: dict[str, list[str | None]] = {each.name: [] for each in batches}
    tasks = [asyncio.create_task(loader.load(each, none, none, said[each.name].append)) for each in batches]
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.began == [f"mail/{size}-{n}" for size in ("large", "small") for n in range(PARALLEL_LOADS)]
    server.gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    assert len(server.began) == len(batches)
    for size in ("large", "small"):
        told = f"waiting for other {size} batches, of which {PARALLEL_LOADS} are loaded at a time"
        assert said.pop(f"{size}-{PARALLEL_LOADS}") == [told, None]
    assert set(map(tuple, said.values())) == {(None,)}


async def test_slow_queries_hold_up_no_other_loads_nor_queries_of_other_namespaces() -> None:
    """A namespace has one slot, whatever it has waiting, and the others have theirs in turn."""
    server: Any = Reader()
    none: Any = None
    loader = Loader(server, none, Metrics())
    query = {"jobs": None, "query": {"sql": "SELECT pg_sleep(86400) AS n"}}
    queries = [batch(query, namespace=f"a{n % 4}", name=f"query-{n // 4}") for n in range(12)]
    queries += [batch(query, namespace=f"b{n}", name="query") for n in range(PARALLEL_QUERIES - 3)]
    plain = [batch(namespace="a0", name=f"plain-{n}") for n in range(PARALLEL_LOADS + 1)]
    said: dict[str, str | None] = {}

    def load(each: ObservedBatch) -> asyncio.Task[None]:
        name = f"{each.namespace}/{each.name}"
        return asyncio.create_task(loader.load(each, none, none, lambda message: said.update({name: message})))

    tasks = [load(each) for each in (*queries, *plain)]
    for _ in range(10):
        await asyncio.sleep(0)
    last = f"b{PARALLEL_QUERIES - 4}/query"
    assert server.began == [
        *(f"a{n}/query-0" for n in range(4)),
        *(f"b{n}/query" for n in range(PARALLEL_QUERIES - 4)),
        *(f"a0/plain-{n}" for n in range(PARALLEL_LOADS)),
    ]
    assert said["a0/query-0"] is None
    assert said["a0/query-1"] == "waiting for another query of namespace a0, which has one at a time"
    assert said[last] == "waiting for queries of other namespaces, of which there are 8 at a time"
    assert [name for name, message in said.items() if name.startswith("a0/plain") and message] == [
        f"a0/plain-{PARALLEL_LOADS}"
    ], "and it waits for the other small ones"
    # As one of a namespace ends, others have waited longer than its next.
    begun = len(server.began)
    tasks[0].cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.began[begun:] == [last]
    assert (said[last], said["a0/query-1"]) == (
        None,
        "waiting for queries of other namespaces, of which there are 8 at a time",
    )
    server.gate.set()
    ends = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
    assert [type(end) for end in ends] == [asyncio.CancelledError] + [type(None)] * (len(tasks) - 1)
    assert len(server.began) == len(tasks)
    assert set(said.values()) == {None}
