"""Upkeep: what expired goes, then what is too much, then what nobody names any more.

It works in small batches and rests between them for longer than they took, so that requests hardly notice. Two of it
at once do each other no harm: each batch is one transaction, and deleting a blob that is gone is no error.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from sayonce.cache.metadata import asset_of
from sayonce.cache.shelf import Shelf
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, Lease, Removed, Selection, TakeOff
from sayonce.errors import BlobNotFound, StorageError
from sayonce.storage.contract import Storage, StoredBlob
from sayonce.storage.listing import batches
from sayonce.telemetry.logs import get_logger

T = TypeVar("T")

#: How often it runs by itself, over all processes, in seconds.
EVERY = 3_600.0
# Assets, or paths, that one batch handles.
_BATCH = 100
# For how many times as long as a batch took upkeep rests after it (bench/scale.py).
_REST = 3
# How long upkeep keeps others from making room, in seconds.
_HOLD = 60.0
# The right to make room is a lease like any other, on a recipe that nobody asks for.
_ROOM = TakeOff(bytes(32), bytes(32), "", "upkeep", refresh=True)

_log = get_logger("sayonce.upkeep")


@dataclass(frozen=True, slots=True)
class Limits:
    """How far what is kept may grow, in assets and bytes (None: without end), and how far a sweep may go by itself:
    for blobs older than `sweep_age` seconds, and not if there are more than `sweep_most`."""

    max_entries: int | None = None
    max_bytes: int | None = None
    sweep_age: float = 86_400.0
    sweep_most: int = 1_000


@dataclass(slots=True)
class Report:
    """What a run did, or, where it was only to look, would have done."""

    expired: int = 0
    copies: int = 0
    uses: int = 0
    evicted: int = 0
    bytes: int = 0
    swept: int = 0
    #: Blobs that nobody names, but too many of them to be swept without being told to.
    left: int = 0
    #: Blobs that nobody names, of a time that the catalog knows nothing of: it is a copy from before they landed.
    unknown: int = 0
    #: Storages that could not be swept.
    unreachable: tuple[str, ...] = ()


class Upkeep:
    """Runs when it is told to. `clock` gives seconds since 1970."""

    def __init__(
        self,
        catalog: Catalog,
        shelf: Shelf,
        storages: Mapping[str, Storage],
        limits: Limits,
        clock: Callable[[], float],
    ) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._storages = storages
        self._limits = limits
        self._clock = clock

    async def run(self, *, dry: bool = False, sweep_all: bool = False) -> Report:
        """One run. With `dry` it only looks; with `sweep_all` it sweeps however much there is to sweep."""
        report = Report()
        if dry:
            await self._look(report)
        else:
            await self._expire(report)
            await self._evict(report)
        await self._sweep(report, dry=dry, sweep_all=sweep_all)
        _log.info("upkeep.ran", dry=dry, **{name: getattr(report, name) for name in Report.__slots__})
        return report

    async def invalidate(self, which: Selection) -> int:
        """Removes every selected asset; how many."""
        removed, after = 0, 0
        while True:
            batch, last = await _paced(partial(self._catalog.invalidate, which, after, _BATCH))
            await self._shelf.discard(batch)
            removed += batch.assets
            if last is None:
                return removed
            after = last

    # ── what expired ─────────────────────────────────────────────────────────────────────────────

    async def _look(self, report: Report) -> None:
        due = await self._catalog.due()
        report.expired, report.bytes, report.copies, report.uses = due.assets, due.bytes, due.blobs, due.uses
        entries, size = await self._catalog.totals()
        entries, size = entries - due.assets, size - due.bytes
        pinned, pinned_size = await self._catalog.pinned()
        evictable = entries - pinned
        average = (size - pinned_size) / max(evictable, 1)
        over = min(evictable, max(self._too_many(entries), round(self._too_much(size) / max(average, 1))))
        report.evicted = over
        report.bytes += round(over * average)

    async def _expire(self, report: Report) -> None:
        while (batch := await _paced(partial(self._catalog.expire_assets, _BATCH))).assets:
            await self._shelf.discard(batch)
            report.expired += batch.assets
            report.bytes += batch.bytes
        while copies := await _paced(partial(self._catalog.expire_blobs, _BATCH)):
            await self._shelf.discard(Removed(orphans=copies))
            report.copies += len(copies)
        while (ended := await _paced(partial(self._catalog.end_uses, _BATCH))).uses:
            await self._shelf.follow(ended.landing)
            report.uses += ended.uses

    # ── what is too much ─────────────────────────────────────────────────────────────────────────

    async def _evict(self, report: Report) -> None:
        """Down to the limits, unless another process is at it: two would each make all of the room."""
        if self._limits.max_entries is None and self._limits.max_bytes is None:
            return
        lease = await self._catalog.take_off(_ROOM, _HOLD)
        if isinstance(lease, Lease):
            try:
                await self._make_room(lease, report)
            finally:
                await self._catalog.release(lease)

    async def _make_room(self, lease: Lease, report: Report) -> None:
        entries, size = await self._catalog.totals()  # once: it takes longer than a batch
        while self._too_many(entries) or self._too_much(size):
            await self._catalog.renew(lease, _HOLD)
            by_number = self._too_many(entries)
            most, excess = (min(by_number, _BATCH), size) if by_number else (_BATCH, self._too_much(size))
            batch = await _paced(partial(self._catalog.evict, most, excess))
            if not batch.assets:
                _log.warning("upkeep.pinned", entries=entries, bytes=size)  # what is left is pinned
                return
            await self._shelf.discard(batch)
            entries, size = entries - batch.assets, size - batch.bytes
            report.evicted += batch.assets
            report.bytes += batch.bytes

    def _too_many(self, entries: int) -> int:
        return 0 if self._limits.max_entries is None else max(entries - self._limits.max_entries, 0)

    def _too_much(self, size: int) -> int:
        return 0 if self._limits.max_bytes is None else max(size - self._limits.max_bytes, 0)

    # ── what nobody names ────────────────────────────────────────────────────────────────────────

    async def _sweep(self, report: Report, *, dry: bool, sweep_all: bool) -> None:
        for storage in self._storages.values():
            try:
                found = [each async for each in self._unnamed(storage)]
                if not sweep_all:
                    known = await self._known(found)
                    report.unknown += len(found) - len(known)
                    found = known
                if dry:
                    report.swept += len(found)
                elif len(found) > self._limits.sweep_most and not sweep_all:
                    report.left += len(found)
                else:
                    report.swept += await self._sweep_away(found)
            except StorageError as error:
                report.unreachable = (*report.unreachable, storage.name)
                _log.warning("upkeep.unswept", storage=storage.name, error=error.code)

    async def _sweep_away(self, found: Iterable[Asset]) -> int:
        return sum([bool(await _paced(partial(self._shelf.sweep, asset))) for asset in found])

    async def _known(self, found: Iterable[Asset]) -> list[Asset]:
        """Without what was made when the catalog was in nobody's use: another copy of it was, and named that."""
        silences = await self._catalog.silences()
        return [each for each in found if not any(began <= each.made_at <= ended for began, ended in silences)]

    async def _unnamed(self, storage: Storage) -> AsyncIterator[Asset]:
        """What is told of old blobs that carry this catalog's id and that no row names."""
        oldest = self._clock() - self._limits.sweep_age
        identity = await self._catalog.identity()
        async for batch in batches(storage.list(), _BATCH):
            old = [blob for blob in batch if blob.modified.timestamp() < oldest]
            named = await _paced(partial(self._catalog.named, storage.name, [blob.path for blob in old]))
            for blob in old:
                told = {} if blob.path in named else await _metadata(storage, blob.path)
                if told.get("catalog") == identity and (asset := _asset(storage, blob, told)) is not None:
                    yield asset


def _asset(storage: Storage, blob: StoredBlob, told: Mapping[str, str]) -> Asset | None:
    """What is told of a blob; None where that cannot be read, and so is not known to be ours."""
    try:
        return asset_of(told, (storage.name, blob.path), blob.size)
    except ValueError as error:
        _log.warning("upkeep.unreadable", storage=storage.name, path=blob.path, reason=str(error))
        return None


async def _metadata(storage: Storage, path: str) -> Mapping[str, str]:
    try:
        return await storage.metadata(path)
    except BlobNotFound:
        return {}


async def _paced(work: Callable[[], Awaitable[T]]) -> T:
    """What `work` gives, after a rest."""
    began = time.perf_counter()
    done = await work()
    await asyncio.sleep(_REST * (time.perf_counter() - began))
    return done
