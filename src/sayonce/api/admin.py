"""What whoever runs the gateway may tell it: upkeep, and what is to go."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

from fastapi import FastAPI
from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field
from starlette.types import ASGIApp, Receive, Scope

from sayonce.access.callers import Role
from sayonce.api import answers
from sayonce.api.bodies import Name, parse
from sayonce.api.desk import Desk, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.catalog.records import Selection
from sayonce.errors import InvalidRequest
from sayonce.units import span

_LONGEST_BODY = 65_536


class UpkeepBody(BaseModel):
    """What a run of upkeep is to do."""

    model_config = ConfigDict(extra="forbid")

    dry_run: bool = False
    sweep_all: bool = False


class InvalidateBody(BaseModel):
    """Which assets are meant: those of which all that is told holds."""

    model_config = ConfigDict(extra="forbid")

    tenant: Name | None = None
    collection: Name | None = None
    session: Name | None = None
    user: Name | None = None
    voice: Name | None = None
    provider: Name | None = Field(default=None, validation_alias=AliasChoices("provider", "upstream"))
    older_than: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(span)] = None
    dry_run: bool = False

    def selection(self) -> Selection:
        """Of what. InvalidRequest where nothing is told, which would be all there is."""
        told = self.model_dump(exclude={"dry_run", "older_than", "provider"})
        before = None if self.older_than is None else time.time() - self.older_than
        which = Selection(**told, upstream=self.provider, made_before=before)
        if which == Selection():
            raise InvalidRequest(
                "Nothing was selected.",
                param="tenant",
                remedy="Name a tenant, collection, session, user, voice, provider or older_than.",
            )
        return which


class UpkeepDoor(Door):
    """`POST /admin/upkeep`: a run of upkeep, now."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope, Role.ADMIN)
        body = parse(UpkeepBody, await read_body(receive, visit.headers, _LONGEST_BODY) or b"{}")
        await self.gateway.flush()
        report = await self.gateway.upkeep.run(dry=body.dry_run, sweep_all=body.sweep_all)
        return answers.as_json({"success": True, "dry_run": body.dry_run, **asdict(report)})


class InvalidateDoor(Door):
    """`POST /admin/invalidate`: removes what is selected."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope, Role.ADMIN)
        body = parse(InvalidateBody, await read_body(receive, visit.headers, _LONGEST_BODY))
        which = body.selection()
        if body.dry_run:
            return answers.as_json({"success": True, "selected": await self.gateway.catalog.selected(which)})
        removed = await self.gateway.upkeep.invalidate(which)
        self.gateway.hot.clear()
        return answers.as_json({"success": True, "removed": removed})


def run_upkeep(body: UpkeepBody) -> None:
    """Deletes what expired, what is too much, and what nobody names any more; tells how much."""


def invalidate(body: InvalidateBody) -> None:
    """Removes every asset of which all that is told holds, with its uses."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs these doors."""
    hang(app, "/admin/upkeep", "POST", UpkeepDoor(gateway, desk), run_upkeep)
    hang(app, "/admin/invalidate", "POST", InvalidateDoor(gateway, desk), invalidate)
