"""One round trip of a worker: the text that settles claims and takes new ones, and what its answer says."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec

from hammerwork.backends import rows
from hammerwork.backends.mysql.statements import statement
from hammerwork.backends.protocol import Exchange, Settled
from hammerwork.errors import DatabaseError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Claim, Settlement, Span

_MOST_CHUNKS = 100
_MOST_ROWS = 200
"""Of hammerwork_ready, in one exchange."""
_CLAIM_BITS = 7
"""For the number of a claim within its exchange; the rest of its id is chance."""


class Guess:
    """How much has to be locked to find the jobs that are wanted, from what was found before."""

    def __init__(self) -> None:
        self._jobs_per_chunk = 1_000.0
        self._rows = 8

    def chunks(self, limit: int) -> int:
        """Chunks that a claim of so many jobs should lock."""
        return max(1, min(_MOST_CHUNKS, round(limit / self._jobs_per_chunk + 0.49)))

    def rows(self, limit: int) -> int:
        """Priorities of batches that it should look at."""
        return min(_MOST_ROWS, self._rows + 2 * self.chunks(limit))

    def learn(self, *, jobs: int, chunks: int, busy: bool) -> None:
        """Note what was found."""
        if chunks:
            self._jobs_per_chunk = max(1.0, jobs / chunks)
        self._rows = min(_MOST_ROWS, 2 * self._rows) if busy else max(8, self._rows // 2)


class Request:
    """An exchange that is to be sent."""

    def __init__(
        self,
        worker_id: UUID,
        queue: str,
        settlements: Sequence[Settlement],
        *,
        limit: int,
        claims: int,
        guess: Guess,
    ) -> None:
        self._settlements = sorted(settlements, key=lambda settlement: settlement.claim)
        self._limit = limit
        self._guess = guess
        parts = _settle_parts(worker_id, self._settlements) if settlements else [statement("begin")]
        if limit:
            values: dict[str, Any] = {"queue": queue, "base": secrets.randbits(63 - _CLAIM_BITS) << _CLAIM_BITS}
            parts.append(
                statement(
                    "claim",
                    "withdraw",
                    **values,
                    worker=worker_id,
                    limit=limit,
                    claims=claims,
                    most_rows=guess.rows(limit),
                    most_chunks=guess.chunks(limit),
                )
            )
        parts.append(statement("commit"))
        if settlements:
            parts.append(statement("settled"))
        if limit:
            parts.append(statement("claimed", **values))
        self.text = b"".join(parts).rstrip(b";\n ")

    def settled(self, answer: list[list[Row]]) -> tuple[dict[int, Settled], set[UUID]]:
        """Return the answers to the reports, and which stopped batches may have ended with them.

        Raises:
            DatabaseError: The books of a claim are not those of its report; nothing was counted.
        """
        if not self._settlements:
            return {}, set()
        told = {row["claim"]: row for row in answer[0]}
        for settlement in self._settlements:
            row = told.get(settlement.claim)
            if row is not None and row["bad"] and not row["counts"] and not _came_twice(settlement, row):
                raise DatabaseError(
                    f"claim {settlement.claim} of batch {UUID(bytes=row['batch_id'])}: {outcomes(settlement)} outcomes "
                    f"reported for {settlement.open} open jobs, but {row['open']} are open"
                )
        answers = {settlement.claim: _verdict(told.get(settlement.claim)) for settlement in self._settlements}
        stopped = {
            UUID(bytes=row["batch_id"])
            for row in told.values()
            if row["state"] in {"Failed", "Cancelled"} and not row["finished"]
        }
        return answers, stopped

    def exchange(self, answer: list[list[Row]], settled: dict[int, Settled]) -> tuple[Exchange, list[Row], Pages]:
        """Return what the answer says, but for the claims; and their rows, and the pages that came with them."""
        exchange = Exchange(settled=settled)
        if not self._limit:
            return exchange, [], Pages()
        (seen,) = answer[-1]
        claims, pages, more_pages = answer[-4:-1] if seen["taken"] else ([], [], [])
        exchange.busy = bool(seen["busy"])
        jobs = sum(_size(row) for row in claims)
        chunks = seen["chunk_count"]
        self._guess.learn(jobs=jobs, chunks=chunks, busy=exchange.busy)
        known = Pages()
        for page in (*pages, *more_pages):
            known.add(page["batch_id"], page)
        return exchange, claims, known


class Pages:
    """Payloads of some pages, decoded when the first of their jobs is asked for."""

    def __init__(self) -> None:
        self._pages: dict[bytes, list[list[Any]]] = {}

    def add(self, batch_id: bytes, page: Row) -> None:
        """Take a page in: lo, hi, payloads. Pages of a batch come in any order."""
        self._pages.setdefault(batch_id, []).append([page["lo"], page["hi"], page["payloads"]])

    def payloads(self, batch_id: bytes, spans: Iterable[Span]) -> list[Any]:
        """Return the payloads of the jobs in `spans`, as far as they are here."""
        found: list[Any] = []
        for _, part in self._parts(batch_id, spans):
            found += part
        return found

    def by_index(self, batch_id: bytes, spans: Iterable[Span]) -> dict[int, Any]:
        """Return the same by the jobs' indexes."""
        return {index: payload for lo, part in self._parts(batch_id, spans) for index, payload in enumerate(part, lo)}

    def _parts(self, batch_id: bytes, spans: Iterable[Span]) -> Iterator[tuple[int, list[Any]]]:
        """Yield the payloads of neighbouring jobs, with the index of the first of them."""
        pages = self._pages.get(batch_id, [])
        pages.sort(key=lambda page: int(page[0]))
        place = 0
        for lo, hi in spans:
            while place < len(pages) and pages[place][1] < lo:
                place += 1
            here = place
            while here < len(pages) and pages[here][0] <= hi:
                page = pages[here]
                if isinstance(page[2], str):
                    page[2] = rows.payloads(b"[%b]" % page[2].encode())
                first = max(lo, page[0])
                yield first, page[2][first - page[0] : hi - page[0] + 1]
                here += 1


def page_numbers_text(batch_id: UUID, spans: Iterable[Span]) -> bytes:
    """Return a query for the first jobs of the pages with jobs of `spans`; some come several times."""
    parts = []
    for lo, hi in spans:
        parts.append(statement("page_with", batch=batch_id, lo=lo))
        if hi > lo:
            parts.append(statement("pages_between", batch=batch_id, lo=lo, hi=hi))
    return b" UNION ALL ".join(parts)


def spans_of(row: Row) -> list[Span]:
    """Return the jobs of a claim."""
    if row["spans"] is None:
        return [(row["lo"], row["hi"])]
    return msgspec.json.decode(row["spans"], type=list[tuple[int, int]])


def claim(row: Row, pages: Pages) -> Claim:
    """Return a claim with its payloads."""
    payloads = pages.payloads(row["batch_id"], spans_of(row))
    return rows.claim({**row, "batch_id": UUID(bytes=row["batch_id"])}, payloads)


def check(settlement: Settlement) -> None:
    """Raise DatabaseError unless the report's books close; a worker's mistake must not reach the counters."""
    told = outcomes(settlement)
    if told > settlement.open or (settlement.remaining is None and told < settlement.open):
        raise DatabaseError(f"claim {settlement.claim}: {told} outcomes reported for {settlement.open} open jobs")


def outcomes(settlement: Settlement) -> int:
    """Return the number of jobs that the report tells of."""
    return settlement.completed + settlement.failed + _jobs(settlement.retries) + _jobs(settlement.released)


def _settle_parts(worker_id: UUID, settlements: Sequence[Settlement]) -> list[bytes]:
    reports = []
    keeps = []
    details = []
    for settlement in settlements:
        told = outcomes(settlement)
        released = settlement.released or []
        last_lo, last_hi = released[-1] if released else (0, -1)
        reports.append(
            (
                settlement.claim,
                settlement.open,
                told,
                int(settlement.remaining is None),
                settlement.completed,
                settlement.failed,
                told - settlement.completed - settlement.failed,
                last_lo,
                last_hi,
            )
        )
        if settlement.remaining is not None:
            keeps.append(
                statement(
                    "settle_keep",
                    claim=settlement.claim,
                    worker=worker_id,
                    open=settlement.open,
                    outcomes=told,
                    remaining=_json(settlement.remaining),
                )
            )
        if settlement.failures or settlement.retries or released:
            details.append(_details(settlement, last_hi))
    parts = [statement("settle_claims", worker=worker_id, reports=_json(reports)), *keeps, statement("settle_chunks")]
    parts += [*details, statement("settle_counts")]
    if any(settlement.failed for settlement in settlements):
        parts.append(statement("settle_withdraw"))
    if any(settlement.makes_ready for settlement in settlements):
        parts.append(statement("offer"))
    return parts


def _details(settlement: Settlement, last_hi: int) -> bytes:
    parts = [statement("settle_details", claim=settlement.claim, last_hi=last_hi)]
    if settlement.failures:
        failures = [{**msgspec.structs.asdict(failure), "final": int(failure.final)} for failure in settlement.failures]
        parts.append(statement("settle_failures", failures=_json(failures)))
    if settlement.retries:
        parts.append(statement("settle_retries", delay=float(settlement.delay), **_chunk(settlement.retries)))
    if settlement.released:
        rest = {f"rest_{name}": value for name, value in _chunk(settlement.released[:-1]).items()}
        parts.append(statement("settle_released", **_chunk(settlement.released), **rest))
    return b"".join(parts)


def _chunk(spans: Sequence[Span]) -> dict[str, Any]:
    return {
        "lo": spans[0][0] if spans else 0,
        "hi": spans[-1][1] if spans else 0,
        "spans": _json(spans) if len(spans) > 1 else None,
        "size": _jobs(spans),
    }


def _came_twice(settlement: Settlement, row: Row) -> bool:
    return settlement.remaining is not None and row["open"] == settlement.open - outcomes(settlement)


def _verdict(row: Row | None) -> Settled:
    if row is None:
        return Settled.LOST
    if row["state"] in {"Pending", "Completed", "CompletedWithErrors"} and not row["suspended"]:
        return Settled.OK
    return Settled.STOPPED


def _size(row: Row) -> int:
    return _jobs(spans_of(row))


def _jobs(spans: Iterable[Span] | None) -> int:
    return sum(hi - lo + 1 for lo, hi in spans or ())


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
