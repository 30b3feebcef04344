"""The parts of the database servers' harness that need no server."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.harness.servers import UnavailableServerError, debian
from tests.harness.servers.given import GivenServer

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = """\
ftp://mirror/debian-security bookworm-security main
ftp://mirror/debian bookworm contrib
ftp://mirror/debian bookworm main
ftp://elsewhere/debian bookworm main
"""


class TestDebian:
    @pytest.mark.parametrize(("release", "found"), [("bookworm", "ftp://mirror/debian"), ("trixie", None)])
    def test_the_mirror_is_the_one_that_the_machine_has_its_release_from(self, release: str, found: str | None) -> None:
        assert debian.mirror(TARGETS, release) == found

    @pytest.mark.parametrize(
        ("version", "expected"),
        [("9.7.4-2", True), ("9.7", True), ("9.7-1", True), ("9.71.0-1", False), ("9.8.0", False), ("19.7.1", False)],
    )
    def test_a_series_is_the_beginning_of_a_version_number_by_number(self, version: str, expected: bool) -> None:
        assert debian.in_series(version, "9.7") is expected

    def test_the_newest_version_of_the_series_is_taken_from_the_cache(self, tmp_path: Path) -> None:
        for name in ("mysql-9.7.4-2", "mysql-9.7.10-1", "mysql-9.8.0-1", "mysql-data-9.7.11-1", "mysql-9.70.1-1"):
            (tmp_path / name).mkdir()
        assert debian.newest(tmp_path, "mysql", "9.7") == tmp_path / "mysql-9.7.10-1"
        assert debian.newest(tmp_path, "mysql", "9.6") is None

    def test_what_is_in_the_cache_needs_no_network(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path))
        monkeypatch.setenv("PATH", "")
        (tmp_path / "mysql-9.7.4-2").mkdir()
        assert debian.unpacked("sid", "mysql", "9.7") == tmp_path / "mysql-9.7.4-2"

    def test_the_reason_names_what_is_missing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path))
        monkeypatch.setenv("PATH", "")
        with pytest.raises(UnavailableServerError, match=r"mysql 9\.7 of Debian sid: there is no program apt-get"):
            debian.unpacked("sid", "mysql", "9.7")

    def test_the_reason_names_the_step_that_failed_and_its_last_words(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs = tmp_path / "bin"
        programs.mkdir()
        for name in ("apt-get", "apt-cache", "dpkg-deb"):
            (programs / name).write_text("#!/bin/sh\necho 'E: no route to the mirror' >&2\nexit 100\n")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("HAMMERWORK_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
        monkeypatch.setattr(debian, "_machines_mirror", lambda: "ftp://mirror/debian")
        with pytest.raises(UnavailableServerError, match=r"update` ended with 100: E: no route to the mirror"):
            debian.unpacked("sid", "mysql", "9.7")
        assert [path.name for path in (tmp_path / "cache").iterdir()] == ["locks"]

    def test_a_program_runs_with_the_loader_and_libraries_beside_it(self, tmp_path: Path) -> None:
        libraries = tmp_path / "usr/lib/x86_64-linux-gnu"
        libraries.mkdir(parents=True)
        (libraries / "ld-linux-x86-64.so.2").write_text('#!/bin/sh\necho "$@"\n')
        (libraries / "ld-linux-x86-64.so.2").chmod(0o755)
        said = subprocess.run(
            debian.command(tmp_path, "usr/sbin/mysqld", "--version"), check=True, capture_output=True, text=True
        )
        assert said.stdout.split() == ["--library-path", str(libraries), f"{tmp_path}/usr/sbin/mysqld", "--version"]


class TestGivenServer:
    @pytest.mark.parametrize(
        ("url", "family", "port", "other"),
        [
            ("postgresql://u:p@h/d?ssl=on", "postgresql", 5432, "postgresql://u:p@h/x?ssl=on"),
            ("mysql://u:p%40@h:3307/d", "mysql", 3307, "mysql://u:p%40@h:3307/x"),
            ("mariadb://h/d", "mysql", 3306, "mariadb://h/x"),
        ],
    )
    def test_its_databases_have_the_same_url_but_for_the_name(
        self, url: str, family: str, port: int, other: str
    ) -> None:
        server = GivenServer(url)
        assert (server.family, server.port, server.url(), server.url("x")) == (family, port, url, other)

    @pytest.mark.parametrize(
        ("url", "message"),
        [("sqlite:///x", "must be postgresql, mysql or mariadb"), ("mysql://h:3306", "names no database")],
    )
    def test_other_urls_are_refused(self, url: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            GivenServer(url)
