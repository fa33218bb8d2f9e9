"""ElevenLabs, asked with timestamps, so that timings are kept with the audio and never paid again.

The wire is `POST /v1/text-to-speech/{voice_id}/stream/with-timestamps` (API reference, and what its Python client
2.78 sends, 2026-11): lines of JSON, each with audio in base64 and an alignment of characters.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any
from urllib.parse import quote

import anyio
import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sayonce.errors import InvalidRequest
from sayonce.providers import http
from sayonce.providers.contract import SpeechStream, Voice
from sayonce.providers.vendor import Vendor, VendorSettings
from sayonce.speech import canonical
from sayonce.speech.chunks import Chunk, Mark
from sayonce.speech.dialects import ELEVENLABS, elevenlabs_name
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe
from sayonce.speech.timings import Alignment

MODEL = "eleven_multilingual_v2"
VOICE = "21m00Tcm4TlvDq8ikWAM"

# What it takes at most, of the models the one that takes most (flash and turbo v2.5); others say so themselves.
_MOST_CHARACTERS = 40_000
# Where no rate or bit rate is asked for.
_LOSSLESS = ELEVENLABS["wav_24000"]  # with a header, which noise has not
_USUAL = {"mp3": "mp3_44100_128", "opus": "opus_48000_128"}
# A second of its largest format is 48,000 samples; nobody sends a minute of that in one line.
_LONGEST_LINE = 16_000_000
_MOST_AT_A_TIME = 10_000

_Share = Annotated[float, Field(ge=0, le=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class _VoiceSettings(_Strict):
    stability: _Share | None = None
    similarity_boost: _Share | None = None
    style: _Share | None = None
    use_speaker_boost: bool | None = None
    speed: Annotated[float, Field(ge=0.7, le=1.2)] | None = None
    clone_strength: _Share | None = None


class _Options(_Strict):
    """All that alters the sound, beside what every recipe has. What a caller leaves out is the vendor's to choose,
    and is not sent."""

    voice_settings: _VoiceSettings | None = None
    seed: Annotated[int, Field(ge=0, le=4_294_967_295)] | None = None
    previous_text: str | None = None
    next_text: str | None = None
    previous_request_ids: Annotated[list[str], Field(max_length=3)] | None = None
    next_request_ids: Annotated[list[str], Field(max_length=3)] | None = None
    pronunciation_dictionary_locators: Annotated[list[dict[str, str | None]], Field(max_length=3)] | None = None
    apply_text_normalization: Annotated[str, Field(pattern="^(auto|on|off)$")] | None = None
    apply_language_text_normalization: bool | None = None
    use_pvc_as_ivc: bool | None = None
    audio_effects: dict[str, Any] | None = None
    optimize_streaming_latency: Annotated[int, Field(ge=0, le=4)] | None = None


class ElevenLabsSettings(VendorSettings):
    """Beside what all vendors have."""

    ending = "/v1"
    base_url: str = "https://api.elevenlabs.io"
    max_characters: int = Field(default=_MOST_CHARACTERS, ge=1)
    timestamps: bool = True  # asked for with every text, and kept
    enable_logging: bool | None = None  # false: the vendor keeps nothing (for its enterprise customers)


class ElevenLabsProvider(Vendor[ElevenLabsSettings]):
    """One upstream of ElevenLabs'."""

    name = "elevenlabs"
    settings_model = ElevenLabsSettings

    def __init__(self, name: str, settings: ElevenLabsSettings) -> None:
        super().__init__(name, settings, voice=VOICE, model=MODEL)
        self.discreet = settings.enable_logging is False
        self.timed = settings.timestamps

    def _headers(self) -> dict[str, str]:
        return self.settings.authorization("xi-api-key")

    def check(self, recipe: Recipe) -> Recipe:
        self._refuse_long(recipe.text)
        self._refuse_voice(recipe.voice)
        self._refuse_further(recipe, tuple(_Options.model_fields))
        recipe = _with_speed_in_its_place(recipe, _options(recipe))
        if recipe.speed != "1":
            self._refuse_speed(recipe.speed, 0.7, 1.2)
        return recipe

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        usual = _USUAL.get(wanted.codec)
        if usual is not None and ELEVENLABS[usual].satisfies(wanted):
            return ELEVENLABS[usual]
        return next((known for known in ELEVENLABS.values() if known.satisfies(wanted)), _LOSSLESS)

    @asynccontextmanager
    async def speak(self, recipe: Recipe, native: AudioFormat) -> AsyncIterator[SpeechStream]:
        timed = self.settings.timestamps
        path = f"/v1/text-to-speech/{quote(recipe.voice or '', safe='')}/stream"
        options = json.loads(recipe.options)
        query: dict[str, Any] = {
            "output_format": elevenlabs_name(native),
            "enable_logging": self.settings.enable_logging,
            "optimize_streaming_latency": options.pop("optimize_streaming_latency", None),
        }
        url = self.settings.base_url + path + ("/with-timestamps" if timed else "")
        request = self._client.build_request("POST", url, params=_told(query), json=_told(_body(recipe, options)))
        async with self._asked(request, recipe) as response:
            self._heed_its_limit(response.headers)
            if timed:
                yield SpeechStream(native, self._timed(response, recipe.text))
            else:
                http.refuse_text(response, self.upstream.name)
                yield SpeechStream(native, self._chunks(response))

    async def voices(self) -> Sequence[Voice] | None:
        """Those that the settings name, else those that the vendor lists for its key."""
        return await super().voices() or await self._list(f"{self.settings.base_url}/v1/voices", _voices)

    def price(self, recipe: Recipe) -> float | None:
        return self._price(recipe, recipe.model)

    # ── on the wire ──────────────────────────────────────────────────────────────────────────────

    async def _timed(self, response: httpx.Response, text: str) -> AsyncIterator[Chunk]:
        alignment = Alignment(text)
        empty = True
        async for line in self._lines(response):
            chunk = self._chunk(line, alignment)
            empty = empty and not chunk.data
            yield chunk
        if empty:
            raise self._broken("answered without any audio")
        yield Chunk(b"", tuple(alignment.finish()))

    def _chunk(self, line: bytes, alignment: Alignment) -> Chunk:
        try:
            told = json.loads(line)
            data = base64.b64decode(told["audio_base64"] or "", validate=True)
            marks = tuple(_marks(told.get("alignment"), alignment))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, binascii.Error) as error:
            raise self._broken("sent a line that carries no audio") from error
        return Chunk(data, marks)

    async def _lines(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Its lines, each as soon as it is whole; the last one needs no end."""
        rest = bytearray()
        async for data in http.body(response, self.upstream.name):
            rest += data
            *whole, last = rest.split(b"\n") if b"\n" in data else (rest,)
            for line in whole:
                if line.strip():
                    yield bytes(line)
            rest = bytearray(last)
            if len(rest) > _LONGEST_LINE:
                raise self._broken("sent a line without end")
        if rest.strip():
            yield bytes(rest)

    def _heed_its_limit(self, headers: Mapping[str, str]) -> None:
        """It tells how many requests at a time the key may have; no more are sent from then on."""
        told = headers.get("maximum-concurrent-requests", "")
        if self.settings.concurrency is None and told.isascii() and told.isdecimal() and int(told) > 0:
            if self._turns is None:
                self._turns = anyio.CapacityLimiter(_MOST_AT_A_TIME)
            self._turns.total_tokens = min(int(told), _MOST_AT_A_TIME)


def _options(recipe: Recipe) -> _Options:
    try:
        return _Options.model_validate_json(recipe.options)
    except ValidationError as error:
        wrong = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in wrong["loc"])
        raise InvalidRequest(
            f"ElevenLabs takes no such {where!r}: {wrong['msg']}.", param=where, remedy="See its API reference."
        ) from error


def _with_speed_in_its_place(recipe: Recipe, options: _Options) -> Recipe:
    """The speed has two places, in the recipe and in the voice's settings; one recipe has it in its own. A speed of 1
    that was asked for stays in the settings: it overrides what the voice has at the vendor."""
    given = options.model_dump(exclude_none=True, mode="json")
    settings = given.get("voice_settings", {})
    speed = settings.get("speed")
    if speed is not None and (speed != 1 or recipe.speed != "1"):
        del settings["speed"]
        if recipe.speed == "1":
            recipe = replace(recipe, speed=canonical.number(speed, param="speed"))
    if not settings:
        given.pop("voice_settings", None)
    return replace(recipe, options=canonical.json(given, param="options") if given else "{}")


def _body(recipe: Recipe, options: dict[str, Any]) -> dict[str, Any]:
    body = {"text": recipe.text, "model_id": recipe.model, "language_code": recipe.language, **options}
    if recipe.speed != "1":
        body["voice_settings"] = options.get("voice_settings", {}) | {"speed": float(recipe.speed)}
    return body


def _told(given: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is left to the vendor."""
    return {name: value for name, value in given.items() if value is not None}


def _marks(told: Any, alignment: Alignment) -> Iterator[Mark]:
    if told:
        yield from alignment.feed(
            told["characters"], told["character_start_times_seconds"], told["character_end_times_seconds"]
        )


def _voices(told: Any) -> Iterator[Voice]:
    for each in told["voices"]:
        voice_id = each["voice_id"]
        yield Voice(voice_id, each.get("name") or voice_id, gender=(each.get("labels") or {}).get("gender"))
