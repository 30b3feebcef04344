"""The documentation spells what users see as the code does."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest
import yaml
from prometheus_client import generate_latest

from hammerwork_operator import config
from hammerwork_operator.api import common, dependencies, names, sources
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.databases import registry, secrets
from hammerwork_operator.jobbatch import loading
from hammerwork_operator.kube import workqueue
from hammerwork_operator.metrics import Metrics
from hammerwork_operator.sources import shards

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
RIGHTS = ROOT / "charts" / "hammerwork" / "files" / "rights.yaml"
API = (DOCS / "kubernetes-api.md").read_text()
OPERATOR = (DOCS / "operator.md").read_text()

TERMS = {*Type, *Reason}


@pytest.mark.parametrize("term", sorted(TERMS))
def test_every_condition_and_reason_is_explained(term: str) -> None:
    assert term in API


VARIABLES = sorted(set(re.findall(r"names\.(ENV_\w+)", inspect.getsource(config))))


def test_there_are_variables() -> None:
    assert len(VARIABLES) == len(dataclasses.fields(config.Config))


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_operators_variables_are_listed(variable: str) -> None:
    assert f"`{getattr(names, variable)}`" in OPERATOR


def test_every_metric_is_listed() -> None:
    lines = generate_latest(Metrics().registry).decode().splitlines()
    ours = {line.split()[2] for line in lines if line.startswith("# TYPE hammerwork_")}
    assert ours
    assert {name for name in ours if f"`{name}" not in OPERATOR and not name.endswith("_created")} == set()


def test_the_sizes_are_those_of_the_code() -> None:
    section = " ".join(OPERATOR.split("## Sizes")[1].split("\n## ")[0].split())
    unpacked, loads = shards.MAX_UNPACKED_BYTES // 2**20, loading.PARALLEL_LOADS
    for words in (
        f"each list of `generate` | {sources.MAX_ITEMS:,} |",
        f"`query` | {sources.MAX_GENERATED_JOBS:,} |",
        f"as JSON | {common.MAX_OBJECT_BYTES:,} bytes |",
        f"of a batch | {sources.MAX_CONFIG_MAP_REFS}, each with {unpacked} MiB",
        f"`dependsOn` of a batch | {dependencies.MAX_DEPENDENCIES} |",
        f"| {loads} large and {loads} small ones, and beside them {loading.PARALLEL_QUERIES} with `query`, ",
        f"at a time | {workqueue.PARALLEL};",
        f"| {registry.MAX_CONNECTIONS} connections of the operator, ",
        f"none once it was not needed for {registry.IDLE_SECONDS / 60:g} minutes |",
        f"reads of Secrets | {secrets.MOST_READS:g} a second |",
    ):
        assert words in section
    given = yaml.safe_load((ROOT / "charts" / "hammerwork" / "values.yaml").read_text())["operator"]["resources"]
    assert given == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}, (
        "the section says so"
    )


def test_the_rights_are_those_of_the_chart() -> None:
    listed = set()
    table = OPERATOR.split("## Rights")[1].split("\n\n")[2]
    for line in table.splitlines()[2:]:
        group, resources, verbs = (cell.strip() for cell in line.strip("|").split("|"))
        for resource in resources.split(","):
            for verb in verbs.split(","):
                listed.add((group.strip("`").replace("core", ""), resource.strip(" `"), verb.strip()))
    granted = {
        (group, resource, verb)
        for rule in yaml.safe_load(RIGHTS.read_text())["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert listed == granted
