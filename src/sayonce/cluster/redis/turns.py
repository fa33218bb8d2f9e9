"""Turns at vendors, and who has had enough, over all replicas. While Redis is away, each counts for itself."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress

from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from sayonce.cluster.contract import Turns
from sayonce.cluster.redis.link import Link
from sayonce.cluster.turns import OwnTurns, refuse_excess
from sayonce.errors import ClusterUnavailable

# For how long a turn is had unless renewed, in seconds: a process that was killed gives back none.
_LIFE = 10.0
# How often it is asked for one, if no bell rings, in seconds.
_GLANCE = 0.5

# Takes a turn, or renews it: the turns that are had, each until when. By the server's own clock.
_TAKE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) and redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[2]) then
  return 0
end
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
_GIVE_BACK = """
redis.call('ZREM', KEYS[1], ARGV[1])
return redis.call('PUBLISH', ARGV[2], '')
"""


class SharedTurns(Turns):
    """`own` counts while Redis does not; `most` is how many requests at a time an upstream takes, by its name."""

    def __init__(self, own: OwnTurns, link: Link, most: Mapping[str, int], counted: RedisStorage) -> None:
        self._own = own
        self._link = link
        self._most = most
        self._counted = SlidingWindowCounterRateLimiter(counted)

    @asynccontextmanager
    async def at(self, upstream: str) -> AsyncIterator[None]:
        if upstream not in self._most:
            yield
            return
        name = secrets.token_hex(8)
        try:
            await self._wait(upstream, name)
            having = asyncio.create_task(self._have(upstream, name))
            try:
                yield
            finally:
                having.cancel()
        finally:
            await asyncio.shield(self._give_back(upstream, name))

    async def count(self, tenant: str) -> None:
        if not self._own.limits:
            return
        try:
            catalog = await self._link.key("spoken")
            await self._link.ask(lambda _: refuse_excess(self._counted, self._own.limits, catalog, tenant))
        except ClusterUnavailable:
            await self._own.count(tenant)

    async def _wait(self, upstream: str, name: str) -> None:
        """Returns when there is a turn, or nobody can tell."""
        async with self._link.heard(_channel(upstream)) as bell:
            while True:
                bell.clear()
                try:
                    if await self._take(upstream, name):
                        break
                except ClusterUnavailable:
                    break
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GLANCE):
                        await bell.wait()

    async def _have(self, upstream: str, name: str) -> None:
        while True:
            await asyncio.sleep(_LIFE / 3)
            with suppress(ClusterUnavailable):
                await self._take(upstream, name)

    async def _take(self, upstream: str, name: str) -> bool:
        key = await self._link.key("turns", upstream)
        return bool(await self._link.execute(_TAKE, [key], [name, self._most[upstream], round(_LIFE * 1_000)]))

    async def _give_back(self, upstream: str, name: str) -> None:
        with suppress(ClusterUnavailable):
            key = await self._link.key("turns", upstream)
            await self._link.execute(_GIVE_BACK, [key], [name, _channel(upstream)])


def _channel(upstream: str) -> str:
    return f"sayonce:turns:{upstream}"
