"""Can a storage be written, read, listed and emptied; are its addresses good; what does its bucket do by itself?"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from sayonce.catalog.catalog import Catalog
from sayonce.catalog.database import Database
from sayonce.catalog.registry import connect
from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.checkup.clock import Clocks
from sayonce.checkup.findings import Finding, Part
from sayonce.chosen import storage_of
from sayonce.errors import BlobNotFound, CatalogError, InvalidSettings, MissingExtra, StorageError
from sayonce.redaction import shown
from sayonce.settings import Settings, environment
from sayonce.settings_parts import STORES
from sayonce.storage import lifecycle
from sayonce.storage.contract import LifecycleRule, Serving, Storage

_DATA = b"sayonce doctor was here, and may be deleted.\n"
_SERVING = Serving("text/plain", "private, no-cache")
# Seconds to fetch what an address leads to, and to take a blob away when there is no time left.
_FETCH, _LAST = 5.0, 2.0


@dataclass(frozen=True, slots=True)
class _Needs:
    """What a backend must be told, in its table's words, and what may stand in for that."""

    told: tuple[str, ...]
    unless: str = ""


_NEEDS = {
    "s3": _Needs(("access_key_id", "secret_access_key"), ", unless this machine has a role that may use the bucket"),
    "gcs": _Needs(("credentials",), ", unless this machine has a service account that may use the bucket"),
    "supabase": _Needs(("project_url", "service_key")),
    "databricks": _Needs(("host", "token"), ", unless callers bring credentials of their own"),
}


def part_of(name: str) -> Part:
    """What findings of that storage are of."""
    return Part(f"storage {shown(name)}")


def used(settings: Settings) -> Sequence[str]:
    """The storages that the settings name, and the local one where audio is."""
    tables = settings.all_storages
    root = str(tables["local"].get("root", ""))
    local = bool(root) and Path(root).exists()
    named = [name for name in tables if name in settings.storages or "://" in name or (name == "local" and local)]
    return [*dict.fromkeys([settings.storage, *filter(None, [settings.tier]), *named])]


async def findings(settings: Settings, name: str, clocks: Clocks) -> AsyncGenerator[Finding, None]:
    """What can be said of one storage."""
    part, table = part_of(name), settings.all_storages.get(name, {})
    async with AsyncExitStack() as stack:
        storage, reached = await _reached(part, settings, name, stack)
        for finding in (*_variables(part, table, reached=storage is not None), *reached):
            yield finding
        if storage is None:
            return
        # Only what new audio goes to is to give addresses.
        delivery = settings.delivery if name == settings.storage else "gateway"
        async with aclosing(_tried(part, storage, delivery, clocks)) as tried:
            async for finding in tried:
                yield finding
        yield await _lifecycle(part, storage, table, settings.keep)


async def _reached(
    part: Part, settings: Settings, name: str, stack: AsyncExitStack
) -> tuple[Storage | None, Sequence[Finding]]:
    """The storage, where there is one that can be used, and what is said of that."""
    try:
        storage = await _opened(settings, name, stack)
        if storage is None:
            return None, [part.skipped("all", "It is in the catalog, which has no tables of this version yet.")]
        await storage.probe()
    except (InvalidSettings, MissingExtra, CatalogError) as error:
        return None, [part.failed("set up", error)]
    except StorageError as error:
        later = part.skipped("all else", "It is checked when that works.")
        return None, [part.failed("written and read", error), later]
    return storage, [part.ok("written and read", "It can be.")]


async def _opened(settings: Settings, name: str, stack: AsyncExitStack) -> Storage | None:
    """The storage; None where it is in a catalog that is not ready."""
    table = settings.all_storages.get(name, {})
    catalog: Catalog | None = None
    if "database" in (table.get("backend"), name):
        catalog = Catalog(database := connect(settings.database), time.time)
        stack.push_async_callback(catalog.aclose)
        if not await _is_ready(database):
            return None
    storage = storage_of(settings, name, None if catalog is None else catalog.bytes)
    stack.push_async_callback(storage.aclose)
    return storage


async def _is_ready(database: Database) -> bool:
    return await database.version() == SCHEMA_VERSION


# ── what it is told ──────────────────────────────────────────────────────────────────────────────


def _variables(part: Part, table: Mapping[str, object], *, reached: bool) -> Sequence[Finding]:
    """Which of the backend's own variables are not set; where it was reached without them, that is right."""
    backend = str(table.get("backend"))
    needs = _NEEDS.get(backend)
    if needs is None:
        return ()
    missing = [environment(STORES[backend][key]) for key in needs.told if table.get(key) is None]
    if not missing:
        return [part.ok("variables", "They are set.")]
    said = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set"
    if reached:
        return [part.ok("variables", f"{said}, and not needed.")]
    return [part.wrong("variables", f"{said}.", f"Set {'it' if len(missing) == 1 else 'them'}{needs.unless}.")]


# ── what it does ─────────────────────────────────────────────────────────────────────────────────


async def _tried(part: Part, storage: Storage, delivery: str, clocks: Clocks) -> AsyncGenerator[Finding, None]:
    """A blob comes and goes."""
    path = f"doctor-{secrets.token_hex(8)}.txt"
    try:
        try:
            await storage.write(path, _DATA, {"made_by": "sayonce doctor"}, _SERVING)
        except StorageError as error:
            yield part.failed("blob", error)
            return
        yield await _read_back(part, storage, path)
        yield await _listed(part, storage, path)
        yield await _address(part, storage, path, delivery, clocks)
        yield await _deleted(part, storage, path)
    except BaseException:
        with suppress(StorageError, TimeoutError):
            async with asyncio.timeout(_LAST):
                await storage.delete(path)
        raise


async def _read_back(part: Part, storage: Storage, path: str) -> Finding:
    try:
        if await storage.read(path) == _DATA and await storage.metadata(path) == {"made_by": "sayonce doctor"}:
            return part.ok("blob", "What was written came back, with what was told of it.")
    except StorageError as error:
        return part.failed("blob", error)
    return part.wrong("blob", "Other bytes came back than were written.", "See who else writes there.")


async def _listed(part: Part, storage: Storage, path: str) -> Finding:
    try:
        if path in [blob.path async for blob in storage.list(path)]:
            return part.ok("list", "It can be listed.")
    except StorageError as error:
        return part.failed("list", error)
    return part.wrong("list", "Its list lacks what was just written.", "Upkeep and adoption need it: see its rights.")


async def _deleted(part: Part, storage: Storage, path: str) -> Finding:
    try:
        await storage.delete(path)
        await storage.read(path)
    except BlobNotFound:
        return part.ok("delete", "What was written is gone again.")
    except StorageError as error:
        return part.failed("delete", error)
    return part.wrong(
        "delete", f"{path} was deleted, and is still there.", "See whether the bucket lets go of anything."
    )


async def _address(part: Part, storage: Storage, path: str, delivery: str, clocks: Clocks) -> Finding:
    redirects = delivery == "storage"
    try:
        url = await storage.url(path, 60)
    except StorageError as error:
        return part.failed("address", error)
    if url is None and redirects:
        return part.warning(
            "address",
            "It gives none, so the gateway serves in its place.",
            'Set delivery = "gateway", or public_url.',
        )
    if url is None:
        return part.skipped("address", "It gives none: the gateway serves its audio.")
    wrong = await _fetched(url, part, clocks)
    if wrong is None:
        return part.ok("address", "The one that it gives can be fetched.")
    remedy = "See that the key may sign, and where the bucket is reached from outside (public_url)."
    return (part.wrong if redirects else part.warning)("address", f"The one that it gives {wrong}.", remedy)


async def _fetched(url: str, part: Part, clocks: Clocks) -> str | None:
    """What is wrong with what an address leads to; the address itself, which is a secret, is not told."""
    try:
        async with httpx.AsyncClient(timeout=_FETCH, follow_redirects=True, trust_env=False) as client:
            answer = await client.get(url)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return f"cannot be fetched from here ({type(error).__name__})"
    clocks.told_by(part.name, answer.headers)
    if answer.status_code != 200:
        return f"answers {answer.status_code}"
    return None if answer.content == _DATA else "answers with something else"


# ── what it does by itself ───────────────────────────────────────────────────────────────────────


async def _lifecycle(part: Part, storage: Storage, table: Mapping[str, object], keep: float | None) -> Finding:
    try:
        wanted = lifecycle.wanted(storage.name, table, keep)
        there = await storage.lifecycle()
    except InvalidSettings as error:
        return part.failed("lifecycle", error)
    except StorageError as error:
        return part.warning("lifecycle", error.message, error.remedy)
    if there is None:
        return part.skipped("lifecycle", "It has no such rules.")
    return _rules(part, there, wanted, asked=lifecycle.LIFECYCLE in table)


def _rules(part: Part, there: Sequence[LifecycleRule], wanted: Sequence[LifecycleRule], *, asked: bool) -> Finding:
    said = f"Its bucket's rules: {'; '.join(map(lifecycle.shown, there)) or 'none'}."
    if asked and list(there) != list(wanted):
        return part.warning("lifecycle", f"{said} The settings ask for others.", "sayonce lifecycle show, then apply")
    if lifecycle.deletes(there) and not lifecycle.deletes(wanted):
        return part.warning(
            "lifecycle",
            f"{said} What is kept for longer is deleted, and paid for again.",
            "Take that rule away, or set keep to less.",
        )
    return part.ok("lifecycle", said)
