"""The line in Redis: many workers, each use once, whatever becomes of a worker or of Redis."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from redis.asyncio import Redis

from sayonce.batch.streams import StreamLine
from sayonce.testing.redis import RedisServer
from tests.conftest import until

Connect = Callable[..., StreamLine]


@pytest.fixture
async def connect(redis: RedisServer) -> AsyncIterator[Connect]:
    """Lines in the test's Redis: of one catalog, unless told otherwise."""
    async with AsyncExitStack() as stack:

        def make(catalog: str = "c1", idle: float = 0.6) -> StreamLine:
            async def identity() -> str:
                return catalog

            line = StreamLine(redis.url(), identity, idle=idle, patience=5.0)
            stack.push_async_callback(line.aclose)
            return line

        yield make


class Hands:
    """Who works: what was begun, and done. `gate` keeps it from ending."""

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.gate = asyncio.Event()
        self.gate.set()

    async def speak(self, use: int) -> None:
        self.begun[use] += 1
        await self.gate.wait()
        self.done[use] += 1


@asynccontextmanager
async def working(line: StreamLine, hands: Hands, at_once: int = 4, patience: float = 10.0) -> AsyncIterator[Any]:
    """A worker, told to stop at the end."""
    stop = asyncio.Event()
    task = asyncio.create_task(line.work(hands.speak, at_once, stop, patience))
    try:
        yield task
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


async def left(redis: RedisServer) -> int:
    """How many uses wait or are worked on, by the stream and by the set, which agree."""
    async with Redis.from_url(redis.url()) as client:
        stream, known = await client.xlen("sayonce:{c1}:queue"), await client.scard("sayonce:{c1}:queue:uses")  # type: ignore[misc]
        return stream if stream == known else -1


def empty(redis: RedisServer) -> Callable[[], Awaitable[bool]]:
    async def is_empty() -> bool:
        return await left(redis) == 0

    return is_empty


async def test_each_is_spoken_once_and_nothing_is_left(connect: Connect, redis: RedisServer) -> None:
    one, two, sender = Hands(), Hands(), connect()
    assert await sender.add(range(20))
    async with working(connect(), one), working(connect(), two):
        assert await sender.add(range(40))
        await until(empty(redis))
    assert one.done + two.done == Counter(range(40))
    async with Redis.from_url(redis.url()) as client:
        assert await client.xpending("sayonce:{c1}:queue", "workers") == {
            "pending": 0,
            "min": None,
            "max": None,
            "consumers": [],
        }
        assert await client.xinfo_consumers("sayonce:{c1}:queue", "workers") == []
        keys = [key async for key in client.scan_iter()]
    assert all(key.startswith(b"sayonce:{c1}:queue") for key in keys)


async def test_what_waits_or_is_worked_on_does_not_wait_twice(connect: Connect, redis: RedisServer) -> None:
    hands, sender = Hands(), connect()
    hands.gate.clear()
    await sender.add([7, 7])
    await sender.add([7])
    assert await left(redis) == 1
    async with working(connect(), hands):
        await until(lambda: hands.begun[7])
        await sender.add([7])
        assert await left(redis) == 1
        hands.gate.set()
        await until(empty(redis))
        await sender.add([7])
        await until(lambda: hands.done[7] == 2)


async def test_no_more_are_worked_on_than_was_said(connect: Connect) -> None:
    hands, other = Hands(), Hands()
    hands.gate.clear()
    await connect().add(range(10))
    async with working(connect(idle=60), hands, at_once=3):
        await until(lambda: len(hands.begun) == 3)
        async with working(connect(idle=60), other):
            await until(lambda: len(other.done) == 7)  # what is not worked on is there for others
            assert len(hands.begun) == 3
        hands.gate.set()


async def test_a_dead_workers_are_taken_over(connect: Connect, redis: RedisServer) -> None:
    dead, hands = Hands(), Hands()
    dead.gate.clear()
    await connect().add(range(6))
    line = connect()
    task = asyncio.create_task(line.work(dead.speak, 4, asyncio.Event(), 10.0))
    await until(lambda: len(dead.begun) == 4)
    line._broker.hand_back = line._broker.hold = _nothing  # type: ignore[union-attr,method-assign]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    async with working(connect(), hands):
        await until(empty(redis))
    assert hands.done == Counter(range(6))


async def test_what_takes_long_is_not_taken_over(connect: Connect, redis: RedisServer) -> None:
    slow, idle = Hands(), Hands()
    slow.gate.clear()
    await connect().add([1, 2])
    async with working(connect(idle=0.3), slow), working(connect(idle=0.3), idle, at_once=1):
        await until(lambda: sum((slow.begun + idle.begun).values()) == 2)
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() > began + 1.5)
        assert sum((slow.begun + idle.begun).values()) == 2
        slow.gate.set()
        await until(empty(redis))


async def test_who_is_told_to_stop_ends_what_it_began_and_hands_back_the_rest(
    connect: Connect, redis: RedisServer
) -> None:
    hands, next_ = Hands(), Hands()
    hands.gate.clear()
    await connect().add(range(8))
    async with working(connect(idle=60), hands, at_once=2):
        await until(lambda: len(hands.begun) == 2)
        asyncio.get_running_loop().call_later(0.2, hands.gate.set)  # when it was told
    assert sum(hands.done.values()) == 2
    assert await left(redis) == 6
    hands.gate.clear()
    async with working(connect(idle=60), hands, at_once=2, patience=0.1):
        await until(lambda: sum(hands.begun.values()) == 4)
    async with working(connect(idle=60), next_):  # at once, not after a minute
        await until(empty(redis))
    assert sum(next_.done.values()) == 6


async def test_catalogs_on_one_redis_do_not_mix(connect: Connect) -> None:
    one, two = Hands(), Hands()
    async with working(connect("c1"), one), working(connect("c2"), two):
        await connect("c1").add([1, 2])
        await connect("c2").add([2, 3])
        await until(lambda: len(one.done) == len(two.done) == 2)
    assert (one.done, two.done) == (Counter([1, 2]), Counter([2, 3]))


async def test_a_redis_that_forgot_all_is_worked_on_again(connect: Connect, redis: RedisServer) -> None:
    hands, sender, line = Hands(), connect(), connect()
    async with working(line, hands):
        await sender.add([1])
        await until(lambda: hands.done[1])
        line.lost.clear()
        redis.kill()
        assert not await sender.add([2])
        redis.start()
        await until(line.lost.is_set)
        assert await sender.add([2])
        await until(lambda: hands.done[2])
        async with Redis.from_url(redis.url()) as client:
            await client.flushall()
        line.lost.clear()
        await until(line.lost.is_set)
        await sender.add([3])
        await until(lambda: hands.done[3])


async def test_a_frozen_redis_is_waited_out(connect: Connect, redis: RedisServer) -> None:
    hands, sender = Hands(), connect()
    async with working(connect(), hands):
        await sender.add([1])
        await until(lambda: hands.done[1])
        redis.pause()
        adding = asyncio.create_task(sender.add([2]))
        assert not await adding
        redis.resume()
        await sender.add([2])
        await until(lambda: hands.done[2])


async def test_a_set_without_its_stream_keeps_nothing_from_waiting(connect: Connect, redis: RedisServer) -> None:
    sender, hands = connect(), Hands()
    await sender.add([1])
    async with Redis.from_url(redis.url()) as client:
        await client.delete("sayonce:{c1}:queue")
    await sender.add([1])
    async with working(connect(), hands):
        await until(lambda: hands.done[1])


async def _nothing() -> None:
    pass
