"""What is kept, used and saved, as doors and commands tell it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from sayonce.api.costs import storing, units
from sayonce.app import Gateway
from sayonce.catalog.records import Entry, Holding, Statistics, UsageCount
from sayonce.errors import CatalogError
from sayonce.speech.requests import Owner


async def told(gateway: Gateway, tenant: str | None, may: Callable[[Owner], bool]) -> dict[str, Any]:
    """The figures of a tenant, or of all; with the texts of the most used entries that whoever asks `may` have."""
    figures = await gateway.figures.latest()
    found = figures.census.of(tenant)
    return {
        **_sums(found, gateway),
        "by_upstream": _counts(found.by_upstream),
        "by_voice": _counts(found.by_voice),
        "by_day": _counts(found.by_day),
        "by_tenant": _counts(found.by_tenant),
        "by_tier": _tiers(found.by_storage, gateway),
        "most_used": await _most_used(found, gateway, may),
        "as_of": figures.as_of,
        "stale": None if figures.trouble is None else figures.trouble.code,
    }


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


async def _most_used(found: Statistics, gateway: Gateway, may: Callable[[Owner], bool]) -> list[dict[str, Any]]:
    """As they are now: what was deleted since they were ranked is not told any more."""
    try:
        entries = await gateway.catalog.censuses.entries(found.most_used)
    except CatalogError:
        return []
    return [_entry(entry, may(entry.owner)) for entry in entries]


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
