"""The queue: what is to be spoken without anybody waiting for it. The catalog holds it; a line carries its ids."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, suppress

from sayonce.batch.contract import Line
from sayonce.cache.orders import Order, Retention
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Use, Wish
from sayonce.errors import CatalogError
from sayonce.speech.requests import SpeechRequest
from sayonce.telemetry.logs import get_logger

# How often what is yet to be made is put back into the line, by one of all processes, in seconds.
_EVERY = 60.0
# How many ids are asked for at a time.
_BATCH = 500

_log = get_logger("sayonce.queue")


class Queue:
    """`clock` gives seconds since 1970."""

    def __init__(self, catalog: Catalog, line: Line, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self.line = line
        self._clock = clock

    async def add(self, orders: Iterable[Order]) -> int:
        """Has orders spoken, whoever gets to it; of each, its provider's own voice and nobody's in its place. How
        many are yet to be made. CatalogError where they cannot be written down."""
        return await self.wish([wish_of(order, self._clock()) for order in orders])

    async def wish(self, wanted: Sequence[Wish]) -> int:
        """The same of wishes."""
        ids = await self._catalog.wish(wanted)
        unmade = [use for use in ids if use is not None]
        await self.line.add(unmade)
        return len(unmade)

    async def refill(self) -> None:
        """Puts all that is due and yet to be made into the line."""
        last = 0
        while (ids := await self._catalog.unmade(last, _BATCH)) and await self.line.add(ids):
            last = ids[-1]

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Meanwhile what is yet to be made finds its way back into the line: at first, after the line has forgotten
        it, and now and then."""
        tending = asyncio.create_task(self._tend())
        try:
            yield
        finally:
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)

    async def _tend(self) -> None:
        due = True
        while True:
            try:
                if due or await self._catalog.claim("queue", _EVERY):
                    await self.refill()
                due = False
            except CatalogError as error:
                _log.warning("queue.not_refilled", error=error.code)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self.line.lost.wait()
                    due = True
            self.line.lost.clear()


def wish_of(order: Order, now: float, use: Use | None = None) -> Wish:
    """The wish that an order be spoken for a use, or else for a plain request, and be kept as the order says."""
    keep = order.keep
    use = use or Use(
        "request",
        keep_until=None if keep.seconds is None else now + keep.seconds,
        sliding=keep.seconds if keep.sliding else None,
        at=now,
    )
    return Wish(order.content_hash, order.recipe.hash, _request_of(order), use)


def keep_of(wish: Wish) -> Retention:
    """For how long what is wished for is to be kept."""
    use = wish.use
    if use.keep_until is None or use.at is None:
        return Retention()
    return Retention(use.keep_until - use.at, use.sliding is not None)


def _request_of(order: Order) -> SpeechRequest:
    """What makes the same order again, with every default filled in as it is now."""
    recipe = order.recipe
    return SpeechRequest(
        text=recipe.text,
        upstream=order.provider.upstream.name,
        model=recipe.model,
        voice=recipe.voice,
        language=recipe.language,
        speed=float(recipe.speed),
        pitch=float(recipe.pitch),
        style=recipe.style,
        instructions=recipe.instructions,
        options=json.loads(recipe.options),
        variation=recipe.variation,
        cleaner=recipe.cleaner,
        owner=recipe.owner,
        format=order.format,
    )
