"""`sayonce worker`: processes that speak what gateways have queued in Redis, and die at it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from sayonce.testing.postgres import postgres_server
from sayonce.testing.redis import RedisServer
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until
from tests.e2e.processes import SAYONCE, Server, command, environment, refuse_unsound, serving_process

AT_ONCE = 3


@asynccontextmanager
async def worker(folder: Path, upstream: str, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker in a process of its own, once it has said that it works."""
    process = await asyncio.create_subprocess_exec(
        *(*SAYONCE, "worker", "--concurrency", str(AT_ONCE)),
        env=environment(folder, upstream, **settings),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    told = b""
    while b"speaks 3 texts at a time" not in told:
        line = await process.stderr.readline()
        assert line, told.decode()
        told += line
    draining = asyncio.create_task(process.stderr.read())
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await draining


def settings_of(redis: RedisServer) -> dict[str, str]:
    """What they share; gateways leave the queue to workers."""
    times = {"SAYONCE_LEASE_SECONDS": "1", "SAYONCE_SHUTDOWN_SECONDS": "10"}
    return {"REDIS_URL": redis.url(), "SAYONCE_QUEUE_HERE": "false", **times}


def texts(number: int) -> list[str]:
    return [f"Nobody waits for number {n}." for n in range(number)]


async def queue(server: Server, wanted: list[str]) -> list[str]:
    """Has the texts queued; their assets' names."""
    async with httpx.AsyncClient(timeout=30, base_url=server.url, headers={"Prefer": "respond-async"}) as http:
        told = await asyncio.gather(*(http.post("/api/voice", json={"text": text}) for text in wanted))
    assert {answer.status_code for answer in told} == {202}
    return [answer.json()["content_hash"] for answer in told]


async def all_made(server: Server, names: list[str]) -> None:
    async with httpx.AsyncClient(timeout=30, base_url=server.url) as http:
        for name in names:

            async def there(name: str = name) -> bool:
                answer = await http.get(f"/api/voice/{name}")
                assert answer.status_code in (200, 202)
                return answer.status_code == 200

            await until(there, deadline=60)


async def everything_in(redis: RedisServer) -> str:
    """All keys and values."""
    told: list[Any] = []
    async with Redis.from_url(redis.url()) as client:
        async for key in client.scan_iter():
            kind = await client.type(key)
            value = await (client.xrange(key) if kind == b"stream" else client.dump(key))
            told += [key, value]
    return str(told)


@pytest.mark.timeout(240)
async def test_a_killed_workers_texts_are_spoken_by_the_others(tmp_path: Path, redis: RedisServer) -> None:
    vendors, wanted, given = FakeVendors(), texts(40), settings_of(redis)
    vendors.behave(first_byte=0.2)
    async with serving(vendors) as upstream, serving_process(tmp_path, upstream, **given) as server:
        names = await queue(server, wanted[:3])
        held = await everything_in(redis)
        assert ":queue" in held
        assert "Nobody" not in held, "the queue carries ids"
        assert vendors.counts.calls == 0, "a gateway with Redis leaves it to workers"
        async with (
            worker(tmp_path, upstream, **given) as doomed,
            worker(tmp_path, upstream, **given),
            worker(tmp_path, upstream, **given),
        ):
            names += await queue(server, wanted[3:])
            await until(lambda: vendors.counts.running == 3 * AT_ONCE)
            assert "Nobody" not in await everything_in(redis)
            doomed.kill()
            await all_made(server, names)
        assert "Nobody" not in await everything_in(redis)
        async with Redis.from_url(redis.url()) as client:
            streams = [key async for key in client.scan_iter("sayonce:*:queue")]
            assert [await client.xlen(key) for key in streams] == [0]
    assert len(vendors.counts.texts) == len(wanted)
    assert vendors.counts.calls <= len(wanted) + AT_ONCE
    assert refuse_unsound(tmp_path) == len(wanted)


@pytest.mark.timeout(240)
async def test_a_redis_that_dies_and_forgets_loses_nothing(tmp_path: Path, redis: RedisServer) -> None:
    vendors, wanted, given = FakeVendors(), texts(20), settings_of(redis)
    vendors.behave(first_byte=0.2)
    async with (
        serving(vendors) as upstream,
        serving_process(tmp_path, upstream, **given) as server,
        worker(tmp_path, upstream, **given),
    ):
        names = await queue(server, wanted[:15])
        await until(lambda: vendors.counts.calls > AT_ONCE)
        redis.kill()
        names += await queue(server, wanted[15:])
        redis.start()
        await all_made(server, names)
    assert vendors.counts.texts == dict.fromkeys(wanted, 1)


@pytest.mark.timeout(240)
async def test_who_is_told_to_stop_ends_what_it_began(tmp_path: Path, redis: RedisServer) -> None:
    vendors, wanted, given = FakeVendors(), texts(12), settings_of(redis) | {"SAYONCE_LEASE_SECONDS": "60"}
    vendors.behave(first_byte=0.5)
    async with serving(vendors) as upstream, serving_process(tmp_path, upstream, **given) as server:
        names = await queue(server, wanted)
        async with worker(tmp_path, upstream, **given) as first:
            await until(lambda: vendors.counts.running == AT_ONCE)
            first.send_signal(signal.SIGTERM)
            assert await first.wait() == 0
        assert vendors.counts.calls < len(wanted)
        assert refuse_unsound(tmp_path) == vendors.counts.calls == vendors.counts.finished
        async with worker(tmp_path, upstream, **given):
            await all_made(server, names)
    assert vendors.counts.texts == dict.fromkeys(wanted, 1)


async def test_a_gateway_without_redis_goes_on_after_a_restart(tmp_path: Path) -> None:
    vendors, wanted = FakeVendors(), texts(12)
    vendors.behave(first_byte=0.3)
    given = {"SAYONCE_QUEUE_AT_ONCE": "2", "SAYONCE_LEASE_SECONDS": "1"}
    async with serving(vendors) as upstream:
        async with serving_process(tmp_path, upstream, **given) as server:
            names = await queue(server, wanted)
            await until(lambda: vendors.counts.running == 2)
            await server.kill()
        async with serving_process(tmp_path, upstream, **given) as server:
            await all_made(server, names)
    assert vendors.counts.calls <= len(wanted) + 2


async def test_a_worker_that_starts_before_the_catalog_works_when_that_is_there(
    tmp_path: Path, redis: RedisServer
) -> None:
    with postgres_server() as postgres:
        given = settings_of(redis) | {"DATABASE_URL": postgres.url(postgres.create())}
        vendors = FakeVendors()
        async with serving(vendors) as upstream, serving_process(tmp_path, upstream, **given) as server:
            postgres.stop()
            async with worker(tmp_path, upstream, **given) as idle:
                idle.send_signal(signal.SIGTERM)
                assert await idle.wait() == 0, "told to stop before it ever worked"
            async with worker(tmp_path, upstream, **given) as early:
                postgres.start()
                names = await until(lambda: queued_by_now(server))
                await all_made(server, names)
                early.send_signal(signal.SIGTERM)
                assert await early.wait() == 0
        assert vendors.counts.calls == 3


async def queued_by_now(server: Server) -> list[str]:
    """As `queue`, once the gateway has its catalog back."""
    async with httpx.AsyncClient(timeout=30, base_url=server.url) as http:
        ready = (await http.get("/api/health/ready")).status_code == 200
    return await queue(server, texts(3)) if ready else []


async def test_a_worker_without_redis_says_what_to_set(tmp_path: Path) -> None:
    code, out, err = await command("worker", env=environment(tmp_path, "http://127.0.0.1:9"))
    assert (code, out) == (2, "")
    assert "REDIS_URL" in err
    assert len(err.strip().splitlines()) == 1


async def test_gateways_speak_it_too_where_there_is_no_worker(tmp_path: Path, redis: RedisServer) -> None:
    async with serving(FakeVendors()) as upstream:
        settings = settings_of(redis) | {"SAYONCE_QUEUE_HERE": "true"}
        async with serving_process(tmp_path, upstream, **settings) as server:
            await all_made(server, await queue(server, texts(3)))
