"""Times that the catalog knows nothing of: nobody used it then, or somebody did, and this is a copy from before.

What landed in a time that a restored copy knows nothing of is named by no row, as what a crash left behind. But
somebody paid for it, so it is not upkeep's to sweep.
"""

from __future__ import annotations

from sqlalchemy import Connection, Float, cast, select, update

from sayonce.catalog.tables import facts
from sayonce.catalog.upserts import insert_or_nothing

#: How often each process says that the catalog is in use, in seconds.
EVERY = 600.0
# After so many seconds without a word nobody used it.
_SILENT = 3 * EVERY
_LAST, _SILENCE = "in use", "silence "


def note(connection: Connection, now: float) -> None:
    """Says that the catalog is in use; where it was not for long, that stays noted."""
    for began, ended in _running(connection, now):
        row = {"name": f"{_SILENCE}{began!r}", "value": repr(ended)}
        connection.execute(insert_or_nothing(connection, facts, row))
    if connection.execute(insert_or_nothing(connection, facts, {"name": _LAST, "value": repr(now)})).rowcount == 0:
        earlier = cast(facts.c.value, Float) < now
        connection.execute(update(facts).where(facts.c.name == _LAST, earlier).values(value=repr(now)))


def all_of(connection: Connection, now: float) -> list[tuple[float, float]]:
    """Every silence, from and to in seconds since 1970."""
    noted = connection.execute(select(facts.c.name, facts.c.value).where(facts.c.name.startswith(_SILENCE)))
    ended = [(float(row.name.removeprefix(_SILENCE)), float(row.value)) for row in noted]
    return ended + _running(connection, now)


def _running(connection: Connection, now: float) -> list[tuple[float, float]]:
    """The silence that nobody has noted the end of yet, if there is one."""
    last = connection.execute(select(facts.c.value).where(facts.c.name == _LAST)).scalar_one_or_none()
    return [(float(last), now)] if last is not None and now - float(last) > _SILENT else []
