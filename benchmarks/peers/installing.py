"""Installs peers with their own package managers, in a cache folder (``$HAMMERWORK_CACHE``, ~/.cache/hammerwork)."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from benchmarks.measuring import say

_PEERS = Path(__file__).parent
_DEADLINE_SECONDS = 900


class NotInstallableError(Exception):
    """A peer cannot be installed here; the message says why."""


class Installation:
    """A copy of a peer's folder with its packages, renewed when the folder's files change."""

    def __init__(self, folder: str, language: str) -> None:
        self._source = _PEERS / folder
        self._language = language
        self._home = _cache_folder() / f"{folder}-{_digest(self._source)}"

    def install(self) -> list[str]:
        """Install the peer if it is not there yet; return the command that its program is run with.

        Raises:
            NotInstallableError: A tool is missing, or it failed.
        """
        done = self._home / "installed"
        if not done.exists():
            say(f"installing {self._source.name} in {self._home}")
            shutil.rmtree(self._home, ignore_errors=True)
            shutil.copytree(self._source, self._home)
            {"node": self._install_node, "python": self._install_python, "rust": self._install_rust}[self._language]()
            done.touch()
        return {
            "node": ["node", str(self._home / "program.js")],
            "python": [str(self._home / "venv/bin/python"), str(self._home / "program.py")],
            "rust": [str(self._home / "program")],
        }[self._language]

    def _install_node(self) -> None:
        # Exact versions are in package.json; a lock file would pin the addresses of one registry.
        self._run("npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--silent")

    def _install_python(self) -> None:
        self._run(sys.executable, "-m", "venv", "venv")
        pip = ("venv/bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
        self._run(*pip, "--require-hashes", "--only-binary", ":all:", "--requirement", "requirements.txt")

    def _install_rust(self) -> None:
        self._run("cargo", "build", "--release", "--quiet", "--target-dir", "target")
        shutil.copy2(self._home / "target/release" / _crate_name(self._home), self._home / "program")
        shutil.rmtree(self._home / "target")

    def _run(self, program: str, *arguments: str) -> None:
        if "/" not in program and shutil.which(program) is None:
            raise NotInstallableError(f"{program} is not installed")
        try:
            done = subprocess.run(
                [program, *arguments],
                cwd=self._home,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise NotInstallableError(f"{program} did not end within {_DEADLINE_SECONDS} s") from error
        if done.returncode != 0:
            raise NotInstallableError(f"{program} ended with {done.returncode}: {done.stderr[-1000:]}")


def _crate_name(home: Path) -> str:
    return str(tomllib.loads((home / "Cargo.toml").read_text(encoding="utf-8"))["package"]["name"])


def _cache_folder() -> Path:
    given = os.environ.get("HAMMERWORK_CACHE")
    return (Path(given) if given else Path.home() / ".cache/hammerwork") / "benchmarks"


def _digest(folder: Path) -> str:
    sums = [
        hashlib.sha256(f"{path.relative_to(folder)}\0".encode() + path.read_bytes()).digest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]
    return hashlib.sha256(b"".join(sums)).hexdigest()[:12]
