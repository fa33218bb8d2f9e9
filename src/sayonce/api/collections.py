"""Collections: named sets of texts, written down, listed, spoken and ended. `/api/collections`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers
from sayonce.api.bodies import parse, parse_query
from sayonce.api.desk import Desk, Visit, query_of, read_body
from sayonce.api.door import hang
from sayonce.api.links import Links
from sayonce.api.seeds import AgainBody, Seeds, progress, spoken
from sayonce.api.voice import may_have, row
from sayonce.app import Gateway
from sayonce.catalog.collections import Item, Listed
from sayonce.catalog.records import Collection
from sayonce.errors import InvalidRequest

# How many uses are ended at a time.
_BATCH = 200


class CollectionsPage(BaseModel):
    """Which collections are wanted: those after what `next` said, at most so many."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[int, Field(ge=0, le=10**15)] = 0
    limit: Annotated[int, Field(ge=1, le=200)] = 50


class ItemsPage(BaseModel):
    """Which items are wanted: those after what `next` said, at most so many."""

    model_config = ConfigDict(extra="forbid")

    after: Annotated[str, Field(pattern=r"^\d{1,12}-\d{1,18}$")] = "0-0"
    limit: Annotated[int, Field(ge=0, le=500)] = 100


class CollectionsDoor(Seeds):
    """`GET` and `POST /api/collections`: those of the caller's tenant; writes one down."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        return await (self._write(scope, receive) if scope["method"] == "POST" else self._list(scope))

    async def _write(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit, _, manifest = await self.manifest(scope, receive)
        if manifest.head.name is None:
            raise InvalidRequest("A collection has a name.", param="name", remedy="Send 'name'.")
        await self.gateway.seeding.plan(manifest)  # which refuses what is wrong
        collection = Collection(visit.caller.tenant.id, manifest.head.name)
        await self.gateway.seeding.begin(collection, manifest, speak=False)
        told = await self.told(await self.known(collection))
        return answers.as_json({"success": True, **told}, 201)

    async def _list(self, scope: Scope) -> ASGIApp:
        visit = await self.desk.receive(scope)
        page = parse_query(CollectionsPage, query_of(scope))
        collections, currency = self.gateway.catalog.collections, self.gateway.settings.currency
        found = await collections.listed(visit.caller.tenant.id, page.after, page.limit)
        told = [progress(each, await collections.tally(each.collection), currency) for each in found]
        following = found[-1].id if len(found) == page.limit else None
        return answers.as_json({"success": True, "collections": told, "next": following})


class CollectionDoor(Seeds):
    """`GET` and `DELETE /api/collections/{name}`: its items and their audio; its end."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self.desk.receive(scope)
        listed = await self.found(visit, scope)
        return await (self._end(listed) if scope["method"] == "DELETE" else self._show(scope, visit, listed))

    async def _show(self, scope: Scope, visit: Visit, listed: Listed) -> ASGIApp:
        page = parse_query(ItemsPage, query_of(scope))
        sequence, last = (int(part) for part in page.after.split("-"))
        found = await self.gateway.catalog.collections.items(listed.collection, (sequence, last), page.limit)
        links = Links(self.gateway, scope)
        items = [await self._item(item, links, visit) for item in found]
        following = f"{found[-1].sequence}-{found[-1].id}" if found and len(found) == page.limit else None
        return answers.as_json({"success": True, **await self.told(listed), "entries": items, "next": following})

    async def _item(self, item: Item, links: Links, visit: Visit) -> dict[str, Any]:
        asset = await self.gateway.shelf.find(item.content_hash) if item.kept else None
        told: dict[str, Any] = {"item": item.sequence + 1, "role": item.role}
        if asset is None or not may_have(visit, asset.owner):
            return told | {"kept": False}
        url = await links.of(asset, visit.caller.tenant)
        return told | {"kept": True, **row(asset), "text": asset.text, "url": url}

    async def _end(self, listed: Listed) -> ASGIApp:
        ended = 0
        while True:
            number, landing = await self.gateway.catalog.collections.drop(listed.collection, _BATCH)
            await self.gateway.shelf.follow(landing)
            if not number:
                return answers.as_json({"deleted": True, "collection": listed.collection.name, "items": ended})
            ended += number


class SeedCollectionDoor(Seeds):
    """`POST /api/collections/{name}/seed`: has it spoken."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self.desk.receive(scope)
        body = parse(AgainBody, await read_body(receive, visit.headers, 65_536) or b"{}")
        return await spoken(self, await self.found(visit, scope), body)


def list_collections(after: int = 0, limit: int = 50) -> None:
    """The tenant's collections, and how each stands."""


def write_collection(body: dict[str, Any]) -> None:
    """Writes a collection down: `name`, what holds for all of it (`voices`, `formats`, `keep`, `scope`, …), and its
    `items`, each with a `text`. Nothing is spoken until it is seeded."""


def show_collection(name: str, after: str = "0-0", limit: int = 100) -> None:
    """How a collection stands, and its items in their order, each that is kept with its audio's URL."""


def delete_collection(name: str) -> None:
    """Ends a collection, with what was kept for it alone."""


def seed_collection(name: str, body: AgainBody) -> None:
    """Has spoken what is missing of a collection; with `voice`, all of its texts in that voice instead. 202, and
    `Location` tells how it goes."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors."""
    hang(app, "/api/collections", "GET", CollectionsDoor(gateway, desk), list_collections)
    hang(app, "/api/collections", "POST", CollectionsDoor(gateway, desk), write_collection)
    hang(app, "/api/collections/{name}", "GET", CollectionDoor(gateway, desk), show_collection)
    hang(app, "/api/collections/{name}", "DELETE", CollectionDoor(gateway, desk), delete_collection)
    hang(app, "/api/collections/{name}/seed", "POST", SeedCollectionDoor(gateway, desk), seed_collection)
