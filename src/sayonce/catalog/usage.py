"""Usage rollups, and the figures made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, func, literal_column, select

from sayonce.catalog.records import Holding, Statistics, UsageCount, UsageKey
from sayonce.catalog.tables import assets, blobs, usage
from sayonce.catalog.upserts import accumulate

_DAY = 86_400  # seconds
_KEY = ["hour", "tenant", "upstream", "model", "voice"]
_COUNTS = ["hits", "joined", "misses", "bypassed", "errors", "characters", "spent_micros", "saved_micros"]


def add(connection: Connection, counted: Mapping[UsageKey, UsageCount]) -> None:
    """Adds what was counted since the last time; any number of processes may."""
    # In one order, so that two processes do not wait for each other.
    rows = sorted(({**asdict(key), **asdict(count)} for key, count in counted.items()), key=itemgetter(*_KEY))
    if rows:
        connection.execute(accumulate(connection, usage, key=_KEY, add=_COUNTS), rows)


def statistics(connection: Connection, tenant: str | None) -> Statistics:
    """Figures of one tenant, or of all."""
    ours: Any = True if tenant is None else assets.c.tenant == tenant
    number, size, duration = connection.execute(
        select(func.count(), func.sum(assets.c.size), func.sum(assets.c.duration)).select_from(assets).where(ours)
    ).one()
    by_upstream = _by(connection, tenant, usage.c.upstream)
    return Statistics(
        assets=number,
        bytes=int(size or 0),
        duration=duration or 0.0,
        count=_total(by_upstream),
        by_upstream=by_upstream,
        by_voice=_by(connection, tenant, usage.c.upstream + literal_column("'/'") + usage.c.voice),
        by_day=_by_day(connection, tenant),
        by_tenant=_by(connection, tenant, usage.c.tenant),
        by_storage=_by_storage(connection, tenant),
    )


def _by_storage(connection: Connection, tenant: str | None) -> dict[str, Holding]:
    ours: Any = True if tenant is None else assets.c.tenant == tenant
    held = (
        select(blobs.c.storage, func.count(), func.sum(assets.c.size))
        .join(assets, assets.c.id == blobs.c.asset)
        .where(ours)
        .group_by(blobs.c.storage)
        .order_by(blobs.c.storage)
    )
    return {storage: Holding(number, int(size)) for storage, number, size in connection.execute(held)}


def _by(connection: Connection, tenant: str | None, what: Any) -> dict[Any, UsageCount]:
    ours: Any = True if tenant is None else usage.c.tenant == tenant
    sums = [func.sum(usage.c[name]) for name in _COUNTS]
    rows = connection.execute(select(what, *sums).where(ours).group_by(what).order_by(what))
    return {row[0]: UsageCount(*(int(n) for n in row[1:])) for row in rows}


def _by_day(connection: Connection, tenant: str | None) -> dict[str, UsageCount]:
    days = _by(connection, tenant, usage.c.hour - usage.c.hour % literal_column(str(_DAY)))
    return {datetime.fromtimestamp(day, UTC).strftime("%Y-%m-%d"): count for day, count in days.items()}


def _total(counts: Mapping[str, UsageCount]) -> UsageCount:
    total = UsageCount()
    for count in counts.values():
        for name in _COUNTS:
            setattr(total, name, getattr(total, name) + getattr(count, name))
    return total
