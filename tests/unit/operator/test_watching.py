from __future__ import annotations

from typing import Any, cast

import kopf

from hammerwork_operator.api import names
from hammerwork_operator.watching import build_settings
from tests.unit.operator.builders import manifest


def test_kopf_does_not_take_our_finalizer_for_its_own() -> None:
    """It would take it off again: none of its handlers asks for one."""
    assert build_settings().persistence.finalizer != names.FINALIZER


def test_one_object_does_not_hold_up_the_events_of_others() -> None:
    """Each of kopf's workers stays with one object for a while, so a limit on them is a limit on live objects."""
    assert build_settings().queueing.worker_limit is None


def test_no_copy_of_a_spec_is_kept() -> None:
    storage = build_settings().persistence.diffbase_storage
    body = kopf.Body(cast("Any", manifest()))
    patch = kopf.Patch()
    essence = storage.build(body=body)
    storage.store(body=body, patch=patch, essence=essence)
    assert essence == {}
    assert storage.fetch(body=body) is None
    assert not patch


def test_nothing_cluster_wide_is_scanned_and_no_event_is_posted_by_kopf() -> None:
    settings = build_settings()
    assert settings.scanning.disabled
    assert settings.peering.standalone
    assert not settings.posting.enabled
