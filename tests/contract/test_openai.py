"""OpenAI's dialect keeps the contract, over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import psutil
import pytest

from sayonce.errors import (
    BrokenAudio,
    InvalidRequest,
    InvalidSettings,
    ProviderError,
    ProviderMisconfigured,
    ProviderRateLimited,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.providers.vendor import identity_of
from sayonce.speech.formats import BY_NAME, MP3, PCM, WAV, AudioFormat
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.providers import TEXT, ProviderContract
from sayonce.testing.servers import serving
from sayonce.testing.vendors import FakeVendors
from tests.conftest import until


def connections() -> set[int]:
    """The ports from which this process is connected to its own servers."""
    own = psutil.Process().net_connections("tcp4")
    listening = {each.laddr.port for each in own if each.status == psutil.CONN_LISTEN}
    return {each.laddr.port for each in own if each.raddr and each.raddr.port in listening}


class TestOpenAI(ProviderContract):
    @pytest.fixture
    async def vendors(self) -> AsyncIterator[tuple[FakeVendors, str]]:
        self.vendors = FakeVendors()
        async with serving(self.vendors) as url:
            yield self.vendors, url

    def slow_down(self) -> None:
        self.vendors.behave(pace=0.05)

    @pytest.fixture
    async def provider(self, vendors: tuple[FakeVendors, str]) -> AsyncIterator[Provider]:
        provider = registry.make("upstream", "openai", {"base_url": f"{vendors[1]}/v1", "connections": 4})
        yield provider
        await provider.aclose()

    async def test_what_is_sent(self, provider: Provider, vendors: tuple[FakeVendors, str]) -> None:
        await self.say(provider, self.recipe(provider, " Two  words ", speed=1.5, instructions="Softly."), WAV)
        assert vendors[0].counts.bodies == [
            {
                "model": "tts-1",
                "input": "Two words",
                "voice": "alloy",
                "response_format": "wav",
                "speed": 1.5,
                "instructions": "Softly.",
            }
        ]

    async def test_it_is_heard_while_it_is_said(self, provider: Provider, vendors: tuple[FakeVendors, str]) -> None:
        vendors[0].behave(pace=0.2, piece=500)
        recipe = self.recipe(provider)
        async with provider.speak(recipe, MP3) as stream:
            assert len((await anext(stream.chunks)).data) == 500
            assert (vendors[0].counts.running, vendors[0].counts.finished) == (1, 0)
        await until(lambda: vendors[0].counts.running == 0)
        assert vendors[0].counts.finished == 0  # leaving ended it

    async def test_connections_are_kept(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider), MP3)
        [kept] = connections()
        for n in range(5):
            await self.say(provider, self.recipe(provider, f"Number {n}."), MP3)
        assert connections() == {kept}

    async def test_further_fields_must_be_named(self, vendors: tuple[FakeVendors, str]) -> None:
        table: dict[str, Any] = {"base_url": f"{vendors[1]}/v1", "fields": ["seed", "language"]}
        provider = registry.make("kokoro", "openai", table)
        vendors[0].behave(further=["seed", "language"])
        await self.say(provider, self.recipe(provider, language="de", options={"seed": 7}), MP3)
        assert (vendors[0].counts.bodies[-1]["seed"], vendors[0].counts.bodies[-1]["language"]) == (7, "de")
        with pytest.raises(InvalidRequest, match="seed, language"):
            self.recipe(provider, options={"sed": 7})
        with pytest.raises(InvalidRequest, match="pitch"):
            self.recipe(provider, pitch=2.0)
        await provider.aclose()

    @pytest.mark.parametrize(
        ("how", "wanted", "retryable"),
        [
            ({"status": 500}, ProviderUnavailable, True),
            ({"status": 503}, ProviderUnavailable, True),
            ({"status": 504}, ProviderTimeout, True),
            ({"status": 401}, ProviderMisconfigured, False),
            ({"status": 403}, ProviderMisconfigured, False),
            ({"status": 302, "headers": {"location": "http://127.0.0.1:9/"}}, ProviderMisconfigured, False),
            ({"status": 400}, ProviderRefused, False),
            ({"status": 422}, ProviderRefused, False),
            ({"status": 429}, ProviderRateLimited, True),
            ({"status": 429, "error": {"code": "insufficient_quota"}}, ProviderUnavailable, False),
            ({"status": 404}, ProviderRefused, False),
            ({"status": 408}, ProviderTimeout, True),
            ({"key": "another"}, ProviderMisconfigured, False),
            ({"trouble": "html"}, BrokenAudio, True),
            ({"trouble": "empty"}, BrokenAudio, True),
            ({"trouble": "cut"}, ProviderUnavailable, True),
            ({"trouble": "abort"}, ProviderUnavailable, True),
            ({"trouble": "never"}, ProviderTimeout, True),
        ],
    )
    async def test_its_errors(
        self, vendors: tuple[FakeVendors, str], how: dict[str, Any], wanted: type[ProviderError], retryable: bool
    ) -> None:
        table = {"base_url": f"{vendors[1]}/v1", "first_byte_timeout": 0.5}
        provider = registry.make("upstream", "openai", table)
        vendors[0].behave(**how)
        with pytest.raises(wanted) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert (failed.value.provider, failed.value.retryable) == ("upstream", retryable)
        await provider.aclose()

    @pytest.mark.parametrize(
        ("headers", "seconds"),
        [
            ({"retry-after": "7"}, 7.0),
            ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
            ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
            ({"retry-after": "soon"}, None),
            ({"retry-after": "9" * 400}, 86_400.0),  # more than a float holds
            ({}, None),
        ],
    )
    async def test_patience(
        self, provider: Provider, vendors: tuple[FakeVendors, str], headers: dict[str, str], seconds: float | None
    ) -> None:
        vendors[0].behave(status=429, headers=headers)
        with pytest.raises(ProviderRateLimited) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert failed.value.retry_after == seconds

    async def test_nobody_there(self) -> None:
        provider = registry.make("gone", "openai", {"base_url": "http://127.0.0.1:9/v1"})
        with pytest.raises(ProviderUnavailable, match="reached"):
            await self.say(provider, self.recipe(provider), MP3)
        await provider.aclose()

    async def test_no_error_quotes_the_text(self, provider: Provider, vendors: tuple[FakeVendors, str]) -> None:
        vendors[0].behave(status=400, error={"message": f"I will not say: {TEXT}"})
        with pytest.raises(ProviderRefused) as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert "friend" not in str(failed.value)

    async def test_native_formats(self, vendors: tuple[FakeVendors, str]) -> None:
        only_mp3 = registry.make("a", "openai", {"formats": ["mp3"]})
        some = registry.make("b", "openai", {"formats": ["mp3", "wav", "flac"]})
        recipe = recipe_of(SpeechRequest(text="Hi."), only_mp3.upstream)
        assert only_mp3.native_format(recipe, WAV) == MP3
        whole = registry.make("c", "openai", {})
        assert [whole.native_format(recipe, each) for each in BY_NAME.values()] == [*BY_NAME.values()]
        assert whole.native_format(recipe, AudioFormat("mp3", "mp3", 8_000)) == PCM
        assert (some.native_format(recipe, MP3), some.native_format(recipe, PCM)) == (MP3, WAV)

    def test_prices(self) -> None:
        openai = registry.make("openai", "openai", {"api_key": "x"})
        recipe = recipe_of(SpeechRequest(text="a" * 1_000, model="tts-1-hd"), openai.upstream)
        assert openai.price(recipe) == pytest.approx(0.03)
        elsewhere = registry.make("b", "openai", {"base_url": "http://x/v1"})
        assert elsewhere.price(recipe) is None
        priced = registry.make("c", "openai", {"base_url": "http://x/v1", "price": 2})
        assert priced.price(recipe) == pytest.approx(0.002)


def test_identities() -> None:
    assert identity_of("openai", "https://api.openai.com/v1") == "openai:api.openai.com:443/v1"
    assert identity_of("openai", "http://localhost:8880/v1/") == "openai:localhost:8880/v1"


@pytest.mark.parametrize(
    "table",
    [
        {"base_url": "ftp://x"},
        {"base_url": "http://user@x/v1"},
        {"base_url": "http://:word@x/v1"},
        {"base_url": "http://x:99999/v1"},
        {"base_url": "http://x y/v1"},
        {"base_url": "http://x/v1#there"},
        {"fields": ["seed", "input"]},
        {"headers": {"x y": "z"}},
        {"formats": ["mp9"]},
        {"price": -1},
        {"colour": "red"},
        {"max_characters": 0},
    ],
)
def test_wrong_settings_are_named(table: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettings, match=f"{next(iter(table))}.*'mine'"):
        registry.make("mine", "openai", table)


def test_an_unknown_provider_names_those_there_are() -> None:
    with pytest.raises(InvalidSettings, match="espeak, openai"):
        registry.make("mine", "nobody", {})
