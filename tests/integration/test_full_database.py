"""A database without room: what is kept is served; what is new is spoken, remembered, and kept when there is room."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import text

from sayonce.errors import CatalogUnavailable
from sayonce.testing.postgres import PostgresServer
from tests.conftest import House, MakeHouse, until

Full = Callable[[House], Any]
# So long that a few of them take pages of their own.
_WORDS = "Words that are to take some room in the catalog. " * 12


@asynccontextmanager
async def _sqlite(house: House) -> AsyncIterator[None]:
    """SQLite's own limit, at what there is: it says, as with a full disk, that the database or disk is full."""
    connect, links = sqlite3.connect, house.gateway.catalog._database

    async def reconnect() -> None:
        with suppress(CatalogUnavailable):
            await links.write(lambda connection: connection.execute(text("no statement")))

    def limited(*arguments: Any, **options: Any) -> sqlite3.Connection:
        driver = connect(*arguments, **options)
        driver.execute(f"PRAGMA max_page_count = {driver.execute('PRAGMA page_count').fetchone()[0]}")
        return driver

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3, "connect", limited)
        await reconnect()
        yield
    await reconnect()


@pytest.fixture(params=["sqlite", "postgresql"])
async def filled(request: pytest.FixtureRequest, make_house: MakeHouse) -> tuple[House, Full]:
    """A house, and what fills its database."""
    if request.param == "sqlite":
        return await make_house(flush_seconds=0.05, upkeep=False), _sqlite
    server: PostgresServer = request.getfixturevalue("postgres_server")
    url: str = request.getfixturevalue("postgres")
    name = url.partition("@/")[2].partition("?")[0]

    @asynccontextmanager
    async def full(house: House) -> AsyncIterator[None]:
        """As those who host databases do when its disk is full: it can be read, and every write is refused."""
        _all_anew(server, name, "on")
        try:
            yield
        finally:
            _all_anew(server, name, "off")

    return await make_house(database_url=url, flush_seconds=1.0, upkeep=False), full


async def _answers(house: House) -> bool:
    """Whether the catalog is asked at all: what kept somebody waiting for nothing is left alone for a moment."""
    try:
        await house.gateway.catalog.find(b"")
    except CatalogUnavailable:
        return False
    return True


def _all_anew(server: PostgresServer, name: str, read_only: str) -> None:
    server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def test_nobody_is_refused_and_nothing_is_paid_twice(filled: tuple[House, Full]) -> None:
    house, full = filled
    await house.speak("Kept while there was room.")
    async with full(house):
        heard = [await house.speak(f"{n}. {_WORDS}") for n in range(8)]
        assert {answer.status for answer in heard} == {200}
        assert await house.rows() < 9, "there is no room"
        paid = house.calls
        assert (await house.speak(f"7. {_WORDS}")).status == 200
        assert house.calls == paid, "it is in memory"
        house.gateway.hot.clear()
        await until(lambda: _answers(house))
        assert (await house.speak("Kept while there was room.")).outcome == "hit"
        assert (await house.http.get("/api/health")).status_code == 200
        last = await house.speak(f"Last. {_WORDS}")
        assert last.status == 200

    async def kept() -> bool:
        return (await house.speak(f"Last. {_WORDS}")).outcome == "hit"

    paid = house.calls
    await until(kept)
    assert house.calls == paid
    await until(lambda: _consistent(house))


async def _consistent(house: House) -> bool:
    return await house.rows() <= len(house.blobs())
