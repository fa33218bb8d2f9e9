"""Who has had enough spoken anew, within this process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from limits import RateLimitItem, parse_many
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter

from sayonce.cluster.contract import Turns
from sayonce.errors import RateLimited


class OwnTurns(Turns):
    """`limit` is such as `100/minute; 2000/day`, or none. Turns within a process are the provider's own to give."""

    def __init__(self, limit: str | None) -> None:
        self.limits: Sequence[RateLimitItem] = parse_many(limit) if limit else ()
        self._counted = SlidingWindowCounterRateLimiter(MemoryStorage())

    @asynccontextmanager
    async def at(self, upstream: str) -> AsyncIterator[None]:
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
