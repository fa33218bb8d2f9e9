"""What callers of tenants are greeted with: made when its text or voice changes, and again where it is gone."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from sayonce.batch.contract import Line
from sayonce.batch.queue import wish_of
from sayonce.batch.speaking import Speaker, told
from sayonce.cache.cast import Cast
from sayonce.cache.orders import Order, Steering
from sayonce.cache.shelf import Shelf
from sayonce.catalog.catalog import Catalog
from sayonce.catalog.greetings import use_of
from sayonce.catalog.records import GREETING, Asset, Tenant, Use
from sayonce.errors import CatalogError, SayonceError, StorageError
from sayonce.telemetry.logs import get_logger

# How often one of all processes looks for greetings that nobody has seen to, in seconds.
_EVERY = 300.0

_log = get_logger("sayonce.greetings")


@dataclass(frozen=True, slots=True)
class Greeting:
    """A greeting as it is to be spoken. `use` is what is yet to be made; None where it is kept. `fresh` is whether
    nobody else sees to that."""

    order: Order
    use: int | None
    fresh: bool


class Greetings:
    """The catalog's rows say what is to be there; what is yet to be made waits in the line."""

    def __init__(self, catalog: Catalog, shelf: Shelf, cast: Cast, line: Line, speaker: Speaker) -> None:
        self._catalog = catalog
        self._shelf = shelf
        self._cast = cast
        self._line = line
        self._speaker = speaker
        self._changed: set[str] = set()
        self._heard = asyncio.Event()
        self._tended = False

    def order(self, tenant: Tenant) -> Order:
        """How a tenant's greeting is spoken; where it has none, a word to see whether its voice can. InvalidRequest
        and its kin where it cannot."""
        return self._cast.chain(tenant.request(tenant.greeting or "Hello."), Steering(), tenant.chain).first

    async def want(self, tenant: Tenant) -> Greeting | None:
        """Has written down that a tenant's greeting be made, unless it is kept; None where the tenant was changed
        meanwhile. Errors are as for `order`, and CatalogError."""
        order = self.order(tenant)
        sys.audit("sayonce.greeting", "told")
        wanted = await self._catalog.greetings.want(tenant, wish_of(order, 0.0, use_of(tenant.id)))
        sys.audit("sayonce.greeting", "wanted")
        return None if wanted is None else Greeting(order, wanted.use, wanted.fresh)

    async def later(self, greeting: Greeting) -> None:
        """Has it made by whoever gets to it."""
        if greeting.use is not None:
            await self._line.add([greeting.use])

    async def now(self, greeting: Greeting) -> None:
        """Has it made at once. Errors are the engine's, and those of what could not be kept: then it is tried again
        later, and its standing tells why."""
        if greeting.use is None:
            return
        try:
            await self._speaker.make(greeting.use)
        except SayonceError as error:
            await self._note(greeting.use, error)
            await self.later(greeting)
            raise

    async def _note(self, use: int, error: SayonceError) -> None:
        try:
            await self._catalog.postpone(use, 0.0, told(error))
        except CatalogError as trouble:
            _log.warning("greeting.failure_untold", use=use, error=trouble.code)

    async def settle(self, tenant: str) -> None:
        """Ends what the greeting was before, as soon as what it is now is kept."""
        landing = await self._catalog.greetings.settle(tenant)
        sys.audit("sayonce.remove", "row deleted")
        await self._shelf.follow(landing)

    async def made(self, use: Use) -> None:
        """Settles the greeting that was made for a use, if it is one's. What fails is seen to later."""
        if use.kind == GREETING:
            try:
                await self.settle(use.name)
            except (CatalogError, StorageError) as error:
                _log.warning("greeting.unsettled", tenant=use.name, error=error.code)

    async def asset(self, tenant: str) -> Asset | None:
        """What a tenant's callers are greeted with now: while the new greeting is yet to be made, the one before.
        None where none is kept."""
        standing = await self._catalog.greetings.standing(tenant)
        names = (standing.content_hash if standing.kept else None, standing.before)
        for content_hash in names:
            asset = None if content_hash is None else await self._shelf.find(content_hash)
            if asset is not None:
                return asset
        return None

    def heed(self, tenant: str) -> None:
        """Sees to a tenant that was changed, where these are tended."""
        if self._tended:
            self._changed.add(tenant)
            self._heard.set()

    @asynccontextmanager
    async def tended(self) -> AsyncIterator[None]:
        """Meanwhile every greeting finds its way into the line that is neither kept nor waiting to be made: at first,
        when its tenant changes, and now and then."""
        self._tended = True
        tending = asyncio.create_task(self._tend())
        try:
            yield
        finally:
            self._tended = False
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)

    async def _tend(self) -> None:
        due = True
        while True:
            try:
                if due or await self._catalog.claim("greetings", _EVERY):
                    await self._see_to_all(None)
                due = False
                while self._changed:
                    await self._see_to_all(self._changed.pop())
            except CatalogError as error:
                _log.warning("greetings.untended", error=error.code)
            with suppress(TimeoutError):
                async with asyncio.timeout(_EVERY):
                    await self._heard.wait()
            self._heard.clear()

    async def _see_to_all(self, tenant: str | None) -> None:
        for each in await self._catalog.greetings.neglected(tenant):
            try:
                await self.see_to(each)
            except SayonceError as error:
                _log.warning("greeting.left", tenant=each, error=error.code, reason=error.message)

    async def see_to(self, name: str) -> None:
        """Has a tenant's greeting made, if that is to be done, and ends what is over."""
        tenant = await self._catalog.tenant(name)
        if tenant is not None and tenant.greeting is not None and not tenant.disabled:
            greeting = await self.want(tenant)
            if greeting is not None and greeting.fresh:
                await self.later(greeting)
        await self.settle(name)
