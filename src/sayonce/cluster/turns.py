"""Turns at vendors, and who has had enough, within this process; what replicas share stands before it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from sayonce.cluster.contract import Turns
from sayonce.errors import RateLimited


class OwnTurns(Turns):
    """`most` is how many requests at a time an upstream takes, by its name; `limit` such as `100/minute; 2000/day`,
    or none."""

    def __init__(self, most: Mapping[str, int], limit: str | None) -> None:
        self._turns = {upstream: asyncio.Semaphore(number) for upstream, number in most.items()}
        self.limits: Sequence[RateLimitItem] = parse_many(limit) if limit else ()
        self._counted = SlidingWindowCounterRateLimiter(MemoryStorage())

    @asynccontextmanager
    async def at(self, upstream: str) -> AsyncIterator[None]:
        turn = self._turns.get(upstream)
        if turn is None:
            yield
        else:
            async with turn:
                yield

    async def count(self, tenant: str) -> None:
        await refuse_excess(self._counted, self.limits, tenant)


async def refuse_excess(
    counted: SlidingWindowCounterRateLimiter, limits: Sequence[RateLimitItem], *names: str
) -> None:
    """Counts one more under these names; RateLimited where any limit is reached."""
    for limit in limits:
        if not await counted.hit(limit, *names):
            stats = await counted.get_window_stats(limit, *names)
            raise RateLimited(
                "Too many texts were to be spoken anew.",
                retry_after=max(stats.reset_time - time.time(), 0.1),
                remedy=f"This tenant may have {limit} spoken; what is kept is served all the same.",
            )
