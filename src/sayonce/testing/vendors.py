"""Vendors that answer as the real ones do, count what they are asked, and misbehave on demand.

`python -m sayonce.testing.vendors` runs them in a process of their own; `GET /control` gives the counts and
`POST /control` sets how they behave from then on.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import sys
from array import array
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from sayonce.audio.encode import StreamEncoder, finalise
from sayonce.audio.formats import coding
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.testing.servers import free_socket

_RATE = 24_000
_LETTERS_A_SECOND = 15
_WORD = _RATE // 3  # samples
_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_MOST_CHARACTERS = 4096
# What the real API takes; anything else it refuses.
_FIELDS = frozenset(("model", "input", "voice", "response_format", "speed", "instructions", "stream_format"))


@dataclass
class Behaviour:
    """How speech requests are answered. Times are in seconds; `trouble`, or an error's status, lasts for `times`
    answers. It is one of `html`, `empty`, `garbage`, `half` (a whole answer of half the audio), `cut` (the body ends
    before its length), `abort` (the connection breaks in the middle) and `never`."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    trouble: str = ""
    times: int = 1_000_000
    first_byte: float = 0.0
    pace: float = 0.0  # between pieces
    piece: int = 4_096  # bytes
    seconds: float | None = None  # how long the audio lasts, whatever the text
    key: str | None = None  # what must be sent as the key
    further: list[str] = field(default_factory=list)  # fields that it takes beside OpenAI's


@dataclass
class Counts:
    """What was asked."""

    calls: int = 0
    characters: int = 0
    running: int = 0
    most_at_once: int = 0
    finished: int = 0
    bodies: list[dict[str, Any]] = field(default_factory=list)  # the last hundred
    texts: dict[str, int] = field(default_factory=dict)  # how often each was spoken


class FakeVendors:
    """The application. Two equal requests get equal bytes; texts and voices that differ get different ones."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.counts = Counts()
        self._app = Starlette(
            routes=[
                Route("/v1/audio/speech", self._speech, methods=["POST"]),
                Route("/v1/models", self._models, methods=["GET"]),
                Route("/control", self._tell, methods=["GET"]),
                Route("/control", self._control, methods=["POST"]),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def behave(self, **how: Any) -> None:
        """From now on so, and all else as usual."""
        self.behaviour = Behaviour(**how)

    async def _tell(self, request: Request) -> Response:
        return JSONResponse(asdict(self.counts))

    async def _control(self, request: Request) -> Response:
        told = await request.json()
        self.behave(**{each.name: told[each.name] for each in fields(Behaviour) if each.name in told})
        return JSONResponse(asdict(self.behaviour))

    async def _models(self, request: Request) -> Response:
        if not self._knows(request):
            return _WRONG_KEY
        owned = {"object": "model", "created": 1_699_053_241, "owned_by": "openai-internal"}
        return JSONResponse({"object": "list", "data": [{"id": model} | owned for model in _MODELS]})

    def _knows(self, request: Request) -> bool:
        key = self.behaviour.key
        return key is None or request.headers.get("authorization") == f"Bearer {key}"

    async def _speech(self, request: Request) -> Response:
        body = await request.json()
        self._count(body)
        how = self.behaviour
        if not self._knows(request):
            return _WRONG_KEY
        wrong = _refusal(body, how.further)
        if wrong is not None:
            return wrong
        if how.times <= 0:
            how = Behaviour()
        self.behaviour.times -= 1
        if how.status != 200:
            told = {"message": "As it was told to.", "type": "server_error", "code": None} | how.error
            return JSONResponse({"error": told}, how.status, headers=how.headers)
        return _Speech(self, body, how)

    def _count(self, body: dict[str, Any]) -> None:
        self.counts.calls += 1
        self.counts.characters += len(body.get("input", ""))
        text = str(body.get("input", ""))
        self.counts.texts[text] = self.counts.texts.get(text, 0) + 1
        self.counts.bodies = [*self.counts.bodies[-99:], body]


class _Speech(Response):
    """One spoken answer."""

    def __init__(self, vendors: FakeVendors, body: dict[str, Any], how: Behaviour) -> None:
        super().__init__()
        self._vendors = vendors
        self._body = body
        self._how = how

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        counts = self._vendors.counts
        counts.running += 1
        counts.most_at_once = max(counts.most_at_once, counts.running)
        gone = asyncio.ensure_future(_gone(receive))
        speaking = asyncio.ensure_future(self._speak(send))
        try:
            await asyncio.wait({gone, speaking}, return_when=asyncio.FIRST_COMPLETED)
            if speaking.done():
                speaking.result()
                counts.finished += 1
        finally:
            gone.cancel()
            speaking.cancel()
            counts.running -= 1

    async def _speak(self, send: Send) -> None:
        how, name = self._how, self._body.get("response_format", "mp3")
        text = str(self._body.get("input", ""))
        seconds = how.seconds if how.seconds is not None else max(len(text) / _LETTERS_A_SECOND, 0.3)
        seed = json.dumps(self._body, sort_keys=True)
        audio = _audio(seed, seconds, BY_NAME[name])
        kind = coding(BY_NAME[name]).content_type
        if how.trouble == "never":
            await asyncio.Event().wait()
        await asyncio.sleep(how.first_byte)
        if how.trouble == "html":
            kind, audio = "text/html", b"<html><body>Bad gateway</body></html>"
        elif how.trouble == "empty":
            audio = b""
        elif how.trouble == "garbage":
            audio = hashlib.shake_256(seed.encode()).digest(8_000)
        elif how.trouble == "half":
            audio = audio[: len(audio) // 2 + 7]
        headers = [(b"content-type", kind.encode())]
        if how.trouble == "cut":
            headers.append((b"content-length", b"%d" % len(audio)))
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        most = len(audio) // 2 if how.trouble in ("cut", "abort") else len(audio)
        async for piece in _pieces(audio[:most], how):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if how.trouble not in ("cut", "abort"):
            await send({"type": "http.response.body", "body": b""})


async def _pieces(audio: bytes, how: Behaviour) -> AsyncIterator[bytes]:
    for at in range(0, len(audio), how.piece):
        if at and how.pace:
            await asyncio.sleep(how.pace)
        yield audio[at : at + how.piece]


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@lru_cache(maxsize=256)
def _audio(seed: str, seconds: float, audio_format: AudioFormat) -> bytes:
    """Tones that come and go as words do; which ones, the seed decides."""
    digest = hashlib.sha256(seed.encode()).digest()
    words = -(-int(seconds * _RATE) // _WORD)
    samples = b"".join(_word(120 + digest[word % 32]) for word in range(words))[: 2 * int(seconds * _RATE)]
    encoder = StreamEncoder(AudioFormat("pcm_s16le", "raw", _RATE), audio_format)
    return finalise(encoder.feed(samples) + encoder.finish(), audio_format)


@lru_cache(maxsize=256)
def _word(pitch: int) -> bytes:
    """A third of a second of a tone of that pitch, in Hz, that comes and goes: 16-bit samples, little-endian."""
    loud = (9_000 * math.sin(math.pi * n / _WORD) for n in range(_WORD))
    samples = array("h", (int(each * math.sin(2 * math.pi * pitch * n / _RATE)) for n, each in enumerate(loud)))
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()


def _refusal(body: dict[str, Any], further: list[str]) -> Response | None:
    """What the real API says to a body that is wrong; None where it is right. WIRE: OpenAI."""
    for name in ("model", "input", "voice"):
        if not body.get(name):
            return _error(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    for name in body:
        if name not in _FIELDS and name not in further:
            return _error(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    if len(body["input"]) > _MOST_CHARACTERS:
        return _error(400, "String too long.", "string_above_max_length", "input")
    if body.get("response_format", "mp3") not in BY_NAME:
        return _error(400, "Unsupported format.", "invalid_value", "response_format")
    if not 0.25 <= body.get("speed", 1) <= 4:
        return _error(400, "Speed is out of range.", "invalid_value", "speed")
    return None


def _error(status: int, message: str, code: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": error}, status)


_WRONG_KEY = _error(401, "Incorrect API key provided.", "invalid_api_key")


def main() -> None:
    """Serves until interrupted; the first line of its output is its base URL."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--first-byte", type=float, default=0.0)
    parser.add_argument("--pace", type=float, default=0.0)
    given = parser.parse_args()
    vendors = FakeVendors()
    vendors.behave(first_byte=given.first_byte, pace=given.pace)
    listener = free_socket(given.port)
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)  # noqa: T201
    server = uvicorn.Server(uvicorn.Config(vendors, log_level="error", lifespan="off", ws="none"))
    server.run([listener])


if __name__ == "__main__":
    main()
