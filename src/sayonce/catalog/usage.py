"""Usage rollups."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from operator import itemgetter

from sqlalchemy import Connection

from sayonce.catalog.records import UsageCount, UsageKey
from sayonce.catalog.tables import usage
from sayonce.catalog.upserts import accumulate

_KEY = ["hour", "tenant", "upstream", "model", "voice"]
_COUNTS = ["hits", "joined", "misses", "bypassed", "errors", "characters", "spent_micros", "saved_micros"]


def add(connection: Connection, counted: Mapping[UsageKey, UsageCount]) -> None:
    """Adds what was counted since the last time; any number of processes may."""
    # In one order, so that two processes do not wait for each other.
    rows = sorted(({**asdict(key), **asdict(count)} for key, count in counted.items()), key=itemgetter(*_KEY))
    if rows:
        connection.execute(accumulate(connection, usage, key=_KEY, add=_COUNTS), rows)
