"""The handler of the electricity-bills example: computes the bills of a claim and stores them with one statement.

    python electricity_bills.py

creates the table, in the database that BILLS_DATABASE_URL names.
"""

from __future__ import annotations

import asyncio
import os

import asyncpg

from hammerwork import HammerworkError, Job, JobFailedError, batch_handler

BASE_CENTS = 900
MAX_KWH = 1_000_000
TARIFF = ((100, 24), (400, 31), (None, 38))
"""Steps of consumption: up to so many kWh, each at so many cents. The last one has no end."""

TABLE = """
CREATE TABLE IF NOT EXISTS bills (
    meter text,
    month text,
    kwh integer NOT NULL,
    cents bigint NOT NULL,
    PRIMARY KEY (meter, month)
)
"""

# A job may run twice: its worker may die after this and before it has reported. Then the same row is written again.
STORE = """
INSERT INTO bills (meter, month, kwh, cents)
SELECT * FROM unnest($1::text[], $2::text[], $3::integer[], $4::bigint[])
ON CONFLICT (meter, month) DO UPDATE SET kwh = excluded.kwh, cents = excluded.cents
"""


class DatabaseNotConfiguredError(HammerworkError):
    """The environment does not tell where the bills go."""


@batch_handler
async def bill(jobs: list[Job]) -> list[Exception | None]:
    """Store the bills of all jobs; return what is wrong with each one that has none.

    If storing raises, no bill of the claim is stored, and all of its jobs are tried again.
    """
    bills: dict[tuple[str, str], tuple[int, int]] = {}
    outcomes: list[Exception | None] = []
    for job in jobs:
        try:
            meter, month, kwh = reading(job)
        except JobFailedError as error:
            outcomes.append(error)
        else:
            # By key: a statement must not write the same row twice.
            bills[meter, month] = (kwh, cents(kwh))
            outcomes.append(None)
    if bills:
        await store([(*key, *values) for key, values in bills.items()])
    return outcomes


def reading(job: Job) -> tuple[str, str, int]:
    """Return meter, month and consumption in kWh. What the table would refuse must end here, or it fails the claim."""
    match job.payload:
        case {"meter": str(meter), "month": str(month), "kwh": int(kwh)} if 0 <= kwh <= MAX_KWH:
            return meter, month, kwh
        case other:
            raise JobFailedError(f"payload: {other}, must have a meter, a month, and kwh from 0 to {MAX_KWH}")


def cents(kwh: int) -> int:
    """Return what so many kWh cost in a month."""
    total, start = BASE_CENTS, 0
    for end, price in TARIFF:
        stop = kwh if end is None else min(kwh, end)
        total += max(0, stop - start) * price
        start = stop
    return total


async def store(bills: list[tuple[str, str, int, int]]) -> None:
    """Write all rows with one statement, or none of them."""
    connection = await connect()
    try:
        await connection.execute(STORE, *zip(*bills, strict=True))
    finally:
        await connection.close()


async def connect() -> asyncpg.Connection:
    """Return a new connection: one for hundreds of jobs costs little, and a restart of the database breaks none."""
    url = os.environ.get("BILLS_DATABASE_URL")
    if not url:
        raise DatabaseNotConfiguredError(
            "BILLS_DATABASE_URL: not set, must be postgresql://user:password@host/database"
        )
    return await asyncpg.connect(url, timeout=10, command_timeout=30)


async def create_table() -> None:
    """Create the table unless it is there."""
    connection = await connect()
    try:
        await connection.execute(TABLE)
    finally:
        await connection.close()


if __name__ == "__main__":
    asyncio.run(create_table())
