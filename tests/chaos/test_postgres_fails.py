"""PostgreSQL goes away, or freezes, in the middle of load: everybody is served, and all is kept in the end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sayonce.testing.postgres import PostgresServer, postgres_server
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load
from tests.conftest import until

_REPLICAS = 2


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of the test's own, which it may kill."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def fleet(make_fleet: MakeFleet, server: PostgresServer) -> Fleet:
    fleet = await make_fleet(_REPLICAS, database=server.url())
    fleet.vendors.behave(first_byte=0.05, pace=0.02)
    return fleet


async def test_killed_and_started_again(fleet: Fleet, server: PostgresServer) -> None:
    async with Load(fleet.replicas) as load:
        await load.more(30)
        await until(lambda: fleet.vendors.counts.running)
        await asyncio.to_thread(server.stop)
        meanwhile = await load.more(40)
        await asyncio.to_thread(server.start)
        await load.more(40)
    assert "bypass" in {each.outcome for each in meanwhile}
    await refuse_unsound(fleet, load)


async def test_frozen(fleet: Fleet, server: PostgresServer) -> None:
    async with Load(fleet.replicas) as load:
        await load.more(30)
        await until(lambda: fleet.vendors.counts.running)
        server.pause()
        try:
            meanwhile = await load.more(40)
        finally:
            server.resume()
        await load.more(40)
    assert "bypass" in {each.outcome for each in meanwhile}
    await refuse_unsound(fleet, load)


async def refuse_unsound(fleet: Fleet, load: Load) -> None:
    """Everything that was said is kept once it is asked for again, and was paid once a replica at most."""
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners, calls=_REPLICAS) == len(load.texts)
