"""Queries on places that are somebody's own: a message's file, a turn's copy in its session. Another asset takes them
over when the message or the turn changes, and they go with the use that they are there for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from sayonce.catalog import assets as kept
from sayonce.catalog import changes, locks
from sayonce.catalog.records import Blob, Landing, Use
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import upsert

_NOTHING = Landing(())


def claim(connection: Connection, content_hash: bytes, blob: Blob, use: Use, now: float) -> Landing:
    """Takes a path and a use from whatever had them before; what so has neither a blob nor a use any more, goes.
    Answers what changed so."""
    locks.alone_with_place(connection, blob.storage, blob.path)
    held = _same(use) & (uses.c.content_hash != content_hash)
    lost = _of_path(connection, content_hash, blob)
    locks.alone_with_recipe(connection, *_recipes(connection, {*lost, *_named(connection, held)}))
    there = (blobs.c.storage == blob.storage) & (blobs.c.path == blob.path)
    others = select(assets.c.id).where(assets.c.content_hash != content_hash)
    connection.execute(delete(blobs).where(there, blobs.c.asset.in_(others)))
    ended = end(connection, held, now, besides=content_hash)
    _drop_empty(connection, lost.difference(ended.displaced), now)
    return Landing(ended.orphans, tuple(lost.union(ended.displaced)), ended.gone)


def attach(connection: Connection, content_hash: bytes, blob: Blob, use: Use, now: float) -> Landing | None:
    """One more blob and use of what is kept, in place of what was there before; None where it is not kept any more as
    it was. Answers what changed so."""
    locks.alone_with_recipe(connection, *_recipes(connection, [content_hash]))
    same = (assets.c.content_hash == content_hash) & (assets.c.digest == blob.digest)
    key = connection.execute(select(assets.c.id).where(same)).scalar_one_or_none()
    if key is None:
        return None
    use = replace(use, place=(blob.storage, blob.path))
    claimed = claim(connection, content_hash, blob, use, now)
    before = _place_of(connection, content_hash, use)
    row = {"asset": key, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": blob.until}
    connection.execute(upsert(connection, blobs, key=["storage", "path"], replace=["asset", "digest", "until"]), row)
    kept.add_use(connection, content_hash, use, now)
    left = _leave(connection, {content_hash: key}, before)
    changed = [content_hash] if left else []
    changes.append_all(connection, "asset", [name.hex() for name in changed], now)
    orphans = _free(connection, (*claimed.orphans, *left))
    return Landing(orphans, (*claimed.displaced, *changed), claimed.gone)


def shelve(connection: Connection, content_hash: bytes, blob: Blob) -> bool:
    """One more copy of what is kept, for a while; False where it is not kept any more as it was."""
    locks.alone_with_recipe(connection, *_recipes(connection, [content_hash]))
    same = (assets.c.content_hash == content_hash) & (assets.c.digest == blob.digest)
    key = connection.execute(select(assets.c.id).where(same)).scalar_one_or_none()
    if key is None:
        return False
    row = {"asset": key, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": blob.until}
    connection.execute(upsert(connection, blobs, key=["storage", "path"], replace=["asset", "digest", "until"]), row)
    return True


def end(connection: Connection, which: ColumnElement[bool], now: float, *, besides: bytes | None = None) -> Landing:
    """Ends uses, with the copies that lie there for them alone. An asset that no use keeps any more goes, and a
    recipe of which nothing is left but variants; the asset `besides` stays. Answers what changed so."""
    ended = _ended(connection, which)
    if not ended:
        return _NOTHING
    named = {row.content_hash for row in ended}
    removed = _unused(connection, named, besides)
    gone = frozenset(_recipes(connection, removed))
    orphans = kept.remove(connection, assets.c.content_hash.in_(removed), now)
    left = _keys(connection, named - removed)
    _renew_all(connection, left)
    orphans += _leave(connection, left, {(row.storage, row.path) for row in ended if row.path is not None})
    changes.append_all(connection, "asset", [name.hex() for name in sorted(left)], now)
    return Landing(_free(connection, orphans), tuple(named | removed), gone)


def _ended(connection: Connection, which: ColumnElement[bool]) -> list[Any]:
    """The uses that were so ended, each alone with its recipe: another may have added one until then."""
    ended: list[Any] = []
    while named := _named(connection, which):
        locks.alone_with_recipe(connection, *_recipes(connection, named))
        mine = delete(uses).where(which, uses.c.content_hash.in_(list(named)))
        ended += connection.execute(mine.returning(uses.c.content_hash, uses.c.storage, uses.c.path)).all()
    return ended


def _unused(connection: Connection, named: Iterable[bytes], besides: bytes | None) -> set[bytes]:
    """Those of the assets that no use keeps, and every asset of a recipe that only variants are kept of."""
    named, ours = list(named), set(_recipes(connection, named))
    using = select(assets.c.recipe_hash).join(uses, uses.c.content_hash == assets.c.content_hash)
    keeping = (uses.c.kind != "variant") | (uses.c.content_hash == besides)
    living = set(connection.execute(using.where(assets.c.recipe_hash.in_(ours), keeping).distinct()).scalars())
    used = exists().where(uses.c.content_hash == assets.c.content_hash)
    alone = assets.c.content_hash.in_(named) & ~used
    unused = select(assets.c.content_hash).where(alone | assets.c.recipe_hash.in_(ours - living))
    return set(connection.execute(unused).scalars()) - {besides}


def _leave(connection: Connection, keys: Mapping[bytes, int], places: Iterable[tuple[str, str]]) -> tuple[Blob, ...]:
    """Forgets the copies of these assets at `places` that no use names any more; but an asset's last one stays with
    it. Answers what is forgotten."""
    candidates = set(places)
    if not candidates or not keys:
        return ()
    naming = select(uses.c.storage, uses.c.path).where(uses.c.content_hash.in_(list(keys)), uses.c.path.is_not(None))
    candidates -= {(row.storage, row.path) for row in connection.execute(naming)}
    copies = connection.execute(select(blobs).where(blobs.c.asset.in_(list(keys.values())))).all()
    staying = {row.asset for row in copies if row.until is None and (row.storage, row.path) not in candidates}
    going = []
    for row in copies:
        if (row.storage, row.path) in candidates:
            going += [row] if row.asset in staying else []
            staying.add(row.asset)
    connection.execute(delete(blobs).where(blobs.c.id.in_([row.id for row in going])))
    return tuple(Blob(row.storage, row.path, row.digest, row.until) for row in going)


def _free(connection: Connection, orphans: Iterable[Blob]) -> tuple[Blob, ...]:
    return tuple(blob for blob in orphans if not kept.path_in_use(connection, blob))


def _place_of(connection: Connection, content_hash: bytes, use: Use) -> list[tuple[str, str]]:
    """Where a copy lies for that use of the asset as it was before."""
    own = select(uses.c.storage, uses.c.path).where(_same(use), uses.c.content_hash == content_hash)
    return [(row.storage, row.path) for row in connection.execute(own) if row.path is not None]


def _renew_all(connection: Connection, names: Iterable[bytes]) -> None:
    """Lets assets live as long as their longest uses."""
    connection.execute(kept.RENEWING.where(assets.c.content_hash.in_(list(names))))


def _same(use: Use) -> ColumnElement[bool]:
    return (uses.c.kind == use.kind) & (uses.c.name == use.name) & (uses.c.sequence == use.sequence)


def _of_path(connection: Connection, content_hash: bytes, blob: Blob) -> set[bytes]:
    found = connection.execute(
        select(assets.c.content_hash)
        .join(blobs, blobs.c.asset == assets.c.id)
        .where(blobs.c.storage == blob.storage, blobs.c.path == blob.path, assets.c.content_hash != content_hash)
    )
    return set(found.scalars())


def _named(connection: Connection, which: ColumnElement[bool]) -> set[bytes]:
    return set(connection.execute(select(uses.c.content_hash).where(which).distinct()).scalars())


def _keys(connection: Connection, names: Iterable[bytes]) -> dict[bytes, int]:
    wanted = select(assets.c.content_hash, assets.c.id).where(assets.c.content_hash.in_(list(names)))
    return {row.content_hash: row.id for row in connection.execute(wanted)}


def _recipes(connection: Connection, content_hashes: Iterable[bytes]) -> Sequence[bytes]:
    return (
        connection.execute(select(assets.c.recipe_hash).where(assets.c.content_hash.in_(list(content_hashes))))
        .scalars()
        .all()
    )


def _drop_empty(connection: Connection, lost: Iterable[bytes], now: float) -> None:
    for content_hash in lost:
        left = connection.execute(
            select(func.count())
            .select_from(blobs.join(assets, assets.c.id == blobs.c.asset))
            .where(assets.c.content_hash == content_hash)
        ).scalar_one()
        if left:
            kept.renew_until(connection, content_hash)
        else:
            connection.execute(delete(uses).where(uses.c.content_hash == content_hash))
            connection.execute(delete(assets).where(assets.c.content_hash == content_hash))
        changes.append(connection, "asset", content_hash.hex(), now)
