"""Puts all together: the one place where parts are chosen and joined."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

from sayonce.access.allowance import Allowance
from sayonce.access.gate import Gate
from sayonce.access.limits import RateLimits
from sayonce.access.loopback import is_loopback
from sayonce.access.urls import UrlSigner
from sayonce.audio.proving import Prover
from sayonce.batch.greetings import Greetings
from sayonce.batch.lines import line_of
from sayonce.batch.queue import Queue
from sayonce.batch.schedules import Clockwork, Schedule, schedules_of
from sayonce.batch.seeding import Seeding
from sayonce.batch.speaking import Speaker
from sayonce.cache.archive import Archive
from sayonce.cache.cast import Cast
from sayonce.cache.engine import Engine
from sayonce.cache.figures import CensusTaker
from sayonce.cache.finder import Finder
from sayonce.cache.hot import HotTier
from sayonce.cache.pilot import Ground, Pilot, Terms
from sayonce.cache.preloading import Preloading
from sayonce.cache.shelf import Place, Shelf
from sayonce.cache.tally import Tally
from sayonce.cache.unkept import Unkept
from sayonce.cache.upkeep import EVERY, Upkeep
from sayonce.cache.watch import Watch
from sayonce.catalog import silences
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Change
from sayonce.catalog.registry import connect
from sayonce.chosen import (
    breakers_of,
    customs_of,
    limits_of,
    manner_of,
    storage_named,
    storages_of,
    tier_of,
    upstreams_of,
)
from sayonce.cluster.feed import ChangeFeed
from sayonce.cluster.meeting import Meeting, met
from sayonce.errors import (
    CatalogError,
    CatalogUnavailable,
    StorageError,
)
from sayonce.providers.breaker import State
from sayonce.providers.chat_cleaner import ChatCleaner
from sayonce.settings import Settings
from sayonce.storage.contract import Storage
from sayonce.storage.paths import PathTemplate
from sayonce.telemetry.events import TextNames
from sayonce.telemetry.logs import get_logger
from sayonce.telemetry.metrics import Metrics

Clock = Callable[[], float]

VERSION = version("sayonce")

_log = get_logger("sayonce.app")

# A change log that was read so many seconds ago is being read.
_RECENT = 1.0
_OPEN = {State.CLOSED: 0.0, State.HALF_OPEN: 0.5, State.OPEN: 1.0}


@dataclass(frozen=True)
class Gateway:
    """A running gateway's parts, as the doors and the commands use them."""

    settings: Settings
    catalog: Catalog
    storages: Mapping[str, Storage]
    shelf: Shelf
    cast: Cast
    hot: HotTier
    engine: Engine
    watch: Watch
    meeting: Meeting
    feed: ChangeFeed
    gate: Gate
    limits: RateLimits
    signer: UrlSigner
    upkeep: Upkeep
    archive: Archive
    queue: Queue
    seeding: Seeding
    speaker: Speaker
    clockwork: Clockwork
    figures: CensusTaker
    greetings: Greetings
    preloading: Preloading

    async def flush(self) -> None:
        """Writes what was counted in memory."""
        await self.watch.tally.flush(self.catalog)


@asynccontextmanager
async def running(settings: Settings, clock: Clock = time.time) -> AsyncIterator[Gateway]:
    """A gateway of these settings, with what it does in the background. On leaving, flights land first. `clock`
    gives seconds since 1970. InvalidSettings and MissingExtra where the settings cannot be met."""
    async with AsyncExitStack() as stack:
        catalog = Catalog(connect(settings.database), clock)
        stack.push_async_callback(catalog.aclose)
        places = storages_of(settings, catalog)
        for place in places.values():
            stack.push_async_callback(place.aclose)
        speakers, missing = upstreams_of(settings)
        for speaker in speakers.values():
            stack.push_async_callback(speaker.aclose)
        cleaner = ChatCleaner.from_settings(settings.cleaner) if settings.cleaner else None
        if cleaner is not None:
            stack.push_async_callback(cleaner.aclose)
        cast = Cast(speakers, customs_of(settings, cleaner), breakers_of(settings, speakers), missing)
        prover = Prover()
        stack.push_async_callback(prover.aclose)
        meeting = await stack.enter_async_context(met(catalog, manner_of(settings), clock))
        gateway = _joined(settings, _Stock(catalog, places, cast, meeting, prover, await _names(catalog), clock))
        stack.push_async_callback(_wind_down, gateway)
        async with _background(gateway):
            yield gateway


@dataclass(frozen=True)
class _Stock:
    """What is there before the parts are joined. `secrets` name texts in logs, and sign URLs."""

    catalog: Catalog
    storages: Mapping[str, Storage]
    cast: Cast
    meeting: Meeting
    prover: Prover
    secrets: tuple[str, str]
    clock: Clock


def _joined(settings: Settings, stock: _Stock) -> Gateway:
    catalog, clock = stock.catalog, stock.clock
    hot = HotTier(settings.memory, clock)
    guarded = settings.require_keys or not is_loopback(settings.host)
    gate = Gate(catalog, time.monotonic, memory=settings.key_memory, guarded=guarded)
    home = Place(
        storage_named(settings.storage, stock.storages),
        PathTemplate(settings.path_template),
        tier_of(settings, stock.storages, clock),
        stock.meeting.memory,
    )
    tally = Tally(clock, {} if home.tier is None else home.tier.slides)
    watch = Watch(tally, Metrics(VERSION), TextNames(stock.secrets[0]), clock)
    shelf = Shelf(catalog, stock.storages, home, hot.forget)
    finder = Finder(shelf, hot, clock, transcodes=settings.variants == "transcode")
    allowance = Allowance(settings.bypass_characters, settings.bypass_usd, time.monotonic)
    meeting = stock.meeting
    ground = Ground(meeting.leases, meeting.relay, meeting.turns, stock.prover, shelf, finder, hot, Unkept(hot))
    pilot = Pilot(ground, _terms(settings), allowance, watch, clock)
    engine = Engine(hot, shelf, finder, pilot, watch)
    speaker = Speaker(catalog, stock.cast, engine, watch.bug)
    queue = Queue(catalog, line_of(settings, catalog.identity, speaker.speak), clock)
    greetings = Greetings(catalog, shelf, stock.cast, queue.line, speaker)
    speaker.made = greetings.made
    feed = ChangeFeed(
        catalog,
        settings.poll_seconds,
        meeting.changed,
        lambda change: _heed(change, hot, gate, greetings),
        lambda: _forget_all(hot, gate),
    )
    gateway = Gateway(
        settings=settings,
        catalog=catalog,
        storages=stock.storages,
        shelf=shelf,
        cast=stock.cast,
        hot=hot,
        engine=engine,
        watch=watch,
        meeting=meeting,
        feed=feed,
        gate=gate,
        limits=RateLimits(settings.rate, settings.burst, time.monotonic),
        signer=UrlSigner(stock.secrets[1], clock),
        upkeep=Upkeep(catalog, shelf, stock.storages, limits_of(settings), clock),
        archive=Archive(engine, shelf, catalog, settings.turn_path, clock),
        queue=queue,
        seeding=Seeding(catalog, queue, clock, transcodes=settings.variants == "transcode"),
        speaker=speaker,
        clockwork=Clockwork(schedules_of(settings.schedules), catalog, lambda due: _keep(gateway, due), clock),
        figures=CensusTaker(catalog, lambda: tally.flush(catalog), time.monotonic, clock),
        greetings=greetings,
        preloading=Preloading(catalog, shelf, hot, int(settings.memory * settings.greetings_share), feed.begun),
    )
    hot.stale = lambda: gateway.feed.deaf
    _measure(gateway)
    return gateway


async def _keep(gateway: Gateway, due: Schedule) -> None:
    """Does what a schedule says."""
    if due.do == "upkeep":
        await gateway.upkeep.run()
    else:
        await gateway.seeding.keep(due, gateway.cast, gateway.settings.max_text)


def _heed(change: Change, hot: HotTier, gate: Gate, greetings: Greetings) -> None:
    """Forgets what is no longer so."""
    match change.kind:
        case "asset":
            hot.forget(bytes.fromhex(change.subject))
        case "recipe":
            hot.forget_recipe(bytes.fromhex(change.subject))
        case "key":
            gate.forget(key_id=change.subject)
        case "tenant":
            gate.forget(tenant=change.subject)
            greetings.heed(change.subject)


def _forget_all(hot: HotTier, gate: Gate) -> None:
    hot.clear()
    gate.forget_all()


def _terms(settings: Settings) -> Terms:
    return Terms(
        holder=f"{settings.replica}-{secrets.token_hex(4)}",
        attempts=settings.attempts,
        patience=settings.retry_after_limit,
        longest=settings.generation_limit,
        largest=settings.max_audio,
        keep_text=settings.keep_text,
        budget=settings.budget,
    )


async def _names(catalog: Catalog) -> tuple[str, str]:
    """The secrets that name texts in logs and sign URLs."""
    try:
        return await catalog.secret("texts"), await catalog.secret("urls")
    except CatalogUnavailable as error:
        # The gateway serves all the same (law 5); what it signs meanwhile does not outlive it.
        _log.warning("catalog.unavailable", error=error.code, reason=error.message, remedy=error.remedy)
        return secrets.token_urlsafe(32), secrets.token_urlsafe(32)


@asynccontextmanager
async def _background(gateway: Gateway) -> AsyncIterator[None]:
    tasks = [
        asyncio.create_task(gateway.feed.run()),
        asyncio.create_task(_chores(gateway)),
        asyncio.create_task(
            gateway.watch.tally.run(
                gateway.catalog, gateway.settings.flush_seconds, gateway.watch.metrics.flush_failures.inc
            )
        ),
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _chores(gateway: Gateway) -> None:
    """What is done now and then, and never while somebody waits for it."""
    due = gateway.watch.now()
    while True:
        await asyncio.sleep(gateway.settings.flush_seconds)
        try:
            await gateway.shelf.warm(gateway.hot.get)
            if gateway.feed.lag < _RECENT + gateway.settings.poll_seconds:  # the catalog answers
                await gateway.engine.keep_unkept()
            if gateway.watch.now() >= due:
                due = gateway.watch.now() + silences.EVERY  # each is a write
                await gateway.catalog.note_in_use()
                if gateway.settings.upkeep and await gateway.catalog.claim("upkeep", EVERY):
                    await gateway.upkeep.run()
        except (CatalogError, StorageError) as error:
            _log.warning("chores.left", error=error.code)


async def _wind_down(gateway: Gateway) -> None:
    await gateway.queue.line.aclose()
    await gateway.engine.land_all(gateway.settings.shutdown_seconds)
    await gateway.shelf.aclose()
    with suppress(CatalogError):  # what could not be written is only a count
        await gateway.flush()


def _measure(gateway: Gateway) -> None:
    watch = gateway.watch.metrics.watch
    trouble = gateway.meeting.trouble
    watch("sayonce_redis_up", "Whether Redis answers; 1 without one.", lambda: float(not (trouble and trouble())))
    watch("sayonce_flights", "Generations in progress.", lambda: gateway.engine.flying)
    watch("sayonce_memory_entries", "Clips in memory.", lambda: gateway.hot.entries)
    watch("sayonce_memory_bytes", "What they take.", lambda: gateway.hot.weight)
    watch("sayonce_feed_lag_seconds", "Since the change log was last read.", lambda: gateway.feed.lag)
    breakers = gateway.cast.breakers
    gateway.watch.metrics.watch_upstreams(
        "sayonce_upstream_open",
        "Whether an upstream is left alone since it failed: 0 no, 0.5 a probe is due or out, 1 yes.",
        lambda: {name: _OPEN[breaker.state] for name, breaker in breakers.items()},
    )
    watch("sayonce_storage_writable", "Whether the last blob could be written.", lambda: gateway.shelf.writable)
