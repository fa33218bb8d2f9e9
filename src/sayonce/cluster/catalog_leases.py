"""Leases on the catalog's rows: what every process on one catalog shares, with nothing else installed."""

from __future__ import annotations

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.cluster import failures
from sayonce.cluster.contract import Leases
from sayonce.errors import ProviderError


class CatalogLeases(Leases):
    """`life` is in seconds."""

    def __init__(self, catalog: Catalog, life: float) -> None:
        self.life = life
        self._catalog = catalog

    async def take(self, wish: TakeOff) -> Lease | Held | Kept:
        return await self._catalog.take_off(wish, self.life)

    async def renew(self, lease: Lease) -> Lease:
        return await self._catalog.renew(lease, self.life)

    async def release(self, lease: Lease, failure: ProviderError | None = None) -> None:
        await self._catalog.release(lease, failure=None if failure is None else failures.written(failure))

    async def withdraw(self, lease: Lease) -> None:
        pass  # the landing gave it back

    async def progress(self, recipe_hash: bytes, fence: int | None = None) -> Progress | None:
        found = await self._catalog.progress(recipe_hash)
        return found if found is not None and fence in (None, found.fence) else None
