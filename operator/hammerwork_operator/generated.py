"""Writes or checks the files made from the typed API: `python -m hammerwork_operator.generated --help`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from hammerwork_operator import crd, reference


def files() -> dict[str, str]:
    """Return the text of each file, by its path in the repository."""
    crds = {name: crd.render(definition) for name, definition in crd.definitions().items()}
    return {
        **{f"crds/{name}": text for name, text in crds.items()},
        # Helm reads nothing outside of a chart's folder.
        **{f"charts/hammerwork/files/crds/{name}": text for name, text in crds.items()},
        **{f"docs/reference/{name}": text for name, text in reference.pages().items()},
    }


def main(arguments: list[str] | None = None) -> int:
    """Write the files, or tell which differ; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m hammerwork_operator.generated",
        description="The CRDs, the chart's copy of them, and the pages of docs/reference, made from the typed API.",
    )
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", metavar="ROOT", type=Path, help="write the files below this folder")
    mode.add_argument("--check", metavar="ROOT", type=Path, help="exit with 1 if a file there is not up to date")
    options = parser.parse_args(arguments)
    texts = files()
    if options.write:
        for name, text in texts.items():
            path = options.write / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return 0
    wanted = {options.check / name: text for name, text in texts.items()}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]
    stale += sorted({other for path in wanted for other in path.parent.iterdir() if path.parent.is_dir()} - set(wanted))
    for path in stale:
        sys.stderr.write(f"{path} is not up to date; run `make generated`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
