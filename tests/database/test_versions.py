"""Two versions on one database: this one, and a made-up next one, each from a wheel of its own."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import signal
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from hammerwork.backends.migrating import VERSION
from hammerwork.processes import EXIT_INCOMPATIBLE
from tests.database.observing import DEADLINE_SECONDS, eventually, finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from hammerwork import JobQueue
    from tests.database.observing import Sql

ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("versioned.py")


def build(tree: Path, place: Path) -> Path:
    """Build the wheel of a tree and unpack it; return the folder for the import path."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(place)]
    done = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (wheel,) = place.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place / "packages")
    return place / "packages"


def change(file: Path, pattern: str, replacement: str) -> None:
    text, count = re.subn(pattern, replacement, file.read_text(), flags=re.DOTALL)
    assert count == 1, f"{file.name}: {pattern!r} found {count} times"
    file.write_text(text)


def make_next(tree: Path) -> None:
    """Make a next version of a tree: a column more, a function with another body, one with another signature."""
    backends = tree / "hammerwork/backends"
    change(backends / "migrating.py", rf"\nVERSION = {VERSION}\n", f"\nVERSION = {VERSION + 1}\n")
    for database in ("postgres", "mysql"):
        migration = "ALTER TABLE hammerwork_batches ADD COLUMN remark VARCHAR(100);\n"
        if database == "mysql":  # what is there already it leaves alone, there as in all migrations
            migration = "ALTER TABLE hammerwork_batches ADD COLUMN remark VARCHAR(100)"
        (backends / database / "migrations/900_remark.sql").write_text(migration)
    sql = backends / "postgres/sql"
    change(
        sql / "settle.sql",
        r"(hammerwork_count\(p_batch uuid.*?SET\n)",
        r"\1            remark = 'counted by the next version',\n",
    )
    change(
        sql / "claim.sql",
        r"(CREATE OR REPLACE FUNCTION hammerwork_exchange_)1(.*?)(p_reports json)(.*?END \$\$;\n)",
        r"\g<1>1\2\3\4\n\g<1>2\2\3, p_remark text\4",
    )
    change(
        sql / "claim.sql",
        r"hammerwork_exchange_1\(\$1, \$2, \$3, \$4, \$5\)",
        "hammerwork_exchange_2($1, $2, $3, $4, $5, 'next')",
    )
    change(
        backends / "mysql/sql/settle.sql",
        r"(SET b\.state = t\.state, )(b\.completed)",
        r"\1b.remark = 'counted by the next version', \2",
    )


@pytest.fixture(scope="session")
def versions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Import paths of this version, the next, and a next one whose tables this version cannot work with."""
    place = tmp_path_factory.mktemp("versions")
    tree = place / "tree"
    tree.mkdir()
    for name in ("hammerwork", "operator", "worker_image", "crds"):
        shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    paths = {"this": build(tree, place / "this")}
    make_next(tree)
    paths["next"] = build(tree, place / "next")
    for database in ("postgres", "mysql"):
        migration = tree / f"hammerwork/backends/{database}/migrations/900_remark.sql"
        migration.write_text(f"-- least version: {VERSION + 1}\n{migration.read_text()}")
    return paths | {"demanding": build(tree, place / "demanding")}


class Programs:
    """A worker and an enqueuer of one version."""

    def __init__(self, packages: Path, url: str, place: Path) -> None:
        self._packages = packages
        self._version = VERSION if packages.parent.name == "this" else VERSION + 1
        self._url = url
        place.mkdir()
        self.ran = place / "ran"
        self.stored = place / "stored"
        self._processes: list[asyncio.subprocess.Process] = []

    async def start(self, role: str) -> None:
        file = {"work": self.ran, "enqueue": self.stored}[role]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAM),
            role,
            self._url,
            str(file),
            stdout=asyncio.subprocess.PIPE,
            env={"PYTHONPATH": str(self._packages), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        self._processes.append(process)
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), DEADLINE_SECONDS)
        assert line == b"ready %d\n" % self._version, f"{role}: {line!r}"

    async def stop(self) -> None:
        """End both, the enqueuer first; fails unless they end well."""
        while self._processes:
            process = self._processes[-1]
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == 0
            self._processes.pop()

    async def ended(self, number: int) -> int:
        """Return the exit code of the process that was started as the `number`-th, from 0, once it has ended."""
        code = await asyncio.wait_for(self._processes[number].wait(), DEADLINE_SECONDS)
        del self._processes[number]
        return code

    def kill(self) -> None:
        for process in self._processes:
            with contextlib.suppress(ProcessLookupError):
                process.kill()

    async def store(self, count: int) -> None:
        """Return when the enqueuer has stored so many more batches."""
        before = len(lines(self.stored))

        async def look() -> int:
            return len(lines(self.stored)) - before

        await eventually(look, lambda stored: stored >= count)


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


@contextlib.asynccontextmanager
async def programs(packages: Path, url: str, place: Path) -> AsyncIterator[Programs]:
    both = Programs(packages, url, place)
    try:
        await both.start("work")
        await both.start("enqueue")
        yield both
    finally:
        both.kill()


async def all_ended(queue: JobQueue, *both: Programs) -> dict[UUID, int]:
    """Wait for all batches that have been stored; return their numbers of jobs, all of which have completed."""
    batches = {}
    for batch_id in [UUID(line) for one in both for line in lines(one.stored)]:
        status = await finished(queue, batch_id)
        assert (status.completed_jobs, status.failed_jobs) == (status.total_jobs, 0)
        batches[batch_id] = status.total_jobs
    return batches


def check_runs(batches: dict[UUID, int], *both: Programs) -> None:
    """Fail unless each job has run to its end once, and some on each side."""
    runs = [Counter(line for line in lines(one.ran) if UUID(line.split()[0]) in batches) for one in both]
    assert all(runs), "both have worked"
    assert set(sum(runs, Counter()).values()) == {1}
    assert sum(run.total() for run in runs) == sum(batches.values())


@pytest.mark.parametrize("order", [("this", "next"), ("next", "this")], ids=["upgrade", "rollback"])
async def test_two_versions_under_load(  # noqa: PLR0917 (fixtures)
    order: tuple[str, str], versions: dict[str, Path], queue: JobQueue, sql: Sql, database_url: str, tmp_path: Path
) -> None:
    """The second comes while the first works; later the first goes. Every job runs to its end once, by one of them."""
    first, second = (versions[name] for name in order)
    async with programs(first, database_url, tmp_path / "first") as old:
        await old.store(8)
        async with programs(second, database_url, tmp_path / "second") as new:
            await asyncio.gather(old.store(8), new.store(8))
            await old.stop()
            await new.store(8)
            batches = await all_ended(queue, old, new)
            await new.stop()
    check_runs(batches, old, new)
    assert await sql.value("SELECT max(version) FROM hammerwork_migrations") == VERSION + 1
    if database_url.startswith("postgres"):  # there, the functions are the database's
        assert await sql.value("SELECT version FROM hammerwork_migrations WHERE name = 'functions'") == VERSION + 1
        last = list(batches)[-1]
        remark = await sql.value("SELECT remark FROM hammerwork_batches WHERE id = $1", last)
        assert remark == "counted by the next version"


async def test_workers_that_are_too_old_end_while_those_of_the_next_version_go_on(
    versions: dict[str, Path], queue: JobQueue, database_url: str, tmp_path: Path
) -> None:
    async with programs(versions["this"], database_url, tmp_path / "first") as old:
        await old.store(8)
        async with programs(versions["demanding"], database_url, tmp_path / "second") as new:
            assert await old.ended(0) == EXIT_INCOMPATIBLE
            await new.store(4)
            await old.stop()
            batches = await all_ended(queue, old, new)
            await new.stop()
    check_runs(batches, old, new)
