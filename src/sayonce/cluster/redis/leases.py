"""The catalog's leases, announced in Redis; and leases of last resort, while no catalog can tell.

Whoever takes off says so in Redis, for as long as it flies. While the catalog is away, that decides: who flies
already is heard by all others, and where nobody does, one takes a lease of last resort, whose fence is negative:
the catalog never knows it, so nothing lands under it. When the catalog is back, such a flight is still waited for.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.cluster.contract import Leases
from sayonce.cluster.redis.link import Link
from sayonce.errors import CatalogError, ClusterUnavailable, FenceLost, ProviderError

# What is said of a flight: its fence, whether it is a refresh, whether it is over and may only be heard.
_SAID = re.compile(rb"(-?\d+)(r?)(o?)")
# Says that a fence flies: in place of older ones of the catalog's; of last resort only where nobody flies, or where
# it is to be spoken anew and who flew is done. Whoever stands in the way, else nothing.
_ANNOUNCE = """
local there = redis.call('GET', KEYS[1])
if there then
  local fence = string.match(there, '^-?%d+')
  local done = ARGV[3] == 'r' and string.find(there, 'o')
  if not done and fence ~= ARGV[1] and (tonumber(fence) < 0 or tonumber(ARGV[1]) < 0) then
    return {there, redis.call('PTTL', KEYS[1])}
  end
end
redis.call('SET', KEYS[1], ARGV[1] .. ARGV[3], 'PX', ARGV[2])
return {}
"""
# Says it for longer, or again where it was forgotten. Whether it is still so.
_RENEW = """
local there = redis.call('GET', KEYS[1])
if there and string.match(there, '^-?%d+') ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], there or ARGV[1], 'PX', ARGV[2])
return 1
"""
# Says it no more, or, for last words, for a while.
_WITHDRAW = """
local there = redis.call('GET', KEYS[1])
if not there or string.match(there, '^-?%d+') ~= ARGV[1] then return end
if tonumber(ARGV[1]) < 0 and tonumber(ARGV[2]) > 0 then
  redis.call('SET', KEYS[1], string.gsub(there, 'o', '') .. 'o', 'PX', ARGV[2])
else
  redis.call('DEL', KEYS[1])
end
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
            return await self._last_resort(wish, error)
        if isinstance(found, Lease):
            held = await self._in_the_way(found, wish)
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

    async def _last_resort(self, wish: TakeOff, trouble: CatalogError) -> Lease | Held:
        lease = Lease(wish.recipe_hash, -1 - secrets.randbits(52), self._clock() + self.life)
        try:
            there = await self._announce(lease, wish)
        except ClusterUnavailable:
            raise trouble from None
        return lease if there is None else there

    async def _in_the_way(self, lease: Lease, wish: TakeOff) -> Held | None:
        """A flight of last resort that has not ended although the catalog is back."""
        try:
            return await self._announce(lease, wish)
        except ClusterUnavailable:
            return None

    async def _announce(self, lease: Lease, wish: TakeOff) -> Held | None:
        there = await self._run(_ANNOUNCE, lease, self._milliseconds, "r" if wish.refresh else "")
        if not there:
            return None
        seen = self._said(*there)
        return Held(seen.fence, seen.expires, seen.refresh)

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
        seen = None if there is None else self._said(there, left)
        return seen if seen is not None and fence in (None, seen.fence) else None

    def _said(self, said: bytes, left: int) -> Progress:
        """What is said of a flight, for so many milliseconds more."""
        told = _SAID.fullmatch(said)
        if told is None:
            raise ClusterUnavailable("Redis says what no sayonce has said.", backend="redis")
        return Progress(int(told[1]), self._clock() + left / 1_000, None, bool(told[2]), bool(told[3]))

    async def _end(self, lease: Lease, echoes: int) -> None:
        with suppress(ClusterUnavailable):
            await self._run(_WITHDRAW, lease, echoes)

    async def _run(self, script: str, lease: Lease, milliseconds: int, refresh: str = "") -> Any:
        key = await self._link.key("lease", lease.recipe_hash.hex())
        return await self._link.execute(script, [key], [lease.fence, milliseconds, refresh])

    @property
    def _milliseconds(self) -> int:
        return round(self.life * 1_000)
