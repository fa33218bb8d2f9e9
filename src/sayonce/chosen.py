"""What the settings choose: who speaks, where audio rests, and what holds where a request says nothing."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from sayonce.cache.cast import Customs, Missing
from sayonce.cache.orders import Retention
from sayonce.cache.tier import Tier
from sayonce.cache.upkeep import Limits
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.registry import connect
from sayonce.cluster.meeting import Manner
from sayonce.errors import InvalidSettings, MissingExtra, ProviderMisconfigured
from sayonce.providers import registry as providers
from sayonce.providers.breaker import Breaker, Rules
from sayonce.providers.chain import Voices
from sayonce.providers.contract import Provider
from sayonce.providers.declared import no_endpoint
from sayonce.settings import VENDORS, Settings, environment
from sayonce.speech.cleaning import Cleaner
from sayonce.storage import registry as storages
from sayonce.storage.contract import Storage
from sayonce.storage.database import Rows
from sayonce.storage.guarded import Guarded
from sayonce.storage.lifecycle import LIFECYCLE


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


def breakers_of(settings: Settings, speakers: Mapping[str, Provider]) -> dict[str, Breaker]:
    rules = Rules(settings.breaker_failures, rest=settings.breaker_rest)
    return {name: Breaker(name, rules) for name in speakers}


def _unset() -> dict[str, Missing]:
    """The vendors that could be there, and what to set for each."""
    unset: dict[str, Missing] = {
        name: ProviderMisconfigured(f"'{name}' is not set up.", provider=name, remedy=f"Set {environment(key)}.")
        for name, (key, _) in VENDORS.items()
    }
    return unset | {"wispr": no_endpoint("wispr")}


def upstreams_of(settings: Settings) -> tuple[dict[str, Provider], dict[str, Missing]]:
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
    return providers.make(*_part(name, table, "provider", providers.is_known))


def _unconfigured(name: str, speakers: Iterable[str]) -> InvalidSettings:
    known = f" There is a provider '{name}': add [upstreams.{name}]." if providers.is_known(name) else ""
    return InvalidSettings(
        f"The upstream '{name}' is not configured.", remedy=f"There are: {', '.join(sorted(speakers))}.{known}"
    )


def storages_of(settings: Settings, catalog: Catalog) -> dict[str, Storage]:
    patience = settings.storage_patience
    return {name: Guarded(storage_of(settings, name, catalog.bytes), patience) for name in settings.all_storages}


def storage_of(settings: Settings, name: str, rows: Rows | None) -> Storage:
    """The storage of that name, as it is: nothing guards who waits for it. `rows` are the catalog's, for one that is
    in its database. InvalidSettings where there is none, or it is told what it does not take; MissingExtra where it
    is not installed."""
    table = settings.all_storages.get(name)
    if table is None:
        raise _no_storage(name, settings.all_storages)
    _, backend, given = _part(name, table, "backend", storages.is_known)
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


def storage_named(name: str, places: Mapping[str, Storage]) -> Storage:
    if name not in places:
        raise _no_storage(name, places)
    return places[name]


def tier_of(settings: Settings, places: Mapping[str, Storage], clock: Callable[[], float]) -> Tier | None:
    if not settings.tier:
        return None
    return Tier(storage_named(settings.tier, places), settings.tier_keep, clock, sliding=settings.tier_sliding)


def limits_of(settings: Settings) -> Limits:
    return Limits(settings.max_entries, settings.max_bytes, sweep_most=settings.sweep_most)


def _part(
    name: str, table: Mapping[str, object], key: str, is_known: Callable[[str], bool]
) -> tuple[str, str, Mapping[str, object]]:
    """A table's name, what it is a table of, and the rest of it. One that has a kind's own name need not say so."""
    kind = table.get(key, name if is_known(name) else None)
    if not isinstance(kind, str):
        raise InvalidSettings(f"The table '{name}' does not say its {key}.", remedy=f'Add {key} = "…" to it.')
    return name, kind, {setting: value for setting, value in table.items() if setting != key}


def manner_of(settings: Settings) -> Manner:
    """How the gateway's processes meet."""
    told = {name: str(table.get("concurrency", "")) for name, table in settings.all_upstreams.items()}
    return Manner(
        life=settings.lease_seconds,
        url=settings.redis_url,
        patience=settings.redis_patience,
        keep=settings.shared_keep,
        turns={name: int(most) for name, most in told.items() if most.isdecimal()},
        limit=settings.miss_limit,
    )
