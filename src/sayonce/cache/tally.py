"""Counts in memory what the rollups say, and writes it in batches: a hit writes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import MappingProxyType

from sayonce.cache.orders import Outcome
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, UsageCount, UsageKey
from sayonce.errors import CatalogError
from sayonce.telemetry.logs import get_logger

_HOUR = 3_600

_log = get_logger("sayonce.tally")


class Tally:
    """What was counted since the last flush. Copies in `tiers` live for so many seconds after each use, by the
    storage's name."""

    def __init__(self, clock: Callable[[], float], tiers: Mapping[str, float] = MappingProxyType({})) -> None:
        self._clock = clock
        self._tiers = tiers
        self._writing = asyncio.Lock()
        self._served: dict[bytes, tuple[Asset, int]] = {}
        self._counted: dict[UsageKey, UsageCount] = {}

    def hit(self, asset: Asset) -> None:
        """One more answer from what is kept."""
        served = self._served.get(asset.content_hash)
        self._served[asset.content_hash] = (asset, 1 if served is None else served[1] + 1)

    def count(self, outcome: Outcome, key: UsageKey) -> UsageCount:
        """One more answer that is no hit; what else is to be counted with it is added to the result."""
        count = self.of(key)
        match outcome:
            case Outcome.JOINED:
                count.joined += 1
            case Outcome.BYPASS:
                count.bypassed += 1
            case Outcome.HIT:
                count.hits += 1
            case _:
                count.misses += 1
        return count

    def of(self, key: UsageKey) -> UsageCount:
        """The count under a key."""
        return self._counted.setdefault(key, UsageCount())

    def key(self, tenant: str, upstream: str, model: str | None, voice: str | None) -> UsageKey:
        """What is counted by now."""
        hour = int(self._clock()) // _HOUR * _HOUR
        return UsageKey(hour, tenant, upstream, model or "", voice or "")

    async def flush(self, catalog: Catalog) -> None:
        """Writes what was counted, and of what was served that it was. Where that fails it stays counted, and the
        CatalogError is raised. Who comes while it is being written waits until it is."""
        async with self._writing:
            await self._flush(catalog)

    async def _flush(self, catalog: Catalog) -> None:
        served, self._served = self._served, {}
        for asset, hits in served.values():
            count = self.of(self.key(asset.owner.tenant, asset.upstream, asset.model, asset.voice))
            count.hits += hits
            count.saved_micros += (asset.cost or 0) * hits
        counted, self._counted = self._counted, {}
        if not counted:
            return
        try:
            hits_of = {content_hash: hits for content_hash, (_, hits) in served.items()}
            await catalog.flush(counted, hits_of, self._tiers)
        except CatalogError:
            for key, count in counted.items():
                _add(self.of(key), count)
            raise

    async def run(self, catalog: Catalog, pause: float, failed: Callable[[], None]) -> None:
        """Flushes every `pause` seconds until cancelled."""
        while True:
            await asyncio.sleep(pause)
            try:
                await self.flush(catalog)
            except CatalogError as error:
                failed()
                _log.warning("usage.unwritten", error=error.code)


def _add(total: UsageCount, more: UsageCount) -> None:
    total.hits += more.hits
    total.joined += more.joined
    total.misses += more.misses
    total.bypassed += more.bypassed
    total.errors += more.errors
    total.characters += more.characters
    total.spent_micros += more.spent_micros
    total.saved_micros += more.saved_micros
