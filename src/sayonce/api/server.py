"""The web application, and the server it runs in."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from sayonce import loops
from sayonce.access.loopback import refuse_open_doors
from sayonce.api import (
    admin,
    answers,
    audio,
    collections,
    deepgram,
    elevenlabs,
    greetings,
    messages,
    openai,
    seeds,
    sessions,
    status,
    tenants,
    voice,
)
from sayonce.api.desk import Desk
from sayonce.api.lane import Lane
from sayonce.api.lane_check import misfit
from sayonce.api.lobby import Lobby
from sayonce.api.stage import Stage
from sayonce.app import VERSION, Gateway
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
from sayonce.telemetry.siblings import Siblings

_EXPOSED = [
    "X-TTS-Cache",
    "X-TTS-Variant",
    "X-TTS-Provider",
    "X-Content-Hash",
    "Server-Timing",
    "ETag",
    "Content-Range",
    "Location",
    "Preference-Applied",
]

_DIALECTS: Mapping[str, Callable[[SayonceError], answers.Bytes]] = {
    "/v1/text-to-speech": elevenlabs.error,
    "/v1/voices": elevenlabs.error,
    "/v1/speak": deepgram.error,
}

_log = get_logger("sayonce.server")


def application(gateway: Gateway, siblings: Siblings | None = None, stopping: asyncio.Event | None = None) -> ASGIApp:
    """The doors of a gateway, whose process may have siblings, and may have been told to stop."""
    app = FastAPI(title="sayonce", version=VERSION, docs_url=None, redoc_url=None, redirect_slashes=False)
    desk = Desk(gateway)
    openai.hang_doors(app, gateway, desk)
    elevenlabs.hang_doors(app, gateway, desk)
    deepgram.hang_doors(app, gateway, desk)
    audio.hang_doors(app, gateway)
    voice.hang_doors(app, gateway, desk)
    messages.hang_doors(app, gateway, desk)
    sessions.hang_doors(app, gateway, desk)
    collections.hang_doors(app, gateway, desk)
    admin.hang_doors(app, gateway, desk)
    tenants.hang_doors(app, gateway, desk)
    greetings.hang_doors(app, gateway, desk)
    stopping = stopping or asyncio.Event()
    seeds.hang_doors(app, gateway, desk, stopping)
    status.hang_doors(app, gateway, desk, siblings, stopping)
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


@dataclass(frozen=True)
class Worker:
    """One of several processes behind one address: its number, its listening socket, and the folder where it meets
    the others."""

    number: int
    listener: int
    folder: Path


async def serve(load: Callable[[], Settings], announce: Callable[[str], None], worker: Worker | None = None) -> None:
    """Serves until told to stop, and for as long as it drains; told to hang up (SIGHUP), it loads its settings anew.
    `announce` is told the address. InvalidSettings where it may not, or cannot, listen there."""
    siblings = None if worker is None else Siblings(worker.folder, worker.number)
    stopping = asyncio.Event()
    settings = load()
    async with AsyncExitStack() as stack:
        stage = await Stage.open(settings, partial(_dressed, siblings=siblings, stopping=stopping))
        stack.push_async_callback(stage.close)
        await _refuse_open_doors(stage.gateway)
        listener = listen(settings) if worker is None else _inherited(worker.listener)
        stack.callback(listener.close)
        if siblings is not None:
            await stack.enter_async_context(siblings.telling(stage.metrics))
        server = _Server(stage, stopping)
        stack.push_async_callback(_on_hang_up(lambda: stage.change(load)))
        announce(address_of(listener))
        await server.serve([listener])


async def _dressed(
    gateway: Gateway, siblings: Siblings | None, stopping: asyncio.Event
) -> tuple[ASGIApp, Lane | None]:
    return application(gateway, siblings, stopping), await hot_lane(gateway)


class _Server(uvicorn.Server):
    """uvicorn's would end the process by the signal that told it to stop, before what was paid for has landed; and at
    once, while balancers still send requests."""

    def __init__(self, stage: Stage, stopping: asyncio.Event) -> None:
        super().__init__(_config(stage))
        self._stage = stage
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Told by SIGTERM for the first time, it drains: it serves on, and is not ready any more. Who interrupts is a
        person, who waits for no balancer."""
        drain = self._stage.gateway.settings.drain_seconds
        if sig == signal.SIGTERM and drain and not self._stopping.is_set():
            _log.info("server.drains", seconds=drain)
            asyncio.get_running_loop().call_later(drain, super().handle_exit, sig, frame)
        else:
            super().handle_exit(sig, frame)
        self._stopping.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if os.name != "posix" or threading.current_thread() is not threading.main_thread():
            with super().capture_signals():  # where a loop cannot be told of signals
                yield
            return
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        yield
        loop.remove_signal_handler(signal.SIGINT)  # who interrupts once more waits for nothing


def _inherited(number: int) -> socket.socket:
    """The listening socket that the supervisor handed down, and that goes no further."""
    listener = socket.socket(fileno=number)
    listener.set_inheritable(False)
    return listener


def _on_hang_up(act: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[object]]:
    """Does that whenever the process is told to hang up, unless it is its terminal that hangs up; gives what ends
    this, when all of it is done."""
    loop, under_way = asyncio.get_running_loop(), set[asyncio.Task[None]]()

    def heed() -> None:
        task = loop.create_task(act())
        under_way.add(task)
        task.add_done_callback(under_way.discard)

    async def end() -> None:
        if listening:
            loop.remove_signal_handler(signal.SIGHUP)
        await asyncio.gather(*under_way)

    listening = hasattr(signal, "SIGHUP") and threading.current_thread() is threading.main_thread()
    if listening and not (sys.stdin is not None and sys.stdin.isatty()):
        loop.add_signal_handler(signal.SIGHUP, heed)
    return end


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


def _config(stage: Stage) -> uvicorn.Config:
    return uvicorn.Config(
        stage,
        loop="none",  # the caller's loop is the one
        http=stage.protocol or "httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(int(stage.gateway.settings.shutdown_seconds), 1),
    )


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """A listening socket at the settings' address, which further ones may share. InvalidSettings where there can be
    none."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
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


def address_of(listener: socket.socket) -> str:
    """The URL at which a socket is reached."""
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


def run(load: Callable[[], Settings], announce: Callable[[str], None], worker: Worker | None = None) -> None:
    """Serves until interrupted, on uvloop where there is one."""
    loops.run(serve(load, announce, worker), own_signals=True)
