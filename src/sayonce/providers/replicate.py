"""Kokoro-82M on Replicate: a prediction is made, waited for, and what it points to is fetched.

The wire is `POST /v1/predictions` (Replicate's API reference, and its Python client 1.0.7, 2026-11). The voices are
those of the model's own list (huggingface.co/hexgrad/Kokoro-82M, VOICES.md, 2026-11).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
from pydantic import Field

from sayonce.errors import ProviderError, ProviderTimeout, ProviderUnavailable, UnknownModel
from sayonce.providers import http
from sayonce.providers.contract import SpeechStream, Voice
from sayonce.providers.outputs import Source
from sayonce.providers.vendor import Vendor, VendorSettings
from sayonce.speech.formats import WAV, AudioFormat
from sayonce.speech.recipes import Recipe

URL = "https://api.replicate.com"
VERSION = "jaaari/kokoro-82m:f559560eb822dc509045f3921a1921234918b91739db4bf3daab2169b71c7a13"
VOICE = "af_nicole"

#: Where Replicate's predictions leave their files.
HOSTS = ("replicate.delivery", ".replicate.delivery")

_LONGEST_PREDICTION = 1_000_000
_LONGEST_PAUSE = 2.0  # between two looks, in seconds
_CANCELLING = 5.0  # for how long a prediction that nobody waits for is called off, in seconds

# The first letter tells the language, the second the gender.
_LANGUAGES = dict(zip("abefhijpz", ("en-US", "en-GB", "es", "fr", "hi", "it", "ja", "pt-BR", "zh"), strict=True))
_NAMES = {
    "af": "alloy aoede bella heart jessica kore nicole nova river sarah sky",
    "am": "adam echo eric fenrir liam michael onyx puck santa",
    "bf": "alice emma isabella lily",
    "bm": "daniel fable george lewis",
    "ef": "dora",
    "em": "alex santa",
    "ff": "siwis",
    "hf": "alpha beta",
    "hm": "omega psi",
    "if": "sara",
    "im": "nicola",
    "jf": "alpha gongitsune nezumi tebukuro",
    "jm": "kumo",
    "pf": "dora",
    "pm": "alex santa",
    "zf": "xiaobei xiaoni xiaoxiao xiaoyi",
    "zm": "yunjian yunxi yunxia yunyang",
}
_VOICES = tuple(f"{kind}_{name}" for kind, names in _NAMES.items() for name in names.split())


class ReplicateSettings(VendorSettings):
    """Beside what all vendors have. `version` is `owner/name:id`, or `owner/name` for an official model. Times are in
    seconds."""

    ending = "/v1"
    base_url: str = URL
    version: str = Field(default=VERSION, pattern=r"^[\w.-]+/[\w.-]+(:[0-9a-f]{64})?$|^[0-9a-f]{64}$")
    voices: tuple[str, ...] = _VOICES
    max_characters: int = Field(default=20_000, ge=1)
    wait: int = Field(default=60, ge=0, le=60)  # how long Replicate is asked to hold its answer back
    poll: float = Field(default=0.25, gt=0)  # the first pause before a look; each is half as long again
    longest: float = Field(default=300.0, gt=0)  # for a prediction
    first_byte_timeout: float = Field(default=90.0, gt=0)
    output_hosts: tuple[str, ...] = HOSTS


class ReplicateProvider(Vendor[ReplicateSettings]):
    """One upstream of Replicate's."""

    name = "replicate"
    settings_model = ReplicateSettings

    def __init__(self, name: str, settings: ReplicateSettings) -> None:
        super().__init__(name, settings, voice=VOICE)
        voice = settings.voice or (VOICE if VOICE in settings.voices else self.upstream.voice)
        self.upstream = replace(self.upstream, model=settings.version, voice=voice)
        self._source = Source(name, settings.base_url, settings.output_hosts)
        limits = http.Limits(settings.connect_timeout, settings.first_byte_timeout, settings.connections)
        self._elsewhere = http.client(limits, {"accept-encoding": "identity"})  # without the key
        self._calling_off: set[asyncio.Task[None]] = set()

    def _headers(self) -> dict[str, str]:
        return self.settings.authorization("authorization", "Bearer")

    def check(self, recipe: Recipe) -> Recipe:
        self._refuse_long(recipe.text)
        if recipe.model != self.settings.version:
            raise UnknownModel(
                f"'{self.upstream.name}' has no such model.",
                param="model",
                remedy=f"Leave it out: it has {self.settings.version}.",
            )
        self._refuse_voice(recipe.voice)
        self._refuse_further(recipe)
        if recipe.speed != "1":
            self._refuse_speed(recipe.speed, 0.1, 5)
        return replace(recipe, language=None)  # the voice speaks its own

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        return WAV

    @asynccontextmanager
    async def speak(self, recipe: Recipe, native: AudioFormat) -> AsyncIterator[SpeechStream]:
        async with self._turn():
            url = _output_of(await self._predicted(recipe))
            if url is None:
                raise self._broken("made a prediction without any audio")
            client = self._client if self._source.is_own(url) else self._elsewhere
            async with self._source.fetched(client, url) as chunks:
                yield SpeechStream(native, chunks)

    async def voices(self) -> Sequence[Voice] | None:
        return tuple(_voice(voice) for voice in self.settings.voices) or None

    def models(self) -> Sequence[str]:
        return (self.settings.version,)

    def price(self, recipe: Recipe) -> float | None:
        return self._price(recipe, None)

    async def aclose(self) -> None:
        await asyncio.gather(*self._calling_off, return_exceptions=True)
        await self._elsewhere.aclose()
        await super().aclose()

    # ── the prediction ───────────────────────────────────────────────────────────────────────────

    async def _predicted(self, recipe: Recipe) -> Mapping[str, Any]:
        """The prediction, when it has succeeded."""
        prediction: Mapping[str, Any] = {}
        began, pause = time.monotonic(), self.settings.poll
        try:
            prediction = await self._ask(self._creation(recipe), recipe)
            # Asked to wait, it answers with what is there, but not yet with the status that says so.
            while prediction["status"] in ("starting", "processing") and _output_of(prediction) is None:
                if time.monotonic() - began > self.settings.longest:
                    raise self._late()
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _LONGEST_PAUSE)
                prediction = await self._ask(self._client.build_request("GET", self._url(prediction, "get")), recipe)
        except BaseException:
            self._call_off(prediction)
            raise
        if prediction["status"] not in ("succeeded", "processing"):
            raise self._failed(prediction, recipe)
        return prediction

    def _creation(self, recipe: Recipe) -> httpx.Request:
        model, _, version = self.settings.version.partition(":")
        told: dict[str, Any] = {"input": {"text": recipe.text, "voice": recipe.voice, "speed": float(recipe.speed)}}
        path = "/v1/predictions"
        if version or "/" not in model:
            told["version"] = version or model
        else:
            path = f"/v1/models/{model}/predictions"
        wait = {"prefer": f"wait={self.settings.wait}"} if self.settings.wait else {}
        return self._client.build_request("POST", self.settings.base_url + path, json=told, headers=wait)

    async def _ask(self, request: httpx.Request, recipe: Recipe) -> Mapping[str, Any]:
        async with self._answered(request, recipe) as response, http.translated(self.upstream.name):
            raw = await http.start_of(response, _LONGEST_PREDICTION)
        try:
            told = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._broken("answered with something that is no prediction") from error
        if not isinstance(told, dict) or not isinstance(told.get("status"), str):
            raise self._broken("answered with something that is no prediction")
        return told

    def _url(self, prediction: Mapping[str, Any], what: str) -> str:
        """Where to look at a prediction, or call it off: at the vendor's own address alone: the key goes there."""
        urls = prediction.get("urls")
        url = urls.get(what) if isinstance(urls, dict) else None
        if not isinstance(url, str) or not self._source.is_own(url):
            raise self._broken("told no address of its prediction that is its own")
        return url

    def _call_off(self, prediction: Mapping[str, Any]) -> None:
        """Nobody waits for it any more, and every second of it costs."""
        if prediction.get("status") in ("starting", "processing"):
            task = asyncio.create_task(self._cancel(prediction))
            self._calling_off.add(task)
            task.add_done_callback(self._calling_off.discard)

    async def _cancel(self, prediction: Mapping[str, Any]) -> None:
        try:
            async with asyncio.timeout(_CANCELLING), http.translated(self.upstream.name):
                await self._client.post(self._url(prediction, "cancel"))
        except (ProviderError, TimeoutError):
            return  # it ends by itself, later

    def _failed(self, prediction: Mapping[str, Any], recipe: Recipe) -> ProviderError:
        name = self.upstream.name
        if prediction["status"] == "failed":
            why = http.unquoted(str(prediction.get("error") or ""), recipe.text)
            said = f"'{name}' failed" + (f": {why.rstrip('.')}." if why else ".")
            return ProviderUnavailable(said, provider=name, remedy="Try again.")
        return ProviderUnavailable(f"The prediction at '{name}' was called off.", provider=name, remedy="Try again.")

    def _late(self) -> ProviderTimeout:
        name = self.upstream.name
        return ProviderTimeout(
            f"'{name}' did not finish within {self.settings.longest:g} seconds.", provider=name, remedy="Try again."
        )


def _output_of(prediction: Mapping[str, Any]) -> str | None:
    output = prediction.get("output")
    if isinstance(output, list):
        output = output[0] if output else None
    return output if isinstance(output, str) else None


def _voice(voice: str) -> Voice:
    language = _LANGUAGES.get(voice[:1])
    gender = {"f": "female", "m": "male"}.get(voice[1:2])
    name = voice.partition("_")[2].capitalize() or voice
    return Voice(voice, name, () if language is None else (language,), gender)
