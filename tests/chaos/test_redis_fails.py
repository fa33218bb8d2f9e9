"""Redis goes away, freezes or forgets everything in the middle of load: nobody is refused and nothing is paid twice,
and when it is back, replicas hear each other again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import pytest

from sayonce.testing.postgres import PostgresServer, postgres_server
from sayonce.testing.redis import RedisServer
from tests.chaos.conftest import MakeFleet
from tests.chaos.fleet import Fleet
from tests.chaos.load import Load
from tests.chaos.scene import Scene
from tests.conftest import until

_REPLICAS = 2
_TEXT = "A text that is heard at one replica while another has it spoken: number {}."


@pytest.fixture
async def fleet(make_fleet: MakeFleet, redis: RedisServer) -> Fleet:
    fleet = await make_fleet(_REPLICAS, redis)
    assert await hears_live(fleet)
    fleet.vendors.behave(first_byte=0.05, pace=0.02)
    return fleet


@pytest.mark.parametrize(
    ("takes", "gives"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.pause, RedisServer.resume)],
    ids=["killed", "frozen"],
)
async def test_away_and_back(
    fleet: Fleet, redis: RedisServer, takes: Callable[[RedisServer], None], gives: Callable[[RedisServer], None]
) -> None:
    async with Load(fleet.replicas) as load:
        await load.more(30)
        await until(lambda: fleet.vendors.counts.running)
        takes(redis)
        meanwhile = await load.more(60)
        await asyncio.to_thread(gives, redis)
        await load.more(30)
    assert {"miss", "hit"} <= {each.outcome for each in meanwhile}
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners) == len(load.texts) + 1
    await until(lambda: hears_live(fleet))


async def test_emptied(fleet: Fleet, redis: RedisServer) -> None:
    async with Load(fleet.replicas) as load:
        for _ in range(5):
            await load.more(15)
            await until(lambda: fleet.vendors.counts.running)
            assert redis.ask("FLUSHALL").startswith(b"+OK")
    await load.settle()
    assert await fleet.refuse_unsound(load.listeners) == len(load.texts) + 1
    assert await hears_live(fleet)


@pytest.mark.parametrize(
    ("takes", "gives"),
    [(RedisServer.kill, RedisServer.start), (RedisServer.pause, RedisServer.resume)],
    ids=["killed", "frozen"],
)
async def test_in_the_middle_of_one_flight(
    make_fleet: MakeFleet,
    redis: RedisServer,
    takes: Callable[[RedisServer], None],
    gives: Callable[[RedisServer], None],
) -> None:
    """The flight lands, and whoever listens elsewhere has all of it in the end."""
    scene = Scene(fleet := await make_fleet(_REPLICAS, redis), _TEXT.format(0), 16_384)
    await scene.begin()
    await until(lambda: all(each.heard for each in scene.listeners))
    takes(redis)
    try:
        late = scene.ask(fleet.replicas[1])
        scene.gate.open()
        await scene.end()
    finally:
        await asyncio.to_thread(gives, redis)
    assert all(each.whole for each in [*scene.listeners, *late])
    assert await fleet.refuse_unsound(scene.listeners) == 1


@pytest.fixture
def postgres_of_its_own() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


async def test_postgres_gone_too(
    make_fleet: MakeFleet, redis: RedisServer, postgres_of_its_own: PostgresServer
) -> None:
    """With nobody to decide, each replica pays once at most; all of it is kept when they are back."""
    server = postgres_of_its_own
    fleet = await make_fleet(_REPLICAS, redis, database=server.url())
    assert await hears_live(fleet)
    fleet.vendors.behave(first_byte=0.05, pace=0.02)
    async with Load(fleet.replicas) as load:
        await load.more(30)
        await until(lambda: fleet.vendors.counts.running)
        went = asyncio.get_running_loop().time()
        redis.kill()
        await asyncio.to_thread(server.stop)
        meanwhile = await load.more(60)
        await asyncio.to_thread(redis.start)
        await asyncio.to_thread(server.start)
        await load.more(30)
    assert "bypass" in {each.outcome for each in meanwhile}
    await load.settle()
    # Who had heard the half of another replica's flight can be told of its end by nobody any more.
    lost = [each for each in load.listeners if each.aborted]
    assert all(each.outcome == "joined" and each.began < went for each in lost), fleet.story(lost)
    rows = await fleet.refuse_unsound(load.listeners, calls=_REPLICAS, aborted=len(lost))
    assert rows == len(load.texts) + 1
    await until(lambda: hears_live(fleet))


async def hears_live(fleet: Fleet) -> bool:
    """Whether what one replica has spoken is heard at the others before it has landed. Once a text, since what is
    kept is not spoken again."""
    text = _TEXT.format(fleet.calls)
    scene = Scene(fleet, text, 8_192)
    await scene.begin()
    try:
        async with asyncio.timeout(5):
            await until(lambda: all(each.heard for each in scene.listeners))
        return True
    except TimeoutError:
        return False
    finally:
        scene.gate.open()
        await scene.end()
