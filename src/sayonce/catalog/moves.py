"""Giving what is kept another storage: for a while it has two copies, so that whoever reads finds one of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, select, update

from sayonce.catalog import assets as kept
from sayonce.catalog import batches, changes, locks, wishes
from sayonce.catalog.database import Database
from sayonce.catalog.records import Asset, Blob
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import upsert


@dataclass(frozen=True, slots=True)
class Copy:
    """One copy of an asset's bytes, by its row's id."""

    id: int
    asset: Asset
    blob: Blob


class Moves:
    """`clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def page(self, to: str, source: str | None, after: int, most: int) -> Sequence[Copy]:
        """At most so many lasting copies that are in `source`, or else anywhere but in `to`, with ids above `after`,
        in their order."""
        return await self._database.survey(_page, to, source, after, most, self._clock())

    async def count(self, to: str, source: str | None) -> tuple[int, int]:
        """How many such copies there are, and their bytes."""
        return await self._database.survey(_count, to, source, self._clock())

    async def ending(self, to: str, source: str | None, seconds: float) -> bool:
        """Whether the time of such a copy is over within so many seconds: a run that was stopped has left it."""
        return await self._database.survey(_ending, to, source, self._clock() + seconds)

    async def take(self, wanted: Sequence[Asset], holder: str, life: float) -> tuple[int, set[bytes]]:
        """The leases of those whose recipe nobody else has, under one fence; and which recipes these are."""
        return await self._database.note(_take, wanted, holder, life, self._clock())

    async def renew(self, fence: int, life: float) -> None:
        """Holds all that the fence still holds for longer."""
        await self._database.note(batches.renew, fence, self._clock() + life)

    async def settle(self, fence: int, moved: Sequence[tuple[Copy, Blob]], grace: float) -> Sequence[bool]:
        """Writes down copies that were made of others, which last for `grace` seconds more; gives the leases back.
        False where it is not kept any more as it was: nothing names the new copy then."""
        return await self._database.write(_settle, fence, moved, grace, self._clock())

    async def release(self, fence: int) -> None:
        """Gives back what the fence still holds."""
        await self._database.note(batches.release, fence)

    async def owners(self, storage: str, paths: Sequence[str]) -> Mapping[str, bytes]:
        """Whose those of the paths in a storage are that a row names: content hashes."""
        return await self._database.read(_owners, storage, paths)


def _lasting(to: str, source: str | None, now: float) -> tuple[ColumnElement[bool], ...]:
    return *_elsewhere(to, source), blobs.c.until.is_(None), wishes.lives(now)


def _elsewhere(to: str, source: str | None) -> tuple[ColumnElement[bool], ...]:
    there = blobs.c.storage != to if source is None else blobs.c.storage == source
    return there, blobs.c.storage != to


def _ending(connection: Connection, to: str, source: str | None, then: float) -> bool:
    left = select(blobs.c.id).where(*_elsewhere(to, source), blobs.c.until <= then).limit(1)
    return connection.execute(left).one_or_none() is not None


def _page(connection: Connection, to: str, source: str | None, after: int, most: int, now: float) -> Sequence[Copy]:
    rows = connection.execute(
        select(blobs.c.id, assets.c.content_hash, blobs.c.storage, blobs.c.path, blobs.c.digest)
        .join(assets, assets.c.id == blobs.c.asset)
        .where(blobs.c.id > after, *_lasting(to, source, now))
        .order_by(blobs.c.id)
        .limit(most)
    ).all()
    found = kept.named(connection, {row.content_hash for row in rows})
    return [Copy(row.id, found[row.content_hash], Blob(*row[2:])) for row in rows]


def _count(connection: Connection, to: str, source: str | None, now: float) -> tuple[int, int]:
    told = select(func.count(), func.sum(assets.c.size)).select_from(blobs.join(assets, assets.c.id == blobs.c.asset))
    number, size = connection.execute(told.where(*_lasting(to, source, now))).one()
    return int(number), int(size or 0)


def _take(
    connection: Connection, wanted: Sequence[Asset], holder: str, life: float, now: float
) -> tuple[int, set[bytes]]:
    recipes = {asset.recipe_hash for asset in wanted}
    locks.alone_with_recipe(connection, *recipes)
    free = recipes - batches.flying(connection, recipes, now)
    return batches.take(
        connection, [asset for asset in wanted if asset.recipe_hash in free], holder, now + life
    ), free


def _settle(
    connection: Connection, fence: int, moved: Sequence[tuple[Copy, Blob]], grace: float, now: float
) -> list[bool]:
    recipes = {copy.asset.recipe_hash for copy, _ in moved}
    locks.alone_with_recipe(connection, *recipes)
    held = batches.give_back(connection, fence, recipes)
    done = [copy.asset.recipe_hash in held and _replace(connection, copy, blob, now + grace) for copy, blob in moved]
    names = {copy.asset.content_hash.hex() for (copy, _), told in zip(moved, done, strict=True) if told}
    changes.append_all(connection, "asset", sorted(names), now)
    return done


def _replace(connection: Connection, copy: Copy, blob: Blob, until: float) -> bool:
    """Lets the copy end soon, and the new one take its place; whether it was there as it was, and the place free."""
    locks.alone_with_place(connection, blob.storage, blob.path)
    there = select(blobs.c.asset).where(blobs.c.id == copy.id, blobs.c.digest == copy.blob.digest)
    asset = connection.execute(there).scalar_one_or_none()
    place = (blobs.c.storage == blob.storage) & (blobs.c.path == blob.path)
    taken = connection.execute(select(blobs.c.asset).where(place)).scalar_one_or_none()
    if asset is None or taken not in (None, asset):
        return False
    row = {"asset": asset, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": None}
    connection.execute(upsert(connection, blobs, key=["storage", "path"], replace=["digest", "until"]), row)
    connection.execute(update(blobs).where(blobs.c.id == copy.id).values(until=until))
    mine = uses.c.content_hash == copy.asset.content_hash
    at = (uses.c.storage == copy.blob.storage) & (uses.c.path == copy.blob.path)
    connection.execute(update(uses).where(mine, at).values(storage=blob.storage, path=blob.path))
    return True


def _owners(connection: Connection, storage: str, paths: Sequence[str]) -> Mapping[str, bytes]:
    rows = connection.execute(
        select(blobs.c.path, assets.c.content_hash)
        .join(assets, assets.c.id == blobs.c.asset)
        .where(blobs.c.storage == storage, blobs.c.path.in_(paths))
    )
    return {row.path: row.content_hash for row in rows}
