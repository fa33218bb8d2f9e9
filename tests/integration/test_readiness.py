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
    url = server.url(server.create())
    return await make_house(database_url=url, redis_url=redis.url(), poll_seconds=0.05, flush_seconds=0.05)


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


async def test_with_a_catalog_that_can_only_be_read_it_is_not(house: House, server: PostgresServer) -> None:
    """A stand-by that was not promoted, or a full disk: what is spoken would have no row."""
    await house.speak()
    name = str(house.gateway.settings.database_url).partition("@/")[2].partition("?")[0]
    _all_anew(server, name, "on")
    await until(lambda: _read_only(house))
    assert (await house.speak()).outcome == "hit"
    _all_anew(server, name, "off")
    await until(lambda: is_ready(house))


def _all_anew(server: PostgresServer, name: str, read_only: str) -> None:
    server.run(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
    server.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")


async def _read_only(house: House) -> bool:
    """Whether it says so, while it can be read: once all connections are new."""
    live = (await house.http.get("/api/health")).json()["parts"]["catalog"]
    ready = await house.http.get("/api/health/ready")
    return (live, ready.status_code, ready.json()["parts"]["catalog"]) == ("ok", 503, "catalog_unavailable")


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


async def test_a_replica_tells_the_name_it_was_given_and_its_hosts_to_an_admin_alone(make_house: MakeHouse) -> None:
    named = await make_house(replica_name="left-hand")
    assert (await named.http.get("/api/health")).json()["replica"] == "left-hand"
    unnamed = await make_house(require_keys=True)
    assert "replica" not in (await unnamed.http.get("/api/health")).json()
