"""The news of what changed anywhere: what this process remembers of it must go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sayonce.catalog.catalog import CHANGES_STAY, Catalog
from sayonce.catalog.records import Change
from sayonce.errors import CatalogError

# How long, in seconds, the change log may stay unread before what is remembered is not trusted.
_DEAF = 5.0


class ChangeFeed:
    """Reads the catalog's change log every `pause` seconds, and when it has `grown`, and hands each entry to `heed`,
    once, in order.

    `amnesia` is called where entries may have been missed: then nothing that is remembered can be trusted.
    """

    def __init__(
        self,
        catalog: Catalog,
        pause: float,
        grown: asyncio.Event,
        heed: Callable[[Change], None],
        amnesia: Callable[[], None],
    ) -> None:
        self._catalog = catalog
        self._pause = pause
        self._grown = grown
        self._heed = heed
        self._amnesia = amnesia
        #: After how many seconds without a reading it is deaf.
        self.patience = max(_DEAF, 3 * pause)
        self._reading = asyncio.Lock()
        self._read_to: int | None = None
        #: Set when it was read for the first time: from then on it tells what is to be forgotten.
        self.begun = asyncio.Event()
        self._read_at = asyncio.get_running_loop().time()

    @property
    def deaf(self) -> bool:
        """Whether it has not been read for so long that what is remembered may be wrong."""
        return self.lag > self.patience

    @property
    def lag(self) -> float:
        """Seconds since the log was last read to its end."""
        return asyncio.get_running_loop().time() - self._read_at

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            with suppress(CatalogError):  # `lag` tells, and what is remembered holds for a bounded time.
                await self.read()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause):
                    await self._grown.wait()
            self._grown.clear()

    async def read(self) -> None:
        """Reads what is new, now; who comes while it is being read waits until it is."""
        async with self._reading:
            await self._read()

    async def _read(self) -> None:
        newest = await self._catalog.newest_change()
        # A log that ends before what was read is another catalog's.
        if self._read_to is None or self.lag > CHANGES_STAY / 2 or newest < self._read_to:
            self._read_to = newest
            self._amnesia()
        while news := await self._catalog.changes_since(self._read_to):
            for change in news:
                self._heed(change)
                self._read_to = change.sequence
        self.begun.set()
        self._read_at = asyncio.get_running_loop().time()
