"""From take-off to landing: how one flight is flown.

Whatever happens on the way, everyone who listens is told, once; and what is kept in the end is whole, checked,
and landed under the newest fence.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, replace

import stamina

from sayonce.access.allowance import Allowance
from sayonce.audio.proving import Prover
from sayonce.cache.books import Books, spent_on
from sayonce.cache.checking import checked, flagged, is_plausible
from sayonce.cache.finder import Finder
from sayonce.cache.flights import Flight
from sayonce.cache.hot import HotTier
from sayonce.cache.orders import Clip, Order, Outcome
from sayonce.cache.overhearing import Overhearing
from sayonce.cache.shelf import Berth, Shelf
from sayonce.cache.takes import Take
from sayonce.cache.unkept import Unkept
from sayonce.cache.watch import Watch
from sayonce.catalog.records import Held, Kept, Lease, TakeOff
from sayonce.cluster.contract import Leases, Relay, Turns
from sayonce.cluster.renewal import renewing
from sayonce.errors import (
    BrokenAudio,
    CatalogError,
    CleaningFailed,
    FenceLost,
    InvalidRequest,
    ProviderError,
    ProviderRateLimited,
    ProviderTimeout,
    ProviderUnavailable,
    SayonceError,
    StorageError,
)
from sayonce.speech.normaliser import normalise
from sayonce.telemetry.logs import get_logger

# How long listeners wait for the end of their audio while it is being kept, in seconds.
_GRACE = 2.0
# The first pause before a retry, in seconds; it doubles, with jitter.
_FIRST_PAUSE = 0.2

_log = get_logger("sayonce.pilot")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a pilot is bound by. `holder` names this process; times are in seconds, sizes in bytes."""

    holder: str
    attempts: int  # tries before the first byte was passed on
    patience: float  # the longest Retry-After that is waited for
    longest: float  # the longest that a generation may take
    largest: int  # the most bytes that a generation may bring
    keep_text: bool
    budget: float | None  # in the currency a month, for tenants without one of their own


@dataclass(frozen=True, slots=True)
class Ground:
    """What a flight starts from and lands on, and who hears it elsewhere."""

    leases: Leases
    relay: Relay
    turns: Turns
    prover: Prover
    shelf: Shelf
    finder: Finder
    hot: HotTier
    unkept: Unkept


class Pilot:
    """Flies, any number of flights at once. `allowance` caps what is spent while nothing can be kept."""

    def __init__(
        self, ground: Ground, terms: Terms, allowance: Allowance, watch: Watch, clock: Callable[[], float]
    ) -> None:
        self._ground = ground
        self._terms = terms
        self._allowance = allowance
        self._watch = watch
        self._clock = clock
        self._books = Books(ground.shelf, watch)
        self._overhearing = Overhearing(ground.leases, ground.relay, ground.finder, clock, largest=terms.largest)

    @property
    def unkept(self) -> Unkept:
        """What was flown, or heard, and rests nowhere yet."""
        return self._ground.unkept

    async def ahead(self, order: Order) -> int | None:
        """The fence of another process that speaks this already, and not to refresh it."""
        try:
            seen = await self._ground.leases.progress(order.recipe.hash)
        except CatalogError:
            return None
        if seen is None or seen.refresh or seen.over:
            return None
        return seen.fence if seen.failure is None and seen.expires > self._clock() else None

    async def fly(self, flight: Flight) -> None:
        """Flies to the end. Errors are the listeners'; only a bug or a cancellation is raised as well."""
        try:
            with self._watch.flight(flight):
                await self._fly(flight)
        except SayonceError as error:
            flight.fail(error)
        except asyncio.CancelledError:
            flight.fail(_grounded(flight.order))
            raise
        except Exception:
            flight.fail(SayonceError("Something went wrong inside the gateway.", remedy="Its log tells what."))
            raise

    async def _fly(self, flight: Flight) -> None:
        permit = await self._permit(flight)
        if isinstance(permit, Clip):
            flight.land(permit)
            return
        around = permit is None or permit.last_resort or flight.bypass or not self._ground.shelf.writable
        if around and self._ground.unkept.recall(flight.order) is None:
            self._allowance.spend(len(flight.order.recipe.text), flight.order.provider.price(flight.order.recipe))
        if permit is None:
            await self._fly_unkept(flight)
        else:
            await self._fly_alone(flight, permit)

    async def _fly_alone(self, flight: Flight, lease: Lease) -> None:
        async with renewing(self._ground.leases, lease), self._giving_back(lease):
            if flight.keep:
                self._ground.relay.say(lease, flight.order.format, flight.chunks)
            if lease.last_resort:
                await self._fly_unkept(flight)
            else:
                await self._fly_and_keep(flight, lease)

    # ── take-off ─────────────────────────────────────────────────────────────────────────────────

    async def _permit(self, flight: Flight) -> Lease | Clip | None:
        """The lease; or the audio that somebody else has landed meanwhile; or None, where no catalog can tell."""
        try:
            return await self._take_off(flight)
        except CatalogError as error:
            self._watch.bypass("catalog", error)
            flight.outcome = Outcome.BYPASS
            return None

    async def _take_off(self, flight: Flight) -> Lease | Clip:
        wish = self._wish(flight)
        while True:
            found = await self._ground.leases.take(wish)
            if isinstance(found, Lease):
                flight.takes_off(around=found.last_resort)
                return found
            if isinstance(found, Kept):
                clip = await self._kept(flight)
                if clip is not None:
                    return clip
                if flight.bypass:
                    wish = replace(wish, refresh=True, since=None)
            else:
                self._watch.waits()
                heard = await self._overhearing.hear(flight, found)
                if heard is not None:
                    return heard if isinstance(heard, Clip) else await self._checked(flight, heard, found)
                if found.refresh and wish.refresh:
                    wish = replace(wish, since=flight.asked_at)

    def _wish(self, flight: Flight) -> TakeOff:
        order = flight.order
        return TakeOff(
            recipe_hash=order.recipe.hash,
            content_hash=order.content_hash,
            tenant=order.recipe.owner.tenant,
            holder=self._terms.holder,
            estimate=order.price(order.recipe) or 0,
            refresh=flight.anew,
            any_format=self._ground.finder.transcodes,
            budget=self._terms.budget,
        )

    async def _kept(self, flight: Flight) -> Clip | None:
        """What somebody else has landed; None where it is lost, or its storage does not give it."""
        try:
            clip = await self._ground.finder.find(flight.order)
        except StorageError as error:
            self._watch.bypass("storage", error)
            flight.go_around()
            return None
        if clip is not None and flight.outcome is not Outcome.JOINED:
            flight.outcome = Outcome.HIT
        return clip

    async def _checked(self, flight: Flight, heard: Take, held: Held) -> Clip:
        """What is kept of another's flight that was heard, or else what was heard: in memory, where a part of the
        cache is away."""
        epoch, around = self._ground.hot.epoch, held.fence < 0
        try:
            kept = await self._ground.finder.find(flight.order)
        except (CatalogError, StorageError):
            kept, around = None, True
        clip = kept or await self._clip_of(flight, heard)
        if around and kept is None:
            self._ground.unkept.remember(flight.order, clip, epoch)
        return clip

    # ── in the air ───────────────────────────────────────────────────────────────────────────────

    async def _fly_and_keep(self, flight: Flight, lease: Lease) -> None:
        clip = await self._clip(flight)
        if not flight.keep:
            await self._give_back(lease)
            await self._books.book(flight)
            flight.land(clip)
        elif is_plausible(flight.said, clip):
            await self._land(flight, lease, clip)
        elif await self._believes(flight):
            await self._land(flight, lease, flagged(clip, "implausible"))
        else:
            self._watch.implausible(flight)
            await self._give_back(lease)
            await self._books.book(flight)
            flight.land(clip)

    async def _believes(self, flight: Flight) -> bool:
        try:
            return await self._ground.shelf.believes(flight.order.recipe.hash)
        except CatalogError as error:
            self._watch.bypass("catalog", error)
            return False

    async def _fly_unkept(self, flight: Flight) -> None:
        clip = await self._clip(flight)
        if flight.keep:
            self._ground.unkept.remember(flight.order, clip, self._ground.hot.epoch)
        flight.land(clip)

    async def _clip(self, flight: Flight) -> Clip:
        """What is to be kept: spoken now, or spoken before and not yet kept."""
        order = flight.order
        remembered = self._ground.unkept.recall(order)
        if remembered is not None:
            return remembered
        await self._ground.turns.count(order.recipe.owner.tenant)
        await self._clean(flight)
        with order.breaker.call():
            take = await self._speak(flight)
            try:
                clip = await self._clip_of(flight, take)
            except BrokenAudio:
                await self._books.write_off(flight, take)
                raise
        flight.spoken = True
        return clip

    async def _clip_of(self, flight: Flight, take: Take) -> Clip:
        prover, keep_text = self._ground.prover, self._terms.keep_text
        return await checked(flight.order, flight.said, take, prover, keep_text=keep_text, now=self._clock())

    async def _clean(self, flight: Flight) -> None:
        order = flight.order
        if order.cleaner is None:
            return
        try:
            text = normalise(await order.cleaner.clean(order.recipe.text))
            flight.said = order.provider.check(replace(order.recipe, text=text))
        except InvalidRequest as error:
            raise CleaningFailed(
                f"What the cleaner answered cannot be spoken: {error.message}", provider="cleaner"
            ) from error

    async def _speak(self, flight: Flight) -> Take:
        async for attempt in stamina.retry_context(
            on=lambda error: self._again(flight, error),
            attempts=self._terms.attempts,
            wait_initial=_FIRST_PAUSE,
            timeout=self._terms.longest,
        ):
            with attempt:
                return await self._take(flight)
        raise AssertionError("the last attempt raises")

    def _again(self, flight: Flight, error: Exception) -> bool | float:
        """Whether to try again, or after how many seconds: only before anybody has heard anything."""
        if flight.begun or not isinstance(error, ProviderError) or not error.retryable:
            return False
        self._watch.failed_attempt(flight, error)
        wait = error.retry_after if isinstance(error, ProviderRateLimited) else None
        return True if wait is None else wait <= self._terms.patience and max(wait, 0.001)

    async def _take(self, flight: Flight) -> Take:
        async with self._ground.turns.at(flight.order.provider.upstream.name):
            flight.asks = True
            return await self._asked(flight)

    async def _asked(self, flight: Flight) -> Take:
        order, provider = flight.order, flight.order.provider
        native = provider.native_format(flight.said, order.format)
        take: Take | None = None
        try:
            async with asyncio.timeout(self._terms.longest), provider.speak(flight.said, native) as stream:
                take = Take(provider.upstream.name, stream.format, order.format, self._terms.largest)
                with closing(take):
                    async for chunk in stream.chunks:
                        flight.pass_on(await take.add(chunk), chunk.marks)
                    flight.pass_on(await take.finish())
        except ProviderError:
            await self._books.write_off(flight, take)
            raise
        except TimeoutError as error:
            await self._books.write_off(flight, take)
            raise ProviderTimeout(
                f"'{provider.upstream.name}' did not finish within {self._terms.longest:g} seconds.",
                provider=provider.upstream.name,
                remedy="Ask for a shorter text, or raise the time limit.",
            ) from error
        return take

    # ── landing ──────────────────────────────────────────────────────────────────────────────────

    async def _land(self, flight: Flight, lease: Lease, clip: Clip) -> None:
        keeping = asyncio.create_task(self._keep(flight, lease, clip))
        try:
            await asyncio.wait({keeping}, timeout=_GRACE)
            flight.land(keeping.result() if keeping.done() else clip)
        finally:
            await keeping  # Past the grace nobody waits any more, but it is kept all the same.

    async def _keep(self, flight: Flight, lease: Lease, clip: Clip) -> Clip:
        """The clip as it is kept; as it was where it cannot be."""
        ground, order = self._ground, flight.order
        use = order.use(self._clock())
        clip = Clip(replace(clip.asset, until=use.keep_until), clip.data)
        alone = ground.finder.transcodes or flight.anew
        epoch = ground.hot.epoch
        try:
            if not self._need_not_ask(order, lease):
                await ground.leases.renew(lease)  # A lease that is lost already need not write a blob to learn it.
            with self._watch.keeping(flight):
                path = None if order.placement is None else order.placement.path_of(clip.asset)
                stored = await ground.shelf.keep(
                    lease, clip, Berth(use, path), spent_on(flight), alone=alone, anew=flight.anew
                )
        except FenceLost:
            self._watch.fence_lost(flight)
        except (StorageError, CatalogError) as error:
            self._watch.bypass("storage" if isinstance(error, StorageError) else "catalog", error)
            ground.unkept.remember(order, clip, epoch)
            await self._give_back(lease)
            await self._books.book(flight)
        else:
            self._remember(flight, stored, epoch)
            return stored
        return clip

    def _need_not_ask(self, order: Order, lease: Lease) -> bool:
        """Whether a lease is young, and to write in vain takes nothing's place: then the landing alone may tell."""
        ground = self._ground
        harmless = order.steering.wished and order.placement is None and ground.shelf.names_bytes
        return harmless and self._clock() < lease.expires - ground.leases.life / 2

    def _remember(self, flight: Flight, stored: Clip, epoch: int) -> None:
        hot = self._ground.hot
        if flight.anew and not hot.is_stale(stored, epoch):
            hot.forget_recipe(flight.order.recipe.hash)  # its other formats are of what was kept before
            epoch = hot.epoch
        hot.put(stored, epoch)

    @asynccontextmanager
    async def _giving_back(self, lease: Lease) -> AsyncIterator[None]:
        """Whatever keeps a flight from landing gives its lease back, with the provider's failure if it was one."""
        try:
            yield
        except BaseException as error:
            await asyncio.shield(self._give_back(lease, error if isinstance(error, ProviderError) else None))
            raise
        await self._ground.leases.withdraw(lease)

    async def _give_back(self, lease: Lease, failure: ProviderError | None = None) -> None:
        try:
            await self._ground.leases.release(lease, failure)
        except CatalogError as error:
            _log.warning("lease.left", error=error.code)  # It expires by itself.


def _grounded(order: Order) -> ProviderUnavailable:
    return ProviderUnavailable(
        "The gateway is shutting down.", provider=order.provider.upstream.name, remedy="Ask again in a moment."
    )
