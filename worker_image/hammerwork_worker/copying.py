"""`hammerwork-worker-copy`: brings the portable worker into a volume, for containers of other images."""

from __future__ import annotations

import argparse
import errno
import os
import shutil
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

PORTABLE_WORKER = Path("/opt/hammerwork-worker")
"""Where the worker's image has it."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT}


def main(arguments: Sequence[str] | None = None, *, source: Path = PORTABLE_WORKER) -> int:
    """Copy the portable worker and return the exit code."""
    parser = argparse.ArgumentParser(
        prog="hammerwork-worker-copy",
        description="Copies the portable worker of this image into a folder. What is there already is replaced.",
    )
    parser.add_argument("folder", type=Path, help="such as the mount path of a volume")
    target = parser.parse_args(arguments).folder
    started = time.monotonic()
    try:
        size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file()) / 1e6
        _copy(source, target)
    except OSError as error:
        cause = f"no room for the worker's {size:.0f} MB" if error.errno in _NO_ROOM else error
        sys.stderr.write(f"hammerwork-worker-copy: {target}: {cause}\n")
        return 1
    sys.stderr.write(f"{target}: {size:.0f} MB in {time.monotonic() - started:.2f} s\n")
    return 0


def _copy(source: Path, target: Path) -> None:
    os.umask(0o022)  # whoever the worker runs as can read the files
    for folder, _, names in os.walk(source, onerror=_fail):
        here = target / Path(folder).relative_to(source)
        here.mkdir(parents=True, exist_ok=True)
        for name in names:
            shutil.copy(Path(folder, name), here / name)


def _fail(error: OSError) -> None:
    raise error


if __name__ == "__main__":
    sys.exit(main())
