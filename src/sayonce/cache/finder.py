"""Finds what is kept: in the catalog and in storage, or made of another format of the same recipe."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace

from sayonce.audio.formats import is_lossless
from sayonce.audio.probe import Probe, Undecodable, probe
from sayonce.audio.transcode import transcode
from sayonce.cache.hot import HotTier
from sayonce.cache.metadata import digest_of
from sayonce.cache.once import Once
from sayonce.cache.orders import Clip, Order
from sayonce.cache.shelf import Shelf
from sayonce.catalog.records import Asset, Use
from sayonce.errors import CatalogError, StorageError
from sayonce.speech.formats import AudioFormat
from sayonce.telemetry.logs import get_logger

# In Hz. Of so few samples a second no better sound can be made.
_TELEPHONE = 8_000

_log = get_logger("sayonce.finder")


class Finder:
    """With `transcodes`, a kept recipe in another format will do. What is found enters memory."""

    def __init__(self, shelf: Shelf, hot: HotTier, clock: Callable[[], float], *, transcodes: bool) -> None:
        self._shelf = shelf
        self._hot = hot
        self._clock = clock
        self.transcodes = transcodes
        self._finding: Once[Clip | None] = Once()
        self._making: Once[Clip] = Once()

    async def find(self, order: Order) -> Clip | None:
        """What is kept of an order, made of another format if need be; None where nothing is, or it turned out to be
        lost. CatalogUnavailable and StorageUnavailable where that cannot be told."""
        clip = await self.look(order)
        if clip is None or clip.asset.content_hash == order.content_hash:
            return clip
        try:
            return await self.variant(order, clip)
        except Undecodable as error:
            content_hash = clip.asset.content_hash.hex()
            _log.warning("variant.impossible", content_hash=content_hash, reason=str(error))
            return None

    async def look(self, order: Order) -> Clip | None:
        """What is kept of an order, or the best of its recipe's other formats. Errors are as for `find`."""
        return await self._finding.run(order.content_hash, lambda: self._look(order))

    async def variant(self, order: Order, source: Clip) -> Clip:
        """The order's format made of `source`, and kept beside it."""
        return await self._making.run(order.content_hash, lambda: self._make(order, source))

    async def dubbed(self, order: Order, source: Clip, made: bytes) -> Clip:
        """The order's format as it was made of `source` while that came, kept beside it."""
        return await self._making.run(order.content_hash, lambda: self._make(order, source, made))

    async def _look(self, order: Order) -> Clip | None:
        epoch = self._hot.epoch
        assets = await self._shelf.variants(order.recipe.hash)
        for asset in assets:
            if asset.content_hash == order.content_hash:
                clip = await self._shelf.fetch(asset)
                if clip is not None:
                    self._hot.put(clip, epoch)
                    return clip
        return await self._look_further(order, assets) if self.transcodes else None

    async def _look_further(self, order: Order, assets: Iterable[Asset]) -> Clip | None:
        others = [asset for asset in assets if asset.content_hash != order.content_hash]
        for asset in sorted(others, key=_quality, reverse=True):
            source = self._hot.get(asset.content_hash) or await self._shelf.fetch(asset)
            if source is not None:
                return source
        return None

    async def _make(self, order: Order, source: Clip, made: bytes | None = None) -> Clip:
        epoch = self._hot.epoch
        data, measured = await asyncio.to_thread(_transcoded, source, order.format, made)
        asset = replace(
            source.asset,
            content_hash=order.content_hash,
            format=order.format,
            size=len(data),
            digest=await digest_of(data),
            duration=measured.duration,
            sample_rate=measured.sample_rate,
            transcoded=True,
            made_at=self._clock(),
            blobs=(),
        )
        clip = await self._keep(source, Clip(asset, data)) if source.kept else Clip(asset, data)
        if clip.kept:
            self._hot.put(clip, epoch)
        return clip

    async def _keep(self, source: Clip, clip: Clip) -> Clip:
        use = Use("variant", keep_until=source.asset.until)
        try:
            return await self._shelf.keep_variant(source.asset, clip, use)
        except (CatalogError, StorageError) as error:
            _log.warning("variant.unkept", error=type(error).__name__)
            return clip


def _transcoded(source: Clip, wanted: AudioFormat, made: bytes | None) -> tuple[bytes, Probe]:
    data = transcode(source.data, source.asset.format, wanted) if made is None else made
    return data, probe(data, wanted)


def _quality(asset: Asset) -> tuple[bool, bool, bool, float]:
    """An original before what was made of it, more than a telephone's sound, lossless, then the highest bit rate."""
    more = asset.sample_rate > _TELEPHONE
    return not asset.transcoded, more, is_lossless(asset.format), asset.size / max(asset.duration, 0.001)
