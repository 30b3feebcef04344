"""What the handlers wrote down, and what the queue's tables hold; read with psql in the database's Pod."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.harness.kubectl import Kubectl

_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS ledger;
CREATE TABLE IF NOT EXISTS ledger.runs (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch uuid NOT NULL,
    idx integer NOT NULL,
    attempt integer NOT NULL,
    process text NOT NULL,
    began timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS runs_of_batch ON ledger.runs (batch);
"""


@dataclass(frozen=True)
class Run:
    """One call of a handler."""

    index: int
    attempt: int
    process: str
    """The worker's Pod and an id that is new with each start of its process: POD:ID."""
    began: float
    """Seconds of the database's clock."""

    @property
    def pod(self) -> str:
        """Name of the Pod."""
        return self.process.partition(":")[0]


class Database:
    """The PostgreSQL of a release."""

    def __init__(self, kubectl: Kubectl, pod: str) -> None:
        self._kubectl = kubectl
        self._pod = pod

    def query(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query."""
        rows = self._psql(f"SELECT coalesce(json_agg(row_to_json(r)), '[]') FROM ({sql}) r")
        found: list[dict[str, Any]] = json.loads(rows)
        return found

    def prepare_ledger(self) -> None:
        """Create the ledger."""
        self._psql(_SCHEMA)

    def runs(self, batch_id: str) -> list[Run]:
        """Return every run of a batch's jobs, in the order in which they began."""
        sql = (
            "SELECT idx, attempt, process, extract(epoch FROM began)::float8 AS began "
            f"FROM ledger.runs WHERE batch = '{batch_id}' ORDER BY number"
        )
        return [Run(row["idx"], row["attempt"], row["process"], row["began"]) for row in self.query(sql)]

    def seconds(self) -> float:
        """Return the database's time."""
        return float(self.query("SELECT extract(epoch FROM clock_timestamp())::float8 AS now")[0]["now"])

    def rows_of(self, batch_id: str) -> dict[str, int]:
        """Count the rows that speak of a batch, in every table of the queue."""
        columns = self.query(
            "SELECT table_name AS name, CASE WHEN table_name = 'hammerwork_batches' THEN 'id' ELSE 'batch_id' END AS "
            "key FROM information_schema.tables t WHERE table_name LIKE 'hammerwork\\_%' AND (table_name = "
            "'hammerwork_batches' OR EXISTS (SELECT FROM information_schema.columns c WHERE c.table_name = "
            "t.table_name AND c.column_name = 'batch_id'))"
        )
        counts = [
            f"SELECT '{column['name']}' AS name, count(*) AS rows FROM {column['name']} "
            f"WHERE {column['key']} = '{batch_id}'"
            for column in columns
        ]
        return {row["name"]: row["rows"] for row in self.query(" UNION ALL ".join(counts))}

    def _psql(self, sql: str) -> str:
        command = ("psql", "--username=hammerwork", "--dbname=hammerwork", "--no-psqlrc", "--quiet", "--tuples-only")
        options = ("--no-align", "--set=ON_ERROR_STOP=1", "--file=-")
        return self._kubectl("exec", "--stdin", self._pod, "--", *command, *options, stdin=sql)
