"""Counting what is kept, of all tenants in one go: of one alone it would take as long."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, case, func, literal_column, or_, select

from sayonce.catalog.database import Database
from sayonce.catalog.records import Entry, Holding, Statistics, UsageCount, owner_of
from sayonce.catalog.tables import assets, blobs, usage, uses
from sayonce.speech.requests import Scope

#: How many of a tenant's most used entries are told.
MOST_USED = 10

_DAY = 86_400  # seconds
_COUNTS = tuple(field.name for field in fields(UsageCount))
# So many assets, and so many seconds of usage, are counted at once: each part takes a second at most, and PostgreSQL
# gives no statement more than ten.
_ASSETS, _HOURS = 500_000, 30 * _DAY
# So many rows are read at once; then whoever else waits for the event loop has a turn.
_AT_ONCE = 1_000

_Rows = list[tuple[Any, ...]]


class Counted(NamedTuple):
    """What was counted, as the database tells it: rows that begin with their tenant, any number of them each."""

    kept: _Rows
    pinned: _Rows
    storages: _Rows
    ranked: _Rows
    upstreams: _Rows
    voices: _Rows
    days: _Rows


class _Ends(NamedTuple):
    """Where the rows begin and end: the newest asset's id, the first and the last hour of usage."""

    asset: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Census:
    """What was counted at a time. It took a look at so many `rows`."""

    rows: int
    tenants: Mapping[str, Statistics]
    total: Statistics

    def of(self, tenant: str | None) -> Statistics:
        """A tenant's figures, or those of all."""
        return self.total if tenant is None else self.tenants.get(tenant, Statistics())


class Censuses:
    """What a catalog is asked to count. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def count(self) -> Counted:
        """Counts everything, part by part, so that no part takes long, however much there is; and nothing waits for
        it. `census_of` makes figures of it."""
        found, ends = _nothing(), await self._database.survey(_ends)
        parts = [partial(_kept, first=first) for first in range(0, ends.asset + 1, _ASSETS)]
        parts += [partial(_used, first=hour) for hour in range(ends.first, ends.last + 1, _HOURS)]
        for part in parts:
            for rows, more in zip(found, await self._database.survey(part, now=self._clock()), strict=True):
                rows.extend(more)
        return found

    async def entries(self, ids: Sequence[int]) -> Sequence[Entry]:
        """What is still kept of these, as it is now, the most used first."""
        return await self._database.read(_entries, ids) if ids else ()


def census_of(counted: Counted) -> Census:
    """The figures of each tenant, and of all. With many tenants that takes a while."""
    apart: defaultdict[str, Counted] = defaultdict(_nothing)
    for which, rows in enumerate(counted):
        for row in rows:
            apart[row[0]][which].append(row)
    looked_at = _sum(counted.kept, 1) + _sum(counted.upstreams, 2)
    return Census(looked_at, {name: _figures(apart[name]) for name in sorted(apart)}, _figures(counted))


def _nothing() -> Counted:
    return Counted([], [], [], [], [], [], [])


# ── asking ───────────────────────────────────────────────────────────────────────────────────────


def _ends(connection: Connection) -> _Ends:
    newest, first, last = (
        connection.execute(select(what)).scalar_one()
        for what in (func.max(assets.c.id), func.min(usage.c.hour), func.max(usage.c.hour))
    )
    return _Ends(newest or 0, first or 0, -1 if last is None else last)


def _kept(connection: Connection, first: int, now: float) -> Counted:
    """Of the assets from that id on, with what nobody counts in parts."""
    within = (assets.c.id >= first) & (assets.c.id < first + _ASSETS)
    return _nothing()._replace(
        kept=_rows(connection, _totals(now).where(within)),
        pinned=_rows(connection, _pinned()) if first == 0 else [],
        storages=_rows(connection, _storages().where(within)),
        ranked=_rows(connection, _ranked(within & or_(assets.c.until.is_(None), assets.c.until > now))),
    )


def _used(connection: Connection, first: int, now: float) -> Counted:
    """What was used from that hour on."""
    voice = usage.c.upstream + literal_column("'/'") + usage.c.voice
    day = usage.c.hour - usage.c.hour % literal_column(str(_DAY))
    within = (usage.c.hour >= first) & (usage.c.hour < first + _HOURS)
    return _nothing()._replace(
        upstreams=_rows(connection, _used_by(usage.c.upstream).where(within)),
        voices=_rows(connection, _used_by(voice).where(within)),
        days=_rows(connection, _used_by(day).where(within)),
    )


def _rows(connection: Connection, statement: Select[Any]) -> _Rows:
    found = connection.execute(statement, execution_options={"yield_per": _AT_ONCE})
    return [tuple(row) for part in found.partitions() for row in part]


def _totals(now: float) -> Select[Any]:
    return select(
        assets.c.tenant,
        func.count(),
        func.sum(assets.c.size),
        func.sum(assets.c.duration),
        func.sum(assets.c.hits),
        func.sum(assets.c.hits * assets.c.duration),
        func.sum(case((assets.c.until <= now, 1), else_=0)),
    ).group_by(assets.c.tenant)


def _pinned() -> Select[Any]:
    here = assets.c.content_hash == uses.c.content_hash
    number = func.count(assets.c.id.distinct())
    return select(assets.c.tenant, number).join(uses, here).where(uses.c.pinned).group_by(assets.c.tenant)


def _storages() -> Select[Any]:
    held = select(assets.c.tenant, blobs.c.storage, func.count(), func.sum(assets.c.size))
    return held.join(blobs, blobs.c.asset == assets.c.id).group_by(assets.c.tenant, blobs.c.storage)


def _ranked(within: ColumnElement[bool]) -> Select[Any]:
    """What a tenant shares, at least among its own callers: of a user's or a session's it is not told here."""
    order = (assets.c.hits.desc(), assets.c.id)
    place = func.row_number().over(partition_by=assets.c.tenant, order_by=order).label("place")
    shared = assets.c.scope.in_((Scope.TENANT, Scope.SHARED))
    those = select(assets.c.tenant, assets.c.id, assets.c.hits, place).where(within, assets.c.hits > 0, shared)
    ranked = those.subquery()
    return select(ranked.c.tenant, ranked.c.id, ranked.c.hits).where(ranked.c.place <= MOST_USED)


def _used_by(what: Any) -> Select[Any]:
    sums = [func.sum(usage.c[name]) for name in _COUNTS]
    return select(usage.c.tenant, what, func.count(), *sums).group_by(usage.c.tenant, what)


def _named(ids: Sequence[int]) -> Select[Any]:
    return select(assets).where(assets.c.id.in_(ids)).order_by(assets.c.hits.desc(), assets.c.id)


def _entries(connection: Connection, ids: Sequence[int]) -> Sequence[Entry]:
    return [
        Entry(
            content_hash=row.content_hash,
            owner=owner_of(row.tenant, row.scope, row.owner),
            upstream=row.upstream,
            voice=row.voice,
            text=row.text,
            size=row.size,
            duration=row.duration,
            hits=row.hits,
            used_at=row.used_at,
            until=row.until,
        )
        for row in connection.execute(_named(ids))
    ]


# ── adding up ────────────────────────────────────────────────────────────────────────────────────


def _figures(counted: Counted) -> Statistics:
    """Of one tenant's rows, or of all."""
    by_upstream = _summed((row[1], row[3:]) for row in counted.upstreams)
    by_tenant = _summed((row[0], row[3:]) for row in counted.upstreams)
    by_day = _summed((row[1], row[3:]) for row in counted.days)
    return Statistics(
        assets=_sum(counted.kept, 1),
        bytes=_sum(counted.kept, 2),
        duration=float(sum(row[3] for row in counted.kept)),
        count=next(iter(_summed(("", row[3:]) for row in counted.upstreams).values()), UsageCount()),
        by_upstream=by_upstream,
        by_voice=_summed((row[1], row[3:]) for row in counted.voices),
        by_day={_date(day): count for day, count in by_day.items()},
        by_tenant=by_tenant,
        by_storage=_holdings(counted.storages),
        hits=_sum(counted.kept, 4),
        heard=float(sum(row[5] for row in counted.kept)),
        expired=_sum(counted.kept, 6),
        pinned=_sum(counted.pinned, 1),
        most_used=tuple(row[1] for row in sorted(counted.ranked, key=_rank)[:MOST_USED]),
    )


def _sum(rows: _Rows, column: int) -> int:
    return int(sum(row[column] for row in rows))


def _rank(row: Sequence[Any]) -> tuple[int, int]:
    return -row[2], row[1]


def _summed(rows: Iterable[tuple[Any, Sequence[Any]]]) -> dict[Any, UsageCount]:
    totals: dict[Any, list[int]] = {}
    for name, counts in rows:
        total = totals.setdefault(name, [0] * len(_COUNTS))
        for column, count in enumerate(counts):
            total[column] += int(count)
    return {name: UsageCount(*totals[name]) for name in sorted(totals)}


def _holdings(rows: _Rows) -> dict[str, Holding]:
    held: dict[str, tuple[int, int]] = {}
    for _, storage, number, size in rows:
        before = held.get(storage, (0, 0))
        held[storage] = before[0] + number, before[1] + int(size)
    return {storage: Holding(*held[storage]) for storage in sorted(held)}


def _date(day: int) -> str:
    return datetime.fromtimestamp(day, UTC).strftime("%Y-%m-%d")
