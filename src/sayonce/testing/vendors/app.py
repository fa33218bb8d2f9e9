"""All fake vendors in one application, and their control."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sayonce.testing.vendors.behaviour import Behaviour, Counts
from sayonce.testing.vendors.deepgram import FakeDeepgram
from sayonce.testing.vendors.elevenlabs import FakeElevenLabs
from sayonce.testing.vendors.openai import FakeOpenAI
from sayonce.testing.vendors.replicate import FakeReplicate
from sayonce.testing.vendors.vendor import FakeVendor


class FakeVendors:
    """The application. `behave` and `counts` are OpenAI's; the other vendors have theirs."""

    def __init__(self) -> None:
        self.openai = FakeOpenAI()
        self.elevenlabs = FakeElevenLabs()
        self.deepgram = FakeDeepgram()
        self.replicate = FakeReplicate()
        vendors: tuple[FakeVendor, ...] = (self.openai, self.elevenlabs, self.deepgram, self.replicate)
        self.all = {each.name: each for each in vendors}
        control = [
            Route("/control", self._tell, methods=["GET"]),
            Route("/control", self._control, methods=["POST"]),
        ]
        self._app = Starlette(routes=control + [route for each in self.all.values() for route in each.routes()])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
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

    async def _tell(self, request: Request) -> Response:
        vendors = {name: asdict(each.counts) for name, each in self.all.items()}
        return JSONResponse(asdict(self.counts) | {"vendors": vendors})

    async def _control(self, request: Request) -> Response:
        told = await request.json()
        vendor = self.all[told.get("vendor", "openai")]
        vendor.behave(**{each.name: told[each.name] for each in fields(Behaviour) if each.name in told})
        return JSONResponse(asdict(vendor.behaviour))
