"""What all suites of tests may use."""

from __future__ import annotations

pytest_plugins = ["tests.harness.databases"]
