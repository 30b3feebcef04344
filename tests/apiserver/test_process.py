"""The operator's process: probes, metrics, start and stop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import fields
from typing import TYPE_CHECKING

from hammerwork_operator.api import names
from hammerwork_operator.config import Config
from tests.apiserver.operator_process import OperatorUnderTest
from tests.harness.kubectl import condition
from tests.harness.manifests import jobbatch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.kubectl import Kubectl


def test_it_is_ready_without_a_database(operator: OperatorUnderTest) -> None:
    assert operator.probe("/healthz") == 200
    assert operator.probe("/readyz") == 200
    assert operator.stop() == 0


def test_it_waits_for_its_api_server_and_can_be_stopped_meanwhile(tmp_path: Path) -> None:
    cluster = {"name": "away", "cluster": {"server": "https://127.0.0.1:1", "insecure-skip-tls-verify": True}}
    context = {"name": "away", "context": {"cluster": "away", "user": "nobody"}}
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [cluster],
                "contexts": [context],
                "users": [{"name": "nobody", "user": {"token": "none"}}],
                "current-context": "away",
            }
        )
    )
    operator = OperatorUnderTest(kubeconfig, "default", tmp_path / "operator.log")
    operator.start(probe="/healthz")
    assert operator.fetch("/readyz") == (503, "not watching yet\n")
    operator.wait_log("the API server does not answer")
    assert operator.stop() == 0


async def test_metrics_count_what_it_does(kubectl: Kubectl, operator: OperatorUnderTest, with_database: str) -> None:
    kubectl.create(jobbatch("counted", jobs=[{"payload": n} for n in range(5)]))
    await kubectl.wait("jobbatch", "counted", lambda found: condition(found, "Enqueued") == "True Enqueued")
    status, text = operator.fetch("/metrics")
    assert status == 200
    lines = text.splitlines()
    assert "hammerwork_operator_loaded_jobs_total 5.0" in lines
    assert "hammerwork_operator_live_batches 1.0" in lines
    assert 'hammerwork_operator_databases{state="up"} 1.0' in lines
    assert with_database not in text
    assert with_database not in operator.log()


def test_a_wrong_configuration_ends_it_with_a_clear_message() -> None:
    environment = {**os.environ, "HAMMERWORK_OPERATOR_PORT": "eighty"}
    command = [sys.executable, "-m", "hammerwork_operator"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert (
        done.stderr == "hammerwork-operator: HAMMERWORK_OPERATOR_PORT: 'eighty', must be a whole number, 0 to 65,535\n"
    )


def test_a_port_that_is_taken_ends_it_with_a_clear_message() -> None:
    with socket.create_server(("0.0.0.0", 0)) as taken:
        port = taken.getsockname()[1]
        environment = {**os.environ, "HAMMERWORK_OPERATOR_PORT": str(port)}
        command = [sys.executable, "-m", "hammerwork_operator"]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"hammerwork-operator: HAMMERWORK_OPERATOR_PORT: {port} cannot be served: " in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_variable() -> None:
    command = [sys.executable, "-m", "hammerwork_operator", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    variables = [value for name, value in vars(names).items() if name.startswith("ENV_")]
    assert len(variables) == len(fields(Config))
    assert [name for name in variables if f"  {name} " not in text] == []
