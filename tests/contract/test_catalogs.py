"""Our databases keep what the catalog promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.testing.catalogs import CatalogContract, Connect


class TestSqlite(CatalogContract):
    @pytest.fixture
    async def connect(self, tmp_path: Path) -> AsyncIterator[Connect]:
        yield lambda: SqliteDatabase(tmp_path / "catalog.db")


class TestPostgres(CatalogContract):
    @pytest.fixture
    async def connect(self, postgres: str) -> AsyncIterator[Connect]:
        yield lambda: PostgresDatabase(postgres)
