"""Wheels of this tree and of made-up next versions, each installed into a folder of its own beside this environment.

The next version has a changed function, a function with another signature beside the old one, and a migration that adds
a column. Where a text that it changes is not there any more, making it fails: it has to be made of another one then.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from hammerwork.backends.migrating import VERSION

NEXT = VERSION + 1
MIGRATION = "migrations/900_next.sql"

_ROOT = Path(__file__).parents[2]
_PARTS = ("hammerwork", "cli", "operator", "worker_image", "crds", "pyproject.toml", "README.md", "LICENSE")
_BACKENDS = Path("hammerwork", "backends")

_ENQUEUE_2 = """
-- As hammerwork_enqueue_1, which older processes call, and notes who made the batch.
CREATE OR REPLACE FUNCTION hammerwork_enqueue_2(
    p_batch json, p_pages json, p_payloads text[], p_chunks json, p_made_by int
) RETURNS TABLE (created boolean, state text, sealed boolean, total bigint, fingerprint text, waiting boolean)
LANGUAGE plpgsql SET jit = off SET lock_timeout = '50s' AS $$
BEGIN
    RETURN QUERY SELECT * FROM hammerwork_enqueue_1(p_batch, p_pages, p_payloads, p_chunks);
    UPDATE hammerwork_batches SET made_by = p_made_by WHERE hammerwork_batches.id = (p_batch->>'id')::uuid;
END $$;
"""
_UNLESS = """
SET @statement = IF((SELECT COUNT(*) FROM information_schema.{table} WHERE table_schema = DATABASE() AND {there}) = 0,
    '{statement}', 'DO 0');
PREPARE migration FROM @statement;
EXECUTE migration;
DEALLOCATE PREPARE migration;
"""
"""A statement that a migration of MySQL or MariaDB, which may start over, runs once: DDL commits by itself."""


@dataclass
class Installation:
    """A version of Hammerwork in a folder of its own; the packages that it needs are this environment's."""

    version: int
    folder: Path

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of its programs, `sys.executable -m …`; they must not start in this tree."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HAMMERWORK_")}
        return {**kept, "PYTHONPATH": str(self.folder), "PYTHONDONTWRITEBYTECODE": "1", **more}


def this_version(folder: Path) -> Installation:
    """Build and install this tree."""
    tree = folder / "tree"
    tree.mkdir(parents=True)
    for part in _PARTS:
        if (_ROOT / part).is_dir():
            shutil.copytree(_ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(_ROOT / part, tree / part)
    return Installation(VERSION, _installed(tree, folder))


def next_version(of: Installation, folder: Path) -> Installation:
    """Build and install the next version, made of the tree that `this_version` has left."""
    tree = folder / "tree"
    shutil.copytree(of.folder.parent / "tree", tree)
    backends = tree / _BACKENDS
    _edit(backends / "migrating.py", f"\nVERSION = {VERSION}\n", f"\nVERSION = {NEXT}\n")
    postgres, mysql = backends / "postgres", backends / "mysql"
    _edit(postgres / "sql/upkeep.sql", "    v_passed float8;\n", "    v_passed float8;\n    v_next_version int;\n")
    enqueue = postgres / "sql/enqueue.sql"
    _edit(
        enqueue,
        "FROM hammerwork_enqueue_1(:settings, :pages, :payloads::text[], :chunks)",
        f"FROM hammerwork_enqueue_2(:settings, :pages, :payloads::text[], :chunks, {NEXT})",
    )
    _edit(enqueue, "\n-- name: open\n", f"{_ENQUEUE_2}\n-- name: open\n")
    (postgres / MIGRATION).write_text(
        f"ALTER TABLE hammerwork_batches ADD COLUMN made_by int NOT NULL DEFAULT {VERSION};"
    )
    _edit(mysql / "sql/upkeep.sql", "SET @turn = NULL, ", "SET @next_version = NULL, @turn = NULL, ")
    _edit(mysql / "sql/enqueue.sql", "hammerwork_batches (\n    id, ", "hammerwork_batches (\n    made_by, id, ")
    _edit(mysql / "sql/enqueue.sql", "VALUES (\n    :id, ", f"VALUES (\n    {NEXT}, :id, ")
    column = f"ALTER TABLE hammerwork_batches ADD COLUMN made_by INT NOT NULL DEFAULT {VERSION}"
    there = "table_name = 'hammerwork_batches' AND column_name = 'made_by'"
    (mysql / MIGRATION).write_text(_UNLESS.format(table="columns", there=there, statement=column))
    return Installation(NEXT, _installed(tree, folder))


def closing_version(of: Installation, folder: Path) -> Installation:
    """Return the next version with a migration after which older ones must not go on."""
    shutil.copytree(of.folder, folder / "installed")
    installation = Installation(of.version, folder / "installed")
    for backend in ("postgres", "mysql"):
        migration = installation.folder / _BACKENDS / backend / MIGRATION
        migration.write_text(f"-- least version: {NEXT}\n{migration.read_text()}")
    return installation


def breaking_version(of: Installation, folder: Path) -> Installation:
    """Return a closing version whose migration takes away what workers of older ones call."""
    installation = closing_version(of, folder)
    backends = installation.folder / _BACKENDS
    _rename(backends / "postgres/sql", "hammerwork_exchange_1", "hammerwork_exchange_2")
    _rename(backends / "mysql/sql", "hammerwork_claims", "hammerwork_held")
    with (backends / "postgres" / MIGRATION).open("a") as migration:
        migration.write("DROP FUNCTION IF EXISTS hammerwork_exchange_1;\n")
    renaming = "RENAME TABLE hammerwork_claims TO hammerwork_held"
    with (backends / "mysql" / MIGRATION).open("a") as migration:
        migration.write(_UNLESS.format(table="tables", there="table_name = 'hammerwork_held'", statement=renaming))
    return installation


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, f"{path}: {text.count(old)} times {old!r}"
    path.write_text(text.replace(old, new))


def _rename(folder: Path, old: str, new: str) -> None:
    renamed = 0
    for path in folder.glob("*.sql"):
        text, count = re.subn(rf"\b{old}\b", new, path.read_text())
        path.write_text(text)
        renamed += count
    assert renamed, f"{folder}: nothing is called {old}"


def _installed(tree: Path, folder: Path) -> Path:
    """Return the folder that has the wheel of `tree`; nothing is fetched from anywhere."""
    wheels, installed = folder / "wheels", folder / "installed"
    _pip("wheel", "--no-build-isolation", "--wheel-dir", str(wheels), str(tree))
    (wheel,) = wheels.iterdir()
    _pip("install", "--no-compile", "--target", str(installed), str(wheel))
    return installed


def _pip(command: str, *arguments: str) -> None:
    pip = [sys.executable, "-m", "pip", command, "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    done = subprocess.run([*pip, *arguments], check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
