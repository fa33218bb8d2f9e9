"""OpenAI's dialect: `POST /v1/audio/speech`, `GET /v1/models`."""

from __future__ import annotations

import base64
import json
import math
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers
from sayonce.api.answers import Stream
from sayonce.api.bodies import SpeechBody, VoiceId, parse
from sayonce.api.desk import Desk, Visit, cleaned, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.audio.formats import format_of
from sayonce.cache.answers import Answer, Live, whole
from sayonce.errors import InvalidRequest, TextTooLong
from sayonce.speech.requests import SpeechRequest

# The wire's own limit, in characters; the longest body of such a text, instructions and all, each escaped.
_LONGEST_TEXT = 4_096
_LONGEST_BODY = 262_144
# How much of a whole answer goes into one event, in bytes.
_PIECE = 16_384
# What a usage tells is an estimate: OpenAI's own rules of thumb for text, and for audio what follows from its price
# by the minute and by the token (platform.openai.com/docs/pricing, 2026-11).
_CHARACTERS_A_TOKEN = 4
_TOKENS_A_SECOND = 1_250 / 60


class SpeechDoor(Door):
    """`POST /v1/audio/speech`."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        visit = await self._desk.receive(scope)
        body = parse(SpeechBody, await read_body(receive, visit.headers, _LONGEST_BODY))
        cast = self.gateway.cast
        request = await cleaned(cast, request_of(body, visit), visit.cleaning(body.cleaning))
        chain = cast.chain(request, visit.steering, visit.chain(body.chain))
        engine = self.gateway.engine
        answer = engine.recall(chain.first) or await engine.say(chain)
        if body.stream_format == "sse":
            return _events(answer, began)
        return answers.audio(answer, began, answers.repeat_of(answer, chain, visit.caller))


class ModelsDoor(Door):
    """`GET /v1/models`."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        await self._desk.receive(scope)
        cast = self.gateway.cast
        models = [
            {"id": model, "object": "model", "created": 0, "owned_by": name}
            for name, provider in sorted(cast.upstreams.items(), key=lambda entry: entry[0] != cast.default)
            for model in provider.models() or (name,)
        ]
        return answers.as_json({"object": "list", "data": models})


def request_of(body: SpeechBody, visit: Visit) -> SpeechRequest:
    """The speech request of a body and the headers beside it."""
    if len(body.input) > _LONGEST_TEXT:
        raise TextTooLong(
            f"The text has {len(body.input)} characters.",
            param="input",
            remedy=f"Send at most {_LONGEST_TEXT} at a time.",
        )
    if body.stream_format not in (None, "audio", "sse"):
        raise InvalidRequest("There is no such stream format.", param="stream_format", remedy="Use 'audio' or 'sse'.")
    return SpeechRequest(
        text=body.input,
        model=body.model,
        voice=body.voice.id if isinstance(body.voice, VoiceId) else body.voice,
        language=body.language or visit.header("x-sayonce-language"),
        speed=body.speed,
        instructions=body.instructions,
        options=body.model_extra or {},
        variation=visit.variation(body.variation),
        owner=visit.owner(body.scope, body.user, body.session),
        format=format_of(body.response_format),
    )


def _events(answer: Answer, began: float) -> Stream:
    """The audio as server-sent events, as OpenAI's newer models stream it."""
    spoken = answers.audio(answer, began)
    headers = [(name, value) for name, value in spoken.headers[1:] if name != b"content-length"]
    return Stream([(b"content-type", b"text/event-stream; charset=utf-8"), *headers], _deltas(answer))


async def _deltas(answer: Answer) -> AsyncIterator[bytes]:
    async for piece in _pieces(answer):
        yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})
    told = math.ceil(len(answer.said) / _CHARACTERS_A_TOKEN)
    heard = math.ceil((await whole(answer)).asset.duration * _TOKENS_A_SECOND)
    usage = {"input_tokens": told, "output_tokens": heard, "total_tokens": told + heard}
    yield _event({"type": "speech.audio.done", "usage": usage})


async def _pieces(answer: Answer) -> AsyncIterator[bytes]:
    if isinstance(answer, Live):
        async for piece in answer.pieces():
            yield piece
    else:
        for at in range(0, len(answer.clip.data), _PIECE):
            yield answer.clip.data[at : at + _PIECE]


def _event(told: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(told).encode() + b"\n\n"


def create_speech(body: SpeechBody) -> None:
    """Audio of a text. It comes from what is kept, else live from the upstream; X-TTS-Cache tells."""


def list_models() -> None:
    """The models that can be asked for, those of the default upstream first."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs this dialect's doors."""
    hang(app, "/v1/audio/speech", "POST", SpeechDoor(gateway, desk), create_speech)
    hang(app, "/v1/models", "GET", ModelsDoor(gateway, desk), list_models)
