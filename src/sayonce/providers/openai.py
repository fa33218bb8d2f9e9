"""Any number of upstreams of OpenAI's speech dialect: OpenAI itself, Kokoro-FastAPI, Speaches, LocalAI, ….

The wire is OpenAI's `POST /v1/audio/speech` (API reference, 2026-11).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any

from pydantic import field_validator

from sayonce.errors import InvalidRequest, UnknownModel
from sayonce.providers.contract import SpeechStream
from sayonce.providers.vendor import Vendor, VendorSettings
from sayonce.speech.formats import BY_NAME, AudioFormat
from sayonce.speech.recipes import Recipe

OPENAI = "https://api.openai.com/v1"

# Which native format serves best where the wanted one cannot be had: lossless first, and what streams best.
_PREFERRED = ("pcm", "wav", "flac", "mp3", "opus", "aac")
_LONGEST_INSTRUCTIONS = 4096
# What the body says already, or would make the answer something else than audio; no further field may be called so.
_OWN_FIELDS = frozenset(
    ("model", "input", "voice", "response_format", "speed", "instructions", "stream", "stream_format")
)


class OpenAISettings(VendorSettings):
    """Beside what all vendors have. Empty `models`: any is passed on."""

    base_url: str = OPENAI
    models: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()  # further fields of the body that it accepts
    formats: tuple[str, ...] = tuple(BY_NAME)

    @field_validator("fields")
    @classmethod
    def _are_further_ones(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        if _OWN_FIELDS & set(fields):
            raise ValueError(f"must not be one of the dialect's own: {', '.join(sorted(_OWN_FIELDS))}")
        return fields

    @field_validator("formats")
    @classmethod
    def _are_known(cls, formats: tuple[str, ...]) -> tuple[str, ...]:
        if not formats or set(formats) - set(BY_NAME):
            raise ValueError(f"must be some of {', '.join(BY_NAME)}")
        return formats


class OpenAIProvider(Vendor[OpenAISettings]):
    """One upstream of the dialect."""

    name = "openai"
    settings_model = OpenAISettings
    foreign_to_openai = False

    def __init__(self, name: str, settings: OpenAISettings) -> None:
        super().__init__(name, settings, voice="alloy", model=next(iter(settings.models), "tts-1"))
        self._url = f"{settings.base_url}/audio/speech"

    def _headers(self) -> dict[str, str]:
        return self.settings.authorization("authorization", "Bearer") | {"accept": "application/octet-stream"}

    def check(self, recipe: Recipe) -> Recipe:
        models = self.settings.models
        self._refuse_long(recipe.text)
        if models and recipe.model not in models:
            raise UnknownModel(
                f"'{self.upstream.name}' has no such model.",
                param="model",
                remedy=f"Use one of: {', '.join(models)}.",
            )
        self._refuse_voice(recipe.voice)
        self._refuse_speed(recipe.speed, 0.25, 4)
        self._refuse_what_it_cannot(recipe)
        if recipe.language is None or "language" in self.settings.fields:
            return recipe
        return replace(recipe, language=None)

    def native_format(self, recipe: Recipe, wanted: AudioFormat) -> AudioFormat:
        offered = [BY_NAME[name] for name in self.settings.formats]
        if wanted in offered:
            return wanted
        return next(BY_NAME[name] for name in _PREFERRED if name in self.settings.formats)

    def speak(self, recipe: Recipe, native: AudioFormat) -> AbstractAsyncContextManager[SpeechStream]:
        request = self._client.build_request("POST", self._url, json=self._body(recipe, native))
        return self._spoken(request, recipe, native)

    def models(self) -> Sequence[str]:
        return self.settings.models

    def price(self, recipe: Recipe) -> float | None:
        return self._price(recipe, recipe.model)

    def _refuse_what_it_cannot(self, recipe: Recipe) -> None:
        if recipe.instructions is not None and len(recipe.instructions) > _LONGEST_INSTRUCTIONS:
            raise InvalidRequest(
                "The instructions are too long.",
                param="instructions",
                remedy=f"Send at most {_LONGEST_INSTRUCTIONS} characters.",
            )
        self._refuse_further(recipe, ("instructions", *self.settings.fields))

    def _body(self, recipe: Recipe, native: AudioFormat) -> dict[str, Any]:
        body: dict[str, Any] = {
            "model": recipe.model,
            "input": recipe.text,
            "voice": recipe.voice,
            "response_format": next(name for name, known in BY_NAME.items() if known == native),
        }
        if recipe.speed != "1":
            body["speed"] = float(recipe.speed)
        if recipe.instructions is not None:
            body["instructions"] = recipe.instructions
        if recipe.pitch != "0":
            body["pitch"] = float(recipe.pitch)
        further = {"style": recipe.style, "language": recipe.language}
        body |= {field: value for field, value in further.items() if value is not None}
        body |= json.loads(recipe.options)
        return body
