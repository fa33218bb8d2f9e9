"""Moves what is kept to another storage while it is served.

Law 4: the copy is written, its row committed, and only then, after a while, the old row deleted and at last the old
bytes. Meanwhile whoever reads finds one of the two. It may be stopped at any time and run again.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from sayonce.cache.metadata import blob_metadata, digest_of, path_fields, serving
from sayonce.cache.shelf import Shelf
from sayonce.cache.taking import taken
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.moves import Copy
from sayonce.catalog.records import Asset, Blob, Removed
from sayonce.errors import BlobNotFound, CatalogUnavailable
from sayonce.storage.contract import Storage
from sayonce.storage.paths import PathTemplate

# Copies that are looked at together, the bytes of them that are in memory, and how many are copied at a time.
_PAGE, _BYTES, _AT_ONCE = 100, 32_000_000, 8
# How many old copies are forgotten at a time.
_FORGOTTEN = 100
_MOST_NAMED = 10_000


@dataclass(frozen=True, slots=True)
class Route:
    """From where to where, by the storages' names: None is from anywhere else. Old copies stay for `grace` seconds:
    by then every gateway has read the change log. `life` is a lease's."""

    to: str
    source: str | None = None
    grace: float = 5.0
    life: float = 10.0


@dataclass(slots=True)
class Report:
    """How many copies were moved, and their bytes; how many were `busy`, which the next run finds; and which stay
    where they are, by their content hashes, and why."""

    moved: int = 0
    bytes: int = 0
    busy: int = 0
    failed: int = 0
    left: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many copies were looked at."""
        return self.moved + self.busy + self.failed

    def leave(self, asset: Asset, why: str) -> None:
        """Notes that a copy stays where it is."""
        self.failed += 1
        if len(self.left) < _MOST_NAMED:
            self.left.append((asset.content_hash.hex(), why))


class Moving:
    """`storages` are all that there are, by name."""

    def __init__(self, catalog: Catalog, shelf: Shelf, storages: Mapping[str, Storage], route: Route) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._storages = storages
        self._route = route
        self._to = storages[route.to]
        self._turns = asyncio.Semaphore(_AT_ONCE)

    async def run(self) -> AsyncIterator[Report]:
        """Moves everything; gives the report as it stands after each batch. StorageError and CatalogError where they
        fail as a whole: what was moved until then is."""
        report, route, after = Report(), self._route, 0
        while page := await self._catalog.moves.page(route.to, route.source, after, _PAGE):
            after = page[-1].id
            for batch in _batches(page):
                await self._move(batch, report)
                yield report
            await self._forget()
        if report.moved or await self._catalog.moves.ending(route.to, route.source, route.grace):
            await asyncio.sleep(route.grace)
        await self._forget()
        yield report

    async def _move(self, batch: Sequence[Copy], report: Report) -> None:
        async with self._held([copy.asset for copy in batch]) as (fence, free):
            ours = [copy for copy in batch if copy.asset.recipe_hash in free]
            paths = await self._paths(ours)
            copied = await _all([self._copy(copy, paths[copy.id], report) for copy in ours])
            there = [(copy, blob) for copy, blob in zip(ours, copied, strict=True) if blob is not None]
            done = await self._catalog.moves.settle(fence, there, self._route.grace)
        for (copy, _), told in zip(there, done, strict=True):
            report.moved += told
            report.bytes += copy.asset.size if told else 0
        # What is not kept any more as it was, nobody names at its new place: the sweep takes it.
        report.busy += len(batch) - len(ours) + sum(not told for told in done)

    async def _copy(self, copy: Copy, path: str, report: Report) -> Blob | None:
        """The copy at its new place; None where there is none to be had."""
        asset = copy.asset
        async with self._turns:
            data = await self._read(copy, report)
            if data is None:
                return None
            metadata = blob_metadata(asset, await self._catalog.identity())
            await self._to.write(path, data, metadata, serving(asset, path))
        return Blob(self._to.name, path, asset.digest)

    async def _read(self, copy: Copy, report: Report) -> bytes | None:
        storage = self._storages.get(copy.blob.storage)
        if storage is None:
            report.leave(copy.asset, f"no storage is configured under the name '{copy.blob.storage}'")
            return None
        try:
            data = await storage.read(copy.blob.path)
        except BlobNotFound:
            report.leave(copy.asset, f"its bytes are gone from '{storage.name}'")
            return None
        if await digest_of(data) != copy.blob.digest:
            report.leave(copy.asset, f"its bytes in '{storage.name}' are others than those that were kept")
            return None
        return data

    async def _paths(self, copies: Sequence[Copy]) -> Mapping[int, str]:
        """Where each goes: to the same path, if that names its asset and is nobody else's. One that may become
        another asset's, as a chat message's does, is only written to by who holds that one's lease."""
        taken = await self._catalog.moves.owners(self._to.name, [copy.blob.path for copy in copies])
        return {copy.id: _path(copy, taken.get(copy.blob.path)) for copy in copies}

    async def _forget(self) -> None:
        """Deletes the old copies whose time is over: their rows, then their bytes."""
        while over := await self._catalog.expire_blobs(_FORGOTTEN):
            await self._shelf.discard(Removed(orphans=over))

    @asynccontextmanager
    async def _held(self, wanted: Sequence[Asset]) -> AsyncIterator[tuple[int, set[bytes]]]:
        """The leases of what is moved: nobody lands it anew, at the same path, meanwhile."""
        moves, life = self._catalog.moves, self._route.life
        fence, free = await taken(moves.take(wanted, f"move {secrets.token_hex(4)}", life), moves.release)
        renewal = asyncio.create_task(self._renew(fence))
        try:
            yield fence, free
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            with suppress(CatalogUnavailable):  # then they expire
                await moves.release(fence)

    async def _renew(self, fence: int) -> None:
        while True:
            await asyncio.sleep(self._route.life / 3)
            with suppress(CatalogUnavailable):  # it may be back before they expire; if not, `settle` will tell
                await self._catalog.moves.renew(fence, self._route.life)


def _path(copy: Copy, taken: bytes | None) -> str:
    asset, path = copy.asset, copy.blob.path
    own = asset.content_hash.hex() in path or asset.digest.hex() in path
    if own and taken in (None, asset.content_hash):
        return path
    return PathTemplate().render(path_fields(asset))


def _batches(page: Sequence[Copy]) -> list[list[Copy]]:
    """The copies in groups that fit into memory, one of an asset in each."""
    groups: list[list[Copy]] = [[]]
    size = 0
    for copy in page:
        size += copy.asset.size
        if groups[-1] and (
            size > _BYTES or copy.asset.content_hash in {each.asset.content_hash for each in groups[-1]}
        ):
            groups.append([])
            size = copy.asset.size
        groups[-1].append(copy)
    return groups


async def _all(work: Sequence[Awaitable[Blob | None]]) -> list[Blob | None]:
    """What each gives; the first error of any, when all have ended."""
    done = await asyncio.gather(*work, return_exceptions=True)
    for each in done:
        if isinstance(each, BaseException):
            raise each
    return [each for each in done if not isinstance(each, BaseException)]
