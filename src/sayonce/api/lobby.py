"""Leads a request straight to its door, where its method and path name one.

FastAPI's own way there, through its middlewares and its router, took a third of a hit's time (`bench/RESULTS.md`)
and leads to the same doors; every other request goes that way.
"""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send


class Lobby:
    """An ASGI application before a FastAPI one whose doors hang."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._doors: Mapping[tuple[str, str], ASGIApp] = {
            (method, route.path): route.app
            for route in app.routes
            if isinstance(route, APIRoute) and "{" not in route.path
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        door = self._doors.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        await (door or self._app)(scope, receive, send)
