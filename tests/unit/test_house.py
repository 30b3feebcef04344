"""The tree in CONTRIBUTING.md is the tree that git knows."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path, PurePath

import pytest

ROOT = Path(__file__).parents[2]
TREE = (ROOT / "CONTRIBUTING.md").read_text().partition("## The house")[2].partition("Rules that")[0]

pytestmark = pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")


def entries(text: str, indentation: int) -> list[str]:
    """The first words of lines that are indented so far."""
    return re.findall(rf"^ {{{indentation}}}(\S+?)/? ", text, re.MULTILINE)


def rooms(folder: str) -> list[str]:
    """The folders that the tree has below one."""
    below = TREE.partition(f"\n    {folder}/ ")[2]
    of_it = re.split(r"^ {4}\S", below, maxsplit=1, flags=re.MULTILINE)[0]
    return sorted(entry for entry in entries(of_it, 6) if "." not in entry)


def folders(place: str = ".") -> list[str]:
    """Folders in a place, by what is in them."""
    done = subprocess.run(
        ["git", "ls-files", "--", "."], cwd=ROOT / place, check=True, capture_output=True, text=True, timeout=60
    )
    paths = [PurePath(line) for line in done.stdout.splitlines()]
    return sorted({path.parts[0] for path in paths if len(path.parts) > 1})


def test_every_top_level_folder_is_in_the_tree_and_no_other() -> None:
    assert sorted(entry.partition("/")[0] for entry in entries(TREE, 4)) == folders()


def test_every_room_of_the_library_is_in_the_tree_and_no_other() -> None:
    assert rooms("hammerwork") == folders("hammerwork")


def test_every_room_of_the_operator_is_in_the_tree_and_no_other() -> None:
    assert rooms("operator") == folders("operator/hammerwork_operator")


def test_the_tree_has_what_tests_stand_on() -> None:
    assert rooms("tests") == ["cluster", "harness"]
    assert {*rooms("tests")} < {*folders("tests")}
