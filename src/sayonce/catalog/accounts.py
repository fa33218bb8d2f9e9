"""Queries on tenants and their keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, func, insert, select, update

from sayonce.catalog import changes, greetings, locks
from sayonce.catalog.database import Lookup
from sayonce.catalog.records import ApiKey, Tenant
from sayonce.catalog.tables import keys, tenants
from sayonce.catalog.upserts import upsert
from sayonce.errors import NotFound
from sayonce.speech.voices import VoiceSettings

_key_columns = (keys.c.id, keys.c.tenant, keys.c.label, keys.c.roles, keys.c.made_at, keys.c.revoked_at)
_tenant_columns = (
    tenants.c.id,
    tenants.c.rate,
    tenants.c.burst,
    tenants.c.budget,
    tenants.c.public,
    tenants.c.disabled,
    tenants.c.chain,
    tenants.c.voice,
    tenants.c.greeting,
)

#: A key and its tenant by the key's SHA-256.
BY_KEY = Lookup(
    select(*_key_columns, *(column.label(f"tenant_{column.name}") for column in _tenant_columns))
    .join(tenants, tenants.c.id == keys.c.tenant)
    .where(keys.c.key_hash == bindparam("key_hash"))
)

#: One tenant by its id.
BY_TENANT = Lookup(select(*_tenant_columns).where(tenants.c.id == bindparam("id")))


def key_and_tenant(rows: Sequence[Sequence[Any]]) -> tuple[ApiKey, Tenant] | None:
    """The records of a lookup's rows; None where the key is unknown."""
    return (_key(rows[0][:6]), _tenant(rows[0][6:])) if rows else None


def tenant_of(rows: Sequence[Sequence[Any]]) -> Tenant | None:
    """The record of a lookup's rows; None where there is no such tenant."""
    return _tenant(rows[0]) if rows else None


def tenant(connection: Connection, tenant_id: str) -> Tenant | None:
    """The tenant of that id, within a transaction."""
    return tenant_of(connection.execute(BY_TENANT.statement, {"id": tenant_id}).all())


def put_tenant(connection: Connection, put: Tenant, now: float) -> None:
    """Makes the tenant, or gives it these values."""
    alter_tenant(connection, put.id, lambda _: put, now)


def alter_tenant(
    connection: Connection, tenant_id: str, change: Callable[[Tenant | None], Tenant], now: float
) -> Tenant:
    """Makes of a tenant, or of None, what `change` says. Of a greeting that is another from now on what is kept
    stays until the new one is. What `change` raises changes nothing."""
    locks.alone_with_tenant(connection, tenant_id)
    before = tenant(connection, tenant_id)
    after = change(before)
    row = {
        "id": tenant_id,
        "rate": after.rate,
        "burst": after.burst,
        "budget": after.budget,
        "public": after.public,
        "disabled": after.disabled,
        "chain": ",".join(after.chain) or None,
        "voice": after.voice.dumped(),
        "greeting": after.greeting,
        "made_at": now,
    }
    changed = [name for name in row if name not in ("id", "made_at")]
    connection.execute(upsert(connection, tenants, key=["id"], replace=changed), row)
    if before is not None and greetings.said(before) != greetings.said(after):
        greetings.supersede(connection, tenant_id)
    changes.append(connection, "tenant", tenant_id, now)
    return after


def add_key(connection: Connection, key_hash: bytes, key: ApiKey) -> None:
    """Adds a key to a tenant; NotFound where there is no such tenant."""
    if connection.execute(select(tenants.c.id).where(tenants.c.id == key.tenant)).one_or_none() is None:
        raise NotFound(f"There is no tenant '{key.tenant}'.", remedy="Make the tenant first, or use 'default'.")
    connection.execute(
        insert(keys).values(
            key_hash=key_hash,
            id=key.id,
            tenant=key.tenant,
            label=key.label,
            roles=",".join(sorted(key.roles)),
            made_at=key.made_at,
        )
    )
    # No memory holds a new key yet, but an open gate must learn that there is one.
    changes.append(connection, "key", "", key.made_at)


def revoke_key(connection: Connection, key_id: str, now: float) -> None:
    """Ends a key for good; NotFound where there is none of that id, or it is revoked already."""
    valid = (keys.c.id == key_id) & keys.c.revoked_at.is_(None)
    if connection.execute(update(keys).where(valid).values(revoked_at=now)).rowcount == 0:
        raise NotFound(f"There is no valid key '{key_id}'.", remedy="'sayonce keys list' shows them.")
    changes.append(connection, "key", key_id, now)


def list_keys(connection: Connection) -> tuple[ApiKey, ...]:
    """Every key, oldest first."""
    return tuple(_key(tuple(row)) for row in connection.execute(select(*_key_columns).order_by(keys.c.made_at)))


def keys_made(connection: Connection) -> int:
    """How many keys were ever made, revoked ones among them."""
    return connection.execute(select(func.count()).select_from(keys)).scalar_one()


def valid_keys(connection: Connection) -> int:
    """How many keys are not revoked."""
    return connection.execute(select(func.count()).where(keys.c.revoked_at.is_(None))).scalar_one()


def _key(row: Sequence[Any]) -> ApiKey:
    return ApiKey(row[0], row[1], row[2], frozenset(row[3].split(",")), row[4], row[5])


def _tenant(row: Sequence[Any]) -> Tenant:
    chain = tuple(row[6].split(",")) if row[6] else ()
    voice = VoiceSettings.loaded(row[7])
    return Tenant(row[0], row[1], row[2], row[3], bool(row[4]), bool(row[5]), chain, voice, row[8])
