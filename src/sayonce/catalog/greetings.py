"""Tenants' greetings. What a tenant's row says now is the use of sequence 0; what it said before has 1, and is kept
until the new one is: who calls always finds one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, exists, or_, select, update

from sayonce.catalog import leases, locks, placements, wishes
from sayonce.catalog.database import Database
from sayonce.catalog.records import GREETING, Landing, Tenant, Use, Wish
from sayonce.catalog.tables import assets, tenants, uses

_NOW, _BEFORE = 0, 1


@dataclass(frozen=True, slots=True)
class Wanted:
    """A greeting that was written down: `use` is what is yet to be made, None where it is kept; `fresh` whether
    nobody had written it down before."""

    use: int | None
    fresh: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a tenant's greeting stands: what is to be heard, and what callers hear meanwhile. `failure` tells why it
    could not be made yet: JSON."""

    content_hash: bytes | None
    kept: bool
    failure: str | None
    before: bytes | None


@dataclass(frozen=True, slots=True)
class Recent:
    """A kept greeting, and its bytes."""

    content_hash: bytes
    size: int


def use_of(tenant: str) -> Use:
    """The use of what a tenant's greeting is now."""
    return Use(GREETING, tenant, _NOW, pinned=True)


def said(tenant: Tenant) -> object:
    """What decides what a tenant's greeting is."""
    return tenant.greeting, tenant.voice, tenant.chain


def supersede(connection: Connection, tenant: str) -> None:
    """Lets what the greeting is now be what it was before. What was not made of it need not be."""
    connection.execute(delete(uses).where(_of(tenant), uses.c.due.is_not(None)))
    before = select(uses.c.content_hash).where(_of(tenant), uses.c.sequence == _BEFORE)
    connection.execute(delete(uses).where(_of(tenant), uses.c.sequence == _NOW, uses.c.content_hash.in_(before)))
    now = _of(tenant) & (uses.c.sequence == _NOW)
    connection.execute(update(uses).where(now).values(sequence=_BEFORE, request=None))


def want(connection: Connection, told: Tenant, wish: Wish, now: float) -> Wanted | None:
    """Writes down that the tenant's greeting be made; None where the tenant was changed since it was `told`."""
    locks.alone_with_tenant(connection, told.id)
    there = select(tenants.c.voice, tenants.c.greeting, tenants.c.chain).where(tenants.c.id == told.id)
    row = connection.execute(there).one_or_none()
    if row is None or tuple(row) != (told.voice.dumped(), told.greeting, ",".join(told.chain) or None):
        return None
    mine = _of(told.id) & (uses.c.content_hash == wish.content_hash)
    known = connection.execute(select(uses.c.due).where(mine, uses.c.sequence == _NOW)).one_or_none()
    if known is None:
        supersede(connection, told.id)  # by other settings it was another one
        connection.execute(delete(uses).where(mine))
    [use] = wishes.add(connection, [wish], now)
    return Wanted(use, use is not None and (known is None or known.due is None))


def settle(connection: Connection, tenant: str, now: float) -> Landing:
    """Ends what the greeting was before, if what it is now is kept; all, if there is to be none any more. Answers
    what changed so."""
    locks.alone_with_tenant(connection, tenant)
    over = _of(tenant) & (~_greeting(tenant) | ((uses.c.sequence == _BEFORE) & _replaced(tenant, now)))
    return leases.held(connection, placements.end(connection, over, now), now)


def neglected(connection: Connection, now: float, tenant: str | None = None) -> list[str]:
    """The tenants, or whether that one, whose greeting is neither kept nor waiting to be made, or leaves something
    behind that is to end."""
    current = (uses.c.kind == GREETING) & (uses.c.name == tenants.c.id) & (uses.c.sequence == _NOW)
    there = exists().where(current, or_(uses.c.due.is_not(None), _kept(uses.c.content_hash, now)))
    lacking = select(tenants.c.id).where(tenants.c.greeting.is_not(None), ~tenants.c.disabled, ~there)
    over = ~_greeting(uses.c.name) | ((uses.c.sequence == _BEFORE) & _replaced(uses.c.name, now))
    leaving = select(uses.c.name).where(uses.c.kind == GREETING, over).distinct()
    if tenant is not None:
        lacking, leaving = lacking.where(tenants.c.id == tenant), leaving.where(uses.c.name == tenant)
    return sorted({*connection.execute(lacking).scalars(), *connection.execute(leaving).scalars()})


def standing(connection: Connection, tenant: str, now: float) -> Standing:
    """How the tenant's greeting stands."""
    columns = uses.c.content_hash, uses.c.sequence, uses.c.failure, _kept(uses.c.content_hash, now).label("kept")
    rows = connection.execute(select(*columns).where(_of(tenant)).order_by(uses.c.sequence, uses.c.at.desc())).all()
    own = next((row for row in rows if row.sequence == _NOW), None)
    before = next((row.content_hash for row in rows if row.sequence == _BEFORE and row.kept), None)
    if own is None:
        return Standing(None, False, None, before)
    return Standing(own.content_hash, bool(own.kept), own.failure, before)


def recent(connection: Connection, most: int, now: float) -> Sequence[Recent]:
    """At most so many kept greetings, what was used last first."""
    # That a name is not empty says nothing, but keeps SQLite from reading every use there is.
    greeting = (uses.c.kind == GREETING) & (uses.c.name > "")
    # No index gives this order: there are few greetings, and many assets that were used after them.
    last_used = (assets.c.used_at + 0.0).desc()
    kept = uses.join(assets, assets.c.content_hash == uses.c.content_hash)
    greeted = select(assets.c.content_hash, assets.c.size).select_from(kept).where(greeting, wishes.lives(now))
    rows = connection.execute(greeted.order_by(last_used, assets.c.content_hash).limit(most))
    return [Recent(*row) for row in rows]


def _of(tenant: str) -> ColumnElement[bool]:
    return (uses.c.kind == GREETING) & (uses.c.name == tenant)


def _kept(content_hash: Any, now: float) -> ColumnElement[bool]:
    return exists().where(assets.c.content_hash == content_hash, wishes.lives(now))


def _greeting(tenant: Any) -> ColumnElement[bool]:
    """Whether there is such a tenant, and it has a greeting."""
    return exists().where(tenants.c.id == tenant, tenants.c.greeting.is_not(None))


def _replaced(tenant: Any, now: float) -> ColumnElement[bool]:
    """Whether what the tenant's greeting is now is kept."""
    other = uses.alias()
    current = (other.c.kind == GREETING) & (other.c.name == tenant) & (other.c.sequence == _NOW)
    return exists().where(current, assets.c.content_hash == other.c.content_hash, wishes.lives(now))


class StoredGreetings:
    """These questions and transactions by their names. `clock` gives seconds since 1970."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    async def want(self, told: Tenant, wish: Wish) -> Wanted | None:
        """Writes down that the tenant's greeting be made; None where the tenant was changed since it was `told`."""
        return await self._database.write(want, told, wish, self._clock())

    async def settle(self, tenant: str) -> Landing:
        """Ends what the greeting was before, if what it is now is kept; all, if there is to be none any more. Answers
        what changed so."""
        return await self._database.write(settle, tenant, self._clock())

    async def neglected(self, tenant: str | None = None) -> Sequence[str]:
        """The tenants, or whether that one, whose greeting is to be seen to."""
        return await self._database.survey(neglected, self._clock(), tenant)

    async def standing(self, tenant: str) -> Standing:
        """How the tenant's greeting stands."""
        return await self._database.read(standing, tenant, self._clock())

    async def recent(self, most: int) -> Sequence[Recent]:
        """At most so many kept greetings, what was used last first."""
        return await self._database.survey(recent, most, self._clock())
