"""A provider that is described in settings alone keeps the contract, over a socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sayonce.errors import (
    BrokenAudio,
    InvalidRequest,
    InvalidSettings,
    ProviderError,
    ProviderMisconfigured,
    ProviderRefused,
)
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.providers.templates import filled, in_url
from sayonce.speech.formats import BY_NAME, FLAC, WAV
from sayonce.testing.providers import ProviderContract
from sayonce.testing.servers import serving
from sayonce.testing.vendors.sound import audio, length_of
from tests.conftest import MakeHouse


class FakeAcme:
    """A speech API like many: what it is asked is noted, and answered as it is told."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.pace = 0.0
        self.answer: Any = None

    def routes(self) -> list[Route]:
        return [
            Route("/tts/{voice:path}", self.speak, methods=["POST", "GET"]),
            Route("/json", self.in_json, methods=["POST"]),
            Route("/file.wav", self.file),
        ]

    async def _note(self, request: Request) -> dict[str, Any]:
        raw = await request.body()
        told = {
            "path": request.url.path,
            "raw_path": request.scope["raw_path"].decode(),
            "query": dict(request.query_params),
            "key": request.headers.get("x-key"),
            "raw": raw.decode(),
        }
        if "json" in request.headers.get("content-type", ""):
            told["json"] = await request.json()
        self.asked.append(told)
        return told

    async def speak(self, request: Request) -> Response:
        told = await self._note(request)
        text = told.get("json", {}).get("text") or told["query"].get("q") or told["raw"]
        name = told.get("json", {}).get("format", "mp3")
        seed = f"{told['path']} {told['query']} {told['raw']}"  # all that it was asked
        return Pieces(audio(seed, length_of(text), BY_NAME[name]), self.pace)

    async def in_json(self, request: Request) -> Response:
        await self._note(request)
        return self.answer if isinstance(self.answer, Response) else JSONResponse(self.answer)

    async def file(self, request: Request) -> Response:
        return Pieces(audio("file", 2.0, WAV), 0.0)


class Pieces(Response):
    def __init__(self, data: bytes, pace: float) -> None:
        super().__init__()
        self._data, self._pace = data, pace

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"audio/mpeg")]})
        for at in range(0, len(self._data), 4_096):
            await asyncio.sleep(self._pace)
            await send({"type": "http.response.body", "body": self._data[at : at + 4_096], "more_body": True})
        await send({"type": "http.response.body", "body": b""})


@pytest.fixture
async def acme() -> AsyncIterator[tuple[FakeAcme, str]]:
    fake = FakeAcme()
    async with serving(Starlette(routes=fake.routes())) as url:
        yield fake, url


BODY = {"text": "{text}", "rate": "{speed}", "format": "{format}", "more": [{"seed": "{options.seed}"}, "{style}"]}


def table(place: str, **more: Any) -> dict[str, Any]:
    return {
        "url": f"{place}/tts/{{voice}}",
        "api_key": "sk-x",
        "headers": {"X-Key": "Key {api_key}"},
        "body": BODY,
        "formats": {"mp3": "mp3", "wav": "wav"},
        "voices": ["ann", "bob"],
        "options": ["seed"],
        "min_speed": 0.5,
        "max_speed": 2,
        "max_characters": 5_000,
        **more,
    }


class TestDeclared(ProviderContract):
    pace: ClassVar[float] = 0.05

    @pytest.fixture
    async def provider(self, acme: tuple[FakeAcme, str]) -> AsyncIterator[Provider]:
        self.acme = acme[0]
        provider = registry.make("acme", "declared", table(acme[1]))
        yield provider
        await provider.aclose()

    def slow_down(self) -> None:
        self.acme.pace = self.pace

    async def test_what_is_sent(self, provider: Provider) -> None:
        recipe = self.recipe(provider, 'Say "it" \\ {voice}', speed=1.5, voice="bob", options={"seed": 7})
        await self.say(provider, recipe, WAV)
        [asked] = self.acme.asked
        assert (asked["path"], asked["key"]) == ("/tts/bob", "Key sk-x")
        assert asked["json"] == {
            "text": 'Say "it" \\ {voice}',
            "rate": 1.5,
            "format": "wav",
            "more": [{"seed": 7}],
        }

    async def test_model_and_language_count_where_they_are_sent(self, acme: tuple[FakeAcme, str]) -> None:
        async with aclosing(
            await made(acme[1], headers={"X-Model": "{model}"}, query={"lang": "{language}"})
        ) as told:
            recipe = self.recipe(told, model="large", language="de")
            assert (recipe.model, recipe.language) == ("large", "de")
        async with aclosing(await made(acme[1])) as silent:
            assert self.recipe(silent, model="large", language="de") == self.recipe(silent)

    def test_formats_that_it_has_not(self, provider: Provider) -> None:
        assert provider.native_format(self.recipe(provider), FLAC) == WAV

    def test_what_its_body_does_not_name_is_refused(self, provider: Provider) -> None:
        assert self.recipe(provider, style="warm").style == "warm"
        for wrong in ({"pitch": 2.0}, {"instructions": "Softly."}, {"options": {"warmth": 1}}, {"speed": 2.5}):
            with pytest.raises(InvalidRequest):
                self.recipe(provider, **wrong)  # type: ignore[arg-type]


async def made(place: str, **more: Any) -> Provider:
    return registry.make("acme", "declared", table(place, **more))


async def say(provider: Provider, text: str = "Hello there.", **manner: Any) -> bytes:
    suite = ProviderContract()
    async with aclosing(provider):
        return (await suite.say(provider, suite.recipe(provider, text, **manner), WAV))[0]


async def test_values_cannot_reach_past_their_place(acme: tuple[FakeAcme, str]) -> None:
    for voice in ("../../admin", "..", "a?b=c#d", "a/b", "%2e%2e"):
        await say(await made(acme[1], voices=[voice]), voice=voice)
    assert all(asked["raw_path"].startswith("/tts/") for asked in acme[0].asked)
    assert [asked["raw_path"].count("/") for asked in acme[0].asked] == [2] * 5
    assert [asked["query"] for asked in acme[0].asked] == [{}] * 5


async def test_a_get_with_a_query(acme: tuple[FakeAcme, str]) -> None:
    asked = {"method": "GET", "body": None, "query": {"q": "{text}", "lang": "{language}", "key": "{api_key}"}}
    assert await say(await made(acme[1], **asked), "One & two = 3?")
    assert acme[0].asked[0]["query"] == {"q": "One & two = 3?", "key": "sk-x"}


@pytest.mark.parametrize("how", [{"form": {"q": "{text}"}}, {"raw": "{text}"}])
async def test_forms_and_plain_text(acme: tuple[FakeAcme, str], how: dict[str, Any]) -> None:
    assert await say(await made(acme[1], body=None, **how), "One & two")
    assert acme[0].asked[0]["raw"] in ("q=One+%26+two", "One & two")


async def test_audio_in_json(acme: tuple[FakeAcme, str]) -> None:
    fake, url = acme
    sound = audio("x", 1.0, WAV)
    for encoding, told in (
        ("base64", base64.b64encode(sound).decode()),
        ("hex", sound.hex()),
        ("url", f"{url}/file.wav"),
    ):
        fake.answer = {"data": [{"audio": told}]}
        provider = await made(url, url=f"{url}/json", audio="data.0.audio", audio_encoding=encoding, voices=[])
        heard = await say(provider)
        assert heard == (audio("file", 2.0, WAV) if encoding == "url" else sound)


@pytest.mark.parametrize(
    ("answer", "encoding", "wanted"),
    [
        ({"data": {}}, "base64", BrokenAudio),
        ({"data": {"audio": 7}}, "base64", BrokenAudio),
        ({"data": {"audio": ""}}, "base64", BrokenAudio),
        ({"data": {"audio": "!!"}}, "base64", BrokenAudio),
        ({"data": {"audio": "zz"}}, "hex", BrokenAudio),
        ([], "base64", BrokenAudio),
        (PlainTextResponse("[" * 100_000), "base64", BrokenAudio),
        (PlainTextResponse("no"), "base64", BrokenAudio),
        ({"data": {"audio": "http://169.254.169.254/latest"}}, "url", ProviderRefused),
        ({"data": {"audio": "http://localhost:1/"}}, "url", ProviderRefused),
        ({"data": {"audio": "file:///etc/passwd"}}, "url", ProviderRefused),
        (PlainTextResponse("no", 500), "base64", ProviderError),
    ],
)
async def test_answers_without_audio(
    acme: tuple[FakeAcme, str], answer: Any, encoding: str, wanted: type[ProviderError]
) -> None:
    acme[0].answer = answer
    with pytest.raises(wanted):
        await say(await made(acme[1], url=f"{acme[1]}/json", audio="data.audio", audio_encoding=encoding, voices=[]))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"url": ""}, "no url"),
        ({"url": "ftp://x/y"}, "host"),
        ({"url": "https://{voice}.example/"}, "host"),
        ({"url": "https://x/{nobody}"}, "nobody"),
        ({"body": {"a": ["{options.temperature}"]}}, "temperature"),
        ({"raw": "{text}"}, "more than one"),
        ({"formats": {"mp9": "x"}}, "formats"),
        ({"formats": {}}, "formats"),
        ({"method": "BREW"}, "method"),
        ({"audio_encoding": "rot13"}, "audio_encoding"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(InvalidSettings, match=told):
        registry.make("acme", "declared", table("https://x", **wrong))


def test_another_description_is_another_identity() -> None:
    one, other = (
        registry.make("acme", "declared", table("https://x", body={"text": "{text}", "pace": pace}))
        for pace in (1, 2)
    )
    assert one.upstream.identity != other.upstream.identity
    assert "sk-x" not in one.upstream.identity


def test_templates() -> None:
    assert filled({"a": "{x}", "b": "{y}", "c": "{x}!", "d": 7}, {"x": 1.5}) == {"a": 1.5, "c": "1.5!", "d": 7}
    assert filled("{text}", {"text": "{voice}", "voice": "ann"}) == "{voice}"
    assert in_url("/a/{x}/{y}", {"x": "..", "y": "a b"}) == "/a/%2E%2E/a%20b"


async def test_wispr_needs_an_endpoint_and_the_chain_goes_on(make_house: MakeHouse) -> None:
    wispr = registry.make("wispr", "wispr", {})
    with pytest.raises(ProviderMisconfigured, match="needs an endpoint"):
        ProviderContract().recipe(wispr)
    await wispr.aclose()
    house = await make_house(chain="wispr,openai")
    assert (await house.http.post("/api/voice", json={"text": "Hello."})).json()["provider"] == "openai"
    alone = await house.http.post("/api/voice", json={"text": "Hello.", "provider": "wispr", "chain": ["wispr"]})
    assert alone.status_code == 502
    assert "needs an endpoint" in alone.json()["error"]["message"]


async def test_wispr_with_an_endpoint_speaks(acme: tuple[FakeAcme, str], make_house: MakeHouse) -> None:
    house = await make_house(chain="wispr", upstreams={"wispr": {"provider": "wispr", **table(acme[1])}})
    said = (await house.http.post("/api/voice", json={"text": "Hello."})).json()
    assert (said["provider"], said["outcome"]) == ("wispr", "miss")
