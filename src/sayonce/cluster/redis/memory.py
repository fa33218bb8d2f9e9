"""A memory that all replicas share, before the storage."""

from __future__ import annotations

import hashlib
from contextlib import suppress

from sayonce.cluster.contract import SharedMemory
from sayonce.cluster.redis.link import Link
from sayonce.errors import ClusterUnavailable

# Longer audio is better read from the storage, in bytes.
_LONGEST = 2_000_000


class RedisMemory(SharedMemory):
    """`keep` is for how many seconds bytes stay after they were put there."""

    def __init__(self, link: Link, keep: float) -> None:
        self._link = link
        self._milliseconds = round(keep * 1_000)

    async def get(self, digest: bytes) -> bytes | None:
        with suppress(ClusterUnavailable):
            key = await self._link.key("audio", digest.hex())
            data: bytes | None = await self._link.ask(lambda redis: redis.get(key))
            if data is not None and hashlib.sha256(data).digest() == digest:
                return data
        return None

    async def put(self, digest: bytes, data: bytes) -> None:
        if len(data) <= _LONGEST:
            with suppress(ClusterUnavailable):
                key = await self._link.key("audio", digest.hex())
                await self._link.ask(lambda redis: redis.set(key, data, px=self._milliseconds))

    async def forget(self, digest: bytes) -> None:
        with suppress(ClusterUnavailable):
            key = await self._link.key("audio", digest.hex())
            await self._link.ask(lambda redis: redis.delete(key))
