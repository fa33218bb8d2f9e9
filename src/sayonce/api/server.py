"""The web application, and the server it runs in."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from sayonce.access.loopback import refuse_open_doors
from sayonce.api import answers, audio, deepgram, elevenlabs, messages, openai, status, voice
from sayonce.api.desk import Desk
from sayonce.api.lane import Lane, protocol
from sayonce.api.lane_check import misfit
from sayonce.api.lobby import Lobby
from sayonce.app import VERSION, Gateway, running
from sayonce.errors import (
    CatalogUnavailable,
    InvalidRequest,
    InvalidSettings,
    MethodNotAllowed,
    NotFound,
    SayonceError,
)
from sayonce.settings import Settings
from sayonce.telemetry.logs import get_logger

_EXPOSED = [
    "X-TTS-Cache",
    "X-TTS-Variant",
    "X-TTS-Provider",
    "X-Content-Hash",
    "Server-Timing",
    "ETag",
    "Content-Range",
]

_DIALECTS: Mapping[str, Callable[[SayonceError], answers.Bytes]] = {
    "/v1/text-to-speech": elevenlabs.error,
    "/v1/voices": elevenlabs.error,
    "/v1/speak": deepgram.error,
}

_log = get_logger("sayonce.server")


def application(gateway: Gateway) -> ASGIApp:
    """The doors of a gateway."""
    app = FastAPI(title="sayonce", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    desk = Desk(gateway)
    openai.hang_doors(app, gateway, desk)
    elevenlabs.hang_doors(app, gateway, desk)
    deepgram.hang_doors(app, gateway, desk)
    audio.hang_doors(app, gateway)
    voice.hang_doors(app, gateway, desk)
    messages.hang_doors(app, gateway, desk)
    status.hang_doors(app, gateway, desk)
    app.add_exception_handler(HTTPException, _no_door)
    lobby = Lobby(app)
    if not gateway.settings.cors_origins:
        return lobby
    return CORSMiddleware(
        lobby,
        allow_origins=gateway.settings.cors_origins,
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=_EXPOSED,
    )


async def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves until told to stop; `announce` is told the address. InvalidSettings where it may not, or cannot,
    listen there."""
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(running(settings))
        await _refuse_open_doors(gateway)
        listener = _listener(settings)
        stack.callback(listener.close)
        lane = await hot_lane(gateway)
        server = uvicorn.Server(_config(gateway, lane))
        announce(_address(listener))
        await server.serve([listener])


async def hot_lane(gateway: Gateway) -> Lane | None:
    """The lane, where it is wanted and uvicorn is as it expects."""
    objection = await misfit() if gateway.settings.hot_lane else "The setting hot_lane turns it off."
    gateway.watch.lane_objection = objection
    if objection is None:
        return Lane(gateway)
    if gateway.settings.hot_lane:
        _log.warning("lane.off", reason=objection)
    return None


async def _refuse_open_doors(gateway: Gateway) -> None:
    try:
        keys = await gateway.catalog.valid_keys()
    except CatalogUnavailable as error:
        # Nobody can tell whether there are keys: the gate stays shut until somebody can.
        _log.warning("catalog.unavailable", error=error.code, reason=error.message, remedy=error.remedy)
        return
    if not gateway.settings.require_keys:
        refuse_open_doors(gateway.settings.host, keys)


def _config(gateway: Gateway, lane: Lane | None) -> uvicorn.Config:
    return uvicorn.Config(
        application(gateway),
        loop="none",  # the caller's loop is the one
        http="httptools" if lane is None else protocol(lane),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(int(gateway.settings.shutdown_seconds), 1),
    )


def _listener(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise InvalidSettings(
            f"The gateway cannot listen on {settings.host}:{settings.port}: {error.strerror or error}.",
            remedy="Stop what listens there, or choose another port (SAYONCE_PORT).",
        ) from error
    listener.listen(2_048)
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _no_door(request: Request, problem: Exception) -> Response:
    """What no door answers, in the dialect of those near by, else in the one that all have in common."""
    assert isinstance(problem, HTTPException)
    near = (tell for path, tell in _DIALECTS.items() if request.url.path.startswith(path))
    tell = next(near, answers.error)
    if problem.status_code == 404:
        refusal = tell(NotFound("There is nothing at this path.", remedy="See /openapi.json."))
    elif problem.status_code == 405:
        refusal = tell(MethodNotAllowed("This path knows other methods.", remedy="See /openapi.json."))
    else:
        refusal = tell(InvalidRequest(problem.detail))
    headers = {name.decode(): value.decode() for name, value in refusal.headers}
    return Response(refusal.body, refusal.status, {**headers, **(problem.headers or {})})


def run(settings: Settings, announce: Callable[[str], None]) -> None:
    """Serves until interrupted, on uvloop where there is one."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(serve(settings, announce))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
