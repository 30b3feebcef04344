"""Which server answers: engines that only speak the protocol, and versions that are too old, are refused by name."""

from __future__ import annotations

import re

from hammerwork.errors import UnsupportedDatabaseError

_FOREIGN = {
    # What speaks PostgreSQL's protocol.
    "cockroachdb": "CockroachDB",
    "-yb-": "YugabyteDB",
    "redshift": "Amazon Redshift",
    "greenplum": "Greenplum",
    "cloudberry": "Cloudberry",
    "hashdata": "HashData",
    "opengauss": "openGauss",
    "gaussdb": "GaussDB",
    "materialize": "Materialize",
    "risingwave": "RisingWave",
    "questdb": "QuestDB",
    "cratedb": "CrateDB",
    "duckdb": "DuckDB",
    "doltgres": "DoltgreSQL",
    # What speaks MySQL's.
    "tidb": "TiDB",
    "vitess": "Vitess",
    "memsql": "SingleStore",
    "singlestore": "SingleStore",
    "oceanbase": "OceanBase",
    "starrocks": "StarRocks",
    "doris": "Apache Doris",
    "dolt": "Dolt",
    "databend": "Databend",
    "clickhouse": "ClickHouse",
    "xpand": "MariaDB Xpand",
    "clustrix": "ClustrixDB",
}
"""What stands in the version or its comment, in lower case, and whose it is; longer words before what they hold."""
_VITESS_COMMENT = re.compile(r"^Version: \S+ \(Git revision ", re.ASCII)
"""vtgate may be told any version to show; its comment tells the truth."""
_NUMBER = re.compile(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", re.ASCII)

_LEAST = {"PostgreSQL": (14, 0, 0), "MariaDB": (10, 6, 0), "MySQL": (8, 0, 19)}


def foreign_engine(version: str, comment: str = "") -> str | None:
    """Return the name of the engine behind these texts unless it is PostgreSQL, MySQL or MariaDB.

    Args:
        version: What ``SELECT version()`` returns.
        comment: ``@@version_comment`` of MySQL; empty elsewhere.
    """
    said = f"{version}\n{comment}".lower()
    for word, name in _FOREIGN.items():
        if word in said:
            return name
    return "Vitess" if _VITESS_COMMENT.match(comment) else None


def check_engine(address: str, version: str, comment: str | None = None) -> None:
    """Raise `UnsupportedDatabaseError` unless the server at `address` is one of ours and new enough.

    Args:
        address: For the message.
        version: What ``SELECT version()`` returns.
        comment: ``@@version_comment`` of MySQL; None for PostgreSQL.
    """
    engine = foreign_engine(version, comment or "")
    if engine is not None:
        raise UnsupportedDatabaseError(
            f"database {address}: the server is {engine}, which is not supported; "
            f"use {'PostgreSQL' if comment is None else 'MySQL or MariaDB'}"
        )
    kind = "PostgreSQL" if comment is None else "MariaDB" if "mariadb" in version.lower() else "MySQL"
    if comment is None and not version.startswith("PostgreSQL "):
        raise UnsupportedDatabaseError(
            f"database {address}: the server identifies itself as {version[:80]!r}, not PostgreSQL, which is needed"
        )
    found = _number(version)
    least = _LEAST[kind]
    if found is not None and found < least:
        text = ".".join(map(str, least[: 1 if kind == "PostgreSQL" else 3]))
        raise UnsupportedDatabaseError(
            f"database {address}: the server is {kind} {'.'.join(map(str, found))}; {kind} {text} or later is needed"
        )


def _number(version: str) -> tuple[int, int, int] | None:
    # MariaDB before 11 may put 5.5.5- in front, for replicas of old MySQL.
    found = _NUMBER.search(version.removeprefix("5.5.5-"))
    return (int(found[1]), int(found[2] or 0), int(found[3] or 0)) if found else None
