"""The portable worker: a folder that holds a Python with a worker in it, and works in any Linux image.

`images/portable.py` makes it. What it starts with is told to the loader and to the interpreter by options, so that the
environment of its process, and with it that of the commands that it runs, stays the container's own.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_LOADER = "ld.so"
_AUTHORITIES = "ca-certificates.crt"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, distroless
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL, Amazon Linux
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine without the package ca-certificates
)
"""Where images have the authorities that they trust. The OpenSSL of the worker looks only where Debian has them."""


def python_command(folder: str) -> list[str]:
    """Return the command that starts the Python of the portable worker in `folder`; what it shall run follows."""
    loader = [f"{folder}/{_LOADER}", "--inhibit-cache", "--library-path", f"{folder}/lib"]
    # Neither variables such as PYTHONPATH nor the folder that the container starts in lead it to modules of the image.
    return [*loader, f"{folder}/bin/python3", "-I", "-S", "-X", "utf8"]


def is_portable() -> bool:
    """Return whether this process is a portable worker."""
    return Path(sys.prefix, _LOADER).is_file()


def this_python() -> list[str]:
    """Return the command that starts one more Python like the one of this process."""
    return python_command(sys.prefix) if is_portable() else [sys.executable]


def provide_authorities() -> None:
    """Have a portable worker trust whom the image trusts, or where that trusts nobody, whom the worker's image does.

    To be called before there is any TLS. `os.environ`, from which commands get their environment, stays as it is.
    """
    if not is_portable() or os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        return
    for bundle in (*_BUNDLES, f"{sys.prefix}/{_AUTHORITIES}"):
        if Path(bundle).is_file():
            os.putenv("SSL_CERT_FILE", bundle)
            return
