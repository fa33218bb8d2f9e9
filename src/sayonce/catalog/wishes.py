"""Queries on what is yet to be made: uses that hold their request. That it is made is told by its asset alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, update

from sayonce.catalog import assets as kept
from sayonce.catalog import locks
from sayonce.catalog.records import Use, Wish
from sayonce.catalog.tables import assets, uses
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope, SpeechRequest

_PLAIN = SpeechRequest(text="")
_TOLD = (
    *("upstream", "model", "voice", "language", "speed", "pitch", "style", "instructions"),
    *("options", "variation", "cleaner", "discreet"),
)


def add(connection: Connection, wanted: Sequence[Wish], now: float) -> list[int | None]:
    """Writes down what is wished for; the id of each use that is yet to be made, None of one whose asset is kept."""
    locks.alone_with_recipe(connection, *(wish.recipe_hash for wish in wanted))
    return [_add(connection, wish, now) for wish in wanted]


def find(connection: Connection, use: int, now: float) -> Wish | None:
    """The wish of that use; None where it is made, or not wished for any more."""
    row = connection.execute(_WISHES.where(uses.c.id == use, _unmade(now))).one_or_none()
    return None if row is None else _wish(row)


def owners(connection: Connection, content_hash: bytes, now: float) -> list[Owner]:
    """For whom the asset of that content hash is yet to be made."""
    rows = connection.execute(_WISHES.where(uses.c.content_hash == content_hash, _unmade(now)))
    return [_wish(row).request.owner for row in rows]


def unmade(connection: Connection, after: int, most: int, now: float) -> list[int]:
    """The ids of uses that are due and yet to be made, in their order from `after` on, at most so many."""
    due = select(uses.c.id).where(_unmade(now), uses.c.at <= now, uses.c.id > after)
    return list(connection.execute(due.order_by(uses.c.id).limit(most)).scalars())


def postpone(connection: Connection, use: int, until: float) -> None:
    """Lets a use be due only at that time. How long it will be kept does not change."""
    wished = (uses.c.id == use) & uses.c.request.is_not(None)
    later = uses.c.keep_until + (until - uses.c.at)
    connection.execute(update(uses).where(wished).values(at=until, keep_until=later))


def give_up(connection: Connection, content_hash: bytes, may: Callable[[Owner], bool]) -> bool:
    """Deletes the uses of an asset that is yet to be made, if it `may` be had; whether there were such."""
    found = connection.execute(_WISHES.where(uses.c.content_hash == content_hash, uses.c.request.is_not(None))).all()
    ids = [row.id for row in found if may(_wish(row).request.owner)]
    connection.execute(delete(uses).where(uses.c.id.in_(ids), uses.c.request.is_not(None)))
    return bool(ids)


def _add(connection: Connection, wish: Wish, now: float) -> int | None:
    if _living(connection, wish.content_hash, now):
        kept.add_use(connection, wish.content_hash, wish.use, now)
        return None
    use = wish.use
    kept.put_use(connection, wish.content_hash, use, now, {"request": _dumped(wish)})
    key = {"content_hash": wish.content_hash, "kind": use.kind, "name": use.name, "sequence": use.sequence}
    return int(connection.execute(select(uses.c.id).filter_by(**key)).scalar_one())


def _living(connection: Connection, content_hash: bytes, now: float) -> bool:
    found = select(assets.c.id).where(assets.c.content_hash == content_hash, _lives(now))
    return connection.execute(found).one_or_none() is not None


def _unmade(now: float) -> ColumnElement[bool]:
    made = exists().where(assets.c.content_hash == uses.c.content_hash, _lives(now))
    return uses.c.request.is_not(None) & ~made


def _lives(now: float) -> ColumnElement[bool]:
    return or_(assets.c.until.is_(None), assets.c.until > now)


_WISHES = select(
    uses.c.id,
    uses.c.content_hash,
    uses.c.kind,
    uses.c.name,
    uses.c.sequence,
    uses.c.speaker,
    uses.c.keep_until,
    uses.c.sliding,
    uses.c.pinned,
    uses.c.at,
    uses.c.request,
)


def _wish(row: Any) -> Wish:
    told: dict[str, Any] = json.loads(row.request)
    request = SpeechRequest(
        text=told["text"],
        format=AudioFormat.parse(told["format"]),
        owner=Owner(told["tenant"], Scope(told["scope"]), told.get("user"), told.get("session")),
        **{name: told[name] for name in _TOLD if name in told},
    )
    use = Use(row.kind, row.name, row.sequence, row.speaker, row.keep_until, row.sliding, bool(row.pinned), row.at)
    return Wish(row.content_hash, bytes.fromhex(told["recipe"]), request, use)


def _dumped(wish: Wish) -> str:
    """All that differs from a plain request."""
    request, owner = wish.request, wish.request.owner
    told = {name: getattr(request, name) for name in _TOLD if getattr(request, name) != getattr(_PLAIN, name)}
    named = {"user": owner.user, "session": owner.session}
    told |= {name: value for name, value in named.items() if value is not None}
    told |= {"text": request.text, "format": str(request.format), "tenant": owner.tenant, "scope": str(owner.scope)}
    return json.dumps(told | {"recipe": wish.recipe_hash.hex()}, ensure_ascii=False)
