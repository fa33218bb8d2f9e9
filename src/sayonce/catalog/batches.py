"""The leases of many recipes at once, under one fence: who works through a catalog is alone with what it works on."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select, update

from sayonce.catalog import leases as flights
from sayonce.catalog.records import Asset
from sayonce.catalog.tables import leases


def flying(connection: Connection, recipes: Iterable[bytes], now: float) -> set[bytes]:
    """Those of the recipes whose lease somebody has."""
    held = leases.c.recipe_hash.in_(list(recipes)) & (leases.c.expires > now) & leases.c.failure.is_(None)
    return set(connection.execute(select(leases.c.recipe_hash).where(held)).scalars())


def take(connection: Connection, wanted: Iterable[Asset], holder: str, expires: float) -> int:
    """The leases of these assets' recipes, which nobody has, until `expires`; their fence. Whoever asks is alone with
    the recipes."""
    fence = flights.next_fence(connection)
    rows = {asset.recipe_hash: _row(asset, fence, holder, expires) for asset in wanted}
    if rows:
        connection.execute(delete(leases).where(leases.c.recipe_hash.in_(list(rows))))
        connection.execute(insert(leases), list(rows.values()))
    return fence


def give_back(connection: Connection, fence: int, recipes: Iterable[bytes]) -> set[bytes]:
    """Ends the fence's leases of these recipes; those of them that it still had."""
    mine = leases.c.recipe_hash.in_(list(recipes)) & (leases.c.fence == fence)
    return set(connection.execute(delete(leases).where(mine).returning(leases.c.recipe_hash)).scalars())


def renew(connection: Connection, fence: int, expires: float) -> None:
    """Lets all that the fence still has last until `expires`."""
    connection.execute(update(leases).where(leases.c.fence == fence).values(expires=expires))


def release(connection: Connection, fence: int) -> None:
    """Gives back all that the fence still has."""
    connection.execute(delete(leases).where(leases.c.fence == fence))


def _row(asset: Asset, fence: int, holder: str, expires: float) -> dict[str, object]:
    row = {"recipe_hash": asset.recipe_hash, "content_hash": asset.content_hash, "tenant": asset.owner.tenant}
    told = {"fence": fence, "holder": holder, "expires": expires, "refresh": True}
    return {**row, **told, "failure": None, "reserved_micros": 0}
