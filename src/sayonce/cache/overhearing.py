"""A flight of another replica, heard here: its listeners here are this replica's flight's."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from sayonce.audio.tail import rest_of
from sayonce.cache.finder import Finder
from sayonce.cache.flights import Flight
from sayonce.cache.orders import Clip, Outcome
from sayonce.cache.takes import Take
from sayonce.catalog.records import Held, Progress
from sayonce.cluster import failures
from sayonce.cluster.contract import Beat, Begun, Hearing, Leases, Over, Relay
from sayonce.errors import CatalogError, ClusterError, ProviderUnavailable, StorageError
from sayonce.speech.chunks import Chunk

# After so many seconds in which a flight elsewhere has not even said that it flies, it may be dead.
_SILENT = 2.0


class Overhearing:
    """`largest` is in bytes; `clock` gives seconds since 1970."""

    def __init__(
        self, leases: Leases, relay: Relay, finder: Finder, clock: Callable[[], float], *, largest: int
    ) -> None:
        self._leases = leases
        self._relay = relay
        self._finder = finder
        self._clock = clock
        self._largest = largest

    async def hear(self, flight: Flight, held: Held) -> Clip | Take | None:
        """Passes on what the other flight says, from its first byte, and returns when it is over: what it brought,
        as it came, where all of it was heard, or as it is kept; else None, and the catalog tells. Raises its failure,
        where it told one. Where its replica dies, who has heard something is told so; None where nobody has."""
        flight.outcome = Outcome.JOINED
        anew = flight.order.steering.no_cache and not held.refresh
        async with self._relay.hear(flight.order.recipe.hash, held.fence) as hearing:
            with closing(_Ear(flight, self._largest, deaf=anew)) as ear:
                return await self._hear(ear, hearing, held)

    async def _hear(self, ear: _Ear, hearing: Hearing, held: Held) -> Clip | Take | None:
        lives = held.expires
        while True:
            match await hearing.next():
                case Over(failure):
                    if failure is not None:
                        raise failure
                    if ear.listens:
                        return await ear.end()
                    # its lease tells when it has landed
                case Begun() | Chunk() | Beat() as news:
                    lives = self._clock() + self._leases.life
                    await ear.heed(news)
                case None:
                    ear.notice_silence()
                    seen = await self._seen(ear.flight, held, lives)
                    if (seen is None or (seen.over and ear.deaf)) and not ear.flight.begun:
                        return None
                    if seen is None:
                        rest = await self._rest(ear)
                        if rest is not None:
                            return rest
                        # it may have landed nowhere, and be said to its end
                    elif seen.failure is not None:
                        raise failures.read(seen.failure)
                    if (lives if seen is None else seen.expires) <= self._clock():
                        _refuse_half(ear.flight)
                        return None

    async def _seen(self, flight: Flight, held: Held, lives: float) -> Progress | None:
        """Where the other flight stands; as it was last heard of, where nobody can tell and somebody listens."""
        try:
            return await self._leases.progress(flight.order.recipe.hash, held.fence)
        except (CatalogError, ClusterError):
            if not flight.begun:
                raise
            return Progress(held.fence, lives, None)

    async def _rest(self, ear: _Ear) -> Clip | None:
        """It was heard in part, and is over: the rest is read from what is kept. None where nobody can tell."""
        try:
            kept = await self._finder.find(ear.flight.order)
        except (CatalogError, StorageError):
            return None
        rest = None if kept is None else rest_of(kept.data, bytes(ear.passed), kept.asset.format)
        if kept is None or rest is None:
            raise _gone(ear.flight)
        ear.flight.pass_on(rest)
        return kept


class _Ear:
    """What was heard for a flight, made into its format. It closes its ears to a flight that does not suit it."""

    def __init__(self, flight: Flight, largest: int, *, deaf: bool) -> None:
        self.flight = flight
        self.take: Take | None = None
        #: What its listeners have.
        self.passed = bytearray()
        #: Whether it is to hear nothing, but when it is over.
        self.deaf = deaf
        self._largest = largest
        self._heard_at = time.monotonic()

    @property
    def listens(self) -> bool:
        """Whether what the other flight says is passed on."""
        return self.take is not None

    def notice_silence(self) -> None:
        """Nothing came. After a while nobody is to join its listeners any more: its replica may be dead."""
        self.flight.stalled = self.flight.begun and time.monotonic() - self._heard_at > _SILENT

    async def heed(self, news: Begun | Chunk | Beat) -> None:
        """Passes it on."""
        self._heard_at, self.flight.stalled = time.monotonic(), False
        if self.deaf or isinstance(news, Beat):
            return
        if isinstance(news, Begun):
            order = self.flight.order
            self.take = Take(order.provider.upstream.name, news.format, order.format, self._largest)
        elif self.take is not None:
            self._pass(await self.take.add(news), news)

    async def end(self) -> Take:
        """Passes on what is left, when all has come; what came."""
        assert self.take is not None
        self._pass(await self.take.finish(), Chunk(b""))
        return self.take

    def close(self) -> None:
        """Frees what it holds."""
        if self.take is not None:
            self.take.close()

    def _pass(self, piece: bytes, news: Chunk) -> None:
        self.passed += piece
        self.flight.pass_on(piece, news.marks)


def _refuse_half(flight: Flight) -> None:
    """Who has heard the beginning gets no other generation's end."""
    if flight.begun:
        raise _gone(flight)
    flight.outcome = Outcome.MISS


def _gone(flight: Flight) -> ProviderUnavailable:
    name = flight.order.provider.upstream.name
    return ProviderUnavailable(
        f"The replica that heard '{name}' has gone, in the middle of it.", provider=name, remedy="Ask again."
    )
