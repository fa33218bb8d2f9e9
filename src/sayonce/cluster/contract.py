"""The right to fly one recipe, across processes and machines: the contract."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.errors import ProviderError


class Leases(ABC):
    """Leases on recipes. At any moment at most one holder's fence is the newest, and only the newest lands. Who
    stops renewing loses its lease after `life` seconds. CatalogUnavailable where nobody can decide."""

    #: How long a lease lasts unless renewed, in seconds.
    life: float

    @abstractmethod
    async def take(self, wish: TakeOff) -> Lease | Held | Kept:
        """The lease, with a fence higher than any before; or who holds it; or what is kept already and will do.
        BudgetSpent where the tenant cannot pay."""

    @abstractmethod
    async def renew(self, lease: Lease) -> Lease:
        """The lease for another `life`. FenceLost where it is another's, or was taken away."""

    @abstractmethod
    async def release(self, lease: Lease, failure: ProviderError | None = None) -> None:
        """Gives the lease back without a landing. Idempotent; does nothing to another's. Those who wait for it
        elsewhere learn of `failure`."""

    @abstractmethod
    async def progress(self, recipe_hash: bytes) -> Progress | None:
        """Where another's flight stands; None where nobody flies."""
