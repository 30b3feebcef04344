from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest

from hammerwork import Priority
from hammerwork_cli.running.documents import read_documents
from hammerwork_operator import crd, generated, reference
from hammerwork_operator.api.jobbatch import MUTABLE_FIELDS, JobBatchSpec
from hammerwork_operator.api.sources import PriorityLabel

CRDS = Path(__file__).parents[3] / "crds"


def nodes(schema: dict[str, Any], path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, child in schema.get("properties", {}).items():
        found += nodes(child, f"{path}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(key), dict):
            found += nodes(schema[key], path + suffix)
    return found


def all_nodes() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for definition in crd.definitions().values():
        (version,) = definition["spec"]["versions"]
        found += nodes(version["schema"]["openAPIV3Schema"], definition["spec"]["names"]["kind"])
    return found


NODES = all_nodes()


def test_the_committed_files_are_up_to_date() -> None:
    assert {path.name: path.read_text() for path in CRDS.glob("*.yaml")} == {
        name: crd.render(definition) for name, definition in crd.definitions().items()
    }


@pytest.mark.parametrize("stale", ["crds/jobbatches.yaml", "docs/reference/workerpool.md", "docs/reference/old.md"])
def test_check_tells_of_a_stale_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], stale: str) -> None:
    generated.main(["--write", str(tmp_path)])
    assert generated.main(["--check", str(tmp_path)]) == 0
    (tmp_path / stale).write_text("kind: Other\n")
    assert generated.main(["--check", str(tmp_path)]) == 1
    assert f"{stale} is not up to date" in capsys.readouterr().err


def test_the_reference_has_every_field_with_its_limits() -> None:
    page = reference.pages()["jobbatch.md"]
    assert "| **`queue`** | string |" in page
    assert "| `batchSize` | integer | `100` | ≥ 1, ≤ 1,000 |" in page
    assert "| **`jobs[].payload`** | any |" in page
    assert "| `retryPolicy.maxSeconds` | integer | `300` |" in page
    assert "Rule: exactly one of jobs, generate, configMapRefs and query must be given." in page
    assert "`runId`" in page.partition("Fixed once the object is there: ")[2]
    for definition in crd.definitions().values():
        spec = definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
        text = reference.pages()[f"{definition['spec']['names']['singular']}.md"]
        assert all(f"`{name}`" in text for name in spec["properties"])


def test_the_files_are_plain_yaml() -> None:
    for definition in crd.definitions().values():
        assert read_documents(crd.render(definition).encode()) == [definition]
        assert "&id" not in crd.render(definition)


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_every_field_is_typed_and_described(path: str, node: dict[str, Any]) -> None:
    untyped = ("x-kubernetes-preserve-unknown-fields", "x-kubernetes-int-or-string")
    assert "type" in node or any(node.get(name) for name in untyped)
    assert "description" in node or path.endswith((".metadata", "{}"))


@pytest.mark.parametrize(("path", "node"), NODES, ids=[path for path, _ in NODES])
def test_everything_is_bounded(path: str, node: dict[str, Any]) -> None:
    free = path.endswith((".apiVersion", ".kind"))
    match node.get("type"):
        case "string":
            assert free or "enum" in node or "maxLength" in node or node.get("format") == "date-time"
        case "array":
            assert "maxItems" in node
        case "integer" if ".spec" in path:
            assert "minimum" in node
            assert "maximum" in node
        case "object" if "additionalProperties" in node:
            assert "maxProperties" in node


def test_no_name_leads_to_another_path_of_the_api_server() -> None:
    """The operator asks for what is referred to by its name, also where somebody else wrote the status."""
    names = (".active[].name", "Refs[].name", "Ref.name")
    given = {path: node.get("pattern", "") for path, node in NODES if path.endswith(names)}
    assert len(given) > 3
    assert [path for path, pattern in given.items() if re.search(pattern, "a/../b?watch=true")] == []


def test_rules_say_what_is_wrong() -> None:
    rules = [rule for _, node in NODES for rule in node.get("x-kubernetes-validations", ())]
    patterns = {path for path, node in NODES if "matches(" in str(node.get("x-kubernetes-validations"))}
    assert len(rules) > 10
    assert all(rule["message"] for rule in rules)
    # Nobody could read the pattern of a cron expression, so its rule has a message.
    assert patterns == {"JobBatchSchedule.spec.schedule"}


def test_every_field_is_either_mutable_or_held_by_a_rule() -> None:
    spec = dict(NODES)["JobBatch.spec"]
    held = {rule["fieldPath"].strip(".") for rule in spec["x-kubernetes-validations"] if "oldSelf" in rule["rule"]}
    assert set(MUTABLE_FIELDS) < set(JobBatchSpec.__struct_fields__)
    free = set(spec["properties"]) - held
    assert free == {"suspend", "activeDeadlineSeconds", "ttlSecondsAfterFinished", "deletionPolicy", "retry"}


def test_the_priorities_are_those_of_the_library() -> None:
    assert get_args(PriorityLabel) == tuple(priority.label for priority in Priority)
