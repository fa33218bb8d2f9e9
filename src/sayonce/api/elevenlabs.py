"""ElevenLabs' dialect: `POST /v1/text-to-speech/{voice_id}` in its four forms, `GET /v1/voices`.

Facts: its API reference and what its Python client 2.78 sends and reads (2026-11).
"""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar, TypeAlias, TypeVar

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers, timings
from sayonce.api.answers import Bytes, Headers, Stream
from sayonce.api.bodies import Name, parse
from sayonce.api.desk import Desk, Visit, cleaned, flag, named, query_of, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.cache.answers import Answer, Live, whole
from sayonce.cache.orders import Chain, Order, Outcome
from sayonce.errors import (
    BudgetSpent,
    InvalidRequest,
    ProviderError,
    ProviderRefused,
    RateLimited,
    SayonceError,
    TextTooLong,
    Unauthenticated,
    UnknownVoice,
    UnsupportedFormat,
)
from sayonce.providers.contract import Voice
from sayonce.speech.dialects import ELEVENLABS
from sayonce.speech.formats import AudioFormat
from sayonce.speech.requests import SpeechRequest
from sayonce.speech.timings import Timed, Told

#: Characters of the text as it was sent, and of the text as it is said.
Alignments: TypeAlias = tuple[Sequence[Timed], Sequence[Timed]]
S = TypeVar("S", bytes, Sequence[Timed])

_DIALECT = "elevenlabs"
_USUAL_FORMAT = "mp3_44100_128"
# The longest body: its longest text, and as much before and after it, each escaped.
_LONGEST_TEXT = 40_000
_LONGEST_BODY = 2_000_000
_QUERY = ("output_format", "enable_logging", "optimize_streaming_latency")
# How much of a whole answer goes into one line of a stream with timestamps, in bytes.
_PART = 16_384


class ElevenLabsBody(BaseModel):
    """The dialect's body, and our own fields. What further fields alter the sound is the upstream's to know."""

    model_config = ConfigDict(extra="allow")

    text: str
    model_id: Name | None = None
    language_code: Name | None = None
    voice_settings: dict[str, Any] | None = None


class _ElevenLabsDoor(Door):
    """One of the dialect's doors: its errors."""

    words: ClassVar[Mapping[str, str]] = {"input": "text", "voice": "voice_id", "model": "model_id"}

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    def refuse(self, problem: SayonceError) -> ASGIApp:
        return error(problem)


class SpeechDoor(_ElevenLabsDoor):
    """Audio, whole or as it comes: the two forms without timestamps."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        chain, visit, _ = await self._chain(scope, receive)
        engine = self.gateway.engine
        answer = engine.recall(chain.first) or await engine.say(chain)
        spoken = answers.audio(answer, began, answers.repeat_of(answer, chain, visit.caller, _FRESH))
        spoken.headers.extend(_told(answer))
        return spoken

    async def _chain(self, scope: Scope, receive: Receive) -> tuple[Chain, Visit, str]:
        """Who is to speak, for whom, and the text as it was sent."""
        visit = await self._desk.receive(scope)
        body = parse(ElevenLabsBody, await read_body(receive, visit.headers, _LONGEST_BODY))
        cast = self.gateway.cast
        request = request_of(scope["path_params"]["voice_id"], body, query_of(scope), visit)
        request = await cleaned(cast, request, visit.cleaning(None))
        return cast.chain(request, visit.steering, visit.chain(None), dialect=_DIALECT), visit, body.text


class TimedDoor(SpeechDoor):
    """Audio and when each character is said, in one object or in lines. 422 where nobody knows and none may be
    estimated."""

    def __init__(self, gateway: Gateway, desk: Desk, *, in_lines: bool) -> None:
        super().__init__(gateway, desk)
        self._in_lines = in_lines
        self._estimate = gateway.settings.estimate_timings

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        chain, _, sent = await self._chain(scope, receive)
        answer: Answer | None = self.gateway.engine.recall(chain.first)
        if answer is None:
            timings.demand(chain.first.provider, estimate=self._estimate)
            answer = await self.gateway.engine.say(chain if self._estimate else chain.only(_untimed))
        if isinstance(answer, Live) and self._in_lines and answer.order.provider.timed:
            return Stream([*_json_headers(answer), *_told(answer)], _lines(answer, sent))
        return await self._when_whole(answer, sent)

    async def _when_whole(self, answer: Answer, sent: str) -> Bytes:
        clip = await whole(answer)
        text = answer.said
        marks = timings.marks_of(clip.asset, text, estimate=self._estimate)
        if not marks:
            raise timings.no_timings(answer.order.provider.upstream.name)
        characters = Told(sent, text)
        timed = _joined(characters.feed(marks), characters.finish(clip.asset.duration))
        headers = [*_json_headers(answer), *_told(answer)]
        if marks is not clip.asset.marks:
            headers.append(timings.ESTIMATED)
        body = _parts(clip.data, timed) if self._in_lines else _line(clip.data, timed)
        return Bytes(200, [*headers, (b"content-length", b"%d" % len(body))], body)


class VoicesDoor(_ElevenLabsDoor):
    """`GET /v1/voices`: those of whoever answers to this dialect."""

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        visit = await self._desk.receive(scope)
        voices = await self.gateway.cast.speaks(_DIALECT, visit.chain(None)).voices()
        return answers.as_json({"voices": [_voice(voice) for voice in voices or ()]})


def request_of(voice_id: str, body: ElevenLabsBody, query: dict[str, str], visit: Visit) -> SpeechRequest:
    """The speech request of a path, a body, a query, and the headers beside them."""
    if len(body.text) > _LONGEST_TEXT:
        raise TextTooLong(
            f"The text has {len(body.text)} characters.", param="text", remedy=f"Send at most {_LONGEST_TEXT}."
        )
    if unknown := set(query) - set(_QUERY):
        raise InvalidRequest("There is no such parameter.", param=min(unknown)[:100], remedy="Leave it out.")
    options = {name: value for name, value in (body.model_extra or {}).items() if value is not None}
    settings = {name: value for name, value in (body.voice_settings or {}).items() if value is not None}
    speed = settings.get("speed")
    if settings:
        options["voice_settings"] = settings
    if "optimize_streaming_latency" in query:
        options["optimize_streaming_latency"] = _number(query, "optimize_streaming_latency")
    return SpeechRequest(
        text=body.text,
        voice=named("voice_id", voice_id),
        model=body.model_id,
        language=body.language_code or visit.header("x-sayonce-language"),
        speed=speed if isinstance(speed, int | float) and not isinstance(speed, bool) else 1.0,
        options=options,
        variation=visit.variation(None),
        owner=visit.owner(None, None, None),
        format=_format(query.get("output_format", _USUAL_FORMAT)),
        discreet=not flag(query, "enable_logging", usual=True),
    )


def error(problem: SayonceError) -> Bytes:
    """An error in the dialect: a list where a field is wrong, else a status and a message."""
    status, code = _in_dialect(problem)
    detail: Any = {"status": code, "message": str(problem)}
    if status == 422 and isinstance(problem, InvalidRequest):
        detail = [{"loc": ["body", problem.param or ""], "msg": str(problem), "type": problem.code}]
    return answers.as_json({"detail": detail}, status, answers.hints(problem))


def _in_dialect(problem: SayonceError) -> tuple[int, str]:
    match problem:
        case UnknownVoice():
            return 404, "voice_not_found"
        case TextTooLong():
            return 400, "max_character_limit_exceeded"
        case UnsupportedFormat():
            return 422, problem.code
        case InvalidRequest(status=400):
            return 422, problem.code
        case Unauthenticated():
            return 401, "invalid_api_key"
        case BudgetSpent():
            return 401, "quota_exceeded"
        case RateLimited():
            return 429, "rate_limit_exceeded"
        case _:
            return problem.status, problem.code


def _untimed(order: Order) -> ProviderError | None:
    """Why who tells no times does not stand in for who does: it would be paid for nothing."""
    name = order.provider.upstream.name
    return None if order.provider.timed else ProviderRefused(f"'{name}' tells no times.", provider=name)


def _json_headers(answer: Answer) -> Headers:
    order = answer.order
    headers: Headers = [
        (b"content-type", b"application/json"),
        (b"x-tts-cache", answer.outcome.encode()),
        (b"x-tts-provider", order.provider.upstream.name.encode()),
        (b"x-content-hash", order.content_hash.hex().encode()),
    ]
    return [*headers, answers.VARIANT] if answer.transcoded else headers


def _told(answer: Answer) -> Headers:
    """What the dialect's clients read beside the audio: a hit costs nothing."""
    paid = answer.outcome not in (Outcome.HIT, Outcome.JOINED)
    cost = len(answer.said) if paid else 0
    return [(b"request-id", _request_id()), (b"character-cost", b"%d" % cost)]


def _request_id() -> bytes:
    return secrets.token_hex(10).encode()


_FRESH = {b"request-id": _request_id}


async def _lines(answer: Live, sent: str) -> AsyncIterator[bytes]:
    """The lines of an answer that is being spoken, each with the characters that became known with its audio."""
    flight, characters, seen = answer.flight, Told(sent, answer.said), 0
    async for piece in answer.pieces():
        marks, seen = flight.marks[seen:], len(flight.marks)
        yield _line(piece, characters.feed(marks)) + b"\n"
    clip = await flight.landed()
    rest = _joined(characters.feed(flight.marks[seen:]), characters.finish(clip.asset.duration))
    if any(rest):
        yield _line(b"", rest) + b"\n"


def _parts(data: bytes, timed: Alignments) -> bytes:
    """The lines of an answer that is there."""
    count = max(-(-len(data) // _PART), 1)
    parts = zip(_cut(data, count), _cut(timed[0], count), _cut(timed[1], count), strict=True)
    return b"".join(_line(audio, (sent, said)) + b"\n" for audio, sent, said in parts)


def _cut(whole: S, count: int) -> Iterator[S]:
    places = [len(whole) * n // count for n in range(count + 1)]
    return (whole[a:b] for a, b in pairwise(places))


def _joined(first: Alignments, rest: Alignments) -> Alignments:
    return [*first[0], *rest[0]], [*first[1], *rest[1]]


def _line(data: bytes, timed: Alignments) -> bytes:
    sent, said = map(_alignment, timed)
    line = {"audio_base64": base64.b64encode(data).decode(), "alignment": sent, "normalized_alignment": said}
    return json.dumps(line, ensure_ascii=False).encode()


def _alignment(timed: Sequence[Timed]) -> dict[str, Any] | None:
    if not timed:
        return None
    return {
        "characters": [each.character for each in timed],
        "character_start_times_seconds": [round(each.start, 3) for each in timed],
        "character_end_times_seconds": [round(each.end, 3) for each in timed],
    }


def _voice(voice: Voice) -> dict[str, Any]:
    labels = {"gender": voice.gender, "language": next(iter(voice.languages), None)}
    return {
        "voice_id": voice.id,
        "name": voice.name,
        "category": "premade",
        "labels": {name: value for name, value in labels.items() if value},
    }


def _format(name: str) -> AudioFormat:
    known = ELEVENLABS.get(name)
    if known is None:
        raise UnsupportedFormat(
            "There is no such output format.", param="output_format", remedy=f"Use one of: {', '.join(ELEVENLABS)}."
        )
    return known


def _number(query: dict[str, str], name: str) -> int:
    if not (query[name].isascii() and query[name].isdecimal() and len(query[name]) < 4):
        raise InvalidRequest(f"'{name}' is no whole number.", param=name, remedy="Leave it out.")
    return int(query[name])


def create_voice(voice_id: str, body: ElevenLabsBody) -> None:
    """Audio of a text, when all of it is there or as it comes."""


def stream_voice(voice_id: str, body: ElevenLabsBody) -> None:
    """Audio of a text as it comes."""


def create_timed_voice(voice_id: str, body: ElevenLabsBody) -> None:
    """Audio of a text in base64, and when each of its characters is said."""


def stream_timed_voice(voice_id: str, body: ElevenLabsBody) -> None:
    """Lines of JSON, each with a part of the audio and the times of its characters."""


def list_voices() -> None:
    """The voices there are."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs this dialect's doors."""
    path, speech = "/v1/text-to-speech/{voice_id}", SpeechDoor(gateway, desk)
    hang(app, path, "POST", speech, create_voice)
    hang(app, f"{path}/stream", "POST", speech, stream_voice)
    hang(app, f"{path}/with-timestamps", "POST", TimedDoor(gateway, desk, in_lines=False), create_timed_voice)
    hang(app, f"{path}/stream/with-timestamps", "POST", TimedDoor(gateway, desk, in_lines=True), stream_timed_voice)
    hang(app, "/v1/voices", "GET", VoicesDoor(gateway, desk), list_voices)
