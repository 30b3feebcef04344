"""Whom a portable worker trusts. `os.environ` must not tell of it, since commands get their environment from there."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import os, sys
sys.prefix = sys.argv[1]
from hammerwork.working import portable
portable._BUNDLES = (sys.argv[2],)
del sys.argv[1:]
before = dict(os.environ)
from hammerwork_worker.portable import main
assert main() == 2, "nothing is set"
assert os.environ == before
import ssl, aiohttp.connector
theirs = aiohttp.connector._SSL_CONTEXT_VERIFIED
print(*sorted({len(context.get_ca_certs()) for context in (ssl.create_default_context(), theirs)}))
"""
NOBODY = {"SSL_CERT_FILE": "/nothing", "SSL_CERT_DIR": "/nothing"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("authority") / "ca.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-keyout", os.devnull, "-subj", "/CN=Authority", "-out", str(file)]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    return file


def trusted(prefix: Path, bundle: Path, environment: dict[str, str] | None = None) -> str:
    """How many authorities a worker trusts whose files are in `prefix`, in an image that has this bundle."""
    inherited = {name: value for name, value in os.environ.items() if name not in NOBODY}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, prefix, bundle],
        env={**inherited, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_portable_worker_trusts_whom_its_image_trusts_or_else_whom_it_brings_along(
    certificate: Path, tmp_path: Path
) -> None:
    (tmp_path / "ld.so").touch()
    (tmp_path / "ca-certificates.crt").write_text(certificate.read_text())
    assert trusted(tmp_path, tmp_path / "no-bundle") == "1", "its own"
    (tmp_path / "ca-certificates.crt").unlink()
    assert trusted(tmp_path, certificate) == "1", "the image's"
    assert trusted(tmp_path, certificate, NOBODY) == "0", "the container's environment says whom"


def test_other_workers_are_left_alone(certificate: Path, tmp_path: Path) -> None:
    assert trusted(tmp_path, certificate) == trusted(tmp_path, tmp_path / "no-bundle")
