"""Database URLs that cannot be used are refused with their reason, before anything is connected."""

from __future__ import annotations

import pytest

from hammerwork import JobQueue, UnsupportedDatabaseError


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sqlite:///jobs.db", "scheme 'sqlite': not supported; use postgresql://"),
        ("localhost/jobs", "scheme '': not supported"),
        ("postgresql://localhost:fivefour/jobs", "Port could not be cast to integer value as 'fivefour'"),
        ("mysql://localhost:99999/jobs", "Port out of range"),
        ("postgresql://[::1/jobs", "Invalid IPv6 URL"),
    ],
)
async def test_a_url_that_cannot_be_used_is_refused_with_its_reason(url: str, reason: str) -> None:
    with pytest.raises(UnsupportedDatabaseError, match=r"^database URL") as refused:
        await JobQueue.connect(url)
    assert reason in str(refused.value)
