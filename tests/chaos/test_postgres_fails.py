"""PostgreSQL goes away, or freezes, in the middle of load: everybody is served, and all is kept in the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from sayonce.testing.postgres import PostgresServer, postgres_server
from sayonce.testing.redis import RedisServer
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.listeners import Listener
from tests.chaos.load import EACH, Load
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
    await away(fleet, server.stop, server.start)


async def test_killed_while_redis_decides(make_fleet: MakeFleet, server: PostgresServer, redis: RedisServer) -> None:
    """What is asked for meanwhile is paid once over all replicas, and committed by whoever is asked for it first."""
    fleet = await make_fleet(_REPLICAS, redis, database=server.url())
    fleet.vendors.behave(first_byte=0.05, pace=0.02)
    meanwhile, before = await away(fleet, server.stop, server.start)
    asked = Counter(each.text for each in meanwhile if each.text not in before)
    new = [text for text, times in asked.items() if times >= _REPLICAS * EACH]
    assert new
    assert {fleet.vendors.counts.texts[text] for text in new} == {1}, fleet.story(
        each for each in meanwhile if each.text in new
    )


async def test_frozen(fleet: Fleet, server: PostgresServer) -> None:
    await away(fleet, server.pause, server.resume)


async def away(fleet: Fleet, take: Callable[[], None], give: Callable[[], None]) -> tuple[list[Listener], set[str]]:
    """Takes the server away in the middle of load, and gives it back: everything that was said is kept once it is
    asked for again, and was paid once a replica at most. Who listened meanwhile, and what was asked for before."""
    async with Load(fleet.replicas) as load:
        await load.more(30)
        await until(lambda: fleet.vendors.counts.running)
        await asyncio.to_thread(take)
        before = {each.text for each in load.listeners}
        try:
            meanwhile = await load.more(40)
        finally:
            await asyncio.to_thread(give)
        await load.more(40)
    assert "bypass" in {each.outcome for each in meanwhile}
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners, calls=_REPLICAS) == len(load.texts)
    return meanwhile, before
