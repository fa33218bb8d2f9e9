"""What a request waits for is found by a unique or primary key, or a prefix of one, on either engine."""

from __future__ import annotations

import json
import sqlite3
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

import sayonce.catalog
from sayonce.catalog.database import Lookup
from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.testing.postgres import PostgresServer

_MODULES = [path.stem for path in Path(sayonce.catalog.__file__).parent.glob("*.py")]
LOOKUPS = {
    f"{module}.{name}": found
    for module in _MODULES
    for name, found in vars(import_module(f"sayonce.catalog.{module}")).items()
    if isinstance(found, Lookup)
}


def test_they_are_all_here() -> None:
    assert {"assets.BY_RECIPE", "assets.BY_CONTENT", "leases.PROGRESS", "accounts.BY_KEY", "stored.BYTES"} <= set(
        LOOKUPS
    )


@pytest.mark.parametrize("name", LOOKUPS)
async def test_on_sqlite(name: str, tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "catalog.db")
    await database.migrate()
    await database.aclose()
    compiled = LOOKUPS[name].compiled(sqlite.dialect(paramstyle="named"))
    with sqlite3.connect(tmp_path / "catalog.db") as link:
        given = {name: _none(name) if value is None else value for name, value in compiled.brought.items()}
        steps = [row[3] for row in link.execute(f"EXPLAIN QUERY PLAN {compiled.text}", given)]
        unique = {
            index[1]
            for (table,) in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for index in link.execute(f"PRAGMA index_list({table})")
            if index[2]
        }
    link.close()
    for step in steps:
        if step.startswith(("SEARCH", "SCAN")):
            assert step.startswith("SEARCH"), steps
            assert "PRIMARY KEY" in step or any(index in step for index in unique) or step == "SEARCH changes", steps


@pytest.mark.parametrize("name", LOOKUPS)
async def test_on_postgres(name: str, postgres: str, postgres_server: PostgresServer) -> None:
    database = PostgresDatabase(postgres)
    await database.migrate()
    await database.aclose()
    where = urlsplit(postgres).path.lstrip("/")
    compiled = LOOKUPS[name].compiled(asyncpg_dialect())  # type: ignore[no-untyped-call]
    # Its tables are empty, and an empty table is read whole unless that is made dear.
    dear = "SET enable_seqscan = off; SET enable_bitmapscan = off;"
    plan = json.loads(postgres_server.run(f"{dear} EXPLAIN (GENERIC_PLAN, FORMAT JSON) {compiled.text}", where))
    scans = list(_scans(plan[0]["Plan"]))
    assert scans
    for scan in scans:
        assert scan["Node Type"] in ("Index Scan", "Index Only Scan"), plan
        index = scan["Index Name"]
        assert (
            postgres_server.run(
                f"SELECT indisunique FROM pg_index WHERE indexrelid = '{index}'::regclass", where
            ).strip()
            == "t"
        ), index
        assert "Index Cond" in scan or name == "changes.NEWEST", plan


def _scans(node: dict[str, Any]) -> Any:
    if "Scan" in node["Node Type"]:
        yield node
    for inner in node.get("Plans", ()):
        yield from _scans(inner)


def _none(name: str) -> Any:
    return 1 if name in ("most", "sequence") else b"" if name.endswith("hash") else ""
