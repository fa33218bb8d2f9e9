"""All that replicas share in Redis, put together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from limits.aio.storage import RedisStorage

from sayonce.catalog.catalog import Catalog
from sayonce.cluster.alone import NoMemory
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.cluster.meeting import Manner, Meeting
from sayonce.cluster.redis.leases import AnnouncedLeases
from sayonce.cluster.redis.link import Link
from sayonce.cluster.redis.memory import RedisMemory
from sayonce.cluster.redis.relay import RedisRelay
from sayonce.cluster.redis.turns import SharedTurns
from sayonce.cluster.turns import OwnTurns
from sayonce.errors import CatalogError, ClusterUnavailable

# Where it is said that a change log has grown; whose, its readers see.
_CHANGES = "sayonce:changes"


@asynccontextmanager
async def met(catalog: Catalog, manner: Manner, clock: Callable[[], float]) -> AsyncIterator[Meeting]:
    """What replicas share, as long as it is entered."""
    assert manner.url is not None
    link = Link(manner.url, manner.patience, catalog.identity)
    relay = RedisRelay(link)
    counted = RedisStorage(
        "async+redis://", implementation="redispy", key_prefix="sayonce:limits", connection_pool=link.pool
    )
    with suppress(CatalogError):
        await catalog.identity()  # while it is there: all keys carry it
    with link.bell(_CHANGES) as changed:
        tasks = [asyncio.create_task(link.run()), asyncio.create_task(_herald(catalog, link))]
        try:
            yield Meeting(
                leases=AnnouncedLeases(CatalogLeases(catalog, manner.life), link, clock),
                relay=relay,
                memory=RedisMemory(link, manner.keep) if manner.keep else NoMemory(),
                turns=SharedTurns(OwnTurns(manner.limit), link, manner.turns, counted),
                changed=changed,
                trouble=lambda: link.trouble,
            )
        finally:
            await relay.aclose()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await link.aclose()


async def _herald(catalog: Catalog, link: Link) -> None:
    """Tells all replicas when the change log has grown here. Who does not hear it reads the log a little later."""
    grown = asyncio.Event()
    catalog.on_change(grown.set)
    while True:
        await grown.wait()
        grown.clear()
        with suppress(ClusterUnavailable):
            await link.ask(lambda redis: redis.publish(_CHANGES, b""))
