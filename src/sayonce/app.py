"""Puts all together: the one place where parts are chosen and joined."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version

from sayonce.access.allowance import Allowance
from sayonce.access.gate import Gate
from sayonce.access.limits import RateLimits
from sayonce.access.loopback import is_loopback
from sayonce.access.urls import UrlSigner
from sayonce.cache.archive import Archive
from sayonce.cache.cast import Cast, Customs, Missing
from sayonce.cache.engine import Engine
from sayonce.cache.finder import Finder
from sayonce.cache.hot import HotTier
from sayonce.cache.orders import Retention
from sayonce.cache.pilot import Ground, Pilot, Terms
from sayonce.cache.shelf import Place, Shelf
from sayonce.cache.tally import Tally
from sayonce.cache.tier import Tier
from sayonce.cache.upkeep import EVERY, Limits, Upkeep
from sayonce.cache.watch import Watch
from sayonce.catalog import silences
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Change
from sayonce.catalog.registry import connect
from sayonce.cluster.catalog_leases import CatalogLeases
from sayonce.cluster.feed import ChangeFeed
from sayonce.errors import (
    CatalogError,
    CatalogUnavailable,
    InvalidSettings,
    MissingExtra,
    ProviderMisconfigured,
    StorageError,
)
from sayonce.providers import registry as providers
from sayonce.providers.breaker import Breaker, Rules, State
from sayonce.providers.chain import Voices
from sayonce.providers.chat_cleaner import ChatCleaner
from sayonce.providers.contract import Provider
from sayonce.providers.declared import no_endpoint
from sayonce.settings import VENDORS, Settings, environment
from sayonce.speech.cleaning import Cleaner
from sayonce.storage import registry as storages
from sayonce.storage.contract import Storage
from sayonce.storage.database import Rows
from sayonce.storage.guarded import Guarded
from sayonce.storage.lifecycle import LIFECYCLE
from sayonce.storage.paths import PathTemplate
from sayonce.telemetry.events import TextNames
from sayonce.telemetry.logs import get_logger
from sayonce.telemetry.metrics import Metrics

Clock = Callable[[], float]

VERSION = version("sayonce")

_log = get_logger("sayonce.app")

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
    feed: ChangeFeed
    gate: Gate
    limits: RateLimits
    signer: UrlSigner
    upkeep: Upkeep
    archive: Archive

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
        places = _storages(settings, catalog)
        for place in places.values():
            stack.push_async_callback(place.aclose)
        speakers, missing = _upstreams(settings)
        for speaker in speakers.values():
            stack.push_async_callback(speaker.aclose)
        cleaner = ChatCleaner.from_settings(settings.cleaner) if settings.cleaner else None
        if cleaner is not None:
            stack.push_async_callback(cleaner.aclose)
        cast = Cast(speakers, customs_of(settings, cleaner), _breakers(settings, speakers), missing)
        gateway = _joined(settings, _Stock(catalog, places, cast, await _names(catalog), clock))
        stack.push_async_callback(_wind_down, gateway)
        async with _background(gateway):
            yield gateway


@dataclass(frozen=True)
class _Stock:
    """What is there before the parts are joined. `secrets` name texts in logs, and sign URLs."""

    catalog: Catalog
    storages: Mapping[str, Storage]
    cast: Cast
    secrets: tuple[str, str]
    clock: Clock


def _joined(settings: Settings, stock: _Stock) -> Gateway:
    catalog, clock = stock.catalog, stock.clock
    hot = HotTier(settings.memory, clock)
    guarded = settings.require_keys or not is_loopback(settings.host)
    gate = Gate(catalog, time.monotonic, memory=settings.key_memory, guarded=guarded)
    home = Place(
        _storage(settings.storage, stock.storages),
        PathTemplate(settings.path_template),
        _tier(settings, stock.storages, clock),
    )
    tally = Tally(clock, {} if home.tier is None else home.tier.slides)
    watch = Watch(tally, Metrics(VERSION), TextNames(stock.secrets[0]), clock)
    shelf = Shelf(catalog, stock.storages, home, hot.forget)
    finder = Finder(shelf, hot, clock, transcodes=settings.variants == "transcode")
    leases = CatalogLeases(catalog, settings.lease_seconds)
    allowance = Allowance(settings.bypass_characters, settings.bypass_usd, time.monotonic)
    pilot = Pilot(Ground(leases, shelf, finder, hot), _terms(settings), allowance, watch, clock)
    engine = Engine(hot, shelf, finder, pilot, watch)
    gateway = Gateway(
        settings=settings,
        catalog=catalog,
        storages=stock.storages,
        shelf=shelf,
        cast=stock.cast,
        hot=hot,
        engine=engine,
        watch=watch,
        feed=ChangeFeed(
            catalog, settings.poll_seconds, lambda change: _heed(change, hot, gate), lambda: _forget_all(hot, gate)
        ),
        gate=gate,
        limits=RateLimits(settings.rate, settings.burst, time.monotonic),
        signer=UrlSigner(stock.secrets[1], clock),
        upkeep=Upkeep(catalog, shelf, stock.storages, _limits(settings), clock),
        archive=Archive(engine, shelf, catalog, settings.turn_path, clock),
    )
    _measure(gateway)
    return gateway


def _heed(change: Change, hot: HotTier, gate: Gate) -> None:
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


def _forget_all(hot: HotTier, gate: Gate) -> None:
    hot.clear()
    gate.forget_all()


def _terms(settings: Settings) -> Terms:
    return Terms(
        holder=secrets.token_hex(8),
        attempts=settings.attempts,
        patience=settings.retry_after_limit,
        longest=settings.generation_limit,
        largest=settings.max_audio,
        keep_text=settings.keep_text,
        budget=settings.budget,
    )


def customs_of(settings: Settings, cleaner: Cleaner | None) -> Customs:
    """What holds where a request says nothing. InvalidSettings where two settings contradict each other."""
    chain = settings.chain or (settings.speaker,)
    if settings.speaker not in chain:
        raise InvalidSettings(
            f"The default upstream '{settings.speaker}' is not in the chain.",
            remedy="Set one of the two; who speaks first in the chain is the default.",
        )
    chain = chain[chain.index(settings.speaker) :]
    keep = Retention(settings.keep, settings.keep_sliding and settings.keep is not None)
    return Customs(chain, Voices(settings.voices), keep, settings.deadline, cleaner, settings.usd_rate)


def _breakers(settings: Settings, speakers: Mapping[str, Provider]) -> dict[str, Breaker]:
    rules = Rules(settings.breaker_failures, rest=settings.breaker_rest)
    return {name: Breaker(name, rules) for name in speakers}


def _unset() -> dict[str, Missing]:
    """The vendors that could be there, and what to set for each."""
    unset: dict[str, Missing] = {
        name: ProviderMisconfigured(f"'{name}' is not set up.", provider=name, remedy=f"Set {environment(key)}.")
        for name, (key, _) in VENDORS.items()
    }
    return unset | {"wispr": no_endpoint("wispr")}


def _upstreams(settings: Settings) -> tuple[dict[str, Provider], dict[str, Missing]]:
    speakers: dict[str, Provider] = {}
    missing: dict[str, Missing] = _unset()
    for name in settings.all_upstreams:
        try:
            speakers[name] = upstream_of(settings, name)
        except MissingExtra as error:
            if name in settings.upstreams:
                raise
            missing[name] = error  # it is only implied: whoever asks for it is told what to install
    for name in (settings.speaker, *settings.chain):
        if name not in speakers | missing:
            raise _unconfigured(name, speakers)
    return speakers, {name: why for name, why in missing.items() if name not in speakers}


def upstream_of(settings: Settings, name: str) -> Provider:
    """The upstream of that name. InvalidSettings where there is none, or it is told what it does not take;
    ProviderMisconfigured where it would be there, were a key set; MissingExtra where it is not installed."""
    table = settings.all_upstreams.get(name)
    if table is None:
        raise _unset().get(name) or _unconfigured(name, settings.all_upstreams)
    return providers.make(*_part(name, table, "provider", providers.known()))


def _unconfigured(name: str, speakers: Iterable[str]) -> InvalidSettings:
    known = f" There is a provider '{name}': add [upstreams.{name}]." if name in providers.known() else ""
    return InvalidSettings(
        f"The upstream '{name}' is not configured.", remedy=f"There are: {', '.join(sorted(speakers))}.{known}"
    )


def _storages(settings: Settings, catalog: Catalog) -> dict[str, Storage]:
    patience = settings.storage_patience
    return {name: Guarded(storage_of(settings, name, catalog.bytes), patience) for name in settings.all_storages}


def storage_of(settings: Settings, name: str, rows: Rows | None) -> Storage:
    """The storage of that name, as it is: nothing guards who waits for it. `rows` are the catalog's, for one that is
    in its database. InvalidSettings where there is none, or it is told what it does not take; MissingExtra where it
    is not installed."""
    table = settings.all_storages.get(name)
    if table is None:
        raise _no_storage(name, settings.all_storages)
    _, backend, given = _part(name, table, "backend", storages.known())
    given = {key: value for key, value in given.items() if key != LIFECYCLE}
    if backend == "database":
        given["rows"] = rows
    return storages.make(name, backend, given)


@asynccontextmanager
async def one_storage(settings: Settings, name: str) -> AsyncIterator[tuple[Catalog, Storage]]:
    """A storage and the catalog, without a gateway around them."""
    async with AsyncExitStack() as stack:
        catalog = Catalog(connect(settings.database), time.time)
        stack.push_async_callback(catalog.aclose)
        storage = storage_of(settings, name, catalog.bytes)
        stack.push_async_callback(storage.aclose)
        yield catalog, storage


def _no_storage(name: str, there: Iterable[str]) -> InvalidSettings:
    return InvalidSettings(
        f"The storage '{name}' is not configured.", remedy=f"There are: {', '.join(sorted(there))}."
    )


def _storage(name: str, places: Mapping[str, Storage]) -> Storage:
    if name not in places:
        raise _no_storage(name, places)
    return places[name]


def _tier(settings: Settings, places: Mapping[str, Storage], clock: Clock) -> Tier | None:
    if not settings.tier:
        return None
    return Tier(_storage(settings.tier, places), settings.tier_keep, clock, sliding=settings.tier_sliding)


def _limits(settings: Settings) -> Limits:
    return Limits(settings.max_entries, settings.max_bytes, sweep_most=settings.sweep_most)


def _part(
    name: str, table: Mapping[str, object], key: str, known: Sequence[str]
) -> tuple[str, str, Mapping[str, object]]:
    """A table's name, what it is a table of, and the rest of it. One that has a kind's own name need not say so."""
    kind = table.get(key, name if name in known else None)
    if not isinstance(kind, str):
        raise InvalidSettings(f"The table '{name}' does not say its {key}.", remedy=f'Add {key} = "…" to it.')
    return name, kind, {setting: value for setting, value in table.items() if setting != key}


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
            if gateway.watch.now() >= due:
                due = gateway.watch.now() + silences.EVERY  # each is a write
                await gateway.catalog.note_in_use()
                if gateway.settings.upkeep and await gateway.catalog.claim("upkeep", EVERY):
                    await gateway.upkeep.run()
        except (CatalogError, StorageError) as error:
            _log.warning("chores.left", error=error.code)


async def _wind_down(gateway: Gateway) -> None:
    await gateway.engine.land_all(gateway.settings.shutdown_seconds)
    await gateway.shelf.aclose()
    with suppress(CatalogError):  # what could not be written is only a count
        await gateway.flush()


def _measure(gateway: Gateway) -> None:
    watch = gateway.watch.metrics.watch
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
