"""Every replica is stopped and started anew, one after the other, under load: nobody notices."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from sayonce.testing.redis import RedisServer
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.listeners import Listener
from tests.chaos.load import Load
from tests.chaos.replicas import Replica
from tests.conftest import until

_REPLICAS = 2
# How often the balancer asks who is ready, in seconds, and for how long a replica that is told to stop serves on.
_GLANCE, _DRAIN = 0.25, "2.5"


async def test_no_request_fails(make_fleet: MakeFleet, redis: RedisServer) -> None:
    fleet = await make_fleet(_REPLICAS, redis, SAYONCE_DRAIN_SECONDS=_DRAIN)
    fleet.vendors.behave(first_byte=0.05, pace=0.05)
    async with Load(fleet.replicas) as load, balanced(fleet, load):
        for replica in fleet.replicas:
            await load.more(15)
            others = fleet.others(replica)
            ending = asyncio.create_task(replica.end())
            load.listeners += await stragglers(replica, load.texts[0])
            await until(lambda others=others: load.replicas == others)
            await load.more(10)
            await ending
            await load.more(10)
            await replica.start()
            await until(lambda replica=replica: replica in load.replicas)
        await load.more(15)
    assert [each for each in load.listeners if each.refused] == [], "a connection broke before its answer"
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners) == len(load.texts)


async def stragglers(replica: Replica, text: str) -> list[Listener]:
    """Who is still sent to a replica that was just told to stop, since nobody can know yet."""
    loop = asyncio.get_running_loop()
    end = loop.time() + _GLANCE
    heard = []
    while loop.time() < end:
        heard.append(await Listener(text, [replica]).listen())
    return heard


@asynccontextmanager
async def balanced(fleet: Fleet, load: Load) -> AsyncIterator[None]:
    """Sends nobody to who is not ready, as a balancer that asks now and then."""

    async def balance() -> None:
        async with httpx.AsyncClient() as http:
            while True:
                ready = [await is_ready(http, each) for each in fleet.replicas]
                load.replicas = [each for each, well in zip(fleet.replicas, ready, strict=True) if well]
                await asyncio.sleep(_GLANCE)

    balancing = asyncio.create_task(balance())
    try:
        yield
    finally:
        balancing.cancel()
        await asyncio.gather(balancing, return_exceptions=True)


async def is_ready(http: httpx.AsyncClient, replica: Replica) -> bool:
    try:
        return (await http.get(f"{replica.url}/api/health/ready")).status_code == 200
    except httpx.TransportError:
        return False
