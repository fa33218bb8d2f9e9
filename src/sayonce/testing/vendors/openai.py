"""OpenAI's wire (API reference, 2026-11)."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sayonce.audio.formats import coding
from sayonce.speech.formats import BY_NAME
from sayonce.testing.vendors.behaviour import Behaviour
from sayonce.testing.vendors.vendor import FakeVendor, Speech

_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")
_MOST_CHARACTERS = 4096
# What the real API takes; anything else it refuses.
_FIELDS = frozenset(("model", "input", "voice", "response_format", "speed", "instructions", "stream_format"))


class FakeOpenAI(FakeVendor):
    """`/v1/audio/speech`, `/v1/models`."""

    name = "openai"

    def routes(self) -> list[Route]:
        return [
            Route("/v1/audio/speech", self._speech, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]

    def error(self, status: int, how: Behaviour) -> Response:
        told = {"message": how.why, "type": "server_error", "code": None} | how.error
        return JSONResponse({"error": told}, status, headers=how.headers)

    def key_of(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Bearer ") or None

    async def _models(self, request: Request) -> Response:
        if not self.knows(request):
            return _WRONG_KEY
        owned = {"object": "model", "created": 1_699_053_241, "owned_by": "openai-internal"}
        return self.answer({"object": "list", "data": [{"id": model} | owned for model in _MODELS]})

    async def _speech(self, request: Request) -> Response:
        body = await request.json()
        text = str(body.get("input", ""))
        self.counts.asked(text, body)
        if not self.knows(request):
            return _WRONG_KEY
        wrong = _refusal(body, self.behaviour.further)
        if wrong is not None:
            return wrong
        audio_format = BY_NAME[body.get("response_format", "mp3")]
        return self.speak(Speech(text, body, audio_format, coding(audio_format).content_type))


def _refusal(body: dict[str, Any], further: list[str]) -> Response | None:
    """What the real API says to a body that is wrong; None where it is right."""
    for name in ("model", "input", "voice"):
        if not body.get(name):
            return _refused(400, f"Missing required parameter: '{name}'.", "missing_required_parameter", name)
    for name in body:
        if name not in _FIELDS and name not in further:
            return _refused(400, f"Unknown parameter: '{name}'.", "unknown_parameter", name)
    if len(body["input"]) > _MOST_CHARACTERS:
        return _refused(400, "String too long.", "string_above_max_length", "input")
    if body.get("response_format", "mp3") not in BY_NAME:
        return _refused(400, "Unsupported format.", "invalid_value", "response_format")
    if not 0.25 <= body.get("speed", 1) <= 4:
        return _refused(400, "Speed is out of range.", "invalid_value", "speed")
    return None


def _refused(status: int, message: str, code: str, param: str | None = None) -> Response:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return JSONResponse({"error": error}, status)


_WRONG_KEY = _refused(401, "Incorrect API key provided.", "invalid_api_key")
