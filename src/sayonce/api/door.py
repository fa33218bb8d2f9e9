"""A door: an ASGI application behind one FastAPI route.

FastAPI knows the route and describes it in the OpenAPI document, from the signature that a door declares; but it does
not unpack requests and pack answers, which took more time than all of a hit (`bench/RESULTS.md`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from sayonce.api import answers
from sayonce.app import Gateway
from sayonce.errors import InvalidRequest, SayonceError
from sayonce.storage.contract import forwarded_token
from sayonce.telemetry.logs import get_logger

_log = get_logger("sayonce.api")


class Door(ABC):
    """Answers requests; whatever is raised becomes an error of its dialect."""

    #: What this door calls a field that is called otherwise within: an error names it so.
    words: ClassVar[Mapping[str, str]] = {}

    #: Whether what it asks of storages is asked for its caller, and not for the gateway itself.
    for_callers: ClassVar[bool] = True

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._token_header = gateway.settings.forwarded_token_header.lower().encode()

    @abstractmethod
    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        """The answer to a request."""

    def refuse(self, problem: SayonceError) -> ASGIApp:
        """An error in this door's dialect."""
        return answers.error(problem)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._token_header:
            # Also where there is none: this task's context may be that of the connection's last request.
            forwarded_token.set(self._token(scope) if self.for_callers else None)
        try:
            answer = await self.answer(scope, receive)
        except SayonceError as problem:
            self.gateway.watch.metrics.refusals.labels(problem.code).inc()
            if isinstance(problem, InvalidRequest) and problem.param is not None:
                problem.param = self.words.get(problem.param, problem.param)
            answer = self.refuse(problem)
        except Exception as bug:  # noqa: BLE001 - no trace of it leaves the process; it is logged and counted
            self.gateway.watch.bug(bug)
            answer = self.refuse(answers.bug())
        await answer(scope, receive, send)

    def _token(self, scope: Scope) -> str | None:
        """What the caller has forwarded."""
        sent = dict(scope["headers"]).get(self._token_header, b"").strip()
        return sent.decode("latin-1") or None


def hang(app: FastAPI, path: str, method: str, door: ASGIApp, describe: Callable[..., Any]) -> None:
    """Hangs a door at a path. `describe` is never called: its signature and docstring are the documentation."""
    route = APIRoute(path, describe, methods=[method], operation_id=describe.__name__, response_model=None)
    route.app = door
    app.router.routes.append(route)
    if method == "GET":
        app.router.routes.append(Route(path, door, methods=["HEAD"], include_in_schema=False))
