"""Queries on places that are somebody's own: a message's file, which another asset takes over when the message
changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, delete, func, select

from sayonce.catalog import changes, locks
from sayonce.catalog.assets import add_use, renew_until
from sayonce.catalog.records import Blob, Use
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import upsert


def claim(connection: Connection, content_hash: bytes, blob: Blob, use: Use, now: float) -> tuple[bytes, ...]:
    """Takes a path and a use from whatever had them before; an asset that is left without a blob goes. Answers the
    content hashes that changed so."""
    locks.alone_with_place(connection, blob.storage, blob.path)
    lost = _of_path(connection, content_hash, blob) | _of_use(connection, content_hash, use)
    locks.alone_with_recipe(connection, *_recipes(connection, lost))
    there = (blobs.c.storage == blob.storage) & (blobs.c.path == blob.path)
    others = select(assets.c.id).where(assets.c.content_hash != content_hash)
    connection.execute(delete(blobs).where(there, blobs.c.asset.in_(others)))
    same = (uses.c.kind == use.kind) & (uses.c.name == use.name) & (uses.c.sequence == use.sequence)
    connection.execute(delete(uses).where(same, uses.c.content_hash != content_hash))
    _drop_empty(connection, lost, now)
    return tuple(lost)


def attach(connection: Connection, content_hash: bytes, blob: Blob, use: Use, now: float) -> tuple[bytes, ...] | None:
    """One more blob and use of what is kept, in place of what was there before; None where it is not kept any more as
    it was. Answers the content hashes that changed so."""
    locks.alone_with_recipe(connection, *_recipes(connection, [content_hash]))
    same = (assets.c.content_hash == content_hash) & (assets.c.digest == blob.digest)
    key = connection.execute(select(assets.c.id).where(same)).scalar_one_or_none()
    if key is None:
        return None
    lost = claim(connection, content_hash, blob, use, now)
    row = {"asset": key, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": blob.until}
    connection.execute(upsert(connection, blobs, row, key=["storage", "path"], replace=["asset", "digest", "until"]))
    add_use(connection, content_hash, use, now)
    return lost


def shelve(connection: Connection, content_hash: bytes, blob: Blob) -> bool:
    """One more copy of what is kept, for a while; False where it is not kept any more as it was."""
    locks.alone_with_recipe(connection, *_recipes(connection, [content_hash]))
    same = (assets.c.content_hash == content_hash) & (assets.c.digest == blob.digest)
    key = connection.execute(select(assets.c.id).where(same)).scalar_one_or_none()
    if key is None:
        return False
    row = {"asset": key, "storage": blob.storage, "path": blob.path, "digest": blob.digest, "until": blob.until}
    connection.execute(upsert(connection, blobs, row, key=["storage", "path"], replace=["asset", "digest", "until"]))
    return True


def _of_path(connection: Connection, content_hash: bytes, blob: Blob) -> set[bytes]:
    found = connection.execute(
        select(assets.c.content_hash)
        .join(blobs, blobs.c.asset == assets.c.id)
        .where(blobs.c.storage == blob.storage, blobs.c.path == blob.path, assets.c.content_hash != content_hash)
    )
    return set(found.scalars())


def _of_use(connection: Connection, content_hash: bytes, use: Use) -> set[bytes]:
    same = (uses.c.kind == use.kind) & (uses.c.name == use.name) & (uses.c.sequence == use.sequence)
    return set(
        connection.execute(select(uses.c.content_hash).where(same, uses.c.content_hash != content_hash)).scalars()
    )


def _recipes(connection: Connection, content_hashes: Iterable[bytes]) -> Sequence[bytes]:
    return (
        connection.execute(select(assets.c.recipe_hash).where(assets.c.content_hash.in_(content_hashes)))
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
            renew_until(connection, content_hash)
        else:
            connection.execute(delete(uses).where(uses.c.content_hash == content_hash))
            connection.execute(delete(assets).where(assets.c.content_hash == content_hash))
        changes.append(connection, "asset", content_hash.hex(), now)
