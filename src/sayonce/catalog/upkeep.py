"""What upkeep asks and deletes, in batches that are short enough to disturb nobody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Float, cast, delete, exists, func, insert, or_, select, update

from sayonce.catalog import assets as kept
from sayonce.catalog import locks, placements
from sayonce.catalog.leases import held, hold
from sayonce.catalog.records import COLLECTION, TURN, Blob, Landing, Removed, Selection
from sayonce.catalog.tables import assets, blobs, changes, collections, facts, leases, sessions, uses
from sayonce.catalog.upserts import insert_or_nothing
from sayonce.speech.requests import Scope

_pinned = exists().where(uses.c.content_hash == assets.c.content_hash, uses.c.pinned)


@dataclass(frozen=True, slots=True)
class Ended:
    """How many uses a batch ended, and what changed so."""

    uses: int
    landing: Landing


@dataclass(frozen=True, slots=True)
class Due:
    """What a run of upkeep would find: assets, and blobs and uses of others, whose time is over."""

    assets: int
    bytes: int
    blobs: int
    uses: int


def due(connection: Connection, now: float) -> Due:
    """What is to go since its time is over."""
    number, size = connection.execute(
        select(func.count(), func.sum(assets.c.size)).where(assets.c.until <= now)
    ).one()
    over = assets.c.until <= now  # what is of these goes with them
    copies = select(func.count()).where(blobs.c.until <= now, blobs.c.asset.not_in(select(assets.c.id).where(over)))
    of_them = uses.c.content_hash.in_(select(assets.c.content_hash).where(over))
    ended = select(func.count()).where(uses.c.keep_until <= now, uses.c.request.is_(None), ~of_them)
    beside = (connection.execute(statement).scalar_one() for statement in (copies, ended))
    return Due(number, int(size or 0), *beside)


def pinned(connection: Connection, now: float) -> tuple[int, int]:
    """How many living assets no eviction takes, and their bytes."""
    living = or_(assets.c.until.is_(None), assets.c.until > now)
    number, size = connection.execute(select(func.count(), func.sum(assets.c.size)).where(living, _pinned)).one()
    return number, int(size or 0)


def expire_assets(connection: Connection, now: float, most: int) -> Removed:
    """Removes assets that no use keeps any more."""
    return _remove(connection, assets.c.until <= now, assets.c.until, most, now)


def expire_blobs(connection: Connection, now: float, most: int) -> tuple[Blob, ...]:
    """Forgets copies whose time is over; their assets have others. Answers the blobs to delete next."""
    found = connection.execute(
        select(blobs.c.id, blobs.c.storage, blobs.c.path, blobs.c.digest, blobs.c.until)
        .where(blobs.c.until <= now)
        .order_by(blobs.c.until)
        .limit(most)
    ).all()
    gone = connection.execute(
        delete(blobs).where(blobs.c.id.in_([row.id for row in found]), blobs.c.until <= now).returning(blobs.c.id)
    ).scalars()
    ids = set(gone)
    return tuple(Blob(*row[1:]) for row in found if row.id in ids)


def end_uses(connection: Connection, now: float, most: int) -> Ended:
    """Deletes uses whose time is over, with the copies that lie there for them alone. Their assets' own times have
    been reckoned with them. What is yet to be made has no time that could be over."""
    over = (uses.c.keep_until <= now) & uses.c.request.is_(None)
    found = connection.execute(
        select(uses.c.id, uses.c.path).where(over).order_by(uses.c.keep_until).limit(most)
    ).all()
    placed = [row.id for row in found if row.path is not None]
    plain = [row.id for row in found if row.path is None]
    connection.execute(delete(uses).where(uses.c.id.in_(plain), over))
    left = placements.end(connection, uses.c.id.in_(placed) & over, now) if placed else Landing(())
    return Ended(len(found), held(connection, left, now))


def totals(connection: Connection) -> tuple[int, int]:
    """How many assets there are, and their bytes."""
    number, size = connection.execute(select(func.count(), func.sum(assets.c.size))).one()
    return number, int(size or 0)


def evict(connection: Connection, now: float, most: int, excess: int) -> Removed:
    """Removes assets that were not used for the longest time and that nobody has pinned: at most so many, and no more
    of them than `excess` bytes ask for."""
    found = connection.execute(
        select(assets.c.id, assets.c.size).where(~_pinned).order_by(assets.c.used_at).limit(most)
    ).all()
    chosen, size = [], 0
    for row in found:
        if size >= excess:
            break
        chosen.append(row.id)
        size += row.size
    return _remove(connection, assets.c.id.in_(chosen) & ~_pinned, assets.c.used_at, most, now)


def invalidate(
    connection: Connection, which: Selection, after: int, most: int, now: float
) -> tuple[Removed, int | None]:
    """Removes what is selected, by id from `after` on; and where to go on, None at the end."""
    chosen = [assets.c.id > after, *criteria(which)]
    ids = connection.execute(select(assets.c.id).where(*chosen).order_by(assets.c.id).limit(most)).scalars().all()
    removed = _remove(connection, assets.c.id.in_(ids), assets.c.id, most, now)
    return removed, ids[-1] if len(ids) == most else None


def selected(connection: Connection, which: Selection) -> int:
    """How many assets are selected."""
    return int(connection.execute(select(func.count()).select_from(assets).where(*criteria(which))).scalar_one())


def named(connection: Connection, storage: str, paths: Sequence[str]) -> set[str]:
    """Those of the paths that a row names."""
    rows = connection.execute(select(blobs.c.path).where(blobs.c.storage == storage, blobs.c.path.in_(paths)))
    return set(rows.scalars())


def claim(connection: Connection, name: str, every: float, now: float) -> bool:
    """Whether it is this process that does what is to be done once in `every` seconds by any."""
    if connection.execute(insert_or_nothing(connection, facts, {"name": name, "value": repr(now)})).rowcount == 1:
        return True
    last = cast(facts.c.value, Float)
    taken = update(facts).where(facts.c.name == name, last <= now - every).values(value=repr(now))
    return connection.execute(taken).rowcount == 1


def _remove(connection: Connection, which: ColumnElement[bool], order: Any, most: int, now: float) -> Removed:
    """Removes a batch with blobs and uses, alone with each recipe; what changed in between, or is flying, stays."""
    recipes = connection.execute(select(assets.c.recipe_hash).where(which).order_by(order).limit(most)).scalars()
    chosen = set(recipes)
    locks.alone_with_recipe(connection, *chosen)
    flown = select(leases.c.recipe_hash).where(leases.c.recipe_hash.in_(chosen), leases.c.expires > now)
    chosen -= set(connection.execute(flown).scalars())
    still = which & assets.c.recipe_hash.in_(chosen)
    columns = (assets.c.id, assets.c.recipe_hash, assets.c.content_hash, assets.c.size)
    found = connection.execute(select(*columns).where(still)).all()
    ids, names = [row.id for row in found], [row.content_hash for row in found]
    copies = connection.execute(
        select(blobs.c.storage, blobs.c.path, blobs.c.digest, blobs.c.until).where(blobs.c.asset.in_(ids))
    )
    orphans = tuple(Blob(*row) for row in copies)
    connection.execute(delete(blobs).where(blobs.c.asset.in_(ids)))
    kept.end_uses(connection, names)
    connection.execute(delete(assets).where(assets.c.id.in_(ids)))
    if names:
        locks.alone_with_changes(connection)
        connection.execute(insert(changes), [{"kind": "asset", "subject": name.hex(), "at": now} for name in names])
    holds = hold(connection, {row.recipe_hash for row in found}, now)
    return Removed(len(found), sum(row.size for row in found), _unnamed(connection, orphans), holds)


def _unnamed(connection: Connection, orphans: Iterable[Blob]) -> tuple[Blob, ...]:
    """Those that no other row names."""
    orphans = tuple(orphans)
    taken = {
        (storage, path)
        for storage in {blob.storage for blob in orphans}
        for path in named(connection, storage, [blob.path for blob in orphans if blob.storage == storage])
    }
    return tuple(blob for blob in orphans if (blob.storage, blob.path) not in taken)


def criteria(which: Selection) -> list[ColumnElement[bool]]:
    """All of what is told must hold."""
    columns = {"tenant": assets.c.tenant, "voice": assets.c.voice, "upstream": assets.c.upstream}
    told: list[ColumnElement[bool]] = [
        column == getattr(which, name) for name, column in columns.items() if getattr(which, name) is not None
    ]
    if which.user is not None:
        told.append((assets.c.scope == Scope.USER) & (assets.c.owner == which.user))
    if which.session is not None:
        own = (assets.c.scope == Scope.SESSION) & (assets.c.owner == which.session)
        told.append(or_(own, _said_in(which.session, which.tenant)))
    if which.collection is not None:
        told.append(_collected(which.collection, which.tenant))
    if which.made_before is not None:
        told.append(assets.c.made_at < which.made_before)
    return told


def _said_in(session: str, tenant: str | None) -> ColumnElement[bool]:
    """Whether it is a turn of a session of that name; of one tenant's, where one is told."""
    theirs = sessions.c.session == session
    if tenant is not None:
        theirs &= sessions.c.tenant == tenant
    turns = (uses.c.kind == TURN) & (uses.c.name == sessions.c.name)
    return exists().where(uses.c.content_hash == assets.c.content_hash, turns, theirs)


def _collected(collection: str, tenant: str | None) -> ColumnElement[bool]:
    """Whether it is in a collection of that name; of one tenant's, where one is told."""
    theirs = collections.c.collection == collection
    if tenant is not None:
        theirs &= collections.c.tenant == tenant
    items = (uses.c.kind == COLLECTION) & (uses.c.name == collections.c.name)
    return exists().where(uses.c.content_hash == assets.c.content_hash, items, theirs)
