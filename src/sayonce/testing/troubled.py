"""Puts trouble before an application: what a network, a proxy or the server itself does on a bad day."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from sayonce.testing.servers import RESET

#: Times of which there is no end.
ALWAYS = 1_000_000


@dataclass(frozen=True)
class Trouble:
    """What befalls the next `times` requests that it is `meant` for, told as `GET /path?query`. A `status` is
    answered in place of the application's own, with `body`; `seconds` pass before anything else."""

    how: Literal["", "never", "reset", "cut", "other"] = ""
    status: int = 0
    body: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    seconds: float = 0.0
    times: int = ALWAYS
    meant: Callable[[str], bool] = lambda _: True


class Troubled:
    """`app`, but for its troubles. `calls` are the requests that have come, in order, as `GET /path?query`; `left` is
    how many of those that were never answered were given up."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.calls: list[str] = []
        self.left = 0
        self.trouble: Trouble | None = None

    def count(self, beginning: str) -> int:
        """How many requests began so."""
        return sum(call.startswith(beginning) for call in self.calls)

    def forget(self) -> None:
        """No trouble from now on, and no calls so far."""
        self.trouble = None
        self.calls.clear()
        self.left = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        asked = f"{scope['method']} {scope['raw_path'].decode().partition('?')[0]}{query}"
        self.calls.append(asked)
        trouble = self._next(asked)
        if trouble is None:
            await self._app(scope, receive, send)
        else:
            await self._troubled(trouble, scope, receive, send)

    def _next(self, asked: str) -> Trouble | None:
        trouble = self.trouble
        if trouble is None or trouble.times <= 0 or not trouble.meant(asked):
            return None
        self.trouble = replace(trouble, times=trouble.times - 1)
        return trouble

    async def _troubled(self, trouble: Trouble, scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(trouble.seconds)
        if trouble.how == "never":
            await _gone(receive)
            self.left += 1
        elif trouble.how == "reset":
            scope["extensions"][RESET]()
            await _gone(receive)
        elif trouble.status:
            await _whole(receive)
            length = (b"content-length", b"%d" % len(trouble.body))
            headers = [*trouble.headers, length]
            await send({"type": "http.response.start", "status": trouble.status, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else trouble.body})
        elif trouble.how:
            await self._app(scope, receive, _altered(trouble.how, send))
        else:
            await self._app(scope, receive, send)


def _altered(how: str, send: Send) -> Send:
    """Half of each body and then no more, or bytes that are others."""

    async def sending(message: Message) -> None:
        body = message.get("body", b"")
        if how == "other":
            message = {**message, "body": bytes(byte ^ 255 for byte in body)} if body else message
            await send(message)
        elif message["type"] == "http.response.start":
            await send(message)
        else:
            await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
            raise ConnectionAbortedError("as it was told to")

    return sending


async def _whole(receive: Receive) -> None:
    while (message := await receive())["type"] == "http.request" and message.get("more_body"):
        pass


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
