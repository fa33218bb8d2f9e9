"""Our databases keep what the catalog promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from sayonce.catalog.postgres import PostgresDatabase
from sayonce.catalog.sqlite import SqliteDatabase
from sayonce.testing.catalogs import CatalogContract, Connect


class TestSqlite(CatalogContract):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        return lambda: SqliteDatabase(tmp_path / "catalog.db")


class TestPostgres(CatalogContract):
    @pytest.fixture
    def connect(self, postgres: str) -> Connect:
        return lambda: PostgresDatabase(postgres)
