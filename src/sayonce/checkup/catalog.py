"""Is the catalog there, of this version, and can it be written to? And who is let in?"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator

from sayonce.access.loopback import is_loopback, refuse_open_doors
from sayonce.catalog import schema
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.database import Condition, Database
from sayonce.catalog.registry import connect
from sayonce.catalog.tables import SCHEMA_VERSION
from sayonce.checkup.clock import Clocks
from sayonce.checkup.findings import Finding, Part
from sayonce.errors import CatalogError, InvalidSettings, MissingExtra
from sayonce.settings import Settings

#: Below so many bytes that are left on its disk, it is said.
ROOM = 500_000_000

PART = Part("catalog")
_EXPOSURE = Part("exposure")


async def findings(settings: Settings, clocks: Clocks) -> AsyncGenerator[Finding, None]:
    """What can be said of the settings' catalog, and of the doors that its keys open."""
    try:
        database = connect(settings.database)
    except (InvalidSettings, MissingExtra) as error:
        yield PART.failed("set up", error)
        return
    catalog = Catalog(database, time.time)
    try:
        condition = await database.examine()
    except CatalogError as error:
        yield PART.failed("reached", error)
        yield _EXPOSURE.skipped("keys", "Only the catalog knows whether there are any.")
    else:
        for finding in of(condition, database, clocks):
            yield finding
        yield await _exposure(settings, catalog, condition)
    finally:
        await catalog.aclose()


def of(condition: Condition, database: Database, clocks: Clocks) -> Iterator[Finding]:
    """What is said of a catalog that was reached."""
    yield PART.ok("reached", f"It is there, in {database.backend}.")
    yield _schema(condition, database)
    if condition.objection is None:
        yield PART.ok("written", "It can be written to.")
    else:
        yield PART.failed("written", condition.objection)
    if condition.room is not None:
        yield _room(condition.room)
    if condition.ahead is not None:
        clocks.add(PART.name, condition.ahead)


def _schema(condition: Condition, database: Database) -> Finding:
    if condition.version is None:
        return PART.ok("schema", "It is empty: the first start makes its tables.")
    if condition.version == SCHEMA_VERSION:
        return PART.ok("schema", f"It is version {SCHEMA_VERSION}, this sayonce's.")
    return PART.failed("schema", schema.mismatch(condition.version, database.backend))


def _room(left: int) -> Finding:
    said = f"Its disk has {left / 1e9:,.1f} GB left."
    return PART.ok("room", said) if left >= ROOM else PART.warning("room", said, "Free some space there.")


async def _exposure(settings: Settings, catalog: Catalog, condition: Condition) -> Finding:
    if condition.version not in (None, SCHEMA_VERSION):
        return _EXPOSURE.skipped("keys", "It is checked when the catalog is of this version.")
    try:
        keys = 0 if condition.version is None else await catalog.valid_keys()
        if not settings.require_keys:
            refuse_open_doors(settings.host, keys)
    except (CatalogError, InvalidSettings) as error:
        return _EXPOSURE.failed("keys", error)
    if keys == 0 and settings.require_keys:
        return _EXPOSURE.warning(
            "keys", "Keys are asked for, and there is none: nobody is let in.", "Make one: sayonce keys create"
        )
    there = "this machine alone" if is_loopback(settings.host) else f"others ({settings.host})"
    return _EXPOSURE.ok("keys", f"It listens to {there}, with {keys or 'no'} key{'s' * (keys != 1)}.")
