"""The short form: everything once, on each database; `make chaos` is the long one."""

from __future__ import annotations

import os

import pytest

from tests.chaos.plan import make_plan
from tests.chaos.scene import perform
from tests.chaos.servers import BACKENDS

SEED = int(os.environ.get("HAMMERWORK_CHAOS_SEED", "2024"))


@pytest.mark.timeout(200)
@pytest.mark.parametrize("backend", BACKENDS)
async def test_no_job_is_lost_and_every_outcome_counts_once(backend: str) -> None:
    plan = make_plan(SEED, seconds=8, jobs=300)
    report = await perform(plan, backend, print, drain_seconds=100)
    assert not report.faults, "\n".join([f"seed {SEED}, ledger and logs in {report.folder}", *report.faults])
