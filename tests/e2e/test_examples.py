"""The examples of the documentation, all on the cluster at the same time."""

from __future__ import annotations

import base64
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.e2e.manifests import worker_pods
from tests.e2e.release import ROOT
from tests.harness.examples import (
    FEW_TILE_PIXELS,
    RECEIPTS,
    THUMBNAILS,
    expected_bills,
    wrong_receipts,
    wrong_thumbnails,
    wrong_tile_pixels,
)
from tests.harness.kubectl import lacks_condition

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.ledger import Database
    from tests.harness.kubectl import Kubectl
    from tests.harness.manifests import Manifest


@pytest.fixture(scope="module")
def examples(kubectl: Kubectl) -> Iterator[Kubectl]:
    """kubectl where all examples were applied."""
    everything = ("--recursive", "--filename", str(ROOT / "examples"))
    kubectl("apply", *everything)
    yield kubectl
    kubectl("delete", *everything, "--timeout=60s", seconds=90)


def completed(kubectl: Kubectl, name: str, *, jobs: int, failed: int = 0) -> Manifest:
    """Return the batch once it is complete."""
    batch = kubectl.wait_for("jobbatch", name, lacks_condition("Complete"), seconds=120)
    counts = [batch["status"][count] for count in ("completedJobs", "failedJobs")]
    assert counts == [jobs - failed, failed], batch["status"]
    return batch


def test_every_welcome_mail_is_delivered_exactly_once(examples: Kubectl) -> None:
    completed(examples, "welcome-emails", jobs=300)
    completed(examples, "summer-news", jobs=5)
    messages = examples.proxied("smtp", "http", "messages")["messages"]
    received = Counter(recipient for message in messages for recipient in message["recipients"])
    expected = {f"user{index}@example.com" for index in range(300)}
    expected |= {f"{name}@example.org" for name in ("founder", "partner", "reader1", "reader2", "archive")}
    assert received == dict.fromkeys(expected, 1)


def test_data_processing_completes(examples: Kubectl) -> None:
    completed(examples, "daily-data-processing", jobs=100)


def test_a_package_of_the_images_own_tells_wrong_accounts(examples: Kubectl) -> None:
    batch = completed(examples, "supplier-accounts", jobs=12, failed=3)
    [group] = batch["status"]["errors"]
    assert (group["type"], group["count"]) == ("WrongIbanError", 3)


def test_a_batch_handler_stores_every_bill_once(examples: Kubectl, database: Database) -> None:
    completed(examples, "january-bills", jobs=len(expected_bills()))
    rows = database.query("SELECT meter, kwh, cents FROM bills")
    assert {row["meter"]: (row["kwh"], row["cents"]) for row in rows} == expected_bills()
    assert len(rows) == len(expected_bills())


def test_a_command_in_an_image_without_a_worker_makes_each_thumbnail(examples: Kubectl) -> None:
    completed(examples, "gallery", jobs=len(THUMBNAILS))
    script = 'cd thumbnails && for file in *; do echo "$file $(base64 --wrap=0 "$file")"; done'
    said = examples("exec", "deploy/thumbnails-worker", "--container=worker", "--", "sh", "-c", script)
    thumbnails = {name: base64.b64decode(text) for name, text in map(str.split, said.splitlines())}
    assert wrong_thumbnails(ROOT / "examples" / "thumbnails" / "pictures", thumbnails) == {}


def test_a_node_program_writes_each_receipt(examples: Kubectl) -> None:
    completed(examples, "receipts-of-today", jobs=RECEIPTS)
    # A line is "receipts/17.txt:Receipt 17: 17,99 €".
    said = examples("exec", "deploy/receipts-worker", "--container=worker", "--", "grep", "--recursive", "", "receipts")
    lines = (line.removeprefix("receipts/").partition(":") for line in said.splitlines())
    assert wrong_receipts({name: text for name, _, text in lines}) == {}


def test_a_service_in_a_sidecar_renders_each_tile(examples: Kubectl) -> None:
    completed(examples, "zoom-3", jobs=64)
    [pod] = [pod["metadata"]["name"] for pod in examples.list("pods", worker_pods("fractal-tiles"))]
    listed = re.findall(r'href="([^"]+)"', examples.fetched(pod, 8090, "tiles/").decode())
    assert sorted(listed) == sorted(f"3-{column}-{row}.png" for row in range(8) for column in range(8))
    for tile in (0, 28, 37, 63):
        content = examples.fetched(pod, 8090, f"tiles/3-{tile % 8}-{tile // 8}.png")
        assert wrong_tile_pixels(3, tile, content) < FEW_TILE_PIXELS
