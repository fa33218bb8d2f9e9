"""Deepgram keeps the contract, over a socket."""

from __future__ import annotations

import pytest

from sayonce.errors import InvalidRequest
from sayonce.providers.contract import Provider
from sayonce.speech.dialects import DEEPGRAM
from sayonce.speech.formats import BY_NAME, MP3, WAV, AudioFormat
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.testing.vendor_suite import Make, VendorContract


class TestDeepgram(VendorContract):
    kind = "deepgram"
    another_voice = "aura-luna-en"

    async def test_what_is_sent(self, make: Make) -> None:
        provider = make(mip_opt_out=True)
        await self.say(provider, self.recipe(provider, " Two  words ", speed=1.25, language="en"), WAV)
        assert self.vendor.counts.bodies == [
            {
                "text": "Two words",
                "model": "aura-asteria-en",
                "encoding": "linear16",
                "container": "wav",
                "sample_rate": "24000",
                "speed": "1.25",
                "mip_opt_out": "true",
            }
        ]

    def test_a_model_is_a_voice(self, provider: Provider) -> None:
        named = self.recipe(provider, model="aura-2-thalia-en")
        assert named == self.recipe(provider, voice="aura-2-thalia-en")
        assert (named.model, named.voice) == (None, "aura-2-thalia-en")
        with pytest.raises(InvalidRequest, match="voice"):
            self.recipe(provider, model="tts-1")
        with pytest.raises(InvalidRequest):
            self.recipe(provider, model="aura-luna-en", voice="aura-zeus-en")

    def test_the_voice_speaks_its_own_language(self, provider: Provider) -> None:
        assert self.recipe(provider, language="de") == self.recipe(provider)

    @pytest.mark.parametrize("speed", [0.5, 1.6])
    def test_its_speeds(self, provider: Provider, speed: float) -> None:
        with pytest.raises(InvalidRequest, match=r"0\.7 to 1\.5"):
            self.recipe(provider, speed=speed)

    def test_native_formats(self, provider: Provider) -> None:
        recipe = recipe_of(SpeechRequest(text="Hi."), provider.upstream)
        assert all(provider.native_format(recipe, known) == known for known in DEEPGRAM)
        assert provider.native_format(recipe, MP3) == AudioFormat("mp3", "mp3", 22_050, 48_000)
        assert provider.native_format(recipe, AudioFormat("mp3", "mp3", 44_100, 128_000)).container == "wav"
        assert all(provider.native_format(recipe, each).satisfies(each) for each in BY_NAME.values())
