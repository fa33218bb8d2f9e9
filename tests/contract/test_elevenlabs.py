"""ElevenLabs keeps the contract, over a socket."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, ClassVar

import pytest

from sayonce.errors import BrokenAudio, InvalidRequest, ProviderUnavailable, UnknownVoice
from sayonce.providers.contract import Provider
from sayonce.speech.chunks import Mark
from sayonce.speech.dialects import ELEVENLABS
from sayonce.speech.formats import AAC, MP3, OPUS, PCM, WAV
from sayonce.speech.recipes import recipe_of
from sayonce.speech.requests import SpeechRequest
from sayonce.speech.timings import CHARACTER, WORD
from sayonce.testing.providers import TEXT
from sayonce.testing.vendor_suite import Make, VendorContract
from sayonce.testing.vendors.elevenlabs import VOICES


class TestElevenLabs(VendorContract):
    kind = "elevenlabs"
    passes_voices_on = True
    table: ClassVar[dict[str, Any]] = {"max_characters": 5_000}  # audio of more takes long to make

    async def test_what_is_sent(self, provider: Provider) -> None:
        options = {"voice_settings": {"stability": 0.5}, "seed": 7, "optimize_streaming_latency": 2}
        recipe = self.recipe(provider, " Two  words ", language="en", speed=1.1, options=options)
        await self.say(provider, recipe, PCM)
        assert self.vendor.counts.bodies == [
            {
                "text": "Two words",
                "model_id": "eleven_multilingual_v2",
                "language_code": "en",
                "voice_settings": {"stability": 0.5, "speed": 1.1},
                "seed": 7,
                "output_format": "pcm_24000",
                "optimize_streaming_latency": "2",
                "voice_id": "21m00Tcm4TlvDq8ikWAM",
            }
        ]

    async def test_what_is_left_to_the_vendor_is_not_sent(self, provider: Provider) -> None:
        await self.say(provider, self.recipe(provider), MP3)
        assert set(self.vendor.counts.bodies[0]) == {"text", "model_id", "output_format", "voice_id"}

    async def test_timings_come_with_the_audio(self, provider: Provider) -> None:
        marks = await self.marks(provider)
        characters = [mark for mark in marks if mark.kind == CHARACTER]
        words = [mark for mark in marks if mark.kind == WORD]
        assert "".join(TEXT[mark.first] for mark in characters) == TEXT
        assert [TEXT[mark.first : mark.first + mark.length] for mark in words] == TEXT.split()
        assert words[0].start == 0.0
        assert all(one.end <= other.start + 0.2 for one, other in pairwise(words))
        assert words[-1].end == pytest.approx(len(TEXT) / 15, abs=0.01)

    async def test_timings_can_be_left_out(self, make: Make) -> None:
        provider = make(timestamps=False, enable_logging=False)
        assert await self.marks(provider) == []
        assert self.vendor.counts.bodies[0]["enable_logging"] == "false"

    async def marks(self, provider: Provider) -> list[Mark]:
        recipe = self.recipe(provider)
        async with provider.speak(recipe, provider.native_format(recipe, MP3)) as stream:
            return [mark async for chunk in stream.chunks for mark in chunk.marks]

    def test_the_speed_has_one_place(self, provider: Provider) -> None:
        here = self.recipe(provider, speed=1.1)
        there = self.recipe(provider, options={"voice_settings": {"speed": 1.1}})
        assert here == there == self.recipe(provider, speed=1.1, options={"voice_settings": {"speed": 0.8}})
        own = self.recipe(provider, options={"voice_settings": {"speed": 1}})
        assert own != self.recipe(provider), "what is asked for overrides what the voice has at the vendor"

    def test_one_number_one_recipe(self, provider: Provider) -> None:
        one = self.recipe(provider, options={"voice_settings": {"stability": 1, "style": None}})
        assert one == self.recipe(provider, options={"voice_settings": {"stability": 1.0}})
        assert self.recipe(provider, options={"voice_settings": {}}) == self.recipe(provider)

    @pytest.mark.parametrize(
        ("options", "param"),
        [
            ({"voice_settings": {"stability": 2}}, "voice_settings.stability"),
            ({"voice_settings": {"warmth": 1}}, "voice_settings.warmth"),
            ({"voice_settings": 7}, "voice_settings"),
            ({"seed": -1}, "seed"),
            ({"previous_request_ids": ["a", "b", "c", "d"]}, "previous_request_ids"),
            ({"apply_text_normalization": "maybe"}, "apply_text_normalization"),
        ],
    )
    def test_wrong_options_are_named(self, provider: Provider, options: dict[str, object], param: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            self.recipe(provider, options=options)
        assert refused.value.param == param

    def test_native_formats(self, provider: Provider) -> None:
        recipe = recipe_of(SpeechRequest(text="Hi."), provider.upstream)
        native = {wanted: provider.native_format(recipe, wanted) for wanted in (MP3, OPUS, WAV, PCM, AAC)}
        assert native[MP3] == ELEVENLABS["mp3_44100_128"]
        assert native[OPUS] == ELEVENLABS["opus_48000_128"]
        assert (native[PCM], native[AAC]) == (PCM, ELEVENLABS["wav_24000"])
        assert native[WAV].container == "wav"
        assert all(provider.native_format(recipe, known) == known for known in ELEVENLABS.values())

    async def test_its_voices(self, provider: Provider, make: Make) -> None:
        listed = await provider.voices()
        assert listed is not None
        assert {voice.id: voice.name for voice in listed} == VOICES
        some = make(voices=["21m00Tcm4TlvDq8ikWAM"])
        assert [voice.id for voice in await some.voices() or ()] == ["21m00Tcm4TlvDq8ikWAM"]
        with pytest.raises(UnknownVoice):
            self.recipe(some, voice="EXAVITQu4vr4xnSDxMaL")

    async def test_it_heeds_the_limit_that_the_vendor_tells(self, provider: Provider) -> None:
        self.vendor.behave(detail={"maximum": 1})
        await self.say(provider, self.recipe(provider), MP3)
        self.vendor.counts.most_at_once = 0
        await self.test_many_at_once(provider)
        assert self.vendor.counts.most_at_once == 1

    async def test_an_empty_account(self, provider: Provider) -> None:
        self.vendor.behave(status=401, error={"status": "quota_exceeded"})
        with pytest.raises(ProviderUnavailable, match="quota"):
            await self.say(provider, self.recipe(provider), MP3)

    @pytest.mark.parametrize(
        "line",
        [
            b"[1]",
            b"7",
            b"{}",
            b'{"audio_base64": "!"}',
            b'{"audio_base64": "aaaa", "alignment": 7}',
            b'{"audio_base64": "aaaa", "alignment": {"characters": ["a"], "character_start_times_seconds": []}}',
            b'{"audio_base64": "aaaa", "alignment": {"characters": [7], "character_start_times_seconds": [0], '
            b'"character_end_times_seconds": [1]}}',
            b'{"audio_base64": "aaaa", "alignment": {"characters": ["H"], "character_start_times_seconds": ["0"], '
            b'"character_end_times_seconds": [1]}}',
            b"[" * 100_000,
            b'{"audio_base64": 7}',
        ],
    )
    async def test_lines_that_carry_no_audio(self, provider: Provider, line: bytes) -> None:
        self.vendor.behave(detail={"line": line.decode()})
        with pytest.raises(BrokenAudio, match="line"):
            await self.say(provider, self.recipe(provider), MP3)
