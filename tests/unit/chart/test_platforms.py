"""What platforms and charts above ask of the chart: its place in another one, and users that the platform assigns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.chart.test_chart import DATABASE, only, pod_specs

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.chart.conftest import Chart


def test_a_chart_above_switches_it_on_and_off(chart: Chart, tmp_path: Path) -> None:
    above = chart.below(tmp_path, condition="hammerwork.enabled")
    (tmp_path / "values.yaml").write_text("global: {registry: example}\nhammerwork: {global: {team: a}}\n")
    on = above.render("hammerwork.enabled=true", "hammerwork.operator.podSecurityContext.runAsUser=null")
    pod = only(on, "Deployment", "test-hammerwork-operator")["spec"]["template"]["spec"]
    assert "runAsUser" not in pod["securityContext"]
    assert above.render("hammerwork.enabled=false") == []


def test_a_chart_above_gives_it_another_name(chart: Chart, tmp_path: Path) -> None:
    manifests = chart.below(tmp_path, alias="jobQueue_").render("jobQueue_.postgresql.enabled=true")
    assert only(manifests, "Deployment")["metadata"]["name"] == "test-jobqueue-operator"
    assert only(manifests, "StatefulSet")["metadata"]["labels"]["helm.sh/chart"].startswith("jobQueue_-")


@pytest.mark.parametrize("program", ["operator", "postgresql"])
def test_users_that_the_platform_assigns_are_left_to_it(chart: Chart, program: str) -> None:
    fixed = [f"{program}.podSecurityContext.{field}=null" for field in ("runAsUser", "runAsGroup", "fsGroup")]
    specs = dict(pod_specs(chart.render(DATABASE, *fixed, f"{program}.securityContext.runAsUser=1000")))
    spec = specs[f"test-hammerwork-{program}"]
    assert not {"runAsUser", "runAsGroup", "fsGroup"} & spec["securityContext"].keys()
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["containers"][0]["securityContext"]["runAsUser"] == 1000


@pytest.mark.parametrize("program", ["operator", "postgresql"])
def test_security_contexts_can_be_left_out(chart: Chart, program: str) -> None:
    values = (f"{program}.podSecurityContext=null", f"{program}.securityContext=null")
    spec = dict(pod_specs(chart.render(DATABASE, *values)))[f"test-hammerwork-{program}"]
    assert "securityContext" not in spec
    assert "securityContext" not in spec["containers"][0]
