"""Deepgram's dialect: `POST /v1/speak`.

Facts: its API reference and what its Python client 7.17 sends and reads (2026-11).
"""

from __future__ import annotations

import secrets
import time

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from starlette.types import ASGIApp, Receive, Scope

from sayonce.api import answers
from sayonce.api.answers import Bytes, Headers
from sayonce.api.bodies import parse
from sayonce.api.desk import Desk, Visit, cleaned, flag, named, query_of, read_body
from sayonce.api.door import Door, hang
from sayonce.app import Gateway
from sayonce.cache.answers import Answer
from sayonce.errors import (
    BudgetSpent,
    InvalidRequest,
    RateLimited,
    SayonceError,
    TextTooLong,
    Unauthenticated,
    UnknownVoice,
    UnsupportedFormat,
)
from sayonce.speech.dialects import deepgram_content_type, deepgram_format
from sayonce.speech.requests import SpeechRequest

_DIALECT = "deepgram"
_USUAL_MODEL = "aura-asteria-en"
# The wire's own limit is 2,000; a text for another provider may be longer.
_LONGEST_TEXT = 10_000
_LONGEST_BODY = 262_144
_QUERY = ("model", "encoding", "container", "sample_rate", "bit_rate", "speed", "tag", "mip_opt_out")


class DeepgramBody(BaseModel):
    """The dialect's body."""

    model_config = ConfigDict(extra="forbid")

    text: str


class SpeakDoor(Door):
    """`POST /v1/speak`."""

    def __init__(self, gateway: Gateway, desk: Desk) -> None:
        super().__init__(gateway)
        self._desk = desk

    async def answer(self, scope: Scope, receive: Receive) -> ASGIApp:
        began = time.perf_counter()
        visit = await self._desk.receive(scope)
        body = parse(DeepgramBody, await read_body(receive, visit.headers, _LONGEST_BODY))
        query = query_of(scope)
        cast = self.gateway.cast
        request = await cleaned(cast, request_of(body, query, visit), visit.cleaning(None))
        chain = cast.chain(request, visit.steering, visit.chain(None), dialect=_DIALECT)
        engine = self.gateway.engine
        answer = engine.recall(chain.first) or await engine.say(chain)
        spoken = answers.audio(answer, began, answers.repeat_of(answer, chain, visit.caller, _FRESH))
        spoken.headers[0] = (b"content-type", deepgram_content_type(answer.order.format).encode())
        spoken.headers.extend(_told(answer, query.get("model", _USUAL_MODEL)))
        return spoken

    def refuse(self, problem: SayonceError) -> ASGIApp:
        return error(problem)


def request_of(body: DeepgramBody, query: dict[str, str], visit: Visit) -> SpeechRequest:
    """The speech request of a body, a query, and the headers beside them."""
    _refuse_unknown(query)
    if len(body.text) > _LONGEST_TEXT:
        raise TextTooLong(
            f"The text has {len(body.text)} characters.", param="text", remedy=f"Send at most {_LONGEST_TEXT}."
        )
    return SpeechRequest(
        text=body.text,
        voice=named("model", query.get("model")) or _USUAL_MODEL,
        speed=_number(query, "speed") or 1.0,
        variation=visit.variation(None),
        owner=visit.owner(None, None, None),
        format=deepgram_format(
            query.get("encoding"), query.get("container"), _count(query, "sample_rate"), _count(query, "bit_rate")
        ),
        discreet=flag(query, "mip_opt_out", usual=False),
    )


def error(problem: SayonceError) -> Bytes:
    """An error in the dialect."""
    status, code = _in_dialect(problem)
    told = {"err_code": code, "err_msg": str(problem), "request_id": secrets.token_hex(16)}
    return answers.as_json(told, status, answers.hints(problem))


def _in_dialect(problem: SayonceError) -> tuple[int, str]:
    match problem:
        case TextTooLong():
            return 413, "PAYLOAD_TOO_LARGE"
        case UnsupportedFormat():
            return 400, "UNSUPPORTED_AUDIO_FORMAT"
        case UnknownVoice():
            return 400, "INVALID_MODEL"
        case Unauthenticated():
            return 401, "INVALID_AUTH"
        case BudgetSpent():
            return 402, "ASR_PAYMENT_REQUIRED"
        case RateLimited():
            return 429, "TOO_MANY_REQUESTS"
        case _:
            return problem.status, problem.code.upper()


def _told(answer: Answer, model: str) -> Headers:
    return [
        (b"dg-model-name", (answer.order.recipe.voice or model).encode("ascii", "replace")),
        (b"dg-model-uuid", answer.order.recipe.hash.hex()[:32].encode()),
        (b"dg-char-count", b"%d" % len(answer.order.recipe.text)),
        (b"dg-request-id", _request_id()),
    ]


def _request_id() -> bytes:
    return secrets.token_hex(16).encode()


_FRESH = {b"dg-request-id": _request_id}


def _refuse_unknown(query: dict[str, str]) -> None:
    if "callback" in query or "callback_method" in query:
        raise InvalidRequest(
            "The gateway calls nobody back.", param="callback", remedy="Leave it out: the audio is in the answer."
        )
    if unknown := set(query) - set(_QUERY):
        raise InvalidRequest("There is no such parameter.", param=min(unknown)[:100], remedy="Leave it out.")


def _number(query: dict[str, str], name: str) -> float | None:
    """A parameter's number; the official client sends whole ones as `24000.0` or `24000`."""
    told = query.get(name)
    if told is None:
        return None
    if len(told) > 20 or not told.isascii() or not told.replace(".", "", 1).isdecimal():
        raise InvalidRequest(f"'{name}' is no number.", param=name, remedy="Send a plain number.")
    return float(told)


def _count(query: dict[str, str], name: str) -> int | None:
    told = _number(query, name)
    if told is not None and not told.is_integer():
        raise UnsupportedFormat(f"'{name}' is no whole number.", param=name, remedy="Send a whole number.")
    return None if told is None else int(told)


def speak_text(body: DeepgramBody) -> None:
    """Audio of a text; `model`, `encoding`, `container`, `sample_rate`, `bit_rate` and `speed` are in the query."""


def hang_doors(app: FastAPI, gateway: Gateway, desk: Desk) -> None:
    """Hangs this dialect's door."""
    hang(app, "/v1/speak", "POST", SpeakDoor(gateway, desk), speak_text)
