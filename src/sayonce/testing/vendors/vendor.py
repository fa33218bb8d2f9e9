"""One fake vendor: what all of them have in common."""

from __future__ import annotations

import asyncio
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sayonce.speech.formats import AudioFormat
from sayonce.testing.servers import RESET
from sayonce.testing.vendors.behaviour import Behaviour, Counts
from sayonce.testing.vendors.sound import audio, length_of


@dataclass(frozen=True)
class Speech:
    """What is to be said, once the vendor has understood the request. `seed` is all that alters the sound."""

    text: str
    seed: Mapping[str, Any]
    format: AudioFormat
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)


class FakeVendor(ABC):
    """Two equal requests get equal bytes; texts and voices that differ get different ones."""

    name: ClassVar[str]

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.counts = Counts()

    def behave(self, **how: Any) -> None:
        """From now on so, and all else as usual."""
        self.behaviour = Behaviour(**how)

    @abstractmethod
    def routes(self) -> list[Route]:
        """Its paths."""

    @abstractmethod
    def error(self, status: int, how: Behaviour) -> Response:
        """What it answers when told to fail: `how.why` and `how.error` in its own words, with `how.headers`."""

    @abstractmethod
    def key_of(self, request: Request) -> str | None:
        """The key that was sent."""

    def knows(self, request: Request) -> bool:
        """Whether the key is right."""
        return self.behaviour.key is None or self.key_of(request) == self.behaviour.key

    def speak(self, speech: Speech, answering: type[Speaking] | None = None) -> Response:
        """The answer to a request to speak that is right."""
        how = self._next()
        if how.status != 200:
            return self.error(how.status, how)
        if how.most is not None and self.counts.running >= how.most:
            return self.error(429, how)
        return (answering or Speaking)(self.counts, speech, how)

    def answer(self, told: object) -> Response:
        """The answer, in JSON, to any other request that is right: for a list of voices, say."""
        how = self._next()
        return Answering(how, told) if how.status == 200 else self.error(how.status, how)

    def _next(self) -> Behaviour:
        how = self.behaviour if self.behaviour.times > 0 else Behaviour(further=self.behaviour.further)
        self.behaviour = replace(self.behaviour, times=self.behaviour.times - 1)
        return how


class Answering(Response):
    """One answer, in JSON. Who leaves before its end ends it."""

    def __init__(self, how: Behaviour, told: object = None) -> None:
        super().__init__()
        self._how = how
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._answered(scope, receive, send)

    async def _answered(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers; whether that came to its end."""
        gone = asyncio.ensure_future(_gone(receive))
        answering = asyncio.ensure_future(self._answer(scope, send))
        try:
            await asyncio.wait({gone, answering}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
            return answering.done()
        finally:
            gone.cancel()
            answering.cancel()

    def whole(self) -> tuple[str, bytes]:
        """The content type and the body of an answer without trouble."""
        return "application/json", json.dumps(self._told).encode()

    @property
    def own_headers(self) -> Mapping[str, str]:
        """What it carries beside what it was told to."""
        return {}

    async def _answer(self, scope: Scope, send: Send) -> None:
        how = self._how
        if how.trouble == "never":
            await asyncio.Event().wait()
        await asyncio.sleep(how.first_byte)
        if how.trouble == "reset":
            scope["extensions"][RESET]()
            await asyncio.Event().wait()  # until the connection's end is noticed
        kind, body = self._troubled(*self.whole())
        headers = [(b"content-type", kind.encode())]
        headers += [(name.encode(), value.encode()) for name, value in {**self.own_headers, **how.headers}.items()]
        if how.trouble == "cut":
            headers.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        most = len(body) // 2 if how.trouble in ("cut", "abort") else len(body)
        async for piece in _pieces(body[:most], how):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if how.trouble not in ("cut", "abort"):
            await send({"type": "http.response.body", "body": b""})

    def _troubled(self, kind: str, body: bytes) -> tuple[str, bytes]:
        match self._how.trouble:
            case "html":
                return "text/html", b"<html><body>Bad gateway</body></html>"
            case "json":
                return "application/json", b'{"error": {"message": "As it was told to."}}'
            case "empty":
                return kind, b""
            case _:
                return kind, body


class Speaking(Answering):
    """One spoken answer."""

    def __init__(self, counts: Counts, speech: Speech, how: Behaviour) -> None:
        super().__init__(how)
        self._counts = counts
        self._speech = speech

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counts = self._counts
        counts.running += 1
        counts.most_at_once = max(counts.most_at_once, counts.running)
        try:
            if await self._answered(scope, receive, send):
                counts.finished += 1
        finally:
            counts.running -= 1

    @property
    def text(self) -> str:
        """What is said."""
        return self._speech.text

    @property
    def detail(self) -> Mapping[str, Any]:
        """What this vendor was told beside what all are."""
        return self._how.detail

    @property
    def seconds(self) -> float:
        """How long that takes."""
        return length_of(self._speech.text) if self._how.seconds is None else self._how.seconds

    def packed(self, sound: bytes) -> tuple[str, bytes]:
        """The content type and the body that carries the audio, as the vendor packs it."""
        return self._speech.content_type, sound

    def whole(self) -> tuple[str, bytes]:
        return self.packed(self._sound())

    @property
    def own_headers(self) -> Mapping[str, str]:
        return self._speech.headers

    def _sound(self) -> bytes:
        how, speech = self._how, self._speech
        seed = "" if how.same else json.dumps(dict(speech.seed), sort_keys=True)
        if how.trouble == "garbage":
            return hashlib.shake_256(seed.encode()).digest(8_000)
        sound = audio(seed, self.seconds, speech.format)
        return sound[: len(sound) // 2 + 7] if how.trouble == "half" else sound


async def _pieces(body: bytes, how: Behaviour) -> AsyncIterator[bytes]:
    for at in range(0, len(body), how.piece):
        if at and how.pace:
            await asyncio.sleep(how.pace)
        if how.gate is not None and at >= how.gate.after:
            await how.gate.passed()
        yield body[at : at + how.piece]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
