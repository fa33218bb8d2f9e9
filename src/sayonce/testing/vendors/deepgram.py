"""Deepgram's wire (API reference, and its Python client 7.17, 2026-11)."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sayonce.errors import UnsupportedFormat
from sayonce.speech.dialects import deepgram_content_type, deepgram_format
from sayonce.testing.vendors.behaviour import Behaviour
from sayonce.testing.vendors.vendor import FakeVendor, Speech

_MODEL = re.compile(r"aura(-2)?-[a-z]+-[a-z]{2}")
_MOST_CHARACTERS = 2_000
_PARAMETERS = frozenset(
    ("model", "encoding", "container", "sample_rate", "bit_rate", "speed", "callback", "callback_method", "tag")
) | {"mip_opt_out"}


class FakeDeepgram(FakeVendor):
    """`/v1/speak`."""

    name = "deepgram"

    def routes(self) -> list[Route]:
        return [Route("/v1/speak", self._speak, methods=["POST"])]

    def error(self, status: int, how: Behaviour) -> Response:
        code = "TOO_MANY_REQUESTS" if status == 429 else "INTERNAL_SERVER_ERROR"
        told = {"err_code": code, "err_msg": how.why, "request_id": "fake"} | how.error
        return JSONResponse(told, status, headers=how.headers)

    def key_of(self, request: Request) -> str | None:
        return request.headers.get("authorization", "").removeprefix("Token ") or None

    async def _speak(self, request: Request) -> Response:
        body = await request.json()
        query = dict(request.query_params)
        text = str(body.get("text") or "")
        self.counts.asked(text, body | query)
        if not self.knows(request):
            return _refused(401, "INVALID_AUTH", "Invalid credentials.")
        wrong = _refusal(body, query)
        if wrong is not None:
            return wrong
        try:
            audio_format = deepgram_format(
                query.get("encoding"), query.get("container"), _count(query, "sample_rate"), _count(query, "bit_rate")
            )
        except UnsupportedFormat as error:
            return _refused(400, "UNSUPPORTED_AUDIO_FORMAT", error.message)
        model = query.get("model", "aura-asteria-en")
        headers = {
            "dg-model-name": model,
            "dg-model-uuid": "fake",
            "dg-char-count": str(len(text)),
            "dg-request-id": "fake",
        }
        seed = {"text": text, "model": model, "speed": query.get("speed")}
        return self.speak(Speech(text, seed, audio_format, deepgram_content_type(audio_format), headers))


def _refusal(body: dict[str, str], query: dict[str, str]) -> Response | None:
    """What the real API says to a request that is wrong; None where it is right."""
    if not isinstance(body.get("text"), str) or not body["text"]:
        return _refused(400, "INVALID_JSON", "Failed to deserialize JSON payload: missing field text.")
    for name in query:
        if name not in _PARAMETERS:
            return _refused(400, "INVALID_QUERY_PARAMETER", f"Unknown query parameter {name}.")
    if not _MODEL.fullmatch(query.get("model", "aura-asteria-en")):
        return _refused(400, "INVALID_MODEL", "No such model.")
    if len(body["text"]) > _MOST_CHARACTERS:
        return _refused(413, "PAYLOAD_TOO_LARGE", "Input text exceeds maximum character limit of 2000.")
    if not 0.7 <= float(query.get("speed", "1")) <= 1.5:
        return _refused(400, "INVALID_QUERY_PARAMETER", "The speed is out of range.")
    return None


def _count(query: dict[str, str], name: str) -> int | None:
    return int(float(query[name])) if name in query else None


def _refused(status: int, code: str, message: str) -> Response:
    return JSONResponse({"err_code": code, "err_msg": message, "request_id": "fake"}, status)
