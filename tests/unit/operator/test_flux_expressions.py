"""The expressions for Flux in docs/gitops.md tell either end of a batch, and nothing before it."""

from __future__ import annotations

import re

import yaml

from tests.harness import verdicts
from tests.unit.operator.test_verdicts import JOBBATCH, PAGE

BLOCKS = re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)


def test_flux_sees_either_end_of_a_batch() -> None:
    (kustomization,) = (yaml.safe_load(text) for text in BLOCKS if "healthCheckExprs" in text)
    (expressions,) = kustomization["spec"]["healthCheckExprs"]
    given = [(situation, each) for situation, objects in JOBBATCH.items() for each in objects]

    def seen(what: str) -> set[str]:
        answers = verdicts.flux(expressions[what], [each for _, each in given])
        return {situation for (situation, _), holds in zip(given, answers, strict=True) if holds}

    def told(status: str) -> set[str]:
        return {
            situation
            for situation, each in given
            for entry in each["status"].get("conditions", ())
            if (entry["type"], entry["status"]) == ("Succeeded", status)
        }

    assert seen("current") == told("True") == {"finished, each job completed"}
    assert seen("failed") == told("False") > {"finished, with failed jobs", "a job failed in FailFast"}
