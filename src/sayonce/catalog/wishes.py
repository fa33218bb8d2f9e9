"""Queries on what is yet to be made: uses that hold their request. That it is made is told by its asset alone."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Connection,
    Float,
    bindparam,
    delete,
    exists,
    or_,
    select,
    update,
)

from sayonce.catalog import assets as kept
from sayonce.catalog import locks
from sayonce.catalog.database import Lookup
from sayonce.catalog.records import COLLECTION, LASTING, Use, Wish
from sayonce.catalog.tables import assets, uses
from sayonce.catalog.upserts import upsert
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope, SpeechRequest

_PLAIN = SpeechRequest(text="")
_TOLD = (
    *("upstream", "model", "voice", "language", "speed", "pitch", "style", "instructions"),
    *("options", "variation", "cleaner", "discreet"),
)


def add(connection: Connection, wanted: Sequence[Wish], now: float) -> list[int | None]:
    """Writes down what is wished for, at most a few hundred at a time; the id of each use that is yet to be made,
    None of one whose asset is kept. Of one use what is told last holds."""
    if not wanted:
        return []
    locks.alone_with_recipe(connection, *(wish.recipe_hash for wish in wanted))
    living = _living(connection, wanted, now)
    settled = _settled(connection, wanted) if living else {}

    def stands(wish: Wish) -> bool:
        forever = wish.content_hash in living and wish.use.keep_until is None
        return forever and settled.get(_key_of(wish), _NOWHERE) == wish.use.speaker

    rows = {_key_of(wish): _row(wish, now, kept=wish.content_hash in living) for wish in wanted if not stands(wish)}
    if not rows:
        return [None for _ in wanted]
    connection.execute(upsert(connection, uses, key=_KEY, replace=_TOLD_OF), list(rows.values()))
    for content_hash in {wish.content_hash for wish in wanted if living.get(wish.content_hash) is not None}:
        kept.renew_until(connection, content_hash)  # what is kept forever need not be reckoned
    ids = _ids(connection, wanted)
    _end_moved(connection, ids, rows)
    return [None if wish.content_hash in living else ids[_key_of(wish)] for wish in wanted]


def wish_of(rows: Sequence[Sequence[Any]]) -> Wish | None:
    """The wish that `WISHED` has found; None where it is made, or not wished for any more."""
    if not rows or rows[0][-1]:
        return None
    row: Any = _Row(*rows[0][:-1])
    return None if row.due is None else _wish(row)


def those(connection: Connection, which: ColumnElement[bool], most: int) -> list[tuple[int, Wish]]:
    """At most so many of these uses, by their ids: each holds its request."""
    rows = connection.execute(_WISHES.where(which).order_by(uses.c.id).limit(most))
    return [(row.id, _wish(row)) for row in rows]


def owners(connection: Connection, content_hash: bytes, now: float) -> list[Owner]:
    """For whom the asset of that content hash is yet to be made."""
    rows = connection.execute(_WISHES.where(uses.c.content_hash == content_hash, _unmade(now)))
    return [_wish(row).request.owner for row in rows]


def unmade(connection: Connection, after: int, most: int, now: float) -> list[int]:
    """The ids of uses that are due and yet to be made, in their order from `after` on, at most so many."""
    due = select(uses.c.id).where(_unmade(now), uses.c.due <= now, uses.c.id > after)
    return list(connection.execute(due.order_by(uses.c.id).limit(most)).scalars())


def postpone(connection: Connection, use: int, until: float, failure: str | None) -> None:
    """Lets a use be due only at that time, and notes why it could not be made."""
    wished = (uses.c.id == use) & uses.c.due.is_not(None)
    connection.execute(update(uses).where(wished).values(due=until, failure=failure))


def give_up(connection: Connection, content_hash: bytes, may: Callable[[Owner], bool]) -> bool:
    """Deletes the uses of an asset that is yet to be made, if it `may` be had; whether there were such."""
    asked_for = (uses.c.content_hash == content_hash) & uses.c.request.is_not(None)
    found = connection.execute(_WISHES.where(asked_for)).all()
    ids = [row.id for row in found if may(_wish(row).request.owner)]
    connection.execute(delete(uses).where(uses.c.id.in_(ids), uses.c.request.is_not(None)))
    return bool(ids)


def lives(now: float | BindParameter[float]) -> ColumnElement[bool]:
    """Whether an asset may still be served."""
    return or_(assets.c.until.is_(None), assets.c.until > now)


def _unmade(now: float) -> ColumnElement[bool]:
    return uses.c.due.is_not(None) & ~_made(now)


def _made(now: float | BindParameter[float]) -> ColumnElement[bool]:
    return exists().where(assets.c.content_hash == uses.c.content_hash, lives(now))


def _living(connection: Connection, wanted: Sequence[Wish], now: float) -> dict[bytes, float | None]:
    """Until when what is kept of them is."""
    names = {wish.content_hash for wish in wanted}
    there = select(assets.c.content_hash, assets.c.until).where(assets.c.content_hash.in_(names), lives(now))
    return {row.content_hash: row.until for row in connection.execute(there)}


_Key: TypeAlias = tuple[bytes, str, str, int]
_NOWHERE = object()
_KEY = ("content_hash", "kind", "name", "sequence")
_TOLD_OF = ["speaker", "at", "keep_until", "sliding", "pinned", "request", "due", "failure"]


def _key_of(wish: Wish) -> _Key:
    return wish.content_hash, wish.use.kind, wish.use.name, wish.use.sequence


def _row(wish: Wish, now: float, *, kept: bool) -> dict[str, object]:
    use = wish.use
    return {
        **dict(zip(_KEY, _key_of(wish), strict=True)),
        "speaker": use.speaker,
        "at": now if use.at is None else use.at,
        "keep_until": use.keep_until,
        "sliding": use.sliding,
        "pinned": use.pinned,
        "request": None if kept and use.kind not in LASTING else _dumped(wish),
        "due": None if kept else wish.due,
        "failure": None,
    }


def _end_moved(connection: Connection, ids: Mapping[_Key, int], rows: Iterable[_Key]) -> None:
    """A collection says a text once: a use of it that stood elsewhere in it before gives way."""
    places: dict[_Key, set[int]] = {}
    for content_hash, kind, name, sequence in rows:
        if kind == COLLECTION:
            places.setdefault((content_hash, kind, name, 0), set()).add(sequence)
    moved = [use for key, use in ids.items() if key[3] not in places.get((*key[:3], 0), {key[3]})]
    if moved:
        connection.execute(delete(uses).where(uses.c.id.in_(moved)))


def _settled(connection: Connection, wanted: Sequence[Wish]) -> dict[_Key, str | None]:
    """The speakers of those of their uses that stand there already, keep what is made forever, and are to be made by
    nobody."""
    names = {wish.content_hash for wish in wanted}
    columns = [uses.c[name] for name in _KEY]
    stands = uses.c.content_hash.in_(names) & uses.c.due.is_(None) & uses.c.keep_until.is_(None)
    rows = connection.execute(select(*columns, uses.c.speaker).where(stands))
    return {tuple(row[:-1]): row[-1] for row in rows}


def _ids(connection: Connection, wanted: Sequence[Wish]) -> dict[_Key, int]:
    names = {wish.content_hash for wish in wanted}
    columns = [uses.c[name] for name in _KEY]
    rows = connection.execute(select(uses.c.id, *columns).where(uses.c.content_hash.in_(names)))
    return {tuple(row[1:]): row[0] for row in rows}


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
    uses.c.due,
)


#: One use, and whether it is made.
WISHED = Lookup(_WISHES.add_columns(_made(bindparam("now", type_=Float))).where(uses.c.id == bindparam("use")))
_Row = NamedTuple("_Row", [(column.name, Any) for column in _WISHES.selected_columns])  # type: ignore[misc]


def _wish(row: Any) -> Wish:
    told: dict[str, Any] = json.loads(row.request)
    request = SpeechRequest(
        text=told["text"],
        format=AudioFormat.parse(told["format"]),
        owner=Owner(told["tenant"], Scope(told["scope"]), told.get("user"), told.get("session")),
        **{name: told[name] for name in _TOLD if name in told},
    )
    use = Use(row.kind, row.name, row.sequence, row.speaker, row.keep_until, row.sliding, bool(row.pinned), row.at)
    return Wish(row.content_hash, bytes.fromhex(told["recipe"]), request, use, row.due)


def _dumped(wish: Wish) -> str:
    """All that differs from a plain request."""
    request, owner = wish.request, wish.request.owner
    told = {name: getattr(request, name) for name in _TOLD if getattr(request, name) != getattr(_PLAIN, name)}
    named = {"user": owner.user, "session": owner.session}
    told |= {name: value for name, value in named.items() if value is not None}
    told |= {"text": request.text, "format": str(request.format), "tenant": owner.tenant, "scope": str(owner.scope)}
    return json.dumps(told | {"recipe": wish.recipe_hash.hex()}, ensure_ascii=False)
