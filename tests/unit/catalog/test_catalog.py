"""The catalog's schema, and SQLite under it."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

import sayonce.catalog.migrations
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.catalog.tables import SCHEMA_VERSION, metadata
from sayonce.errors import CatalogUnavailable, SchemaMismatch


@pytest.fixture
async def catalog(tmp_path: Path) -> AsyncIterator[Catalog]:
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
    yield catalog
    await catalog.aclose()


async def test_the_migrated_schema_is_the_fresh_one(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.newest_change()
    engine = create_engine(f"sqlite:///{tmp_path}/catalog.db")
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "render_as_batch": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_the_newest_migration_is_the_one_that_is_named() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(sayonce.catalog.migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_current_head() == SCHEMA_VERSION


async def test_a_newer_schema_is_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.newest_change()
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    newer = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
    with pytest.raises(SchemaMismatch, match="9999"):
        await newer.newest_change()
    await newer.aclose()


async def test_it_is_in_wal(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.newest_change()
    database = sqlite3.connect(tmp_path / "catalog.db")
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.close()


async def test_many_open_it_at_once(tmp_path: Path) -> None:
    catalogs = [Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time) for _ in range(8)]
    assert len(set(await asyncio.gather(*(catalog.identity() for catalog in catalogs)))) == 1
    await asyncio.gather(*(catalog.aclose() for catalog in catalogs))


async def test_readers_do_not_wait_for_a_writer(catalog: Catalog, tmp_path: Path) -> None:
    await catalog.newest_change()
    writer = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    async with asyncio.timeout(1):
        assert await catalog.variants(b"x" * 32) == ()
    writer.close()


async def test_a_process_that_ends_takes_nothing_along(catalog: Catalog, tmp_path: Path) -> None:
    """The last one to leave deletes the log: whoever is here yet must be seen to be."""
    await catalog.newest_change()  # by one connection,
    await catalog.secret("a")  # by another
    await catalog.totals()  # and by a third, each of which may have let go of the others' locks
    log = (tmp_path / "catalog.db-wal").stat().st_ino
    guest = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute(sys.argv[2]); db.commit(); db.close()"
    said = "INSERT INTO facts VALUES ('secret:b', 'of the guest')"
    command = [sys.executable, "-c", guest, str(tmp_path / "catalog.db"), said]
    await asyncio.to_thread(subprocess.run, command, check=True)
    assert (tmp_path / "catalog.db-wal").stat().st_ino == log
    assert await catalog.secret("b") == "of the guest"


async def test_a_broken_file_is_said_so_and_comes_back(tmp_path: Path) -> None:
    (tmp_path / "catalog.db").write_bytes(b"no database" * 100)
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
    for _ in range(2):  # the second is not even tried
        with pytest.raises(CatalogUnavailable, match="restore it from a copy"):
            await catalog.newest_change()
    await catalog.aclose()


async def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    catalog = Catalog(SqliteDatabase(tmp_path / "file" / "catalog.db"), time.time)
    with pytest.raises(CatalogUnavailable):
        await catalog.newest_change()
    await catalog.aclose()


async def test_money_in_dollars_becomes_millionths(tmp_path: Path) -> None:
    """A catalog of the version before, with a hit's cost and a month's spending in it."""
    engine = create_engine(f"sqlite:///{tmp_path}/catalog.db")
    config = Config()
    config.set_main_option("script_location", str(Path(sayonce.catalog.migrations.__file__).parent))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(
            text("INSERT INTO spending (tenant, month, spent) VALUES ('default', '2026-11', 0.0000155)")
        )
        connection.execute(
            text(
                "INSERT INTO usage (hour, tenant, upstream, model, voice, hits, joined, misses, bypassed, errors, "
                "characters, spent, saved) VALUES (0, 'default', 'x', '', '', 1, 0, 1, 0, 0, 26, 0.1, 0.2)"
            )
        )
    engine.dispose()
    catalog = Catalog(SqliteDatabase(tmp_path / "catalog.db"), time.time)
    found = await catalog.statistics()
    assert (found.count.spent_micros, found.count.saved_micros, found.count.hits) == (100_000, 200_000, 1)
    assert list(found.by_day) == ["1970-01-01"]
    await catalog.aclose()
    with sqlite3.connect(tmp_path / "catalog.db") as database:
        assert database.execute("SELECT spent_micros FROM spending").fetchall() == [(16,)]
    database.close()
