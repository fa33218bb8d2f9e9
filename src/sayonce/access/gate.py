"""The gate: from a key to a caller.

A known key is recognised from memory, without waiting; one that is not costs one lookup. What the catalog last said
of a key holds while the catalog is away, for a bounded time.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from sayonce.access.callers import ALL_ROLES, Caller
from sayonce.access.keys import hash_of
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.records import Tenant
from sayonce.errors import CatalogError, CatalogUnavailable, Forbidden, Unauthenticated

# How many keys are remembered.
_MOST = 10_000
# How long a key is believed before the catalog is asked again, in seconds. Changes are told by the feed before.
_FRESH = 60.0


class Gate:
    """`memory` is for how many seconds a known key holds without the catalog; `guarded` closes the gate even where
    no key was ever made. `clock` is monotonic."""

    def __init__(self, catalog: Catalog, clock: Callable[[], float], *, memory: float, guarded: bool) -> None:
        self._catalog = catalog
        self._clock = clock
        self._memory = memory
        self._guarded = guarded
        self._known: OrderedDict[bytes, Caller] = OrderedDict()
        self._open: Caller | None = None
        #: Rises whenever something that is known of any caller may have changed.
        self.epoch = 0

    def recognise(self, key: str | None) -> Caller | None:
        """The caller of a known key, or of any key while the gate is open; None where the catalog must be asked."""
        known = self._open or (self._known.get(hash_of(key)) if key is not None else None)
        if known is None or self._clock() - known.confirmed > _FRESH:
            return None
        return known

    def vouches(self, caller: Caller, epoch: int) -> bool:
        """Whether a caller that was let in at `epoch` would be let in now, as the same, without asking."""
        return epoch == self.epoch and self._clock() - caller.confirmed <= _FRESH

    async def admit(self, key: str | None) -> Caller:
        """The caller of a key. Unauthenticated where it is unknown or revoked, Forbidden where its tenant is
        disabled, CatalogUnavailable where nobody can tell."""
        return self.recognise(key) or await self._ask(key)

    @property
    def open(self) -> bool:
        """Whether everybody is let in, as the tenant `default`, since no key exists."""
        return self._open is not None

    def forget(self, *, key_id: str | None = None, tenant: str | None = None) -> None:
        """Forgets a key, or a tenant's keys: they have changed. Whether the gate is open is to be asked anew."""
        self.epoch += 1
        self._open = None
        for key_hash, known in tuple(self._known.items()):
            if known.key_id == key_id or known.tenant.id == tenant:
                del self._known[key_hash]

    def forget_all(self) -> None:
        """Forgets every key: changes may have been missed."""
        self.epoch += 1
        self._known.clear()
        self._open = None

    async def _ask(self, key: str | None) -> Caller:
        try:
            if not self._guarded and await self._is_open():
                assert self._open is not None
                return self._open
            return await self._look_up(key)
        except CatalogError as error:
            return self._remembered(key, error)

    async def _is_open(self) -> bool:
        # Revoking the last key shuts everybody out; it does not open the gate to everybody.
        if await self._catalog.keys_made():
            self.epoch += self._open is not None
            self._open = None
            return False
        tenant = await self._catalog.tenant("default") or Tenant("default")
        self._open = Caller(tenant, ALL_ROLES, confirmed=self._clock())
        return True

    async def _look_up(self, key: str | None) -> Caller:
        if not key:
            raise Unauthenticated("No API key was sent.", remedy="Send one: Authorization: Bearer sayonce_…")
        key_hash = hash_of(key)
        found = await self._catalog.key(key_hash)
        if found is None or found[0].revoked_at is not None:
            self._drop(key_hash)
            raise Unauthenticated("This API key is not valid.", remedy="Make one: sayonce keys create")
        row, tenant = found
        if tenant.disabled:
            self._drop(key_hash)
            raise Forbidden(f"The tenant '{tenant.id}' is disabled.", remedy="Ask who runs this gateway.")
        caller = Caller(tenant, row.roles, row.id, self._clock())
        self._remember(key_hash, caller)
        return caller

    def _drop(self, key_hash: bytes) -> None:
        if self._known.pop(key_hash, None) is not None:
            self.epoch += 1

    def _remember(self, key_hash: bytes, caller: Caller) -> None:
        self.epoch += self._known.get(key_hash, caller) != caller
        self._known[key_hash] = caller
        self._known.move_to_end(key_hash)
        while len(self._known) > _MOST:
            self._known.popitem(last=False)

    def _remembered(self, key: str | None, error: CatalogError) -> Caller:
        """Who it was when the catalog was last asked, if that is not too long ago."""
        known = self._open or (self._known.get(hash_of(key)) if key is not None else None)
        if known is None or self._clock() - known.confirmed > self._memory:
            raise CatalogUnavailable(
                "The catalog cannot be read, so this API key cannot be checked.",
                backend=error.backend,
                remedy="Try again in a moment.",
            ) from error
        return known
