"""Keeps a lease while its holder flies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from sayonce.catalog.records import Lease
from sayonce.cluster.contract import Leases
from sayonce.errors import CatalogUnavailable, FenceLost


@asynccontextmanager
async def renewing(leases: Leases, lease: Lease) -> AsyncIterator[None]:
    """Renews `lease` three times in its life. A lease that was lost is not renewed any more: its fence will not
    land, and whoever listens hears the end all the same."""
    renewal = asyncio.create_task(_renew(leases, lease))
    try:
        yield
    finally:
        renewal.cancel()
        with suppress(asyncio.CancelledError):
            await renewal


async def _renew(leases: Leases, lease: Lease) -> None:
    while True:
        await asyncio.sleep(leases.life / 3)
        try:
            lease = await leases.renew(lease)
        except FenceLost:
            return
        except CatalogUnavailable:
            continue  # It may be back before the lease expires; if not, the landing will tell.
