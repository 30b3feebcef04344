"""Programs of another Debian suite, beside those of the system: nothing is installed, the system's apt stays as it is.

An apt with lists, cache and state of its own downloads a package and all that it depends on, from the mirror that the
machine uses already. Unpacked into one folder, its programs run with the loader and the libraries of that suite,
whatever the machine itself has.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError
from tests.cluster.locking import exclusive, lock_path
from tests.cluster.settings import cache_folder
from tests.harness.servers import UnavailableServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

_UPDATE_SECONDS = 180
_DOWNLOAD_SECONDS = 600
_KEYRINGS = ("debian-archive-keyring.gpg", "debian-archive-keyring.pgp")
_LEFT_OUT = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/perl*", "usr/lib/*/perl*")
_CONFIGURATION = """\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
Dir::Etc::SourceList "{folder}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State "{folder}/state";
Dir::State::Lists "{folder}/lists";
Dir::State::Status "{folder}/status";
Dir::Cache "{folder}/cache";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
APT::Get::Assume-Yes "true";
APT::Install-Recommends "false";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Acquire::Retries "2";
"""


def unpacked(suite: str, package: str, series: str) -> Path:
    """Return a folder with a package and all that it depends on; made once, then taken from the cache.

    Args:
        suite: of Debian, such as ``sid``.
        package: its name.
        series: the version's first numbers, such as ``9.7``; another version is refused.

    Raises:
        UnavailableServerError: It cannot be had here; tells the step that failed, and its last words.
    """
    cache = cache_folder()
    what = f"{package} {series} of Debian {suite}"
    try:
        with exclusive(lock_path(cache, f"{package}-{series}"), what=f"downloading {what}", seconds=1_200):
            found = newest(cache, package, series)
            return found or _download(cache, suite, package, series)
    except (ClusterError, _StepError) as error:
        raise UnavailableServerError(f"{what}: {error}") from error


def newest(cache: Path, package: str, series: str) -> Path | None:
    """Return the folder of the newest version of a series that the cache has."""
    folders = [path for path in cache.glob(f"{package}-{series}*") if in_series(version_of(path, package), series)]
    return max(folders, key=lambda path: _numbers(version_of(path, package)), default=None)


def version_of(folder: Path, package: str) -> str:
    """Return which version of a package the folder in the cache has."""
    return folder.name.removeprefix(f"{package}-")


def in_series(version: str, series: str) -> bool:
    """Whether a version has these first numbers; a beginning of a number is none: 9.71 is not of 9.7."""
    return re.match(rf"{re.escape(series)}(?!\d)", version) is not None


def mirror(targets: str, release: str) -> str | None:
    """Return the address that the machine gets its own release from.

    `targets` has a line "ADDRESS RELEASE COMPONENT" for each index that its apt knows.
    """
    for line in targets.splitlines():
        address, found, component = line.split()
        if (found, component) == (release, "main"):
            return address
    return None


def command(folder: Path, program: str, *args: str) -> list[str | Path]:
    """Return the command that runs a program of an unpacked folder, with the loader and the libraries in there."""
    libraries = next(folder.glob("usr/lib/*-linux-gnu*"))
    loader = next(libraries.glob("ld-linux*.so.*"))
    return [loader, "--library-path", libraries, folder / program, *args]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)]


class _StepError(Exception):
    """One step of getting a package failed; says which, and why."""


def _download(cache: Path, suite: str, package: str, series: str) -> Path:
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if shutil.which(program) is None:
            raise _StepError(f"there is no program {program}: this machine is no Debian")
    source = _machines_mirror()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{package}-", dir=cache) as name:
        folder = Path(name)
        for part in ("lists/partial", "cache/archives/partial", "state", "unpacked"):
            (folder / part).mkdir(parents=True)
        (folder / "status").touch()
        (folder / "apt.conf").write_text(_CONFIGURATION.format(folder=folder))
        (folder / "sources.list").write_text(f"deb {_signed_by()}{source} {suite} main\n")
        configuration = f"--config-file={folder / 'apt.conf'}"
        _step(["apt-get", configuration, "update"], _UPDATE_SECONDS)
        policy = _step(["apt-cache", configuration, "policy", package], 60)
        candidate = re.search(r"Candidate: (?:\d+:)?(\S+)", policy)
        version = candidate[1] if candidate else "no such package"
        if not in_series(version, series):
            raise _StepError(f"the mirror has {version}, wanted is {series}")
        _step(["apt-get", configuration, "--download-only", "install", package], _DOWNLOAD_SECONDS)
        for archive in sorted(folder.glob("cache/archives/*.deb")):
            _step(["dpkg-deb", "--extract", str(archive), str(folder / "unpacked")], 120)
        for pattern in _LEFT_OUT:
            for path in folder.glob(f"unpacked/{pattern}"):
                shutil.rmtree(path)
        (folder / "unpacked").chmod(0o755)
        return (folder / "unpacked").rename(cache / f"{package}-{version}")


def _machines_mirror() -> str:
    try:
        lines = Path("/etc/os-release").read_text().splitlines()
    except OSError as error:
        raise _StepError(str(error)) from error
    system = {name: value.strip('"') for name, _, value in (line.partition("=") for line in lines)}
    release = system.get("VERSION_CODENAME", "")
    if system.get("ID") != "debian" or not release:
        raise _StepError(f"this machine is no Debian release: {system.get('PRETTY_NAME', 'unknown')}")
    targets = _step(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)", "Created-By: Packages"], 60
    )
    found = mirror(targets, release)
    if found is None:
        raise _StepError(f"none of the machine's apt sources has {release} main; they have: {targets.split()}")
    return found


def _signed_by() -> str:
    for name in _KEYRINGS:
        path = Path("/usr/share/keyrings") / name
        if path.exists():
            return f"[signed-by={path}] "
    return ""


def _step(command: Sequence[str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired as error:
        raise _StepError(f"`{' '.join(command)}` had not ended after {seconds:g} s") from error
    if done.returncode != 0:
        words = " | ".join(done.stderr.strip().splitlines()[-4:]) or "no word"
        raise _StepError(f"`{' '.join(command)}` ended with {done.returncode}: {words}")
    return done.stdout
