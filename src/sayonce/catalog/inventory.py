"""Going through what is kept, a page at a time, while others change it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select

from sayonce.catalog import assets as kept
from sayonce.catalog import upkeep, wishes
from sayonce.catalog.database import Database
from sayonce.catalog.records import Asset, Selection
from sayonce.catalog.tables import assets


class Inventory:
    """`clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def page(self, which: Selection, after: int, most: int) -> tuple[Sequence[Asset], int | None]:
        """At most so many of the selected living assets with ids above `after`, the first made first; and where to go
        on, None at the end."""
        return await self._database.survey(_page, which, after, most, self._clock())


def _page(
    connection: Connection, which: Selection, after: int, most: int, now: float
) -> tuple[Sequence[Asset], int | None]:
    chosen = (assets.c.id > after, wishes.lives(now), *upkeep.criteria(which))
    rows = connection.execute(
        select(assets.c.id, assets.c.content_hash).where(*chosen).order_by(assets.c.id).limit(most)
    ).all()
    found = kept.named(connection, [row.content_hash for row in rows])
    there = [found[row.content_hash] for row in rows if row.content_hash in found]
    return there, rows[-1].id if len(rows) == most else None
