"""Ids: a JobBatch has its own from the beginning, and its parts have ids that follow from it."""

from __future__ import annotations

from uuid import UUID

import pytest

from hammerwork import BatchConflictError, Job, JobBatch
from hammerwork.ids import batch_id_for, new_batch_id, part_id


def batch(count: int = 10) -> JobBatch:
    return JobBatch("b").with_jobs(Job("q", n) for n in range(count))


def test_each_object_has_an_id_of_its_own_that_sorts_by_time() -> None:
    first, second = batch(), batch()
    assert first.id != second.id
    assert first.id.version == 7
    assert first.id.bytes[:6] <= second.id.bytes[:6]


def test_parts_cut_again_in_the_same_way_are_the_same_batches() -> None:
    whole = batch()
    parts = [part.id for part in whole.split(3)]
    assert parts == [part.id for part in whole.split(3)]
    assert len({whole.id, *parts, *(part.id for part in whole.split(4)), *(part.id for part in batch().split(3))}) == 12
    assert all(part.version == 7 and part.bytes[:6] == whole.id.bytes[:6] for part in parts)


def test_ids_from_strings_stay_what_they_are() -> None:
    # Objects in clusters are known by them.
    assert batch_id_for("a", "b") == UUID("59b271ae-1bbc-81d3-9d41-929817f4b16f")
    assert batch_id_for("ab") != batch_id_for("a", "b")
    assert part_id(batch_id_for("a"), 10, 0).version == 8
    assert new_batch_id() != new_batch_id()


def test_an_object_is_one_batch() -> None:
    once = batch()
    once.note_enqueued()
    once.with_jobs(Job("q", n) for n in range(10)).note_enqueued()
    once.add_job(Job("q", 10))
    with pytest.raises(BatchConflictError, match="was enqueued with other jobs before; make a JobBatch for each"):
        once.note_enqueued()
    for part in once.split(3):
        part.note_enqueued()
