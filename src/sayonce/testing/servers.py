"""Runs an ASGI application on a real socket while a test needs it."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

#: What a request's scope calls, among its extensions, the breaking of its connection.
RESET = "sayonce.reset"


def free_socket(port: int = 0) -> socket.socket:
    """A listening socket of this machine's, on a free port where none is asked for."""
    # Of TCP by name: asyncio tells only by that to send small pieces at once, not 40 ms later.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2_048)
    listener.setblocking(False)
    return listener


def resettable(app: ASGIApp) -> ASGIApp:
    """The application, which may break a connection as a machine that dies does: without a word."""

    async def called(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("extensions", {})[RESET] = partial(_reset, send)
        await app(scope, receive, send)

    return called


def _reset(send: Send) -> None:
    transport = send.__self__.transport  # type: ignore[attr-defined]  # uvicorn gives it in no other way
    at_once = struct.pack("ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
    transport.abort()


@asynccontextmanager
async def serving(app: ASGIApp, http: type[asyncio.Protocol] | None = None) -> AsyncIterator[str]:
    """Serves `app` in this loop, by the protocol `http` where one is given; gives its base URL."""
    listener = free_socket()
    config = uvicorn.Config(
        app,
        http=http or "auto",
        log_config=None,
        access_log=False,
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(server._serve([listener]))
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await running
        listener.close()
