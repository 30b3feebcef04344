"""Puts the texts of queries.sql together that settle a claim and take the next one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from hammerwork.backends.mysql.statements import statement
from hammerwork.backends.protocol import Settled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from hammerwork.backends.mysql.connection import Row
    from hammerwork.backends.protocol import Settlement, Span


def exchange_text(worker_id: UUID, queue: str, settlement: Settlement | None, limit: int) -> bytes:
    """Return one transaction that settles and claims; its rows are those of ``settled``, then those of ``claimed``."""
    begin = statement("begin") if settlement is None else _settle_text(worker_id, settlement)
    claim = statement("claim", worker=worker_id, queue=queue, limit=limit) if limit else b""
    answers = b"" if settlement is None else statement("settled")
    claimed = statement("claimed", queue=queue) if limit else b""
    return (begin + claim + statement("commit") + answers + claimed).rstrip(b";\n ")


def _settle_text(worker_id: UUID, settlement: Settlement) -> bytes:
    names = ["settle_begin", "settle_end_claim" if settlement.remaining is None else "settle_keep_claim"]
    retried = _jobs(settlement.retries)
    released = sorted(settlement.released)
    if settlement.failures or settlement.retries or released or settlement.failed:
        names.append("settle_details")
    if settlement.failures:
        names.append("settle_failures")
    if settlement.retries:
        names.append("settle_retries")
    if released:
        names.append("settle_released")
    if settlement.retries or released:
        names.append("settle_moved")
    if settlement.failed:
        names.append("settle_fail_fast")
    last = released[-1] if released else (0, -1)
    return statement(
        *names,
        "settle_counts",
        "count",
        "settle_answer",
        worker=worker_id,
        claim=settlement.claim_id,
        open=settlement.open,
        outcomes=outcomes(settlement),
        completed=settlement.completed,
        failed=settlement.failed,
        moved=retried + _jobs(released),
        failures=_failures(settlement),
        retries=_json(settlement.retries),
        released=_json(released),
        last_lo=last[0],
        last_hi=last[1],
        last_jobs=_jobs([last]),
        remaining=None if settlement.remaining is None else _json(settlement.remaining),
    )


def check(settlement: Settlement) -> None:
    """Raise ValueError unless the report's books close exactly; a worker's mistake must not reach the counters."""
    told = outcomes(settlement)
    if told > settlement.open or (settlement.remaining is None and told < settlement.open):
        raise ValueError(f"claim {settlement.claim_id}: {told} outcomes reported for {settlement.open} open jobs")


def settled(settlement: Settlement, row: Row) -> Settled:
    """Return what the row of ``settled`` says of the settlement."""
    if row["open"] is None:
        return Settled.LOST
    if row["open"] != settlement.open:
        if settlement.remaining is not None and row["open"] == settlement.open - outcomes(settlement):
            return Settled.OK  # the report came twice
        raise ValueError(
            f"claim {settlement.claim_id}: reported as {settlement.open} open jobs, but {row['open']} are open"
        )
    if row["state"] is None or row["state"] in {"Failed", "Cancelled"} or row["suspended"]:
        return Settled.STOPPED
    return Settled.OK


def outcomes(settlement: Settlement) -> int:
    """Return the number of jobs that the report tells of."""
    return settlement.completed + settlement.failed + _jobs(settlement.retries) + _jobs(settlement.released)


def _jobs(spans: Iterable[Span | tuple[int, int, float]]) -> int:
    return sum(span[1] - span[0] + 1 for span in spans)


def _failures(settlement: Settlement) -> str:
    return _json([{**msgspec.structs.asdict(failure), "final": int(failure.final)} for failure in settlement.failures])


def _json(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()
