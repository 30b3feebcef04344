"""The bases of our images where no registry can be reached: Debian, and Debian's Python, under local names."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.commands import require_programs, require_root, run
from tests.cluster.errors import ClusterError
from tests.cluster.locking import exclusive, lock_path
from tests.cluster.settings import cache_folder

_RECIPE = "1"  # raise it with any change below, so that nobody keeps an image of before
_LABEL = "hammerwork.base-image"
_BUILD_SECONDS = 1200.0
_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
# Caches and documents that only make the image larger.
_UNWANTED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


@dataclass(frozen=True)
class Base:
    """A minimal Debian with a few packages."""

    name: str
    packages: tuple[str, ...]
    command: str
    variables: tuple[str, ...]
    """Names of what `_VARIABLES` sets."""


_VARIABLES = {"LANG": "C.UTF-8", "PIP_CERT": _CERTIFICATES, "SSL_CERT_FILE": _CERTIFICATES}
BASES = {
    "python": Base(
        "localhost/hammerwork/python:3.11",
        ("ca-certificates", "python3", "python3-pip", "python3-venv"),
        "python3",
        ("LANG", "PIP_CERT", "SSL_CERT_FILE"),
    ),
    "debian": Base("localhost/hammerwork/debian:12", ("ca-certificates",), "bash", ("LANG", "SSL_CERT_FILE")),
}


def ensure(base: Base) -> None:
    """Have the image in buildah's storage: from there, else from the cached archive, else built anew.

    Raises:
        ClusterError: not root, programs are missing, or a step failed.
    """
    require_root("building the base image")
    require_programs(["buildah", "debootstrap"])
    started = time.monotonic()
    suite = _suite()
    bundle = _certificate_bundle().read_bytes()
    key = cache_key(base, suite, bundle)
    archive = cache_folder() / f"base-image-{suite}-{key}.tar"
    with exclusive(lock_path(cache_folder(), base.name), what=f"building {base.name}", seconds=_BUILD_SECONDS):
        if _label_in_storage(base) == key:
            print(f"{base.name}: in buildah's storage", flush=True)
            return
        if not archive.is_file():
            _build(base, archive, suite, key, bundle)
        image = run(["buildah", "pull", "--quiet", f"oci-archive:{archive}"], seconds=300).stdout.split()[-1]
        run(["buildah", "tag", image, base.name])
    print(f"{base.name}: ready after {time.monotonic() - started:.0f} s", flush=True)


def cache_key(base: Base, suite: str, bundle: bytes) -> str:
    """A digest of all that goes into the image, but for the versions of Debian's packages."""
    ingredients = "\0".join([_RECIPE, suite, *base.packages, *_UNWANTED, *base.variables])
    return hashlib.sha256(ingredients.encode() + b"\0" + bundle).hexdigest()[:12]


def _label_in_storage(base: Base) -> str | None:
    template = f'{{{{index .OCIv1.Config.Labels "{_LABEL}"}}}}'
    done = run(["buildah", "inspect", "--type", "image", "--format", template, base.name], check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def _suite() -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "VERSION_CODENAME":
            return value.strip('"')
    raise ClusterError("/etc/os-release: no VERSION_CODENAME; the base image is built on Debian only")


def _mirror(suite: str) -> str:
    """The address from which this machine's apt gets the suite."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    for line in run(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).stdout.splitlines():
        address, release, component = line.split()
        if (release, component) == (suite, "main"):
            return address
    raise ClusterError(f"apt: no source for {suite} main; add it to /etc/apt/sources.list.d and run apt-get update")


def _certificate_bundle() -> Path:
    """The authorities that this machine trusts, which may include those of a proxy between it and the world."""
    bundle = Path(os.environ.get("SSL_CERT_FILE") or _CERTIFICATES)
    if not bundle.is_file():
        raise ClusterError(f"{bundle}: no CA bundle there; install ca-certificates or set SSL_CERT_FILE")
    return bundle


def _build(base: Base, archive: Path, suite: str, key: str, bundle: bytes) -> None:
    cache_folder().mkdir(parents=True, exist_ok=True)
    print(f"{base.name}: building from Debian {suite} (one or two minutes)", flush=True)
    work = Path(tempfile.mkdtemp(prefix="hammerwork-base-"))
    partial = archive.with_suffix(".partial")
    container = ""
    try:
        root = work / "root"
        include = f"--include={','.join(base.packages)}"
        run(["debootstrap", "--variant=minbase", include, suite, root, _mirror(suite)], seconds=_BUILD_SECONDS)
        _finish(root, bundle)
        container = run(["buildah", "from", "--quiet", "scratch"]).stdout.strip()
        run(["buildah", "add", "--quiet", container, root, "/"], seconds=300)
        variables = [word for name in base.variables for word in ("--env", f"{name}={_VARIABLES[name]}")]
        run(["buildah", "config", *variables, "--cmd", base.command, "--label", f"{_LABEL}={key}", container])
        partial.unlink(missing_ok=True)
        run(["buildah", "commit", "--quiet", container, f"oci-archive:{partial}:{base.name}"], seconds=300)
        partial.rename(archive)
    finally:
        if container:
            run(["buildah", "rm", container], check=False)
        shutil.rmtree(work, ignore_errors=True)


def _finish(root: Path, bundle: bytes) -> None:
    for folder in _UNWANTED:
        for entry in (root / folder).iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
    (root / _CERTIFICATES.lstrip("/")).write_bytes(bundle)
    if (root / "usr/bin/python3").exists():
        (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    # In an image, as in the public Python image, pip may install beside the packages of Debian.
    for mark in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        mark.unlink()
