"""API keys: made, shown once, kept as their SHA-256."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterable

from sayonce.access.callers import Role
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import ApiKey

_PREFIX = "sayonce_"


def hash_of(key: str) -> bytes:
    """What the catalog knows a key by. A key is 256 random bits, so a plain hash hides it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


async def create(
    catalog: Catalog, tenant: str, label: str, roles: Iterable[Role], clock: Callable[[], float]
) -> tuple[ApiKey, str]:
    """A new key of a tenant, and the key itself, which is nowhere else. NotFound where there is no such tenant."""
    key = _PREFIX + secrets.token_urlsafe(32)
    row = ApiKey(secrets.token_hex(4), tenant, label, frozenset(roles), clock())
    await catalog.add_key(hash_of(key), row)
    return row, key
