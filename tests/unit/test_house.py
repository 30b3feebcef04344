"""The tree in CONTRIBUTING.md is the tree that git knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
TREE = (ROOT / "CONTRIBUTING.md").read_text().partition("## The house")[2].partition("Rules that")[0]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")


def entries(indentation: int) -> list[str]:
    """The first words of lines of the tree that are indented so far."""
    return re.findall(rf"^ {{{indentation}}}(\S+?)/? ", TREE, re.MULTILINE)


def folders(place: str = ".") -> list[str]:
    """Folders in a place, by what is in them."""
    done = subprocess.run(
        ["git", "ls-files", "--", "."], cwd=ROOT / place, check=True, capture_output=True, text=True, timeout=60
    )
    paths = [PurePath(line) for line in done.stdout.splitlines()]
    return sorted({path.parts[0] for path in paths if len(path.parts) > 1})


def test_every_top_level_folder_is_in_the_tree_and_no_other() -> None:
    assert sorted(entry.partition("/")[0] for entry in entries(4)) == folders()


def test_every_room_of_library_and_operator_is_in_the_tree_and_no_other() -> None:
    rooms = [entry for entry in entries(6) if "." not in entry]
    assert sorted(rooms) == sorted(folders("hammerwork") + folders("operator/hammerwork_operator"))
