"""What a business's callers are greeted with: `POST` and `GET /admin/tts/greeting/{business_id}`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from fastapi import FastAPI, Header
from pydantic import RootModel
from starlette.types import ASGIApp, Receive, Scope

from sayonce.access.callers import Role
from sayonce.api import answers, deferred, links, tenants
from sayonce.api.bodies import parse
from sayonce.api.desk import Desk, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.batch.greetings import Greeting
from sayonce.catalog.records import Tenant
from sayonce.errors import InvalidRequest, InvalidText, StorageUnavailable

_LONGEST_BODY = 1_000_000
# How often a tenant may be changed by others while its greeting is made.
_TRIES = 5


class GreetingBody(RootModel[dict[str, Any]]):
    """`text`, and how it is spoken: `provider`, `model`, `voice`, `language`, `speed`, `pitch`, `style`,
    `instructions`, `options`, `format`. What is told is the tenant's from now on; null is as usual again."""


class GreetingDoor(Door):
    """Says what a tenant's greeting is to be, has it made where it is not kept, and tells where its audio is."""

    words: ClassVar[Mapping[str, str]] = {"input": "text", "upstream": "provider", "response_format": "format"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope, Role.ADMIN)
        tenant = await tenants.found(self.gateway, scope["path_params"]["business_id"])
        where = links.Links(self.gateway, scope)
        if scope["method"] in ("GET", "HEAD"):
            return await self._standing(tenant, where)
        body = parse(GreetingBody, await read_body(receive, visit.headers, _LONGEST_BODY) or b"{}")
        if body.root:
            tenant = await tenants.change(self.gateway, tenant, _told(body.root))
        later = deferred.preferred(scope, visit.steering) is not None
        made = False
        for _ in range(_TRIES):
            greeting = await self._wanted(tenant)
            if greeting is None:  # it was changed meanwhile: what holds is what was said last
                tenant = await tenants.found(self.gateway, tenant.id)
            elif greeting.use is None:
                return await self._kept(greeting, tenant, where, made)
            elif later:
                await self.gateway.greetings.later(greeting)
                return _queued(greeting, tenant, where)
            else:
                await self.gateway.greetings.now(greeting)
                made = True
        raise StorageUnavailable(
            "The greeting was not kept.", backend="storage", remedy="Try again: it is stored, and made later, too."
        )

    async def _wanted(self, tenant: Tenant) -> Greeting | None:
        if tenant.greeting is None:
            raise InvalidRequest(
                "This tenant has no greeting.", param="text", remedy='Send one: {"text": "Good morning …"}.'
            )
        return await self.gateway.greetings.want(tenant)

    async def _kept(self, greeting: Greeting, tenant: Tenant, where: links.Links, made: bool) -> ASGIApp:
        await self.gateway.greetings.settle(tenant.id)
        asset = await self.gateway.shelf.find(greeting.order.content_hash)
        if asset is None:
            raise links.not_there()  # somebody deleted it at this moment
        name = asset.content_hash.hex()
        told = {"status": "ok", "audio_url": await where.of(asset, tenant), "content_hash": name, "cached": not made}
        return answers.as_json(told, headers=[(b"x-content-hash", name.encode())])

    async def _standing(self, tenant: Tenant, where: links.Links) -> ASGIApp:
        standing = await self.gateway.catalog.greetings.standing(tenant.id)
        heard = await self.gateway.greetings.asset(tenant.id)
        status = "ok" if standing.kept else "none" if tenant.greeting is None else "queued"
        told = {
            "status": status,
            "text": tenant.greeting,
            "voice": tenant.voice.told(),
            "content_hash": None if standing.content_hash is None else standing.content_hash.hex(),
            "audio_url": None if heard is None else await where.of(heard, tenant),
            "failure": None if standing.failure is None else json.loads(standing.failure),
        }
        return answers.as_json(told)


def _told(body: dict[str, Any]) -> dict[str, Any]:
    """What a body says of its tenant."""
    voice, told = dict(body), dict[str, Any]()
    if "text" in voice:
        text = voice.pop("text")
        if not isinstance(text, str) or not text.strip():
            raise InvalidText(
                "The text is empty, or no text.",
                param="text",
                remedy='Send a text; `PATCH /admin/tenants/…` with {"greeting": ""} ends a greeting.',
            )
        told["greeting"] = text
    return told | ({"voice": voice} if voice else {})


def _queued(greeting: Greeting, tenant: Tenant, where: links.Links) -> ASGIApp:
    name = greeting.order.content_hash
    url = where.later(name, greeting.order.format)
    told = {"status": "queued", "audio_url": url, "content_hash": name.hex(), "cached": False}
    headers: answers.Headers = [
        (b"location", f"/admin/tts/greeting/{tenant.id}".encode()),
        (b"preference-applied", b"respond-async"),
        (b"x-content-hash", name.hex().encode()),
        (b"retry-after", b"1"),
    ]
    return answers.as_json(told, 202, headers)


def make_greeting(business_id: str, body: GreetingBody, prefer: Annotated[str | None, Header()] = None) -> None:
    """Stores what is told of a tenant's greeting, has it made where it is not kept, and tells where its audio is.
    With `Prefer: respond-async` the answer to what is yet to be made is 202. What could not be made stays stored, and
    is tried again."""


def show_greeting(business_id: str) -> None:
    """A tenant's greeting, whether it is made, why it could not be, and what callers hear meanwhile."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors."""
    hang(app, "/admin/tts/greeting/{business_id}", "POST", GreetingDoor(gateway, desk), make_greeting)
    hang(app, "/admin/tts/greeting/{business_id}", "GET", GreetingDoor(gateway, desk), show_greeting)
