"""Texts spoken ahead of time: `/api/seeds`, how a run goes (also as server-sent events), and
`/api/pre-cache-narratives`. A run is its collection's: it is known by that one's name."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import FastAPI
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sayonce.access.callers import Role
from sayonce.api import answers
from sayonce.api.bodies import Name, parse
from sayonce.api.desk import Desk, Visit, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.batch.manifest import Bounds, Items, Manifest, head_of
from sayonce.catalog.collections import UNTOLD, Listed, Tally
from sayonce.catalog.records import MICROS, Collection
from sayonce.errors import InvalidRequest, NotFound

#: The longest manifest that comes in a body, in bytes.
LONGEST = 32_000_000
# How many failures are told of, and how often it is said that nothing changed, in seconds.
_FAILURES, _SELDOM = 20, 15.0


class SeedsBody(BaseModel):
    """A manifest, and whether only to plan it, or to refuse what costs more. Its further fields are its head's."""

    model_config = ConfigDict(extra="allow")

    items: list[dict[str, Any]]
    plan: bool = False
    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class AgainBody(BaseModel):
    """In which voice a collection is to be spoken, else as it is written down; and whether only to plan that, or to
    refuse what costs more."""

    model_config = ConfigDict(extra="forbid")

    voice: Name | None = Field(default=None, validation_alias=AliasChoices("voice", "voiceId", "voice_id"))
    plan: bool = False
    max_cost: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None


class NarrativesBody(AgainBody):
    """The same, and which of the tenant's collections is meant."""

    collection: Name | None = None


class Seeds(Door):
    """What these doors have in common."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self.desk = desk

    async def manifest(self, scope: Scope, receive: Receive) -> tuple[Visit, SeedsBody, Manifest]:
        """Who sends a manifest, and which."""
        visit = await self.desk.receive(scope)
        raw = await read_body(receive, visit.headers, LONGEST, "Send the manifest in parts.")
        body = await asyncio.to_thread(parse, SeedsBody, raw)
        rows = Items(body.model_extra or {}, body.items)
        caller, longest = visit.caller, self.gateway.settings.max_text
        bounds = Bounds(caller.tenant.id, longest, share=Role.SHARE in caller.roles)
        return visit, body, Manifest(head_of(rows), rows, self.gateway.cast, bounds)

    async def found(self, visit: Visit, scope: Scope) -> Listed:
        """The caller's collection that the path names."""
        return await self.known(Collection(visit.caller.tenant.id, scope["path_params"]["name"]))

    async def known(self, collection: Collection) -> Listed:
        """The collection of that name."""
        listed = await self.gateway.catalog.collections.find(collection)
        if listed is None:
            raise NotFound("There is no such collection.", remedy="GET /api/collections lists yours.")
        return listed

    async def told(self, listed: Listed) -> dict[str, Any]:
        """How a collection stands."""
        collections = self.gateway.catalog.collections
        tally = await collections.tally(listed.collection)
        failures = await collections.failures(listed.collection, _FAILURES) if tally.failed else ()
        return {
            **progress(listed, tally, self.gateway.settings.currency),
            "failures": [
                {"item": item.sequence + 1, "role": item.role, **json.loads(item.failure or "{}")}
                for item in failures
            ],
        }


class SeedsDoor(Seeds):
    """`POST /api/seeds`: has a manifest spoken, or plans it."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit, body, manifest = await self.manifest(scope, receive)
        plan = await self.gateway.seeding.plan(manifest)
        planned = plan.told(self.gateway.settings.currency)
        if body.plan:
            return answers.as_json({"success": True, "plan": planned})
        plan.refuse_dearer(body.max_cost, self.gateway.settings.currency)
        name = manifest.head.name or f"seed-{secrets.token_hex(6)}"
        collection = Collection(visit.caller.tenant.id, name)
        await self.gateway.seeding.begin(collection, manifest)
        return accepted(name, {"plan": planned, **await self.told(await self.known(collection))})


class SeedDoor(Seeds):
    """`GET` and `DELETE /api/seeds/{name}`: how a run goes; let what is not made yet be."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self.desk.receive(scope)
        listed = await self.found(visit, scope)
        if scope["method"] == "DELETE":
            await self.gateway.seeding.stop(listed.collection)
        return answers.as_json({"success": True, **await self.told(listed)})


class EventsDoor(Seeds):
    """`GET /api/seeds/{name}/events`: how a run goes, as it goes."""

    def __init__(self, gateway: Gateway, desk: Desk, stopping: asyncio.Event) -> None:
        super().__init__(gateway, desk)
        self._stopping = stopping

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self.desk.receive(scope)
        listed = await self.found(visit, scope)
        return _Events(self._events(listed), self._stopping)

    async def _events(self, listed: Listed) -> AsyncIterator[bytes]:
        currency = self.gateway.settings.currency
        async for tally in self.gateway.seeding.watch(listed.collection, _SELDOM):
            yield _event("progress", progress(listed, tally, currency))
        gone = await self.gateway.catalog.collections.find(listed.collection) is None
        yield _event("done", await self.told(listed) | ({"status": "deleted"} if gone else {}))


class NarrativesDoor(Seeds):
    """`POST /api/pre-cache-narratives`: has a collection spoken that is written down already."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self.desk.receive(scope)
        body = parse(NarrativesBody, await read_body(receive, visit.headers, 65_536) or b"{}")
        listed = await self._meant(visit, body.collection)
        return await spoken(self, listed, body)

    async def _meant(self, visit: Visit, name: str | None) -> Listed:
        """The collection of that name, or the only one."""
        tenant = visit.caller.tenant.id
        if name is not None:
            return await self.known(Collection(tenant, name))
        found = await self.gateway.catalog.collections.listed(tenant, 0, 2)
        if len(found) == 1:
            return found[0]
        raise InvalidRequest(
            "There is no collection to speak." if not found else "Which collection is to be spoken?",
            param="collection",
            remedy="Write one down with POST /api/collections." if not found else "Name it in 'collection'.",
        )


class _Events:
    """Server-sent events, until they end, their listener leaves, or the process is told to stop: then the listener
    comes again by itself."""

    def __init__(self, events: AsyncIterator[bytes], stopping: asyncio.Event) -> None:
        self._events = events
        self._stopping = stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        telling = asyncio.ensure_future(self._tell(send))
        ends = {telling, asyncio.ensure_future(_left(receive)), asyncio.ensure_future(self._stopping.wait())}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in ends:
                each.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
        await send({"type": "http.response.body", "body": b""})

    async def _tell(self, send: Send) -> None:
        async for event in self._events:
            await send({"type": "http.response.body", "body": event, "more_body": True})


async def spoken(door: Seeds, listed: Listed, body: AgainBody) -> ASGIApp:
    """Has a collection spoken that is written down already: what is missing of it, or all of it in another voice."""
    gateway, currency = door.gateway, door.gateway.settings.currency
    if body.plan or body.max_cost is not None:
        plan = await gateway.seeding.reckon(listed.collection, gateway.cast, body.voice)
        if body.plan:
            return answers.as_json({"success": True, "plan": plan.told(currency)})
        plan.refuse_dearer(body.max_cost, currency)
    if body.voice is None:
        await gateway.seeding.again(listed.collection)
    else:
        await gateway.seeding.revoice(listed.collection, gateway.cast, body.voice)
    told = await door.told(await door.known(listed.collection))
    return accepted(listed.collection.name, told)


def accepted(name: str, told: Mapping[str, Any]) -> answers.Bytes:
    """202: it is being spoken, and where that is told."""
    return answers.as_json({"success": True, **told}, 202, [(b"location", f"/api/seeds/{quote(name)}".encode())])


def progress(listed: Listed, tally: Tally, currency: str) -> dict[str, Any]:
    """How a collection stands, as our doors tell it."""
    done = "done" if tally.kept == tally.items else "failed" if tally.failed else "stopped"
    return {
        "id": listed.collection.name,
        "collection": listed.collection.name,
        "status": "reading" if listed.found == UNTOLD else "speaking" if tally.left else done,
        "items": tally.items,
        "made": 0 if listed.seeded_at is None or listed.found == UNTOLD else max(tally.kept - listed.found, 0),
        "kept": tally.kept,
        "failed": tally.failed,
        "left": tally.left,
        "characters": tally.characters,
        "cost": tally.cost / MICROS,
        "currency": currency,
        "seconds": round(tally.seconds, 3),
        "bytes": tally.bytes,
    }


def _event(kind: str, told: Mapping[str, Any]) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(told, ensure_ascii=False)}\n\n".encode()


async def _left(receive: Receive) -> None:
    message: Message = await receive()
    while message["type"] != "http.disconnect":
        message = await receive()


def seed(body: SeedsBody) -> None:
    """Has texts spoken ahead of time, once: what is kept already is not made again. 202, and `Location` tells how it
    goes; with `plan` it is only told what would be made and what that costs."""


def show_seed(name: str) -> None:
    """How a run goes, and why some of it could not be made."""


def stop_seed(name: str) -> None:
    """Lets what is not made yet be. Seeded again, it is made."""


def follow_seed(name: str) -> None:
    """How a run goes, as server-sent events: `progress`, and `done` at the end."""


def pre_cache_narratives(body: NarrativesBody) -> None:
    """Has the texts of a collection spoken that is written down already; with `voice`, all of them in that voice
    instead."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk, stopping: asyncio.Event) -> None:
    """Hangs these doors; `stopping` is set as soon as the process is told to stop."""
    hang(app, "/api/seeds", "POST", SeedsDoor(gateway, desk), seed)
    hang(app, "/api/seeds/{name}", "GET", SeedDoor(gateway, desk), show_seed)
    hang(app, "/api/seeds/{name}", "DELETE", SeedDoor(gateway, desk), stop_seed)
    hang(app, "/api/seeds/{name}/events", "GET", EventsDoor(gateway, desk, stopping), follow_seed)
    hang(app, "/api/pre-cache-narratives", "POST", NarrativesDoor(gateway, desk), pre_cache_narratives)
