"""What is kept, used and saved, as doors and commands tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from sayonce.api.costs import storing, units
from sayonce.app import Gateway
from sayonce.catalog.census import Census
from sayonce.catalog.records import Entry, Holding, Statistics, UsageCount
from sayonce.errors import CatalogError
from sayonce.speech.requests import Owner


class Telling:
    """Tells figures, and prepares what it tells of a census once."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._census: Census | None = None
        # By tenant; None is all. Of the most used entries with what was forgotten when they were read.
        self._sums: dict[str | None, dict[str, Any]] = {}
        self._entries: dict[str | None, tuple[int, Sequence[Entry]]] = {}

    async def of(self, tenant: str | None, may: Callable[[Owner], bool]) -> dict[str, Any]:
        """Those of a tenant, or of all; with the texts of the most used entries that whoever asks `may` have."""
        figures = await self._gateway.figures.latest()
        if figures.census is not self._census:
            self._census = figures.census
            self._sums.clear()
            self._entries.clear()
        found = figures.census.of(tenant)
        if tenant not in self._sums:
            self._sums[tenant] = _sums(found, self._gateway)
        entries, now = await self._most_used(tenant, found), self._gateway.watch.now()
        living = [entry for entry in entries if entry.until is None or now < entry.until]
        return {
            **self._sums[tenant],
            "most_used": [_entry(entry, may(entry.owner)) for entry in living],
            "as_of": figures.as_of,
            "stale": None if figures.trouble is None else figures.trouble.code,
        }

    async def _most_used(self, tenant: str | None, found: Statistics) -> Sequence[Entry]:
        """Without what was deleted since they were ranked: what memory must forget, this must, too."""
        hot, known = self._gateway.hot, self._entries.get(tenant)
        if known is not None and known[0] == hot.epoch and not hot.stale():
            return known[1]
        epoch, census = hot.epoch, self._census
        try:
            entries = await self._gateway.catalog.censuses.entries(found.most_used)
        except CatalogError:
            return ()
        if census is self._census:
            self._entries[tenant] = epoch, entries
        return entries


def _sums(found: Statistics, gateway: Gateway) -> dict[str, Any]:
    settings = gateway.settings
    return {
        "entries": found.assets,
        "bytes": found.bytes,
        "seconds": round(found.duration, 3),
        "currency": settings.currency,
        **_counted(found.count),
        **storing(found.by_storage, settings, found.count.saved_micros),
        "average_hits": round(found.hits / found.assets, 2) if found.assets else 0.0,
        "saved_seconds": round(found.heard, 3),
        "expired": found.expired,
        "pinned": found.pinned,
        "by_upstream": _counts(found.by_upstream),
        "by_voice": _counts(found.by_voice),
        "by_day": _counts(found.by_day),
        "by_tenant": _counts(found.by_tenant),
        "by_tier": _tiers(found.by_storage, gateway),
    }


def _counts(counts: Mapping[str, UsageCount]) -> dict[str, Any]:
    return {name: _counted(count) for name, count in counts.items()}


def _counted(count: UsageCount) -> dict[str, Any]:
    """A count with what it makes: money in units, too, and the rate of hits."""
    answered = count.hits + count.joined + count.misses + count.bypassed
    rate = (count.hits + count.joined) / answered if answered else 0.0
    spent, saved = units(count.spent_micros), units(count.saved_micros)
    return {**asdict(count), "spent": spent, "saved": saved, "hit_rate": round(rate, 4)}


def _tiers(held: Mapping[str, Holding], gateway: Gateway) -> dict[str, dict[str, int]]:
    """Entries and their bytes by what their storage is for: the tier in front, the storage itself, older ones."""
    names = {gateway.settings.tier: "tier", gateway.settings.storage: "storage"}
    tiers: dict[str, dict[str, int]] = {}
    for name, holding in held.items():
        tier = tiers.setdefault(names.get(name, "others"), {"entries": 0, "bytes": 0})
        tier["entries"] += holding.blobs
        tier["bytes"] += holding.bytes
    return tiers


def _entry(entry: Entry, own: bool) -> dict[str, Any]:
    return {
        "content_hash": entry.content_hash.hex(),
        "tenant": entry.owner.tenant,
        "provider": entry.upstream,
        "voice": entry.voice,
        "text": entry.text if own else None,
        "hits": entry.hits,
        "size": entry.size,
        "seconds": round(entry.duration, 3),
        "used_at": entry.used_at,
    }
