"""Fixtures: a real API server, a namespace and an operator of its own for each test, and a real database.

Tests that take `server`, mostly by way of `with_database`, run on PostgreSQL, and on those that the mark ``also_on``
names. `--servers` chooses others.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.apiserver.kubectl import Kubectl
from tests.apiserver.operator_process import OperatorUnderTest, service_account_kubeconfig, without_finalizers
from tests.cluster.binaries import binaries_folder
from tests.cluster.settings import control_plane
from tests.cluster.waiting import wait_until
from tests.harness import clusters
from tests.harness import foreign_crds as foreign
from tests.harness.databases import run_on_servers
from tests.harness.kubectl import CommandError as KubectlError
from tests.harness.manifests import secret

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    run_on_servers(metafunc, ("postgres",))


@pytest.fixture(scope="session")
def kubeconfig() -> Iterator[Path]:
    """The cluster in KUBECONFIG, or else a control plane of our own."""
    if given := os.environ.get("KUBECONFIG"):
        yield Path(given)
        return
    with clusters.control_plane():
        yield control_plane().kubeconfig


@pytest.fixture(scope="session")
def admin(kubeconfig: Path) -> Kubectl:
    """kubectl of an administrator, with the CRDs in place."""
    ours = binaries_folder() / "kubectl"
    program = str(ours) if ours.exists() else shutil.which("kubectl")
    assert program, "kubectl is not there; build it with `python -m tests.cluster build`"
    kubectl = Kubectl(program, kubeconfig, "default")
    kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    names = ("jobbatches.hammerwork.io", "jobbatchschedules.hammerwork.io", "workerpools.hammerwork.io")
    kubectl("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in names))
    return kubectl


@pytest.fixture(scope="session")
def foreign_crds(admin: Kubectl) -> None:
    """The kinds of other projects that pages and chart have manifests of are known."""
    try:
        files = foreign.fetched()
    except foreign.UnavailableModuleError as error:
        pytest.skip(str(error))
    given = [word for file in files for word in ("-f", str(file))]
    applied = admin("apply", "--server-side", "--force-conflicts", "--output=name", *given).split()
    kinds = ",".join(name.partition("/")[2] for name in applied)

    def unknown() -> str | None:
        try:
            admin("get", kinds)
        except KubectlError as error:
            return error.said
        return None

    wait_until("the kinds to be served", unknown, seconds=60)


@pytest.fixture
def kubectl(admin: Kubectl) -> Iterator[Kubectl]:
    """kubectl of an administrator, in a namespace of the test's own."""
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    admin("create", "namespace", namespace)
    yield Kubectl(admin.program, admin.kubeconfig, namespace)
    with contextlib.suppress(KubectlError):  # a test may have deleted the namespace
        without_finalizers(Kubectl(admin.program, admin.kubeconfig, namespace))
        admin("delete", "namespace", namespace, "--wait=false")


@pytest.fixture
def stopped_operator(kubectl: Kubectl, tmp_path: Path) -> Iterator[OperatorUnderTest]:
    """An operator for the test's namespace, with the rights of its Role; the test starts it."""
    config = service_account_kubeconfig(kubectl, tmp_path)
    operator = OperatorUnderTest(config, kubectl.namespace, tmp_path / "operator.log")
    yield operator
    if operator.running():
        operator.stop()
    log = operator.log()
    print(log)  # shown beside a test that fails
    # Whatever a test does, these two lines mean a bug.
    assert "Traceback" not in log, log
    assert "forbidden" not in log, log


@pytest.fixture
def operator(stopped_operator: OperatorUnderTest) -> OperatorUnderTest:
    """A running operator for the test's namespace."""
    stopped_operator.start()
    return stopped_operator


@pytest.fixture
def with_database(kubectl: Kubectl, database_url: str) -> str:
    """The Secret that batches and pools look for is there; the URL of the database in it."""
    kubectl.create(secret(database_url))
    return database_url
