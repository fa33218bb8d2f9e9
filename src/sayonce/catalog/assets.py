"""Queries on assets, their blobs and their uses."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any

from sqlalchemy import Connection, Float, Update, bindparam, case, delete, exists, func, select, update

from sayonce.catalog import changes, locks
from sayonce.catalog.database import Lookup
from sayonce.catalog.records import LASTING, TURN, WISHED, Asset, Blob, Use, owner_of
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import upsert
from sayonce.speech.chunks import Mark
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import Owner, Scope

_columns = (
    assets.c.content_hash,
    assets.c.recipe_hash,
    assets.c.format,
    assets.c.tenant,
    assets.c.scope,
    assets.c.owner,
    assets.c.upstream,
    assets.c.model,
    assets.c.voice,
    assets.c.language,
    assets.c.text,
    assets.c.characters,
    assets.c.size,
    assets.c.digest,
    assets.c.duration,
    assets.c.sample_rate,
    assets.c.marks,
    assets.c.cost_micros,
    assets.c.transcoded,
    assets.c.flags,
    assets.c.made_at,
    assets.c.until,
    blobs.c.storage,
    blobs.c.path,
    blobs.c.digest.label("blob_digest"),
    blobs.c.until.label("blob_until"),
)
_kept = select(*_columns).join(blobs, blobs.c.asset == assets.c.id).order_by(blobs.c.id)

#: The assets of one recipe, one a format, with their blobs.
BY_RECIPE = Lookup(_kept.where(assets.c.recipe_hash == bindparam("recipe_hash")))

#: One asset by its name.
BY_CONTENT = Lookup(_kept.where(assets.c.content_hash == bindparam("content_hash")))


_TOUCH = (
    update(assets)
    .where(assets.c.content_hash == bindparam("key"))
    .values(hits=assets.c.hits + bindparam("more"), used_at=bindparam("now"))
)


_ID = select(assets.c.id).where(assets.c.content_hash == bindparam("named"))
_made = (uses.c.content_hash == assets.c.content_hash) & uses.c.due.is_(None)
_forever = exists().where(_made, uses.c.keep_until.is_(None))
_longest = select(func.max(uses.c.keep_until)).where(_made).scalar_subquery()
#: Lets assets live as long as their longest uses.
RENEWING = update(assets).values(until=case((_forever, None), else_=_longest))
_RENEW = RENEWING.where(assets.c.content_hash == bindparam("named"))


def assets_of(rows: Sequence[Sequence[Any]]) -> tuple[Asset, ...]:
    """The assets of joined rows, a row a blob."""
    if len(rows) == 1:
        return (_asset(rows),)
    grouped: dict[bytes, list[Sequence[Any]]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row)
    return tuple(_asset(copies) for copies in grouped.values())


def kept(connection: Connection, recipe_hash: bytes, now: float) -> tuple[Asset, ...]:
    """The living assets of a recipe, within a transaction."""
    rows = connection.execute(BY_RECIPE.statement, {"recipe_hash": recipe_hash}).all()
    return tuple(asset for asset in assets_of(rows) if asset.lives(now))


def named(connection: Connection, content_hashes: Iterable[bytes]) -> Mapping[bytes, Asset]:
    """The assets of these names, within a transaction."""
    rows = connection.execute(_kept.where(assets.c.content_hash.in_(list(content_hashes)))).all()
    return {asset.content_hash: asset for asset in assets_of(rows)}


def keep(connection: Connection, asset: Asset, use: Use) -> tuple[Blob, ...]:
    """Writes the asset's row, its blobs' and its use's, in place of what was kept under its content hash. Answers
    the blobs that no row names any more."""
    there = connection.execute(_ID, {"named": asset.content_hash}).scalar_one_or_none()
    before = () if there is None else _blobs(connection, assets.c.id == there)
    row = row_of(asset)
    placed = upsert(connection, assets, key=["content_hash"], replace=list(row), returning=assets.c.id)
    key = connection.execute(placed, row).scalar_one()
    if before:
        connection.execute(delete(blobs).where(blobs.c.asset == key))
    copied = upsert(connection, blobs, key=["storage", "path"], replace=["asset", "digest", "until"])
    connection.execute(copied, [_copy(key, blob) for blob in asset.blobs])
    fulfilled = fulfil(connection, asset, there=bool(before))
    if use.kind == WISHED and fulfilled:
        renew_until(connection, asset.content_hash)
    else:
        plain = replace(use, kind="request") if use.kind == WISHED else use
        add_use(connection, asset.content_hash, plain, asset.made_at)
    return _unnamed(before, asset.blobs)


def put_use(connection: Connection, content_hash: bytes, use: Use, now: float, further: Mapping[str, object]) -> None:
    """Writes a use down, or anew, with these further columns."""
    key = {"content_hash": content_hash, "kind": use.kind, "name": use.name, "sequence": use.sequence}
    told = {
        "speaker": use.speaker,
        "at": now if use.at is None else use.at,
        "keep_until": use.keep_until,
        "sliding": use.sliding,
        "pinned": use.pinned,
        **further,
    }
    connection.execute(upsert(connection, uses, key=list(key), replace=list(told)), key | told)


def add_use(connection: Connection, content_hash: bytes, use: Use, now: float) -> None:
    """Adds or renews a use, and lets the asset live as long as its longest one."""
    place = {"storage": use.place and use.place[0], "path": use.place and use.place[1]}
    put_use(connection, content_hash, use, now, place)
    renew_until(connection, content_hash)


def fulfil(connection: Connection, asset: Asset, *, there: bool) -> bool:
    """Nobody need make what is made now; from now on it is kept for as long as was wished. What it took to make it
    is erased, but for what may be to be made again: of that, too, where texts are not kept. `there` is whether it
    was made before. Whether anybody wished for it."""
    fulfilling = _fulfilling(there, asset.text is not None)
    return connection.execute(fulfilling, {"named": asset.content_hash, "made": asset.made_at}).rowcount > 0


@cache
def _fulfilling(there: bool, again: bool) -> Update:
    made = bindparam("made", type_=Float)
    wished = uses.c.due.is_not(None) if there else uses.c.request.is_not(None)
    return (
        update(uses)
        .where(uses.c.content_hash == bindparam("named"), wished)
        .values(
            request=case((uses.c.kind.in_(LASTING), uses.c.request)) if again else None,
            due=None,
            failure=None,
            at=made,
            keep_until=made + (uses.c.keep_until - uses.c.at),
        )
    )


def renew_until(connection: Connection, content_hash: bytes) -> None:
    """Lets the asset live as long as its longest use."""
    connection.execute(_RENEW, {"named": content_hash})


def remove_recipe(connection: Connection, recipe_hash: bytes, now: float) -> tuple[Blob, ...]:
    """Deletes every asset of the recipe, with all uses; answers the blobs that no row names any more."""
    ours = select(assets.c.content_hash).where(assets.c.recipe_hash == recipe_hash)
    connection.execute(delete(uses).where(uses.c.content_hash.in_(ours), uses.c.due.is_(None)))
    return remove(connection, assets.c.recipe_hash == recipe_hash, now)


def remove_variants(connection: Connection, recipe_hash: bytes, besides: bytes, now: float) -> tuple[Blob, ...]:
    """As `remove_recipe`, but for the asset `besides`, a content hash: that becomes what sessions' turns are heard
    by, which outlast a refresh."""
    other = (assets.c.recipe_hash == recipe_hash) & (assets.c.content_hash != besides)
    return remove(connection, other, now, heir=besides)


def drop_blob(connection: Connection, content_hash: bytes, blob: Blob, now: float) -> None:
    """Forgets a blob that is definitely gone or broken; an asset without blobs goes with it, its uses stay."""
    found = recipe_and_owner(connection, content_hash)
    if found is not None:
        locks.alone_with_recipe(connection, found[0])
    key = connection.execute(select(assets.c.id).where(assets.c.content_hash == content_hash)).scalar_one_or_none()
    if key is None:
        return
    same = (blobs.c.asset == key) & (blobs.c.storage == blob.storage) & (blobs.c.path == blob.path)
    connection.execute(delete(blobs).where(same, blobs.c.digest == blob.digest))
    if connection.execute(select(func.count()).where(blobs.c.asset == key)).scalar_one() == 0:
        connection.execute(delete(assets).where(assets.c.id == key))
        changes.append(connection, "asset", content_hash.hex(), now)


def touch(connection: Connection, served: Mapping[bytes, int], now: float) -> None:
    """Adds the hits that were counted since the last time, and when that was."""
    if served:
        # In one order, so that two processes do not wait for each other.
        rows = [{"key": content_hash, "more": hits, "now": now} for content_hash, hits in sorted(served.items())]
        connection.execute(_TOUCH, rows)


def slide(connection: Connection, served: Iterable[bytes], tiers: Mapping[str, float], now: float) -> None:
    """Lets what was served be kept for longer, where its uses say so; and its copies in `tiers`, for so many seconds
    by the storage's name."""
    names = sorted(served)
    sliding = (uses.c.content_hash.in_(names)) & uses.c.sliding.is_not(None)
    kept = sorted(connection.execute(select(uses.c.content_hash).where(sliding).distinct()).scalars())
    if kept:
        connection.execute(update(uses).where(sliding).values(keep_until=now + uses.c.sliding))
    for content_hash in kept:
        renew_until(connection, content_hash)
    for storage, seconds in tiers.items():
        ours = select(assets.c.id).where(assets.c.content_hash.in_(names))
        there = (blobs.c.storage == storage) & blobs.c.asset.in_(ours) & blobs.c.until.is_not(None)
        connection.execute(update(blobs).where(there).values(until=now + seconds))


def recipe_and_owner(connection: Connection, content_hash: bytes) -> tuple[bytes, Owner] | None:
    """The recipe of an asset, and whose it is."""
    row = connection.execute(
        select(assets.c.recipe_hash, assets.c.tenant, assets.c.scope, assets.c.owner).where(
            assets.c.content_hash == content_hash
        )
    ).one_or_none()
    return None if row is None else (row[0], owner_of(row[1], row[2], row[3]))


def path_in_use(connection: Connection, blob: Blob) -> bool:
    """Whether a row names this path: then its bytes must stay."""
    same = (blobs.c.storage == blob.storage) & (blobs.c.path == blob.path)
    return connection.execute(select(func.count()).where(same)).scalar_one() > 0


def remove(connection: Connection, which: Any, now: float, *, heir: bytes | None = None) -> tuple[Blob, ...]:
    """Deletes assets, with uses; answers the blobs that no row names any more. The asset `heir` takes their turns."""
    found = connection.execute(select(assets.c.id, assets.c.content_hash).where(which)).all()
    if not found:
        return ()
    ids, names = [row.id for row in found], [row.content_hash for row in found]
    orphans = _blobs(connection, assets.c.id.in_(ids))
    if heir is not None:
        turns = uses.c.content_hash.in_(names) & (uses.c.kind == TURN)
        connection.execute(update(uses).where(turns).values(content_hash=heir, storage=None, path=None))
    connection.execute(delete(blobs).where(blobs.c.asset.in_(ids)))
    end_uses(connection, names)
    connection.execute(delete(assets).where(assets.c.id.in_(ids)))
    changes.append_all(connection, "asset", [name.hex() for name in names], now)
    return orphans


def end_uses(connection: Connection, names: Sequence[bytes]) -> None:
    """Deletes the uses of assets that are removed; what is yet to be made, or may be to be made again, stays."""
    connection.execute(delete(uses).where(uses.c.content_hash.in_(names), uses.c.request.is_(None)))


def _blobs(connection: Connection, which: Any) -> tuple[Blob, ...]:
    rows = connection.execute(
        select(blobs.c.storage, blobs.c.path, blobs.c.digest, blobs.c.until)
        .join(assets, assets.c.id == blobs.c.asset)
        .where(which)
    )
    return tuple(Blob(*row) for row in rows)


def _unnamed(before: Iterable[Blob], after: Iterable[Blob]) -> tuple[Blob, ...]:
    named = {(blob.storage, blob.path) for blob in after}
    return tuple(blob for blob in before if (blob.storage, blob.path) not in named)


def _copy(asset: int, blob: Blob) -> dict[str, Any]:
    return {
        "asset": asset,
        "storage": blob.storage,
        "path": blob.path,
        "digest": blob.digest,
        "until": blob.until,
    }


def row_of(asset: Asset) -> dict[str, Any]:
    """The columns of an asset, as if it were made and used for the first time."""
    owner = asset.owner
    return {
        "content_hash": asset.content_hash,
        "recipe_hash": asset.recipe_hash,
        "format": str(asset.format),
        "tenant": owner.tenant,
        "scope": str(owner.scope),
        "owner": _owner_name(owner),
        "upstream": asset.upstream,
        "model": asset.model,
        "voice": asset.voice,
        "language": asset.language,
        "text": asset.text,
        "characters": asset.characters,
        "size": asset.size,
        "digest": asset.digest,
        "duration": asset.duration,
        "sample_rate": asset.sample_rate,
        "marks": _dump(asset.marks),
        "cost_micros": asset.cost,
        "transcoded": asset.transcoded,
        "flags": ",".join(sorted(asset.flags)),
        "made_at": asset.made_at,
        "until": asset.until,
        "used_at": asset.made_at,
        "hits": 0,
    }


def _asset(copies: Sequence[Sequence[Any]]) -> Asset:
    row = copies[0]
    return Asset(
        content_hash=row[0],
        recipe_hash=row[1],
        format=AudioFormat.parse(row[2]),
        owner=owner_of(row[3], row[4], row[5]),
        upstream=row[6],
        model=row[7],
        voice=row[8],
        language=row[9],
        text=row[10],
        characters=row[11],
        size=row[12],
        digest=row[13],
        duration=row[14],
        sample_rate=row[15],
        marks=_load(row[16]),
        cost=row[17],
        transcoded=bool(row[18]),
        flags=frozenset(row[19].split(",")) - {""},
        made_at=row[20],
        until=row[21],
        blobs=tuple(Blob(*copy[22:26]) for copy in copies),
    )


def _owner_name(owner: Owner) -> str | None:
    return {Scope.USER: owner.user, Scope.SESSION: owner.session}.get(owner.scope)


def _dump(marks: tuple[Mark, ...]) -> str | None:
    return json.dumps([[m.start, m.end, m.first, m.length, m.kind] for m in marks]) if marks else None


def _load(marks: str | None) -> tuple[Mark, ...]:
    return tuple(Mark(*mark) for mark in json.loads(marks)) if marks else ()
