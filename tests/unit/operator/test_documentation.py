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
from hammerwork_operator.api import names
from hammerwork_operator.api.reasons import Reason, Type
from hammerwork_operator.metrics import Metrics

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
