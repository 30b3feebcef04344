"""One installation of the chart for all tests; each test has queues, pools and batches of its own names."""

from __future__ import annotations

import contextlib
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e import manifests
from tests.e2e.ledger import Database
from tests.e2e.release import Release, chosen_images, cluster_environment, other_operators, provide_images
from tests.harness.clusters import full_cluster
from tests.harness.kubectl import CommandError, Kubectl

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator


FIRST_BUILD_SECONDS = 1800


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give the first test time for images that no cache has yet; within a test, every wait has its own deadline."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(FIRST_BUILD_SECONDS))


@pytest.fixture(scope="session")
def environment() -> Iterator[dict[str, str]]:
    """The environment in which kubectl and helm work on a cluster that has the images."""
    with full_cluster():
        environment = cluster_environment()
        provide_images(environment)
        yield environment


def database_of(release: Release) -> Database:
    return Database(release.kubectl, f"{release.name}-postgresql-0")


@pytest.fixture(scope="session")
def release(environment: dict[str, str]) -> Iterator[Release]:
    """The chart with its database, watching all namespaces, in a namespace that is gone afterwards."""
    kubectl = Kubectl(environment, f"hammerwork-e2e-{secrets.token_hex(3)}")
    if others := other_operators(kubectl):
        pytest.fail(f"{', '.join(others)}: would serve the tests' batches too; uninstall it first (make demo-down)")
    release = Release(kubectl, chosen_images())
    try:
        release.install(*release.database_values())
        database_of(release).prepare_ledger()
        kubectl.apply(manifests.handlers())
        yield release
    finally:
        # The batches first: without an operator nobody would take their finalizer off.
        with contextlib.suppress(CommandError):
            kubectl("delete", "jobbatches,workerpools", "--all", "--timeout=60s", seconds=90)
            release.uninstall()
        kubectl("delete", "namespace", kubectl.namespace, "--ignore-not-found", "--timeout=120s", seconds=150)


@pytest.fixture(scope="session")
def kubectl(release: Release) -> Kubectl:
    """kubectl in the namespace of the release."""
    return release.kubectl


@pytest.fixture(scope="session")
def database(release: Release) -> Database:
    """The release's database, with the ledger that its handlers write to."""
    return database_of(release)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add to a failed test what the cluster says."""
    report = yield
    release = getattr(item, "funcargs", {}).get("release")
    if report.failed and isinstance(release, Release):
        report.sections.append(("cluster", release.report()))
    return report
