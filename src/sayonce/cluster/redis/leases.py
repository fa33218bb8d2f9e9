"""The catalog's leases, announced in Redis; and leases of last resort, while no catalog can tell.

Whoever takes off says so in Redis, for as long as it flies. While the catalog is away, that decides: who flies
already is heard by all others, and where nobody does, one takes a lease of last resort, whose fence is negative:
the catalog never knows it, so nothing lands under it. When the catalog is back, such a flight is still waited for.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.cluster.contract import Leases
from sayonce.cluster.redis.link import Link
from sayonce.errors import CatalogError, ClusterUnavailable, FenceLost, ProviderError

# Says that a fence flies: in place of older ones of the catalog's; of last resort only where nobody flies. Whoever
# stands in the way, else nothing.
_ANNOUNCE = """
local there = redis.call('GET', KEYS[1])
if there and (tonumber(there) < 0 or tonumber(ARGV[1]) < 0) and there ~= ARGV[1] then
  return {there, redis.call('PTTL', KEYS[1])}
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {}
"""
# Says it for longer, or again where it was forgotten. Whether it is still so.
_RENEW = """
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1
"""
# Says it no more, or, for last words, for a while.
_WITHDRAW = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if tonumber(ARGV[1]) < 0 and tonumber(ARGV[2]) > 0 then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return redis.call('DEL', KEYS[1])
"""


class AnnouncedLeases(Leases):
    """`catalog` holds the leases. `clock` gives seconds since 1970."""

    def __init__(self, catalog: Leases, link: Link, clock: Callable[[], float]) -> None:
        self.life = catalog.life
        self._catalog = catalog
        self._link = link
        self._clock = clock

    async def take(self, wish: TakeOff) -> Lease | Held | Kept:
        try:
            found = await self._catalog.take(wish)
        except CatalogError as error:
            return await self._last_resort(wish.recipe_hash, error)
        if isinstance(found, Lease):
            held = await self._in_the_way(found)
            if held is not None:
                await self._catalog.release(found)
                return held
        return found

    async def renew(self, lease: Lease) -> Lease:
        if lease.last_resort:
            return await self._renewed(lease)
        renewed = await self._catalog.renew(lease)
        with suppress(ClusterUnavailable):
            await self._run(_RENEW, lease, self._milliseconds)
        return renewed

    async def release(self, lease: Lease, failure: ProviderError | None = None) -> None:
        await self._end(lease, echoes=0)
        if not lease.last_resort:
            await self._catalog.release(lease, failure)

    async def withdraw(self, lease: Lease) -> None:
        # What was spoken as a last resort is kept nowhere, but may be heard for a while.
        await self._end(lease, echoes=self._milliseconds)

    async def progress(self, recipe_hash: bytes, fence: int | None = None) -> Progress | None:
        if fence is not None and fence < 0:
            return await self._announced(recipe_hash, fence)
        try:
            return await self._catalog.progress(recipe_hash, fence)
        except CatalogError as error:
            try:
                return await self._announced(recipe_hash, fence)
            except ClusterUnavailable:
                raise error from None

    async def _last_resort(self, recipe_hash: bytes, trouble: CatalogError) -> Lease | Held:
        lease = Lease(recipe_hash, -1 - secrets.randbits(52), self._clock() + self.life)
        try:
            there = await self._announce(lease)
        except ClusterUnavailable:
            raise trouble from None
        return lease if there is None else there

    async def _in_the_way(self, lease: Lease) -> Held | None:
        """A flight of last resort that has not ended although the catalog is back."""
        try:
            return await self._announce(lease)
        except ClusterUnavailable:
            return None

    async def _announce(self, lease: Lease) -> Held | None:
        there = await self._run(_ANNOUNCE, lease, self._milliseconds)
        return Held(int(there[0]), self._clock() + there[1] / 1_000, refresh=False) if there else None

    async def _renewed(self, lease: Lease) -> Lease:
        try:
            mine = await self._run(_RENEW, lease, self._milliseconds)
        except ClusterUnavailable:
            return lease  # it may be back before the lease is over
        if not mine:
            raise FenceLost("Another flies this as a last resort.", backend="redis")
        return Lease(lease.recipe_hash, lease.fence, self._clock() + self.life)

    async def _announced(self, recipe_hash: bytes, fence: int | None) -> Progress | None:
        key = await self._link.key("lease", recipe_hash.hex())

        async def look(redis: Any) -> tuple[bytes | None, int]:
            async with redis.pipeline() as steps:
                there, left = await steps.get(key).pttl(key).execute()
                return there, left

        there, left = await self._link.ask(look)
        if there is None or fence not in (None, int(there)):
            return None
        return Progress(int(there), self._clock() + left / 1_000, None)

    async def _end(self, lease: Lease, echoes: int) -> None:
        with suppress(ClusterUnavailable):
            await self._run(_WITHDRAW, lease, echoes)

    async def _run(self, script: str, lease: Lease, milliseconds: int) -> Any:
        key = await self._link.key("lease", lease.recipe_hash.hex())
        return await self._link.execute(script, [key], [lease.fence, milliseconds])

    @property
    def _milliseconds(self) -> int:
        return round(self.life * 1_000)
