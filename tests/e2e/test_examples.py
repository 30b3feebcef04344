"""The examples of the documentation, with the mail server that they bring along."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tests.e2e.release import ROOT
from tests.harness.kubectl import lacks_condition

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl


def test_every_welcome_mail_is_delivered_exactly_once(kubectl: Kubectl) -> None:
    folder = str(ROOT / "examples" / "welcome-emails")
    kubectl("apply", "--filename", folder)
    for name, jobs in (("welcome-emails", 300), ("summer-news", 5)):
        batch = kubectl.wait_for("jobbatch", name, lacks_condition("Complete"), seconds=120)
        assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (jobs, 0)
    messages = kubectl.proxied("smtp", "http", "messages")["messages"]
    received = Counter(recipient for message in messages for recipient in message["recipients"])
    expected = {f"user{index}@example.com" for index in range(300)}
    expected |= {f"{name}@example.org" for name in ("founder", "partner", "reader1", "reader2", "archive")}
    assert received == dict.fromkeys(expected, 1)
    kubectl("delete", "--filename", folder, "--timeout=60s", seconds=90)


def test_data_processing_completes(kubectl: Kubectl) -> None:
    folder = str(ROOT / "examples" / "data-processing")
    kubectl("apply", "--filename", folder)
    batch = kubectl.wait_for("jobbatch", "daily-data-processing", lacks_condition("Complete"), seconds=60)
    assert (batch["status"]["completedJobs"], batch["status"]["failedJobs"]) == (100, 0)
    kubectl("delete", "--filename", folder, "--timeout=60s", seconds=90)
