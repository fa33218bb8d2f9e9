"""What is counted in parts is found by the parts' own keys, on either engine: no part reads the whole table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Select, text

from sayonce.catalog import census
from sayonce.catalog.database import Database
from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.catalog.tables import assets, usage

_PART = (assets.c.id >= 0) & (assets.c.id < census._ASSETS)
_MONTH = (usage.c.hour >= 0) & (usage.c.hour < census._HOURS)
PARTS: dict[str, Select[Any]] = {
    "totals": census._totals(0.0).where(_PART),
    "storages": census._storages().where(_PART),
    "ranked": census._ranked(_PART),
    "used": census._used_by(usage.c.upstream).where(_MONTH),
    "entries": census._named([1, 2, 3]),
}


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        return SqliteDatabase(tmp_path / "catalog.db")
    return PostgresDatabase(request.getfixturevalue("postgres"))


@pytest.mark.parametrize("name", PARTS)
async def test_by_a_key(name: str, database: Database) -> None:
    await database.migrate()
    plan = await database.read(_plan, PARTS[name])
    await database.aclose()
    assert plan
    assert [step for step in plan if step.startswith(("SCAN assets", "SCAN blobs", "SCAN usage", "Seq Scan"))] == []


def _plan(connection: Connection, statement: Select[Any]) -> list[str]:
    written = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
    if connection.dialect.name == "sqlite":
        return [row[3] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {written}"))]
    # Its tables are empty, and an empty table is read whole unless that is made dear.
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    told = connection.execute(text(f"EXPLAIN (FORMAT JSON) {written}")).scalar_one()
    return list(_steps((json.loads(told) if isinstance(told, str) else told)[0]["Plan"]))


def _steps(node: dict[str, Any]) -> list[str]:
    return [node["Node Type"], *(step for below in node.get("Plans", ()) for step in _steps(below))]
