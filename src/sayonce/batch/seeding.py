"""Seeding: has a collection spoken ahead of time. What is to be made are uses in the catalog that hold their request,
and what is made is told by the assets themselves: a run that was killed, begun again, makes only what is missing."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from sayonce.batch.manifest import Bounds, Manifest, Text, head_of, in_voice, refused
from sayonce.batch.plans import Plan, Price
from sayonce.batch.queue import Queue, keep_of, wish_of
from sayonce.batch.rows import opened
from sayonce.batch.schedules import Schedule
from sayonce.cache.cast import Cast
from sayonce.cache.orders import Order, Steering
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.collections import UNTOLD, Tally, There
from sayonce.catalog.records import COLLECTION, Collection, Use, Wish
from sayonce.errors import CatalogUnavailable, InvalidRequest

# How many texts are looked up, and written down, at a time.
_BATCH = 500
# How often a run is looked at, in seconds: at most, and at least; between that, so many times as long as it takes.
_GLANCE, _STARE, _TIMES = 0.2, 5.0, 20
# How many wrong rows are told of.
_MOST_WRONG = 100


class Seeding:
    """Of one catalog. `transcodes` is whether another format of what is kept is made of that."""

    def __init__(
        self, catalog: Catalog, queue: Queue, clock: Callable[[], float], *, transcodes: bool = True
    ) -> None:
        self._catalog = catalog
        self._queue = queue
        self._clock = clock
        self._transcodes = transcodes

    async def plan(self, manifest: Manifest, heed: Callable[[int], None] = lambda _: None) -> Plan:
        """What a run of it would do; `heed` is told how many texts were looked at. InvalidRequest, naming each row
        that is wrong, where some are: all is said, or nothing."""
        plan, seen, wrong = Plan(), _Seen(), _Wrong()
        batches = _batches(manifest.texts(wrong.note))
        while batch := await asyncio.to_thread(_next, batches):
            await self._look(plan, [text for text in batch if seen.first(text, plan)], seen)
            plan.items += len(batch)
            heed(plan.items)
        wrong.refuse()
        if not plan.items:
            raise InvalidRequest("There is nothing in the manifest to say.", param="items", remedy="Add texts to it.")
        return plan

    async def begin(
        self,
        collection: Collection,
        manifest: Manifest,
        heed: Callable[[int], None] = lambda _: None,
        *,
        speak: bool = True,
    ) -> int:
        """Writes all of it down, and has what is missing spoken, whoever gets to it; or only the former. `heed` hears
        how many were written. How many of the collection were kept before, be they in the manifest or not."""
        await self._catalog.collections.note(collection, UNTOLD if speak else None)
        seen, written, unmade = _Seen(), 0, 0
        batches = _batches(manifest.texts(lambda *_: None))
        while batch := await asyncio.to_thread(_next, batches):
            wishes = [self._wish(collection, text) for text in batch if seen.first(text)]
            unmade += await self._queue.wish(wishes if speak else [replace(wish, due=None) for wish in wishes])
            written += len(batch)
            heed(written)
        tally = await self._catalog.collections.tally(collection)
        found = tally.kept - max(unmade - tally.due, 0) if speak else tally.kept  # some were made meanwhile
        await self._catalog.collections.recount(collection, found)
        return found

    async def again(self, collection: Collection) -> None:
        """Has spoken what is missing of a collection that is written down already."""
        tally = await self._catalog.collections.tally(collection)
        await self._catalog.collections.note(collection, tally.kept)
        last = 0
        while ids := await self._catalog.collections.recall(collection, last, _BATCH):
            await self._queue.line.add(ids)
            last = ids[-1]

    async def reckon(self, collection: Collection, cast: Cast, voice: str | None) -> Plan:
        """What it would do to speak what is missing of it, or all of it in that voice. Errors are as in `revoice`."""
        plan, seen, last = Plan(), _Seen(), 0
        while found := await self._catalog.collections.wishes(collection, last, _BATCH):
            texts = [_in_voice(cast, wish, voice or wish.request.voice) for _, wish in found]
            await self._look(plan, [text for text in texts if seen.first(text)], seen)
            plan.items += len(texts)
            last = found[-1][0]
        return plan

    async def revoice(self, collection: Collection, cast: Cast, voice: str) -> None:
        """Has a collection's texts spoken in one more voice. InvalidRequest where its texts are not known any more,
        or there is no such voice."""
        tally = await self._catalog.collections.tally(collection)
        await self._catalog.collections.note(collection, tally.kept)
        seen, last = _Seen(), 0
        while found := await self._catalog.collections.wishes(collection, last, _BATCH):
            texts = [_in_voice(cast, wish, voice) for _, wish in found]
            await self._queue.wish([self._wish(collection, text) for text in texts if seen.first(text)])
            last = found[-1][0]  # what was just written down comes last, and says nothing new
        if not last:
            raise InvalidRequest(
                "The texts of this collection are not kept.", param="voice", remedy="Send its manifest once more."
            )

    async def keep(self, schedule: Schedule, cast: Cast, longest: int) -> None:
        """Does what a schedule says: a manifest file is gone through anew, and of a collection what is missing is
        spoken."""
        assert schedule.seed is not None
        voices = await self.popular(schedule.tenant, schedule.popular)
        path, collection = Path(schedule.seed), Collection(schedule.tenant, schedule.seed)
        is_file = bool(path.suffix) and await asyncio.to_thread(path.is_file)
        if is_file:
            rows = await asyncio.to_thread(opened, path)
            manifest = Manifest(head_of(rows, voices=voices), rows, cast, Bounds(schedule.tenant, longest))
            await self.plan(manifest)  # which refuses what is wrong
            await self.begin(Collection(schedule.tenant, manifest.head.name or path.stem), manifest)
        elif await self._catalog.collections.find(collection) is None:
            raise InvalidRequest(f"There is no collection, nor a manifest file, '{schedule.seed}'.", param="seed")
        if not is_file:
            for voice in voices:
                await self.revoice(collection, cast, voice)
            await self.again(collection)

    async def popular(self, tenant: str, number: int) -> Sequence[str]:
        """So many of the voices that a tenant's listeners have heard most, that one first, as upstream/voice."""
        if not number:
            return ()
        found = (await self._catalog.statistics(tenant)).by_voice
        heard = {name: count.hits + count.joined + count.misses for name, count in found.items()}
        named = (name for name, times in heard.items() if times and not name.endswith("/"))
        return sorted(named, key=lambda name: -heard[name])[:number]

    async def stop(self, collection: Collection) -> None:
        """Lets be what is yet to be made. What flies lands."""
        while await self._catalog.collections.stop(collection, _BATCH):
            pass

    async def watch(
        self, collection: Collection, seldom: float = math.inf, at_work: Callable[[], bool] = lambda: True
    ) -> AsyncIterator[Tally]:
        """How it stands, whenever that is another than before, and every `seldom` seconds, until nothing is left to
        be tried, or nobody is `at_work` on it any more. A catalog that is away meanwhile is waited for."""
        before: Tally | None = None
        told_at, working = 0.0, True
        while working:
            began, working = time.monotonic(), at_work()
            try:
                tally = await self._catalog.collections.tally(collection)
            except CatalogUnavailable:
                if not working:
                    raise
            else:
                if tally != before or began - told_at > seldom:
                    told_at = began
                    yield tally
                if not tally.left:
                    return
                before = tally
            await asyncio.sleep(min(max(_GLANCE, _TIMES * (time.monotonic() - began)), _STARE))

    async def _look(self, plan: Plan, fresh: Sequence[Text], seen: _Seen) -> None:
        """Adds texts to the plan, at most a few hundred."""
        there = await self._catalog.collections.there(
            [text.order.content_hash for text in fresh], [text.order.recipe.hash for text in fresh]
        )
        for text in fresh:
            self._reckon(plan, text.order, seen, there)

    def _reckon(self, plan: Plan, order: Order, seen: _Seen, there: There) -> None:
        """Adds a text to the plan."""
        if order.content_hash in there.assets:
            plan.kept += 1
            return
        plan.make += 1
        if self._transcodes and (order.recipe.hash in there.recipes or not seen.new_recipe(order)):
            return
        price = plan.paid.setdefault(order.provider.upstream.name, Price())
        cost = order.price(order.recipe)
        price.items += 1
        price.characters += len(order.recipe.text)
        price.cost = None if cost is None or price.cost is None else price.cost + cost

    def _wish(self, collection: Collection, text: Text) -> Wish:
        now, keep = self._clock(), text.order.keep
        use = Use(
            COLLECTION,
            collection.key,
            text.sequence,
            text.role,
            keep_until=None if keep.seconds is None else now + keep.seconds,
            sliding=keep.seconds if keep.sliding else None,
            at=now,
        )
        return wish_of(text.order, now, use)


def _in_voice(cast: Cast, wish: Wish, voice: str | None) -> Text:
    """The same text in another voice, which may name another upstream: that one has its own models and options."""
    order = cast.chain(in_voice(cast, wish.request, voice), Steering(keep=keep_of(wish))).first
    return Text(wish.use.sequence, f"item {wish.use.sequence + 1}", wish.use.speaker, order)


class _Seen:
    """What was seen of a manifest, by the beginnings of hashes: a million take some two hundred megabytes."""

    def __init__(self) -> None:
        self._assets: set[bytes] = set()
        self._recipes: set[bytes] = set()

    def first(self, text: Text, plan: Plan | None = None) -> bool:
        """Whether it is the first that says so; else the plan tells of it."""
        name = text.order.content_hash[:12]
        if name not in self._assets:
            self._assets.add(name)
            return True
        if plan is not None:
            plan.same.append(text.place)
        return False

    def new_recipe(self, order: Order) -> bool:
        """Whether it is the first of its recipe."""
        name = order.recipe.hash[:12]
        new = name not in self._recipes
        self._recipes.add(name)
        return new


class _Wrong:
    """The rows that are wrong."""

    def __init__(self) -> None:
        self._told: list[tuple[str, str]] = []
        self._more = 0

    def note(self, place: str, why: str) -> None:
        """One more."""
        if len(self._told) < _MOST_WRONG:
            self._told.append((place, why))
        else:
            self._more += 1

    def refuse(self) -> None:
        """Raises what tells of them, if there are any."""
        if self._told:
            raise refused(self._told, self._more)


def _next(batches: Iterator[list[Text]]) -> list[Text]:
    """Off the event loop: to make orders of a few hundred texts takes a while."""
    return next(batches, [])


def _batches(texts: Iterator[Text]) -> Iterator[list[Text]]:
    while batch := list(islice(texts, _BATCH)):
        yield batch
