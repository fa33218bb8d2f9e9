"""Queries on conversations: a turn is a use of what was said, and a copy of it in its session."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, delete, exists, func, null, or_, select, update

from sayonce.catalog import assets as kept
from sayonce.catalog import locks, placements
from sayonce.catalog.leases import HOLD, held
from sayonce.catalog.records import TURN, Asset, Blob, Landing, Session, Use
from sayonce.catalog.tables import assets, sessions, uses
from sayonce.catalog.upserts import insert_or_alter

# For how many seconds a session is there at least of which no turn was archived yet.
_OPEN = 86_400.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A turn that is on its way into its session, whose row is `id`. `given` where the sequence is the next free one
    that was given out, not one that was asked for."""

    id: int
    session: Session
    sequence: int
    given: bool


@dataclass(frozen=True, slots=True)
class Archived:
    """What became of a turn; not `there`, if its session was `ended` meanwhile, or what was said is not kept any more
    as it was. `landing` is what else changed."""

    there: bool
    ended: bool = False
    landing: Landing = Landing(())


@dataclass(frozen=True, slots=True)
class Ended:
    """How many turns a batch ended that were still there, whether there are more, and what changed so."""

    turns: int
    more: bool
    landing: Landing


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a session: who said what, when, and until when it is kept."""

    sequence: int
    speaker: str | None
    at: float
    until: float | None
    asset: Asset


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all turns of a session: seconds, bytes, and when the first and the last was."""

    turns: int
    duration: float
    size: int
    began_at: float
    last_at: float


@dataclass(frozen=True, slots=True)
class Listed:
    """A session in a list of them, which goes on after `last_at` and `id`."""

    id: int
    session: Session
    last_at: float
    totals: Totals


def own_first(asset: Asset, path: str | None) -> Asset:
    """The asset with its blob at that path first: the address of another may name another session."""
    return replace(asset, blobs=tuple(sorted(asset.blobs, key=lambda blob: blob.path != path)))


def open_turn(connection: Connection, session: Session, sequence: int | None, now: float) -> Opened | None:
    """Begins a turn; without a sequence it gets the next free one, which no other gets. None while the session is
    being ended."""
    row = {
        "name": session.key,
        "tenant": session.tenant,
        "owner": session.user,
        "session": session.name,
        "newest": 1 if sequence is None else sequence,
        "until": now + _OPEN,
    }
    newest = sessions.c.newest + 1 if sequence is None else _higher(sessions.c.newest, sequence)
    alter = {"newest": newest, "until": _longer(sessions.c.until, now + _OPEN), "ending": None}
    going_on = or_(sessions.c.ending.is_(None), sessions.c.ending <= now)
    opened = insert_or_alter(connection, sessions, row, key=["name"], alter=alter, where=going_on)
    found = connection.execute(opened.returning(sessions.c.id, sessions.c.newest)).one_or_none()
    if found is None:
        return None
    return Opened(found.id, session, found.newest if sequence is None else sequence, sequence is None)


def give_back(connection: Connection, opened: Opened) -> None:
    """Takes back a sequence that was given out for nothing, if it is the newest."""
    taken = exists().where(_of(opened.session), uses.c.sequence == opened.sequence)
    mine = (sessions.c.id == opened.id) & (sessions.c.newest == opened.sequence) & ~taken
    connection.execute(update(sessions).where(mine).values(newest=sessions.c.newest - 1))


def archive(
    connection: Connection, opened: Opened, asset: Asset, use: Use, now: float, *, recorded: bool
) -> Archived:
    """Keeps an asset as a turn, in place of what was that turn before: what is kept, at one more place, its only
    blob's; or what was `recorded`, and need not be kept yet."""
    if not _heed(connection, opened, use):
        return _refuse(connection, opened, asset, now)
    (blob,) = asset.blobs
    landing = placements.attach(connection, asset.content_hash, blob, use, now)
    if landing is None and recorded:
        landing = _keep(connection, asset, use, now)
    if landing is None:
        return Archived(False, landing=Landing(_unnamed(connection, asset)))
    return Archived(True, landing=held(connection, landing, now))


def end(connection: Connection, session: Session, most: int, now: float) -> Ended:
    """Ends at most so many of a session's turns; what is on its way into it will not get there, and nothing new until
    it is forgotten."""
    connection.execute(update(sessions).where(sessions.c.name == session.key).values(ending=now + HOLD))
    found = connection.execute(
        select(uses.c.id, uses.c.keep_until).where(_of(session)).order_by(uses.c.sequence).limit(most)
    ).all()
    landing = placements.end(connection, uses.c.id.in_([row.id for row in found]), now)
    there = sum(row.keep_until is None or row.keep_until > now for row in found)
    return Ended(there, len(found) == most, held(connection, landing, now))


def forget(connection: Connection, session: Session) -> None:
    """Lets a session that was ended begin anew."""
    connection.execute(delete(sessions).where(sessions.c.name == session.key, sessions.c.ending.is_not(None)))


def tidy(connection: Connection, now: float) -> None:
    """Deletes the rows of sessions whose every turn's time is over."""
    connection.execute(delete(sessions).where(sessions.c.until <= now))


def conversation(
    connection: Connection, session: Session, after: int, most: int, now: float
) -> tuple[Totals, Sequence[Turn]] | None:
    """A session's totals, and its turns after one, in order, at most so many; None where it has none."""
    totals = _totals(connection, [session.key], now).get(session.key)
    if totals is None:
        return None
    found = connection.execute(
        select(uses.c.sequence, uses.c.speaker, uses.c.at, uses.c.keep_until, uses.c.content_hash, uses.c.path)
        .join(assets, assets.c.content_hash == uses.c.content_hash)
        .where(_of(session), _living(now), uses.c.sequence > after)
        .order_by(uses.c.sequence)
        .limit(most)
    ).all()
    said = kept.named(connection, {row.content_hash for row in found})
    there = [row for row in found if row.content_hash in said]
    return totals, [Turn(*row[:4], own_first(said[row.content_hash], row.path)) for row in there]


def listed(
    connection: Connection, owner: Session, before: tuple[float, int] | None, most: int, now: float
) -> Sequence[Listed]:
    """The sessions of a tenant, or of one of its users, the latest first, at most so many; `owner` is any of them.
    Those that come after the one of that time and id, where one is told."""
    theirs = (sessions.c.tenant == owner.tenant) & (
        sessions.c.owner.is_(None) if owner.user is None else sessions.c.owner == owner.user
    )
    if before is not None:
        at, row_id = before
        theirs &= or_(sessions.c.last_at < at, and_(sessions.c.last_at == at, sessions.c.id < row_id))
    said = uses.join(assets, assets.c.content_hash == uses.c.content_hash)
    heard = exists().select_from(said).where(uses.c.kind == TURN, uses.c.name == sessions.c.name, _living(now))
    rows = connection.execute(
        select(sessions.c.id, sessions.c.name, sessions.c.session, sessions.c.last_at)
        .where(theirs, sessions.c.last_at.is_not(None), heard)
        .order_by(sessions.c.last_at.desc(), sessions.c.id.desc())
        .limit(most)
    ).all()
    totals = _totals(connection, [row.name for row in rows], now)
    return [
        Listed(row.id, Session(owner.tenant, row.session, owner.user), row.last_at, totals[row.name]) for row in rows
    ]


def _heed(connection: Connection, opened: Opened, use: Use) -> bool:
    """Notes in its session's row that there is a turn more, alone with the session; False where it was ended."""
    latest = case((sessions.c.last_at > use.at, sessions.c.last_at), else_=use.at)
    noted = (
        update(sessions)
        .where(sessions.c.id == opened.id, sessions.c.ending.is_(None))
        .values(
            newest=_higher(sessions.c.newest, opened.sequence),
            last_at=latest,
            until=_longer(sessions.c.until, use.keep_until),
        )
    )
    return connection.execute(noted).rowcount == 1


def _refuse(connection: Connection, opened: Opened, asset: Asset, now: float) -> Archived:
    """Undoes what landed for the turn of a session that was ended meanwhile, unless it has begun anew."""
    turn = _of(opened.session) & (uses.c.sequence == opened.sequence) & (uses.c.content_hash == asset.content_hash)
    anew = exists().where(sessions.c.name == opened.session.key, sessions.c.ending.is_(None))
    landing = held(connection, placements.end(connection, turn & ~anew, now), now)
    orphans = {*landing.orphans, *_unnamed(connection, asset)}
    return Archived(False, ended=True, landing=replace(landing, orphans=tuple(orphans)))


def _keep(connection: Connection, asset: Asset, use: Use, now: float) -> Landing:
    """What was recorded, with its row, its blob and its use."""
    (blob,) = asset.blobs
    locks.alone_with_recipe(connection, asset.recipe_hash)
    claimed = placements.claim(connection, asset.content_hash, blob, use, now)
    orphans = kept.keep(connection, asset, replace(use, place=(blob.storage, blob.path)))
    return replace(claimed, orphans=(*claimed.orphans, *orphans))


def _unnamed(connection: Connection, asset: Asset) -> tuple[Blob, ...]:
    return tuple(blob for blob in asset.blobs if not kept.path_in_use(connection, blob))


def _totals(connection: Connection, names: Collection[str], now: float) -> Mapping[str, Totals]:
    """By the names of the turns' uses. What was said twice is counted twice, and lies there once."""
    said: Any = (
        select(
            uses.c.name,
            func.count().label("turns"),
            func.sum(assets.c.duration).label("duration"),
            func.max(assets.c.size).label("size"),
            func.min(uses.c.at).label("began_at"),
            func.max(uses.c.at).label("last_at"),
        )
        .join(assets, assets.c.content_hash == uses.c.content_hash)
        .where(uses.c.kind == TURN, uses.c.name.in_(names), _living(now))
        .group_by(uses.c.name, uses.c.content_hash)
        .subquery()
    )
    summed = select(
        said.c.name,
        func.sum(said.c.turns),
        func.sum(said.c.duration),
        func.sum(said.c.size),
        func.min(said.c.began_at),
        func.max(said.c.last_at),
    ).group_by(said.c.name)
    return {
        name: Totals(int(turns), duration, int(size), began_at, last_at)
        for name, turns, duration, size, began_at, last_at in connection.execute(summed)
    }


def _of(session: Session) -> ColumnElement[bool]:
    return (uses.c.kind == TURN) & (uses.c.name == session.key)


def _living(now: float) -> ColumnElement[bool]:
    return or_(uses.c.keep_until.is_(None), uses.c.keep_until > now)


def _higher(column: ColumnElement[int], number: int) -> ColumnElement[int]:
    return case((column > number, column), else_=number)


def _longer(column: ColumnElement[float | None], until: float | None) -> ColumnElement[Any]:
    """The later of two times, of which None is never."""
    if until is None:
        return null()
    return case((column.is_(None), None), (column > until, column), else_=until)
