"""The change log: what everybody's memory must forget."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select

from sayonce.catalog import locks
from sayonce.catalog.database import Lookup
from sayonce.catalog.records import Change
from sayonce.catalog.tables import changes

_GREW = "sayonce changes"

#: Entries that came after one.
SINCE = Lookup(
    select(changes.c.sequence, changes.c.kind, changes.c.subject)
    .where(changes.c.sequence > bindparam("sequence"))
    .order_by(changes.c.sequence)
    .limit(1_000)
)

#: The newest entry's number.
NEWEST = Lookup(select(func.max(changes.c.sequence)))


def append(connection: Connection, kind: str, subject: str, now: float) -> None:
    """Adds an entry, within the transaction that changes what it tells of."""
    append_all(connection, kind, [subject], now)


def append_all(connection: Connection, kind: str, subjects: Sequence[str], now: float) -> None:
    """Adds an entry for each, likewise."""
    if subjects:
        locks.alone_with_changes(connection)
        connection.info[_GREW] = True
        connection.execute(insert(changes), [{"kind": kind, "subject": subject, "at": now} for subject in subjects])


def grew(connection: Connection) -> bool:
    """Whether this connection's transaction has added an entry; asked once, before its end."""
    return bool(connection.info.pop(_GREW, False))


def trim(connection: Connection, before: float) -> None:
    """Deletes entries that every living process has long read."""
    connection.execute(delete(changes).where(changes.c.at < before))


def changes_of(rows: Sequence[tuple[Any, ...]]) -> tuple[Change, ...]:
    """The records of a lookup's rows."""
    return tuple(Change(*row) for row in rows)
