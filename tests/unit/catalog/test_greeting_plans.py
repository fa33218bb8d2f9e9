"""What is asked of greetings looks at greetings alone, among however many assets, on either engine."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import Connection, event, insert

from sayonce.catalog import greetings
from sayonce.catalog.database import Database
from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.catalog.tables import assets, tenants, uses
from sayonce.testing.postgres import PostgresServer
from sayonce.testing.rows import hashed

NOW = 2e9
# Assets, and how many of them are greetings: those that were used first. Of many greetings a planner hopes to find
# some soon among the assets that were used last.
ASSETS, FEW, MANY = 20_000, 300, 2_000
QUERIES: dict[str, Any] = {
    "recent": lambda connection: greetings.recent(connection, 2, NOW),
    "neglected": lambda connection: greetings.neglected(connection, NOW),
    "neglected one": lambda connection: greetings.neglected(connection, NOW, "shop7"),
    "standing": lambda connection: greetings.standing(connection, "shop7", NOW),
}


async def filled(database: Database, name: str) -> int:
    await database.migrate()
    greeted = MANY if name == "recent" else FEW
    await database.write(_fill, greeted)
    return greeted


@pytest.mark.parametrize("name", QUERIES)
async def test_on_sqlite(name: str, tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "catalog.db")
    await filled(database, name)
    asked = await database.read(_asked, name)
    await database.aclose()
    with sqlite3.connect(tmp_path / "catalog.db") as link:
        for statement, parameters in [*asked, ("ANALYZE", ()), *asked]:
            words = statement if statement == "ANALYZE" else f"EXPLAIN QUERY PLAN {statement}"
            steps = [row[3] for row in link.execute(words, parameters)]
            assert not [step for step in steps if step.startswith("SCAN assets")], steps
            assert not [step for step in steps if "ix_assets_used_at" in step or step.startswith("SCAN uses")], steps
            assert not [step for step in steps if "AUTOMATIC" in step], steps
    link.close()


@pytest.mark.parametrize("name", QUERIES)
async def test_on_postgres(name: str, postgres: str, postgres_server: PostgresServer) -> None:
    database = PostgresDatabase(postgres)
    greeted = await filled(database, name)
    where = urlsplit(postgres).path.lstrip("/")
    postgres_server.run("ANALYZE", where)
    plans = await database.read(_planned, name)
    await database.aclose()
    for plan in plans:
        nodes = list(_nodes(plan))
        assert nodes
        for node in nodes:
            relation, kind = node.get("Relation Name"), node["Node Type"]
            assert (relation, kind) not in (("assets", "Seq Scan"), ("uses", "Seq Scan")), plan
            assert node.get("Index Name") != "ix_assets_used_at", plan
            assert node.get("Actual Rows", 0) <= 2 * greeted, plan


@contextmanager
def _told(connection: Connection) -> Iterator[list[tuple[str, Any]]]:
    """What is asked meanwhile."""
    told: list[tuple[str, Any]] = []

    def note(link: Any, cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        told.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    try:
        yield told
    finally:
        event.remove(connection, "before_cursor_execute", note)


def _asked(connection: Connection, name: str) -> list[tuple[str, Any]]:
    with _told(connection) as told:
        assert QUERIES[name](connection)
    return told


def _planned(connection: Connection, name: str) -> list[dict[str, Any]]:
    plans = []
    for statement, parameters in _asked(connection, name):
        found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", parameters).scalar_one()
        plans.append((json.loads(found) if isinstance(found, str) else found)[0]["Plan"])
    return plans


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def _fill(connection: Connection, greetings_there: int) -> None:
    names = [hashed(str(n)) for n in range(ASSETS)]
    plain = {"format": "mp3/mp3/-/-", "tenant": "default", "scope": "tenant", "upstream": "openai", "characters": 5}
    plain |= {"size": 1_000, "digest": b"d", "duration": 1.0, "sample_rate": 24_000, "transcoded": False, "flags": ""}
    plain |= {"made_at": 1.0, "hits": 0, "text": "Hello. " * 100}
    rows = [plain | {"content_hash": name, "recipe_hash": name, "used_at": float(n)} for n, name in enumerate(names)]
    connection.execute(insert(assets), rows)
    use = {"sequence": 0, "at": 1.0, "pinned": True}
    asked = [use | {"content_hash": name, "kind": "request", "name": ""} for name in names]
    greeted = [
        use | {"content_hash": names[n], "kind": "greeting", "name": f"shop{n}"} for n in range(greetings_there)
    ]
    # One asset is gone, and one greeting has a predecessor.
    greeted[7]["content_hash"] = hashed("gone")
    before = use | {"content_hash": names[greetings_there], "kind": "greeting", "name": "shop8", "sequence": 1}
    connection.execute(insert(uses), [*asked, *greeted, before])
    tenant = {"public": False, "disabled": False, "made_at": 1.0, "greeting": "Hello."}
    connection.execute(insert(tenants), [tenant | {"id": f"shop{n}"} for n in range(greetings_there)])
