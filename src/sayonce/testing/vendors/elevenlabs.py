"""ElevenLabs' wire (API reference, and its Python client 2.78, 2026-11)."""

from __future__ import annotations

import base64
import json
import re
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sayonce.audio.formats import coding
from sayonce.speech.dialects import ELEVENLABS
from sayonce.testing.vendors.behaviour import Behaviour
from sayonce.testing.vendors.vendor import FakeVendor, Speaking, Speech

_VOICE = re.compile(r"[A-Za-z0-9]{20}")
_MOST_CHARACTERS = 40_000
_LINES = 4  # a second, in a stream with timestamps

#: Some of the premade voices.
VOICES = {"21m00Tcm4TlvDq8ikWAM": "Rachel", "EXAVITQu4vr4xnSDxMaL": "Sarah", "ErXwobaYiN019PkySvjV": "Antoni"}

# What the real API takes; anything else it refuses.
_FIELDS = frozenset(
    (
        "text",
        "model_id",
        "language_code",
        "voice_settings",
        "seed",
        "previous_text",
        "next_text",
        "previous_request_ids",
        "next_request_ids",
        "pronunciation_dictionary_locators",
        "apply_text_normalization",
        "apply_language_text_normalization",
        "use_pvc_as_ivc",
        "audio_effects",
    )
)


class FakeElevenLabs(FakeVendor):
    """`/v1/text-to-speech/…` in its four forms, `/v1/voices`."""

    name = "elevenlabs"

    def routes(self) -> list[Route]:
        speech = "/v1/text-to-speech/{voice_id}"
        return [
            Route(speech, self._speech, methods=["POST"]),
            Route(f"{speech}/stream", self._speech, methods=["POST"]),
            Route(f"{speech}/with-timestamps", self._timed, methods=["POST"]),
            Route(f"{speech}/stream/with-timestamps", self._timed_stream, methods=["POST"]),
            Route("/v1/voices", self._voices, methods=["GET"]),
        ]

    def error(self, status: int, how: Behaviour) -> Response:
        told = {"status": "system_busy", "message": how.why} | how.error
        return JSONResponse({"detail": told}, status, headers=how.headers)

    def key_of(self, request: Request) -> str | None:
        return request.headers.get("xi-api-key")

    async def _voices(self, request: Request) -> Response:
        if not self.knows(request):
            return _WRONG_KEY
        listed = [{"voice_id": voice, "name": name, "labels": {"gender": "female"}} for voice, name in VOICES.items()]
        return self.answer({"voices": listed})

    async def _speech(self, request: Request) -> Response:
        return await self._answer(request, Speaking)

    async def _timed(self, request: Request) -> Response:
        return await self._answer(request, _Timed)

    async def _timed_stream(self, request: Request) -> Response:
        return await self._answer(request, _TimedStream)

    async def _answer(self, request: Request, answering: type[Speaking]) -> Response:
        body: dict[str, Any] = await request.json()
        text, voice = str(body.get("text") or ""), request.path_params["voice_id"]
        self.counts.asked(text, body | dict(request.query_params) | {"voice_id": voice})
        if not self.knows(request):
            return _WRONG_KEY
        name = request.query_params.get("output_format", "mp3_44100_128")
        wrong = _refusal(body, voice, name)
        if wrong is not None:
            return wrong
        audio_format = ELEVENLABS[name]
        headers = {
            "request-id": "fake",
            "character-cost": str(len(text)),
            "current-concurrent-requests": str(self.counts.running + 1),
            "maximum-concurrent-requests": str(self.behaviour.detail.get("maximum", 20)),
        }
        seed = {name: value for name, value in body.items() if value is not None} | {"voice_id": voice}
        return self.speak(Speech(text, seed, audio_format, coding(audio_format).content_type, headers), answering)


class _Timed(Speaking):
    """One object: all audio in base64, and when which character is said."""

    def packed(self, sound: bytes) -> tuple[str, bytes]:
        return "application/json", json.dumps(_told(sound, self.text, 0.0, self.seconds)).encode()


class _TimedStream(Speaking):
    """Lines of such objects, each with a part of both; the times count from the very beginning."""

    def packed(self, sound: bytes) -> tuple[str, bytes]:
        count = max(int(self.seconds * _LINES), 3)
        a_letter = self.seconds / max(len(self.text), 1)
        lines, before = [], 0
        for n in range(count):
            text = _part(self.text, n, count)
            told = _told(_part(sound, n, count), text, before * a_letter, len(text) * a_letter)
            lines.append(json.dumps(told))
            before += len(text)
        lines[1:1] = [self.detail["line"]] if "line" in self.detail else []
        return "application/json", ("\n".join(lines) + "\n").encode()


def _told(sound: bytes, text: str, start: float, seconds: float) -> dict[str, Any]:
    step = seconds / max(len(text), 1)
    alignment = {
        "characters": list(text),
        "character_start_times_seconds": [round(start + n * step, 3) for n in range(len(text))],
        "character_end_times_seconds": [round(start + (n + 1) * step, 3) for n in range(len(text))],
    }
    told = alignment if text else None
    return {"audio_base64": base64.b64encode(sound).decode(), "alignment": told, "normalized_alignment": told}


_Whole = TypeVar("_Whole", str, bytes)


def _part(whole: _Whole, n: int, count: int) -> _Whole:
    return whole[len(whole) * n // count : len(whole) * (n + 1) // count]


def _refusal(body: dict[str, Any], voice: str, output_format: str) -> Response | None:
    """What the real API says to a request that is wrong; None where it is right."""
    if not isinstance(body.get("text"), str):
        return _invalid("text", "Field required", "missing")
    for field in body:
        if field not in _FIELDS:
            return _invalid(field, "Extra inputs are not permitted", "extra_forbidden")
    if output_format not in ELEVENLABS:
        return _invalid("output_format", "Input should be a known format", "enum")
    if not _VOICE.fullmatch(voice):
        return _refused(404, "voice_not_found", "A voice with that voice_id was not found.")
    if len(body["text"]) > _MOST_CHARACTERS:
        return _refused(400, "max_character_limit_exceeded", "This request's text has too many characters.")
    return None


def _invalid(field: str, message: str, kind: str) -> Response:
    return JSONResponse({"detail": [{"loc": ["body", field], "msg": message, "type": kind}]}, 422)


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"detail": {"status": code, "message": message}}, status)


_WRONG_KEY = _refused(401, "invalid_api_key", "Invalid API key")
