"""Whether a replica is ready: only while what it speaks would be kept, and whatever it could do without is away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from sayonce.testing.postgres import PostgresServer, postgres_server
from sayonce.testing.redis import RedisServer
from tests.conftest import House, MakeHouse, until


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    """One of the test's own, which it may kill."""
    with postgres_server() as server:
        yield server


@pytest.fixture
async def house(make_house: MakeHouse, server: PostgresServer, redis: RedisServer) -> House:
    return await make_house(database_url=server.url(), redis_url=redis.url(), poll_seconds=0.05, flush_seconds=0.05)


async def parts_in_trouble(house: House, status: int) -> set[str]:
    """Which parts are not well, while readiness is that status and the gateway lives."""
    assert (await house.http.get("/api/health")).status_code == 200
    answer = await house.http.get("/api/health/ready")
    told = answer.json()
    assert (answer.status_code, told["status"]) == (status, "healthy" if status == 200 else "degraded")
    return {name for name, state in told["parts"].items() if state != "ok"}


async def is_ready(house: House) -> bool:
    return (await house.http.get("/api/health/ready")).status_code == 200


async def test_without_its_catalog_it_is_not(house: House, server: PostgresServer) -> None:
    assert await parts_in_trouble(house, 200) == set()
    await asyncio.to_thread(server.stop)
    assert await parts_in_trouble(house, 503) == {"catalog"}
    await asyncio.to_thread(server.start)
    await until(lambda: is_ready(house))


async def test_a_catalog_that_hangs_is_told_within_a_probes_patience(house: House, server: PostgresServer) -> None:
    assert await is_ready(house)
    server.pause()
    try:
        async with asyncio.timeout(10):
            assert await parts_in_trouble(house, 503) == {"catalog"}
    finally:
        server.resume()


async def test_without_its_storage_it_is_not(house: House) -> None:
    await house.speak()
    root = house.gateway.settings.data_dir / "audio"
    away = root.rename(root.with_name("unmounted"))
    assert await parts_in_trouble(house, 503) == {"storage"}
    away.rename(root)
    await until(lambda: is_ready(house))


async def test_without_redis_alone_it_is(house: House, redis: RedisServer) -> None:
    await house.speak()
    redis.kill()
    assert await is_ready(house)
    assert (await house.speak("Said all the same.")).outcome == "miss"
    assert await is_ready(house)
