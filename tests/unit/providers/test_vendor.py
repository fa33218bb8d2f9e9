"""What a vendor's adapter may tell of its vendor: how its errors are written, and what no quota is called."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sayonce.errors import ProviderError, ProviderRefused, ProviderUnavailable
from sayonce.providers.contract import SpeechStream, Voice
from sayonce.providers.vendor import Vendor, VendorSettings
from sayonce.speech.formats import MP3, AudioFormat
from sayonce.speech.recipes import Recipe, recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.servers import serving


class ParrotSettings(VendorSettings):
    ending = "/v2"
    base_url: str = "https://parrot.example"


class Parrot(Vendor[ParrotSettings]):
    name = "parrot"
    settings_model = ParrotSettings
    no_quota = Vendor.no_quota | {"out_of_crackers"}

    def _headers(self) -> dict[str, str]:
        return {}

    def _told(self, raw: bytes) -> Mapping[str, str]:
        fault = json.loads(raw)["fault"]
        return {"code": fault["code"], "message": fault["why"]}

    def check(self, recipe: Recipe) -> Recipe:
        return recipe

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        return wanted

    def speak(self, recipe: Recipe, native: AudioFormat) -> AbstractAsyncContextManager[SpeechStream]:
        request = self._client.build_request("POST", f"{self.settings.base_url}/v2/speak", json={"text": recipe.text})
        return self._spoken(request, recipe, native)

    async def voices(self) -> tuple[Voice, ...]:
        return await self._list(f"{self.settings.base_url}/v2/voices", _voices)

    def price(self, recipe: Recipe) -> float | None:
        return None


def _voices(told: Any) -> Iterator[Voice]:
    for each in told["voices"]:
        yield Voice(each, each)


async def failing(code: str) -> None:
    await answering({"fault": {"code": code, "why": "The moon is full."}})


async def answering(told: Any) -> None:
    async def fault(request: Request) -> Response:
        return JSONResponse(told, 400)

    async with (
        serving(Starlette(routes=[Route("/v2/speak", fault, methods=["POST"])])) as url,
        aclosing(Parrot("polly", ParrotSettings(base_url=f"{url}/v2"))) as parrot,
        parrot.speak(recipe_of(SpeechRequest(text="Hello."), parrot.upstream), MP3),
    ):
        raise AssertionError("it spoke")


async def test_an_error_of_another_shape_is_read() -> None:
    with pytest.raises(ProviderRefused, match=r"answered 400 \(moody\): The moon is full\."):
        await failing("moody")


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"fault": {"code": 7, "why": "The moon is full"}}, r"\(7\): The moon is full\."),
        ({"error": "The moon is full."}, r": The moon is full\."),
        ({"fault": 7}, r"answered 400\."),
        ([], r"answered 400\."),
    ],
)
async def test_what_answers_is_not_always_the_vendor(told: Any, said: str) -> None:
    with pytest.raises(ProviderRefused, match=said):
        await answering(told)


async def test_what_no_quota_is_called() -> None:
    for code in ("out_of_crackers", "insufficient_quota"):
        with pytest.raises(ProviderUnavailable, match="quota") as failed:
            await failing(code)
        assert not failed.value.retryable


async def test_a_list_of_voices_is_asked_for_until_it_comes_and_then_never_again() -> None:
    answers: list[Any] = [{"voices": ["ann"]}, {"voices": 7}]

    async def voices(request: Request) -> Response:
        return JSONResponse(answers.pop())

    async with (
        serving(Starlette(routes=[Route("/v2/voices", voices)])) as url,
        aclosing(Parrot("polly", ParrotSettings(base_url=url))) as parrot,
    ):
        with pytest.raises(ProviderError, match="no list of voices"):
            await parrot.voices()
        assert await parrot.voices() == await parrot.voices() == (Voice("ann", "ann"),)


@pytest.mark.parametrize(
    ("table", "voice"),
    [({}, "ann"), ({"voices": ["bob", "cid"]}, "bob"), ({"voices": ["bob"], "voice": "cid"}, "cid")],
)
def test_its_usual_voice(table: dict[str, Any], voice: str) -> None:
    assert Parrot("polly", ParrotSettings(**table), voice="ann").upstream.voice == voice
