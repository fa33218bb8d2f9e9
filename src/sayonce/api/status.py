"""How it goes: `/api/health`, `/api/cache-stats`, `/metrics`."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope

from sayonce.access.callers import Role
from sayonce.api import answers
from sayonce.api.answers import Bytes
from sayonce.api.desk import Desk, Visit
from sayonce.api.door import Door, hang
from sayonce.api.figures import Telling
from sayonce.app import VERSION, Gateway
from sayonce.errors import AccessError, CatalogError, Forbidden, StorageError
from sayonce.providers.breaker import State
from sayonce.telemetry.siblings import Siblings


class HealthDoor(Door):
    """Alive, and ready: `/api/health` answers while the process lives, `/api/health/ready` 503 while it could not
    keep what it speaks, or is about to stop. An admin's key is told how each upstream stands, too."""

    for_callers: ClassVar[bool] = False

    def __init__(self, gateway: Gateway, desk: Desk, stopping: asyncio.Event, *, strict: bool) -> None:
        super().__init__(gateway)
        self._desk = desk
        self._stopping = stopping
        self._strict = strict

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        parts = {
            "gateway": "stopping" if self._stopping.is_set() else "ok",
            "catalog": await self._catalog(),
            "storage": await self._storage(),
        }
        keeps = all(state == "ok" for state in parts.values())
        if self.gateway.meeting.trouble is not None:
            parts["redis"] = self.gateway.meeting.trouble() or "ok"
        upstreams = {name: breaker.state for name, breaker in self.gateway.cast.breakers.items()}
        well = set(parts.values()) == {"ok"} and all(state is State.CLOSED for state in upstreams.values())
        told: dict[str, Any] = {
            "status": "healthy" if well else "degraded",
            "service": "sayonce",
            "version": VERSION,
            "parts": parts,
        }
        admin = await self._for_admin(scope)
        if admin or self.gateway.settings.replica_name:  # a host's own name is not for everybody
            told["replica"] = self.gateway.settings.replica
        if admin:
            told["upstreams"] = upstreams
            told["hot_lane"] = self.gateway.watch.lane_objection or "on"
        return answers.as_json(told, 503 if self._strict and not keeps else 200)

    async def _for_admin(self, scope: Scope) -> bool:
        try:
            await self._desk.admit(scope, dict(scope["headers"]), Role.ADMIN)
        except (AccessError, CatalogError):
            return False
        return True

    async def _catalog(self) -> str:
        try:
            await self.gateway.catalog.newest_change()
            if self._strict:
                await self.gateway.catalog.prove()
        except CatalogError as error:
            return error.code
        return "ok"

    async def _storage(self) -> str:
        settings = self.gateway.settings
        try:
            if self._strict:
                await self.gateway.storages[settings.storage].probe()
                self.gateway.shelf.trouble = None
        except StorageError as error:
            return error.code
        return self.gateway.shelf.trouble or "ok"


class StatisticsDoor(Door):
    """What is kept, and what it saved: of the caller's tenant; of all, for an admin."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk
        self._telling = Telling(gateway)

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._visit(scope)
        caller, admin = visit.caller, Role.ADMIN in visit.caller.roles
        stats = await self._telling.of(
            None if admin else caller.tenant.id, lambda owner: caller.may_have(owner, None, None)
        )
        if admin:
            stats["memory"] = {"entries": self.gateway.hot.entries, "bytes": self.gateway.hot.weight}
            stats["by_tier"] = {"memory": stats["memory"], **stats["by_tier"]}
            stats["flights"] = self.gateway.engine.flying
        return answers.as_json({"success": True, "stats": stats})

    async def _visit(self, scope: Scope) -> Visit:
        """Whoever speaks may know, and whoever runs the gateway."""
        try:
            return await self._desk.receive(scope)
        except Forbidden:
            return await self._desk.receive(scope, Role.ADMIN)


class MetricsDoor(Door):
    """Prometheus's page, for an admin's key (or anybody on this machine, while the gateway is open): of this process
    and its siblings together."""

    def __init__(self, gateway: Gateway, desk: Desk, siblings: Siblings | None) -> None:
        super().__init__(gateway)
        self._desk = desk
        self._siblings = siblings

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        await self._desk.receive(scope, Role.ADMIN)
        others = [] if self._siblings is None else await self._siblings.heard()
        page, kind = self.gateway.watch.metrics.render(others)
        return Bytes(200, [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(page))], page)


def health() -> None:
    """Whether the process lives."""


def ready() -> None:
    """Whether it can keep what it speaks, and is not about to stop; 503 where not."""


def cache_stats() -> None:
    """Entries, bytes, hits, misses, spent and saved; the most used entries; what storing costs a month, and what is
    left of the savings. Of many entries they are counted now and then: `as_of` tells when."""


def metrics() -> None:
    """Metrics in Prometheus's text format."""


def hang_doors(
    app: FastAPI, gateway: Gateway, desk: Desk, siblings: Siblings | None, stopping: asyncio.Event
) -> None:
    """Hangs these doors; `stopping` is set as soon as the process is told to stop."""
    hang(app, "/api/health", "GET", HealthDoor(gateway, desk, stopping, strict=False), health)
    hang(app, "/api/health/ready", "GET", HealthDoor(gateway, desk, stopping, strict=True), ready)
    hang(app, "/api/cache-stats", "GET", StatisticsDoor(gateway, desk), cache_stats)
    hang(app, "/metrics", "GET", MetricsDoor(gateway, desk, siblings), metrics)
