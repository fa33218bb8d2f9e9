"""Queries on blobs that another catalog kept, or this one before it was lost."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from sayonce.catalog import assets as kept
from sayonce.catalog import leases, locks
from sayonce.catalog.records import Asset, Blob, Lease, Use
from sayonce.catalog.tables import assets, blobs, uses
from sayonce.catalog.upserts import insert_or_nothing

#: The kind of the use that keeps what was adopted.
ADOPTED = "adopted"


def may_adopt(connection: Connection, asset: Asset) -> bool:
    """Whether nothing else is kept of the asset's recipe than these very bytes, or what was adopted, too."""
    rows = connection.execute(
        select(assets.c.content_hash, assets.c.digest).where(assets.c.recipe_hash == asset.recipe_hash)
    )
    there = {row.content_hash: row.digest for row in rows}
    if asset.content_hash in there:
        return bool(there[asset.content_hash] == asset.digest)
    mine = (uses.c.content_hash.in_(list(there))) & (uses.c.kind == ADOPTED)
    return not there or connection.execute(select(func.count()).where(mine)).scalar_one() > 0


def adopt(connection: Connection, lease: Lease, asset: Asset, use: Use) -> bool:
    """Gives the lease back and keeps the asset, or one more blob of it, if neither its place nor its name is taken;
    whether it did. FenceLost, and nothing changed, where the lease is another's by now."""
    [blob] = asset.blobs
    locks.alone_with_recipe(connection, lease.recipe_hash)
    leases.give_back(connection, lease)
    locks.alone_with_place(connection, blob.storage, blob.path)
    if kept.path_in_use(connection, blob):
        return False
    same = assets.c.content_hash == asset.content_hash
    there = connection.execute(select(assets.c.id, assets.c.digest).where(same)).one_or_none()
    if there is None:
        kept.keep(connection, asset, use)
        return True
    if there.digest == asset.digest:
        connection.execute(insert_or_nothing(connection, blobs, _row(there.id, blob)))
    return bool(there.digest == asset.digest)


def kept_forever(connection: Connection, storage: str) -> int:
    """How many assets of a storage are kept without an end."""
    there = select(blobs.c.asset).where(blobs.c.storage == storage)
    endless = (assets.c.until.is_(None)) & (assets.c.id.in_(there))
    return int(connection.execute(select(func.count()).where(endless)).scalar_one())


def _row(asset: int, blob: Blob) -> dict[str, object]:
    return {
        "asset": asset,
        "storage": blob.storage,
        "path": blob.path,
        "digest": blob.digest,
        "until": blob.until,
    }
