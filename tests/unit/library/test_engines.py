"""Which servers are refused, by what they say of themselves."""

from __future__ import annotations

import pytest

from hammerwork import UnsupportedDatabaseError
from hammerwork.backends.engines import check_engine, foreign_engine

_SINGLESTORE = "source distribution (compatible; MySQL Enterprise & MySQL Commercial)"


@pytest.mark.parametrize(
    ("version", "comment", "engine"),
    [
        (
            "PostgreSQL 15.8 (Debian 15.8-0+deb12u1) on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0)",
            "",
            None,
        ),
        ("PostgreSQL 16.14 on x86_64-pc-linux-musl, compiled by gcc (Alpine 15.2.0) 15.2.0, 64-bit", "", None),
        ("CockroachDB CCL v21.1.0 (x86_64-unknown-linux-gnu, built 2021/04/23 13:54:57)", "", "CockroachDB"),
        ("PostgreSQL 15.12-YB-2.25.2.0-b0 on x86_64-pc-linux-gnu, compiled by clang 19.1.0", "", "YugabyteDB"),
        (
            "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017, Redshift 1.0.12103",
            "",
            "Amazon Redshift",
        ),
        ("PostgreSQL 9.4.26 (Greenplum Database 6.25.3 build commit:367edc6b) on x86_64", "", "Greenplum"),
        ("(openGauss 5.0.0 build a07d57c3) compiled at 2023-03-29 03:07:56 commit 0 last mr", "", "openGauss"),
        ("8.0.36", "MySQL Community Server - GPL", None),
        ("8.0.36-28", "Percona Server (GPL), Release 28, Revision 47601f19", None),
        ("8.0.28", "Source distribution", None),
        ("10.11.6-MariaDB-0+deb12u1", "Debian 12", None),
        ("5.5.5-10.6.12-MariaDB-1:10.6.12+maria~ubu2004", "mariadb.org binary distribution", None),
        ("8.0.11-TiDB-v7.5.2-serverless", "TiDB Server (Apache License 2.0)", "TiDB"),
        ("8.0.30-Vitess", "MySQL Community Server (GPL)", "Vitess"),
        ("5.7.9-vitess-10.0.0-SNAPSHOT", "Version: 10.0.0-SNAPSHOT (Git revision d54b87c83)", "Vitess"),
        ("8.0.22", "Version: 10.0.0-SNAPSHOT (Git revision a577cc4da branch 'master') built on Sat", "Vitess"),
        ("5.7.32", f"SingleStoreDB {_SINGLESTORE}", "SingleStore"),
        ("5.5.58", f"MemSQL {_SINGLESTORE}", "SingleStore"),
        ("5.7.25-OceanBase_CE-v4.2.1.2", "OceanBase_CE 4.2.1.2", "OceanBase"),
        ("8.0.33", "Dolt", "Dolt"),
        ("5.1.0", "StarRocks version 2.1.2", "StarRocks"),
        ("5.7.99", "Doris version doris-2.0.3-rc06-37d31a5", "Apache Doris"),
    ],
)
def test_foreign_engines_are_known_by_their_texts(version: str, comment: str, engine: str | None) -> None:
    assert foreign_engine(version, comment) == engine


@pytest.mark.parametrize(
    ("version", "comment", "says"),
    [
        ("PostgreSQL 13.16 (Debian 13.16-0) on x86_64", None, "PostgreSQL 13.16.0; PostgreSQL 14 or later is needed"),
        ("10.5.23-MariaDB", "Debian", "MariaDB 10.5.23; MariaDB 10.6.0 or later is needed"),
        ("5.5.5-10.3.39-MariaDB", "Debian", "MariaDB 10.3.39; MariaDB 10.6.0 or later is needed"),
        ("5.7.44", "MySQL Community Server (GPL)", "MySQL 5.7.44; MySQL 8.0.19 or later is needed"),
        ("8.0.18", "MySQL Community Server - GPL", "MySQL 8.0.18; MySQL 8.0.19 or later is needed"),
        ("Nothing 17 at all", None, "'Nothing 17 at all', not PostgreSQL"),
        ("8.0.11-TiDB-v7.5.0", "", "the server is TiDB, which is not supported; use MySQL or MariaDB"),
    ],
)
def test_what_is_too_old_or_unknown_is_refused_in_one_line(version: str, comment: str | None, says: str) -> None:
    with pytest.raises(UnsupportedDatabaseError, match=r"^database postgresql://h/db: the server ") as refused:
        check_engine("postgresql://h/db", version, comment)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("version", "comment"),
    [
        ("PostgreSQL 14.0 on x86_64", None),
        ("PostgreSQL 18beta1 on x86_64", None),
        ("5.5.5-10.6.12-MariaDB", "Debian"),
        ("11.4.2-MariaDB", "Debian"),
        ("8.0.19", "MySQL Community Server - GPL"),
        ("9.7.0", "MySQL Community Server - GPL"),
    ],
)
def test_what_is_new_enough_is_taken(version: str, comment: str | None) -> None:
    check_engine("h", version, comment)
