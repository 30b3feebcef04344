"""A real MySQL server for tests: 9.7, the release with long-term support, of Debian's development suite."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.locking import exclusive, lock_path
from tests.cluster.settings import cache_folder
from tests.harness.servers import debian
from tests.harness.servers.daemon import DaemonServer, give, reachable, run, running, temporary_folder
from tests.harness.servers.mariadb import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

SUITE = "sid"
PACKAGE = "mysql-server-core"
SERIES = "9.7"
_USER = "nobody"
_PARTS = ("usr/lib/*/*.so*", "usr/lib/mysql", "usr/sbin/mysqld", "usr/share/mysql")
_INITIALIZE_SECONDS = 300


class MysqlServer(DaemonServer):
    """A MySQL that comes unpacked; its data folder has an empty database called test.

    The administrator has no password; his account is of the kind that is usual for the server (caching_sha2_password).
    """

    program = "mysqld"
    user = _USER
    scheme = "mysql"
    family = "mysql"
    administrator = "root"
    first_database = "test"

    def __init__(self, folder: Path, settings: dict[str, str] | None = None) -> None:
        super().__init__(folder)
        self._package = debian.unpacked(SUITE, PACKAGE, SERIES)
        self._installation = reachable(self._package, _PARTS, folder)
        self._settings = {
            **SETTINGS,
            "innodb_redo_log_capacity": "256M",
            "bind_address": "127.0.0.1",
            **(settings or {}),
            **_places(self._installation, folder),
            "port": str(self.port),
        }

    def create(self) -> None:
        # Each server gives itself an identity, which replicas tell from their source's.
        shutil.copytree(_initialized(self._package), self.folder / "data", ignore=shutil.ignore_patterns("auto.cnf"))
        _write(self.folder / "my.cnf", self._settings)
        (self.folder / "create.sql").write_text("CREATE DATABASE IF NOT EXISTS test;\n")
        give(self.folder, _USER)

    def command(self) -> list[str | Path]:
        return _mysqld(self._installation, self.folder, f"--init-file={self.folder / 'create.sql'}")


@contextlib.contextmanager
def mysql_server(settings: dict[str, str] | None = None) -> Iterator[MysqlServer]:
    """Run a server for the duration of a block.

    Raises:
        UnavailableServerError: It cannot be had on this machine.
    """
    with running("mysql", lambda folder: MysqlServer(folder, settings), MysqlServer.create) as server:
        yield server


def _initialized(package: Path) -> Path:
    """Return a data folder as `mysqld --initialize-insecure` makes it, which takes it 20 seconds: from the cache."""
    cache = cache_folder()
    data = cache / f"mysql-data-{debian.version_of(package, PACKAGE)}"
    with exclusive(lock_path(cache, data.name), what="initializing MySQL", seconds=_INITIALIZE_SECONDS + 60):
        if not data.exists():
            with temporary_folder("mysql-data") as folder, tempfile.TemporaryDirectory(dir=cache) as beside:
                installation = reachable(package, _PARTS, folder)
                settings = {"innodb_flush_method": "nosync", "innodb_redo_log_capacity": "8M"}
                _write(folder / "my.cnf", {**_places(installation, folder), **settings})
                give(folder, _USER)
                run(_mysqld(installation, folder, "--initialize-insecure"), _USER, seconds=_INITIALIZE_SECONDS)
                shutil.copytree(folder / "data", Path(beside) / "data")
                (Path(beside) / "data").rename(data)
    return data


def _mysqld(installation: Path, folder: Path, *args: str) -> list[str | Path]:
    return debian.command(installation, "usr/sbin/mysqld", f"--defaults-file={folder / 'my.cnf'}", *args)


def _places(installation: Path, folder: Path) -> dict[str, str]:
    return {
        "basedir": f"{installation}/usr",
        "lc_messages_dir": f"{installation}/usr/share/mysql",
        "character_sets_dir": f"{installation}/usr/share/mysql/charsets",
        "plugin_dir": f"{installation}/usr/lib/mysql/plugin",
        "datadir": f"{folder}/data",
        "socket": f"{folder}/socket",
        "pid_file": f"{folder}/pid",
        "tmpdir": str(folder),
        "secure_file_priv": "NULL",
        "mysqlx": "0",
    }


def _write(path: Path, settings: dict[str, str]) -> None:
    path.write_text("[mysqld]\n" + "".join(f"{name} = {value}\n" for name, value in settings.items()))
