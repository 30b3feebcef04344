from __future__ import annotations

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from hammerwork.working.reporting import ProcessReport
from hammerwork_worker.metrics import WorkerState
from tests.harness.hostile import HOSTILE


def test_a_label_adds_no_line_to_the_metrics() -> None:
    name = f'{HOSTILE}\n"}} 1\nfaked_total 7'
    state = WorkerState("q", name, ProcessReport)
    families = list(text_string_to_metric_families(generate_latest(state.registry).decode()))
    labels = [sample.labels for family in families for sample in family.samples]
    assert labels == [{"queue": "q", "pool": name}] * len(labels)
    assert all(family.name.startswith("hammerwork_worker_") for family in families)
