"""Deepgram's Aura: `POST /v1/speak` (API reference, and what its Python client 7.17 sends, 2026-11).

What Deepgram calls a model is a voice: the recipe has it as such, and no model.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace

from pydantic import Field

from sayonce.errors import InvalidRequest
from sayonce.providers.contract import SpeechStream
from sayonce.providers.vendor import Vendor, VendorSettings
from sayonce.speech.dialects import DEEPGRAM, deepgram_format, deepgram_query
from sayonce.speech.formats import AudioFormat
from sayonce.speech.recipes import Recipe

VOICE = "aura-asteria-en"
_MOST_CHARACTERS = 2_000
_LOSSLESS = deepgram_format("linear16", "wav")  # with a header, which noise has not


class DeepgramSettings(VendorSettings):
    """Beside what all vendors have."""

    ending = "/v1"
    base_url: str = "https://api.deepgram.com"
    max_characters: int = Field(default=_MOST_CHARACTERS, ge=1)
    mip_opt_out: bool | None = None  # true: the vendor does not learn from the texts (and takes more)


class DeepgramProvider(Vendor[DeepgramSettings]):
    """One upstream of Deepgram's."""

    name = "deepgram"
    settings_model = DeepgramSettings
    no_quota = Vendor.no_quota | {"ASR_PAYMENT_REQUIRED", "PAYMENT_REQUIRED"}

    def __init__(self, name: str, settings: DeepgramSettings) -> None:
        super().__init__(name, settings, voice=VOICE)
        self.discreet = settings.mip_opt_out is True

    def _headers(self) -> dict[str, str]:
        return self.settings.authorization("authorization", "Token")

    def check(self, recipe: Recipe) -> Recipe:
        self._refuse_long(recipe.text)
        recipe = self._with_its_voice(recipe)
        self._refuse_voice(recipe.voice)
        self._refuse_further(recipe)
        if recipe.speed != "1":
            self._refuse_speed(recipe.speed, 0.7, 1.5)
        return replace(recipe, language=None)  # the voice speaks its own

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        own = (known for known in DEEPGRAM if known.satisfies(wanted))
        return next(own, _LOSSLESS)

    def speak(self, recipe: Recipe, native: AudioFormat) -> AbstractAsyncContextManager[SpeechStream]:
        query = {"model": recipe.voice or VOICE, **deepgram_query(native)}
        if recipe.speed != "1":
            query["speed"] = recipe.speed
        if self.settings.mip_opt_out is not None:
            query["mip_opt_out"] = str(self.settings.mip_opt_out).lower()
        url = f"{self.settings.base_url}/v1/speak"
        request = self._client.build_request("POST", url, params=query, json={"text": recipe.text})
        return self._spoken(request, recipe, native)

    def price(self, recipe: Recipe) -> float | None:
        return self._price(recipe, recipe.voice)

    def _with_its_voice(self, recipe: Recipe) -> Recipe:
        """Callers of other dialects name the voice as a model."""
        if recipe.model is None:
            return recipe
        if not recipe.model.startswith("aura") or recipe.voice not in (None, self.upstream.voice, recipe.model):
            raise InvalidRequest(
                f"'{self.upstream.name}' has no model apart from the voice.",
                param="model",
                remedy="Leave it out, and send a voice such as 'aura-2-thalia-en'.",
            )
        return replace(recipe, voice=recipe.model, model=None)
