"""What the doctor says of the catalog: of what is wrong with it, and nothing is made or upgraded."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sayonce.catalog.database import Condition
from sayonce.catalog.registry import connect
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.checkup import catalog as of_catalog
from sayonce.checkup.clock import Clocks
from sayonce.testing.postgres import PostgresServer, postgres_server
from tests.integration.doctor.conftest import Told, prepared, told


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of the test's own, which it may kill."""
    with postgres_server() as server:
        yield server


def lines(found: Told) -> dict[str, str]:
    """What is wrong with the catalog, and what to do."""
    return {
        what: f"{finding.said} {finding.remedy}"
        for (part, what), finding in found.items()
        if part == "catalog" and finding.verdict == "failed"
    }


async def test_postgres_on_its_bad_days(server: PostgresServer) -> None:
    found = await told(database_url=server.url())
    assert lines(found) == {}
    assert "catalog" in found["clock", "time"].said, "its now() was compared"
    assert server.run("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").strip() == "0", "nothing is made"
    assert "no such database" in lines(await told(database_url=server.url("nowhere")))["reached"]
    await prepared(server.url())
    server.run("ALTER DATABASE postgres SET default_transaction_read_only = on")
    assert "primary" in lines(await told(database_url=server.url()))["written"]
    server.run("ALTER DATABASE postgres RESET ALL", "template1")
    assert lines(await told(database_url=server.url())) == {}
    ask_for_a_password(server, "ann")
    wrong = server.url().replace("postgres@", "ann:never-told@", 1)
    assert "does not accept the user or the password" in lines(await told(database_url=wrong))["reached"]
    assert "never-told" not in str(await told(database_url=wrong))
    await asyncio.to_thread(server.stop)
    found = await told(database_url=server.url())
    assert "DATABASE_URL" in lines(found)["reached"]
    assert found["exposure", "keys"].verdict == "skipped"


def ask_for_a_password(server: PostgresServer, user: str) -> None:
    server.run(f"CREATE USER {user} PASSWORD 'right'")
    rules = Path(server.run("SHOW hba_file").strip())
    rules.write_text(f"local all {user} scram-sha-256\n{rules.read_text()}")
    server.run("SELECT pg_reload_conf()")


@pytest.mark.parametrize(("version", "remedy"), [("0002", "sayonce db upgrade"), ("9999", "newer version")])
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
async def test_another_versions_schema_is_said_and_left(
    engine: str, version: str, remedy: str, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres") if engine == "postgresql" else f"sqlite:///{Path('c.db').absolute()}"
    await prepared(url)
    database = connect(url)
    await database.write(_versioned, version)
    found = await told(database_url=url)
    assert remedy in lines(found)["schema"]
    assert (await database.examine()).version == version
    assert found["exposure", "keys"].verdict == "skipped"
    await database.aclose()


def _versioned(connection: Any, version: str) -> None:
    connection.exec_driver_sql(f"UPDATE alembic_version SET version_num = '{version}'")


@pytest.mark.parametrize(
    ("content", "said"), [(b"no database at all" * 100, "damaged"), (None, "folder")], ids=["damaged", "no folder"]
)
async def test_a_catalogs_file_that_is_none(content: bytes | None, said: str) -> None:
    if content is None:
        Path("file").write_text("in the way")
    else:
        Path("c.db").write_bytes(content)
    found = await told(database_url="sqlite:///c.db" if content else "sqlite:///file/c.db")
    assert said in str(lines(found)), found
    assert content is None or Path("c.db").read_bytes() == content


async def test_a_catalog_that_another_holds() -> None:
    await prepared("sqlite:///c.db")
    link = sqlite3.connect("c.db", isolation_level=None)
    link.execute("BEGIN IMMEDIATE")
    found = await told(database_url="sqlite:///c.db")
    link.close()
    assert list(lines(found)) == ["written"]
    assert "Another process holds it" in found["catalog", "written"].remedy


async def test_what_is_tried_is_taken_back(postgres: str, tmp_path: Path) -> None:
    for url in (postgres, f"sqlite:///{tmp_path}/c.db"):
        database = connect(url)
        empty = await database.examine()
        assert (empty.version, empty.objection) == (None, None)
        assert await database.version() is None, "looking makes nothing"
        await prepared(url)
        for _ in range(2):
            there = await database.examine()
            assert (there.version, there.objection) == (SCHEMA_VERSION, None)
        left = await database.read(lambda each: each.exec_driver_sql("SELECT name FROM facts").scalars().all())
        assert "written to try" not in left
        await database.aclose()


@pytest.mark.parametrize(("left", "verdict"), [(499_999_999, "warning"), (500_000_000, "ok")])
def test_room_on_the_disk(left: int, verdict: str) -> None:
    found = of_catalog.of(Condition(None, room=left), SqliteDatabase(Path("c.db")), Clocks())
    assert {each.what: str(each.verdict) for each in found}["room"] == verdict


async def test_an_address_that_is_none_of_a_database() -> None:
    found = await told(database_url="mysql://ann:secret@h/x")
    assert found["catalog", "set up"].verdict == "failed"
    assert "secret" not in str(found)
