"""Builds a catalog anew from a storage: each blob says beside it what it is (law 4).

It works beside running gateways: what it adopts it holds the recipe's lease for, so nobody pays for it meanwhile, and
what is kept or flying already it leaves alone. It may be stopped at any time and run again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TypeVar

from sayonce.audio.formats import coding
from sayonce.audio.probe import Undecodable, probe
from sayonce.cache.archive import RECORDED
from sayonce.cache.metadata import asset_of, blob_metadata, serving
from sayonce.catalog.adoption import ADOPTED
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Asset, Lease, Use, alone_with
from sayonce.cluster.contract import Leases
from sayonce.cluster.renewal import renewing
from sayonce.errors import BlobNotFound, FenceLost, StorageError, UnsupportedFormat
from sayonce.speech.recipes import content_hash_of
from sayonce.storage.contract import Storage, StoredBlob
from sayonce.storage.listing import batches

T = TypeVar("T")

# Blobs that are looked at together, and those of them that are read at a time.
_BATCH, _AT_ONCE = 200, 8
# How many broken blobs are named.
_MOST_NAMED = 100


class Outcome(StrEnum):
    """What became of a blob."""

    ADOPTED = "adopted"
    KNOWN = "known"  # a row names it already
    KEPT = "kept"  # another recording of its recipe is kept
    BUSY = "busy"  # its recipe is flying, or it changed meanwhile: the next run finds it
    BROKEN = "broken"  # it is not what it says; it is left where it is
    FOREIGN = "foreign"  # nothing of ours is told beside it


@dataclass(frozen=True, slots=True)
class Manner:
    """For how many seconds what is adopted is kept (None is forever); whether to look only."""

    keep: float | None = None
    dry: bool = False


@dataclass(slots=True)
class Report:
    """What a run did, or, where it was only to look, would have done. `count` is by Outcome, `catalogs` by whose the
    blobs were; `broken` tells of some why."""

    count: Counter[str] = field(default_factory=Counter)
    catalogs: Counter[str] = field(default_factory=Counter)
    broken: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many blobs there were."""
        return self.count.total()


class Adoption:
    """Of one storage's blobs into one catalog. `clock` gives seconds since 1970."""

    def __init__(
        self, catalog: Catalog, leases: Leases, storage: Storage, manner: Manner, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._leases = leases
        self._storage = storage
        self._manner = manner
        self._clock = clock
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> AsyncIterator[Report]:
        """Walks the storage; gives the report as it stands after each batch. StorageError and CatalogError where they
        fail as a whole: what was adopted until then is."""
        report = Report()
        async for batch in batches(self._storage.list(), _BATCH):
            named = await self._catalog.named(self._storage.name, [blob.path for blob in batch])
            report.count[Outcome.KNOWN] += len(named)
            recipes = await self._told([blob for blob in batch if blob.path not in named], report)
            await _all(self._adopt_in_turn(assets, report) for assets in recipes)
            yield report
        yield report

    # ── what is told of them ─────────────────────────────────────────────────────────────────────

    async def _told(self, found: Sequence[StoredBlob], report: Report) -> Iterable[list[Asset]]:
        """The assets that the blobs tell of, by recipe, what was made last first."""
        assets = await _all(self._asset(blob, report) for blob in found)
        recipes: defaultdict[bytes, list[Asset]] = defaultdict(list)
        for asset in sorted(filter(None, assets), key=lambda asset: -asset.made_at):
            recipes[asset.recipe_hash].append(asset)
        return recipes.values()

    async def _asset(self, blob: StoredBlob, report: Report) -> Asset | None:
        async with self._turns:
            told = await self._metadata(blob.path)
        if "content_hash" not in told:
            report.count[Outcome.FOREIGN] += 1
            return None
        try:
            asset = asset_of(told, (self._storage.name, blob.path), blob.size)
            if asset.content_hash != content_hash_of(asset.recipe_hash, asset.format):
                raise ValueError("its name is not that of its recipe and format")
        except ValueError as error:
            _break(report, blob.path, str(error))
            return None
        report.catalogs[told.get("catalog", "")] += 1
        return asset

    async def _metadata(self, path: str) -> Mapping[str, str]:
        """What is told beside a blob; empty where nothing is, or nothing that we would write."""
        try:
            told = await self._storage.metadata(path)
        except (BlobNotFound, ValueError):
            return {}
        except StorageError as error:
            if type(error) is not StorageError:
                raise
            return {}  # no path that a blob of ours has
        return told if isinstance(told, Mapping) else {}  # whoever wrote it

    # ── one by one ───────────────────────────────────────────────────────────────────────────────

    async def _adopt_in_turn(self, assets: Iterable[Asset], report: Report) -> None:
        async with self._turns:
            for asset in assets:
                try:
                    report.count[await self._adopt(asset)] += 1
                except (Undecodable, UnsupportedFormat) as error:
                    _break(report, asset.blobs[0].path, str(error))

    async def _adopt(self, asset: Asset) -> Outcome:
        if not await self._catalog.may_adopt(asset):
            return Outcome.KEPT
        try:
            data = await self._storage.read(asset.blobs[0].path)
        except BlobNotFound:
            return Outcome.BUSY
        asset = await asyncio.to_thread(_checked, asset, data)
        if self._manner.dry:
            return Outcome.BUSY if await self._flies(asset) else Outcome.ADOPTED
        lease = await self._leases.take(alone_with(asset, "adopt"))
        if not isinstance(lease, Lease):
            return Outcome.BUSY
        return await self._land(lease, asset, data)

    async def _land(self, lease: Lease, asset: Asset, data: bytes) -> Outcome:
        try:
            async with renewing(self._leases, lease):
                if not await self._catalog.may_adopt(asset):
                    return Outcome.KEPT
                if not await self._stamp(asset, data):
                    return Outcome.BUSY
                adopted = await self._catalog.adopt(lease, asset, self._use(asset))
                return Outcome.ADOPTED if adopted else Outcome.KEPT
        except FenceLost:
            return Outcome.BUSY
        finally:
            await self._leases.release(lease)

    async def _stamp(self, asset: Asset, data: bytes) -> bool:
        """Writes the blob again with this catalog's id beside it; whether it was still the one that was read. Where
        its path does not name its bytes, another may just have taken its place."""
        [blob] = asset.blobs
        told = await self._metadata(blob.path)
        if told.get("digest") != asset.digest.hex() or await self._catalog.named(blob.storage, [blob.path]):
            return False
        metadata = {**told, **blob_metadata(asset, await self._catalog.identity())}
        await self._storage.write(blob.path, data, metadata, serving(asset, blob.path))
        return True

    async def _flies(self, asset: Asset) -> bool:
        seen = await self._catalog.progress(asset.recipe_hash)
        return seen is not None and seen.failure is None and seen.expires > self._clock()

    def _use(self, asset: Asset) -> Use:
        """Pinned is what was recorded elsewhere: nobody could speak it anew."""
        until = None if self._manner.keep is None else self._clock() + self._manner.keep
        return Use(ADOPTED, keep_until=until, pinned=asset.upstream == RECORDED)


def _checked(asset: Asset, data: bytes) -> Asset:
    """The asset with what its bytes show themselves. Undecodable where they are not what is told, UnsupportedFormat
    where that is nothing we know."""
    coding(asset.format)
    if hashlib.sha256(data).digest() != asset.digest:
        raise Undecodable("its bytes are others than those that were kept")
    measured = probe(data, asset.format)
    return replace(asset, size=len(data), duration=measured.duration, sample_rate=measured.sample_rate)


def _break(report: Report, path: str, why: str) -> None:
    report.count[Outcome.BROKEN] += 1
    if len(report.broken) < _MOST_NAMED:
        report.broken.append((path, why))


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """What each gives; the first error of any, when all have ended."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]
