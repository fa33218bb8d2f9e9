"""Where processes meet: in the catalog alone, or in Redis, too."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib import import_module

from sayonce.catalog.catalog import Catalog
from sayonce.cluster.alone import NoMemory, Silence
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.cluster.contract import Leases, Relay, SharedMemory, Turns
from sayonce.cluster.turns import OwnTurns


@dataclass(frozen=True, slots=True)
class Manner:
    """How processes meet. Times are in seconds; `url` is Redis', None where there is none."""

    life: float  # of a lease
    url: str | None = None
    patience: float = 0.5  # how long an answer of Redis is waited for
    keep: float = 0.0  # how long audio stays in Redis; 0: it does not enter
    turns: Mapping[str, int] = field(default_factory=dict)  # requests at a time that an upstream takes
    limit: str | None = None  # how often a tenant may have something spoken anew


@dataclass(frozen=True, slots=True)
class Meeting:
    """What processes share. `changed` is set when the change log may have grown; `trouble` tells why Redis does not
    answer, by an error's code, and is None where there is none."""

    leases: Leases
    relay: Relay
    memory: SharedMemory
    turns: Turns
    changed: asyncio.Event
    trouble: Callable[[], str | None] | None = None


@asynccontextmanager
async def met(catalog: Catalog, manner: Manner, clock: Callable[[], float]) -> AsyncIterator[Meeting]:
    """What processes share, as long as it is entered. `clock` gives seconds since 1970. InvalidSettings where the URL
    is none, MissingExtra where what it needs is not installed."""
    leases, turns = CatalogLeases(catalog, manner.life), OwnTurns(manner.limit)
    alone = Meeting(leases, Silence(), NoMemory(), turns, asyncio.Event())
    if manner.url is None:
        yield alone
        return
    redis = import_module("sayonce.cluster.redis.meeting")  # only where it is wanted: it is an extra
    async with redis.met(catalog, manner, clock) as meeting:
        yield meeting
