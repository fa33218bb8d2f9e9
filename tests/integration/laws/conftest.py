"""The laws hold on either engine of the catalog; those that break SQLite's file are its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import House, MakeHouse

_SQLITE_ONLY = ("test_law_05", "test_law_06", "test_law_08")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "make_house" in metafunc.fixturenames:
        alone = metafunc.module.__name__.rpartition(".")[2].startswith(_SQLITE_ONLY)
        metafunc.parametrize("engine", ["sqlite"] if alone else ["sqlite", "postgresql"])


@pytest.fixture
def make_house(make_house: MakeHouse, engine: str, request: pytest.FixtureRequest) -> MakeHouse:
    """Houses on one database of that engine."""
    if engine == "sqlite":
        return make_house
    url = request.getfixturevalue("postgres")

    async def make(**settings: Any) -> House:
        return await make_house(**({"database_url": url} | settings))

    return make
