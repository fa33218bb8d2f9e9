"""Bytes in the catalog's database, a row a blob."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import Connection, bindparam, delete, select

from sayonce.catalog.database import Database, Lookup
from sayonce.catalog.tables import stored
from sayonce.catalog.upserts import upsert

_here = (stored.c.storage == bindparam("storage")) & (stored.c.path == bindparam("path"))

BYTES = Lookup(select(stored.c.data).where(_here))
METADATA = Lookup(select(stored.c.metadata).where(_here))
PAGE = Lookup(
    select(stored.c.path, stored.c.size, stored.c.modified)
    .where(stored.c.storage == bindparam("storage"))
    .where(stored.c.path > bindparam("after"), stored.c.path >= bindparam("first"), stored.c.path < bindparam("last"))
    .order_by(stored.c.path)
    .limit(bindparam("most"))
)


class StoredBytes:
    """What a storage in this database reads and writes. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def put(self, storage: str, path: str, data: bytes, metadata: str) -> None:
        """Makes or replaces a row; a power cut does not undo it."""
        await self._database.write(_put, storage, path, data, metadata, self._clock())

    async def get(self, storage: str, path: str) -> bytes | None:
        """A row's bytes; None where there is none."""
        rows = await self._database.look_up(BYTES, {"storage": storage, "path": path})
        return bytes(rows[0][0]) if rows else None

    async def told(self, storage: str, path: str) -> str | None:
        """A row's metadata; None where there is none."""
        rows = await self._database.look_up(METADATA, {"storage": storage, "path": path})
        return rows[0][0] if rows else None

    async def drop(self, storage: str, path: str) -> None:
        """Deletes a row, if there is one."""
        await self._database.write(_drop, storage, path)

    async def page(self, storage: str, prefix: str, after: str, most: int) -> Sequence[tuple[str, int, float]]:
        """Path, size and time of the rows whose path begins with `prefix` and comes after `after`, in order."""
        # Every path that begins with it comes before it followed by the last character that a path may have.
        span = {"first": prefix, "last": prefix + "\x7f"}
        rows = await self._database.look_up(PAGE, {"storage": storage, "after": after, "most": most, **span})
        return [(row[0], row[1], row[2]) for row in rows]


def _put(connection: Connection, storage: str, path: str, data: bytes, metadata: str, now: float) -> None:
    row = {
        "storage": storage,
        "path": path,
        "data": data,
        "metadata": metadata,
        "size": len(data),
        "modified": now,
    }
    changed = ["data", "metadata", "size", "modified"]
    connection.execute(upsert(connection, stored, key=["storage", "path"], replace=changed), row)


def _drop(connection: Connection, storage: str, path: str) -> None:
    connection.execute(delete(stored).where(stored.c.storage == storage, stored.c.path == path))
