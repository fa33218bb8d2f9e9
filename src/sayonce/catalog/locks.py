"""What two transactions must not do at once, where a database runs more than one.

SQLite has one writer, who is alone with everything. On PostgreSQL whoever changes what is kept of a recipe is alone
with that recipe, to the end of its transaction.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from sqlalchemy import BigInteger, Connection, bindparam, func, select

_LOCK = select(func.pg_advisory_xact_lock(bindparam("key", type_=BigInteger)))


def alone_with_recipe(connection: Connection, *recipe_hashes: bytes) -> None:
    """Nobody else takes off with these recipes, lands or removes them."""
    _hold(connection, (b"recipe" + recipe_hash for recipe_hash in recipe_hashes))


def alone_with_place(connection: Connection, storage: str, path: str) -> None:
    """Nobody else takes that place over."""
    _hold(connection, [f"place {storage} {path}".encode()])


def alone_with_budget(connection: Connection, tenant: str) -> None:
    """Nobody else reserves anything of the tenant's budget."""
    _hold(connection, [f"budget {tenant}".encode()])


def alone_with_tenant(connection: Connection, tenant: str) -> None:
    """Nobody else changes the tenant or its greeting. Taken before any recipe."""
    _hold(connection, [f"tenant {tenant}".encode()])


def alone_with_changes(connection: Connection) -> None:
    """The change log's numbers become visible in their order: who reads it asks for what came after the last."""
    _hold(connection, [b"changes"])


def alone_with_schema(connection: Connection) -> None:
    """Nobody else migrates."""
    _hold(connection, [b"schema"])


def _hold(connection: Connection, names: Iterable[bytes]) -> None:
    if connection.dialect.name != "postgresql":
        return
    for key in sorted({int.from_bytes(hashlib.sha256(name).digest()[:8], "big", signed=True) for name in names}):
        connection.execute(_LOCK, {"key": key})
