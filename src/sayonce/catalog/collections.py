"""Queries on collections: named sets of texts, whose uses say what is to be made, and whose assets what is."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, case, delete, func, select, update

from sayonce.catalog import placements, wishes
from sayonce.catalog.database import Database
from sayonce.catalog.leases import held
from sayonce.catalog.records import COLLECTION, Collection, Landing, Wish
from sayonce.catalog.tables import assets, collections, uses
from sayonce.catalog.upserts import upsert
from sayonce.catalog.wishes import lives

#: How many were kept is not known before all is written down.
UNTOLD = -1


@dataclass(frozen=True, slots=True)
class Listed:
    """A collection, and when it was last begun to be spoken, in seconds since 1970. They are listed by `id`."""

    id: int
    collection: Collection
    seeded_at: float | None
    #: How many of its texts were kept already then; UNTOLD while they are being written down.
    found: int


@dataclass(frozen=True, slots=True)
class Tally:
    """How a collection stands, by its items: what is kept, what is to be made, and of that what could not be made
    when it was last tried. Characters and cost (in millionths of the currency) are of what was made since it was last
    begun to be spoken, as it is known to have been paid; seconds and bytes of all that is kept."""

    items: int = 0
    kept: int = 0
    due: int = 0
    failed: int = 0
    made: int = 0
    characters: int = 0
    cost: int = 0
    seconds: float = 0.0
    bytes: int = 0

    @property
    def left(self) -> int:
        """How many are yet to be tried."""
        return self.due - self.failed


@dataclass(frozen=True, slots=True)
class Item:
    """One of a collection's texts. `role` is the part that it plays; `failure` is why it could not be made: JSON."""

    id: int
    sequence: int
    role: str | None
    content_hash: bytes
    text: str | None
    kept: bool
    failure: str | None


@dataclass(frozen=True, slots=True)
class There:
    """What is kept: which assets, and which recipes in some format."""

    assets: Set[bytes]
    recipes: Set[bytes]


class Collections:
    """The collections of one catalog. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def there(self, content_hashes: Sequence[bytes], recipe_hashes: Sequence[bytes]) -> There:
        """What is kept of these, at most a few hundred."""
        return await self._database.survey(_there, content_hashes, recipe_hashes, self._clock())

    async def note(self, collection: Collection, found: int | None = None) -> None:
        """Makes it, if it is new; where it is `found` that so many are kept, it is begun to be spoken now."""
        await self._database.write(_note, collection, found, self._clock())

    async def recount(self, collection: Collection, found: int) -> None:
        """Says how many were kept when it was begun to be spoken."""
        await self._database.write(_recount, collection, found)

    async def find(self, collection: Collection) -> Listed | None:
        """The collection of that name."""
        return await self._database.read(_find, collection)

    async def listed(self, tenant: str | None, after: int, most: int) -> Sequence[Listed]:
        """At most so many of a tenant's collections, or of all, after the one of that id."""
        return await self._database.survey(_listed, tenant, after, most)

    async def tally(self, collection: Collection) -> Tally:
        """How it stands."""
        return await self._database.survey(_tally, collection, self._clock())

    async def items(self, collection: Collection, after: tuple[int, int], most: int) -> Sequence[Item]:
        """At most so many of its items, in their order, after the one of that sequence and id."""
        return await self._database.survey(_items, collection, after, most, self._clock())

    async def failures(self, collection: Collection, most: int) -> Sequence[Item]:
        """At most so many of its items that could not be made, in their order."""
        return await self._database.survey(_failures, collection, most, self._clock())

    async def recall(self, collection: Collection, after: int, most: int) -> Sequence[int]:
        """Has at most so many of what is not kept made again, by their ids after one; the ids of those. Until when
        this is done, what has failed is no failure."""
        return await self._database.write(_recall, collection, after, most, self._clock())

    async def wishes(self, collection: Collection, after: int, most: int) -> Sequence[tuple[int, Wish]]:
        """At most so many of its texts with their ids, after one: those of which it is known what it takes to make
        them."""
        return await self._database.survey(_wishes, collection, after, most)

    async def stop(self, collection: Collection, most: int) -> int:
        """Lets at most so many of what is yet to be made be; how many."""
        return await self._database.write(_stop, collection, most)

    async def drop(self, collection: Collection, most: int) -> tuple[int, Landing]:
        """Ends at most so many of its uses, with what was kept for them alone; how many, and what changed so. With
        none left it is gone itself."""
        return await self._database.write(_drop, collection, most, self._clock())


def _there(
    connection: Connection, content_hashes: Sequence[bytes], recipe_hashes: Sequence[bytes], now: float
) -> There:
    named = select(assets.c.content_hash).where(assets.c.content_hash.in_(content_hashes), lives(now))
    spoken = select(assets.c.recipe_hash).where(assets.c.recipe_hash.in_(recipe_hashes), lives(now))
    return There(set(connection.execute(named).scalars()), set(connection.execute(spoken).scalars()))


def _note(connection: Connection, collection: Collection, found: int | None, now: float) -> None:
    row: dict[str, object] = {"name": collection.key, "tenant": collection.tenant, "collection": collection.name}
    begun = {} if found is None else {"seeded_at": now, "found": found}
    connection.execute(upsert(connection, collections, key=["name"], replace=["tenant", *begun]), row | begun)


def _recount(connection: Connection, collection: Collection, found: int) -> None:
    mine = update(collections).where(collections.c.name == collection.key)
    connection.execute(mine.values(found=found))


_LISTED = select(
    collections.c.id,
    collections.c.tenant,
    collections.c.collection,
    collections.c.seeded_at,
    collections.c.found,
)


def _find(connection: Connection, collection: Collection) -> Listed | None:
    row = connection.execute(_LISTED.where(collections.c.name == collection.key)).one_or_none()
    return None if row is None else _told(row)


def _listed(connection: Connection, tenant: str | None, after: int, most: int) -> Sequence[Listed]:
    found = _LISTED.where(collections.c.id > after).order_by(collections.c.id).limit(most)
    if tenant is not None:
        found = found.where(collections.c.tenant == tenant)
    return [_told(row) for row in connection.execute(found)]


def _told(row: Any) -> Listed:
    return Listed(row.id, Collection(row.tenant, row.collection), row.seeded_at, row.found)


def _of(collection: Collection) -> ColumnElement[bool]:
    return (uses.c.kind == COLLECTION) & (uses.c.name == collection.key)


def _tally(connection: Connection, collection: Collection, now: float) -> Tally:
    begun = select(collections.c.seeded_at).where(collections.c.name == collection.key).scalar_subquery()
    living = assets.c.id.is_not(None)
    unmade = ~living & uses.c.due.is_not(None)
    fresh = living & (assets.c.made_at >= begun)
    paid = fresh & ~assets.c.transcoded
    columns = (
        func.count(),
        func.count().filter(living),
        func.count().filter(unmade),
        func.count().filter(unmade, uses.c.failure.is_not(None)),
        func.count().filter(fresh),
        func.sum(case((paid, assets.c.characters), else_=0)),
        func.sum(case((paid, assets.c.cost_micros), else_=0)),
        func.sum(assets.c.duration),
        func.sum(assets.c.size),
    )
    row = connection.execute(select(*columns).select_from(_with_assets(now)).where(_of(collection))).one()
    items, kept, due, failed, made, characters, cost, seconds, size = (each or 0 for each in row)
    return Tally(items, kept, due, failed, made, int(characters), int(cost), float(seconds), int(size))


def _with_assets(now: float) -> Any:
    same = (assets.c.content_hash == uses.c.content_hash) & lives(now)
    return uses.outerjoin(assets, same)


_ITEM = (uses.c.id, uses.c.sequence, uses.c.speaker, uses.c.content_hash, assets.c.text, assets.c.id.is_not(None))


def _items(
    connection: Connection, collection: Collection, after: tuple[int, int], most: int, now: float
) -> list[Item]:
    sequence, last = after
    later = (uses.c.sequence > sequence) | ((uses.c.sequence == sequence) & (uses.c.id > last))
    found = (
        select(*_ITEM, uses.c.failure)
        .select_from(_with_assets(now))
        .where(_of(collection), uses.c.sequence >= sequence, later)
        .order_by(uses.c.sequence, uses.c.id)
        .limit(most)
    )
    return [Item(*row) for row in connection.execute(found)]


def _failures(connection: Connection, collection: Collection, most: int, now: float) -> list[Item]:
    found = (
        select(*_ITEM, uses.c.failure)
        .select_from(_with_assets(now))
        .where(_of(collection), uses.c.failure.is_not(None), uses.c.due.is_not(None), assets.c.id.is_(None))
        .order_by(uses.c.sequence, uses.c.id)
        .limit(most)
    )
    return [Item(*row) for row in connection.execute(found)]


def _recall(connection: Connection, collection: Collection, after: int, most: int, now: float) -> list[int]:
    unmade = (
        select(uses.c.id)
        .select_from(_with_assets(now))
        .where(_of(collection), uses.c.request.is_not(None), assets.c.id.is_(None), uses.c.id > after)
        .order_by(uses.c.id)
        .limit(most)
    )
    ids = list(connection.execute(unmade).scalars())
    connection.execute(update(uses).where(uses.c.id.in_(ids)).values(due=now, failure=None))
    return ids


def _wishes(connection: Connection, collection: Collection, after: int, most: int) -> list[tuple[int, Wish]]:
    known = _of(collection) & uses.c.request.is_not(None) & (uses.c.id > after)
    return wishes.those(connection, known, most)


def _stop(connection: Connection, collection: Collection, most: int) -> int:
    due = select(uses.c.id).where(_of(collection), uses.c.due.is_not(None)).limit(most)
    return connection.execute(update(uses).where(uses.c.id.in_(due)).values(due=None, failure=None)).rowcount


def _drop(connection: Connection, collection: Collection, most: int, now: float) -> tuple[int, Landing]:
    chosen = connection.execute(select(uses.c.id).where(_of(collection)).limit(most)).scalars().all()
    if not chosen:
        connection.execute(delete(collections).where(collections.c.name == collection.key))
    landing = placements.end(connection, uses.c.id.in_(chosen), now)
    return len(chosen), held(connection, landing, now)
