"""What is in memory before anybody has asked for it: after a start, the greetings that were used last."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from sayonce.cache.hot import HotTier, weight_of
from sayonce.cache.shelf import Shelf
from sayonce.catalog.catalog import Catalog
from sayonce.errors import CatalogError, StorageError
from sayonce.telemetry.logs import get_logger

# How many are read at once: whoever asks for something meanwhile is to notice nothing.
_AT_ONCE = 4
# After how many seconds it is tried again where the catalog was away.
_AGAIN = 5.0

_log = get_logger("sayonce.preloading")


class Preloading:
    """Loads greetings of `room` bytes in all into memory, once `begun` is set: what is remembered is kept right from
    then on."""

    def __init__(self, catalog: Catalog, shelf: Shelf, hot: HotTier, room: int, begun: asyncio.Event) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._hot = hot
        self._room = room
        self._begun = begun
        #: Set when all that was to be loaded is.
        self.done = asyncio.Event()

    @asynccontextmanager
    async def under_way(self) -> AsyncIterator[None]:
        """Meanwhile it loads, in the background."""
        loading = asyncio.create_task(self._run())
        try:
            yield
        finally:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)

    async def _run(self) -> None:
        await self._begun.wait()
        while not self.done.is_set():
            try:
                await self._load()
                self.done.set()
            except CatalogError as error:
                _log.warning("preloading.later", error=error.code)
                await asyncio.sleep(_AGAIN)

    async def _load(self) -> None:
        names = iter(await self._chosen())
        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._load_some(names))

    async def _chosen(self) -> list[bytes]:
        """As many as there is room for."""
        room, chosen = self._room, list[bytes]()
        for each in await self._catalog.greetings.recent(room // weight_of(0)):
            weight = weight_of(each.size)
            if weight <= room:
                room -= weight
                chosen.append(each.content_hash)
        return chosen

    async def _load_some(self, names: Iterator[bytes]) -> None:
        for content_hash in names:
            try:
                await self._load_one(content_hash)
            except (CatalogError, StorageError) as error:
                _log.warning("preloading.left", content_hash=content_hash.hex(), error=error.code)

    async def _load_one(self, content_hash: bytes) -> None:
        epoch = self._hot.epoch
        asset = None if self._hot.get(content_hash) else await self._shelf.find(content_hash)
        clip = None if asset is None else await self._shelf.fetch(asset)
        if clip is not None:
            self._hot.put(clip, epoch)
