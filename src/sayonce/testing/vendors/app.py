"""All fake vendors in one application, and their control."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from itertools import combinations, product
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sayonce.testing.servers import resettable
from sayonce.testing.vendors.behaviour import Behaviour, Counts
from sayonce.testing.vendors.deepgram import FakeDeepgram
from sayonce.testing.vendors.elevenlabs import FakeElevenLabs
from sayonce.testing.vendors.openai import FakeOpenAI
from sayonce.testing.vendors.replicate import FakeReplicate
from sayonce.testing.vendors.vendor import FakeVendor


class FakeVendors:
    """The application. `behave` and `counts` are OpenAI's; the other vendors have theirs. `further` are fakes of
    other packages; `requests`, `clients` and `strays` tell how often it was asked for anything, over which
    connections, and for what nobody here answers."""

    def __init__(self, *further: FakeVendor) -> None:
        self.openai = FakeOpenAI()
        self.elevenlabs = FakeElevenLabs()
        self.deepgram = FakeDeepgram()
        self.replicate = FakeReplicate()
        vendors = (self.openai, self.elevenlabs, self.deepgram, self.replicate, *further)
        self.all: dict[str, FakeVendor] = {each.name: each for each in vendors}
        self.requests = 0
        self.clients: set[tuple[str, int] | None] = set()
        self.strays: list[str] = []
        _refuse_common_routes(self.all)
        control = [
            Route("/control", self._tell, methods=["GET"]),
            Route("/control", self._control, methods=["POST"]),
            Route("/", self._greet, methods=["HEAD"]),
        ]
        routes = control + [route for each in self.all.values() for route in each.routes()]
        self._app = resettable(Starlette(routes=routes, exception_handlers={404: self._stray}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.requests += 1
        self.clients.add(scope.get("client"))
        await self._app(scope, receive, send)

    @property
    def behaviour(self) -> Behaviour:
        """How OpenAI behaves."""
        return self.openai.behaviour

    @property
    def counts(self) -> Counts:
        """What OpenAI was asked."""
        return self.openai.counts

    def behave(self, **how: Any) -> None:
        """OpenAI: from now on so, and all else as usual."""
        self.openai.behave(**how)

    async def _stray(self, request: Request, error: Exception) -> Response:
        self.strays.append(f"{request.method} {request.url.path}")
        return JSONResponse({"error": f"No fake vendor answers {self.strays[-1]}."}, 404)

    async def _greet(self, request: Request) -> Response:
        """Every real one answers something there."""
        return Response(status_code=404)

    async def _tell(self, request: Request) -> Response:
        vendors = {name: asdict(each.counts) for name, each in self.all.items()}
        return JSONResponse(asdict(self.counts) | {"vendors": vendors})

    async def _control(self, request: Request) -> Response:
        told = await request.json()
        vendor = self.all[told.get("vendor", "openai")]
        vendor.behave(**{each.name: told[each.name] for each in fields(Behaviour) if each.name in told})
        return JSONResponse(asdict(vendor.behaviour))


_PLACE = re.compile(r"\{[^}]*\}")


def _refuse_common_routes(vendors: Mapping[str, FakeVendor]) -> None:
    """ValueError where one request would have two answers: the fakes share one application."""
    for one, other in combinations(vendors.values(), 2):
        for here, there in product(one.routes(), other.routes()):
            methods = (here.methods or set()) & (there.methods or set()) - {"HEAD"}
            if methods and (_covers(here, there) or _covers(there, here)):
                raise ValueError(f"{other.name} and {one.name} both answer {min(methods)} {there.path}")


def _covers(one: Route, other: Route) -> bool:
    return one.path_regex.match(_PLACE.sub("x", other.path)) is not None
