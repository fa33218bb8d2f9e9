"""Landing what was spoken elsewhere, many assets a transaction.

A batch has one fence: it holds the lease of each of its recipes, so that nobody pays for what is on its way in, and
lands what it still holds. Nothing that is kept is ever replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, insert, select

from sayonce.catalog import assets as kept
from sayonce.catalog import batches, locks
from sayonce.catalog.adoption import ADOPTED
from sayonce.catalog.database import Database
from sayonce.catalog.records import Asset, Use
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import upsert

#: The kind of the use that keeps what was imported.
IMPORTED = "import"


class Verdict(StrEnum):
    """How what is to be imported stands to what is kept."""

    FREE = "free"  # nothing is in its way
    KNOWN = "known"  # these very bytes are kept under its name
    OTHER = "other"  # other bytes are
    KEPT = "kept"  # another recording of its recipe is, in another format
    PLACED = "placed"  # its path is another asset's
    OVER = "over"  # it was kept, its time is over, and upkeep has not removed it yet
    BUSY = "busy"  # its recipe is being spoken or removed


@dataclass(frozen=True, slots=True)
class Arrival:
    """An asset that is to be kept, with its one blob, and why."""

    asset: Asset
    use: Use


class Imports:
    """The transactions of an import. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def judge(self, wanted: Sequence[Asset]) -> Sequence[Verdict]:
        """How each stands to what is kept now; whether it flies is asked, too."""
        return await self._database.read(_judged, wanted, self._clock())

    async def take(self, wanted: Sequence[Asset], holder: str, life: float) -> tuple[int, Sequence[Verdict]]:
        """The leases of those that are FREE, for `life` seconds and under one fence; and how each stands."""
        return await self._database.note(_take, wanted, holder, life, self._clock())

    async def renew(self, fence: int, life: float) -> None:
        """Holds all that the fence still holds for longer."""
        await self._database.note(batches.renew, fence, self._clock() + life)

    async def land(self, fence: int, arrivals: Sequence[Arrival]) -> Sequence[Verdict]:
        """Keeps those whose lease the fence still holds and that nothing is in the way of, and gives their leases
        back; FREE is what was kept."""
        return await self._database.write(_land, fence, arrivals, self._clock())

    async def release(self, fence: int) -> None:
        """Gives back what the fence still holds."""
        await self._database.note(batches.release, fence)


def _judged(connection: Connection, wanted: Sequence[Asset], now: float) -> list[Verdict]:
    standing = _Standing(connection, wanted, now)
    return [standing.verdict(asset) for asset in wanted]


def _take(
    connection: Connection, wanted: Sequence[Asset], holder: str, life: float, now: float
) -> tuple[int, list[Verdict]]:
    locks.alone_with_recipe(connection, *{asset.recipe_hash for asset in wanted})
    verdicts = _judged(connection, wanted, now)
    free = [asset for asset, told in zip(wanted, verdicts, strict=True) if told is Verdict.FREE]
    return batches.take(connection, free, holder, now + life), verdicts


def _land(connection: Connection, fence: int, arrivals: Sequence[Arrival], now: float) -> list[Verdict]:
    recipes = {arrival.asset.recipe_hash for arrival in arrivals}
    locks.alone_with_recipe(connection, *recipes)
    held = batches.give_back(connection, fence, recipes)
    for arrival in arrivals:
        [blob] = arrival.asset.blobs
        locks.alone_with_place(connection, blob.storage, blob.path)
    standing = _Standing(connection, [arrival.asset for arrival in arrivals], now)
    verdicts = [
        standing.verdict(arrival.asset) if arrival.asset.recipe_hash in held else Verdict.BUSY for arrival in arrivals
    ]
    _keep(connection, [each for each, told in zip(arrivals, verdicts, strict=True) if told is Verdict.FREE])
    return verdicts


def _keep(connection: Connection, arrivals: Sequence[Arrival]) -> None:
    if not arrivals:
        return
    landed = {arrival.asset.content_hash: arrival for arrival in arrivals}
    connection.execute(insert(assets), [_asset_row(arrival) for arrival in arrivals])
    ids = connection.execute(
        select(assets.c.content_hash, assets.c.id).where(assets.c.content_hash.in_(list(landed)))
    )
    connection.execute(insert(blobs), [_blob_row(key, landed[content_hash].asset) for content_hash, key in ids])
    key = ["content_hash", "kind", "name", "sequence"]
    rows = [_use_row(arrival) for arrival in arrivals]
    connection.execute(upsert(connection, uses, key=key, replace=["at", "keep_until", "pinned"]), rows)
    wished = uses.c.content_hash.in_(list(landed)) & uses.c.kind.not_in([IMPORTED])
    for content_hash in set(connection.execute(select(uses.c.content_hash).where(wished)).scalars()):
        kept.fulfil(connection, landed[content_hash].asset, there=False)
        kept.renew_until(connection, content_hash)


class _Standing:
    """What is kept of the recipes of what is to be imported, and at its paths."""

    def __init__(self, connection: Connection, wanted: Sequence[Asset], now: float) -> None:
        recipes = list({asset.recipe_hash for asset in wanted})
        self._now = now
        self._there: dict[bytes, Any] = {}
        self._formats: dict[bytes, set[bytes]] = {}
        for row in connection.execute(_THERE.where(assets.c.recipe_hash.in_(recipes))):
            self._there[row.content_hash] = row
            self._formats.setdefault(row.recipe_hash, set()).add(row.content_hash)
        self._imported = self._also_imported(connection)
        self._placed = _placed(connection, wanted)
        self._flying = batches.flying(connection, recipes, now)

    def verdict(self, asset: Asset) -> Verdict:
        there = self._there.get(asset.content_hash)
        if there is not None:
            return self._beside(asset, there)
        if asset.recipe_hash in self._flying:
            return Verdict.BUSY
        if self._formats.get(asset.recipe_hash, set()) - self._imported:
            return Verdict.KEPT
        return Verdict.PLACED if any((b.storage, b.path) in self._placed for b in asset.blobs) else Verdict.FREE

    def _beside(self, asset: Asset, there: Any) -> Verdict:
        if there.until is not None and there.until <= self._now:
            return Verdict.OVER
        return Verdict.KNOWN if there.digest == asset.digest else Verdict.OTHER

    def _also_imported(self, connection: Connection) -> set[bytes]:
        """What was brought along, too, with its variants."""
        brought = uses.c.content_hash.in_(list(self._there)) & uses.c.kind.in_([IMPORTED, ADOPTED])
        found = set(connection.execute(select(uses.c.content_hash).where(brought)).scalars())
        return {name for names in self._formats.values() if names & found for name in names}


_THERE = select(assets.c.content_hash, assets.c.recipe_hash, assets.c.digest, assets.c.until)


def _placed(connection: Connection, wanted: Iterable[Asset]) -> Collection[tuple[str, str]]:
    paths = [blob.path for asset in wanted for blob in asset.blobs]
    rows = connection.execute(select(blobs.c.storage, blobs.c.path).where(blobs.c.path.in_(paths)))
    return {(row.storage, row.path) for row in rows}


def _asset_row(arrival: Arrival) -> Mapping[str, object]:
    return {**kept.row_of(arrival.asset), "until": arrival.use.keep_until}


def _blob_row(asset: int, of: Asset) -> Mapping[str, object]:
    [blob] = of.blobs
    return {"asset": asset, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": None}


def _use_row(arrival: Arrival) -> Mapping[str, object]:
    asset, use = arrival.asset, arrival.use
    told = {"content_hash": asset.content_hash, "kind": use.kind, "name": use.name, "sequence": use.sequence}
    return {**told, "at": asset.made_at, "keep_until": use.keep_until, "pinned": use.pinned}
