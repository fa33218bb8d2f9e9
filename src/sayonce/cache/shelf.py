"""The shelf: what is kept, in the catalog and in storage together.

Laws 4 and 10 live here. Blob before row when keeping, row before blob when removing; what a crash leaves between
the two is a blob that no row names, which the sweep takes. `sys.audit` announces each step, so that a test can
stop a process at any of them.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

from sayonce.cache.metadata import blob_metadata, digest_of, path_fields, serving
from sayonce.cache.orders import Clip
from sayonce.cache.tier import Tier
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.leases import HOLD
from sayonce.catalog.records import Asset, Blob, Landing, Lease, Removed, Session, Spent, Use, alone_with
from sayonce.catalog.sessions import Archived, Ended, Opened
from sayonce.cluster.alone import NoMemory
from sayonce.cluster.contract import SharedMemory
from sayonce.errors import (
    BlobNotFound,
    CallerRefused,
    CatalogError,
    FenceLost,
    StorageError,
    StorageUnavailable,
)
from sayonce.speech.requests import Owner
from sayonce.storage.contract import Storage
from sayonce.storage.paths import PathTemplate
from sayonce.telemetry.logs import get_logger

# How many blobs are deleted at once, and within how many seconds: nobody may land what they are of meanwhile.
_DELETED_AT_ONCE, _DELETED_WITHIN = 16, 0.8 * HOLD
# For how many seconds a sweep keeps others from landing; every how many, and how often, it asks whether it may.
_SWEEPING, _GLANCE, _GLANCES = 60.0, 0.1, 300

_log = get_logger("sayonce.shelf")


@dataclass(frozen=True, slots=True)
class Place:
    """Where new blobs go: a storage and the template of their paths."""

    storage: Storage
    template: PathTemplate
    #: What stands in front of the storage, if anything does.
    tier: Tier | None = None
    #: What stands in front of both.
    memory: SharedMemory = field(default_factory=NoMemory)


@dataclass(frozen=True, slots=True)
class Berth:
    """Why an asset is kept, and where: None is the usual place."""

    use: Use
    path: str | None = None


class Shelf:
    """`storages` are all that blobs may rest in, by name; new ones go to `place`. `forget` is told the content hash
    of what lost its place to something else."""

    def __init__(
        self, catalog: Catalog, storages: Mapping[str, Storage], place: Place, forget: Callable[[bytes], None]
    ) -> None:
        self._catalog = catalog
        self._storages = storages
        self._place = place
        self._forget = forget
        #: Why the last write failed, by its error's code; None where it succeeded, or failed for its caller alone.
        self.trouble: str | None = None
        self._returns: set[asyncio.Task[None]] = set()

    @property
    def names_bytes(self) -> bool:
        """Whether new bytes go to a new path: then what cannot land takes nothing's place."""
        return self._place.template.names_bytes

    @property
    def writable(self) -> bool:
        """While it is not, what is spoken cannot be kept, and is capped."""
        return self.trouble is None

    async def variants(self, recipe_hash: bytes) -> tuple[Asset, ...]:
        """What is kept of a recipe, one asset a format."""
        return await self._catalog.variants(recipe_hash)

    async def find(self, content_hash: bytes) -> Asset | None:
        """What is kept under a name."""
        return await self._catalog.find(content_hash)

    async def fetch(self, asset: Asset) -> Clip | None:
        """The asset with its bytes, from the first of its blobs that has them. None where every one is definitely
        gone or broken: then its row is gone, too. StorageUnavailable where that cannot be told."""
        unreachable: StorageError | None = None
        tier = self._place.tier
        for blob in asset.blobs if tier is None else tier.in_order(asset.blobs):
            try:
                data = await self._read(blob)
            except StorageError as error:
                unreachable = error
                continue
            if data is not None:
                if tier is not None:
                    tier.read(asset, blob)
                return Clip(asset, data)
            _log.warning("blob.lost", storage=blob.storage, path=blob.path)
            await self._catalog.drop_blob(asset.content_hash, blob)
        if unreachable is not None:
            raise unreachable
        return None

    async def address(self, asset: Asset, seconds: float) -> str | None:
        """Where whoever has it can fetch the asset from its storage itself, for about so many seconds; None where no
        storage of it gives such an address."""
        for blob in asset.blobs:
            storage = self._storages.get(blob.storage)
            try:
                address = None if storage is None else await storage.url(blob.path, seconds)
            except StorageError as error:
                _log.warning("address.none", storage=blob.storage, error=error.code)
                continue
            if address is not None:
                return address
        return None

    async def keep(
        self, lease: Lease, clip: Clip, berth: Berth, spent: Spent | None, *, alone: bool, anew: bool
    ) -> Clip:
        """Keeps a clip under its lease; with `alone`, in place of all that is kept of its recipe, which there is only
        where it was made `anew`. FenceLost where the lease is another's by now, and StorageError: then nothing has
        changed."""
        kept = await self._same(clip) if anew else None
        if kept is not None:
            await self._catalog.land_unchanged(lease, spent)
            return kept
        stored = await self._store(clip, berth.path)
        try:
            landing = await self._catalog.land(lease, stored.asset, berth.use, spent, alone=alone)
        except FenceLost:
            self._return(stored.asset)
            raise
        sys.audit("sayonce.keep", "row committed")
        await self.follow(landing)
        return stored

    async def attach(self, clip: Clip, berth: Berth) -> Clip:
        """Keeps a clip that is kept already at one more place, for one more use. As it was where it is not kept any
        more."""
        stored = await self._store(clip, berth.path)
        (blob,) = stored.asset.blobs
        landing = await self._catalog.attach(clip.asset.content_hash, blob, berth.use)
        sys.audit("sayonce.keep", "row committed")
        if landing is None:
            return clip
        await self.follow(landing)
        return Clip(replace(clip.asset, blobs=(*clip.asset.blobs, blob)), clip.data)

    async def archive(self, opened: Opened, clip: Clip, berth: Berth, *, recorded: bool = False) -> Archived:
        """As `attach`, but as a turn of a session; what was `recorded` need not be kept yet."""
        kept = await self._catalog.find(clip.asset.content_hash)
        if not recorded and (kept is None or kept.digest != clip.asset.digest):
            if clip.kept:
                self._forget(clip.asset.content_hash)  # it was remembered, and is not so any more
            return Archived(there=False)
        asset = self._at(kept, berth.path) or (await self._store(clip, berth.path)).asset
        archived = await self._catalog.archive(opened, asset, berth.use, recorded=recorded)
        sys.audit("sayonce.keep", "row committed")
        await self.follow(archived.landing)
        return archived

    async def end(self, session: Session, most: int) -> Ended:
        """Ends at most so many of a session's turns, with what was kept for them alone."""
        ended = await self._catalog.end_turns(session, most)
        sys.audit("sayonce.remove", "row deleted")
        await self.follow(ended.landing)
        if not ended.more:
            await self._catalog.forget_session(session)
        return ended

    def holds(self, asset: Asset, path: str) -> bool:
        """Whether one of the asset's blobs is at that path of the storage for new ones."""
        return self._at(asset, path) is not None

    async def keep_variant(self, source: Asset, clip: Clip, use: Use) -> Clip:
        """Keeps a transcoded variant of what is kept; where its source is not kept any more, it stays unkept."""
        stored = await self._store(clip)
        orphans = await self._catalog.land_variant(source, stored.asset, use)
        if orphans is None:
            await self._delete(stored.asset.blobs)
            return clip
        await self._delete(orphans)
        return stored

    async def warm(self, remembered: Callable[[bytes], Clip | None]) -> None:
        """Puts copies of what had to be read from behind the tier into it again, as far as it is `remembered`."""
        tier = self._place.tier
        for asset in [] if tier is None else tier.missed():
            clip = remembered(asset.content_hash)
            if tier is not None and clip is not None and clip.asset.digest == asset.digest:
                for blob in await self._copy(tier, clip):
                    await self._catalog.shelve(asset.content_hash, blob)

    async def discard(self, removed: Removed) -> None:
        """Deletes the blobs of what was removed, and lets it be landed again. What takes too long is the sweep's."""
        turn = asyncio.Semaphore(_DELETED_AT_ONCE)

        async def delete(blob: Blob) -> None:
            async with turn:
                await self._delete((blob,))

        try:
            async with asyncio.timeout(_DELETED_WITHIN):
                await asyncio.gather(*(delete(blob) for blob in removed.orphans))
        except TimeoutError:
            _log.warning("blobs.left", number=len(removed.orphans))
        finally:
            if removed.holds:
                await self._catalog.let_go(removed)

    async def follow(self, landing: Landing) -> None:
        """Does what the catalog has decided: nobody remembers what changed, or finds what no row names."""
        for content_hash in landing.displaced:
            self._forget(content_hash)
        if landing.orphans or landing.holds:
            await self.discard(Removed(orphans=landing.orphans, holds=landing.holds))

    async def remove(self, content_hash: bytes, tenant: str, may: Callable[[Owner], bool]) -> bool:
        """Removes every variant of a content hash's recipe, and keeps a flight that is making it from landing.
        Whether there was anything of that tenant's that it `may` have."""
        removed = await self._catalog.remove(content_hash, tenant, may)
        sys.audit("sayonce.remove", "row deleted")
        if removed is None:
            return False
        await self.discard(removed)
        return True

    async def sweep(self, asset: Asset) -> bool | None:
        """Deletes the bytes of an asset that no row names, while nobody else can land its recipe; whether there were
        any. None where another holds the recipe's lease."""
        lease = await self._catalog.take_off(alone_with(asset, "sweep"), _SWEEPING)
        if not isinstance(lease, Lease):
            return None
        try:
            swept = False
            for blob in asset.blobs:
                if not await self._catalog.named(blob.storage, [blob.path]):
                    await self._storages[blob.storage].delete(blob.path)
                    swept = True
            return swept
        finally:
            await self._catalog.release(lease)

    async def aclose(self) -> None:
        """Ends what is under way in the background. What could not be taken back yet is upkeep's to sweep."""
        returns = list(self._returns)
        for task in returns:
            task.cancel()
        await asyncio.gather(*returns, return_exceptions=True)

    async def book(self, spent: Spent) -> None:
        """Adds what a generation cost that is not kept."""
        await self._catalog.book(spent)

    async def believes(self, recipe_hash: bytes) -> bool:
        """Whether an implausible answer is to be believed, since there was one before; notes it where not."""
        if await self._catalog.is_doubted(recipe_hash):
            return True
        await self._catalog.doubt(recipe_hash)
        return False

    async def _read(self, blob: Blob) -> bytes | None:
        data = await self._place.memory.get(blob.digest)
        if data is None:
            data = await self._read_stored(blob)
            if data is not None:
                await self._place.memory.put(blob.digest, data)
        return data

    async def _read_stored(self, blob: Blob) -> bytes | None:
        storage = self._storages.get(blob.storage)
        if storage is None:
            raise StorageUnavailable(
                f"No storage is configured under the name '{blob.storage}'.",
                backend=blob.storage,
                remedy="Configure it again, or move its blobs.",
            )
        try:
            data = await storage.read(blob.path)
        except BlobNotFound:
            return None
        if await digest_of(data) == blob.digest:
            return data
        with suppress(BlobNotFound):
            # A portal that answers everything with its own page answers this, too: that is no broken blob.
            await storage.metadata(blob.path)
        return None

    def _at(self, asset: Asset | None, path: str | None) -> Asset | None:
        """The asset with its blob at that path alone; None where it has none there."""
        there = (blob for blob in (asset.blobs if asset else ()) if blob.path == path)
        mine = next((blob for blob in there if blob.storage == self._place.storage.name), None)
        return None if asset is None or mine is None else replace(asset, blobs=(mine,))

    def _return(self, asset: Asset) -> None:
        """Takes bytes back in the background, if their paths name them: to a place of somebody's own another recipe
        may be written at this moment, whose lease is another."""
        if not all(asset.digest.hex() in blob.path for blob in asset.blobs):
            return
        task = asyncio.create_task(self._take_back(asset))
        self._returns.add(task)
        task.add_done_callback(self._returns.discard)

    async def _take_back(self, asset: Asset) -> None:
        """Sweeps bytes that could not land, once whoever kept them from it is done. Else upkeep sweeps them."""
        try:
            for _ in range(_GLANCES):
                if await self.sweep(asset) is not None:
                    return
                await asyncio.sleep(_GLANCE)
        except (CatalogError, StorageError) as error:
            _log.warning("blob.left", content_hash=asset.content_hash.hex(), error=error.code)

    async def _store(self, clip: Clip, path: str | None = None) -> Clip:
        place, asset = self._place, clip.asset
        elsewhere, path = path is not None, path or place.template.render(path_fields(asset))
        metadata = blob_metadata(asset, await self._catalog.identity())
        sys.audit("sayonce.keep", "checked")
        try:
            await place.storage.write(path, clip.data, metadata, serving(asset, path))
        except StorageError as error:
            self.trouble = self.trouble if isinstance(error, CallerRefused) else error.code
            raise
        self.trouble = None
        await place.memory.put(asset.digest, clip.data)
        copies = () if place.tier is None or elsewhere else await self._copy(place.tier, clip)
        sys.audit("sayonce.keep", "blob written")
        return Clip(replace(asset, blobs=(Blob(place.storage.name, path, asset.digest), *copies)), clip.data)

    async def _copy(self, tier: Tier, clip: Clip) -> tuple[Blob, ...]:
        place, asset = self._place, clip.asset
        path = place.template.render(path_fields(asset))
        return await tier.put(path, clip, blob_metadata(asset, await self._catalog.identity()), serving(asset, path))

    async def _same(self, clip: Clip) -> Clip | None:
        for asset in await self._catalog.variants(clip.asset.recipe_hash):
            if asset.content_hash == clip.asset.content_hash and asset.digest == clip.asset.digest:
                return Clip(asset, clip.data)
        return None

    async def _delete(self, orphans: Iterable[Blob]) -> None:
        for blob in orphans:
            try:
                await self._place.memory.forget(blob.digest)
                await self._storages[blob.storage].delete(blob.path)
            except (KeyError, StorageError) as error:
                # Its row is gone, so nobody reads it; the sweep takes it later.
                _log.warning("blob.left", storage=blob.storage, path=blob.path, error=type(error).__name__)
            sys.audit("sayonce.remove", "blob deleted")
