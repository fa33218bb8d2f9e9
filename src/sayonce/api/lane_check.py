"""Is uvicorn inside as the hot lane expects? Asked at each start; where not, there is no lane."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Container
from typing import Any, cast

import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from sayonce.api.headers import meaning
from sayonce.api.lane import Known, Lane, LaneProtocol, protocol

_HEAD = b"POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\ncontent-length: 4\r\n\r\n"
_WHOLE = _HEAD + b"body"
# In one segment, in three, and two in one.
_REQUESTS = ((_WHOLE,), (_HEAD, b"bo", b"dy"), (_WHOLE + _HEAD + b"next",))
_ECHO = (b"HTTP/1.1 200 OK\r\n\r\n", b"echo")


async def misfit() -> str | None:
    """What is not as expected, in a sentence; None where all is. Nothing goes over a network."""
    try:
        alone = await _told(HttpToolsProtocol)
        beside = await _told(protocol(cast(Lane, _Ignorant())))
        resting = await _told(_resting(protocol(cast(Lane, _Ignorant()))))
        echoed = await _told(protocol(cast(Lane, _Knowing())))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why there is no lane
        return f"uvicorn {uvicorn.__version__} fails in it: {type(error).__name__}."
    if alone != beside or alone != resting:
        return f"uvicorn {uvicorn.__version__} answers otherwise with it."
    if echoed != ([], b"".join(_ECHO) * 4):
        return f"uvicorn {uvicorn.__version__} does not let it answer."
    return None


class _Ignorant:
    """A lane that knows nothing."""

    meaning = meaning("")

    def __init__(self) -> None:
        self.segments: dict[bytes, Known] = {}
        self.echoes: Container[bytes] = ()
        self.declined: defaultdict[tuple[str, str], int] = defaultdict(int)

    def lesson(self, key: bytes) -> None:
        """Learns nothing."""

    def remember(self, segment: bytes, known: Known) -> None:
        raise AssertionError("nothing was answered")


class _All:
    def __contains__(self, _: object) -> bool:
        return True


class _Knowing(_Ignorant):
    """A lane that knows everything."""

    def __init__(self) -> None:
        super().__init__()
        self.echoes = _All()

    def answer(self, known: Known, defaults: list[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
        return _ECHO

    def remember(self, segment: bytes, known: Known) -> None:
        assert segment == _WHOLE


def _resting(kind: type[LaneProtocol]) -> type[LaneProtocol]:
    """Connections that are not looked at from the first."""

    class Resting(kind):  # type: ignore[misc, valid-type]
        def connection_made(self, transport: asyncio.Transport) -> None:
            super().connection_made(transport)
            self._rest()

    return Resting


async def _told(kind: type[HttpToolsProtocol]) -> tuple[list[Any], bytes]:
    """What an application is told, and what a client is answered, of four requests."""
    heard: list[Any] = []

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        heard.append(({name: value for name, value in scope.items() if name != "extensions"}, body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    config = uvicorn.Config(
        application, loop="none", http=kind, ws="none", lifespan="off", log_config=None, access_log=False
    )
    config.load()
    state, transport = ServerState(), _Paper()
    state.default_headers = []
    connection = kind(config=config, server_state=state, app_state={}, _loop=asyncio.get_running_loop())
    connection.connection_made(transport)
    for segments in _REQUESTS:
        for segment in segments:
            connection.data_received(segment)
        while state.tasks:
            await asyncio.gather(*state.tasks)
            await asyncio.sleep(0)
    assert connection.timeout_keep_alive_task is not None
    connection.connection_lost(None)
    return heard, bytes(transport.written)


class _Paper(asyncio.Transport):
    """A transport that writes to nobody."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += data

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Calls nobody."""

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """Stays open."""

    def pause_reading(self) -> None:
        """Reads nothing anyhow."""

    def resume_reading(self) -> None:
        """Reads nothing anyhow."""
