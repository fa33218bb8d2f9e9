"""Answers: audio, whole or as it comes; JSON; and errors in the dialect of the door."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from weakref import ReferenceType, ref

from starlette.types import Receive, Scope, Send

from sayonce.access.callers import Caller
from sayonce.audio.formats import content_type
from sayonce.cache.answers import Answer, Whole
from sayonce.cache.orders import Chain, Outcome
from sayonce.catalog.records import Asset
from sayonce.errors import InvalidRequest, SayonceError

Headers = list[tuple[bytes, bytes]]

#: The extension of a request's scope that is told its answer, so that an exact repeat can be answered without asking.
LESSON = "sayonce.lesson"

_NOTHING: Mapping[bytes, Callable[[], bytes]] = MappingProxyType({})

#: Says that it was made of another format, which cost nothing.
VARIANT = (b"x-tts-variant", b"transcoded")


@dataclass(frozen=True, slots=True)
class Repeat:
    """What an answer follows from: while that holds, it answers every exact repeat of its request, too.

    The asset is in memory as it was, and is not held there by this. `caller` is let in, and is counted where
    `counted`; None where the target itself lets in. It is not past `until`, in seconds since 1970. `fresh` headers
    are made anew each time.
    """

    content_hash: bytes
    asset: ReferenceType[Asset]
    caller: Caller | None
    counted: bool = True
    until: float | None = None
    fresh: Mapping[bytes, Callable[[], bytes]] = field(default_factory=dict)


class Bytes:
    """An answer that is there, all of it. `repeat` where it may be given again."""

    def __init__(self, status: int, headers: Headers, body: bytes, repeat: Repeat | None = None) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.repeat = repeat

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.repeat is not None and (learn := scope.get("extensions", {}).get(LESSON)) is not None:
            learn(self)
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers})
        await send({"type": "http.response.body", "body": self.body})


class Stream:
    """An answer that comes in pieces. A failure in the middle ends the connection, so that nobody takes what came
    for all of it: the body is never finished."""

    def __init__(self, headers: Headers, pieces: AsyncIterator[bytes]) -> None:
        self.headers = headers
        self._pieces = pieces

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.headers})
        try:
            async for piece in self._pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        except SayonceError:
            return  # The flight's own event tells why; the server, left unfinished, closes the connection.
        await send({"type": "http.response.body", "body": b""})


def repeat_of(
    answer: Answer, chain: Chain, caller: Caller, fresh: Mapping[bytes, Callable[[], bytes]] = _NOTHING
) -> Repeat | None:
    """What an answer follows from where it is kept audio of who was asked first; else None."""
    if isinstance(answer, Whole) and answer.outcome is Outcome.HIT and answer.order is chain.first:
        return Repeat(answer.order.content_hash, ref(answer.clip.asset), caller, fresh=fresh)
    return None


def audio(answer: Answer, began: float, repeat: Repeat | None = None) -> Bytes | Stream:
    """The audio of an answer to a request that came at `began`, by `time.perf_counter`."""
    order = answer.order
    headers: Headers = [
        (b"content-type", content_type(order.format).encode()),
        (b"x-tts-cache", answer.outcome.encode()),
        (b"x-tts-provider", order.provider.upstream.name.encode()),
        (b"x-content-hash", order.content_hash.hex().encode()),
        (b"server-timing", b"total;dur=%.3f" % ((time.perf_counter() - began) * 1000)),
    ]
    if answer.transcoded:
        headers.append(VARIANT)
    if isinstance(answer, Whole):
        data = answer.clip.data
        headers.append((b"content-length", b"%d" % len(data)))
        return Bytes(200, headers, data, repeat)
    return Stream(headers, answer.pieces())


def as_json(value: Any, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> Bytes:
    """A JSON answer, not to be kept by anybody."""
    body = json.dumps(value, ensure_ascii=False).encode()
    plain: Headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"cache-control", b"no-store"),
    ]
    return Bytes(status, [*plain, *headers], body)


def error(problem: SayonceError) -> Bytes:
    """An error in OpenAI's shape, which our own doors speak, too: message, type, param, code."""
    told = {
        "message": str(problem),
        "type": _type(problem.status),
        "param": problem.param if isinstance(problem, InvalidRequest) else None,
        "code": problem.code,
    }
    return as_json({"error": told}, problem.status, hints(problem))


def bug() -> SayonceError:
    """What a caller learns of a bug."""
    return SayonceError("Something went wrong inside the gateway.", remedy="Its log tells what.")


def _type(status: int) -> str:
    if status == 429:
        return "rate_limit_error"
    return "invalid_request_error" if status < 500 else "server_error"


def hints(problem: SayonceError) -> Headers:
    """What clients go by when they consider trying again."""
    headers: Headers = []
    wait = getattr(problem, "retry_after", None)
    if wait is not None:
        headers.append((b"retry-after", b"%d" % max(math.ceil(wait), 1)))
    if problem.status in (408, 409, 429) or problem.status >= 500:
        headers.append((b"x-should-retry", b"true" if problem.retryable else b"false"))
    if problem.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
