"""What processes and machines share, besides the catalog's rows: the contracts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TypeAlias

from sayonce.catalog.records import Held, Kept, Lease, Progress, TakeOff
from sayonce.errors import ProviderError
from sayonce.speech.chunks import Chunk
from sayonce.speech.formats import AudioFormat


class Leases(ABC):
    """Leases on recipes. At any moment at most one holder's fence is the newest, and only the newest lands. Who
    stops renewing loses its lease after `life` seconds. CatalogUnavailable where nobody can decide."""

    #: How long a lease lasts unless renewed, in seconds.
    life: float

    @abstractmethod
    async def take(self, wish: TakeOff) -> Lease | Held | Kept:
        """The lease, with a fence higher than any before; or who holds it; or what is kept already and will do. A
        lease of last resort, where no catalog can tell but replicas still meet. BudgetSpent where the tenant cannot
        pay."""

    @abstractmethod
    async def renew(self, lease: Lease) -> Lease:
        """The lease for another `life`. FenceLost where it is another's, or was taken away."""

    @abstractmethod
    async def release(self, lease: Lease, failure: ProviderError | None = None) -> None:
        """Gives the lease back without a landing. Idempotent; does nothing to another's. Those who wait for it
        elsewhere learn of `failure`."""

    @abstractmethod
    async def withdraw(self, lease: Lease) -> None:
        """Says no longer that its holder flies: the flight is over, however it ended. Idempotent; raises nothing."""

    @abstractmethod
    async def progress(self, recipe_hash: bytes, fence: int | None = None) -> Progress | None:
        """Where the flight of that fence, or any, stands; None where it is over."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A flight has begun to say its audio in this format."""

    format: AudioFormat


@dataclass(frozen=True, slots=True)
class Beat:
    """A flight still flies, although nothing comes."""


@dataclass(frozen=True, slots=True)
class Over:
    """A flight has said all, or it failed."""

    failure: ProviderError | None = None


News: TypeAlias = Begun | Chunk | Beat | Over


class Hearing(ABC):
    """What one flight elsewhere says, from its beginning."""

    @abstractmethod
    async def next(self) -> News | None:
        """What it said next, waited for. None when it is time to ask the lease: nothing may come any more."""


class Relay(ABC):
    """What flights say, live to those who wait for it in other processes. It may lose everything at any time: the
    lease tells where a flight stands, and the catalog what it brought. Nothing here raises."""

    @abstractmethod
    def say(self, lease: Lease, audio_format: AudioFormat, chunks: Callable[[], AsyncIterator[Chunk]]) -> None:
        """Says in the background what `chunks` gives, which begins at the beginning each time it is called, and how
        it ends."""

    @abstractmethod
    def hear(self, recipe_hash: bytes, fence: int) -> AbstractAsyncContextManager[Hearing]:
        """Hears the flight of that fence, whether it has begun or not."""

    @abstractmethod
    async def aclose(self) -> None:
        """Ends, once what was said to its end is said, or has been waited for a moment."""


class SharedMemory(ABC):
    """Bytes that any replica fetched or made, for a while, by their digest. It may forget. Nothing here raises."""

    @abstractmethod
    async def get(self, digest: bytes) -> bytes | None:
        """The bytes of that digest."""

    @abstractmethod
    async def put(self, digest: bytes, data: bytes) -> None:
        """Remembers them."""

    @abstractmethod
    async def forget(self, digest: bytes) -> None:
        """Drops them."""


class Turns(ABC):
    """Who may ask a vendor now that takes only so many requests at a time, and who has had enough spoken anew."""

    @abstractmethod
    def at(self, upstream: str) -> AbstractAsyncContextManager[None]:
        """Waits for a turn at an upstream, and has it inside."""

    @abstractmethod
    async def count(self, tenant: str) -> None:
        """Counts a text that a tenant has spoken anew; RateLimited where that is one too many."""
