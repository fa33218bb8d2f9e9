"""The story: found, or joined, or spoken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from sayonce.audio.formats import tells_length
from sayonce.cache.answers import Answer, Live, Whole, whole
from sayonce.cache.dubbing import Dubbing, Source, of_clip, of_flight
from sayonce.cache.finder import Finder
from sayonce.cache.flights import Flight
from sayonce.cache.hot import HotTier
from sayonce.cache.orders import Chain, Order, Outcome, Placement
from sayonce.cache.pilot import Pilot
from sayonce.cache.shelf import Berth, Shelf
from sayonce.cache.watch import Watch
from sayonce.errors import (
    BudgetSpent,
    CatalogError,
    CleaningFailed,
    NobodySpoke,
    NotKept,
    ProviderError,
    ProviderTimeout,
    SayonceError,
    StorageError,
)
from sayonce.speech.requests import Owner
from sayonce.telemetry.logs import get_logger

_log = get_logger("sayonce.engine")


class Engine:
    """Says what it is asked to, once. Many requests run at once."""

    def __init__(self, hot: HotTier, shelf: Shelf, finder: Finder, pilot: Pilot, watch: Watch) -> None:
        self._hot = hot
        self._shelf = shelf
        self._finder = finder
        self._pilot = pilot
        self._watch = watch
        self._dubbing = Dubbing(finder)
        self._flights: dict[bytes, Flight] = {}
        self._dubs: dict[bytes, Flight] = {}
        self._filings: set[asyncio.Task[None]] = set()

    async def say(self, chain: Chain) -> Answer:
        """The audio of the first of a chain that has it kept or can speak it: all of it where it is kept, else live
        from its first byte on. Errors are those of the provider, NobodySpoke, NotKept, BudgetSpent; the cache's own
        troubles only mark the answer `bypass`."""
        try:
            return await self._say_in_turn(chain)
        except BudgetSpent:
            kept = await self._kept_by_another(chain)
            if kept is None:
                raise
            return kept

    async def _say_in_turn(self, chain: Chain) -> Answer:
        reasons: list[ProviderError] = []
        end = time.monotonic() + chain.patience
        for link in chain:
            try:
                if isinstance(link, ProviderError):
                    raise link
                if link.cleaner is not None and any(isinstance(reason, CleaningFailed) for reason in reasons):
                    continue  # it is the same cleaner
                left = max(chain.length - len(reasons), 1)
                answer = await self._say(link, (end - time.monotonic()) / left)
                if reasons:
                    self._watch.stood_in(chain.first, link)
                return answer
            except ProviderError as reason:
                reasons.append(reason)
        if chain.first.steering.only_if_cached:
            raise _not_kept(chain.first)
        raise reasons[0] if len(reasons) == 1 else NobodySpoke(reasons)

    async def _kept_by_another(self, chain: Chain) -> Answer | None:
        """What is kept of who stands in for the first: it costs nothing."""
        for link in chain.others():
            found = None if isinstance(link, ProviderError) else self.recall(link) or await self._glance(link)
            if found is not None:
                return found
        return None

    async def _glance(self, order: Order) -> Answer | None:
        with suppress(CatalogError, StorageError):
            return await self._find(order)
        return None

    def recall(self, order: Order) -> Whole | None:
        """The audio from memory, where it is there: without waiting."""
        if order.steering.no_cache:
            return None
        clip = self._hot.get(order.content_hash)
        if clip is None or not clip.kept:
            return None
        if self._hot.stale():  # it may have been deleted: nobody would know
            self._watch.live(order, Outcome.BYPASS)
            return Whole(order, Outcome.BYPASS, clip)
        self._watch.hit(clip)
        return Whole(order, Outcome.HIT, clip)

    async def file(self, answer: Answer) -> None:
        """Sees to it that what was answered is also kept at its order's own place, in the background while it is
        being spoken. Where it lies there already, nothing is written."""
        placement = answer.order.placement
        if placement is None:
            return
        filing = asyncio.create_task(self._file(answer, placement))
        self._filings.add(filing)
        filing.add_done_callback(self._filings.discard)
        if isinstance(answer, Whole):
            await asyncio.shield(filing)

    async def remove(self, content_hash: bytes, tenant: str, may: Callable[[Owner], bool]) -> bool:
        """Removes an asset with every variant of its recipe, and keeps a flight that is making it from landing.
        Whether there was anything of that tenant's that it `may` have."""
        kept = await self._shelf.find(content_hash)
        removed = await self._shelf.remove(content_hash, tenant, may)
        clip = self._hot.get(content_hash)
        asset = kept or (clip.asset if clip is not None and not clip.kept else None)
        if asset is None or not (asset.owner.tenant == tenant and may(asset.owner)):
            return removed
        self._hot.forget_recipe(asset.recipe_hash)
        return True

    async def land_all(self, patience: float) -> None:
        """Returns when every flight has landed; after `patience` seconds those still flying are called off."""
        under_way = [*self._flights.values(), *self._dubs.values()]
        tasks = {flight.task for flight in under_way if flight.task is not None} | self._filings
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=patience)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def keep_unkept(self) -> None:
        """Has what rests in memory alone kept, one after the other, until one of them cannot be."""
        for order in self._pilot.unkept.orders():
            flight = self._flights.get(order.recipe.hash) or self._take_off(order, bypass=False)
            with suppress(SayonceError):
                if not (await flight.landed()).kept:
                    return

    @property
    def unkept(self) -> bool:
        """Whether something rests in memory alone that is to be kept."""
        return bool(self._pilot.unkept.orders())

    @property
    def flying(self) -> int:
        """How many flights are under way."""
        return len(self._flights)

    # ── one of a chain ───────────────────────────────────────────────────────────────────────────

    async def _say(self, order: Order, patience: float) -> Answer:
        if order.steering.wished:
            return await self._hear(order, patience)  # it was not kept a moment ago; if it is now, its take-off tells
        answer = self.recall(order)
        if answer is not None:
            return answer
        try:
            found = await self._find(order)
        except (CatalogError, StorageError) as trouble:
            return self._in_trouble(order, trouble) or await self._hear(order, patience, bypass=_hides(trouble))
        if found is None and order.steering.only_if_cached:
            order.breaker.demand()  # who is left alone is stood in for
            raise _not_kept(order) if order.cleaner is None else _uncleaned()
        return found or await self._hear(order, patience)

    # ── found ────────────────────────────────────────────────────────────────────────────────────

    async def _find(self, order: Order) -> Answer | None:
        if order.steering.no_cache:
            return None
        finder = self._finder
        # A header that tells the length can only be right when all of it is there, which takes a moment at most.
        clip = await (finder.find(order) if tells_length(order.format) else finder.look(order))
        if clip is None:
            return None
        self._watch.hit(clip)
        if clip.asset.content_hash == order.content_hash:
            return Whole(order, Outcome.HIT, clip)
        dub = self._dub(order, of_clip(clip))
        await dub.first_piece()
        return Live(order, Outcome.HIT, dub)

    def _in_trouble(self, order: Order, trouble: CatalogError | StorageError) -> Whole | None:
        """What memory holds although it is not kept, while the rest of the cache cannot answer."""
        self._watch.bypass("catalog" if isinstance(trouble, CatalogError) else "storage", trouble)
        if order.steering.only_if_cached:
            raise trouble
        clip = None if order.steering.no_cache else self._hot.get(order.content_hash)
        return None if clip is None else Whole(order, Outcome.BYPASS, clip)

    # ── joined, or spoken ────────────────────────────────────────────────────────────────────────

    async def _hear(self, order: Order, patience: float, *, bypass: bool = False) -> Answer:
        """Joined or spoken, within `patience` seconds; what began too late lands all the same, and is kept."""
        try:
            async with asyncio.timeout(max(patience, 0.0)):
                return await self._fly(order, bypass=bypass)
        except TimeoutError as error:
            if (flight := self._flights.get(order.recipe.hash)) is not None:
                flight.count_late()
            name = order.provider.upstream.name
            raise ProviderTimeout(
                f"Nothing was heard of '{name}' within {patience:.3g} seconds.", provider=name, remedy="Try again."
            ) from error

    async def _fly(self, order: Order, *, bypass: bool, after: int | None = None) -> Answer:
        """`after` is the fence of another process that has been waited for already."""
        while (flight := self._flights.get(order.recipe.hash)) is not None:
            if flight.suits(order) and not flight.stalled:
                return await self._listen(order, flight, joined=True)
            if flight.stalled or order.steering.no_cache or not self._finder.transcodes:
                await flight.over()
            else:
                flight.keep = flight.keep or not order.steering.no_store
                return await self._listen(order, self._dub(order, of_flight(flight)), joined=True)
        order.breaker.demand()
        if order.steering.no_cache:
            ahead = await self._pilot.ahead(order)
            if ahead not in (None, after):
                return await self._after_another(order, bypass, ahead)
            if order.recipe.hash in self._flights:  # somebody came meanwhile
                return await self._fly(order, bypass=bypass, after=after)
        return await self._listen(order, self._take_off(order, bypass), joined=False)

    async def _after_another(self, order: Order, bypass: bool, fence: int | None) -> Answer:
        """Spoken anew, once another process has said it, whom all others here hear meanwhile."""
        if order.recipe.hash not in self._flights:
            other = self._take_off(replace(order, steering=replace(order.steering, no_cache=False)), bypass)
            await other.over()
            if other.spoken:  # it fell to this one after all
                return await self._listen(order, other, joined=False)
        return await self._fly(order, bypass=bypass, after=fence)

    def _take_off(self, order: Order, bypass: bool) -> Flight:
        flight = Flight(order, asked_at=self._watch.now(), bypass=bypass)
        self._flights[order.recipe.hash] = flight
        flight.task = asyncio.create_task(self._pilot.fly(flight))
        flight.task.add_done_callback(lambda task: self._ended(flight, task))
        return flight

    def _dub(self, order: Order, source: Source) -> Flight:
        """A flight that says in the order's format what is said or kept in another."""
        dub = self._dubs.get(order.content_hash)
        if dub is None:
            dub = self._dubs[order.content_hash] = Flight(order, asked_at=self._watch.now(), dub=True)
            dub.task = asyncio.create_task(self._dubbing.fly(dub, source))
            dub.task.add_done_callback(lambda task: self._dubbed(dub, task))
        return dub

    async def _listen(self, order: Order, flight: Flight, *, joined: bool) -> Live:
        flight.keep = flight.keep or not order.steering.no_store
        await flight.first_piece()
        outcome = flight.outcome
        if joined and outcome is not Outcome.BYPASS:
            outcome = Outcome.JOINED
        self._watch.live(order, outcome)
        return Live(order, outcome, flight)

    async def _file(self, answer: Answer, placement: Placement) -> None:
        epoch = self._hot.epoch
        try:
            clip = await whole(answer)
            path = placement.path_of(clip.asset)
            if clip.kept and not self._shelf.holds(clip.asset, path):
                use = replace(placement.use, keep_until=clip.asset.until)
                self._hot.put(await self._shelf.attach(clip, Berth(use, path)), epoch)
        except (CatalogError, StorageError) as error:
            self._watch.bypass("storage" if isinstance(error, StorageError) else "catalog", error)
        except ProviderError as error:
            _log.debug("file.nothing", error=error.code)  # its listeners were told

    def _dubbed(self, dub: Flight, task: asyncio.Task[None]) -> None:
        del self._dubs[dub.order.content_hash]
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._watch.bug(bug)

    def _ended(self, flight: Flight, task: asyncio.Task[None]) -> None:
        del self._flights[flight.order.recipe.hash]
        if not task.cancelled() and (bug := task.exception()) is not None:
            self._watch.bug(bug)


def _hides(trouble: CatalogError | StorageError) -> bool:
    """Whether it may well be kept, and only cannot be read."""
    return isinstance(trouble, StorageError)


def _uncleaned() -> CleaningFailed:
    return CleaningFailed("Nothing is kept under the cleaner's name.", provider="cleaner")


def _not_kept(order: Order) -> NotKept:
    remedy = "Ask without only-if-cached to have it spoken."
    if order.steering.no_cache:
        return NotKept("It was to be spoken anew, and to come from what is kept alone.", remedy=remedy)
    return NotKept("This is not kept.", remedy=remedy)
