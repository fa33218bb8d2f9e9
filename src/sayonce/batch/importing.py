"""Brings along audio that was spoken elsewhere: what was imported is a hit at every door, and nobody pays for it.

It works beside running gateways, under the leases of what it lands, and replaces nothing that is kept. It may be
stopped at any time and run again: what is there by then is known.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum

from sayonce.batch.pieces import Reading, is_recorded, reason
from sayonce.batch.sources.contract import Piece, Source
from sayonce.cache.metadata import blob_metadata, path_fields, serving
from sayonce.cache.orders import Clip
from sayonce.cache.shelf import Place
from sayonce.cache.taking import taken
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.imports import IMPORTED, Arrival, Verdict
from sayonce.catalog.records import Asset, Blob, Use
from sayonce.errors import CatalogUnavailable, InvalidRequest, RequestError, SayonceError
from sayonce.storage.contract import Writing

# Recordings that are landed together, and the bytes of them above which no more join.
_BATCH, _BATCH_BYTES = 200, 32_000_000
# How many threads look at them, so many at a go.
_HEARD_AT_ONCE, _PART = os.cpu_count() or 1, 10
# How many refused rows are named.
_MOST_NAMED = 10_000


class Outcome(StrEnum):
    """What became of a recording."""

    IMPORTED = "imported"
    KNOWN = "known"  # these very bytes are kept already
    BUSY = "busy"  # it is being spoken, or was removed, just now: the next run finds it
    REFUSED = "refused"  # the report says why


_OF = {Verdict.FREE: Outcome.IMPORTED, Verdict.KNOWN: Outcome.KNOWN, Verdict.BUSY: Outcome.BUSY}
_WHY = {
    Verdict.OTHER: "other bytes are kept under its name, and stay: sayonce export shows them, DELETE removes them.",
    Verdict.KEPT: "another recording of it is kept, in another format, and stays.",
    Verdict.PLACED: "its path is another asset's: add {hash} to SAYONCE_PATH_TEMPLATE.",
    Verdict.OVER: "it was kept, and its time is over: run sayonce upkeep, and then this again.",
}


@dataclass(frozen=True, slots=True)
class Manner:
    """For how many seconds what is imported is kept (None is forever, but for what an export says); whether to look
    only; how long a lease lasts; whether the catalog keeps texts."""

    keep: float | None = None
    dry: bool = False
    life: float = 10.0
    keep_text: bool = True


@dataclass(slots=True)
class Report:
    """What a run did, or, where it was only to look, would have done. `refused` tells of rows why."""

    count: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seen(self) -> int:
        """How many recordings there were."""
        return self.count.total()

    def refuse(self, place: str, why: str) -> None:
        """Notes that a row is not taken."""
        self.count[Outcome.REFUSED] += 1
        if len(self.refused) < _MOST_NAMED:
            self.refused.append((place, why))


@dataclass(frozen=True, slots=True)
class _Heard:
    """A recording that was looked at."""

    place: str
    clip: Clip


class Importing:
    """Of a source's pieces into one catalog, with the bytes at `place`. `clock` gives seconds since 1970."""

    def __init__(
        self, catalog: Catalog, place: Place, reading: Reading, manner: Manner, clock: Callable[[], float]
    ) -> None:
        self._catalog = catalog
        self._place = place
        self._reading = reading
        self._manner = manner
        self._clock = clock

    async def run(self, source: Source) -> AsyncIterator[Report]:
        """Goes through the source; gives the report as it stands after each batch. InvalidRequest where the source
        cannot be read on, StorageError and CatalogError where they fail: what landed until then stays."""
        report = Report()
        landing: asyncio.Task[None] | None = None
        with ThreadPoolExecutor(_HEARD_AT_ONCE, thread_name_prefix="import") as threads:
            try:
                async for batch in self._batches(source, report):
                    heard = await self._heard(batch, report, threads)
                    if landing is not None:
                        await landing  # one batch lands while the next is looked at
                        yield report
                    landing = asyncio.create_task(self._keep(heard, report))
                if landing is not None:
                    await landing
            finally:
                if landing is not None:
                    await asyncio.gather(landing, return_exceptions=True)
        yield report

    async def _batches(self, source: Source, report: Report) -> AsyncIterator[list[tuple[Piece, bytes]]]:
        batch, size = list[tuple[Piece, bytes]](), 0
        try:
            async for piece in source.pieces():
                data = await self._data(piece, report)
                if data is not None:
                    batch.append((piece, data))
                    size += len(data)
                if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                    yield batch
                    batch, size = [], 0
        except InvalidRequest:
            if batch:
                yield batch  # what came before what cannot be read is whole
            raise
        if batch:
            yield batch

    async def _data(self, piece: Piece, report: Report) -> bytes | None:
        try:
            return await piece.read()
        except RequestError as error:
            report.refuse(piece.place, reason(error))
            return None

    async def _heard(
        self, batch: Sequence[tuple[Piece, bytes]], report: Report, threads: ThreadPoolExecutor
    ) -> Sequence[_Heard]:
        """Those of a batch that may be kept, one of a name."""
        await self._know([piece.fields for piece, _ in batch])
        loop = asyncio.get_running_loop()
        parts = [batch[first : first + _PART] for first in range(0, len(batch), _PART)]
        heard = await asyncio.gather(*(loop.run_in_executor(threads, self._hear_all, part) for part in parts))
        found: dict[bytes, _Heard] = {}
        for each in (each for part in heard for each in part):
            if isinstance(each, _Heard):
                self._add(found, each, report)
            else:
                report.refuse(*each)
        return list(found.values())

    async def _keep(self, heard: Sequence[_Heard], report: Report) -> None:
        verdicts = await self._land(heard) if heard else []
        for each, verdict in zip(heard, verdicts, strict=True):
            self._note(report, each, verdict)

    async def _know(self, told: Sequence[Mapping[str, object]]) -> None:
        """Learns who speaks for the tenants of these."""
        chains = self._reading.chains
        for name in {self._reading.tenant(fields) for fields in told} - chains.keys():
            tenant = await self._catalog.tenant(name)
            chains[name] = () if tenant is None else tenant.chain

    def _hear_all(self, part: Sequence[tuple[Piece, bytes]]) -> list[_Heard | tuple[str, str]]:
        return [self._hear(*each) for each in part]

    def _hear(self, piece: Piece, data: bytes) -> _Heard | tuple[str, str]:
        """The recording as it would be kept, or why it is not."""
        try:
            told = self._reading.told(piece.fields)
            clip = self._reading.clip(told, data, keep_text=self._manner.keep_text, now=self._clock())
            path = self._place.template.render(path_fields(clip.asset))
        except SayonceError as error:
            return piece.place, reason(error)
        blob = Blob(self._place.storage.name, path, clip.asset.digest)
        return _Heard(piece.place, Clip(replace(clip.asset, blobs=(blob,)), clip.data))

    def _add(self, found: dict[bytes, _Heard], each: _Heard, report: Report) -> None:
        """One of a name and of a path in a batch; the others are the same, or refused."""
        asset = each.clip.asset
        first = found.setdefault(asset.content_hash, each)
        if first is each:
            return
        if first.clip.asset.digest == asset.digest:
            report.count[Outcome.KNOWN] += 1
        else:
            report.refuse(each.place, f"it is said to be the same as {first.place}, and has other bytes.")

    def _note(self, report: Report, each: _Heard, verdict: Verdict) -> None:
        outcome = _OF.get(verdict, Outcome.REFUSED)
        if outcome is Outcome.REFUSED:
            report.refuse(each.place, _WHY[verdict])
            return
        report.count[outcome] += 1
        if outcome is Outcome.IMPORTED:
            report.bytes += each.clip.asset.size

    # ── landing ──────────────────────────────────────────────────────────────────────────────────

    async def _land(self, wanted: Sequence[_Heard]) -> Sequence[Verdict]:
        """How each stands; FREE is what was landed, or, where it is only looked, would be."""
        imports = self._catalog.imports
        verdicts = await imports.judge([each.clip.asset for each in wanted])
        free = [each for each, told in zip(wanted, verdicts, strict=True) if told is Verdict.FREE]
        if self._manner.dry or not free:
            return verdicts
        async with self._held([each.clip.asset for each in free]) as (fence, mine):
            ours = [each for each, told in zip(free, mine, strict=True) if told is Verdict.FREE]
            await self._place.storage.write_all(
                [await self._writing(each.clip.asset, each.clip.data) for each in ours]
            )
            landed = await imports.land(fence, [Arrival(each.clip.asset, self._use(each)) for each in ours])
        told = {each.place: verdict for each, verdict in zip(free, mine, strict=True)}
        told |= {each.place: verdict for each, verdict in zip(ours, landed, strict=True)}
        return [told.get(each.place, verdict) for each, verdict in zip(wanted, verdicts, strict=True)]

    @asynccontextmanager
    async def _held(self, wanted: Sequence[Asset]) -> AsyncIterator[tuple[int, Sequence[Verdict]]]:
        """The leases of what may be landed, for as long as it takes."""
        imports, life = self._catalog.imports, self._manner.life
        holder = f"import {secrets.token_hex(4)}"
        fence, verdicts = await taken(imports.take(wanted, holder, life), imports.release)
        renewal = asyncio.create_task(_renew(lambda: imports.renew(fence, life), life / 3))
        try:
            yield fence, verdicts
        finally:
            renewal.cancel()
            await asyncio.gather(renewal, return_exceptions=True)
            with suppress(CatalogUnavailable):  # then they expire
                await imports.release(fence)

    async def _writing(self, asset: Asset, data: bytes) -> Writing:
        [blob] = asset.blobs
        metadata = blob_metadata(asset, await self._catalog.identity())
        return Writing(blob.path, data, metadata, serving(asset, blob.path))

    def _use(self, each: _Heard) -> Use:
        """Pinned is what was recorded: nobody could speak it anew."""
        asset, keep = each.clip.asset, self._manner.keep
        until = asset.until if keep is None else self._clock() + keep
        return Use(IMPORTED, keep_until=until, pinned=is_recorded(asset))


async def _renew(renew: Callable[[], Awaitable[None]], every: float) -> None:
    while True:
        await asyncio.sleep(every)
        with suppress(CatalogUnavailable):  # it may be back before they expire; if not, the landing will tell
            await renew()
