"""The news of what changed anywhere: what this process remembers of it must go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from sayonce.catalog.catalog import CHANGES_STAY, Catalog
from sayonce.catalog.records import Change
from sayonce.errors import CatalogError


class ChangeFeed:
    """Reads the catalog's change log every `pause` seconds and hands each entry to `heed`, once, in order.

    `amnesia` is called where entries may have been missed: then nothing that is remembered can be trusted.
    """

    def __init__(
        self, catalog: Catalog, pause: float, heed: Callable[[Change], None], amnesia: Callable[[], None]
    ) -> None:
        self._catalog = catalog
        self._pause = pause
        self._heed = heed
        self._amnesia = amnesia
        self._read_to: int | None = None
        self._read_at = asyncio.get_running_loop().time()

    @property
    def lag(self) -> float:
        """Seconds since the log was last read to its end."""
        return asyncio.get_running_loop().time() - self._read_at

    async def run(self) -> None:
        """Reads until cancelled."""
        while True:
            with suppress(CatalogError):  # `lag` tells, and what is remembered holds for a bounded time.
                await self.read()
            await asyncio.sleep(self._pause)

    async def read(self) -> None:
        """Reads what is new, now."""
        newest = await self._catalog.newest_change()
        # A log that ends before what was read is another catalog's.
        if self._read_to is None or self.lag > CHANGES_STAY / 2 or newest < self._read_to:
            self._read_to = newest
            self._amnesia()
        while news := await self._catalog.changes_since(self._read_to):
            for change in news:
                self._heed(change)
                self._read_to = change.sequence
        self._read_at = asyncio.get_running_loop().time()
