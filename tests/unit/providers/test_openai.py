"""What an upstream of OpenAI's dialect says wrong, and what is made of it: no text, no key, no surprise."""

from __future__ import annotations

import json
import traceback
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from sayonce.errors import InvalidSettings, ProviderRefused
from sayonce.providers import http, registry
from sayonce.providers.contract import Provider
from sayonce.speech.formats import MP3
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.servers import serving

TEXT = "My dear old companion of the seven seas,\n\nhow are you today?"


def recipe(provider: Provider, **asked: Any) -> Recipe:
    return provider.check(recipe_of(SpeechRequest(**({"text": TEXT} | asked)), provider.upstream))


class Answering:
    """A server that gives every request the same answer, and keeps the last one's headers."""

    def __init__(self, status: int, body: bytes) -> None:
        self._status = status
        self._body = body
        self.heard: dict[bytes, bytes] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.heard = dict(scope["headers"])
        headers = [(b"content-type", b"application/json" if self._status != 200 else b"audio/mpeg")]
        await send({"type": "http.response.start", "status": self._status, "headers": headers})
        await send({"type": "http.response.body", "body": self._body})


async def say(server: Answering, **table: Any) -> bytes:
    async with serving(server) as url:
        provider = registry.make("upstream", "openai", {"base_url": f"{url}/v1"} | table)
        try:
            async with provider.speak(recipe(provider), MP3) as stream:
                return b"".join([chunk.data async for chunk in stream.chunks])
        finally:
            await provider.aclose()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": {"message": "No such voice.", "code": "voice", "type": "x"}},
            "answered 400 (voice): No such voice.",
        ),
        ({"error": {"message": "No such voice", "type": "bad", "code": None}}, "answered 400 (bad): No such voice."),
        ({"error": {"message": "No such voice", "code": 400}}, "answered 400 (400): No such voice."),
        ({"error": "No such voice"}, "answered 400: No such voice."),
        ({"detail": "No such voice"}, "answered 400: No such voice."),
        ({"detail": {"error": "e", "message": "No such voice"}}, "answered 400: No such voice."),
        (
            {"detail": [{"loc": ["body"], "msg": "No such voice", "type": "enum"}]},
            "answered 400 (enum): No such voice.",
        ),
        ({"message": "No\x1b[31m such\nvoice\ud800"}, "answered 400: No [31m such voice."),
        ({"detail": []}, "answered 400."),
        ([], "answered 400."),
        (7, "answered 400."),
    ],
)
async def test_what_it_says_is_passed_on(body: Any, said: str) -> None:
    with pytest.raises(ProviderRefused) as failed:
        await say(Answering(400, json.dumps(body).encode()))
    assert failed.value.message == f"'upstream' {said}"


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 16_000, b'{"error": ' * 2_000])
async def test_what_cannot_be_read_is_no_surprise(body: bytes) -> None:
    with pytest.raises(ProviderRefused) as failed:
        await say(Answering(400, body))
    assert failed.value.message == "'upstream' answered 400."


@pytest.mark.parametrize(
    "quote",
    [
        TEXT,
        " ".join(TEXT.split()),
        TEXT.upper(),
        repr(TEXT),
        "x" * 290 + TEXT,
        "at 'old companion of the seven'",
        "my… dear “OLD” companion-of the, seven seas",
    ],
)
async def test_a_message_that_quotes_the_text_is_not_passed_on(quote: str) -> None:
    for error in ({"message": f"Cannot say {quote}"}, {"message": "No.", "code": quote}):
        with pytest.raises(ProviderRefused) as failed:
            await say(Answering(400, json.dumps({"error": error}).encode()))
        assert not {"companion", "seven"} & set(str(failed.value).lower().split())
        assert "Cannot" not in str(failed.value)


@pytest.mark.parametrize(
    ("message", "text", "passed_on"),
    [
        ("This is the latest request", "test", True),
        ("Not in this voice", "Hi.", True),
        ("Cannot say Hi", "Hi.", False),
        ("Cannot say 你好,世界!今天天气很好", "你好,世界!今天天气很好。", False),
        ("Cannot say 🙂", "🙂", False),
        ("Fine", "🙂", True),
        ("a" * 1_000, "Hello", True),
    ],
)
def test_a_quotation_is_told_from_a_chance(message: str, text: str, passed_on: bool) -> None:
    assert http.unquoted(message, text) == (message[:300] if passed_on else "")


@pytest.mark.parametrize("key", ["sk-one\n", " sk-one ", "sk-one\r\n"])
async def test_a_key_may_come_out_of_a_file(key: str) -> None:
    server = Answering(200, b"audio")
    assert await say(server, api_key=key, headers={"X-Team": "blue\n"}) == b"audio"
    assert (server.heard[b"authorization"], server.heard[b"x-team"]) == (b"Bearer sk-one", b"blue")


@pytest.mark.parametrize("key", ["", " \n"])
async def test_an_empty_key_is_none(key: str) -> None:
    server = Answering(200, b"audio")
    await say(server, api_key=key)
    assert b"authorization" not in server.heard


@pytest.mark.parametrize(
    "table", [{"api_key": "sk-se\ncret"}, {"api_key": "sk-secretä"}, {"headers": {"x": "sk-se\ncret"}}]
)
def test_a_key_that_cannot_be_sent_is_told_of_and_not_told(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings) as failed:
        registry.make("mine", "openai", table)
    told = "".join(traceback.format_exception(failed.value))
    assert next(iter(table)) in told
    assert "sk-se" not in told


def test_the_first_declared_voice_speaks_where_none_is_asked_for() -> None:
    declared = registry.make("kokoro", "openai", {"voices": ["af_nicole", "af_sky"]})
    assert recipe(declared).voice == "af_nicole"
    assert recipe(registry.make("any", "openai", {})).voice == "alloy"
    chosen = registry.make("kokoro", "openai", {"voices": ["af_nicole", "af_sky"], "voice": "af_sky"})
    assert recipe(chosen).voice == "af_sky"


def test_a_language_that_it_does_not_take_makes_no_other_recipe() -> None:
    provider = registry.make("plain", "openai", {})
    assert recipe(provider, language="de").hash == recipe(provider).hash
    taking = registry.make("taking", "openai", {"fields": ["language"]})
    assert recipe(taking, language="de").hash != recipe(taking).hash
