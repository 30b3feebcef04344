"""A seed tells the whole plan, and every plan has everything in it."""

from __future__ import annotations

import pytest

from hammerwork import PartialFailureMode, Priority
from tests.chaos.plan import Chaos, Deed, Enqueue, Plan, make_plan


def test_the_same_seed_gives_the_same_plan() -> None:
    assert make_plan(7, seconds=20, jobs=500) == make_plan(7, seconds=20, jobs=500)
    assert make_plan(7, seconds=20, jobs=500) != make_plan(8, seconds=20, jobs=500)


@pytest.mark.parametrize("seed", range(5))
def test_a_short_plan_has_everything_but_what_takes_long(seed: int) -> None:
    plan = make_plan(seed, seconds=8, jobs=400)
    assert {act.chaos for act in plan.acts} == set(Chaos) - {Chaos.SILENCE, Chaos.FORGET}
    assert {deed for batch in plan.batches for deed in batch.deeds} == set(Deed)
    assert {batch.mode for batch in plan.batches} == set(PartialFailureMode)
    assert Enqueue.KILLED in {batch.enqueue for batch in plan.batches}
    assert {job.priority for job in plan.batches[0].jobs()} == {Priority.HIGH, Priority.LOW}
    assert all(0 <= act.at <= plan.seconds for act in plan.acts)
    for batch in plan.batches:
        batch.settings().validate_settings()


def test_a_long_plan_has_that_too() -> None:
    plan = make_plan(1, seconds=100, jobs=5_000)
    assert {act.chaos for act in plan.acts} == set(Chaos)
    assert len({batch.batch_id for batch in plan.batches}) == len(plan.batches)


def test_stops_crashes_and_blocking_handlers_outlast_the_lease() -> None:
    plan = make_plan(1, seconds=100, jobs=5_000)

    def lengths(plan: Plan, chaos: Chaos) -> list[float]:
        return [act.seconds for act in plan.acts if act.chaos is chaos]

    assert min(lengths(plan, Chaos.STOP)) > plan.lease_seconds
    assert max(lengths(plan, Chaos.CRASH)) > plan.lease_seconds
    blocking = [batch for batch in plan.batches if Deed.BLOCK in batch.deeds]
    assert min(batch.job_seconds for batch in blocking) > plan.lease_seconds
