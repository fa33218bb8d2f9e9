"""OpenAI's dialect keeps the contract, over a socket."""

from __future__ import annotations

from typing import Any

import pytest

from sayonce.errors import InvalidRequest, InvalidSettings, ProviderUnavailable
from sayonce.providers import registry
from sayonce.providers.contract import Provider
from sayonce.providers.vendor import identity_of
from sayonce.speech.formats import BY_NAME, MP3, PCM, WAV, AudioFormat
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.vendor_suite import Make, VendorContract


class TestOpenAI(VendorContract):
    kind = "openai"
    path = "/v1"

    async def test_what_is_sent(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider, " Two  words ", speed=1.5, instructions="Softly."), WAV)
        assert self.vendor.counts.bodies == [
            {
                "model": "tts-1",
                "input": "Two words",
                "voice": "alloy",
                "response_format": "wav",
                "speed": 1.5,
                "instructions": "Softly.",
            }
        ]

    async def test_further_fields_must_be_named(self, make: Make) -> None:
        provider = make(fields=["seed", "language"])
        self.vendor.behave(further=["seed", "language"])
        await self.say(provider, self.recipe(provider, language="de", options={"seed": 7}), MP3)
        assert (self.vendor.counts.bodies[-1]["seed"], self.vendor.counts.bodies[-1]["language"]) == (7, "de")
        with pytest.raises(InvalidRequest, match="seed, language"):
            self.recipe(provider, options={"sed": 7})
        with pytest.raises(InvalidRequest, match="pitch"):
            self.recipe(provider, pitch=2.0)

    async def test_an_empty_account(self, provider: Provider) -> None:
        self.vendor.behave(status=429, error={"code": "insufficient_quota"})
        with pytest.raises(ProviderUnavailable, match="quota") as failed:
            await self.say(provider, self.recipe(provider), MP3)
        assert not failed.value.retryable

    def test_native_formats(self) -> None:
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
    with pytest.raises(InvalidSettings, match="elevenlabs, espeak, openai"):
        registry.make("mine", "nobody", {})
