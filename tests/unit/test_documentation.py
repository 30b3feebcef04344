"""The documentation holds together: each page is in the index, each link leads somewhere, each test it names exists."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from hammerwork.backends.migrating import VERSION, Wanted
from hammerwork.backends.sql import list_sql, read_sql

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
INDEX = DOCS / "README.md"
PAGES = sorted(
    path
    for path in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part in {"build", "node_modules"} for part in path.relative_to(ROOT).parts)
)

_FENCED = re.compile(r"^( *)(```|~~~).*?^\1\2", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_OF_A_TEST = re.compile(r"\btest_\w+")
_MAKE = re.compile(r"`make ([a-z-]+)")


def links(text: str) -> list[str]:
    """Return where the links of a Markdown text lead, but for those that are only shown as code."""
    return _LINK.findall(_CODE.sub("", _FENCED.sub("", text)))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return what a link may name behind the # of a page: its headings as GitHub spells them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", page.read_text())):
        shown = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        repeated = sum(1 for other in found if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", other))
        found.add(f"{slug}-{repeated}" if repeated else slug)
    return frozenset(found)


def is_broken(page: Path, link: str) -> bool:
    """Return whether a relative link leads to no file, or to no heading of it."""
    if re.match(r"[a-z]+:", link):
        return False
    path, _, anchor = link.partition("#")
    target = (page.parent / path).resolve() if path else page
    return not target.exists() or bool(anchor and anchor not in anchors(target))


def test_links_are_found_and_code_is_not() -> None:
    assert links("see [a](b.md#c)\n```\n[d](e.md)\n```\nand `[f](g.md)`") == ["b.md#c"]


def test_what_is_broken_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `b`, and c\n\n## Same\n\n## Same\n")
    good = ["https://example.com/", "page.md", "#a-b-and-c", "page.md#same-1", "../"]
    assert [link for link in good if is_broken(page, link)] == []
    assert [link for link in ("other.md", "#d", "page.md#same-2") if not is_broken(page, link)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page.read_text()) if is_broken(page, link)] == []


def test_every_page_is_in_the_index() -> None:
    listed = {(INDEX.parent / link.partition("#")[0]).resolve() for link in links(INDEX.read_text())}
    pages = {page for page in PAGES if page.is_relative_to(DOCS)} - {INDEX}
    assert pages
    assert {str(page.relative_to(DOCS)) for page in pages - listed} == set()


def test_each_decision_has_a_number_of_its_own() -> None:
    numbers = [page.name[:3] for page in PAGES if page.parent == DOCS / "decisions"]
    assert len(numbers) == len(set(numbers)) > 0


def test_the_index_is_linked_from_the_readme() -> None:
    assert "docs/README.md" in links((ROOT / "README.md").read_text())


def test_every_test_that_is_named_exists() -> None:
    files = list((ROOT / "tests").rglob("*.py"))
    there = {path.stem for path in files}
    for path in files:
        there.update(re.findall(r"def (test_\w+)", path.read_text()))
    named = {(page.name, name) for page in PAGES for name in _OF_A_TEST.findall(page.read_text())}
    assert named
    assert {(page, name) for page, name in named if name not in there} == set()


def test_every_make_target_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {(page.name, name) for page in PAGES for name in _MAKE.findall(page.read_text())}
    assert named
    assert {(page, name) for page, name in named if name not in targets} == set()


def test_every_version_of_the_database_is_listed_with_the_least_that_can_work_there() -> None:
    package = "hammerwork.backends.postgres"
    listed = re.findall(r"^\| (\d+) \|.*\| (\d+) \|$", (DOCS / "upgrading.md").read_text(), re.MULTILINE)
    assert [int(version) for version, _ in listed] == list(range(1, VERSION + 1))
    least = max(Wanted(path, read_sql(package, path)).least for path in list_sql(package, "migrations"))
    assert int(listed[-1][1]) == least
